"""Notebooks are built one way: a py:percent source in notebooks/src/ becomes notebooks/NAME.ipynb.

A source is Python with cell marks: `# %%` begins a code cell, `# %% [markdown]` a text cell, whose lines are comments.
The result carries no outputs, no widget state and no time stamp, and the same source always gives the same bytes, so
that a test can hold "rebuilt = committed". A notebook that somebody has run or edited is recognised and not
overwritten: its cells differ from the digest that the build left in its metadata.

Not handled: cell attachments, raw cells, magics (they are no Python; a notebook here has none).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

LONGEST_CELL = 15
"""Most lines of a code cell; longer functions belong in the package."""

_MARK = re.compile(r"^# %%(?P<rest>.*)$")
_TAG = re.compile(r"\[(?P<word>\w+)(?: (?P<about>[\w.]+))?\]")


@dataclass(frozen=True)
class Mark:
    """A kind of cell that stands in brackets behind `# %%`."""

    kind: Literal["markdown", "code"]
    """What its cell becomes."""
    longest: int = LONGEST_CELL
    """Most lines where that is code."""


MARKS: dict[str, Mark] = {"": Mark("code"), "markdown": Mark("markdown")}
"""What a walkthrough uses; assignments know more (`ra3_lab/course/masters.py`)."""


@dataclass(frozen=True)
class Cell:
    """One cell of a notebook."""

    kind: Literal["markdown", "code"]
    """What it is."""
    source: str
    """Its text, without a newline at the end."""
    mark: str = field(default="", repr=False, compare=False)
    """The word in brackets: "", "markdown", "exercise", ..."""
    about: str = field(default="", repr=False, compare=False)
    """The word after that one."""


def parse_percent(text: str, name: str = "source", marks: Mapping[str, Mark] = MARKS) -> list[Cell]:
    """The cells of a py:percent source; empty ones only where they have something in brackets to be about.

    Raises ValueError, naming file and line, for text before the first mark, an unknown kind of cell, a line of a text
    cell that is no comment, and a code cell of more lines than its mark allows.

    >>> parse_percent("# %% [markdown]\\n# # Title\\n#\\n# Text.\\n# %%\\nx = 1\\n")
    [Cell(kind='markdown', source='# Title\\n\\nText.'), Cell(kind='code', source='x = 1')]
    """
    cells: list[Cell] = []
    begin, word, about, lines = 0, "", "", []

    def close() -> None:
        if not begin:
            return
        source, mark = "\n".join(lines).strip("\n"), marks[word]
        if mark.kind == "code" and (count := len(source.splitlines())) > mark.longest:
            raise ValueError(
                f"{name}:{begin}: a code cell of {count} lines; {mark.longest} at most: move a function to ra3_lab/."
            )
        if source or about:
            cells.append(Cell(mark.kind, source, word, about))

    for number, line in enumerate(text.splitlines(), 1):
        if found := _MARK.match(line):
            close()
            rest = found["rest"].strip()
            tag = _TAG.fullmatch(rest)
            if (rest and tag is None) or (tag is not None and tag["word"] not in marks):
                known = " or ".join(f"'# %% [{word}]'" if word else "'# %%'" for word in marks)
                raise ValueError(f"{name}:{number}: '# %% {rest}' is unknown; use {known}.")
            word, about = (tag["word"], tag["about"] or "") if tag else ("", "")
            begin, lines = number, []
        elif begin and marks[word].kind == "markdown":
            if line.strip() and not line.startswith("#"):
                raise ValueError(f"{name}:{number}: {line[:40]!r} in a text cell is no comment; begin it with '# '.")
            lines.append(line[1:].removeprefix(" "))
        elif begin:
            lines.append(line)
        elif line.strip():
            raise ValueError(f"{name}:{number}: {line[:40]!r} stands before the first '# %%'.")
    close()
    return cells


def to_notebook(cells: Iterable[Cell], name: str) -> dict[str, Any]:
    """The notebook (format 4.5) of these cells; ids follow from the name and the place."""
    prefix = re.sub(r"[^a-zA-Z0-9]", "-", name)[:40]
    built = []
    for number, cell in enumerate(cells):
        record: dict[str, Any] = {
            "cell_type": cell.kind,
            "id": f"{prefix}-{number:02d}",
            "metadata": {},
            "source": cell.source.splitlines(keepends=True),
        }
        if cell.kind == "code":
            record |= {"execution_count": None, "outputs": []}
        built.append(record)
    metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "ra3_lab": {"built_from": f"src/{name}.py", "digest": _digest(built)},
    }
    return {"cells": built, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def notebook_text(source: str, name: str) -> str:
    """The .ipynb file of a source, as Jupyter itself would lay it out."""
    notebook = to_notebook(parse_percent(source, f"{name}.py"), name)
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def touched(notebook: dict[str, Any]) -> bool:
    """Whether somebody has run or edited a built notebook since it was built."""
    built = (notebook.get("metadata") or {}).get("ra3_lab") or {}
    outputs = any(cell.get("outputs") for cell in notebook.get("cells") or [])
    return outputs or built.get("digest") != _digest(notebook.get("cells") or [])


def build(folder: Path, check: bool = False, force: bool = False) -> list[Path]:
    """Build every notebook of `folder` from `folder`/src; returns those that changed, or with `check` would change.

    Raises FileNotFoundError where there are no sources, and FileExistsError for a notebook that was run or edited,
    unless `force` is given.
    """
    sources = sorted((folder / "src").glob("*.py"))
    if not sources:
        raise FileNotFoundError(f"no notebook sources in {folder / 'src'}: give the notebooks/ folder of a checkout.")
    changed = []
    for source in sources:
        text, target = notebook_text(source.read_text(encoding="utf-8"), source.stem), folder / f"{source.stem}.ipynb"
        if write_built(target, text, check, force):
            changed.append(target)
    return changed


def write_built(target: Path, text: str, check: bool = False, force: bool = False) -> bool:
    """Write a built notebook where it differs from what is there, unless only to `check`; returns whether it does.

    Raises FileExistsError for a notebook that was run or edited since it was built, unless `force` is given.
    """
    before = target.read_text(encoding="utf-8") if target.exists() else ""
    if text == before:
        return False
    if not check:
        if before and not force and touched(json.loads(before)):
            raise FileExistsError(
                f"{target} was run or edited since it was built: save it under another name, or build with --force."
            )
        target.write_text(text, encoding="utf-8", newline="\n")
    return True


def _digest(cells: Iterable[dict[str, Any]]) -> str:
    """Of kinds and sources only."""
    told = [[cell.get("cell_type"), "".join(cell.get("source") or [])] for cell in cells]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
