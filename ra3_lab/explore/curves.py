"""The report's curves as views: E-step, M-step and validation of one run's record, or of its folder while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ra3_lab.explore import figures, findings
from ra3_lab.explore.view import View
from ra3_lab.runs import read_jsonl, read_run


def run_record(folder: str | Path) -> dict[str, Any]:
    """What a mid-training run has written so far, as a record that the functions below draw.

    Metrics are on disk update by update, so this loses nothing with the kernel, and needs no model. Raises
    FileNotFoundError where `folder` is no run.
    """
    arm = read_run(Path(folder))["settings"].get("method", "run")
    rows = read_jsonl(Path(folder) / "metrics.jsonl")
    by_stage = {name: [row for row in rows if row["stage"] == name] for name in ("estep", "mstep", "validation")}
    return {
        "schema_version": 1,
        "estep": by_stage["estep"],
        "mstep": {arm: by_stage["mstep"]},
        "validation": {arm: by_stage["validation"]},
    }


def draw_estep(record: Mapping[str, Any]) -> View:
    """Return, F1 and share of thoughts over the E-step's updates."""
    return _view(record, "estep")


def draw_mstep(record: Mapping[str, Any]) -> View:
    """Training loss of the arms."""
    return _view(record, "mstep")


def draw_validation(record: Mapping[str, Any]) -> View:
    """Validation score of the arms."""
    return _view(record, "validation")


def _view(record: Mapping[str, Any], name: str) -> View:
    twin = getattr(findings, f"describe_{name}")(record)
    if twin is None:
        raise ValueError(f"this record has nothing to draw under {name!r}.")
    return View(twin, figure=getattr(figures, f"figure_{name}")(record))
