"""`ra3-lab course`: build assignments, check and grade submissions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from ra3_lab.commands.output import Json, results


@dataclass(frozen=True)
class Build:
    """The students' notebooks from their masters, and bundles for a class.

    Example: ra3-lab course build

    Example: ra3-lab course build --check
    """

    check: bool = False
    """Write nothing; status 1 where a notebook is not what its master gives."""
    json: Json = None
    """Write the result as JSON to FILE, or to stdout."""


Action = Annotated[Build, tyro.conf.subcommand("build", prefix_name=False)]


def run(action: Annotated[Action, tyro.conf.arg(name="")]) -> int:
    """Assignments: build them, check and grade what comes back.

    Example: ra3-lab course build --check
    """
    from ra3_lab.course.masters import build_students

    with results("course", action.json) as emit:
        changed = build_students(action.check)
        for path in changed:
            print(f"{path.name} {'is out of date' if action.check else 'built'}")
        if not changed:
            print("every assignment is what its master gives")
        emit({"action": "build", "changed": [path.name for path in changed]})
    return 1 if action.check and changed else 0
