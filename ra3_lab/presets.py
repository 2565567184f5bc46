"""Settings that were found to work, as data."""

from __future__ import annotations

from ra3_lab.experiment import ExperimentConfig
from ra3_lab.midtrain.em import MidtrainConfig
from ra3_lab.midtrain.estep import EStepConfig


def demo_experiment(seed: int = 0) -> ExperimentConfig:
    """The short comparison that `ra3-lab demo` runs live, in some ten minutes on two cores with bf16 instructions:
    scored on few tasks, mid-training as it is by default but for an E-step of 36 updates, which most seeds do not
    need more than (docs/results.md, 'Which settings matter?')."""
    midtrain = MidtrainConfig(estep=EStepConfig(updates=36))
    return ExperimentConfig(seed=seed, midtrain=midtrain, tasks=64, validation_tasks=30, samples=4)
