"""Tune each arm on validation with the same number of trials; the test split is never touched.

    python benchmarks/tuning.py --out benchmarks/results/tuning.json

Every arm gets the same three M-step learning rates. The number of epochs is tuned in every trial alike: the best
validation checkpoint is kept. The E-step's settings are not tuned here.
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
    learning_rate: float


RATES = (5e-4, 1e-3, 2e-3)
TRIALS = tuple(Trial(arm, rate) for arm in ("ntp", "prior", "ra3") for rate in RATES)


def settings(trial: Trial) -> MidtrainConfig:
    """The study's settings with the trial's changes."""
    config = study_experiment(SEED).midtrain
    return replace(
        config,
        method=trial.arm,
        seed=SEED,
        mstep=replace(config.mstep, learning_rate=trial.learning_rate),
    )


def main(out: Path, arms: tuple[str, ...] = ("ntp", "prior", "ra3"), threads: int = 2) -> None:
    """Run every trial that OUT does not hold yet.

    Args:
        out: JSON file; finished trials in it are kept.
        arms: Arms to tune.
        threads: CPU threads.
    """
    torch.set_num_threads(threads)
    model, tokenizer = load_model("embedded", "cpu")
    experiment = study_experiment(SEED)
    validation = load_split("validation")
    corpus = [trace_of(task) for task in load_split("expert")[experiment.monitor_programs :]]
    done = json.loads(out.read_text())["trials"] if out.exists() else []
    for trial in [trial for trial in TRIALS if trial.arm in arms][len(done) :]:
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
                "learning_rate": trial.learning_rate,
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
