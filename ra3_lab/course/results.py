"""Files of a grading: what is written where, and what `purge` removes again.

COURSE/secret          never removed
COURSE/journal.jsonl   finished submissions, with names: what a grader that was killed goes on from
COURSE/students.csv    pseudonym -> name
COURSE/ranking.jsonl   scores of A7's submissions by their weights, without names
COURSE/outputs.txt     where the files below are
GRADES.csv             the grades
GRADES/                class.html, answers.csv, feedback/PSEUDONYM_a1.html
RANKING.csv            the table of A7
NAME.json              what `--json NAME.json` of either has written
"""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ra3_lab.course import report
from ra3_lab.course.entered import carry_over, entered_points
from ra3_lab.course.grade import Record
from ra3_lab.course.secret import Secret
from ra3_lab.course.submissions import late

JOURNAL, STUDENTS, OUTPUTS = "journal.jsonl", "students.csv", "outputs.txt"
SCORES = "ranking.jsonl"


def all_flags(records: Sequence[Record]) -> dict[str, list[str]]:
    """Record key -> flags: a submission's own, and that several students' answers are the same text."""
    alike: dict[tuple[str, str], int] = defaultdict(int)
    for record in records:
        alike[record.assignment, record.signature] += bool(record.signature)
    found = {record.key: list(record.flags) for record in records}
    for record in records:
        if (count := alike[record.assignment, record.signature]) > 1:
            found[record.key].append(f"the same answers, letter for letter, in {count} submissions")
    return {key: flags for key, flags in found.items() if flags}


def require_out(out: Path, course: Path, *inputs: Path) -> None:
    """ValueError unless `out` is a CSV file to be made, or one that grading or ranking has made for this course."""
    if out.suffix != ".csv" or not out.parent.is_dir():
        raise ValueError(f"--out {out}: give the name of a .csv file in a folder that exists.")
    if {out.resolve(), out.with_suffix("").resolve()} & {path.resolve() for path in (*inputs, course / STUDENTS)}:
        raise ValueError(f"--out {out}: this file, or the folder of its pages, is read here: give another name.")
    if out.exists() and str(out.resolve()) not in _outputs(course):
        raise ValueError(
            f"--out {out} is there, and no grading of this course has written it: give another name, or remove it."
        )


def write(
    records: Sequence[Record], out: Path, course: Path, secret: Secret, deadline: datetime | None, names: bool
) -> tuple[dict[str, int], list[str]]:
    """Write all files; returns how many of each, and notes on points in answers.csv that do not count any more.

    ValueError, before anything is written, where an answers.csv is there that cannot be read.
    """
    folder = out.with_suffix("")
    students = {record.student for record in records}
    entered = entered_points(folder / "answers.csv", secret, {*students, *known_students(course)})
    remember(course, out)
    _know(course, secret, students)

    def label(student: str) -> str:
        return student if names else secret.pseudonym(student)

    lateness = {one.key: note for one in records if deadline and (note := _late(one, deadline))}
    flags = all_flags(records)
    points, notes = carry_over(entered, records, label)
    feedback = folder / "feedback"
    feedback.mkdir(parents=True, exist_ok=True)
    _write(out, report.grades_csv(records, label, lateness, flags))
    _write(folder / "answers.csv", report.answers_csv(records, label, points, list(entered.values())))
    _write(folder / "class.html", report.class_html(records, label, lateness, flags))
    pages = 0
    for record in records:
        if record.assignment:
            name = secret.pseudonym(record.student)
            if names:  # those that differ in an odd letter only must not share a page
                name = re.sub(r"[^\w.-]", "_", record.student)[:60] + "_" + name
            text = report.feedback_html(record, label(record.student), lateness.get(record.key, ""))
            _write(feedback / f"{name}_{record.assignment}.html", text)
            pages += 1
    return {"records": len(records), "feedback": pages, "flagged": len(flags), "late": len(lateness)}, notes


def write_ranking(
    rows: Sequence[dict[str, Any]], students: Iterable[str], out: Path, course: Path, secret: Secret
) -> None:
    """Write A7's table (`rank.table_rows`); `students`: all whose folders were read, so that pseudonyms can be told."""
    remember(course, out)
    _write(out, report.table_csv(list(rows[0]), rows))
    _know(course, secret, students)


def _know(course: Path, secret: Secret, students: Iterable[str]) -> None:
    """Add to students.csv."""
    names = sorted({*students, *known_students(course)})
    rows = [{"id": secret.pseudonym(name), "student": name} for name in names]
    _write(course / STUDENTS, report.table_csv(["id", "student"], rows))


def known_students(course: Path) -> list[str]:
    """Names in students.csv."""
    path = course / STUDENTS
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return [report.as_was(row["student"]) for row in csv.DictReader(file)]


def purge(course: Path) -> list[Path]:
    """Remove all that tells of students: journal, names, grades, pages, rankings. The secret stays.

    Only files that grading and ranking write are removed, by their names; folders only when they are empty then.
    Returns what was removed.
    """
    removed = []
    for line in _outputs(course):
        out = Path(line)
        folder = out.with_suffix("")
        written = [out, folder / "answers.csv", folder / "class.html", *_pages(folder / "feedback")]
        for path in written:
            if path.is_file() and not path.is_symlink():
                path.unlink()
                removed.append(path)
        for place in (folder / "feedback", folder):
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
    for name in (JOURNAL, STUDENTS, OUTPUTS, SCORES):
        if (course / name).exists():
            (course / name).unlink()
            removed.append(course / name)
    return removed


def _pages(feedback: Path) -> list[Path]:
    return sorted(path for path in feedback.glob("*.html") if re.search(r"_a\d+\.html$", path.name))


def remember(course: Path, out: Path) -> None:
    """Note a file of grades, before it is written, so that `purge` finds it."""
    outputs = {*_outputs(course), str(out.resolve())}
    _write(course / OUTPUTS, "".join(f"{line}\n" for line in sorted(outputs)))


def _outputs(course: Path) -> list[str]:
    path = course / OUTPUTS
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _late(record: Record, deadline: datetime) -> str:
    return late(record.handed_in, deadline) if record.path else ""


def _write(path: Path, text: str) -> None:
    """Complete or not at all, and for this user's eyes only."""
    staging = path.with_name(path.name + ".tmp")
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.replace(staging, path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
