"""How far does each arm carry over in length? pass@1 by number of steps, inside the training lengths and beyond.

    ra3-lab study final --out runs/final --keep-models
    python benchmarks/lengths.py --models base=embedded ntp=runs/final/models/ntp-{seed} \\
        prior=runs/final/models/prior-{seed} ra3=runs/final/models/ra3-{seed} --seeds 0 1 2 3 4 \\
        --out benchmarks/results/lengths.json

Fresh tasks of every number of steps, none of whose programs is in a shipped split; the same for all models.
"""

from __future__ import annotations

from typing import Any

import over_models
import torch

from ra3_lab.evaluate.programs import evaluate_programs
from ra3_lab.models.load import load_model
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
    arguments = over_models.parser(__doc__)
    arguments.add_argument("--steps", type=int, nargs=2, default=[3, 12], help="fewest and most steps")
    arguments.add_argument("--tasks", type=int, default=40, help="of every number of steps")
    arguments.add_argument("--samples", type=int, default=2)
    a = arguments.parse_args()
    torch.set_num_threads(a.threads)
    steps = range(a.steps[0], a.steps[1] + 1)

    def shown(row: dict[str, Any]) -> str:
        return "  ".join(f"{n}: {sum(one['passed']) / (a.tasks * a.samples):.2f}" for n, one in row["steps"].items())

    settings = {"steps": a.steps, "tasks": a.tasks, "samples": a.samples, "seed": SEED}
    over_models.measure_all(a, settings, lambda source: measure(source, steps, a.tasks, a.samples), shown)


if __name__ == "__main__":
    main()
