"""Running model-written programs: one seam, `judge_batch(programs, limits) -> list[Verdict]`.

    program.py   what is judged: programs, tests, limits, verdicts
    judge.py     the trainer's side: hands out jobs, collects verdicts; crew.py has its workers
    deciding.py  what a program said and how it ended become a verdict
    worker.py    the judge worker: holds the tests, compares
    zygote.py    forks one confined process a program, watches its limits, kills it
    plain.py     instead of both where nothing can fork: an interpreter for every program
    candidate.py, tester.py    inside those processes
    isolation.py    which isolation holds here; docs/sandbox.md says what each promises

Public names are looked up when first used: the zygote imports this package, too, and must stay small.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ra3_lab.sandbox.isolation import layers
    from ra3_lab.sandbox.judge import Invocation, Judge, Returned, call_batch, judge_batch, judge_each
    from ra3_lab.sandbox.profiles import NOTEBOOK, PROGRAM, Profile, notebook
    from ra3_lab.sandbox.program import (
        STATUSES,
        Asserts,
        Calls,
        Limits,
        NoVerdict,
        Program,
        Stdin,
        Verdict,
        verdict_trouble,
    )

_HOME = {
    "judge": ("Invocation", "Judge", "Returned", "call_batch", "judge_batch", "judge_each"),
    "isolation": ("layers",),
    "profiles": ("NOTEBOOK", "PROGRAM", "Profile", "notebook"),
    "program": (
        "STATUSES",
        "Asserts",
        "Calls",
        "Limits",
        "NoVerdict",
        "Program",
        "Stdin",
        "Verdict",
        "verdict_trouble",
    ),
}
_LAZY = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "NOTEBOOK",
    "PROGRAM",
    "STATUSES",
    "Asserts",
    "Calls",
    "Invocation",
    "Judge",
    "Limits",
    "NoVerdict",
    "Profile",
    "Program",
    "Returned",
    "Stdin",
    "Verdict",
    "call_batch",
    "judge_batch",
    "judge_each",
    "layers",
    "notebook",
    "verdict_trouble",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
