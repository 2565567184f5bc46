"""The discovery of latents over several seeds: the E-step's curves as means, with a thin line a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go

from ra3_lab.explore.figures import by_round, figure_estep
from ra3_lab.explore.findings import describe_estep, is_number
from ra3_lab.explore.view import View

PANELS = {"return": (1, 1.0, "#0072B2"), "f1": (2, 100.0, "#D55E00"), "think_share": (2, 100.0, "#009E73")}
"""Measure -> panel of `figure_estep`, scale, colour."""


def draw_discovery(records: Sequence[Mapping[str, Any]]) -> View | None:
    """E-step curves of records, one a seed; None where no record has looks at held-out programs.

    Of a study with several E-steps a seed these are the arm `ra3`'s.
    """
    watched = [record["monitor"] for record in records if record.get("monitor")]
    if not watched:
        return None
    mean = {"monitor": _mean(watched)}
    twin, figure = describe_estep(mean), figure_estep(mean)
    if twin is None or figure is None:
        return None
    if len(watched) > 1:
        twin = replace(twin, text=f"Means over {len(watched)} seeds; thin lines are the seeds. {twin.text}")
        for rows in watched:
            for key, (panel, scale, color) in PANELS.items():
                x, y = by_round(rows, key, scale)
                line = {"color": color, "width": 1}
                thin = go.Scatter(x=x, y=y, mode="lines", line=line, opacity=0.55, showlegend=False, hoverinfo="skip")
                figure.add_trace(thin, row=panel, col=1)
    return View(twin, figure=figure)


def _mean(watched: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of looks that every seed has, each number averaged over the seeds that have it.

    >>> _mean([[{"round": 0, "update": 5, "f1": 0.5}], [{"round": 0, "update": 5, "f1": 1.0}]])
    [{'round': 0, 'update': 5, 'f1': 0.75}]
    """
    by_look = [{(row["round"], row["update"]): row for row in rows} for rows in watched]
    shared = [look for look in by_look[0] if all(look in rows for rows in by_look)]
    means = []
    for look in shared:
        found = [rows[look] for rows in by_look]
        row: dict[str, Any] = {"round": look[0], "update": look[1]}
        for key in found[0]:
            values = [one[key] for one in found if is_number(one.get(key))]
            if key not in row and values:
                row[key] = sum(values) / len(values)
        means.append(row)
    return means
