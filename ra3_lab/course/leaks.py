"""The gate before assignments are handed out: does a bundle hold anything that students must not have?

Looked for in every file, its name, and inside of zip archives: solution markers, lines and expressions of solutions,
rubrics and model answers, outputs of cells, metadata beyond what the build writes, the secret, and hidden inputs made
from it. Files of kinds that do not belong into a bundle (pickles, byte code, checkpoints, swap files) are hits as well.
A solution in other words is not seen.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from ra3_lab.course import masters
from ra3_lab.course.registry import assignment, names
from ra3_lab.course.secret import Secret

KINDS = (".ipynb", ".md", ".txt", ".zip", ".csv", ".json", ".html", ".py", ".toml", ".png", ".svg")
_NAMES = re.compile(r"solution|secret|teacher|rubric|answer.?key|hidden|checkpoint|__pycache__|grade", re.IGNORECASE)
_ADDRESS = re.compile(r"(?<![\w.:/])/(?:home|Users|root|work|tmp)/[\w.-]+")
_DEPTH = 3
_UNREADABLE = (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error)
"""What a damaged zip archive raises, and one with a password or an odd method of compression."""


@dataclass(frozen=True)
class Leak:
    """One hit."""

    place: str
    """File, with the archive it is in."""
    what: str
    """What was found, without quoting it at length."""


def leaks(bundle: Path, secret: Secret | None = None) -> list[Leak]:
    """All hits in a file or folder. FileNotFoundError where it is not there, or holds neither a notebook nor a hit."""
    found, notebooks = [], 0
    for place, data in _files(bundle):
        notebooks += place.endswith(".ipynb")
        hits = ["an archive that cannot be read"] if data is None else _in_file(place, data, secret)
        found += [Leak(place, what) for what in hits]
    if not notebooks and not found:
        raise FileNotFoundError(f"{bundle} holds no notebook: give a folder or archive that `course build` has made.")
    return found


def _files(bundle: Path) -> Iterator[tuple[str, bytes | None]]:
    paths = sorted(bundle.rglob("*")) if bundle.is_dir() else [bundle] if bundle.exists() else []
    for path in paths:
        if path.is_symlink() or not path.is_dir():
            place = path.relative_to(bundle).as_posix() if path != bundle else path.name
            yield from _opened(place, b"" if path.is_symlink() else path.read_bytes(), 0)


def _opened(place: str, data: bytes, depth: int) -> Iterator[tuple[str, bytes | None]]:
    """A file, and where it is an archive, what is in it; None for what cannot be read there."""
    yield place, data
    if depth == _DEPTH or not (data[:2] == b"PK" or zipfile.is_zipfile(io.BytesIO(data))):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for item in archive.infolist():
                if not item.is_dir():
                    yield from _opened(f"{place}:{item.filename}", archive.read(item), depth + 1)
            if archive.comment:
                yield f"{place}:(comment)", archive.comment
    except _UNREADABLE:
        yield place, None


def _in_file(place: str, data: bytes, secret: Secret | None) -> Iterator[str]:
    name = place.rpartition(":")[2]
    if name != "(comment)":
        if PurePosixPath(name).suffix.lower() not in KINDS:
            yield f"a file of a kind that does not belong here: {PurePosixPath(name).name}"
        if hit := _NAMES.search(name):
            yield f"its name speaks of {hit[0]!r}"
    if data[:2] == b"PK":
        return
    text = data.decode("utf-8", "replace")
    searched = [text]
    if name.endswith(".ipynb"):
        try:
            document = json.loads(text)
            searched.append("\n".join(_strings(document)))
            yield from _in_notebook(document)
        except (ValueError, TypeError, AttributeError, KeyError):
            yield "not readable as a notebook"
    squeezed = _squeezed("\n".join(searched))
    for what, piece in _forbidden():
        if piece in squeezed:
            yield what
    if _ADDRESS.search(text):
        yield "a path of somebody's machine"
    if secret is not None:
        digits = re.sub(r"[^0-9a-z.]", "", squeezed.lower())
        for what, piece in _of_secret(secret):
            if piece in digits or piece in squeezed:
                yield what


def _in_notebook(document: dict[str, Any]) -> Iterator[str]:
    known = {"kernelspec", "language_info", "ra3_lab", "nbgrader", "otter"}
    if odd := set(document["metadata"]) - known:
        yield f"notebook metadata {sorted(odd)}"
    if odd := set(document["metadata"].get("ra3_lab", {})) - {"assignment", "version", "digest"}:
        yield f"notebook metadata ra3_lab.{sorted(odd)}"
    for number, cell in enumerate(document["cells"]):
        if cell.get("outputs") or cell.get("execution_count"):
            yield f"cell {number} has outputs or was run"
        if cell.get("attachments"):
            yield f"cell {number} has attachments"
        if odd := set(cell["metadata"]) - {"ra3_lab", "nbgrader", "otter", "tags", "deletable", "editable"}:
            yield f"cell {number} has metadata {sorted(odd)}"
        if odd := set(cell["metadata"].get("ra3_lab", {})) - {"kind", "id"}:
            yield f"cell {number} has metadata ra3_lab.{sorted(odd)}"
        if cell["cell_type"] == "code":
            known_here = _expressions("".join(cell["source"])) & _of_solutions().keys()
            yield from sorted({f"cell {number} computes what {_of_solutions()[text]} does" for text in known_here})


def _expressions(source: str) -> set[str]:
    """Calculations of at least three steps in a piece of code, spelled one way; none where it is not Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return set()
    steps = (ast.BinOp, ast.Call, ast.Compare, ast.Subscript, ast.UnaryOp)
    return {
        ast.unparse(part)
        for part in ast.walk(tree)
        if isinstance(part, ast.expr) and sum(isinstance(inner, steps) for inner in ast.walk(part)) >= 3
    }


@cache
def _of_solutions() -> dict[str, str]:
    """Expression -> the exercise in whose solution it stands. Here it does not count that students have it too."""
    found = {}
    for name in names():
        for cell in masters.read_master(name):
            if cell.mark == "exercise":
                solved = _expressions(masters.without_markers(cell.source, cell.about))
                found |= dict.fromkeys(solved - _expressions(masters.stub(cell.source, cell.about)), cell.about)
    return found


@cache
def _forbidden() -> tuple[tuple[str, str], ...]:
    """(what it is, text without white space) of everything students must not have."""
    found = [("a solution marker", _squeezed(marker)) for marker in (masters.BEGIN, masters.END, "### BEGIN HIDDEN")]
    for name in names():
        assigned = assignment(name)
        cells = masters.read_master(name)
        handed = _squeezed("\n".join(cell.source for cell in masters.student_cells(assigned, cells)))
        secret_parts = []
        for cell in cells:
            if cell.mark == "exercise":
                _, solution, _ = masters.split_solution(cell.source, cell.about)
                secret_parts += [(f"a line of the solution of {cell.about}", line) for line in solution]
            elif cell.mark == "answer":
                lines = cell.source.splitlines()
                secret_parts += [(f"a line of the model answer to {cell.about}", line) for line in lines]
            elif cell.mark == "question":
                lines = masters.split_rubric(cell.source)[1].splitlines()
                secret_parts += [(f"a line of the rubric of {cell.about}", line) for line in lines]
        # A line that stands in the students' text too (an import, a formula that is explained) gives nothing away.
        found += [
            (what, piece)
            for what, line in secret_parts
            if len(piece := _squeezed(line)) >= 16 and piece not in handed and piece not in _also_public()
        ]
    return tuple(found)


@cache
def _also_public() -> str:
    """Cells of all assignments that are handed out as they are: a solution line of one may be given in another."""
    given = ("", "markdown", "show")
    texts = [cell.source for name in names() for cell in masters.read_master(name) if cell.mark in given]
    return _squeezed("\n".join(texts))


@cache
def _of_secret(secret: Secret) -> tuple[tuple[str, str], ...]:
    """The secret, seeds, and the long numbers of hidden inputs."""
    key = secret.key.hex()
    found = [("the secret", piece) for piece in (key, key[:32], key[32:])]
    for name in names():
        for exercise in assignment(name).exercises:
            seed = secret.seed(exercise.id)
            found.append((f"the hidden seed of {exercise.id}", str(seed)))
            public = set(_numbers([exercise.example]))
            drawn = set(_numbers(exercise.make_inputs(seed))) - public - set(_numbers(exercise.make_inputs(1)))
            found += [(f"a hidden input of {exercise.id}", number) for number in sorted(drawn)]
    return tuple(found)


def _numbers(value: Any) -> Iterator[str]:
    """Numbers with so many digits that they are nowhere by chance."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, dict):
        yield from _numbers(list(value.values()))
    elif isinstance(value, float):
        text = repr(value).lstrip("-")
        if len(re.sub(r"e.*|\.", "", text).strip("0")) >= 10:
            yield re.sub(r"[^0-9a-z.]", "", text)


def _strings(value: Any) -> Iterator[str]:
    """All text in a JSON document, keys included, lines of a cell joined."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            if isinstance(item, list) and all(isinstance(line, str) for line in item):
                yield "".join(item)
            else:
                yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, str):
        yield value


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)
