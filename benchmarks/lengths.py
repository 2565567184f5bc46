"""How far does each arm carry over in length? pass@1 by number of steps, inside the training lengths and beyond.

    ra3-lab study final --out runs/final --keep-models
    python benchmarks/lengths.py --models base=embedded ntp=runs/final/models/ntp-{seed} \\
        prior=runs/final/models/prior-{seed} ra3=runs/final/models/ra3-{seed} --seeds 0 1 2 3 4 \\
        --out benchmarks/results/lengths.json

Fresh tasks of every number of steps, none of whose programs is in a shipped split; the same for all models. A model
that is measured already stays in --out and is not run again.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

import torch

from ra3_lab.evaluate.programs import evaluate_programs
from ra3_lab.models.load import load_model
from ra3_lab.runs import read_json, write_json
from ra3_lab.runs.provenance import versions
from ra3_lab.tasks.pipelines import SPLITS, WorldConfig, load_split, make_tasks

SEED = 8_100
LONGEST = 640  # tokens of a program: twelve steps with their thoughts need at most 514


def measure(source: str, steps: range, tasks: int, samples: int) -> dict[str, Any]:
    """One model: for every number of steps how many samples of each task passed, thoughts, and samples ended."""
    model, tokenizer = load_model(source, "cpu")
    known = {task.signature for split in SPLITS for task in load_split(split)}
    found = {}
    for count in steps:
        picked = make_tasks(SEED + count, tasks, WorldConfig(steps=(count, count)), "lengths", known)
        scores = evaluate_programs(model, tokenizer, picked, samples, 1.0, SEED, "fp32", LONGEST)
        found[str(count)] = {
            "passed": scores.correct.sum(1).tolist(),
            "thoughts": float(scores.thoughts.mean()),
            "ended": scores.ended,
        }
    return {"model": source, "steps": found}


def main() -> None:
    """Measure every model at every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", required=True, help="NAME=MODEL, {seed} stands for the seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, nargs=2, default=[3, 12], help="fewest and most steps")
    parser.add_argument("--tasks", type=int, default=40, help="of every number of steps")
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    settings = {"steps": a.steps, "tasks": a.tasks, "samples": a.samples, "seed": SEED}
    rows = read_json(a.out)["rows"] if a.out.exists() else []
    if a.out.exists() and read_json(a.out)["settings"] != settings:
        parser.error(f"{a.out} was made with {read_json(a.out)['settings']}: give the same, or another --out.")
    for name, source in (text.split("=", 1) for text in a.models):
        for seed in a.seeds if "{seed}" in source else a.seeds[:1]:
            if any((row["arm"], row["seed"]) == (name, seed) for row in rows):
                continue
            model = source.replace("{seed}", str(seed))
            row = measure(model, range(a.steps[0], a.steps[1] + 1), a.tasks, a.samples)
            rows.append({"arm": name, "seed": seed} | row)
            shown = [f"{n}: {sum(one['passed']) / (a.tasks * a.samples):.2f}" for n, one in row["steps"].items()]
            print(f"{name:<6} seed {seed}  " + "  ".join(shown), flush=True)
            record = {"date": datetime.date.today().isoformat(), "versions": versions(), "settings": settings}
            write_json(a.out, {"schema_version": 1, **record, "rows": rows})


if __name__ == "__main__":
    main()
