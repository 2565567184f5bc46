"""Records on disk: JSON complete or not at all, JSONL as things happen, and readers that know their limits.

Every record carries `schema_version`; a reader refuses a newer one than it knows. Numbers that JSON has no word for
(infinity, not-a-number) are written as the strings "inf", "-inf" and "nan", so that other tools can read the files.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
"""Of run.json, metrics, traces, checkpoints and summaries; raised when a reader of today would misread them."""


def plain(value: Any) -> Any:
    """The value in JSON's own types: dataclasses as objects, paths as text, tuples as lists, infinity as "inf".

    >>> plain({"cost": float("inf"), "ids": (1, 2), "out": Path("runs")})
    {'cost': 'inf', 'ids': [1, 2], 'out': 'runs'}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def json_text(value: Any, indent: int | None = 1) -> str:
    """Strict JSON of a value, see `plain`. Raises TypeError for an object that is no plain data."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)


def fresh_directory(out: Path) -> Path:
    """Create `out`. Raises FileExistsError where it exists and holds anything: no run is overwritten; OSError with the
    reason where it cannot be made, or nothing can be written into it."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(
            f"{out} exists and is not empty: choose another --out, or delete it if you no longer need it."
        )
    made_directory(out)
    try:
        with tempfile.TemporaryFile(dir=out):
            return out
    except OSError as error:
        raise explained(error, f"the folder {out} cannot be written to", "choose another --out") from error


def made_directory(out: Path) -> Path:
    """`out`, made where it is not there yet. Raises OSError with the reason where it cannot be a folder."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explained(error, f"the folder {out} cannot be made", "choose another --out") from error
    return out


def write_json(path: Path, value: Any) -> None:
    """Write JSON through a temporary file, so that a reader never sees half of it. Raises OSError with the reason."""
    text, staging = json_text(value) + "\n", path.with_name(path.name + ".tmp")
    try:
        with open(staging, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staging, path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):  # it may not be there, or the disk cannot be written to
            staging.unlink()
        raise explained(error, f"{path} cannot be written") from error


def read_json(path: Path) -> Any:
    """The record in a JSON file. Raises ValueError where it is torn or of a newer schema."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is not JSON ({error}): it is damaged or something else; restore or remove it."
        ) from None
    if isinstance(record, dict):
        check_schema(record, path)
    return record


def check_schema(record: Mapping[str, Any], where: object) -> None:
    """Raises ValueError where the record's schema_version is newer than this version of ra3_lab knows."""
    version = record.get("schema_version", 1)
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise ValueError(
            f"{where} has schema_version {version}; this version of ra3_lab reads up to {SCHEMA_VERSION}: update "
            "ra3_lab, or use the version that wrote it."
        )


class JsonLines:
    """Append records to a file, each on disk before the next begins. A last line that a kill tore is cut off first, so
    that the next record begins on a line of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.touch()  # a folder that cannot be written to shows now, not at the first record
            whole = path.read_bytes().rfind(b"\n") + 1
            if whole < path.stat().st_size:
                os.truncate(path, whole)
        except OSError as error:
            raise explained(error, f"{path} cannot be written") from error

    def __call__(self, record: Mapping[str, Any]) -> None:
        line = json_text({"schema_version": SCHEMA_VERSION, **record}, indent=None)
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise explained(error, f"{self.path} cannot be written") from error

    def sync(self) -> None:
        """Bring what was appended to the disk."""
        with open(self.path, "ab") as file:
            os.fsync(file.fileno())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All whole records of a JSONL file; a last line that was torn by a kill, or is being written, is left out."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number} is not JSON ({error}): the file is damaged there.") from None
        if not isinstance(record, dict):
            raise ValueError(f"{path}:{number} holds {type(record).__name__} where a record is an object.")
        check_schema(record, f"{path}:{number}")
        records.append(record)
    return records


@contextmanager
def staged_folder(out: Path) -> Iterator[Path]:
    """A folder to write into that becomes `out` when the block ends, complete and on the disk; not at all where the
    block raises. Raises FileExistsError where there is an `out` by then, OSError where it cannot be written."""
    from safetensors import SafetensorError

    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield staging
        if out.exists():
            raise FileExistsError(f"{out} exists already: choose another name or delete it.")
        for path in [*staging.rglob("*"), staging]:
            if path.is_dir():
                sync_folder(path)
            else:
                with open(path, "ab") as file:
                    os.fsync(file.fileno())
        staging.rename(out)
        out.chmod(0o755)
        sync_folder(out.parent)
    except SafetensorError as error:  # how safetensors passes on what the system said
        raise OSError(f"{out} cannot be written: {error}; make room or choose another folder.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def leftovers(folder: Path) -> list[Path]:
    """What a kill in the middle of `write_json` or `staged_folder` may have left in a run's folder."""
    unwritten = [folder / f"{name}.json.tmp" for name in ("run", "summary", "bad_batch")]
    return [*filter(Path.exists, unwritten), *folder.glob(".model-????????")]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a power cut, where the system can."""
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explained(error: OSError, what: str, then: str = "make room or choose another folder") -> OSError:
    """The same kind of error with a sentence that says what could not be done and what to do next."""
    return type(error)(f"{what}: {error.strerror or error}; {then}.")
