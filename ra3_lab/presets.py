"""Settings that were found to work, as data."""

from __future__ import annotations

from ra3_lab.experiment import ExperimentConfig
from ra3_lab.midtrain.em import MidtrainConfig
from ra3_lab.midtrain.estep import EStepConfig
from ra3_lab.midtrain.mstep import MStepConfig


def demo_experiment(seed: int = 0) -> ExperimentConfig:
    """The short comparison that `ra3-lab demo` runs live in a few minutes on two cores."""
    return ExperimentConfig(
        seed=seed,
        midtrain=MidtrainConfig(
            rounds=2,
            evaluate_every=32,
            estep=EStepConfig(updates=32, programs=8, group=5),
            mstep=MStepConfig(updates=64, programs=16),
        ),
        tasks=64,
        validation_tasks=30,
        samples=4,
    )
