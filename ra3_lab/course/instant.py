"""What an assignment's notebook calls: `begin`, `check`, `provided`.

`check` is the instant check: it runs in the notebook's own kernel, on the visible example and on practice inputs that
everybody has. Grading runs elsewhere, on fresh inputs (`ra3_lab.course.grade`); what is patched here changes no mark.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ra3_lab.course.exercise import Finding, judge, right
from ra3_lab.course.plain import plain, revive
from ra3_lab.course.registry import assignment, exercise

PRACTICE_SEED = 1
GO_ON = "RA3_COURSE_GO_ON"


def begin(name: str, go_on: bool = False) -> None:
    """The first cell of an assignment: says what it holds.

    Args:
        name: "a1".
        go_on: Whether an exercise that is still a stub lets the notebook go on, with provided results, instead of
            stopping it there.
    """
    found = assignment(name)
    os.environ[GO_ON] = "1" if go_on or os.environ.get(GO_ON) == "1" else "0"
    minutes = sum(one.minutes for one in found.exercises)
    print(f"{found.id.upper()} {found.title}: {len(found.exercises)} exercises, about {minutes} minutes.")


def check(name: str, function: Callable[..., Any]) -> None:
    """Try a function on the visible example and on practice inputs; print what was found.

    A stub raises its NotImplementedError again, unless `begin(..., go_on=True)` was called.
    """
    try:
        finding = try_out(name, function)
    except NotImplementedError:
        if os.environ.get(GO_ON) != "1":
            raise
        print(f"{name}: still to be written; the notebook goes on with provided results.")
        return
    if finding.passed:
        print(f"{name}: passed on the example and on practice inputs. Grading uses fresh ones.")
    else:
        print(f"{name}: not yet. {finding.hint}{_where(name, function, finding)}")


def _where(name: str, function: Callable[..., Any], finding: Finding) -> str:
    """Whether the visible example shows it, where one can look; an error says so itself."""
    if finding.mistake == "error":
        return ""
    if try_out(name, function, only_example=True).passed:
        return " On the visible example it is right."
    return f' The visible example shows it: `provided("{name}")` is what is right there.'


def try_out(name: str, function: Callable[..., Any], only_example: bool = False) -> Finding:
    """The finding behind `check`. NotImplementedError passes through; other exceptions become a finding."""
    asked = exercise(name)
    inputs = [asked.example] if only_example else [asked.example, *asked.make_inputs(PRACTICE_SEED)]
    return examine(name, function, inputs)


def examine(name: str, function: Callable[..., Any], inputs: list) -> Finding:
    """Call a function of one's own, here in this process, and judge what it returns. Never for submissions."""
    asked = exercise(name)
    results = []
    for arguments in inputs:
        arguments = revive(list(arguments))
        try:
            value = function(*arguments) if asked.adapter is None else asked.adapter(function, *arguments)
            results.append(plain(value))
        except NotImplementedError:
            raise
        except Exception as error:
            where = "on the visible example" if not results else "on other inputs than the example"
            return Finding(False, "error", f"It raised {type(error).__name__}: {error} ({where}).")
    return judge(asked, inputs, results)


def provided(name: str) -> Any:
    """The right result of an exercise on its visible example: later cells go on from it."""
    asked = exercise(name)
    return right(asked, asked.example)
