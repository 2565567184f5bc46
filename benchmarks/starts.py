"""GRPO from several starts, recorded for a notebook: the base, next-token prediction, and RA3, briefly mid-trained.

    python benchmarks/starts.py --out data/records/starts.json          some minutes on one core
    python benchmarks/starts.py --learning runs/learning                seconds: the runs of benchmarks/learning.py

One seed and a few updates are an example to look at, not a comparison; that takes seeds and tuned starts, which is what
benchmarks/learning.py makes. Every start draws the same tasks with the same keys.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ra3_lab.commands.rlvr import read_task_set
from ra3_lab.evaluate.latents import trace_of
from ra3_lab.midtrain.em import MidtrainConfig, midtrain
from ra3_lab.midtrain.estep import EStepConfig
from ra3_lab.midtrain.mstep import MStepConfig
from ra3_lab.models.load import load_model
from ra3_lab.records import SCHEMA_VERSION, save_record, weights_digest
from ra3_lab.resources import embedded_model_dir
from ra3_lab.rlvr.stage import rlvr_stage, short_config
from ra3_lab.runs import read_json
from ra3_lab.runs.provenance import versions
from ra3_lab.sandbox import Judge
from ra3_lab.tasks.pipelines import load_split


def from_learning(folder: Path) -> dict[str, Any]:
    """The record of the finished runs in a folder of benchmarks/learning.py, a label for each start and its seeds in
    order. Raises FileNotFoundError where there are none."""
    found = [read_json(path) for path in folder.glob("run-*-*.json")]
    if not found:
        raise FileNotFoundError(f"no run-START-SEED.json in {folder}: give the --out of benchmarks/learning.py.")
    order = ("base", "ntp", "prior", "ra3")
    found.sort(key=lambda run: (order.index(run["label"]) if run["label"] in order else 9, run["config"]["seed"]))
    first = {run["label"]: run for run in reversed(found)}  # whole groups of one seed are enough to read
    own = ("label", "config", "curve", "validation", "tokens", "seconds", "weights")
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "rlvr",
        "title": f"GRPO from {len(first)} starts",
        "command": " ".join(["python benchmarks/starts.py", *sys.argv[1:]]),
        "seed": found[0]["config"]["seed"],
        "versions": found[0]["versions"],
        "base": weights_digest(embedded_model_dir()),
        "starts": {run["label"]: Path(run["what"]["start"]).name for run in found},
        "rlvr_runs": [
            {key: run[key] for key in own} | {"groups": run["groups"] if run is first[run["label"]] else []}
            for run in found
        ],
    }


def main() -> None:
    """Mid-train, reinforce, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/records/starts.json"))
    parser.add_argument("--learning", type=Path, help="take the runs of this folder, and train nothing")
    parser.add_argument("--updates", type=int, default=12, help="GRPO updates from every start")
    parser.add_argument("--prompts", type=int, default=6, help="tasks of an update, 8 answers each")
    parser.add_argument("--validation", type=int, default=48, help="validation tasks, looked at every fourth update")
    parser.add_argument(
        "--estep", type=int, default=10, help="E-step updates of RA3; next-token prediction gets as many more"
    )
    parser.add_argument("--mstep", type=int, default=24, help="M-step updates")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.learning:
        record = from_learning(arguments.learning)
        save_record(arguments.out, record)
        print(f"{arguments.out}: {len(record['rlvr_runs'])} runs of {', '.join(record['starts'])}")
        return
    torch.set_num_threads(1)
    model, tokenizer = load_model("embedded", "cpu")
    corpus = [trace_of(task) for task in load_split("expert")]
    before = MidtrainConfig(
        seed=arguments.seed,
        rounds=1,
        estep=EStepConfig(updates=arguments.estep, programs=4, group=6),
        mstep=MStepConfig(updates=arguments.mstep, programs=16),
        precision="fp32",
    )
    tasks = list(read_task_set("pipelines:rlvr"))
    validation = list(read_task_set("pipelines:validation"))[: arguments.validation]
    config = short_config(arguments.seed, arguments.updates, arguments.learning_rate)
    config = replace(config, prompts=arguments.prompts, precision="fp32", evaluate_every=4, groups_kept=1)
    runs: list[dict[str, Any]] = []
    with Judge(workers=1) as judge:
        for label in ("base", "ntp", "ra3"):
            start = model
            if label != "base":
                start = midtrain(replace(before, method=label), model, tokenizer, corpus).model
                print(f"{label}: mid-trained", flush=True)
            runs.append(rlvr_stage(start, tokenizer, tasks, validation, config, judge.each, print, label))
            print(label, runs[-1]["validation"], flush=True)
            record = {
                "schema_version": SCHEMA_VERSION,
                "kind": "rlvr",
                "title": "GRPO from three starts",
                "command": " ".join(["python benchmarks/starts.py", *sys.argv[1:]]),
                "seed": arguments.seed,
                "versions": versions(),
                "base": weights_digest(embedded_model_dir()),
                "midtrain": asdict(before),
                "rlvr_runs": runs,
            }
            save_record(arguments.out, record)
    print(f"{arguments.out}: {len(runs)} runs")


if __name__ == "__main__":
    main()
