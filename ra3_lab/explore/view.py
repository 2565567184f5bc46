"""What an explorer shows at one setting: a finding, a paragraph, a drawing and a table; all of it also as plain text.

A `View` is plain data. It becomes text (`to_text`), a fragment of HTML (`head` and `tail`, with the figure between
them), and is drawn by notebooks (`widgets`) and by exported pages (`page`) from the same pieces.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from ra3_lab.explore.findings import Twin
from ra3_lab.explore.markup import data_table

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class View:
    """One state of an explorer."""

    twin: Twin
    """Finding, paragraph and table."""
    body: str = ""
    """HTML drawn under the paragraph, from `markup` and friends; everything from a program is escaped there."""
    figure: go.Figure | None = None
    """A figure, if there is one; its title is left to the finding."""
    words: tuple[int, ...] = ()
    """Columns of the table that hold text, not numbers."""
    table_label: str = "The same as a table"
    """What the table is called."""

    def to_text(self, width: int = 100) -> str:
        """Everything as plain text, lines of at most `width` characters but for the table."""
        parts = [self.twin.title, "=" * min(width, len(self.twin.title)), textwrap.fill(self.twin.text, width)]
        if self.twin.rows:
            parts += ["", plain_table(self.twin.columns, self.twin.rows, self.words)]
        return "\n".join(parts)

    def head(self) -> str:
        """HTML above the figure."""
        return (
            f'<h3 class="finding">{escape(self.twin.title)}</h3>\n'
            f'<p class="twin" aria-live="polite">{escape(self.twin.text)}</p>\n{self.body}'
        )

    def tail(self) -> str:
        """HTML below the figure: the table, folded."""
        if not self.twin.rows:
            return ""
        rows = [tuple(map(escape, row)) for row in self.twin.rows]
        table = data_table(self.table_label, tuple(map(escape, self.twin.columns)), rows, self.words)
        return f"<details><summary>{escape(self.table_label)}</summary>{table}</details>"

    def figure_json(self) -> str | None:
        """The figure as plotly's JSON, without its title (the finding says it, and wraps)."""
        if self.figure is None:
            return None
        self.figure.update_layout(title=None, margin_t=44)
        return self.figure.to_json()

    def _ipython_display_(self) -> None:
        from ra3_lab.explore.display import show

        show(self)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = ()) -> str:
    """Columns of text, numbers to the right; the first column and those in `words` to the left.

    >>> print(plain_table(("arm", "n"), [("ra3", "12"), ("base", "3")]))
    arm    n
    ----  --
    ra3   12
    base   3
    """
    table = [list(columns), *map(list, rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    left = {0, *words}

    def line(row: Sequence[str]) -> str:
        cells = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        return "  ".join(cells).rstrip()

    return "\n".join([line(columns), "  ".join("-" * w for w in widths), *map(line, rows)])
