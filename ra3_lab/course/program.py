"""A submission as programs for the sandbox: one for each exercise, so that each has its own limits and process."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from functools import cache
from typing import Any

from ra3_lab.course import masters, plain, runner
from ra3_lab.course.exercise import Exercise
from ra3_lab.course.instant import provided
from ra3_lab.course.registry import assignment
from ra3_lab.course.submissions import CodeCell, Submission

ENTRY = "run"
_FUTURE = "from __future__ import annotations\n"


@cache
def given_cells(name: str) -> tuple[str, ...]:
    """The cells that an assignment gives: they run first, so that a deleted import costs nothing."""
    return tuple(cell.source for cell in masters.read_master(name) if cell.mark == "")


@cache
def _not_run(name: str) -> frozenset[str]:
    """Cells that are left out while they are as they were handed out: given ones run already, others show and check."""
    cells = masters.student_cells(assignment(name), masters.read_master(name))
    return frozenset(cell.source.strip() for cell in cells if cell.mark in ("", "check", "show"))


@cache
def _provided(name: str) -> dict[str, Any]:
    return {one.id: provided(one.id) for one in assignment(name).exercises}


@cache
def _texts() -> tuple[str, str]:
    return tuple(inspect.getsource(module).replace(_FUTURE, "") for module in (plain, runner))  # type: ignore[return-value]


def functions(submission: Submission, exercise: Exercise) -> tuple[str, ...]:
    """Names to look for: the one asked for; else the only function of the cell that belongs to the exercise."""
    own = [re.findall(r"^def (\w+)", cell.source, re.MULTILINE) for cell in _own_cells(submission, exercise)]
    defined = [name for names in own for name in names]
    others = {one.function for one in assignment(submission.assignment).exercises}
    return (exercise.function, *(defined if len(defined) == 1 and defined[0] not in others else ()))


def _own_cells(submission: Submission, exercise: Exercise) -> list[CodeCell]:
    return [cell for cell in submission.cells if cell.kind == "exercise" and cell.id == exercise.id]


def text(submission: Submission, exercise: Exercise, only_definitions: bool = False) -> str:
    """Python text whose function `run` calls the submission's function for `exercise`.

    Args:
        submission: What was handed in.
        exercise: What is asked.
        only_definitions: Whether imports, constants, functions and classes are run only: where a cell of the student's
            never ends.
    """
    given = given_cells(submission.assignment)
    left_out = _not_run(submission.assignment)
    cells = [cell.source for cell in submission.cells if cell.source.strip() not in left_out]
    job = {
        "cells": [*given, *cells],
        "functions": functions(submission, exercise),
        "provided": _provided(submission.assignment),
        "only_definitions": only_definitions,
    }
    adapter = "adapter = None"
    if exercise.adapter is not None:
        source = textwrap.dedent(inspect.getsource(exercise.adapter))
        adapter = f"{source}\nadapter = {exercise.adapter.__name__}"
    plain_text, runner_text = _texts()
    return f"{_FUTURE}{plain_text}\n{adapter}\nJOB = {json.dumps(json.dumps(job))}\n{runner_text}"
