"""Progress for people: lines with the elapsed time, a sign of life while nothing else is said, every tenth part."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def narrator(quiet_after: float = 4.0) -> Iterator[Callable[[str], None]]:
    """A `say(text)` that prints with the elapsed time, and a sign of life after `quiet_after` seconds of silence."""
    start = said_at = time.monotonic()
    said = "starting"
    stop = threading.Event()

    def clock() -> str:
        seconds = int(time.monotonic() - start)
        return f"[{seconds // 60:2d}:{seconds % 60:02d}]"

    def say(text: str) -> None:
        nonlocal said, said_at
        said, said_at = text, time.monotonic()
        print(f"{clock()} {text}", flush=True)

    def pulse() -> None:
        nonlocal said_at
        while not stop.wait(0.5):
            if time.monotonic() - said_at > quiet_after:
                said_at = time.monotonic()
                print(f"{clock()} ... still at: {said}", flush=True)

    thread = threading.Thread(target=pulse, daemon=True)
    thread.start()
    try:
        yield say
    finally:
        stop.set()
        thread.join()


def tenths(say: Callable[[str], None], what: str) -> Callable[[int, int], None]:
    """A `progress(done, all)` that says every tenth part.

    >>> show = tenths(print, "judged")
    >>> for done in range(1, 16): show(done, 15)  # doctest: +ELLIPSIS
    judged: 2 of 15
    judged: 3 of 15
    ...
    judged: 15 of 15
    """
    said = 0

    def show(done: int, of: int) -> None:
        nonlocal said
        part = 10 * done // max(of, 1)
        if part > said:
            said = part
            say(f"{what}: {done} of {of}")

    return show
