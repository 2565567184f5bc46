"""Recorded runs as files: shipped ones by name, others by path. The format is written down in
data/records/README.md."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ra3_lab.runs.files import read_json, write_json

SCHEMA_VERSION = 1


def weights_digest(folder: Path) -> str:
    """Of a model directory's weights: says which base a record was made with."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def save_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)


def load_record(name: str | Path) -> dict[str, Any]:
    """A record by path, or a shipped one by name ("em"). Raises FileNotFoundError, naming those there are, and
    ValueError for a newer schema.
    """
    from ra3_lab.resources import data_dir

    folder = data_dir() / "records"
    path = Path(name) if str(name).endswith(".json") else folder / f"{name}.json"
    if not path.is_file():
        known = sorted(p.stem for p in folder.glob("*.json"))
        raise FileNotFoundError(f"no record {str(name)!r}: there are {known}, or give the path of a .json file.")
    return read_json(path)
