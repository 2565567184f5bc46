"""Data files as people have them: JSONL and JSON, packed (.gz) or not, with blank lines, a byte-order mark, or broken.

Whatever cannot be read is a ValueError that names the file, the line where there is one, and what to do.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def numbered_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, value) of every line of a JSONL file that is not blank."""
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _value(_text(line, f"{path}:{number}"), f"{path}:{number}")


def numbered_items(path: Path) -> Iterator[tuple[int, Any]]:
    """(line or place, value) of a JSONL file, or of a JSON file that holds one list."""
    with _opened(path) as file:
        text = _text(file.read(), str(path))
    if text.lstrip().startswith("["):
        yield from enumerate(_value(text, str(path)), 1)
    else:
        yield from numbered_rows(path)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}): fetch it, or pack it, again.") from error


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = f"{error.reason} at byte {error.start}"
        raise ValueError(f"{where} is not UTF-8 text ({at}): write the file as UTF-8.") from error


def _value(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise ValueError(f"{where} is not JSON ({at}): mend it; .jsonl holds one object a line.") from error
    except RecursionError as error:
        raise ValueError(f"{where} is not JSON that can be read: it is nested too deeply.") from error
