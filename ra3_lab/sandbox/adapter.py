"""For outside test suites: one program, one task, one reward.

    run_one(source, {"entry_point": "f", "tests": "assert f(3) == 6\\n"}, deadline=2.0, mem_mb=512)      -> 1.0
    run_one(source, {"entry_point": "f", "pairs": [[[3], 6]]}, deadline=2.0, mem_mb=512)
    run_one(source, {"stdin": [["3\\n", "6\\n"]]}, deadline=2.0, mem_mb=512)

Unlike elsewhere, the deadline is wall time: for all asserts or pairs together, for each case of stdin. Pairs are
compared as by Python's `==` on plain data, stdin by its words; a task may name another "checker" (`checkers.py`).
The judge starts with the first call and stays warm until this process ends; its start does not count.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from typing import Any

from ra3_lab.sandbox.judge import Judge
from ra3_lab.sandbox.program import Asserts, Calls, Limits, NoVerdict, Program, Stdin

_judges: dict[tuple[int, str | None], Judge] = {}  # by process, so that a forked one starts its own


def run_one(
    source: str, task: Mapping[str, Any], deadline: float, mem_mb: float, isolation: str | None = None
) -> float:
    """1.0 where the program passes within the deadline, else 0.0.

    Args:
        source: The program's text.
        task: One of the three forms above. ValueError for any other.
        deadline: Wall seconds; a program that sleeps is killed then, too.
        mem_mb: MiB of memory.
        isolation: As for `judge_batch`; None is an error where no hard isolation holds.

    Raises NoVerdict where the sandbox itself failed, and again when it was tried afresh.

    >>> run_one("def f(x): return 2 * x", {"entry_point": "f", "pairs": [[[3], 6]]}, deadline=5.0, mem_mb=512)
    1.0
    """
    program = Program(source, _tests(task))
    # CPU time must not decide: threads may use more of it than wall time.
    limits = Limits((os.cpu_count() or 1) * deadline + 1, mem_mb, wall_seconds=deadline)
    key = (os.getpid(), isolation)
    if key not in _judges:
        _judges[key] = Judge(1, isolation)
    (verdict,) = _judges[key].batch([program], limits)
    if verdict.status == "no_verdict":
        raise NoVerdict(verdict.detail)
    return float(verdict.passed)


def _tests(task: Mapping[str, Any]) -> Calls | Asserts | Stdin:
    if "stdin" in task:
        return Stdin(task["stdin"], task.get("checker", "tokens"))
    if "entry_point" in task and "tests" in task:
        return Asserts(task["tests"], task["entry_point"])
    if "entry_point" in task and "pairs" in task:
        return Calls(task["entry_point"], task["pairs"], task.get("checker", "equal"))
    raise ValueError(
        f"a task with {sorted(task)} is none of the three forms: give entry_point and tests, entry_point and pairs, or "
        "stdin"
    )


@atexit.register
def close() -> None:
    """End the warm judges of this process; the next call starts a new one."""
    for key in [key for key in _judges if key[0] == os.getpid()]:
        _judges.pop(key).close()
