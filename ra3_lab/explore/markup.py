"""Pieces of HTML that every section of the report is made of.

Cells and bodies are HTML already; labels are plain text.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from ra3_lab.explore.findings import MISSING, is_number, number


def section(name: str, title: str, body: str) -> str:
    head = f'<h2 id="{name}-title">{title}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-title">\n{head}\n{body}\n</section>'


def data_table(label: str, columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = ()) -> str:
    """A data table from cells that are already HTML; columns in `words` are text, not numbers."""
    classes = [" class=words" if i in words else "" for i in range(len(columns))]
    head = "".join(f'<th scope="col"{kind}>{column}</th>' for kind, column in zip(classes, columns, strict=True))
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(classes[1:], row[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table class="data">'
        f"<caption>{escape(label)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def interval_drawing(values: tuple[float, float, float], bounds: tuple[float, float], said: str) -> str:
    """Mean, low and high as a small drawing: a band with a bar at the mean, and a dashed line at 0."""
    left, right = bounds
    width = max(right - left, 1e-9)
    x, a, b, zero = (150 * (value - left) / width for value in (*values, 0.0))
    return (
        f'<svg class="range" viewBox="0 0 150 20" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(said)}">'
        f'<line x1="0" x2="150" y1="10" y2="10" class="axis"/><line x1="{zero:.1f}" x2="{zero:.1f}" y1="0" '
        f'y2="20" class="axis dashed"/>'
        f'<rect x="{a:.1f}" y="4" width="{b - a:.1f}" height="12" class="band"/>'
        f'<rect x="{x - 1:.1f}" y="1" width="2" height="18" fill="currentColor"/></svg>'
    )


def millions(value: Any) -> str:
    return number(value / 1e6) if is_number(value) else MISSING


def plain(value: Any) -> str:
    """A setting as text: whole numbers with thousands separated, other numbers as Python writes them."""
    return f"{value:,}" if is_number(value) and isinstance(value, int) else str(value)
