"""Finding assignments and exercises by id. Each `ra3_lab/course/aN.py` holds one `ASSIGNMENT`."""

from __future__ import annotations

import pkgutil
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import ra3_lab.course
from ra3_lab.course.exercise import Assignment, Exercise


@cache
def names() -> tuple[str, ...]:
    """Ids of all assignments: ("a1", ...)."""
    found = [module.name for module in pkgutil.iter_modules(ra3_lab.course.__path__)]
    return tuple(sorted(name for name in found if re.fullmatch(r"a\d+", name)))


@cache
def assignment(name: str) -> Assignment:
    """An assignment by id. ValueError, with those there are, for another name."""
    if name not in names():
        raise ValueError(f"no assignment {name!r}; there are {', '.join(names())}.")
    return import_module(f"ra3_lab.course.{name}").ASSIGNMENT


def home(name: str) -> Path:
    """The file of an assignment's exercises."""
    return Path(import_module(f"ra3_lab.course.{name}").__file__ or "")


def exercise(name: str) -> Exercise:
    """An exercise by id. ValueError, with those of the assignment, for another name."""
    found = assignment(name.partition(".")[0])
    for one in found.exercises:
        if one.id == name:
            return one
    raise ValueError(f"no exercise {name!r}; {found.id} has {', '.join(one.id for one in found.exercises)}.")
