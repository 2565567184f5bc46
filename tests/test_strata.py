"""Where on the held-out tasks a difference arises."""

from __future__ import annotations

import numpy as np
import pytest

from ra3_lab.study.strata import lines_per_step, stratify
from ra3_lab.tasks.pipelines import load_split

TASKS = load_split("validation")[:30]


def records(passed):
    """Two seeds with the same verdicts: arm -> (tasks, 2) bool."""
    return [{"correct": {arm: np.repeat(rows[:, None], 2, axis=1) for arm, rows in passed.items()}}] * 2


def test_every_group_is_scored_by_itself():
    length = np.array([lines_per_step(task) for task in TASKS])
    short = np.zeros(30, dtype=bool)
    short[np.argsort(length, kind="stable")[:10]] = True
    found = stratify(records({"a": short, "b": np.zeros(30, dtype=bool)}), TASKS, lines_per_step, [("a", "b")])
    assert [stratum.tasks for stratum in found] == [10, 10, 10]
    assert [stratum.rates for stratum in found] == [{"a": 1.0, "b": 0.0}, *[{"a": 0.0, "b": 0.0}] * 2]
    assert [stratum.differences[0][2].mean for stratum in found] == [1.0, 0.0, 0.0]
    assert found[0].name == f"{length.min():.2f} to {np.sort(length)[9]:.2f}"


def test_lines_per_step_are_the_mean_distance_of_true_starts():
    task = TASKS[0]
    ends = [*task.starts[1:], len(task.lines)]
    assert lines_per_step(task) == pytest.approx(np.mean(np.array(ends) - np.array(task.starts)))


def test_verdicts_of_other_tasks_are_refused():
    with pytest.raises(ValueError, match="scored on 30 tasks, not on these 29"):
        stratify(records({"a": np.zeros(30, dtype=bool)}), TASKS[1:], lines_per_step, [])
    with pytest.raises(ValueError, match="parts=31: 1 to 30"):
        stratify(records({"a": np.zeros(30, dtype=bool)}), TASKS, lines_per_step, [], parts=31)
