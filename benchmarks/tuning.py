"""Tune each arm on validation with the same number of trials; the test split is never touched.

    python benchmarks/tuning.py --out benchmarks/results/tuning.json

Trials are data (TRIALS): four per arm. NTP and prior vary the M-step's learning rate; RA3 varies both learning rates
and the cost. The number of epochs is tuned in every trial alike: the best validation checkpoint is kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro

from ra3_lab.evaluate.latents import trace_of
from ra3_lab.evaluate.programs import evaluate_programs
from ra3_lab.experiment import versions
from ra3_lab.midtrain.em import MidtrainConfig, midtrain
from ra3_lab.models.load import load_model
from ra3_lab.presets import study_experiment
from ra3_lab.runs import narrator, write_json
from ra3_lab.tasks.pipelines import load_split

SEED = 100  # not a seed of the comparison


@dataclass(frozen=True)
class Trial:
    """One setting of one arm."""

    arm: str
    mstep: dict
    estep: dict


TRIALS = (
    *(Trial("ntp", {"learning_rate": rate}, {}) for rate in (3e-4, 6e-4, 1.2e-3, 2.4e-3)),
    *(Trial("prior", {"learning_rate": rate}, {}) for rate in (3e-4, 6e-4, 1.2e-3, 2.4e-3)),
    Trial("ra3", {"learning_rate": 6e-4}, {"cost": 0.1, "learning_rate": 3e-4}),
    Trial("ra3", {"learning_rate": 1.2e-3}, {"cost": 0.1, "learning_rate": 3e-4}),
    Trial("ra3", {"learning_rate": 2.4e-3}, {"cost": 0.1, "learning_rate": 3e-4}),
    Trial("ra3", {"learning_rate": 1.2e-3}, {"cost": 0.3, "learning_rate": 6e-4}),
)


def settings(trial: Trial) -> MidtrainConfig:
    """The study's settings with the trial's changes."""
    config = study_experiment(SEED).midtrain
    return replace(
        config,
        method=trial.arm,
        seed=SEED,
        estep=replace(config.estep, **trial.estep),
        mstep=replace(config.mstep, **trial.mstep),
    )


def main(out: Path, threads: int = 2) -> None:
    """Run every trial that OUT does not hold yet.

    Args:
        out: JSON file; finished trials in it are kept.
        threads: CPU threads.
    """
    torch.set_num_threads(threads)
    model, tokenizer = load_model("embedded", "cpu")
    experiment = study_experiment(SEED)
    validation = load_split("validation")
    corpus = [trace_of(task) for task in load_split("expert")[experiment.monitor_programs :]]
    done = json.loads(out.read_text())["trials"] if out.exists() else []
    for trial in TRIALS[len(done) :]:
        with narrator(60) as say:
            config = settings(trial)

            def validate(candidate: object) -> float:
                tasks = validation[: experiment.validation_tasks]
                return float(evaluate_programs(candidate, tokenizer, tasks, 2, seed=SEED).correct.mean())

            result = midtrain(config, model, tokenizer, corpus, validate)
            scores = evaluate_programs(result.model, tokenizer, validation, 2, seed=SEED + 1)
            curve = [(r["update"], r["score"]) for r in result.history if r["stage"] == "validation"]
            row = {
                "arm": trial.arm,
                "mstep": trial.mstep,
                "estep": trial.estep,
                "seconds": round(result.seconds, 1),
                "validation_pass@1": float(scores.correct.mean()),
                "curve": curve,
                "thoughts_per_program": float(scores.thoughts.mean()),
                "by_length": scores.by_length(),
            }
            say(str(row))
            done.append(row)
            out.parent.mkdir(parents=True, exist_ok=True)
            write_json(out, {"schema_version": 1, "seed": SEED, "versions": versions(), "trials": done})


if __name__ == "__main__":
    tyro.cli(main)
