"""What a build has seen so far, on disk: the keys of duplicates, what was left out and why, where to go on.

One SQLite file with a cache of fixed size, so that memory does not grow with the corpus, beside the rows written so
far. Both are brought to the same place together: the rows are synced to disk first, then one transaction records how
many files they come from and how long the rows' file is; after a stop, whatever the rows' file has beyond that is cut
off. A process killed at any moment thus goes on from a state that it really was in.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from ra3_lab.corpus.likeness import bands, similarity

SCHEMA_VERSION = 1
_CACHE_KB = 16_384
_LOCK_SECONDS = 5.0
_BUCKET = 40  # candidates looked at per near-duplicate search and band

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE exact (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE signature (program INTEGER PRIMARY KEY, value BLOB);
CREATE TABLE band (key INTEGER, program INTEGER, PRIMARY KEY (key, program)) WITHOUT ROWID;
CREATE TABLE count (kind TEXT, name TEXT, value INTEGER, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE refused (file TEXT, line INTEGER, reason TEXT, detail TEXT);
CREATE TABLE overlap (source TEXT, benchmark TEXT, item TEXT, side TEXT, share REAL);
"""


class Store:
    """State of one build in the folder `folder`, made where there is none.

    `settings` are what the output depends on. Raises ValueError, naming those that differ, where the folder belongs to
    a build with others, or to a newer ra3_lab.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(folder / "state.sqlite", timeout=_LOCK_SECONDS, isolation_level=None)
        self._rows: BinaryIO | None = None
        try:
            self._open(settings)
        except BaseException:
            self.close()
            raise

    def _open(self, settings: Mapping[str, Any]) -> None:
        self._base.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        self._base.execute("PRAGMA synchronous = NORMAL")
        try:
            self._base.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise ValueError(f"{self.folder} is in use by another build ({error}): wait for it, or stop it.") from error
        if not self._base.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
            for statement in _TABLES.split(";"):
                self._base.execute(statement)
            self._set("schema_version", SCHEMA_VERSION)
            self._set("settings", dict(settings))
            self._set("files", 0)
            self._set("length", 0)
            self._base.execute("COMMIT")
            self._base.execute("BEGIN IMMEDIATE")
        self._check(settings)
        self.files: int = self._get("files")
        """Files that are done."""
        self.counts: dict[str, Counter[str]] = {}
        """What has been counted, by kind and name."""
        for kind, name, value in self._base.execute("SELECT kind, name, value FROM count ORDER BY kind, name"):
            self.counts.setdefault(kind, Counter())[name] = value
        if not self.finished:
            self._rows = self._reopen(self.folder / "rows.jsonl", self._get("length"))

    def _reopen(self, path: Path, length: int) -> BinaryIO:
        """The rows' file, cut back to where the state is."""
        rows = open(path, "ab")  # noqa: SIM115 (closed with the store)
        if rows.seek(0, os.SEEK_END) < length:
            raise ValueError(
                f"{path} is shorter than it was ({rows.tell()} of {length} bytes): delete {self.folder} to begin again."
            )
        rows.truncate(length)
        return rows

    def _check(self, settings: Mapping[str, Any]) -> None:
        version = self._get("schema_version")
        if version > SCHEMA_VERSION:
            raise ValueError(
                f"{self.folder} was begun by a newer ra3_lab (schema {version}, this one reads {SCHEMA_VERSION}): "
                "update ra3_lab, or delete the folder to begin again."
            )
        before, now = self._get("settings"), json.loads(json.dumps(settings))
        differ = [name for name in now if before.get(name) != now[name]]
        if differ:
            raise ValueError(
                f"{self.folder} holds a build begun with other {', '.join(differ)}: give the settings it was begun "
                "with to go on, or delete the folder to begin again."
            )

    def _get(self, name: str) -> Any:
        row = self._base.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def _set(self, name: str, value: Any) -> None:
        self._base.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, json.dumps(value)))

    @property
    def programs(self) -> int:
        """Programs kept so far."""
        return self.counts.get("programs", Counter())["kept"]

    @property
    def finished(self) -> bool:
        """Whether everything was read, so that only the files' names are missing."""
        return bool(self._get("finished"))

    def count(self, kind: str, name: str, by: int = 1) -> None:
        """Count something for the report."""
        self.counts.setdefault(kind, Counter())[name] += by

    def is_new(self, key: bytes) -> bool:
        """Whether no program with this exact key was kept."""
        return self._base.execute("SELECT 1 FROM exact WHERE key = ?", (key,)).fetchone() is None

    def is_near(self, signed: np.ndarray, similar: float) -> bool:
        """Whether a program was kept whose estimated similarity to this signature is at least `similar`.

        Looks at the first 40 x 12 programs that share a band, which bounds the time where very many do (the same
        boilerplate); a near-duplicate of a later one alone is kept.
        """
        keys = bands(signed)
        marks = ",".join("?" * len(keys))
        found = self._base.execute(
            f"SELECT DISTINCT program FROM band WHERE key IN ({marks}) ORDER BY program LIMIT {_BUCKET * len(keys)}",
            keys,
        ).fetchall()
        for (program,) in found:
            (blob,) = self._base.execute("SELECT value FROM signature WHERE program = ?", (program,)).fetchone()
            if similarity(np.frombuffer(blob, "<u4"), signed) >= similar:
                return True
        return False

    def keep(self, row: Mapping[str, Any], key: bytes, signed: np.ndarray | None) -> None:
        """Write a row and remember it for the search for duplicates."""
        number = self.programs
        self._base.execute("INSERT INTO exact VALUES (?)", (key,))
        if signed is not None:
            self._base.execute("INSERT INTO signature VALUES (?, ?)", (number, signed.astype("<u4").tobytes()))
            self._base.executemany("INSERT OR IGNORE INTO band VALUES (?, ?)", [(key, number) for key in bands(signed)])
        assert self._rows is not None
        self._rows.write((json.dumps({"task_id": number, **row}, ensure_ascii=False) + "\n").encode())
        self.count("programs", "kept")

    def refuse(self, file: str, line: int, reason: str, detail: str) -> None:
        """Remember a file that could not be used."""
        self._base.execute("INSERT INTO refused VALUES (?, ?, ?, ?)", (file, line, reason, detail))

    def overlap(self, source: str, benchmark: str, item: str, side: str, share: float) -> None:
        """Remember a program that was left out for holding a benchmark problem."""
        self._base.execute("INSERT INTO overlap VALUES (?, ?, ?, ?, ?)", (source, benchmark, item, side, share))

    def listed(self, table: str) -> Iterator[tuple]:
        """The rows of `refused` or `overlap`, in the order they were met."""
        return self._base.execute(f"SELECT * FROM {table} ORDER BY rowid")

    def commit(self, files: int, finished: bool = False) -> None:
        """Everything up to here is done: `files` files."""
        assert self._rows is not None
        self._rows.flush()
        os.fsync(self._rows.fileno())
        self.files = files
        self._set("files", files)
        self._set("length", self._rows.tell())
        self._set("finished", finished)
        for kind, names in self.counts.items():
            self._base.executemany(
                "INSERT OR REPLACE INTO count VALUES (?, ?, ?)", [(kind, name, value) for name, value in names.items()]
            )
        self._base.execute("COMMIT")
        self._base.execute("BEGIN IMMEDIATE")
        if finished:
            self._rows.close()

    def delete(self) -> None:
        """Remove the state; the database last, so that a kill in between leaves something to finish from."""
        self.close()
        for path in sorted(self.folder.iterdir(), key=lambda path: path.name.startswith("state")):
            path.unlink()
        self.folder.rmdir()

    def close(self) -> None:
        """Leave the state of the last commit behind."""
        if self._rows is not None:
            self._rows.close()
        self._base.close()  # which rolls back what was not committed

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
