"""Settings that were found to work, as data."""

from __future__ import annotations

from ra3_lab.experiment import ExperimentConfig


def demo_experiment(seed: int = 0) -> ExperimentConfig:
    """The short comparison that `ra3-lab demo` runs live in some ten minutes on two cores: mid-training as it is by
    default, scored on few tasks."""
    return ExperimentConfig(seed=seed, tasks=64, validation_tasks=30, samples=4)
