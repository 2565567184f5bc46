"""RLVR runs as records: reward and what goes with it, update by update, of several runs beside each other.

Reads `rlvr_runs` of a recorded run (starts, hacking, failures; data/records/README.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from ra3_lab.explore.explorer import Control, Explorer
from ra3_lab.explore.figures import dress, styles, whole_marks
from ra3_lab.explore.findings import Twin, arm_label, join, number
from ra3_lab.explore.view import View

MEASURES: Mapping[str, tuple[str, str]] = {
    "reward": ("reward of the batch", "mean reward"),
    "validation": ("validation pass@1", "pass@1"),
    "tests": ("share that passes the tests", "share of answers"),
    "exit code": ("share that ends without an error", "share of answers"),
    "length": ("length of answers", "tokens"),
    "zero_variance": ("groups whose answers all earned the same", "share of groups"),
    "thought_share": ("lines with a thought", "share of lines"),
    "entropy": ("entropy", "nats a token"),
    "kl_to_initial": ("KL to the initial policy", "nats a token"),
}
"""Key of a row -> (what it is, unit)."""


def rlvr_curves(record: Mapping[str, Any]) -> Explorer:
    """The explorer of a record's RLVR runs. Raises ValueError where it has none, or these no update."""
    runs = record.get("rlvr_runs") or []
    if not runs:
        raise ValueError("this record holds no RLVR runs: see data/records/README.md for those that do.")
    longest = {name: max(len(curve_of(run, name)) for run in runs) for name in MEASURES}
    known = tuple(name for name in MEASURES if longest[name] > 1)
    known = known or tuple(name for name in MEASURES if longest[name])  # runs of one update
    if not known:
        raise ValueError("the RLVR runs of this record made no update: there is nothing to draw.")
    return Explorer(
        "rlvr-curves",
        record["title"],
        "One curve a run. A reward that rises says what the rule pays for, not that programs get better: look at the "
        "other measures, too.",
        (Control("measure", "Measure", known, known[0], "choice", tuple(MEASURES[name][0] for name in known)),),
        lambda measure: draw_curves(runs, measure),
    )


def curve_of(run: Mapping[str, Any], measure: str) -> list[tuple[int, float]]:
    """(update, value) in order; empty where the run did not keep it."""
    if measure == "validation":
        return [(int(update), float(value)) for update, value in run["validation"]]
    return [(row["update"], float(row[measure])) for row in run["curve"] if row.get(measure) is not None]


def draw_curves(runs: Sequence[Mapping[str, Any]], measure: str) -> View:
    """One measure of all runs that have it; runs of one label are seeds. Raises ValueError where none has."""
    seeds: dict[str, list[list[tuple[int, float]]]] = {}
    for run in runs:
        if points := curve_of(run, measure):
            seeds.setdefault(run["label"], []).append(points)
    if not seeds:
        raise ValueError(f"measure={measure!r}: no run has it; there are {', '.join(MEASURES)}.")
    name, unit = MEASURES[measure]
    rows, told = [], []
    for label, each in seeds.items():
        y = [value for _, value in mean_curve(each)]
        third = max(1, len(y) // 3)
        first, last = sum(y[:third]) / third, sum(y[-third:]) / third
        values = (number(y[0], 3), number(y[-1], 3), number(last - first, 3, sign=True), number(max(y), 3))
        rows.append((arm_label(label), str(len(each)), str(len(y)), *values))
        told.append(f"{arm_label(label)} {number(y[0], 2)} to {number(y[-1], 2)}")
    title = f"{name[0].upper()}{name[1:]}: {'; '.join(told)}"
    most = max(map(len, seeds.values()))
    doubt = f"Curves are means over {most} seeds, the thin lines" if most > 1 else "Each run is one seed"
    text = (
        f"From the first to the last update that was kept, in {unit}. The change compares the mean of the last third "
        f"with that of the first. {doubt}, and batches differ in difficulty: small changes are noise."
    )
    if without := [arm_label(run["label"]) for run in runs if run["label"] not in seeds]:
        text += f" Without such values: {join(list(dict.fromkeys(without)))}."
    columns = ("run", "seeds", "points", "first", "last", "change", "largest")
    return View(Twin(title, text, columns, tuple(rows)), figure=_figure(seeds, unit))


def mean_curve(seeds: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    """The mean at the updates that every seed has.

    >>> mean_curve([[(0, 0.0), (1, 1.0)], [(0, 0.5)]])
    [(0, 0.25)]
    """
    tables = [dict(points) for points in seeds]
    shared = [update for update, _ in seeds[0] if all(update in table for table in tables)]
    return [(update, sum(table[update] for table in tables) / len(tables)) for update in shared]


def _figure(seeds: Mapping[str, Sequence[Sequence[tuple[int, float]]]], unit: str) -> go.Figure:
    figure, look = go.Figure(), styles(seeds)
    for label, each in seeds.items():
        color, symbol, dash = look[label]
        for points in each if len(each) > 1 else ():
            x, y = zip(*points, strict=True)
            thin = {"color": color, "width": 1}
            figure.add_trace(
                go.Scatter(x=x, y=y, mode="lines", line=thin, opacity=0.55, showlegend=False, hoverinfo="skip")
            )
        x, y = zip(*mean_curve(each), strict=True)
        figure.add_trace(
            go.Scatter(
                x=x,
                y=y,
                name=arm_label(label),
                mode="lines+markers",
                line={"color": color, "dash": dash, "width": 2.5},
                marker={"symbol": symbol, "size": 8},
                hovertemplate=f"%{{y:.3f}} {unit}, update %{{x}}",
            )
        )
    updates = [update for each in seeds.values() for points in each for update, _ in points]
    figure.update_xaxes(title="updates", dtick=whole_marks(updates))
    figure.update_yaxes(title=unit, rangemode="tozero")
    return dress(figure, "", 360)
