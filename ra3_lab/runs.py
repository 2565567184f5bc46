"""Where a run writes: a fresh directory, JSONL as things happen, JSON complete or not at all."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def fresh_directory(out: Path) -> Path:
    """Create `out`. Raises FileExistsError where it exists and holds anything: no run is overwritten."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(
            f"{out} exists and is not empty: choose another --out, or delete it if you no longer need it."
        )
    out.mkdir(parents=True, exist_ok=True)
    return out


def write_json(path: Path, value: Any) -> None:
    """Write JSON through a temporary file, so that a reader never sees half of it."""
    staging = path.with_name(path.name + ".tmp")
    staging.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(staging, path)


class JsonLines:
    """Append records to a file, each on disk before the next begins."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()  # a folder that cannot be written to shows now, not at the first record

    def __call__(self, record: dict) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


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
