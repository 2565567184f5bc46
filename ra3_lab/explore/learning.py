"""Learning curves of RLVR runs as a figure: mean over seeds, a band for the interval, one marker and dash a group."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import plotly.graph_objects as go

from ra3_lab.explore.figures import dress
from ra3_lab.rlvr.curves import CurveGroup

_STYLES = (
    ("0,114,178", "circle", "solid"),
    ("213,94,0", "square", "dash"),
    ("0,158,115", "diamond", "dashdot"),
    ("204,121,167", "triangle-up", "longdash"),
    ("128,128,128", "x", "dot"),
)


def learning_title(groups: Sequence[CurveGroup]) -> str:
    """The finding: which group ends highest, and whether its interval leaves the next one out."""
    ends = sorted(((group.band()[-1][1], group.label) for group in groups), key=lambda end: -end[0].mean)
    best, label = ends[0]
    text = f"{label} ends at pass@1 {best.mean:.2f}"
    if len(ends) == 1:
        return text
    other, name = ends[1]
    if math.isnan(best.low) or math.isnan(other.high):
        return f"{text}, {name} at {other.mean:.2f} (one seed each is no evidence)"
    apart = "intervals apart" if best.low > other.high else "intervals overlap"
    return f"{text}, {name} at {other.mean:.2f} ({apart})"


def figure_learning(groups: Sequence[CurveGroup]) -> go.Figure:
    """Validation pass@1 against updates."""
    figure = go.Figure()
    for number, group in enumerate(groups):
        color, marker, dash = _STYLES[number % len(_STYLES)]
        band = group.band()
        x = [update for update, _ in band]
        if not any(math.isnan(value.low) for _, value in band):
            figure.add_trace(
                go.Scatter(
                    x=[*x, *x[::-1]],
                    y=[*(value.high for _, value in band), *(value.low for _, value in band[::-1])],
                    fill="toself",
                    fillcolor=f"rgba({color},0.15)",
                    line={"width": 0},
                    hoverinfo="skip",
                    showlegend=False,
                )
            )
        figure.add_trace(
            go.Scatter(
                x=x,
                y=[value.mean for _, value in band],
                mode="lines+markers",
                name=html.escape(f"{group.label} ({len(group.curves)} seeds)"),
                hovertemplate="%{y:.3f} after %{x} updates",
                line={"color": f"rgb({color})", "dash": dash, "width": 2.5},
                marker={"symbol": marker, "size": 9, "color": f"rgb({color})"},
            )
        )
    figure.update_xaxes(title="updates", rangemode="tozero")
    figure.update_yaxes(title="validation pass@1", rangemode="tozero")
    return dress(figure, learning_title(groups), 420)
