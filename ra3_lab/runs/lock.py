"""One process at a time at a folder: a lock on its file `.lock`, which ends with the process, however that ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ra3_lab.runs.files import explained


def lock(folder: Path) -> int | None:
    """Hold the folder until the descriptor returned is closed, or the process ends; None where the system has no such
    locks. Raises FileExistsError where another process holds it, OSError where it cannot be written to."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        descriptor = os.open(folder / ".lock", os.O_RDONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise explained(error, f"{folder} cannot be written to") from error
    for pause in (0.1, 0.2, 0.4, None):  # a reader that asks `is_locked` holds it for a moment
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if pause is None:
                os.close(descriptor)
                raise FileExistsError(
                    f"{folder} is in use by another process: wait for it, or stop it first."
                ) from None
            time.sleep(pause)
    return descriptor


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder meanwhile. Raises as `lock` does."""
    descriptor = lock(folder)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Whether a process holds the folder."""
    try:
        import fcntl

        descriptor = os.open(folder / ".lock", os.O_RDONLY)
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
