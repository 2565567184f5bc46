"""Cells and tables of the pages in Markdown, and where the records lie that they are made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
RECORDED = ROOT / "data" / "records"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(value: float) -> str:
    """A share in 0..1 as people read it."""
    return f"{100 * value:.1f} %"


def told(values: np.ndarray | Sequence[float], sign: str = "", digits: int = 1) -> str:
    """A mean and what it is of, '41.2 (43.6, 38.8)'; a single value by itself.

    >>> told([43.6, 38.8], sign="+")
    '+41.2 (+43.6, +38.8)'
    """
    how = f"{sign}.{digits}f"
    mean, each = f"{np.mean(values):{how}}", ", ".join(f"{value:{how}}" for value in values)
    return f"{mean} ({each})" if len(values) > 1 else mean
