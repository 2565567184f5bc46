"""The report's curves as views: E-step, M-step and validation of one run's record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ra3_lab.explore import figures, findings
from ra3_lab.explore.view import View


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
