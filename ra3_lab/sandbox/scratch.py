"""The folder that a program may write to: how much is in it, and emptying it, whatever a program has made of it."""

from __future__ import annotations

import contextlib
import os


def used_bytes(folder: str) -> int:
    """Bytes of disk under a folder, plus 1 KiB for each entry. Stops counting at 10,000 entries."""
    total, count, waiting = 0, 0, [folder]
    while waiting and count < 10_000:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                count += 1
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    total += 1024 + status.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total if count < 10_000 else 1 << 62


def empty(folder: str) -> bool:
    """Remove all that is in a folder, however deep, however odd its modes. False where something resists."""
    fresh = 0
    for _ in range(1_000_000):
        try:
            names = os.listdir(folder)
        except OSError:
            return False
        if not names:
            return True
        for name in names:
            path = os.path.join(folder, name)
            try:
                if not os.path.isdir(path) or os.path.islink(path):
                    os.unlink(path)
                    continue
                os.chmod(path, 0o700)
                for inner in os.listdir(path):  # bring it up a level: no recursion, no long paths
                    fresh += 1
                    os.rename(os.path.join(path, inner), os.path.join(folder, f".{os.getpid()}.{fresh}"))
                os.rmdir(path)
            except OSError:
                return False
    return False
