"""How long a study will take: a few updates and samples timed here and now, times what the spec asks for."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from ra3_lab.evaluate.programs import evaluate_programs
from ra3_lab.experiment import ExperimentConfig, Field, field_of, run_arm
from ra3_lab.midtrain.em import MidtrainConfig
from ra3_lab.models.load import load_model
from ra3_lab.study.spec import ArmSpec, StudySpec

TIMED = 32
"""Sampled programs that are timed; those of a study are sampled together, too."""


def minutes(spec: StudySpec) -> list[tuple[str, float]]:
    """(arm, minutes of one seed), from a few updates and samples timed here and now."""
    timed: dict[tuple, tuple[float, float, float]] = {}
    rows = []
    for arm in spec.arms:
        settings, config = spec.settings(arm, spec.seeds[0]), spec.experiment(arm, spec.seeds[0])
        tasks = field_of(config)
        short, corpus = _short(settings or replace(spec.midtrain, method="ntp")), tasks.training[:64]
        key = (arm.model, arm.one_latent, len(corpus), short)
        if key not in timed:
            timed[key] = _time(arm, short, config, replace(tasks, training=corpus))
        per_estep, per_mstep, per_program = timed[key]
        seconds = per_program * sum(map(len, tasks.tests.values())) * config.samples
        if settings is not None:
            esteps = settings.estep.updates if settings.method == "ra3" else 0
            msteps = settings.mstep.updates + settings.estep.updates - esteps
            looks = -(-msteps // settings.evaluate_every)
            seconds += per_estep * esteps + per_mstep * msteps + per_program * looks * 2 * len(tasks.validation)
        rows.append((arm.name, seconds / 60))
    return rows


def _short(settings: MidtrainConfig) -> MidtrainConfig:
    """Two updates of each kind at these settings; what an update's time does not hang on is the same for all, so that
    arms that differ in nothing else share a timing."""
    cost = 0.0 if math.isfinite(settings.estep.cost) else math.inf  # which leaves the E-step out
    same = {"learning_rate": 1e-4, "discount": 1.0, "horizon": None, "floor": None, "penalty": 0.0, "clip": 1.0}
    estep = replace(settings.estep, updates=2, cost=cost, **same)
    mstep = replace(settings.mstep, updates=2, learning_rate=1e-4, weight_decay=0.0, clip=1.0)
    return replace(settings, seed=0, rounds=1, evaluate_every=10**6, estep=estep, mstep=mstep)


def _time(arm: ArmSpec, short: MidtrainConfig, config: ExperimentConfig, tasks: Field) -> tuple[float, float, float]:
    """Seconds of an E-step update, of an M-step update, and of a sampled program."""
    model, tokenizer = load_model(arm.model, "cpu")
    field = replace(tasks, validation=tasks.validation[:4], tests={}, watched=tasks.watched[:1])
    result = run_arm(config, arm.name, short, field, model, tokenizer, lambda text: None, arm.one_latent).trained
    assert result is not None
    at: dict[str, list[float]] = {}
    before = 0.0
    for record in result.history:
        at.setdefault(record["stage"], []).append(record["seconds"] - before)
        before = record["seconds"]
    few = tasks.validation[:8]
    samples = -(-TIMED // len(few))
    start = time.perf_counter()
    evaluate_programs(model, tokenizer, few, samples, precision=short.precision)
    per_program = (time.perf_counter() - start) / (len(few) * samples)

    def mean(stage: str) -> float:
        return sum(at.get(stage, [])) / max(len(at.get(stage, [])), 1)

    return mean("estep"), mean("mstep"), per_program
