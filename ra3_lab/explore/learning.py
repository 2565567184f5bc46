"""Learning curves of RLVR runs as a figure: mean over seeds, a band for the interval, one marker and dash a group."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.colors import hex_to_rgb

from ra3_lab.explore.figures import dress, styles
from ra3_lab.rlvr.curves import CurveGroup


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
    figure, look = go.Figure(), styles(group.label for group in groups)
    for group in groups:
        color, marker, dash = look[group.label]
        band = group.band()
        x = [update for update, _ in band]
        if not any(math.isnan(value.low) for _, value in band):
            figure.add_trace(
                go.Scatter(
                    x=[*x, *x[::-1]],
                    y=[*(value.high for _, value in band), *(value.low for _, value in band[::-1])],
                    mode="lines",
                    fill="toself",
                    fillcolor=f"rgba{(*hex_to_rgb(color), 0.15)}",
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
                line={"color": color, "dash": dash, "width": 2.5},
                marker={"symbol": marker, "size": 9, "color": color},
            )
        )
    figure.update_xaxes(title="updates", rangemode="tozero")
    figure.update_yaxes(title="validation pass@1", rangemode="tozero")
    return dress(figure, learning_title(groups), 420)
