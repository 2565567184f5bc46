"""Where on the held-out tasks a difference arises: pass rates and paired differences within groups of tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ra3_lab.evaluate.passk import Interval, paired_difference_ci
from ra3_lab.tasks.pipelines import Task


@dataclass(frozen=True)
class Stratum:
    """Tasks of one kind, and what the arms make of them."""

    name: str
    """What its tasks have in common."""
    tasks: int
    """How many they are."""
    passed: dict[str, np.ndarray]
    """Arm -> (seeds, tasks) share of samples that passed."""
    differences: list[tuple[str, str, Interval]]
    """(a, b, pass@1 of a less b) over seeds and tasks."""

    @property
    def rates(self) -> dict[str, float]:
        """pass@1 of every arm, mean over seeds, in 0..1."""
        return {arm: float(scores.mean()) for arm, scores in self.passed.items()}


def lines_per_step(task: Task) -> float:
    """Length of a task's blocks in its expert program, in lines: the decisions that one thought settles."""
    return len(task.lines) / len(task.steps)


def stratify(
    records: Sequence[dict[str, Any]],
    tasks: Sequence[Task],
    measure: Callable[[Task], float],
    pairs: Sequence[tuple[str, str]],
    parts: int = 3,
) -> list[Stratum]:
    """The tasks in `parts` groups of (nearly) equal size from small to large `measure`, each scored by itself.

    records: one a seed, as `seed_records` gives them, scored on these tasks in this order. Tasks of equal measure may
    fall on two sides of a border, in the order of the split. Raises ValueError where counts differ or `parts` is not
    in 1..number of tasks.
    """
    if not 1 <= parts <= len(tasks):
        raise ValueError(f"parts={parts}: 1 to {len(tasks)}, the number of tasks.")
    passed = {arm: np.array([np.mean(r["correct"][arm], axis=1) for r in records]) for arm in records[0]["correct"]}
    for arm, scores in passed.items():
        if scores.shape[1] != len(tasks):
            raise ValueError(f"{arm} was scored on {scores.shape[1]} tasks, not on these {len(tasks)}.")
    values = np.array([measure(task) for task in tasks])
    found = []
    for chosen in np.array_split(np.argsort(values, kind="stable"), parts):
        low, high = values[chosen].min(), values[chosen].max()
        within = {arm: scores[:, chosen] for arm, scores in passed.items()}
        found.append(
            Stratum(
                f"{low:.2f} to {high:.2f}",
                len(chosen),
                within,
                [(a, b, paired_difference_ci(within[a], within[b])) for a, b in pairs if a in within and b in within],
            )
        )
    return found
