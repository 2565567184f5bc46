"""A short RLVR run on the embedded model: does the reward rise, and where does the time go?

    python benchmarks/rlvr.py --json rlvr.json          about 5 minutes on two quiet cores

Tasks are fresh pipelines of four steps, none of them in a shipped split; validation tasks are others of the same kind.
"""

from __future__ import annotations

import argparse
import datetime
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from ra3_lab.models.generation import Sampling
from ra3_lab.models.load import load_model
from ra3_lab.rlvr.loop import RLVRConfig, rlvr
from ra3_lab.rlvr.losses import LossConfig
from ra3_lab.rlvr.update import UpdateConfig
from ra3_lab.runs import write_json
from ra3_lab.runs.provenance import versions
from ra3_lab.sandbox import Judge, layers
from ra3_lab.tasks.pipelines import SPLITS, WorldConfig, load_split, make_tasks
from ra3_lab.tasks.registry import pipeline_task


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--steps", type=int, default=4, help="steps of the tasks' pipelines")
    parser.add_argument("--validation-tasks", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--loss", default="dr_grpo")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    used = {task.signature for name in SPLITS for task in load_split(name)}
    world = WorldConfig(steps=(arguments.steps, arguments.steps))
    tasks = [pipeline_task(task) for task in make_tasks(9_001 + arguments.seed, 250, world, "fresh", used)]
    model, tokenizer = load_model("embedded", "cpu")
    config = RLVRConfig(
        seed=arguments.seed,
        updates=arguments.updates,
        sampling=Sampling(max_new=200),
        evaluate_every=arguments.updates,
        validation_samples=4,
        kl_every=5,
        groups_every=0,
        grpo=UpdateConfig(learning_rate=arguments.learning_rate, loss=LossConfig(arguments.loss)),
    )

    def say(row: dict) -> None:
        shown = {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
        print(shown, flush=True)

    with Judge() as judge:
        result = rlvr(
            config, model, tokenizer, tasks[:200], tasks[200 : 200 + arguments.validation_tasks], judge.each, report=say
        )
    rows = [row for row in result.history if row["stage"] == "rlvr"]
    rewards = [row["reward"] for row in rows]
    quarter = max(1, len(rewards) // 4)
    record = {
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "judge": layers(),
        "threads": arguments.threads,
        "steps": arguments.steps,
        "config": asdict(config),
        "reward_first_quarter": float(np.mean(rewards[:quarter])),
        "reward_last_quarter": float(np.mean(rewards[-quarter:])),
        "validation": result.validation,
        "seconds": {k: round(sum(r[f"seconds_{k}"] for r in rows), 1) for k in ("sampling", "judging", "update")},
        "history": result.history,
    }
    first, last = record["reward_first_quarter"], record["reward_last_quarter"]
    print(f"reward {first:.3f} -> {last:.3f}; validation pass@1 {result.validation}")
    if arguments.json:
        write_json(arguments.json, record)


if __name__ == "__main__":
    main()
