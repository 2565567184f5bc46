"""`ra3-lab course`: build assignments, check and grade submissions, rank projects."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ra3_lab.commands.output import Json, results

FOLDER = Path("ra3_course")
_GO_ON = "stopped; nothing was written, what has been graded is kept. Give the same command again to go on"


@dataclass(frozen=True)
class Init:
    """Make the teacher's folder with a secret, from which hidden inputs are drawn.

    Example: ra3-lab course init --course ~/teaching/ra3_2027
    """

    course: Path = FOLDER
    """The teacher's folder: not in the project, nor in anything that is published."""
    json: Json = None
    """Write the result as JSON to FILE, or to stdout."""


@dataclass(frozen=True)
class Build:
    """The students' notebooks from their masters; with --out bundles for a class.

    Example: ra3-lab course build

    Example: ra3-lab course build --out handout --course ~/teaching/ra3_2027
    """

    out: Path | None = None
    """Folder for bundles: student/ (and student.zip), teacher/, nbgrader/, otter/. Must be empty or not there."""
    course: Path = FOLDER
    """The teacher's folder; where it has a secret, the leak gate looks for that, too."""
    check: bool = False
    """Write nothing; status 1 where a notebook is not what its master gives."""
    force: bool = False
    """Overwrite notebooks in notebooks/assignments/ that were run or edited."""
    json: Json = None
    """Write the result as JSON to FILE, or to stdout."""


@dataclass(frozen=True)
class Check:
    """Run a notebook's instant checks in the sandbox, as grading does, on the inputs that everybody has.

    Example: ra3-lab course check a1_options.ipynb
    """

    notebook: Annotated[Path, tyro.conf.Positional]
    """The notebook."""
    isolation: str | None = None
    """How it is shut in; default: all that this machine has, see ra3-lab doctor."""
    json: Json = None
    """Write the result as JSON to FILE, or to stdout."""


@dataclass(frozen=True)
class Grade:
    """Grade a folder of submissions: grades, a feedback page a student, a class report.

    One folder a student, or files NAME_a1_options.ipynb. A grading that was stopped goes on when the same command is
    given again; what was graded already is not graded twice.

    Example: ra3-lab course grade submissions --out grades.csv --course ~/teaching/ra3_2027

    Example: ra3-lab course grade handed_in --out a1.csv --assignment a1 --deadline 2027-03-01T23:59 --roster class.csv
    """

    submissions: Annotated[Path, tyro.conf.Positional]
    """The folder of submissions."""
    out: Path
    """CSV file for the grades; pages go to a folder of the same name."""
    course: Path = FOLDER
    """The teacher's folder, with the secret."""
    assignment: tuple[str, ...] = ()
    """Which to grade; default: all that were handed in."""
    roster: Path | None = None
    """CSV or text file with the students who should have handed in: their folders' names in the first column."""
    deadline: str | None = None
    """Local time like 2027-03-01T23:59, or a day, which counts to its end; later files are marked, not refused."""
    names: bool = False
    """Show students' names instead of pseudonyms."""
    workers: int = 2
    """Submissions graded side by side."""
    threads: int = 1
    """Threads that a submission's process may use for arithmetic."""
    isolation: str | None = None
    """How submissions are shut in; default: all that this machine has, see ra3-lab doctor."""
    json: Json = None
    """Write the result as JSON to FILE, or to stdout."""


@dataclass(frozen=True)
class Rank:
    """Rank the submissions of A7: judge their programs on fresh tasks, beside the base, with intervals.

    One folder a student with model.safetensors and submission.json. The tasks are drawn from the secret.

    Example: ra3-lab course rank projects --out ranking.csv --course ~/teaching/ra3_2027
    """

    submissions: Annotated[Path, tyro.conf.Positional]
    """The folder of submissions."""
    out: Path
    """CSV file for the table."""
    course: Path = FOLDER
    """The teacher's folder, with the secret."""
    tasks: int = 200
    """Fresh tasks."""
    samples: int = 4
    """Programs a task."""
    names: bool = False
    """Show students' names instead of pseudonyms."""
    isolation: str | None = None
    """How programs are shut in; default: all that this machine has, see ra3-lab doctor."""
    json: Json = None
    """Write the result as JSON to FILE, or to stdout."""


@dataclass(frozen=True)
class Leaks:
    """Look through what is to be handed out: solutions, rubrics, outputs, the secret. Status 1 on a hit.

    Example: ra3-lab course leaks handout/student --course ~/teaching/ra3_2027
    """

    bundle: Annotated[Path, tyro.conf.Positional]
    """Folder or zip file."""
    course: Path = FOLDER
    """The teacher's folder; without a secret there, hidden inputs cannot be looked for."""
    json: Json = None
    """Write the result as JSON to FILE, or to stdout."""


@dataclass(frozen=True)
class Purge:
    """Remove all that tells of students: grades, pages, rankings, journal, names. The secret stays.

    Example: ra3-lab course purge --course ~/teaching/ra3_2027 --yes
    """

    course: Path = FOLDER
    """The teacher's folder."""
    yes: bool = False
    """Do it; without it, nothing is removed."""
    json: Json = None
    """Write the result as JSON to FILE, or to stdout."""


Action = (
    Annotated[Init, tyro.conf.subcommand("init", prefix_name=False)]
    | Annotated[Build, tyro.conf.subcommand("build", prefix_name=False)]
    | Annotated[Check, tyro.conf.subcommand("check", prefix_name=False)]
    | Annotated[Grade, tyro.conf.subcommand("grade", prefix_name=False)]
    | Annotated[Rank, tyro.conf.subcommand("rank", prefix_name=False)]
    | Annotated[Leaks, tyro.conf.subcommand("leaks", prefix_name=False)]
    | Annotated[Purge, tyro.conf.subcommand("purge", prefix_name=False)]
)


def run(action: Annotated[Action, tyro.conf.arg(name="")]) -> int:
    """Assignments: build them, check and grade what comes back.

    Example: ra3-lab course init --course ~/teaching/ra3_2027

    Example: ra3-lab course build --out handout --course ~/teaching/ra3_2027

    Example: ra3-lab course grade submissions --out grades.csv --course ~/teaching/ra3_2027
    """
    doers: dict[type, Callable[[Any], tuple[int, dict[str, Any]]]] = {
        Init: _init,
        Build: _build,
        Check: _check,
        Grade: _grade,
        Rank: _rank,
        Leaks: _leaks,
        Purge: _purge,
    }
    with results("course", action.json) as emit:
        code, record = doers[type(action)](action)
        emit({"action": type(action).__name__.lower(), **record})
    return code


def _init(action: Init) -> tuple[int, dict[str, Any]]:
    from ra3_lab.course import secret

    made = secret.make(action.course)
    print(f"{action.course} holds the secret of your course: keep it, and keep it to yourself.")
    return 0, {"course": str(action.course), "fingerprint": made.fingerprint()}


def _build(action: Build) -> tuple[int, dict[str, Any]]:
    from ra3_lab.course.masters import build_students

    if action.out is not None:
        from ra3_lab.course.bundles import build

        made = build(action.out, _secret(action.course))
        for name, count in made.items():
            print(f"{action.out / name}: {count} files")
        return 0, {"out": str(action.out), "files": made}
    changed = build_students(action.check, action.force)
    for path in changed:
        print(f"{path.name} {'is out of date' if action.check else 'built'}")
    if not changed:
        print("every assignment is what its master gives")
    return (1 if action.check and changed else 0), {"changed": [path.name for path in changed]}


def _check(action: Check) -> tuple[int, dict[str, Any]]:
    from ra3_lab.course.grade import Practice, grader
    from ra3_lab.course.report import score
    from ra3_lab.course.submissions import read

    path = action.notebook.absolute()
    if not path.is_file():
        raise FileNotFoundError(f"{action.notebook} is not a file: give a notebook.")
    submission = read(path.parent, path)
    if not submission.assignment or not submission.cells:
        unreadable = next((note for note in submission.notes if "could not be read" in note), "")
        raise ValueError(f"{action.notebook}: {unreadable or 'no exercise of the course was found in it'}.")
    for note in submission.notes:
        print(f"note: {note}")
    with grader(Practice(), action.isolation) as one:
        record = one.grade(submission)
    for name, mark in record.marks.items():
        print(f"{name}: {'passed' if not mark.mistake else 'not yet. ' + mark.hint}")
    points, of = score(record)
    print(f"{points} of {of} points on the inputs that everybody has. Grading uses fresh ones.")
    marks = {name: {"passed": not mark.mistake, "mistake": mark.mistake} for name, mark in record.marks.items()}
    return 0 if points == of else 1, {"assignment": record.assignment, "points": points, "of": of, "marks": marks}


def _grade(action: Grade) -> tuple[int, dict[str, Any]]:
    from ra3_lab.course import entered
    from ra3_lab.course import results as files
    from ra3_lab.course import secret as secrets
    from ra3_lab.course.grade import grade_all
    from ra3_lab.course.registry import assignment
    from ra3_lab.course.report import score, status
    from ra3_lab.course.submissions import deadline_of, find
    from ra3_lab.runs import narrator, tenths

    secret = secrets.read(action.course)
    deadline = deadline_of(action.deadline) if action.deadline else None
    files.require_out(action.out, action.course, action.submissions, *filter(None, [action.roster]))
    for name in action.assignment:
        assignment(name)
    found, notes = find(action.submissions)
    roster = entered.read_roster(action.roster) if action.roster else []
    notes += entered.compare_roster(roster, found)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    wanted = entered.with_missing(found, roster, action.assignment)
    if not wanted:
        raise ValueError(f"{action.submissions} holds no notebook: one folder a student, or files NAME_a1.ipynb.")
    with narrator() as say:
        show = tenths(say, "graded")
        journal = action.course / files.JOURNAL
        try:
            records = grade_all(wanted, secret, journal, action.workers, action.isolation, action.threads, show)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_GO_ON) from None
    counts, changed = files.write(records, action.out, action.course, secret, deadline, action.names)
    for note in changed:
        print(f"note: {note}", file=sys.stderr)
    _remember_json(action)
    told = [status(record) for record in records]
    summary = {what: told.count(what) for what in sorted(set(told))}
    print(f"{action.out}: " + ", ".join(f"{count} {what}" for what, count in summary.items()))
    print(f"{counts['flagged']} flagged, {counts['late']} late; pages in {action.out.with_suffix('')}")
    if "ungraded" in summary:
        print("The sandbox failed at some exercises; give the same command again.", file=sys.stderr)
    total = [list(score(record)) for record in records]
    return (1 if "ungraded" in summary else 0), {"counts": summary, **counts, "points": total, "notes": notes + changed}


def _rank(action: Rank) -> tuple[int, dict[str, Any]]:
    from ra3_lab.course import secret as secrets
    from ra3_lab.course.rank import BASE, rank, table_rows, table_text
    from ra3_lab.course.results import require_out, write_ranking
    from ra3_lab.runs import narrator

    secret = secrets.read(action.course)
    require_out(action.out, action.course, action.submissions)

    def label(student: str) -> str:
        return student if action.names else secret.pseudonym(student)

    with narrator() as say:
        try:
            found = rank(action.submissions, secret, action.course, action.tasks, action.samples, action.isolation, say)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_GO_ON.replace("graded", "scored")) from None
    rows = table_rows(found, label)
    students = ({row.student for row in found.rows} | set(found.refused)) - {BASE}
    write_ranking(rows, students, action.out, action.course, secret)
    _remember_json(action)
    print(table_text(rows))
    refused = {label(name): reason for name, reason in found.refused.items()}
    for name, reason in refused.items():
        print(f"not ranked: {name}: {reason}")
    print(f"{action.out}: {len(rows) - 1} ranked, {len(refused)} refused, {found.tasks} tasks, {found.samples} a task")
    return 0, {"rows": rows, "refused": refused, "tasks": found.tasks, "samples": found.samples, "split": found.split}


def _leaks(action: Leaks) -> tuple[int, dict[str, Any]]:
    from ra3_lab.course.leaks import leaks

    secret = _secret(action.course)
    found = leaks(action.bundle, secret)
    for leak in found:
        print(f"{leak.place}: {leak.what}")
    looked = "" if secret else f" (no secret in {action.course}: hidden inputs were not looked for)"
    print(f"{len(found)} hits{looked}" if found else f"nothing that students must not have{looked}")
    return (1 if found else 0), {"leaks": [vars(leak) for leak in found], "secret": secret is not None}


def _purge(action: Purge) -> tuple[int, dict[str, Any]]:
    from ra3_lab.course.results import purge
    from ra3_lab.course.secret import read

    read(action.course)  # is it a teacher's folder?
    if not action.yes:
        raise ValueError("this removes grades, pages, rankings, journal and names: give --yes. The secret stays.")
    removed = purge(action.course)
    for path in removed:
        print(f"removed {path}")
    return 0, {"removed": [str(path) for path in removed]}


def _remember_json(action: Grade | Rank) -> None:
    """Tell `purge` of the file that --json is about to write."""
    from ra3_lab.course.results import remember

    if action.json is not None and action.json.suffix == ".json":
        remember(action.course, action.json)


def _secret(course: Path) -> Any:
    """The secret of a teacher's folder, None where there is none."""
    from ra3_lab.course import secret

    return secret.read(course) if (course / secret.SECRET_FILE).exists() else None
