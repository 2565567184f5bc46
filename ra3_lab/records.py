"""Recorded runs as files: shipped ones by name, others by path, and folders of runs read as records. The format is
written down in data/records/README.md."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ra3_lab.runs import read_json, read_jsonl, read_run, write_json

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


def run_record(folder: str | Path) -> dict[str, Any]:
    """What a mid-training run has written so far, as a record that `explore.curves` draws.

    Metrics are on disk update by update, so this loses nothing with the kernel, and needs no model. Raises
    FileNotFoundError where `folder` is no run.
    """
    arm = read_run(Path(folder))["settings"].get("method", "run")
    rows = read_jsonl(Path(folder) / "metrics.jsonl")
    by_stage = {name: [row for row in rows if row["stage"] == name] for name in ("estep", "mstep", "validation")}
    return {
        "schema_version": SCHEMA_VERSION,
        "estep": by_stage["estep"],
        "mstep": {arm: by_stage["mstep"]},
        "validation": {arm: by_stage["validation"]},
    }
