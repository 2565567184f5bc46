"""Judge samples on a benchmark: verdicts, pass@k with intervals, and a self-test before either is believed.

    tasks = with_expected(load_tasks("humaneval+", path))
    self_test(tasks)                                     reference solutions pass, or the run stops
    records = judge_samples(tasks, samples)
    summarise(tasks, records, ks=(1, 10))

A verdict `no_verdict` says nothing about a program: its sample is left out of the rates and its reward is None. More
than 1 % of them stop the run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ra3_lab
from ra3_lab.evaluate.passk import bootstrap_ci, pass_at_k
from ra3_lab.evaluate.samples import Sample, canonical_samples
from ra3_lab.sandbox import STATUSES, Verdict, judge_each, layers, verdict_trouble
from ra3_lab.tasks.protocol import TaskSet
from ra3_lab.tasks.registry import load_tasks

Progress = Callable[[int, int], None]


class RunStopped(RuntimeError):
    """The run must not go on; the text says why and what to do."""


class SelfTestFailed(RunStopped):
    """Reference solutions do not pass here, so neither would right programs."""


@dataclass(frozen=True)
class Record:
    """What became of one sample."""

    task_id: str
    """Which task."""
    sample: int
    """Which sample of it, from 0."""
    passed: bool
    """Whether it passed all tests."""
    status: str
    """The verdict in one word, see ra3_lab.sandbox."""
    reward: float | None
    """1.0 or 0.0; None without a verdict, to be masked from a loss."""
    seconds: float
    """CPU seconds of the program."""
    detail: str
    """One line for a reader."""


def judge_samples(
    tasks: TaskSet,
    samples: Sequence[Sample],
    workers: int | None = None,
    isolation: str | None = None,
    progress: Progress | None = None,
) -> list[Record]:
    """One record a sample, in order. RunStopped where more than 1 % have no verdict; KeyError for an unknown task."""
    by_id = {task.task_id: task for task in tasks}
    jobs = [(sample.program(by_id[sample.task_id]), by_id[sample.task_id].limits) for sample in samples]
    verdicts = judge_each(jobs, workers, isolation, progress)
    records = [_record(sample, verdict) for sample, verdict in zip(samples, verdicts, strict=True)]
    without = [record for record in records if record.status == "no_verdict"]
    detail = f"the first, {without[0].task_id}: {without[0].detail}" if without else ""
    if trouble := verdict_trouble(len(without), len(records), detail):
        raise RunStopped(trouble)
    return records


def _record(sample: Sample, verdict: Verdict) -> Record:
    reward = None if verdict.status == "no_verdict" else float(verdict.passed)
    return Record(
        sample.task_id,
        sample.number,
        verdict.passed,
        verdict.status,
        reward,
        round(verdict.seconds, 4),
        verdict.detail,
    )


def self_test(
    tasks: TaskSet, workers: int | None = None, isolation: str | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Judge the reference solutions before anything else; what was found, for the record.

    Data without reference solutions are stood in for by ra3_lab's own examples. Raises SelfTestFailed with the first
    failures; a task whose `known_failure` says why its reference fails may fail.
    """
    own = canonical_samples(tasks)
    subject = tasks if own else load_tasks("own")
    records = judge_samples(subject, own or canonical_samples(subject), workers, isolation, progress)
    known = {task.task_id for task in subject if task.known_failure}
    failed = [record for record in records if not record.passed]
    unknown = [record for record in failed if record.task_id not in known]
    if unknown:
        shown = "; ".join(f"{record.task_id}: {record.status} ({record.detail:.120})" for record in unknown[:3])
        raise SelfTestFailed(
            f"self-test: {len(unknown)} of {len(records)} reference solutions fail here, so right programs would, too. "
            f"{shown}. Look at `ra3-lab doctor`; --skip-self-test goes on with scores that are too low."
        )
    return {
        "judged": "reference solutions" if own else "ra3_lab's own examples: the data has no reference solutions",
        "passed": len(records) - len(failed),
        "of": len(records),
        "known_failures": sorted(record.task_id for record in failed),
    }


def check_ks(ks: Sequence[int], counts: dict[str, int]) -> None:
    """ValueError unless there is a k, and every task has at least k samples, for every k."""
    if not ks:
        raise ValueError("--k without a number: give which pass@k to report, for example --k 1 5.")
    for k in ks:
        if k < 1:
            raise ValueError(f"k is {k}; it must be at least 1.")
        short = [(task_id, count) for task_id, count in counts.items() if count < k]
        if short:
            task_id, count = min(short, key=lambda item: item[1])
            raise ValueError(
                f"pass@{k} needs at least {k} samples a task, {task_id!r} has {count} ({len(short)} of {len(counts)} "
                "tasks have too few): lower --k or draw more samples."
            )


def summarise(
    tasks: TaskSet, records: Sequence[Record], ks: Sequence[int] = (1,), isolation: str | None = None
) -> dict[str, Any]:
    """pass@k with 95 % intervals over tasks, counts by status, and what the numbers depend on.

    Tasks without samples are counted, not scored. Samples without a verdict are left out; a task that is left with
    fewer than k does not enter pass@k. ValueError for k > n.
    """
    samples: Counter[str] = Counter(record.task_id for record in records)
    check_ks(ks, samples)
    judged: dict[str, list[bool]] = defaultdict(list)
    for record in records:
        if record.reward is not None:
            judged[record.task_id].append(record.passed)
    rates: dict[str, Any] = {}
    intervals: dict[str, list[float]] = {}
    for k in sorted(set(ks)):
        values = [pass_at_k(len(found), sum(found), k) for found in judged.values() if len(found) >= k]
        if not values:
            raise RunStopped(f"pass@{k}: no task has {k} samples with a verdict.")
        interval = bootstrap_ci(values)
        rates[f"pass@{k}"] = interval.mean
        intervals[f"pass@{k}"] = [interval.low, interval.high]
    statuses = Counter(record.status for record in records)
    each = sorted(set(samples.values()))
    return {
        **rates,
        "ci95": intervals,
        "counts": {status: statuses[status] for status in STATUSES},
        "benchmark": tasks.data.name,
        "split": tasks.split,
        "tasks": len(samples),
        "tasks_without_samples": len(tasks) - len(samples),
        "samples": len(records),
        "samples_per_task": each[0] if len(each) == 1 else [each[0], each[-1]],
        "excluded": dict(tasks.excluded),
        "data": {"location": tasks.data.location, "sha256": tasks.data.sha256, "release": tasks.data.release},
        "data_hash": tasks.hash,
        "harness_version": ra3_lab.__version__,
        "layers": layers(isolation),
    }
