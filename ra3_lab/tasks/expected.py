"""Expected results from the reference solution: computed once, in the sandbox, and kept on the judge's side.

HumanEval+ and MBPP+ give inputs only. What a right program returns is what the canonical solution returns, so it is
run here like any other program (it is somebody else's code), and its values become the pairs of `Calls`. The CPU time
it took sets the limit for all others: four times as much, at least the default, in steps of powers of two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil, log2

from ra3_lab.sandbox import Calls, Invocation, Limits, Returned, call_batch
from ra3_lab.sandbox.checkers import canonical
from ra3_lab.tasks.protocol import Inputs, Task, TaskSet

REFERENCE_LIMITS = Limits(cpu_seconds=60.0, memory_mb=1024, output_bytes=32_000_000)
"""What a reference solution may use over all of its inputs."""
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
    calls = [Invocation(task.canonical, task.entry_point, _inputs(task)) for task in open_ones]
    found = dict(
        zip(
            [task.task_id for task in open_ones],
            call_batch(calls, REFERENCE_LIMITS, workers, isolation, progress),
            strict=True,
        )
    )
    kept: list[Task] = []
    excluded = dict(tasks.excluded)
    for task in tasks:
        returned = found.get(task.task_id)
        if returned is None:
            kept.append(task)
        elif returned.status != "passed" or len(returned.values) != len(_inputs(task)):
            excluded[task.task_id] = f"the reference solution fails on its inputs: {returned.status}, {returned.detail}"
        else:
            kept.append(_filled(task, returned))
    return replace(tasks, tasks=tuple(kept), excluded=excluded, read_hash=tasks.hash)


def _inputs(task: Task) -> Sequence[Sequence[object]]:
    assert isinstance(task.tests, Inputs)
    return task.tests.inputs


def _filled(task: Task, returned: Returned) -> Task:
    """The task with what its reference solution returned as the expected results."""
    tests = task.tests
    assert isinstance(tests, Inputs)
    values = returned.values
    if tests.checker.startswith("root:"):
        values = [arguments[0] for arguments in tests.inputs]  # any root counts: the polynomial itself is expected
    elif tests.checker == "not_none":
        values = [value is not None and value is not False for value in values]
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
