"""The look that the figures of the theory share: lines told apart by colour, marker and dash; the legend below."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from ra3_lab.explore.figures import TEXT, dress

BLUE = ("#0072B2", "circle", "solid")
ORANGE = ("#D55E00", "square", "dash")
GREEN = ("#009E73", "diamond", "dashdot")
PINK = ("#CC79A7", "triangle-up", "longdash")
GREY = ("#808080", "x", "dot")
"""(colour, marker, dash), Okabe and Ito's colours."""


def line(
    name: str,
    x: Sequence[Any],
    y: Sequence[Any],
    style: tuple[str, str, str],
    unit: str,
    marks: bool = True,
    legend: bool = True,
    dash: str | None = None,
) -> go.Scatter:
    """A curve; `unit` is said when pointing at it."""
    color, marker, own = style
    return go.Scatter(
        x=list(x),
        y=list(y),
        name=name,
        legendgroup=name,
        showlegend=legend,
        mode="lines+markers" if marks else "lines",
        line={"color": color, "dash": dash or own, "width": 2.5 if marks else 1.8},
        marker={"symbol": marker, "size": 8, "color": color},
        hovertemplate=f"%{{y:.3~g}} {unit}",
    )


def points(name: str, x: Sequence[Any], y: Sequence[Any], style: tuple[str, str, str]) -> go.Scatter:
    """Separate points, one a setting; the curve of the same name and marker stands for them in the legend."""
    color, marker, _ = style
    return go.Scatter(
        x=list(x),
        y=list(y),
        name=name,
        legendgroup=name,
        showlegend=False,
        mode="markers",
        marker={
            "symbol": f"{marker}-open" if marker != "x" else marker,
            "size": 8,
            "color": color,
            "line": {"width": 2},
        },
        hovertemplate="%{x:.3~g} → %{y:.3~g}",
    )


def diagonal(low: float, high: float) -> go.Scatter:
    """Where measured equals predicted."""
    return go.Scatter(
        x=[low, high],
        y=[low, high],
        name="measured = predicted",
        mode="lines",
        line={"color": TEXT, "dash": "dot", "width": 1.5},
        hoverinfo="skip",
    )


def finish(figure: go.Figure, title: str, height: int = 430) -> go.Figure:
    """The house look, the finding wrapped to two lines, room for two rows of legend below."""
    dress(figure, title, height)
    wrapped = "<br>".join(html.escape(part) for part in textwrap.wrap(title, 104))
    figure.update_layout(
        title={"text": wrapped, "x": 0, "xanchor": "left", "xref": "paper", "font": {"size": 15}},
        margin={"l": 64, "r": 20, "t": 88, "b": 104},
        legend={"yref": "container", "y": 0.01, "yanchor": "bottom", "x": 0},
        hovermode="closest",
    )
    figure.update_annotations(font={"size": 13})  # names of panels
    figure.update_xaxes(title={"font": {"size": 13}, "standoff": 6})
    figure.update_yaxes(title={"font": {"size": 13}, "standoff": 6})
    return figure
