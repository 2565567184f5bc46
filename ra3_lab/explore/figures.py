"""Plotly figures of a run's record: pure functions, record in, figure out.

None where the record has no data. The title is the finding, computed from the data (`findings`). Colours
are Okabe and Ito's; every arm also has its own marker and dash, so nothing rests on colour. Backgrounds are
transparent and text is a mid grey that reads on black and on white; the report's style sheet sharpens text
and grid for the page's own light or dark background.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, pairwise
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ra3_lab.explore.findings import (
    arm_label,
    arms_of,
    curves,
    describe_estep,
    describe_lengths,
    describe_mstep,
    describe_validation,
    is_number,
    rows_with,
)

TEXT = "#767676"
"""4.5 to 1 on white and 4.6 to 1 on black."""
RULE = "rgba(128,128,128,0.3)"
STYLES: dict[str, tuple[str, str, str]] = {
    "base": ("#808080", "x", "dot"),
    "ntp": ("#D55E00", "square", "dash"),
    "prior": ("#009E73", "diamond", "dashdot"),
    "ra3": ("#0072B2", "circle", "solid"),
}
"""Arm -> (colour, marker, dash); all colours 3 to 1 or better on white and on the report's dark page."""
_MORE = (
    ("#CC79A7", "#B8860B", "#8A63D2", "#A0522D"),
    ("triangle-up", "star", "pentagon", "cross", "hexagon"),
    ("longdash", "solid", "dot"),
)
"""Colours, markers and dashes that arms without a style of their own go through, each at its own pace."""


def styles(arms: Iterable[str]) -> dict[str, tuple[str, str, str]]:
    """Arm -> (colour, marker, dash): its own, or of the others one after the other; the first 60 all differ.

    >>> styles(["ra3", "annotator"])
    {'ra3': ('#0072B2', 'circle', 'solid'), 'annotator': ('#CC79A7', 'triangle-up', 'longdash')}
    """
    more = zip(*map(cycle, _MORE), strict=True)
    return {arm: STYLES[arm] if arm in STYLES else next(more) for arm in dict.fromkeys(arms)}


def figure_lengths(record: Mapping[str, Any]) -> go.Figure | None:
    """pass@1 against the number of steps, a line per arm."""
    twin = describe_lengths(record)
    if twin is None:
        return None
    figure, lengths = go.Figure(), [row[0] for row in twin.rows]
    look = styles(arms_of(record))
    for arm, row in arms_of(record).items():
        by = row.get("by_length") or {}
        values = [100 * by[length] if is_number(by.get(length)) else None for length in lengths]
        if any(value is not None for value in values):
            hover = "%{y:.1f} % at %{x} steps"
            figure.add_trace(_line(arm, look[arm], lengths, values, "lines+markers", 9, hovertemplate=hover))
    figure.update_xaxes(title="steps in the pipeline", type="category", categoryarray=lengths)
    figure.update_yaxes(title="pass@1 (% of programs)", rangemode="tozero")
    return dress(figure, twin.title, 380)


def figure_estep(record: Mapping[str, Any]) -> go.Figure | None:
    """Return above, F1 and share of lines with a thought below, over E-step updates; a gap between rounds."""
    twin = describe_estep(record)
    if twin is None:
        return None
    watched, trained = rows_with(record, "monitor", "return"), rows_with(record, "estep", "return")
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    panels = [
        (1, trained, "return", 1, "return, training batches", ("#808080", "x-thin", "dot")),
        (1, watched, "return", 1, "return, held-out programs", ("#0072B2", "circle", "solid")),
        (2, watched, "f1", 100, "F1 of segment starts", ("#D55E00", "square", "solid")),
        (2, watched or trained, "think_share", 100, "lines with a thought", ("#009E73", "diamond", "dash")),
    ]
    for panel, rows, key, scale, label, (color, marker, dash) in panels:
        x, y = by_round(rows, key, scale)
        if any(value is not None for value in y):
            mode = "lines" if rows is trained else "lines+markers"
            trace = go.Scatter(
                x=x,
                y=y,
                name=label,
                mode=mode,
                line={"color": color, "dash": dash, "width": 1.5 if rows is trained else 2.5},
                marker={"symbol": marker, "size": 8},
                hovertemplate="%{y:.2f}" if scale == 1 else "%{y:.1f} %",
            )
            figure.add_trace(trace, row=panel, col=1)
    starts = _round_starts(watched or trained)
    for update in starts:
        figure.add_vline(x=update, line={"color": TEXT, "width": 1, "dash": "dot"})
    figure.update_yaxes(title="return (nats)", row=1, col=1)
    figure.update_yaxes(title="F1 and share (%)", range=[0, 104], row=2, col=1)
    title = "E-step updates" + (" (dotted line: M-step, new round)" if starts else "")
    figure.update_xaxes(title=title, row=2, col=1)
    figure.update_xaxes(dtick=whole_marks([row["update"] for row in watched + trained]))
    return dress(figure, twin.title, 540)


def figure_mstep(record: Mapping[str, Any]) -> go.Figure | None:
    """Training loss of the arms: running mean over a twentieth of the updates."""
    twin = describe_mstep(record)
    if twin is None:
        return None
    figure, arms = go.Figure(), curves(record, "mstep", "loss")
    look = styles(arms)
    for arm, points in arms.items():
        x, y = (
            [update for update, _ in points],
            _running_mean([value for _, value in points], max(1, len(points) // 20)),
        )
        trace = _line(arm, look[arm], x, y, "lines+markers", 9, hovertemplate="%{y:.4f} nats")
        trace.update(marker={"maxdisplayed": 12})
        figure.add_trace(trace)
    figure.update_xaxes(title="M-step updates")
    figure.update_yaxes(title="loss (nats per token)", rangemode="tozero")
    return dress(figure, twin.title, 380)


def figure_validation(record: Mapping[str, Any]) -> go.Figure | None:
    """Validation score of the arms over M-step updates."""
    twin = describe_validation(record)
    if twin is None:
        return None
    figure, arms = go.Figure(), curves(record, "validation", "score")
    look = styles(arms)
    for arm, points in arms.items():
        x, y = [update for update, _ in points], [value for _, value in points]
        figure.add_trace(_line(arm, look[arm], x, y, "lines+markers", 9, hovertemplate="%{y:.3f}"))
    figure.update_xaxes(title="M-step updates", rangemode="tozero")
    figure.update_yaxes(title="validation score")
    return dress(figure, twin.title, 340)


def _line(
    arm: str, style: tuple[str, str, str], x: Sequence[Any], y: Sequence[Any], mode: str, size: int, hovertemplate: str
) -> go.Scatter:
    color, marker, dash = style
    return go.Scatter(
        x=x,
        y=y,
        mode=mode,
        name=html.escape(arm_label(arm)),
        hovertemplate=hovertemplate,
        line={"color": color, "dash": dash, "width": 2.5},
        marker={"symbol": marker, "size": size, "color": color},
    )


def by_round(rows: Sequence[Mapping[str, Any]], key: str, scale: float) -> tuple[list, list]:
    """Points of a curve, cut between rounds."""
    x: list[Any] = []
    y: list[Any] = []
    before = None
    for row in rows:
        if x and row.get("round") != before:
            x.append(row["update"])
            y.append(None)
        before = row.get("round")
        x.append(row["update"])
        y.append(scale * row[key] if is_number(row.get(key)) else None)
    return x, y


def _round_starts(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Updates at which a round but the first starts."""
    return [row["update"] for before, row in pairwise(rows) if row.get("round") != before.get("round")]


def _running_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean over the last `window` values, as many as there are at the start.

    >>> _running_mean([1.0, 3.0, 5.0], 2)
    [1.0, 2.0, 4.0]
    """
    return [sum(values[max(0, i + 1 - window) : i + 1]) / min(window, i + 1) for i in range(len(values))]


def whole_marks(updates: Sequence[float]) -> int | None:
    """Distance of the marks on an axis of updates: of few of them plotly would mark parts, of many it chooses well.

    >>> whole_marks([0, 1, 2]), whole_marks(range(40))
    (1, None)
    """
    return 1 if max(updates) <= 10 else None


def dress(figure: go.Figure, title: str, height: int) -> go.Figure:
    """The common look."""
    figure.update_layout(
        template=go.layout.Template(),
        title={"text": html.escape(title)},
        height=height,
        autosize=True,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 64, "r": 16, "t": 48, "b": 56},
        font={"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 13, "color": TEXT},
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.0,
            "yanchor": "bottom",
            "bgcolor": "rgba(0,0,0,0)",
        },
        showlegend=True,
        hovermode="x",
        hoverlabel={"bgcolor": "#222", "font": {"color": "#fff"}},
    )
    figure.update_xaxes(gridcolor=RULE, zeroline=False, showline=True, linecolor=TEXT, automargin=True)
    figure.update_yaxes(gridcolor=RULE, zeroline=False, automargin=True)
    return figure
