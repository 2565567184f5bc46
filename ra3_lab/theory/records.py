"""Records: what a lab measured, as plain data. To JSON and back, and the straight-line fit that several of them quote.

A record is a frozen dataclass of numbers, strings, tuples and other records; no arrays, no live objects. The figure,
the table and the text of a record are in `ra3_lab/explore/theory.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from typing import Any, TypeVar

import numpy as np

SCHEMA_VERSION = 1
_KINDS: dict[str, type] = {}
_LABS = ("regret", "pruning", "violations", "choices", "horizon", "oracle_labs")
_Record = TypeVar("_Record", bound=type)


def record(kind: _Record) -> _Record:
    """Class decorator: makes a frozen dataclass known to `from_json`."""
    _KINDS[kind.__name__] = kind
    return kind


@record
@dataclass(frozen=True)
class Fit:
    """Least squares line y = intercept + slope x."""

    slope: float
    """Units of y per unit of x."""
    intercept: float
    """y at x = 0."""
    r_squared: float
    """Share of the variance of y that the line explains, 0 to 1."""
    points: int
    """How many (x, y) it is fitted to."""


def fit_line(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> Fit:
    """The least squares line through these points. ValueError for fewer than two different x.

    >>> fit_line([1, 2, 3], [3, 5, 7])
    Fit(slope=2.0, intercept=1.0, r_squared=1.0, points=3)
    """
    across, up = np.asarray(x, float), np.asarray(y, float)
    if across.shape != up.shape or across.ndim != 1 or len(np.unique(across)) < 2:
        raise ValueError(f"x of shape {across.shape}, y {up.shape}: a line needs as many y as x and two different x.")
    centred = across - across.mean()
    slope = float(centred @ up / (centred @ centred))
    rest, spread = up - up.mean() - slope * centred, up - up.mean()
    explained = 1 - float(rest @ rest) / float(spread @ spread) if spread.any() else 1.0
    return Fit(slope, float(up.mean() - slope * across.mean()), explained, len(across))


def floats(values: np.ndarray) -> tuple:
    """An array as nested tuples of plain numbers.

    >>> floats(np.array([[1.0, 2.0]]))
    ((1.0, 2.0),)
    """
    return tuple(floats(row) for row in values) if np.ndim(values) > 1 else tuple(np.asarray(values).tolist())


def to_json(one: Any) -> str:
    """A record as JSON text.

    >>> from_json(to_json(fit_line([0, 1], [0, 2]))).slope
    2.0
    """
    return json.dumps({"schema_version": SCHEMA_VERSION, **_encode(one)})


def from_json(text: str) -> Any:
    """Inverse of `to_json`. ValueError for a newer schema or a record that is not known."""
    data = json.loads(text)
    version = data.pop("schema_version", None) if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise ValueError(f"record has schema_version {version!r}, this ra3_lab reads {SCHEMA_VERSION}: update ra3_lab.")
    return _decode(data)


def _encode(value: Any) -> Any:
    if is_dataclass(value):
        return {"record": type(value).__name__, **{f.name: _encode(getattr(value, f.name)) for f in fields(value)}}
    return [_encode(item) for item in value] if isinstance(value, tuple) else value


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
    if not isinstance(value, dict):
        return value
    kind = value.pop("record", None)
    if kind not in _KINDS:
        for module in _LABS:  # not at the top: they import this module
            import_module(f"ra3_lab.theory.{module}")
    if kind not in _KINDS:
        raise ValueError(f"no record named {kind!r}; there are {sorted(_KINDS)}.")
    return _KINDS[kind](**{name: _decode(item) for name, item in value.items()})
