"""The course: assignments whose answers are checked by properties and float64 oracles, never by luck.

    exercise.py   what an exercise is: inputs, oracle, named mistakes; plain data in, a Finding out
    plain.py      arrays and tensors as plain data, here and inside the sandbox
    check.py      what a notebook calls: begin, check, provided
    a1.py ...     the exercises

For writers of exercises: docs/course/contract.md. For teachers: docs/course/guide.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ra3_lab.course.check import begin, check, provided

_HOME = {"begin": "check", "check": "check", "provided": "check"}

__all__ = ["begin", "check", "provided"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
