"""For nbgrader and Otter: checks that raise. They run in the student's own process, as those tools do it.

What that means is said in docs/course/guide.md: there, a submission can read and change what checks it. Marks that
must be trusted come from `ra3-lab course grade`, which reads the same submissions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ra3_lab.course.exercise import Assignment
from ra3_lab.course.instant import PRACTICE_SEED, examine
from ra3_lab.course.registry import exercise
from ra3_lab.course.secret import Secret

SEEDS = "RA3_COURSE_SEEDS"
SEEDS_FILE = "hidden_seeds.json"


def require(name: str, function: Callable[..., Any], hidden: bool = False) -> None:
    """Check a function. AssertionError with the hint where it is not right.

    Args:
        name: The exercise.
        function: The student's.
        hidden: Use the hidden inputs, whose seeds stand in the file that RA3_COURSE_SEEDS names, or in the working
            folder's hidden_seeds.json. FileNotFoundError where there is neither.
    """
    asked = exercise(name)
    seed = _seeds()[name] if hidden else PRACTICE_SEED
    finding = examine(name, function, [asked.example, *asked.make_inputs(seed)])
    if not finding.passed:
        raise AssertionError(f"{name}: {finding.hint if not hidden else 'not right on fresh inputs'}")


def seeds_text(found: Assignment, secret: Secret) -> str:
    """The file of hidden seeds for one assignment: for the autograder only."""
    return json.dumps({one.id: secret.seed(one.id) for one in found.exercises}, indent=1) + "\n"


def _seeds() -> dict[str, int]:
    for path in (os.environ.get(SEEDS, ""), SEEDS_FILE):
        if path and Path(path).is_file():
            return json.loads(Path(path).read_text(encoding="utf-8"))
    raise FileNotFoundError(
        f"no {SEEDS_FILE} here and no file in ${SEEDS}: hidden checks run where the teacher grades."
    )
