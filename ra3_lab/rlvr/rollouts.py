"""Sampled groups to look at: what was answered, what the judge said, and what the update made of every token.

A run writes some groups to `groups.jsonl`; recorded runs hold them too. For each answer there are the text in tokens,
the verdict with its reason, reward and advantage, and per token three numbers:

    logp    log pi(o_t) of the policy that is about to be updated, nats, at the sampling temperature
    ratio   pi(o_t) after the update, divided by pi(o_t) before it: above 1 the token was made likelier
    kl      k3 of the updated policy and the initial one at this token (`kl.py`); where the run keeps an initial policy

`read_rollouts` reads them back from a run, a file or a recorded run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.rlvr.groups import Group
from ra3_lab.rlvr.kl import kl_estimate
from ra3_lab.runs import read_jsonl

if TYPE_CHECKING:
    from ra3_lab.rlvr.update import GRPO


@dataclass(frozen=True)
class SeenAnswer:
    """One answer as it is looked at."""

    text: str
    """What follows the prompt."""
    tokens: tuple[str, ...]
    """The same in the sampled tokens' texts, end of text (empty) and a stop included."""
    reason: str
    """What ended it: end, stop or length."""
    status: str
    """The verdict in one word."""
    reward: float | None
    """1, 0, or None without a verdict."""
    detail: str
    """The judge's line for a reader."""
    advantage: float
    """What the update multiplied the answer's gradient by; 0 where all of its group earned the same."""
    logp: tuple[float, ...]
    """Log-probability of each token before the update, nats."""
    ratio: tuple[float, ...]
    """Probability of each token after the update, divided by that before."""
    kl: tuple[float, ...] | None
    """k3 to the initial policy at each token after the update; None where the run keeps no initial policy."""


@dataclass(frozen=True)
class SeenGroup:
    """The answers to one task in one update."""

    update: int
    """Updates before this one."""
    task_id: str
    """Which task."""
    prompt: str
    """What the policy continued."""
    answers: tuple[SeenAnswer, ...]
    """G of them."""


class GroupLook:
    """Watches some of an update's groups: made before the update, asked for records after it."""

    def __init__(self, grpo: GRPO, groups: Sequence[Group], wanted: int) -> None:
        ranked = sorted(range(len(groups)), key=lambda n: not groups[n].informative)  # stable: these first
        self.numbers = sorted(ranked[:wanted])
        self.grpo, self.update = grpo, grpo.updates
        self.groups = [groups[n] for n in self.numbers]
        self.before = grpo.score(grpo.model, self.groups)

    def records(self, tokenizer: LineTokenizer) -> list[dict[str, Any]]:
        """Plain data, one record a group; numbers rounded to four decimals."""
        after = self.grpo.score(self.grpo.model, self.groups)
        ratio = (after - self.before).exp()
        kl = None
        if self.grpo.reference is not None:
            kl = kl_estimate("k3", after, self.grpo.score(self.grpo.reference, self.groups))
        found, row = [], 0
        for number, group in zip(self.numbers, self.groups, strict=True):
            record = {"update": self.update, "group": number, **group.record()}
            for place, (answer, told) in enumerate(zip(group.answers, record["answers"], strict=True)):
                length = len(answer.completion.ids)
                told["tokens"] = [tokenizer.decode([token]) for token in answer.completion.ids]
                told["advantage"] = round(float(self.grpo.advantages[number, place]), 4)
                told["logp"] = _rounded(self.before[row, :length])
                told["ratio"] = _rounded(ratio[row, :length])
                told["kl"] = None if kl is None else _rounded(kl[row, :length])
                row += 1
            found.append(record)
        return found


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(value, 4) + 0.0 for value in values.tolist()]


def seen_group(record: Mapping[str, Any]) -> SeenGroup:
    """A group from its record."""
    answers = [
        SeenAnswer(
            **{name: row[name] for name in ("text", "reason", "status", "reward", "detail", "advantage")},
            tokens=tuple(row["tokens"]),
            logp=tuple(row["logp"]),
            ratio=tuple(row["ratio"]),
            kl=None if row["kl"] is None else tuple(row["kl"]),
        )
        for row in record["answers"]
    ]
    return SeenGroup(record["update"], record["task_id"], record["prompt"], tuple(answers))


def read_rollouts(source: str | Path, label: str | None = None) -> list[SeenGroup]:
    """The groups of a run directory, a groups.jsonl, or a recorded run ("groups", "hacking", FILE.json), in order.

    `label` picks one of a recorded run's runs; by default the first. Raises FileNotFoundError where there is nothing
    to read, ValueError for an unknown label or groups without these numbers.
    """
    path = Path(source)
    if path.is_dir() or path.suffix == ".jsonl":
        file = path / "groups.jsonl" if path.is_dir() else path
        if not file.is_file():
            raise FileNotFoundError(f"{file} is not there: a run writes it where groups_every is above 0.")
        rows = read_jsonl(file)
    else:
        from ra3_lab.records import load_record

        runs = load_record(source).get("rlvr_runs", [])
        labels = [run["label"] for run in runs]
        if not runs or (label is not None and label not in labels):
            raise ValueError(f"{source} has no run {label!r} with groups: it has {labels or 'none'}.")
        rows = runs[0 if label is None else labels.index(label)]["groups"]
    try:
        return [seen_group(row) for row in rows]
    except (KeyError, TypeError):
        raise ValueError(f"{source} was written without ratios per token: sample the groups anew.") from None
