"""How long a study will take: a few updates and samples timed here and now, times what the spec asks for."""

from __future__ import annotations

import time
from dataclasses import replace

from ra3_lab.evaluate.programs import evaluate_programs
from ra3_lab.experiment import ExperimentConfig, field_of, run_arm
from ra3_lab.midtrain.em import MidtrainConfig
from ra3_lab.models.load import load_model
from ra3_lab.study.spec import ArmSpec, StudySpec


def minutes(spec: StudySpec) -> list[tuple[str, float]]:
    """(arm, minutes of one seed), from a few updates and samples timed here and now."""
    timed: dict[tuple, tuple[float, float, float]] = {}
    rows = []
    for arm in spec.arms:
        settings, config = spec.settings(arm, spec.seeds[0]), spec.experiment(arm, spec.seeds[0])
        probe = settings or spec.midtrain
        key = (arm.model, arm.method, arm.one_latent, probe.estep.programs, probe.estep.group, probe.mstep.programs)
        if key not in timed:
            timed[key] = _time(arm, replace(probe, method=probe.method if settings else "ntp"), config)
        per_estep, per_mstep, per_task = timed[key]
        tasks = field_of(config)
        held_out = sum(len(rows) for rows in tasks.tests.values()) * config.samples
        seconds = per_task * held_out
        if settings is not None:
            esteps = settings.estep.updates if settings.method == "ra3" else 0
            msteps = settings.mstep.updates + settings.estep.updates - esteps
            looks = -(-msteps // settings.evaluate_every)
            seconds += per_estep * esteps + per_mstep * msteps + per_task * looks * 2 * len(tasks.validation)
        rows.append((arm.name, seconds / 60))
    return rows


def _time(arm: ArmSpec, settings: MidtrainConfig, config: ExperimentConfig) -> tuple[float, float, float]:
    """Seconds of an E-step update, of an M-step update, and of a sampled program."""
    model, tokenizer = load_model(arm.model, "cpu")
    tasks = field_of(config)
    field = replace(
        tasks, training=tasks.training[:64], validation=tasks.validation[:4], tests={}, watched=tasks.watched[:1]
    )
    two = {"evaluate_every": 10**6, "rounds": 1, "mstep": replace(settings.mstep, updates=2)}
    short = replace(settings, estep=replace(settings.estep, updates=2), **two)
    result = run_arm(config, arm.name, short, field, model, tokenizer, lambda text: None, arm.one_latent).trained
    assert result is not None
    at: dict[str, list[float]] = {}
    before = 0.0
    for record in result.history:
        at.setdefault(record["stage"], []).append(record["seconds"] - before)
        before = record["seconds"]
    start = time.perf_counter()
    evaluate_programs(model, tokenizer, tasks.validation[:8], 4, precision=settings.precision)
    per_sample = (time.perf_counter() - start) / 32

    def mean(stage: str) -> float:
        return sum(at.get(stage, [])) / max(len(at.get(stage, [])), 1)

    return mean("estep"), mean("mstep"), per_sample
