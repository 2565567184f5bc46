"""The look that the figures of the theory share: lines told apart by colour, marker and dash; the legend below.

Figures are put together as plain dicts and handed to plotly once: its update methods check everything again at each
call and would take longer than the labs.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from ra3_lab.explore.figures import RULE, TEXT

BLUE = ("#0072B2", "circle", "solid")
ORANGE = ("#D55E00", "square", "dash")
GREEN = ("#009E73", "diamond", "dashdot")
PINK = ("#CC79A7", "triangle-up", "longdash")
GREY = ("#808080", "x", "dot")
"""(colour, marker, dash), Okabe and Ito's colours."""
Trace = dict[str, Any]


class Panels:
    """A figure of panels side by side (or in rows): collects traces and axes, then makes the figure."""

    def __init__(self, names: Sequence[str], rows: int = 1, shared_y: bool = False) -> None:
        self._names, self._rows, self._shared = list(names), rows, shared_y
        self._traces: list[Trace] = []
        self._axes: dict[str, Trace] = {}
        self._shapes: list[Trace] = []

    def add(self, trace: Trace, panel: int = 1) -> None:
        """Draw a trace in a panel, counted from 1 in reading order."""
        end = "" if panel == 1 else str(panel)
        self._traces.append({**trace, "xaxis": f"x{end}", "yaxis": f"y{end}"})

    def x(self, panel: int = 1, **settings: Any) -> None:
        """Settings of a panel's x axis; `title` is text."""
        self._axes.setdefault(f"x{panel}", {}).update(settings)

    def y(self, panel: int = 1, **settings: Any) -> None:
        """Settings of a panel's y axis; `title` is text."""
        self._axes.setdefault(f"y{panel}", {}).update(settings)

    def mark(
        self,
        panel: int = 1,
        x: float | None = None,
        y: float | None = None,
        style: tuple[str, str, str] = GREY,
    ) -> None:
        """A line across a panel at this x or y."""
        end = "" if panel == 1 else str(panel)
        across = {"x0": x, "x1": x, "y0": 0, "y1": 1, "xref": f"x{end}", "yref": f"y{end} domain"}
        if y is not None:
            across = {"x0": 0, "x1": 1, "y0": y, "y1": y, "xref": f"x{end} domain", "yref": f"y{end}"}
        self._shapes.append({"type": "line", "line": {"color": style[0], "dash": style[2], "width": 2}, **across})

    def figure(self, title: str, height: int = 430, **layout: Any) -> go.Figure:
        """The figure: house look, the finding wrapped to two lines, room for two rows of legend below."""
        columns = -(-len(self._names) // self._rows)
        gap, drop = (0.03 if self._shared else 0.12), 0.24
        wide, tall = (1 - gap * (columns - 1)) / columns, (1 - drop * (self._rows - 1)) / self._rows
        made: Trace = {}
        notes = []
        for i, name in enumerate(self._names):
            row, column = divmod(i, columns)
            left, top = column * (wide + gap), 1 - row * (tall + drop)
            end = "" if i == 0 else str(i + 1)
            x, y = self._axes.get(f"x{i + 1}", {}), self._axes.get(f"y{i + 1}", {})
            made[f"xaxis{end}"] = {**_axis(x), "domain": [left, left + wide], "anchor": f"y{end}", "linecolor": TEXT}
            made[f"xaxis{end}"]["showline"] = True
            made[f"yaxis{end}"] = {**_axis(y), "domain": [max(0.0, top - tall), top], "anchor": f"x{end}"}
            if self._shared and i:
                made[f"yaxis{end}"].update({"matches": "y", "showticklabels": False})
            if name:
                place = {"x": left + wide / 2, "y": top, "xref": "paper", "yref": "paper"}
                look = {"xanchor": "center", "yanchor": "bottom", "showarrow": False, "font": {"size": 13}}
                notes.append({"text": html.escape(name), **place, **look})
        wrapped = "<br>".join(html.escape(part) for part in textwrap.wrap(title, 110))
        look = {
            "template": {},
            "title": {"text": wrapped, "x": 0, "xanchor": "left", "xref": "paper", "font": {"size": 15}},
            "height": height,
            "autosize": True,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 64, "r": 20, "t": 88, "b": 104},
            "font": {"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 13, "color": TEXT},
            "legend": {
                "orientation": "h",
                "yref": "container",
                "y": 0.01,
                "yanchor": "bottom",
                "x": 0,
                "bgcolor": "rgba(0,0,0,0)",
            },
            "showlegend": True,
            "hovermode": "closest",
            "hoverlabel": {"bgcolor": "#222", "font": {"color": "#fff"}},
        }
        drawn = {"annotations": notes, "shapes": self._shapes}
        return go.Figure({"data": self._traces, "layout": {**look, **made, **drawn, **layout}})


def _axis(settings: Trace) -> Trace:
    said = {"text": settings.get("title", ""), "font": {"size": 13}, "standoff": 6}
    return {"gridcolor": RULE, "zeroline": False, "automargin": True, **settings, "title": said}


def line(
    name: str,
    x: Sequence[Any],
    y: Sequence[Any],
    style: tuple[str, str, str],
    unit: str,
    marks: bool = True,
    legend: bool = True,
    dash: str | None = None,
) -> Trace:
    """A curve; `unit` is said when pointing at it."""
    color, marker, own = style
    return dict(
        type="scatter",
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


def points(name: str, x: Sequence[Any], y: Sequence[Any], style: tuple[str, str, str]) -> Trace:
    """Separate points, one a setting; the curve of the same name and marker stands for them in the legend."""
    color, marker, _ = style
    return dict(
        type="scatter",
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


def diagonal(low: float, high: float) -> Trace:
    """Where measured equals predicted."""
    return dict(
        type="scatter",
        x=[low, high],
        y=[low, high],
        name="measured = predicted",
        mode="lines",
        line={"color": TEXT, "dash": "dot", "width": 1.5},
        hoverinfo="skip",
    )
