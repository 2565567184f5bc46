"""Progress for people: lines with the elapsed time, and a sign of life while nothing else is said."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def narrator(quiet_after: float = 4.0) -> Iterator[Any]:
    """A `say(text)` that prints with the elapsed time, and a sign of life after `quiet_after` seconds of silence."""
    start = time.monotonic()
    last = ["starting", start]
    stop = threading.Event()

    def clock() -> str:
        seconds = int(time.monotonic() - start)
        return f"[{seconds // 60:2d}:{seconds % 60:02d}]"

    def say(text: str) -> None:
        last[:] = [text, time.monotonic()]
        print(f"{clock()} {text}", flush=True)

    def pulse() -> None:
        while not stop.wait(0.5):
            if time.monotonic() - last[1] > quiet_after:
                last[1] = time.monotonic()
                print(f"{clock()} ... still at: {last[0]}", flush=True)

    thread = threading.Thread(target=pulse, daemon=True)
    thread.start()
    try:
        yield say
    finally:
        stop.set()
        thread.join()
