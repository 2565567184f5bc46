"""The theory's measurements: every lab's finding, fits over more settings than a lab has, and what each lab costs.

    python benchmarks/theory.py --out benchmarks/results

Writes theory_findings.json (records of all labs at their defaults, with titles and texts), theory_fits.json (pruning
over 168 settings, horizon over 1,080, choices at several k) and theory_cost.json (CPU and wall seconds of each lab at
its default, its figure, and planning against |S| and |Z|). One process, one thread: set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import plotly
import tyro

from ra3_lab.explore import theory as show
from ra3_lab.theory import records
from ra3_lab.theory.choices import choices_lab
from ra3_lab.theory.durations import LAWS, duration_law, timed_options
from ra3_lab.theory.horizon import horizon_lab, random_family
from ra3_lab.theory.labs import LABS
from ra3_lab.theory.pruning import (
    first_draws,
    measure_settings,
    program_problems,
    rare_usage,
    task_weights,
)
from ra3_lab.theory.solve import all_masks, solve, subset_values, value_iteration


def main(
    out: Path = Path("benchmarks/results"),
    parts: tuple[Literal["findings", "fits", "cost"], ...] = ("findings", "fits", "cost"),
    repeats: int = 9,
    seed: int = 0,
) -> None:
    """Measure and write.

    Args:
        out: Folder for the JSON files.
        parts: Which of them.
        repeats: Timings of each lab; the median counts.
        seed: Of every draw.
    """
    out.mkdir(parents=True, exist_ok=True)
    head = {
        "schema_version": 1,
        "date": date.today().isoformat(),
        "seed": seed,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "plotly": plotly.__version__},
    }
    measures = {"findings": findings, "fits": lambda: fits(seed), "cost": lambda: cost(repeats)}
    for name in parts:
        text = json.dumps({**head, **measures[name]()}, indent=1)
        (out / f"theory_{name}.json").write_text(text + "\n", encoding="utf-8")
        print(f"{name}: written to {out / f'theory_{name}.json'}", flush=True)


def findings() -> dict[str, Any]:
    """Title, text and record of every lab at its default."""
    found = {}
    for lab in LABS:
        record = lab()
        twin = show.describe(record)
        found[lab.__name__] = {"title": twin.title, "text": twin.text, "record": json.loads(records.to_json(record))}
    return {"labs": found}


def fits(seed: int) -> dict[str, Any]:
    """Measured against predicted over wide grids."""
    rng, rows = np.random.default_rng(seed), []
    sigmas, deltas, repeats = (0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3), (0.02, 0.05, 0.1, 0.2), 20_000
    for used in (2, 3, 4):
        problems = program_problems(rare_usage(used, 0.1), 0.02, 0.97)
        for sigma in sigmas:
            weights = task_weights(rare_usage(used, sigma))
            first = first_draws(weights, repeats, rng)
            for problem in problems:
                rows += measure_settings(replace(problem, weights=weights), sigma, deltas, first)
    pruning = {}
    for name in ("skills", "lines"):
        own = [row for row in rows if row.name == name]
        needed = [row.needed for row in own]
        pruning[name] = {
            "settings": len(own),
            "against_theorem": line(records.fit_line([row.predicted for row in own], needed)),
            "against_sharp": line(records.fit_line([row.sharp for row in own], needed)),
            "over_delta": sum(row.failure > row.delta + 3 * row.standard_error for row in own),
            "largest_failure_over_delta": max(row.failure / row.delta for row in own),
            "largest_failure_over_delta_at_sharp_n": largest_at_sharp(own),
        }
    horizon = {}
    for law in LAWS:
        labs = [horizon_lab(law, gamma, seed=s) for gamma in (0.8, 0.9, 0.97) for s in range(3)]
        for kept, name in ((False, "long"), (True, "kept")):
            settings = {row for lab in labs for row in lab.settings if row.kept == kept}
            fit = records.fit_line([row.bound for row in settings], [row.measured for row in settings])
            over = sum(row.measured > row.bound for row in settings)
            horizon[f"{law}, {name}"] = {**line(fit), "over_bound": over}
    choices = []
    for k in (5, 10, 24, 10_000):
        for order in (2, 3, 6):
            lab = choices_lab(k, order, orders=5, seed=seed)
            choices.append({"k": k, "order": order, **{curve.name: curve.needed for curve in lab.curves}})
    return {"pruning_repeats": repeats, "pruning": pruning, "horizon": horizon, "programs_needed": choices}


def largest_at_sharp(rows: list[Any]) -> float:
    """Largest ratio of measured N to the sharp bound's N: above 1 the bound would be broken."""
    return max(row.needed / math.ceil(row.sharp) for row in rows)


def line(fit: records.Fit) -> dict[str, float]:
    return {"slope": fit.slope, "intercept": fit.intercept, "r_squared": fit.r_squared, "points": fit.points}


def timed(function: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Median CPU and wall seconds of a call."""
    function()
    cpu, wall = [], []
    for _ in range(repeats):
        c, w = time.process_time(), time.perf_counter()
        function()
        cpu.append(time.process_time() - c)
        wall.append(time.perf_counter() - w)
    return {"cpu_s": float(np.median(cpu)), "wall_s": float(np.median(wall)), "fastest_wall_s": min(wall)}


def cost(repeats: int) -> dict[str, Any]:
    """Seconds of the labs and of planning."""
    labs = {}
    for lab in LABS:
        record = lab()
        labs[lab.__name__] = {"lab": timed(lab, repeats), "figure": timed(lambda record=record: show.figure(record), 3)}
    planning = []
    for states in (10, 30, 100, 300):
        for options in (4, 8, 12):
            family = random_family(states, options, 0.95)
            choice = np.random.default_rng(0).integers(0, options, (options, states))
            model = timed_options(family, np.eye(options)[choice], [duration_law("fixed", 4)])[0]
            row: dict[str, Any] = {"states": states, "options": options}
            row["sweeps_100"] = timed(lambda model=model: value_iteration(model, 100), 3)["cpu_s"]
            row["solve"] = timed(lambda model=model: solve(model), 3)["cpu_s"]
            if states <= 100:
                masks = all_masks(options, options // 2)
                row["subsets"] = len(masks)
                row["all_subsets"] = timed(lambda model=model, masks=masks: subset_values(model, masks, 1e-6), 1)[
                    "cpu_s"
                ]
            planning.append(row)
    return {"threads": 1, "labs": labs, "planning": planning}


if __name__ == "__main__":
    tyro.cli(main)
