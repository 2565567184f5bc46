"""How long a study will take: a few updates and samples timed here and now, times what the spec asks for."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import NamedTuple

from ra3_lab.evaluate.programs import evaluate_programs
from ra3_lab.experiment import ExperimentConfig, Field, field_of, run_arm, watch
from ra3_lab.midtrain.em import LOOK_EVERY, MidtrainConfig
from ra3_lab.midtrain.loop import split_evenly
from ra3_lab.models.load import load_model
from ra3_lab.study.spec import ArmSpec, StudySpec

TIMED = 32
"""Sampled programs that are timed; those of a study are sampled together, too."""


class Timing(NamedTuple):
    """Seconds that one of each takes."""

    estep: float
    """An E-step update."""
    mstep: float
    """An M-step update."""
    program: float
    """A sampled program."""
    look: float
    """A look at q on the watched programs; 0 where nothing is watched."""


def minutes(spec: StudySpec) -> list[tuple[str, float]]:
    """(arm, minutes of one seed), from a few updates and samples timed here and now."""
    timed: dict[tuple, Timing] = {}
    rows = []
    for arm in spec.arms:
        settings, config = spec.settings(arm, spec.seeds[0]), spec.experiment(arm, spec.seeds[0])
        tasks = field_of(config)
        short, corpus = _short(settings or replace(spec.midtrain, method="ntp")), tasks.training[:64]
        key = (arm.model, arm.one_latent, len(corpus), short)
        if key not in timed:
            timed[key] = _time(arm, short, config, replace(tasks, training=corpus))
        each = timed[key]
        seconds = each.program * sum(map(len, tasks.tests.values())) * config.samples
        if settings is not None:
            esteps = settings.estep.updates if settings.method == "ra3" else 0
            msteps = settings.mstep.updates + settings.estep.updates - esteps
            validated = -(-msteps // settings.evaluate_every) * 2 * len(tasks.validation)
            looks = sum(-(-n // LOOK_EVERY) + 1 for n in split_evenly(esteps, settings.rounds) if n)
            seconds += each.estep * esteps + each.mstep * msteps + each.program * validated + each.look * looks
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


def _time(arm: ArmSpec, short: MidtrainConfig, config: ExperimentConfig, tasks: Field) -> Timing:
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

    look = 0.0
    if "estep" in at and not arm.one_latent:
        begin = time.perf_counter()
        watch(tokenizer, tasks.watched, short)(model, model)
        look = time.perf_counter() - begin

    def mean(stage: str) -> float:
        return sum(at.get(stage, [])) / max(len(at.get(stage, [])), 1)

    return Timing(mean("estep"), mean("mstep"), per_program, look)
