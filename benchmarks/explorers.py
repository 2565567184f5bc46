"""How long explorers take to answer: a move of a slider, and the counterfactual editor's likelihood.

    python benchmarks/explorers.py            # about a minute; writes benchmarks/results/explorers.json

A move is everything that happens in Python: draw the view, its HTML and the figure's JSON. The first draw of a setting
is measured, before any cache can help; median and worst over every value of every control, CPU and wall time.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from ra3_lab.experiment import versions
from ra3_lab.explore import labs
from ra3_lab.explore.abstractions import abstraction_map
from ra3_lab.explore.compare import run_comparison
from ra3_lab.explore.editor import counterfactual_editor, workbench
from ra3_lab.explore.explorer import Explorer
from ra3_lab.explore.groups import group_browser
from ra3_lab.explore.knobs import oracle_knobs, recorded_knobs
from ra3_lab.explore.rewards import rlvr_curves
from ra3_lab.explore.timeline import latent_timeline
from ra3_lab.models.load import load_model
from ra3_lab.records import load_record
from ra3_lab.rlvr.rollouts import read_rollouts
from ra3_lab.runs import write_json
from ra3_lab.tasks.pipelines import load_split

MOST = 8  # values tried of each control
TYPED = ("d reverse the list", "a add 3", "see above")


def move(explorer: Explorer, **values: object) -> tuple[float, float]:
    """CPU and wall seconds of one move."""
    cpu, wall = time.process_time(), time.perf_counter()
    view = explorer.view(**values)
    view.head(), view.tail(), view.figure_json()
    return time.process_time() - cpu, time.perf_counter() - wall


def measure(explorer: Explorer) -> dict[str, float | int]:
    """All values of each control in turn, the others at their default."""
    move(explorer)  # imports and the like
    found = []
    for control in explorer.controls:
        values = TYPED if control.kind == "text" else control.values[:: max(1, len(control.values) // MOST)]
        found += [move(explorer, **{control.name: value}) for value in values if value != control.default]
    cpu, wall = zip(*found, strict=True)
    return {
        "moves": len(found),
        "median_cpu_s": round(statistics.median(cpu), 4),
        "worst_cpu_s": round(max(cpu), 4),
        "median_wall_s": round(statistics.median(wall), 4),
        "worst_wall_s": round(max(wall), 4),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results") / "explorers.json")
    out = parser.parse_args().out
    record = load_record("em")
    model, tokenizer = load_model("embedded", "cpu")
    bench = workbench(model, tokenizer, record, load_split("expert"))
    made: dict[str, Callable[[], Explorer]] = {
        "timeline": lambda: latent_timeline(record),
        "map": lambda: abstraction_map(record),
        "recorded-knobs": lambda: recorded_knobs(record),
        "oracle-knobs": oracle_knobs,
        "comparison": lambda: run_comparison([record]),
        "groups": lambda: group_browser(read_rollouts("hacking")),
        "rlvr-curves": lambda: rlvr_curves(load_record("hacking")),
        "regret-lab": labs.regret_explorer,
        "pruning-lab": labs.pruning_explorer,
        "horizon-lab": labs.horizon_explorer,
        "editor": lambda: counterfactual_editor(bench),
    }
    rows = {}
    for name, make in made.items():
        rows[name] = measure(make())
        print(f"{name:15}", rows[name], flush=True)
    write_json(
        out, {"schema_version": 1, "date": str(datetime.date.today()), "versions": versions(), "explorers": rows}
    )


if __name__ == "__main__":
    main()
