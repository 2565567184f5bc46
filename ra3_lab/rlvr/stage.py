"""A short RLVR run as one record: its learning curve, validation and some groups; for the demo and recorded runs.

    record = rlvr_stage(model, tokenizer, tasks, validation, config, judge.each, say, label="ra3")

The record is plain data, the form of `rlvr_runs[]` in data/records/README.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from ra3_lab.models.generation import Sampling
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.rlvr.groups import JudgeAll
from ra3_lab.rlvr.loop import RLVRConfig, rlvr
from ra3_lab.rlvr.losses import LossConfig
from ra3_lab.rlvr.update import UpdateConfig
from ra3_lab.sandbox import judge_each
from ra3_lab.tasks.protocol import Task

CURVE = ("update", "reward", "length", "truncated", "entropy", "zero_variance", "thought_share", "kl_to_initial")
"""What of a run's records the stage's curve keeps."""


def short_config(seed: int = 0, updates: int = 12, learning_rate: float = 3e-4) -> RLVRConfig:
    """The demo's stage: about 45 s a start on one core with the embedded model."""
    return RLVRConfig(
        seed=seed,
        updates=updates,
        prompts=8,
        group=8,
        sampling=Sampling(max_new=256),
        evaluate_every=updates,
        validation_samples=1,
        kl_every=0,
        groups_every=max(1, updates - 1),
        grpo=UpdateConfig(learning_rate=learning_rate, warmup=2, loss=LossConfig("dr_grpo")),
    )


def rlvr_stage(
    model: Any,
    tokenizer: LineTokenizer,
    tasks: Sequence[Task],
    validation: Sequence[Task],
    config: RLVRConfig,
    judge: JudgeAll = judge_each,
    say: Callable[[str], None] | None = None,
    label: str = "",
    look: Callable[[Any], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Train a copy of `model` by GRPO and return what happened: config, curve, validation, groups, seconds, and what
    `look` finds on the trained model.

    Raises as `rlvr` does.
    """
    groups: list[dict[str, Any]] = []

    def report(row: dict[str, Any]) -> None:
        if say is not None and row["stage"] == "rlvr":
            say(f"RLVR {label}: update {row['update'] + 1} of {config.updates}, reward {row['reward']:.2f}")

    result = rlvr(config, model, tokenizer, tasks, validation, judge, report=report, save_group=groups.append)
    rows = [row for row in result.history if row["stage"] == "rlvr"]
    spent = {what: sum(row[f"seconds_{what}"] for row in rows) for what in ("sampling", "judging", "update")}
    return {
        "label": label,
        "config": asdict(config),
        "curve": [{key: _short(row[key]) for key in CURVE if key in row} for row in rows],
        "validation": [[update, _short(score)] for update, score in result.validation],
        "groups": groups,
        "tokens": result.tokens,
        "seconds": {"training": round(result.seconds, 1)} | {key: round(value, 1) for key, value in spent.items()},
        **(look(result.model) if look else {}),
    }


def _short(value: float) -> float:
    return value if isinstance(value, int) else round(value, 4)
