"""The files of a build, in an order that depends on their names only, and a fingerprint of them all.

Walked lazily, a folder at a time, so that a million files cost no memory. Hidden folders, `__pycache__` and linked
folders are left out.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from itertools import chain, count
from pathlib import Path


def walk(folders: Sequence[Path], exclude: Sequence[str] = ()) -> Iterator[tuple[int, str, os.DirEntry[str]]]:
    """(which folder, path in it with '/', entry) of every .py file; `exclude` are patterns of such paths."""
    for which, folder in enumerate(folders):
        for inside, entry in _walk(str(folder), ""):
            if not any(fnmatch(inside, pattern) for pattern in exclude):
                yield which, inside, entry


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:  # a folder that may not be read; its files are not there for us
        return
    for entry in found:
        if entry.name.startswith(".") or entry.name == "__pycache__":
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".py") and entry.is_file():
            yield prefix + entry.name, entry


def labels(paths: Sequence[Path]) -> list[str]:
    """A short name for each folder or file, without the machine's paths: its last part, numbered where two are alike.

    >>> labels([Path("/a/src"), Path("/b/src"), Path("/c")])
    ['src', 'src-2', 'c']
    """
    names: list[str] = []
    for path in paths:
        name = path.resolve().name or "root"
        numbered = (f"{name}-{number}" for number in count(2))
        names.append(next(label for label in chain([name], numbered) if label not in names))
    return names


def fingerprint(folders: Sequence[Path], exclude: Sequence[str] = ()) -> tuple[int, str]:
    """Number of files, and a hash of their names, sizes and times: what a build must find unchanged to go on."""
    digest, files = hashlib.sha256(), 0
    for which, inside, entry in walk(folders, exclude):
        seen = entry.stat()
        digest.update(f"{which}\0{inside}\0{seen.st_size}\0{seen.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        files += 1
    return files, digest.hexdigest()
