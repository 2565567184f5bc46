"""Folders that programs write to: how much is in one, emptying it whatever a program has made of it, removing it.

A program may be at work meanwhile. So nothing here follows a path of which it could replace a part by a link: folders
are entered one in the other, by descriptor.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from itertools import islice

ENTRIES = 10_000
TOO_MUCH = 1 << 62
_LINK = (NotImplementedError, ValueError)  # what chmod says of one


def used_bytes(folder: str) -> int:
    """Bytes of disk under a folder, plus 1 KiB for each entry; folders that may not be listed are made so.

    TOO_MUCH where there are ENTRIES of them, a folder stays closed, or they are nested a thousand deep. A file that was
    unlinked while open is not seen.
    """
    try:
        total, count = _used(folder, None)
    except (OSError, RecursionError, *_LINK):
        return TOO_MUCH
    return total if count < ENTRIES else TOO_MUCH


def _used(name: str, folder: int | None) -> tuple[int, int]:
    """Bytes and entries, nothing for a folder that is gone or has become something else."""
    total = count = 0
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), _entered(name, folder) as here:
        with os.scandir(here) as entries:
            found = list(islice(entries, ENTRIES))
        count = len(found)
        for entry in found:
            with contextlib.suppress(FileNotFoundError):
                total += 1024 + entry.stat(follow_symlinks=False).st_blocks * 512
            if entry.is_dir(follow_symlinks=False) and count < ENTRIES:
                inner = _used(entry.name, here)
                total, count = total + inner[0], count + inner[1]
    return total, count


def empty(folder: str) -> bool:
    """Remove all that is in a folder, however deep, however odd its modes. False where something resists."""
    try:
        with contextlib.suppress(PermissionError):
            if not os.listdir(folder):  # mostly
                return True
        with _entered(folder) as top:
            os.fchmod(top, 0o700)
            for _ in range(1_000_000):
                names = os.listdir(top)
                if not names:
                    return True
                for name in names:
                    if not _is_folder(name, top):
                        os.unlink(name, dir_fd=top)
                        continue
                    with _entered(name, top) as inside:
                        os.fchmod(inside, 0o700)
                        for inner in os.listdir(inside):
                            _bring_up(inner, inside, top)
                    os.rmdir(name, dir_fd=top)
    except (OSError, *_LINK):
        return False
    return False


def _is_folder(name: str, folder: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


@contextlib.contextmanager
def _entered(name: str, folder: int | None = None) -> Iterator[int]:
    """A descriptor of a folder that may be listed. OSError where it is none, or not ours."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        found = os.open(name, flags, dir_fd=folder)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=folder, follow_symlinks=False)
        found = os.open(name, flags, dir_fd=folder)
    try:
        yield found
    finally:
        os.close(found)


def _bring_up(name: str, inside: int, top: int) -> None:
    """Move an entry up a level, where it is emptied in its turn: no recursion, no long paths."""
    fresh = os.urandom(8).hex()  # no name that a program could have taken
    try:
        os.rename(name, fresh, src_dir_fd=inside, dst_dir_fd=top)
    except PermissionError:  # a folder that may not be changed may not be moved
        os.chmod(name, 0o700, dir_fd=inside, follow_symlinks=False)
        os.rename(name, fresh, src_dir_fd=inside, dst_dir_fd=top)


def remove(folder: str, seconds: float = 2.0) -> bool:
    """Remove a folder and all that is in it, trying so long: a program that is being killed may write for a moment.

    False where something of it stays.
    """
    end = time.monotonic() + seconds
    while True:
        empty(folder)
        try:
            os.rmdir(folder)
            return True
        except FileNotFoundError:
            return True
        except OSError:
            if time.monotonic() > end:
                return False
        time.sleep(0.01)
