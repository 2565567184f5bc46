"""What a teacher enters into tables: the class list, and points in answers.csv. Read as spreadsheets save them."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from ra3_lab.course import report
from ra3_lab.course.grade import Record
from ra3_lab.course.registry import assignment
from ra3_lab.course.secret import Secret
from ra3_lab.course.submissions import Submission, missing

_HEADS = (
    {"student", "students", "studentid", "studentname", "studentnumber", "id", "idnumber", "name", "names", "fullname"}
    | {"firstname", "lastname", "lastfirst", "surname", "user", "userid", "username", "login", "folder", "email"}
    | {"emailaddress", "mail", "matrikelnummer", "matrikelnr", "matriculationnumber", "vorname", "nachname"}
)
"""Of a first column that holds students, letters only."""


def read_roster(path: Path) -> list[str]:
    """Students, as the submissions folder names them: the first column of a CSV, or one a line; a head is passed over.
    Accents are composed, as in submissions' names.

    ValueError for text that is not UTF-8.
    """
    rows = _table(path, "roster")
    names = [unicodedata.normalize("NFC", row[0].strip()) for row in rows if row and row[0].strip()]
    return names[1:] if names and "".join(filter(str.isalpha, names[0].lower())) in _HEADS else names


def compare_roster(roster: Sequence[str], submissions: Sequence[Submission]) -> list[str]:
    """A note where fewer than half of the roster's names are a submission's. ValueError where none is: then the names
    are of another kind, and everybody would be missing."""
    there = {one.student for one in submissions}
    strange = [name for name in roster if name not in there]
    if not there or 2 * len(strange) <= len(roster):
        return []
    if len(strange) == len(roster):
        raise ValueError(
            f"no name of the roster ({_some(strange)}) is a submission's ({_some(sorted(there))}): "
            "its first column must hold the names of the submissions' folders."
        )
    return [f"{len(strange)} of {len(roster)} names of the roster are no submission's: {_some(strange)}"]


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")


def _table(path: Path, what: str) -> list[list[str]]:
    """Rows of a CSV file as spreadsheets save it, separated by whichever of , ; tab gives the first line most columns.

    FileNotFoundError, ValueError for text that is not UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}, the {what}, is not a file: give the path of a CSV or text file.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason}): save the {what} as UTF-8 CSV.") from error
    first = text.lstrip("\n").splitlines()[:1]
    separator = max(",;\t", key=lambda one: max(map(len, csv.reader(first, delimiter=one)), default=0))
    return list(csv.reader(io.StringIO(text), delimiter=separator))


def with_missing(submissions: Sequence[Submission], roster: Sequence[str], names: Sequence[str]) -> list[Submission]:
    """The submissions of `names` (none: of all assignments), and one for each that somebody on the roster has not made.

    Without a roster nobody can be missing.
    """
    names = list(dict.fromkeys(names)) or sorted({one.assignment for one in submissions} - {""})
    chosen = [one for one in submissions if one.assignment in names or not one.assignment]
    there = {(one.student, one.assignment) for one in chosen}
    students = sorted({one.student for one in submissions} | set(roster)) if roster else []
    return chosen + [missing(who, what) for who in students for what in names if (who, what) not in there]


def entered_points(path: Path, secret: Secret, students: Iterable[str]) -> dict[tuple[str, str], dict[str, str]]:
    """Student and question -> the row of an answers.csv that is there already, where a person has given points."""
    rows = _table(path, "answers") if path.exists() else []
    if not rows:
        return {}
    if absent := {"student", "question", "points", "of", "answer"} - set(rows[0]):
        raise ValueError(
            f"{path} has no column {', '.join(sorted(absent))}, and points that you have entered would be lost: "
            "restore its first line, or move it away."
        )
    shown = {text: name for name in students for text in (secret.pseudonym(name), report.inert(name))}
    found = {}
    for cells in rows[1:]:
        row = dict.fromkeys(rows[0], "") | dict(zip(rows[0], cells, strict=False))
        if row["points"].strip() and (row["answer"] or row["points"].strip() != "0"):
            row["student"] = shown.get(row["student"], row["student"])
            found[row["student"], row["question"]] = row
    return found


def carry_over(
    entered: dict[tuple[str, str], dict[str, str]], records: Sequence[Record], label: report.Label
) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Record key and question -> points that a person has given to the same answer; notes on answers that have changed.

    What is found is taken out of `entered`: what stays there is about students and assignments not graded this time.
    """
    points, notes = {}, []
    for record in records:
        for question in assignment(record.assignment).questions if record.assignment else ():
            row = entered.pop((record.student, question.id), None)
            if row is None:
                continue
            answer = str(report.inert(report.answer_of(record, question.id)))
            if answer.split() == row["answer"].split():  # spreadsheets change line ends
                points[record.key, question.id] = row["points"]
            else:
                notes.append(
                    f"{label(record.student)} has changed the answer to {question.id} that had {row['points']} points: "
                    "enter them anew"
                )
    return points, notes
