"""Learning curves of RLVR runs as a figure: mean over seeds, a band for the interval, one marker and dash a group."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.colors import hex_to_rgb

from ra3_lab.explore.figures import dress, styles
from ra3_lab.rlvr.curves import CurveGroup, common_end


def learning_title(groups: Sequence[CurveGroup]) -> str:
    """The finding: which group is highest at the last update at which all were looked at, and whether its interval
    leaves the next one out. Raises ValueError where there is no such update."""
    last = common_end(groups)
    ends = [(dict(group.band())[last], group.label) for group in groups]
    (best, label), *rest = sorted(ends, key=lambda end: -end[0].mean)
    ended = all(curve.updates[-1] == last for group in groups for curve in group.curves)
    text = f"{label} ends at" if ended else f"After {last} update{'s' * (last != 1)} {label} is at"
    text += f" pass@1 {best.mean:.2f}"
    if not rest:
        return text
    other, name = rest[0]
    apart = "intervals apart" if best.low > other.high else "intervals overlap"
    if alone := [label for end, label in ((best, label), (other, name)) if math.isnan(end.low)]:
        apart = f"{alone[0]} has one seed: no evidence" if len(alone) == 1 else "one seed each: no evidence"
    return f"{text}, {name} at {other.mean:.2f} ({apart})"


def figure_learning(groups: Sequence[CurveGroup]) -> go.Figure:
    """Validation pass@1 against updates."""
    figure, look = go.Figure(), styles(group.label for group in groups)
    for group in groups:
        color, marker, dash = look[group.label]
        band, seeds = group.band(), len(group.curves)
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
                name=html.escape(f"{group.label} ({seeds} seed{'s' * (seeds != 1)})"),
                hovertemplate="%{y:.3f} after %{x} updates",
                line={"color": color, "dash": dash, "width": 2.5},
                marker={"symbol": marker, "size": 9, "color": color},
            )
        )
    figure.update_xaxes(title="updates", rangemode="tozero")
    figure.update_yaxes(title="validation pass@1", rangemode="tozero")
    return dress(figure, learning_title(groups), 420)
