"""What students handed in: found in a folder, read carefully, never trusted.

Layouts that are understood, mixed as they may be:

    SUBMISSIONS/ada/a1_options.ipynb            the first folder is the student, at any depth below it (Moodle)
    SUBMISSIONS/ada_a1_options.ipynb            one file a student: the name before the assignment's

Nothing is opened outside of SUBMISSIONS: symbolic links are told about and not followed. Whatever cannot be read
becomes a note, not an exception.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ra3_lab.course import words
from ra3_lab.course.registry import assignment, names

LARGEST = 20_000_000
"""Bytes of a notebook that is read."""
LONGEST_CELL = 100_000
"""Characters of a code cell that is looked at for magics and errors; a longer one is run as it is."""
_IGNORED = {".ipynb_checkpoints", "__MACOSX", ".git"}
_OTHERWISE = (".py", ".zip", ".html", ".ipynb.txt", ".pdf", ".7z", ".rar", ".tar", ".gz", ".tgz")
"""What students hand in for the notebook itself."""
_ASSIGNMENT = re.compile(r"(?:^|[^a-zA-Z0-9])(a\d+)(?![a-zA-Z0-9])", re.IGNORECASE)
_MAGIC = re.compile(r"^\s*(?:%|!|\?)|\?\s*$")
_RUNS_PYTHON = {"%%time", "%%timeit", "%%capture", "%%prun", "%%debug", "%%memit"}
"""Magics over a cell that run it as it is."""


@dataclass(frozen=True)
class CodeCell:
    """One code cell of a submission."""

    source: str
    """Its text, with lines that are no Python (magics, shell) made comments."""
    kind: str = "given"
    """The kind its metadata claims: given, exercise, check, show; "own" for a cell the student added."""
    id: str = ""
    """The exercise its metadata claims."""


@dataclass(frozen=True)
class Submission:
    """A student's notebook for one assignment; `cells` is empty where it could not be read."""

    student: str
    """Name of the folder, or the file's name before the assignment's."""
    assignment: str
    """Which it is: "a1"; "" where that cannot be told."""
    path: str
    """The file, relative to the submissions folder; "" for one that is missing."""
    digest: str = ""
    """sha256 of the file."""
    handed_in: float = 0.0
    """When the file was last changed, seconds since 1970."""
    cells: tuple[CodeCell, ...] = field(default=(), repr=False)
    """Code cells, in order."""
    answers: dict[str, str] = field(default_factory=dict, repr=False)
    """Question id -> the student's words; "" where the question and an empty place for the answer are there."""
    notes: tuple[str, ...] = ()
    """What was odd, for student and teacher to read."""


def find(folder: Path) -> tuple[list[Submission], list[str]]:
    """All submissions, one a student and assignment (the newest), and notes on what is no submission.

    Raises FileNotFoundError where the folder is not there, and ValueError where a folder looks like a group's.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: give the folder that holds the submissions.")
    found: dict[tuple[str, str], list[Submission]] = {}
    notes: list[str] = []
    for path in _files(folder, notes):
        submission = read(folder, path)
        found.setdefault((submission.student, submission.assignment), []).append(submission)
    for (student, what), several in sorted(found.items()):
        inner = sorted({parts[1] for one in several if len(parts := one.path.split("/")) > 2})
        if what and len(inner) > 1:
            some = ", ".join(inner[:3]) + ", ..." * (len(inner) > 3)
            raise ValueError(
                f"{folder / student} holds {what} in several folders ({some}), "
                "and the first folder is the student: of a group, give that folder itself or move its folders up; "
                "of one student, keep one of them."
            )
    return [_newest(several) for _, several in sorted(found.items())], notes


def _files(folder: Path, notes: list[str]) -> Iterable[Path]:
    for place, inner, files in os.walk(folder, followlinks=False):
        inner[:] = sorted(name for name in inner if name not in _IGNORED)
        for name in inner:
            if os.path.islink(os.path.join(place, name)):
                notes.append(f"{_relative(folder, Path(place, name))} is a symbolic link and was not followed")
        for name in sorted(files):
            path = Path(place, name)
            if not name.lower().endswith(".ipynb") or name.startswith("._"):
                if name.lower().endswith(_OTHERWISE):
                    notes.append(f"{_relative(folder, path)} is no notebook: hand in (or unpack) the .ipynb file")
            elif not stat.S_ISREG(path.lstat().st_mode):
                notes.append(f"{_relative(folder, path)} is no regular file and was not read")
            else:
                yield path


def _newest(several: list[Submission]) -> Submission:
    """Of a student's files for one assignment the last changed; of equally old ones the last by name."""
    several = sorted(several, key=lambda one: (bool(one.cells), one.handed_in, one.path))
    kept, others = several[-1], several[:-1]
    if not others:
        return kept
    note = f"{len(several)} files for this assignment: the newest that can be read counts, {_shown(kept.path)}, not "
    return replace(kept, notes=(*kept.notes, note + ", ".join(_shown(one.path) for one in others)))


def read(folder: Path, path: Path) -> Submission:
    """One file. What cannot be read has no cells and a note that says why."""
    relative = _relative(folder, path)
    student, from_name = _who_and_what(relative)
    try:
        status = path.stat()
        handed_in, data = status.st_mtime, b""
        if status.st_size > LARGEST:
            raise ValueError(
                f"the file has {status.st_size / 1e6:.0f} MB; clear its outputs, {LARGEST / 1e6:.0f} MB are read"
            )
        data = path.read_bytes()
        document = json.loads(data)
        records = _records(document)
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        said = str(error) if isinstance(error, ValueError) and "MB" in str(error) else "it is no notebook file"
        note = f"{_shown(relative)} could not be read: {said}. Save it again in Jupyter and hand it in anew"
        digest = hashlib.sha256(str(relative).encode()).hexdigest()
        return Submission(student, from_name, relative, digest, locals().get("handed_in", 0.0), notes=(note,))
    metadata = document.get("metadata") if isinstance(document.get("metadata"), dict) else {}
    read_cells = [_as_read(one) for one in records]
    cells, notes = _cells(read_cells)
    claimed = _ra3(metadata).get("assignment")
    what = claimed if claimed in names() else _by_contents(cells) or from_name
    notes += _about_kernel(metadata)
    if what and from_name and what != from_name:
        notes.append(f"the file is named like {from_name} and holds {what}: graded as {what}")
    elif what and not from_name:
        notes.append(f"the file was renamed; by what it holds it is {what}")
    if not what:
        notes.append(f"{_shown(relative)}: it cannot be told which assignment this is")
    answers = words.answers(read_cells, what) if what else {}
    if lost := [one.id for one in (assignment(what).questions if what else ()) if one.id not in answers]:
        notes.append(f"neither an answer to {', '.join(lost)} was found nor its empty place: a person looks for it")
    return Submission(
        student, what, relative, hashlib.sha256(data).hexdigest(), handed_in, tuple(cells), answers, tuple(notes)
    )


def missing(student: str, what: str) -> Submission:
    """The place of a submission that is not there."""
    return Submission(student, what, "", notes=("nothing was handed in",))


def deadline_of(text: str) -> datetime:
    """A deadline as it is typed: local time, a day counts to its end. ValueError for other text.

    >>> deadline_of("2027-03-01T23:59"), deadline_of("2027-03-01")
    (datetime.datetime(2027, 3, 1, 23, 59), datetime.datetime(2027, 3, 2, 0, 0))
    """
    try:
        if re.fullmatch(r"\d{4}-?\d\d-?\d\d", text.strip()):
            return datetime.fromisoformat(text.strip()) + timedelta(days=1)
        return datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(f"--deadline {text}: give a time like 2027-03-01T23:59, or a day like 2027-03-01.") from error


def late(handed_in: float, deadline: datetime) -> str:
    """A note where a file was changed (seconds since 1970) after the deadline, else "".

    >>> late(datetime(2027, 3, 2, 1, 30).timestamp(), datetime(2027, 3, 2))
    'late by 1.5 hours'
    """
    over = handed_in - deadline.timestamp()
    if over <= 0:
        return ""
    return f"late by {over / 3600:.1f} hours" if over < 172_800 else f"late by {over / 86_400:.1f} days"


def _who_and_what(relative: str) -> tuple[str, str]:
    """Student and assignment by the path: the first folder; without one, the name before the assignment's.

    >>> _who_and_what("ada/a1/a1_options.ipynb"), _who_and_what("ada_a1_options.ipynb"), _who_and_what("ada.ipynb")
    (('ada', 'a1'), ('ada', 'a1'), ('ada', ''))
    >>> _who_and_what("Maria_A2_a1_options.ipynb")
    ('Maria_A2', 'a1')
    >>> _who_and_what("ada_a10_own.ipynb")
    ('ada', 'a10')
    """
    parts = Path(relative).parts
    stem = Path(parts[-1]).stem
    found = next(reversed(list(_ASSIGNMENT.finditer(stem))), None)
    what = found[1].lower() if found else next((part.lower() for part in parts[1:-1] if part.lower() in names()), "")
    if len(parts) > 1:
        return parts[0], what
    before = stem[: found.start()].strip(" _-.") if found else stem
    return before or stem, what


def folder_name(path: Path) -> str:
    """The last part of a path as text: bytes that are no UTF-8 as \\xNN, so that two names never become one; accents
    composed (NFC), as rosters have them.

    >>> print(folder_name(Path(os.fsdecode(b"in/M\\xfcller"))), folder_name(Path("in/Mu\\u0308ller")))
    M\\xfcller Müller
    """
    return unicodedata.normalize("NFC", os.fsencode(path.name).decode("utf-8", "backslashreplace"))


def _relative(folder: Path, path: Path) -> str:
    return "/".join(folder_name(Path(part)) for part in path.relative_to(folder).parts)


def _shown(relative: str) -> str:
    """A path without the student's name, for notes.

    >>> _shown("ada/late/a1.ipynb"), _shown("ada_a1.ipynb")
    ('late/a1.ipynb', 'the file')
    """
    return relative.partition("/")[2] or "the file"


def _records(document: Any) -> list[dict[str, Any]]:
    """The cells of nbformat 4, or of the older 3."""
    cells = document["cells"] if "cells" in document else document["worksheets"][0]["cells"]
    return [cell for cell in cells if isinstance(cell, dict)]


def _text(record: dict[str, Any]) -> str:
    source = record.get("source", record.get("input", ""))
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    if not isinstance(source, str):
        return ""
    # csv leaves a lone \r unquoted, and spreadsheets take it for the end of a row.
    return source.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")


def _ra3(holder: Any) -> dict[str, Any]:
    found = holder.get("ra3_lab") if isinstance(holder, dict) else None
    return found if isinstance(found, dict) else {}


def _as_read(record: dict[str, Any]) -> words.Cell:
    told, written = _ra3(record.get("metadata")), _text(record)
    source = written.encode("utf-8", "replace").decode()  # JSON can hold halves of characters, no file can
    kind, name = str(told.get("kind", "own"))[:20], str(told.get("id", ""))[:60]
    return words.Cell(str(record.get("cell_type")), kind, name, source, source != written)


def _cells(records: list[words.Cell]) -> tuple[list[CodeCell], list[str]]:
    """The code cells, and notes on what is odd in any cell."""
    cells, notes, broken, magics = [], [], 0, 0
    for record in records:
        if record.type != "code" or (record.kind == "answer" and words.is_words(record.source)):
            continue
        python, changed = _python(record.source)
        magics += changed
        broken += not _parses(python)
        cells.append(CodeCell(python, record.kind, record.id))
    if broken:
        notes.append(f"{broken} code cell{'s' * (broken > 1)} with a syntax error: skipped")
    if magics:
        notes.append(f"{magics} line{'s' * (magics > 1)} that are no Python (%magic, !command): skipped")
    if replaced := sum(record.replaced for record in records):
        notes.append(f"{replaced} cell{'s' * (replaced > 1)} with broken characters: read with ? in their place")
    return cells, notes


def _python(source: str) -> tuple[str, int]:
    """The cell with magics and shell lines made comments, where it does not parse as it is; how many lines.

    >>> _python("%%time\\nx = 1"), _python("%%bash\\nls")
    (('# %%time\\nx = 1', 1), ('# %%bash\\n# ls', 2))
    """
    if _parses(source):
        return source, 0
    lines, count = source.splitlines(), 0
    if lines and lines[0].partition(" ")[0].rstrip() in _RUNS_PYTHON:
        python, count = _python("\n".join(lines[1:]))
        return f"# {lines[0]}\n{python}", count + 1
    if lines and lines[0].startswith("%%"):
        return "\n".join(f"# {line}" for line in lines), len(lines)
    for number, line in enumerate(lines):
        if _MAGIC.search(line):
            indent = line[: len(line) - len(line.lstrip())]
            lines[number], count = f"{indent}pass  # {line.strip()}", count + 1
    return "\n".join(lines), count


def _parses(source: str) -> bool:
    """Whether it is Python, as far as is looked."""
    if len(source) > LONGEST_CELL:
        return True
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _by_contents(cells: list[CodeCell]) -> str:
    """The assignment whose exercises or functions occur most often; "" where none does."""
    claimed = {cell.id for cell in cells}
    defined = set(re.findall(r"^def (\w+)", "\n".join(cell.source for cell in cells), re.MULTILINE))
    counts = {
        name: sum((one.id in claimed) + (one.function in defined) for one in assignment(name).exercises)
        for name in names()
    }
    best = max(counts, key=lambda name: counts[name], default="")
    return best if best and counts[best] else ""


def _about_kernel(metadata: dict[str, Any]) -> list[str]:
    kernel = metadata.get("kernelspec")
    language = kernel.get("language", "python") if isinstance(kernel, dict) else "python"
    if isinstance(language, str) and language.lower() not in ("python", ""):
        return [f"the notebook names the kernel language {language[:20]!r}; graded as Python"]
    return []
