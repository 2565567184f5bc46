"""Expected results from the reference solution: computed once, in the sandbox, and kept on the judge's side.

HumanEval+ and MBPP+ give inputs only. What a right program returns is what the canonical solution returns, so it is
run here like any other program (it is somebody else's code), and its values become the pairs of `Calls`. The CPU time
it took sets the limit for all others: four times as much, at least the default, in steps of powers of two.

Two tasks of HumanEval+ (15 and 130) return 150 MB over their inputs. Such results are kept as digests, and compared
exactly (`digest`, not `approx`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil, log2

from ra3_lab.sandbox import Calls, Invocation, Judge, Limits, Returned
from ra3_lab.sandbox.checkers import canonical, digest
from ra3_lab.tasks.protocol import Inputs, Task, TaskSet

REFERENCE_LIMITS = Limits(cpu_seconds=60.0, memory_mb=1024, output_bytes=32_000_000)
"""What a reference solution may use over all of its inputs."""
AT_ONCE = 16
"""Inputs of a task whose results are too large to be kept; they are turned into digests as they come."""
FACTOR = 4.0
"""How much more CPU time than the reference a program may use, over all inputs."""
Progress = Callable[[int, int], None]


def with_expected(
    tasks: TaskSet, workers: int | None = None, isolation: str | None = None, progress: Progress | None = None
) -> TaskSet:
    """The tasks with `Calls` in place of `Inputs`; those that have their results already stay as they are.

    A task whose reference solution fails on one of its own inputs moves to `excluded`, with the reason: nobody knows
    what is right there. ValueError where that leaves no task.
    """
    open_ones = [task for task in tasks if isinstance(task.tests, Inputs)]
    if not open_ones:
        return tasks
    with Judge(workers, isolation) as judge:
        calls = [Invocation(task.source_of(task.canonical), task.entry_point, _inputs(task)) for task in open_ones]
        found = judge.call(calls, REFERENCE_LIMITS, progress)
        returned = {task.task_id: result for task, result in zip(open_ones, found, strict=True)}
        kept: list[Task] = []
        excluded = dict(tasks.excluded)
        for task in tasks:
            result = returned.get(task.task_id)
            if result is not None and result.status == "output_limit":
                task, result = _digested(judge, task)
            if result is None:
                kept.append(task)
            elif result.status != "passed" or len(result.values) != len(_inputs(task)):
                excluded[task.task_id] = f"the reference solution fails on its inputs: {result.status}, {result.detail}"
            else:
                kept.append(_filled(task, result))
    return replace(tasks, tasks=tuple(kept), excluded=excluded, read_hash=tasks.hash)


def _inputs(task: Task) -> Sequence[Sequence[object]]:
    assert isinstance(task.tests, Inputs)
    return task.tests.inputs


def _digested(judge: Judge, task: Task) -> tuple[Task, Returned]:
    """The task with its checker `digest`, and digests of what the reference returns: a few inputs at a time."""
    inputs, values, seconds = _inputs(task), [], 0.0
    source = task.source_of(task.canonical)
    for begin in range(0, len(inputs), AT_ONCE):
        parts = [Invocation(source, task.entry_point, [given]) for given in inputs[begin : begin + AT_ONCE]]
        for result in judge.call(parts, REFERENCE_LIMITS):
            if result.status != "passed":
                return task, result
            values += map(digest, result.values)
            seconds += result.seconds
    tests = Inputs(task.entry_point, inputs, "digest")
    limits = replace(task.limits, output_bytes=16 * REFERENCE_LIMITS.output_bytes)
    return replace(task, tests=tests, limits=limits), Returned("passed", values, seconds, "")


def _filled(task: Task, returned: Returned) -> Task:
    """The task with what its reference solution returned as the expected results."""
    tests = task.tests
    assert isinstance(tests, Inputs)
    values = returned.values
    if tests.checker.startswith("root:"):
        values = [arguments[0] for arguments in tests.inputs]  # any root counts: the polynomial itself is expected
    pairs = tuple((list(arguments), value) for arguments, value in zip(tests.inputs, values, strict=True))
    return replace(task, tests=Calls(tests.entry_point, pairs, tests.checker), limits=_limits(task.limits, returned))


def _limits(limits: Limits, returned: Returned) -> Limits:
    """Room for a program that is FACTOR times slower, and for results four times as long."""
    seconds = max(limits.cpu_seconds, FACTOR * returned.seconds)
    size = sum(len(canonical(value)) for value in returned.values)
    return replace(
        limits,
        cpu_seconds=float(2 ** ceil(log2(seconds))),
        output_bytes=max(limits.output_bytes, 2 ** ceil(log2(4 * size + 1))),
    )
