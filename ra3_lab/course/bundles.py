"""What a class is given, built from the masters: for students, for teachers, for nbgrader, for Otter.

    OUT/student/, OUT/student.zip     notebooks to hand out; the leak gate looks through both
    OUT/teacher/solutions, /pages     solved notebooks; a page each with solutions, rubrics and recognised mistakes
    OUT/nbgrader/                     a course folder: source/aN/*.ipynb, nbgrader_config.py
    OUT/otter/aN/                     masters for `otter assign`

Hidden checks of the last two read seeds made from the secret, which lie beside them and never in what students get.
What is not for students is for this user's eyes only.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ra3_lab.course import foreign, masters
from ra3_lab.course.exercise import Assignment
from ra3_lab.course.leaks import leaks
from ra3_lab.course.registry import assignment, names
from ra3_lab.course.secret import Secret
from ra3_lab.notebooks import Cell, to_notebook
from ra3_lab.runs.files import fresh_directory

_STUDENT = """# Assignments

Open a notebook in Jupyter with ra3_lab installed, write the functions that raise `NotImplementedError`, run the checks.
`ra3-lab course check NOTEBOOK.ipynb` runs all its checks as grading does, on the inputs that everybody has.
`begin("a1", go_on=True)` lets a notebook run on past functions that are still to be written, with provided results.

Hand in the `.ipynb` files. Grading calls your functions with fresh inputs, in a process without network and without
ra3_lab: functions take all they need as arguments. Cells you add are run, so take out what never ends.
"""
_NBGRADER = '''"""nbgrader's settings. Hidden checks find their seeds where this file is."""

import os
from pathlib import Path

c = get_config()  # noqa: F821
c.CourseDirectory.root = str(Path(__file__).resolve().parent)
c.CourseDirectory.course_id = "ra3"
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError()"}
os.environ["RA3_COURSE_SEEDS"] = str(Path(__file__).resolve().parent / "hidden_seeds.json")
'''


def build(out: Path, secret: Secret | None) -> dict[str, int]:
    """Write all bundles; returns how many files each has.

    Raises FileExistsError where `out` holds anything, and ValueError, with the hits, where the gate finds a leak.
    """
    fresh_directory(out)
    counts = {"student": 0, "teacher": 0, "nbgrader": 0, "otter": 0}
    seeds: dict[str, int] = {}
    for name in names():
        found = assignment(name)
        cells = masters.read_master(name)
        handed = masters.notebook_text(masters.notebook(found, cells))
        counts["student"] += _write(out / "student" / f"{found.notebook}.ipynb", handed)
        solved = masters.notebook_text(masters.notebook(found, cells, solved=True))
        counts["teacher"] += _write_private(out / "teacher" / "solutions" / f"{found.notebook}.ipynb", solved)
        counts["teacher"] += _write_private(
            out / "teacher" / "pages" / f"{found.notebook}.md", masters.page(found, cells)
        )
        if found.exercises:
            text = masters.notebook_text(nbgrader_notebook(found, cells))
            counts["nbgrader"] += _write_private(out / "nbgrader" / "source" / name / f"{found.notebook}.ipynb", text)
            text = masters.notebook_text(otter_notebook(found, cells, secret is not None))
            counts["otter"] += _write_private(out / "otter" / name / f"{found.notebook}.ipynb", text)
            if secret is not None:
                counts["otter"] += _write_private(
                    out / "otter" / name / foreign.SEEDS_FILE, foreign.seeds_text(found, secret)
                )
                seeds |= json.loads(foreign.seeds_text(found, secret))
    counts["student"] += _write(out / "student" / "README.md", _STUDENT)
    counts["nbgrader"] += _write_private(out / "nbgrader" / "nbgrader_config.py", _NBGRADER)
    if secret is not None:
        counts["nbgrader"] += _write_private(out / "nbgrader" / foreign.SEEDS_FILE, json.dumps(seeds, indent=1) + "\n")
    archive(out / "student", out / "student.zip")
    hits = [*leaks(out / "student", secret), *leaks(out / "student.zip", secret)]
    if hits:
        told = "\n".join(f"  {hit.place}: {hit.what}" for hit in hits[:20])
        raise ValueError(f"{out / 'student'} holds what students must not have; hand nothing out:\n{told}")
    return counts


def archive(folder: Path, target: Path) -> None:
    """A zip of a folder that is the same whenever and wherever it is made: no times, no owners."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                item = zipfile.ZipInfo(f"assignments/{path.relative_to(folder).as_posix()}", (1980, 1, 1, 0, 0, 0))
                item.compress_type, item.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                packed.writestr(item, path.read_bytes())


def nbgrader_notebook(found: Assignment, cells: Sequence[Cell]) -> dict[str, Any]:
    """An nbgrader source notebook: its own markers, points and ids as metadata."""
    made, told = [], []
    for cell, solved in zip(cells, masters.solution_cells(found, cells), strict=True):
        source, extra = solved.source, None
        if cell.mark == "exercise":
            source = cell.source.replace(masters.BEGIN, "### BEGIN SOLUTION").replace(masters.END, "### END SOLUTION")
            extra = _nbgrader(cell.about, solution=True)
        elif cell.mark == "check":
            exercise = next(one for one in found.exercises if one.id == cell.about)
            call = f'require("{exercise.id}", {exercise.function}'
            source = (
                f"from ra3_lab.course.foreign import require\n\n{call})\n"
                f"### BEGIN HIDDEN TESTS\n{call}, hidden=True)\n### END HIDDEN TESTS"
            )
            extra = _nbgrader(f"{cell.about}.check", grade=True, points=exercise.points)
        elif cell.mark == "answer":
            question = next(one for one in found.questions if one.id == cell.about)
            source = f"{masters.ANSWER}\n\n### BEGIN SOLUTION\n{cell.source}\n### END SOLUTION"
            extra = _nbgrader(cell.about, solution=True, grade=True, points=question.points)
        elif cell.mark == "question":
            source = masters.split_rubric(cell.source)[0]
        made.append(Cell(cell.kind, source, cell.mark, cell.about))
        told.append(extra)
    built = to_notebook(made, found.notebook)
    for record, cell, extra in zip(built["cells"], made, told, strict=True):
        kind = masters.KINDS.get(cell.mark, cell.mark)
        record["metadata"] = {"ra3_lab": {"kind": kind} | ({"id": cell.about} if cell.about else {})}
        if extra is not None:
            record["metadata"]["nbgrader"] = extra | {"cell_type": cell.kind}
    built["metadata"]["ra3_lab"] = {"assignment": found.id}
    return built


def _nbgrader(name: str, solution: bool = False, grade: bool = False, points: int | None = None) -> dict[str, Any]:
    told = {"grade": grade, "grade_id": name.replace(".", "-"), "locked": grade and not solution, "schema_version": 3}
    told |= {"solution": solution, "task": False}
    return told if points is None else told | {"points": points}


def otter_notebook(found: Assignment, cells: Sequence[Cell], hidden: bool) -> dict[str, Any]:
    """A master for `otter assign`: raw cells say where questions, solutions and tests begin and end."""
    config = f"# ASSIGNMENT CONFIG\nname: {found.id}\ninit_cell: true\nexport_cell: false\n"
    if hidden:
        config += f"autograder_files:\n    - {foreign.SEEDS_FILE}\n"
    made: list[tuple[str, str]] = [("raw", config)]
    for cell, solved in zip(cells, masters.student_cells(found, cells), strict=True):
        name = cell.about.replace(".", "_")
        if cell.mark == "about":
            exercise = next(one for one in found.exercises if one.id == cell.about)
            made += [("raw", f"# BEGIN QUESTION\nname: {name}\npoints: {exercise.points}"), ("markdown", solved.source)]
        elif cell.mark == "exercise":
            before, solution, after = masters.split_solution(cell.source, cell.about)
            raising = next(line for line in solved.source.splitlines() if "raise NotImplementedError" in line)
            indent = raising[: len(raising) - len(raising.lstrip())]
            prompt = [f'{indent}""" # BEGIN PROMPT', raising, f'{indent}"""; # END PROMPT']
            lines = [*before, f"{indent}{masters.BEGIN}", *solution, f"{indent}{masters.END}", *prompt, *after]
            made += [("raw", "# BEGIN SOLUTION"), ("code", "\n".join(lines)), ("raw", "# END SOLUTION")]
        elif cell.mark == "check":
            exercise = next(one for one in found.exercises if one.id == cell.about)
            call = f'from ra3_lab.course.foreign import require\n\nrequire("{exercise.id}", {exercise.function}'
            made += [("raw", "# BEGIN TESTS"), ("code", _otter_test(f"{call})", 0 if hidden else exercise.points))]
            if hidden:
                made.append(("code", _otter_test(f"{call}, hidden=True)", exercise.points, "hidden: true\n")))
            made += [("raw", "# END TESTS"), ("raw", "# END QUESTION")]
        elif cell.mark == "question":
            question = next(one for one in found.questions if one.id == cell.about)
            told = f"# BEGIN QUESTION\nname: {name}\nmanual: true\npoints: {question.points}"
            made += [("raw", told), ("markdown", masters.split_rubric(cell.source)[0])]
        elif cell.mark == "answer":
            made += [("raw", "# BEGIN SOLUTION"), ("markdown", cell.source), ("raw", "# END SOLUTION")]
            made += [("raw", "# END QUESTION")]
        else:
            made.append((cell.kind, solved.source))
    built = to_notebook([Cell("markdown", source) for _, source in made], found.notebook)
    for record, (kind, _) in zip(built["cells"], made, strict=True):
        record["cell_type"] = kind
        if kind == "code":
            record |= {"execution_count": None, "outputs": []}
    built["metadata"].pop("ra3_lab")
    return built


def _otter_test(source: str, points: int, more: str = "") -> str:
    """A test cell: otherwise Otter would share a question's points out evenly over its tests, public ones too."""
    return f'""" # BEGIN TEST CONFIG\npoints: {points}\n{more}""" # END TEST CONFIG\n{source}'


def _write(path: Path, text: str) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    return 1


def _write_private(path: Path, text: str) -> int:
    """A file that no other user can read, below folders (of the bundle's) that none can enter."""
    for folder in reversed([folder for folder in path.parents if not folder.exists()]):
        folder.mkdir(mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    return 1
