"""One master notebook of an assignment, three results: the student's notebook, the solution, a page.

A master is py:percent (`notebooks/assignments/src/`); its marks are described in docs/course/contract.md. What must not
reach students: solution lines (between markers in exercise cells), rubrics and model answers. `student_cells` builds
what they get from the parts that are meant for them, rather than cutting out what is not; `leaks.py` looks afterwards.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ra3_lab.course.exercise import Assignment, Exercise, Question
from ra3_lab.course.registry import assignment, home, names
from ra3_lab.notebooks import LONGEST_CELL, Cell, Mark, parse_percent, to_notebook, write_built
from ra3_lab.resources import checkout_dir, masters_dir

MARKS = {
    "": Mark("code"),
    "markdown": Mark("markdown"),
    "about": Mark("markdown"),
    "exercise": Mark("code", 2 * LONGEST_CELL),
    "hint": Mark("markdown"),
    "check": Mark("code"),
    "show": Mark("code"),
    "question": Mark("markdown"),
    "answer": Mark("markdown"),
}
KINDS = {"": "given", "markdown": "text"}
"""What cells without an id are called in a notebook's metadata; the others by their mark."""
BEGIN, END, RUBRIC = "# BEGIN SOLUTION", "# END SOLUTION", "# RUBRIC"
ANSWER = "*Your answer, in your own words:*"
_STARS = {1: "★", 2: "★★", 3: "★★★"}


def source_of(found: Assignment) -> Path:
    """The master's file: beside the exercises where it is there (a course's own assignment), else in the project."""
    beside = home(found.id).parent / f"{found.notebook}.py"
    return beside if beside.is_file() else masters_dir() / beside.name


def read_master(name: str) -> list[Cell]:
    """The cells of an assignment's master. ValueError where it and the assignment do not fit together."""
    found = assignment(name)
    path = source_of(found)
    cells = parse_percent(path.read_text(encoding="utf-8"), path.name, MARKS)
    _check(found, cells, path.name)
    return cells


def _check(found: Assignment, cells: Sequence[Cell], name: str) -> None:
    for marks, parts in (
        (("about", "exercise", "check"), found.exercises),
        (("question", "answer"), found.questions),
    ):
        for mark in marks:
            there = [cell.about for cell in cells if cell.mark == mark]
            wanted = [part.id for part in parts]
            if there != wanted:
                raise ValueError(f"{name}: [{mark} ...] cells are {there}; the assignment has, in order, {wanted}.")
    known = {exercise.id for exercise in found.exercises}
    for cell in cells:
        if cell.mark == "hint" and cell.about not in known:
            raise ValueError(f"{name}: a hint for {cell.about!r}, which is no exercise of {found.id}.")
        if cell.mark == "exercise":
            split_solution(cell.source, cell.about)
            function = _exercise(found, cell.about).function
            if not re.search(rf"^def {function}\b", cell.source, re.MULTILINE):
                raise ValueError(f"{name}: the cell [exercise {cell.about}] defines no function {function!r}.")
        elif BEGIN in cell.source or END in cell.source:
            raise ValueError(f"{name}: a solution marker outside of an exercise cell, in {cell.source[:60]!r}.")
        if cell.mark == "question" and not re.search(rf"^{RUBRIC[2:]}$", cell.source, re.MULTILINE):
            raise ValueError(f"{name}: the question {cell.about} has no line '# RUBRIC'.")


def split_solution(source: str, name: str) -> tuple[list[str], list[str], list[str]]:
    """The lines before, between and after the solution markers. ValueError unless there is one pair of them."""
    lines = source.splitlines()
    marks = [number for number, line in enumerate(lines) if line.strip() in (BEGIN, END)]
    if len(marks) != 2 or [lines[number].strip() for number in marks] != [BEGIN, END] or marks[1] == marks[0] + 1:
        raise ValueError(f"exercise {name}: give one '{BEGIN}' and, after some lines, one '{END}'.")
    return lines[: marks[0]], lines[marks[0] + 1 : marks[1]], lines[marks[1] + 1 :]


def stub(source: str, name: str) -> str:
    """An exercise cell with a line that raises in place of its solution.

    >>> print(stub("def f(x):\\n    # BEGIN SOLUTION\\n    return x\\n    # END SOLUTION", "a0.f"))
    def f(x):
        raise NotImplementedError("a0.f: still to be written")
    """
    before, solution, after = split_solution(source, name)
    first = next(line for line in solution if line.strip())
    indent = first[: len(first) - len(first.lstrip())]
    return "\n".join([*before, f'{indent}raise NotImplementedError("{name}: still to be written")', *after])


def without_markers(source: str, name: str) -> str:
    """An exercise cell with its solution, markers gone."""
    before, solution, after = split_solution(source, name)
    return "\n".join([*before, *solution, *after])


def heading(exercise: Exercise) -> str:
    """What stands above an exercise's text."""
    return (
        f"### Exercise {exercise.id}: {exercise.title}\n\n**Objective.** {exercise.objective}\n\n"
        f"{exercise.minutes} minutes · difficulty {_STARS[exercise.difficulty]} · {exercise.points} "
        f"point{'s' * (exercise.points != 1)} · write `{exercise.function}`"
    )


def folded(title: str, text: str) -> str:
    """Markdown that opens on a click."""
    return f"<details>\n<summary>{title}</summary>\n\n{text}\n\n</details>"


def student_cells(found: Assignment, cells: Sequence[Cell]) -> list[Cell]:
    """The student's cells: stubs, folded hints, check cells, empty answers; no solution, rubric or model answer."""
    return _cells(found, cells, solved=False)


def solution_cells(found: Assignment, cells: Sequence[Cell]) -> list[Cell]:
    """The same with solutions, rubrics and model answers: for teachers."""
    return _cells(found, cells, solved=True)


def _cells(found: Assignment, cells: Sequence[Cell], solved: bool) -> list[Cell]:
    built = []
    for cell in cells:
        source, name = cell.source, cell.about
        if cell.mark == "about":
            source = f"{heading(_exercise(found, name))}\n\n{source}"
        elif cell.mark == "exercise":
            source = without_markers(source, name) if solved else stub(source, name)
        elif cell.mark == "hint":
            source = folded("A hint", source)
        elif cell.mark == "check" and not source:
            source = f'check("{name}", {_exercise(found, name).function})'
        elif cell.mark == "question":
            asked, rubric = split_rubric(source)
            points = _question(found, name).points
            source = f"**Why?** ({name}, {points} point{'s' * (points != 1)}, read by a person) {asked}"
            if solved:
                source += f"\n\n**Rubric.** {rubric}"
        elif cell.mark == "answer":
            source = f"{ANSWER}\n\n{source}" if solved else ANSWER
        built.append(Cell(cell.kind, source, cell.mark, name))
    return built


def split_rubric(source: str) -> tuple[str, str]:
    """A question's text and its rubric."""
    asked, _, rubric = re.split(rf"^({RUBRIC[2:]})$", source, maxsplit=1, flags=re.MULTILINE)
    return asked.strip(), rubric.strip()


def notebook(found: Assignment, cells: Sequence[Cell], solved: bool = False) -> dict[str, Any]:
    """The student's notebook, or the solved one, as nbformat 4.5; cells carry their kind and exercise as metadata."""
    made = (solution_cells if solved else student_cells)(found, cells)
    built = to_notebook(made, found.notebook)
    for record, cell in zip(built["cells"], made, strict=True):
        kind = KINDS.get(cell.mark, cell.mark)
        record["metadata"] = {"ra3_lab": {"kind": kind} | ({"id": cell.about} if cell.about else {})}
    digest = built["metadata"]["ra3_lab"]["digest"]
    built["metadata"]["ra3_lab"] = {"assignment": found.id, "version": version(built), "digest": digest}
    return built


def version(built: dict[str, Any]) -> str:
    """A digest of the cells that are given, so that a submission tells which edition it began from."""
    fixed = [
        "".join(cell["source"]) for cell in built["cells"] if cell["metadata"]["ra3_lab"]["kind"] in ("given", "about")
    ]
    return hashlib.sha256(json.dumps(fixed).encode()).hexdigest()[:12]


def notebook_text(built: dict[str, Any]) -> str:
    """The .ipynb file, as Jupyter itself would lay it out."""
    return json.dumps(built, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def page(found: Assignment, cells: Sequence[Cell]) -> str:
    """The teacher's page, as Markdown: what is asked, minutes and points, solutions and rubrics folded."""
    minutes = sum(exercise.minutes for exercise in found.exercises)
    points = sum(question.points for question in found.questions)
    rows = "\n".join(
        f"| {one.id} | {_in_table(one.title)} | {one.minutes} | {_STARS[one.difficulty]} | {one.points} "
        f"| {_in_table(one.objective)} |"
        for one in found.exercises
    )
    parts = [
        f"# {found.id.upper()}: {found.title} (for teachers)\n\n{len(found.exercises)} exercises, about {minutes} "
        f"minutes, {found.points} points, and {points} for questions that a person reads.\n\n"
        f"| id | exercise | minutes | difficulty | points | objective |\n|---|---|---|---|---|---|\n{rows}"
    ]
    for exercise in found.exercises:
        away = ", ".join(f"`{name}`" for name in exercise.gives_away) or "nothing"
        known = "\n".join(f"- `{mistake.id}`: {mistake.hint}" for mistake in exercise.mistakes) or "- none"
        parts.append(
            f"{heading(exercise)}\n\nThe library gives away: {away}\n\nMistakes that are recognised:\n\n{known}"
        )
        source = next(cell.source for cell in cells if cell.mark == "exercise" and cell.about == exercise.id)
        parts.append(folded("Solution", f"```python\n{without_markers(source, exercise.id)}\n```"))
    for question in found.questions:
        asked, rubric = split_rubric(next(c.source for c in cells if (c.mark, c.about) == ("question", question.id)))
        answer = next(c.source for c in cells if (c.mark, c.about) == ("answer", question.id))
        parts.append(f"### Question {question.id} ({question.points})\n\n{asked}")
        parts.append(folded("Rubric and a model answer", f"{rubric}\n\n{answer}"))
    return "\n\n".join(parts) + "\n"


def _in_table(text: str) -> str:
    return text.replace("|", "\\|")


def build_students(check: bool = False, force: bool = False) -> list[Path]:
    """Write notebooks/assignments/*.ipynb from the masters; returns those that changed, or with `check` would.

    FileNotFoundError outside a checkout. Masters that are not right, and notebooks in which somebody has worked
    (unless `force` is given), are told about (ValueError) when all others are built.
    """
    if checkout_dir() is None:
        raise FileNotFoundError("notebooks/assignments is not part of an installed ra3_lab: give --out FOLDER.")
    changed, wrong = [], []
    for name in names():
        found = assignment(name)
        if source_of(found).parent != masters_dir():
            continue
        target = masters_dir().parent / f"{found.notebook}.ipynb"
        try:
            if write_built(target, notebook_text(notebook(found, read_master(name))), check, force):
                changed.append(target)
        except (ValueError, OSError) as error:
            wrong.append(str(error))
    if wrong:
        raise ValueError("\n".join(wrong))
    return changed


def _exercise(found: Assignment, name: str) -> Exercise:
    return next(one for one in found.exercises if one.id == name)


def _question(found: Assignment, name: str) -> Question:
    return next(one for one in found.questions if one.id == name)
