"""Run comparison: the arms' learning curves with bands over seeds, the table of where they end, and what each cost.

Takes records of runs (`ra3-lab demo`, `study`, `record`), one or several seeds. Curves go over the M-step's updates;
the table counts those of both steps, which are equal for the arms of a demo.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from ra3_lab.explore.explorer import Control, Explorer
from ra3_lab.explore.figures import dress, styles
from ra3_lab.explore.findings import MISSING, Twin, arm_label, curves, ending, in_order, is_number, join, number, thin
from ra3_lab.explore.view import View
from ra3_lab.rlvr.curves import Estimate, over_seeds, rate_over_seeds

MEASURES = {
    "mstep": ("loss", "M-step loss", "nats per token", -1),
    "validation": ("score", "validation score", "share of programs that pass", 1),
}
"""Section of a record -> (its key, its name, its unit, whether higher is better (1) or lower (-1))."""
NAMED = 3
"""Arms that a title names beside the best one."""


def read_records(folder: str | Path) -> list[dict[str, Any]]:
    """The records of a study's folder, one a seed. Raises FileNotFoundError where there are none."""
    from ra3_lab.study import read_study, seed_records

    records = read_study(Path(folder))
    if not records:
        raise FileNotFoundError(f"no records.jsonl in {folder}: give the folder that `ra3-lab study --out` wrote.")
    return seed_records(records, next(iter(records[0]["scores"])))


def run_comparison(records: Sequence[Mapping[str, Any]]) -> Explorer:
    """The explorer of these records, one a seed. Raises ValueError where no record has curves."""
    measures = [name for name, (key, *_) in MEASURES.items() if any(curves(record, name, key) for record in records)]
    if not measures:
        raise ValueError("these records hold no M-step loss and no validation score: nothing to compare.")
    return Explorer(
        "comparison",
        "Run comparison",
        "The arms' curves with a band over seeds, where they end, and what they cost. Smoothing averages the loss over "
        "the last updates; the finding and the table take the last tenth.",
        (
            Control(
                "measure", "Measure", tuple(measures), measures[0], "choice", tuple(MEASURES[m][1] for m in measures)
            ),
            Control("window", "Smoothing, updates", (1, 3, 5, 10), 5),
        ),
        lambda measure, window: draw_runs(records, measure, window),
    )


def draw_runs(records: Sequence[Mapping[str, Any]], measure: str, window: int) -> View:
    """One measure of all arms."""
    key, name, unit, sign = MEASURES[measure]
    by_arm = _by_arm(records, measure, key)
    scores = [value for runs in by_arm.values() for points in runs for _, value in points]
    rates = measure == "validation" and all(0 <= value <= 1 for value in scores)  # one's own `validate` may score else
    estimate = rate_over_seeds if rates else over_seeds
    ends = {arm: estimate([ending(points) for points in runs]) for arm, runs in by_arm.items()}
    best, *rest = sorted(ends, key=lambda arm: -sign * ends[arm].mean)
    others = [f"{arm_label(arm)} {number(ends[arm].mean, 3)}" for arm in rest]
    if len(others) > NAMED:
        others[NAMED:] = [f"and {len(others) - NAMED} more"]
    title = f"{name} ends {'highest' if sign > 0 else 'lowest'} for {arm_label(best)}: {number(ends[best].mean, 3)}"
    title = title[0].upper() + title[1:] + (f" ({', '.join(others)})" if others else "")
    seeds = max(len(runs) for runs in by_arm.values())
    text = f"In {unit}, {'higher' if sign > 0 else 'lower'} is better. "
    fewer = [f"{arm_label(arm)} has {len(runs)}" for arm, runs in by_arm.items() if len(runs) < seeds]
    text += (
        f"Bands and intervals are 95 % intervals of the mean over {seeds} seeds (Student's t"
        f"{'; ' + join(fewer) if fewer else ''}). "
        if seeds > 1
        else "One seed: no band, and differences may be luck. "
    )
    if measure == "mstep":
        text += "Where thoughts are written in, their tokens count too: the curves compare texts, not programs."
    rows = []
    for arm, runs in by_arm.items():
        low, high = ends[arm].low, ends[arm].high
        interval = f"{number(low, 3)} to {number(high, 3)}" if is_number(low) else MISSING
        cost = [(record.get("summary") or {}).get("arms", {}).get(arm, {}) for record in records]
        known = {k: [row[k] for row in cost if is_number(row.get(k))] for k in ("updates", "tokens", "seconds")}
        updates = known["updates"] or [_updates(record, arm, measure, key) for record in records]
        updates = [count for count in updates if count]
        rows.append(
            (
                arm_label(arm),
                str(len(runs)),
                number(ends[arm].mean, 3),
                interval,
                number(sum(updates) / len(updates), 0),
                number(sum(known["tokens"]) / len(known["tokens"]) / 1e6) if known["tokens"] else MISSING,
                number(sum(known["seconds"]) / len(known["seconds"]), 0) if known["seconds"] else MISSING,
            )
        )
    columns = (
        "arm",
        "seeds",
        f"{name}, last tenth",
        "95 % interval",
        "E- and M-step updates",
        "tokens (millions)",
        "seconds",
    )
    drawn = _figure(
        by_arm, unit, window if measure == "mstep" else 1, estimate
    )  # looks at validation are few: each is shown
    return View(Twin(title, text.strip(), columns, tuple(rows)), figure=drawn)


def _updates(record: Mapping[str, Any], arm: str, section: str, key: str) -> float:
    """Updates of both steps where no summary has them: up to the arm's last point, and RA3's E-step; 0 without one."""
    points = curves(record, section, key).get(arm)
    return points[-1][0] + (len(record.get("estep") or ()) if arm == "ra3" else 0) if points else 0


def _by_arm(records: Sequence[Mapping[str, Any]], section: str, key: str) -> dict[str, list[list[tuple[float, float]]]]:
    """Arm -> its curves, one a seed."""
    found: dict[str, list[list[tuple[float, float]]]] = {}
    for record in records:
        for arm, points in curves(record, section, key).items():
            found.setdefault(arm, []).append(points)
    return {arm: found[arm] for arm in in_order(found)}


def _figure(
    by_arm: Mapping[str, list[list[tuple[float, float]]]],
    unit: str,
    window: int,
    estimate: Callable[[Sequence[float]], Estimate],
) -> go.Figure:
    """Mean curves, and bands where there are several seeds."""
    figure, look = go.Figure(), styles(by_arm)
    for arm, runs in by_arm.items():
        color, marker, dash = look[arm]
        smooth = [dict(_smoothed(points, window)) for points in runs]
        shared = sorted(set.intersection(*(set(one) for one in smooth)))
        bands = [(x, estimate([one[x] for one in smooth])) for x in thin(shared, 120)]
        if all(is_number(band.low) for _, band in bands):
            figure.add_trace(
                go.Scatter(
                    x=[x for x, _ in bands] + [x for x, _ in bands[::-1]],
                    y=[band.high for _, band in bands] + [band.low for _, band in bands[::-1]],
                    mode="lines",
                    fill="toself",
                    fillcolor=color,
                    opacity=0.18,
                    line={"width": 0},
                    hoverinfo="skip",
                    showlegend=False,
                    legendgroup=arm,
                )
            )
        figure.add_trace(
            go.Scatter(
                x=[x for x, _ in bands],
                y=[band.mean for _, band in bands],
                name=html.escape(arm_label(arm)),
                legendgroup=arm,
                mode="lines+markers",
                line={"color": color, "dash": dash, "width": 2.5},
                marker={"symbol": marker, "size": 8, "color": color, "maxdisplayed": 10},
                hovertemplate="%{y:.3f}",
            )
        )
    figure.update_xaxes(title="M-step updates")
    figure.update_yaxes(title=unit)  # the finding names the measure
    return dress(figure, "", 380)


def _smoothed(points: Sequence[tuple[float, float]], window: int) -> list[tuple[float, float]]:
    """Mean over the last `window` values.

    >>> _smoothed([(1, 1.0), (2, 3.0), (3, 5.0)], 2)
    [(1, 1.0), (2, 2.0), (3, 4.0)]
    """
    values = [value for _, value in points]
    means = (math.fsum(values[max(0, i + 1 - window) : i + 1]) / min(window, i + 1) for i in range(len(values)))
    return [(x, mean) for (x, _), mean in zip(points, means, strict=True)]
