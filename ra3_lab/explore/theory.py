"""The labs of `ra3_lab/theory` shown: any of their records as a figure, a table, a paragraph, or all in one view.

    record = pruning_lab(sigma=0.05)
    figure(record).show(); print(table(record)); print(text(record))

Pure functions of the record; the drawing itself is in `theory_planning.py` and `theory_oracle.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go

from ra3_lab.explore import theory_oracle, theory_planning
from ra3_lab.explore.findings import Twin
from ra3_lab.explore.view import View, plain_table
from ra3_lab.theory.choices import ChoiceRecord
from ra3_lab.theory.horizon import HorizonRecord
from ra3_lab.theory.oracle_labs import EMRecord, GradientRecord, PosteriorRecord, PriceRecord
from ra3_lab.theory.pruning import PruningRecord
from ra3_lab.theory.regret import RegretRecord
from ra3_lab.theory.violations import ViolationRecord

SHOWN: dict[type, tuple[Callable[[Any], Twin], Callable[[Any], go.Figure]]] = {
    RegretRecord: (theory_planning.describe_regret, theory_planning.figure_regret),
    PruningRecord: (theory_planning.describe_pruning, theory_planning.figure_pruning),
    ViolationRecord: (theory_planning.describe_violations, theory_planning.figure_violations),
    ChoiceRecord: (theory_planning.describe_choices, theory_planning.figure_choices),
    HorizonRecord: (theory_planning.describe_horizon, theory_planning.figure_horizon),
    PosteriorRecord: (theory_oracle.describe_posterior, theory_oracle.figure_posterior),
    PriceRecord: (theory_oracle.describe_price, theory_oracle.figure_price),
    GradientRecord: (theory_oracle.describe_gradient, theory_oracle.figure_gradient),
    EMRecord: (theory_oracle.describe_em, theory_oracle.figure_em),
}
"""Record -> (what it says, how it is drawn)."""


def describe(record: Any) -> Twin:
    """The finding, the paragraph and the table of a record. TypeError for anything else."""
    return _shown(record)[0](record)


def figure(record: Any) -> go.Figure:
    """The record drawn; the title is the finding, `layout.meta["alt"]` a text for those who do not see it."""
    drawn, twin = _shown(record)[1](record), describe(record)
    drawn.update_layout(meta={"alt": f"{twin.title}. {twin.text}"})
    return drawn


def table(record: Any) -> str:
    """The record's numbers as a plain text table."""
    twin = describe(record)
    return plain_table(twin.columns, twin.rows)


def text(record: Any) -> str:
    """What the record shows, one paragraph."""
    return describe(record).text


def view(record: Any) -> View:
    """All of it for widgets and pages."""
    return View(describe(record), figure=figure(record))


def _shown(record: Any) -> tuple[Callable[[Any], Twin], Callable[[Any], go.Figure]]:
    if type(record) not in SHOWN:
        known = ", ".join(sorted(kind.__name__ for kind in SHOWN))
        raise TypeError(f"{type(record).__name__}: not a record of a theory lab; there are {known}.")
    return SHOWN[type(record)]
