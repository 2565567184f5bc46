"""Rows of a benchmark's file, and the hash that says which release it is.

Read are .jsonl and .json (each also packed, .gz) and, where pyarrow is installed, .parquet. A closed benchmark has
known files; another hash is an error, because a score on other data is not a score on that benchmark.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ra3_lab.tasks.protocol import DataSource

KNOWN: dict[str, dict[str, str]] = {
    "humaneval": {
        "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef": "openai/human-eval 6d43fb9, 164 tasks",
        "1d49078ba3e2b196b9344535bef34a43021f038fad9561d6ee7c53450609a6a2": "openai/human-eval 6d43fb9, unpacked",
    },
    "humaneval+": {
        "272720b90ac375502c8ed23cd791c2a93dfb22a911641a494da74a426c09f101": "v0.1.10, 164 tasks, 124,253 inputs",
        "91486741f1627101021fbe50523df08eebb5b0bf5e804b633dcd5ca3c14dbd2f": "v0.1.10 mini, 164 tasks, 2,677 inputs",
        "42526ec0e7d5f3ee0b06d6ced98f8c8bae3d76519151bfb3d36f79010645bd7f": "v0.1.10, 164 tasks, unpacked",
        "78fbba8865b20c5a979cda6e02fd72538e1762e65980af7d1a6e93c3e87e93af": "v0.1.10 mini, 164 tasks, unpacked",
    },
    "mbpp": {
        "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f": "974 tasks, 563,743 characters",
    },
    "mbpp-sanitized": {
        "ca95deaa9a01ef0a6f439f88bcf0dd3db3563d22f22aad6cae04ebb9a8d8c8e9": "427 tasks, 255,053 characters",
    },
    "mbpp+": {
        "b4e9daf3a3d68503c2a92d195e1b44ea485fc15e8eb24f7a60552351835bf47c": "development snapshot 767efcc, 399 tasks",
        "08405a4e8764a4941cfe0945d25a956355a0454f364ea902c4020a44e7057973": "development snapshot 767efcc, unpacked",
    },
}
"""benchmark -> sha256 of a file's bytes or of what it unpacks to -> what is known of it."""
LARGEST = 4 * 1024**3
"""Bytes that a packed file may unpack to."""


def read_data(name: str, path: Path, sha256: str | None = None) -> tuple[list[tuple[str, Any]], DataSource]:
    """(where, row) of every row in the file, and where the file stands among known releases.

    `sha256`: the hash that the file must have; None: for a closed benchmark one of the known hashes, for others any;
    'any': whatever it is. ValueError names the hash found and what was wanted, or the line that cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file: give the data file of {name!r}.")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    unpacked = _unpack(data, path) if path.suffix == ".gz" else data
    hashes = (found, hashlib.sha256(unpacked).hexdigest())
    release = release_of(name, path, hashes, found, sha256)
    rows = list(_rows(unpacked, path))
    if not rows:
        raise ValueError(f"{path} holds no row.")
    return rows, DataSource(name, path.name, found, release)


def release_of(name: str, path: Path, hashes: tuple[str, ...], found: str, wanted: str | None) -> str:
    """The known release that a file with one of these hashes is, '' for none. Raises ValueError as `read_data` does."""
    known = KNOWN.get(name, {})
    release = next((known[hash] for hash in hashes if hash in known), "")
    if wanted is not None and wanted != "any" and not any(hash.startswith(wanted.lower()) for hash in hashes if wanted):
        raise ValueError(f"{path} has sha256 {found}, not {wanted}: it is another file, or it was changed.")
    if wanted is None and known and not release:
        listed = "; ".join(f"{hash[:12]} ({text})" for hash, text in known.items())
        raise ValueError(
            f"{path} has sha256 {found}, which is no release of {name!r} known here ({listed}). A score on it is "
            f"no score on {name!r}. If you know what it is, say so: sha256 {found[:12]}, or any."
        )
    return release


def _unpack(data: bytes, path: Path) -> bytes:
    try:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        unpacked = unpacker.decompress(data, LARGEST)
        if unpacker.unconsumed_tail:
            raise ValueError(f"{path} unpacks to more than {LARGEST} bytes: refused.")
        return unpacked if unpacker.eof and not unpacker.unused_data else gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is no readable gzip file ({error}).") from error


def _rows(data: bytes, path: Path) -> Iterator[tuple[str, Any]]:
    suffix = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
    if suffix == ".parquet":
        yield from _parquet(data, path)
        return
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}): give a .jsonl, .json or .parquet file.") from error
    if suffix == ".json":
        yield from _json(text, path)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield f"{path}:{number}", json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{path}:{number} is not JSON ({error}).") from error


def _json(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); a file of one row a line is named .jsonl.") from error
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds {type(rows).__name__}; a list of rows is needed.")
    for number, row in enumerate(rows, 1):
        yield f"{path}, row {number}", row


def _parquet(data: bytes, path: Path) -> Iterator[tuple[str, Any]]:
    import io

    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(f"{path} is a parquet file: pip install pyarrow, or give a .jsonl file.") from error
    for number, row in enumerate(parquet.read_table(io.BytesIO(data)).to_pylist(), 1):
        yield f"{path}, row {number}", row
