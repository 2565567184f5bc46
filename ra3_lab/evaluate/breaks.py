"""Where do a policy's programs break: at a thought, or at the lines that follow it?

In the pipelines world a right program is known line by line: every skill has one way to write it. So a sampled program
can be walked along the expert's segments, up to the first segment whose lines are not the expert's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from ra3_lab.tasks.pipelines import Task
from ra3_lab.trace import MARKER

Begun = Literal["right", "another", "none"]
"""How a segment begins: with the thought that says its step, with another thought, or with none."""

BEGUN: tuple[Begun, ...] = ("right", "another", "none")


class Segment(NamedTuple):
    """One segment that a program reached with all lines before it right."""

    begun: Begun
    """Its thought; of several in a row the last."""
    right: bool
    """All of its lines are the expert's. Thoughts between them do not count."""


def walk(program: str, task: Task) -> list[Segment]:
    """The segments of a program (prompt left out), up to the first that is not the expert's.

    What follows the expert's last line is not looked at.
    """
    written = _code_lines(program)
    found = []
    for step, start, stop in zip(task.steps, task.starts, (*task.starts[1:], len(task.lines)), strict=True):
        block = written[start:stop]
        thought = block[0][0]
        begun: Begun = "none" if thought is None else "right" if thought == step.thought else "another"
        found.append(Segment(begun, tuple(line for _, line in block) == task.lines[start:stop]))
        if not found[-1].right:
            break
    return found


def _code_lines(program: str) -> list[tuple[str | None, str]]:
    """Every line of code with the thought before it, and "" where the program ends."""
    found, thought = [], None
    for line in [*program.splitlines(keepends=True), ""]:
        if line.startswith(MARKER):
            thought = line.removeprefix(MARKER).rstrip("\n")
        else:
            found.append((thought, line))
            thought = None
    return found


def count_breaks(walks: Iterable[Sequence[Segment]]) -> dict[str, dict[str, int]]:
    """Over the walks of programs, for each way to begin: segments reached that way, and how many are right.

    Keys `reached` and `right`, each with those of `BEGUN`.
    """
    counts: dict[str, dict[str, int]] = {key: {how: 0 for how in BEGUN} for key in ("reached", "right")}
    for found in walks:
        for segment in found:
            counts["reached"][segment.begun] += 1
            counts["right"][segment.begun] += segment.right
    return counts
