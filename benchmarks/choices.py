"""What mid-training does to the next choice: effective action set and horizon before and after.

    ra3-lab study final --out runs/final --keep-models
    python benchmarks/choices.py --models base=embedded ntp=runs/final/models/ntp-{seed} \\
        ra3=runs/final/models/ra3-{seed} --seeds 0 1 2 --out benchmarks/results/choices.json

States are the starts of segments in validation programs, the expert's lines before them with their true thoughts and
without. At each the policy draws its next line 64 times: how many lines carry 95 % of the draws, how many thoughts,
and how many lines once the likeliest thought stands. The horizon is told by programs that the policy writes itself:
code lines for every thought.
"""

from __future__ import annotations

from typing import Any

import over_models
import torch

from ra3_lab.evaluate.choices import choices_at, prefix
from ra3_lab.evaluate.latents import trace_of, true_trace
from ra3_lab.evaluate.programs import evaluate_programs
from ra3_lab.models.load import load_model
from ra3_lab.tasks.pipelines import load_split

SEED = 9_000
COUNTED = ("lines", "thoughts", "lines_after_thought", "thinks")
KINDS = {"with thoughts so far": true_trace, "without thoughts so far": trace_of}


def measure(source: str, tasks: int, draws: int) -> dict[str, Any]:
    """One model."""
    model, tokenizer = load_model(source, "cpu")
    picked = load_split("validation")[:tasks]
    row: dict[str, Any] = {"model": source}
    for name, make in KINDS.items():
        states = [prefix(make(task), start) for task in picked for start in task.starts]
        found = choices_at(model, tokenizer, states, draws, SEED, "fp32")
        row[name] = {"states": len(states)} | {
            key: sum(getattr(each, key) for each in found) / len(found) for key in COUNTED
        }
    scores = evaluate_programs(model, tokenizer, picked, 4, seed=SEED, precision="fp32")
    lines = sum(not line.startswith("#") for rows in scores.programs for text in rows for line in text.splitlines())
    thoughts = float(scores.thoughts.sum())
    return row | {"lines_per_thought": lines / thoughts if thoughts else None, "pass@1": float(scores.correct.mean())}


def main() -> None:
    """Measure every model at every seed."""
    arguments = over_models.parser(__doc__)
    arguments.add_argument("--tasks", type=int, default=12)
    arguments.add_argument("--draws", type=int, default=64)
    a = arguments.parse_args()
    torch.set_num_threads(a.threads)

    def shown(row: dict[str, Any]) -> str:
        found = row["with thoughts so far"]
        return "  ".join(f"{key.replace('_', ' ')} {found[key]:.1f}" for key in COUNTED)

    settings = {"tasks": a.tasks, "draws": a.draws, "split": "validation", "seed": SEED}
    over_models.measure_all(a, settings, lambda source: measure(source, a.tasks, a.draws), shown)


if __name__ == "__main__":
    main()
