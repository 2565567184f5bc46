"""`ra3-lab compare`: learning curves of RLVR runs, with bands over seeds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import tyro

from ra3_lab.commands.output import Json, results


def run(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional],
    level: float | None = None,
    figure: Path | None = None,
    json: Json = None,
) -> int:
    """Compare RLVR runs: area under the validation curve, updates to a level, final value, with 95 % intervals.

    Runs that differ in their seed only are taken together; intervals are over seeds. Figures are up to the last update
    at which every run was looked at; curves are drawn whole.

    Example: ra3-lab compare runs/ntp-0 runs/ntp-1 runs/ntp-2 runs/ra3-0 runs/ra3-1 runs/ra3-2 --figure curves.html

    Args:
        runs: Run directories of `ra3-lab rlvr`; they may still be going on.
        level: pass@1 to be reached; default: the lowest final value among the groups.
        figure: Write the curves to this .html file, which needs no network.
        json: Write the result as JSON to FILE, or to stdout.
    """
    from ra3_lab.rlvr.curves import common_end, read_groups

    if figure is not None and (figure.suffix != ".html" or not figure.parent.is_dir()):
        raise ValueError(f"--figure {figure}: give the name of an .html file in a folder that exists.")
    if not runs:
        raise ValueError("no runs to compare: give run directories of `ra3-lab rlvr`.")
    with results("compare", json) as emit:
        groups = read_groups(runs)
        end = common_end(groups)
        compared = [group.until(end) for group in groups]
        if level is None:
            level = min(sum(curve.final for curve in group.curves) / len(group.curves) for group in compared)
        rows = [group.summary(level) for group in compared]
        width = max(len(row["label"]) for row in rows)
        print(f"{'':<{width}}  seeds  updates  area under curve       final pass@1           updates to {level:.3f}")
        for row in rows:
            steps = f"{row['steps_to_level']:.0f}" if math.isfinite(row["steps_to_level"]) else "not reached"
            steps += f" ({row['reached_level']} of {len(row['seeds'])} runs)"
            area, final = _interval(row["area"]), _interval(row["final"])
            counts = f"{len(row['seeds']):>5}  {row['updates']:>7}"
            print(f"{row['label']:<{width}}  {counts}  {area:<21}  {final:<21}  {steps}")
        lasts = {group.label: max(curve.updates[-1] for curve in group.curves) for group in groups}
        notes = []
        if further := [f"{label} to {last}" for label, last in lasts.items() if last > end]:
            every = "the last at which every run was looked at"
            notes = [f"note: taken up to update {end}, {every}; further went {', '.join(further)}."]
            print(notes[0])
        if figure is not None:
            from ra3_lab.explore.learning import figure_learning

            figure_learning(groups).write_html(figure, include_plotlyjs=True)
            print(f"curves are in {figure}")
        emit({"level": level, "groups": rows, "notes": notes})
    return 0


def _interval(estimate: dict[str, Any]) -> str:
    """Mean with its interval, or with a word where there is none."""
    if math.isnan(estimate["low"]):
        return f"{estimate['mean']:.3f} (one seed)"
    return f"{estimate['mean']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
