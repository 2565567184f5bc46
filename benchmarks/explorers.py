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
from pathlib import Path

from ra3_lab.experiment import versions
from ra3_lab.explore.explorer import Explorer
from ra3_lab.explore.gallery import GALLERY
from ra3_lab.runs import write_json

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
    rows = {}
    for name, make in GALLERY.items():
        rows[name] = measure(make())
        print(f"{name:15}", rows[name], flush=True)
    write_json(
        out, {"schema_version": 1, "date": str(datetime.date.today()), "versions": versions(), "explorers": rows}
    )


if __name__ == "__main__":
    main()
