"""Expert code from files: JSONL of solutions, or a folder of source files, as traces without latents.

JSONL: one object a line with `code` (or `solution`, `content`) and optionally `prompt` (or `text`) and `task_id`. The
prompt becomes a docstring (or comment) above the code; "\\r\\n" is read as "\\n", as Python does. A folder of Python:
every function of its files, moved to the left margin, without prompt. A folder of another language: its files, whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ra3_lab.corpus.functions import functions
from ra3_lab.jsonl import numbered_rows
from ra3_lab.trace import PYTHON, Language, Refused, Trace, language_of, read_source
from ra3_lab.trace.python import syntax_tree
from ra3_lab.trace.source import decode

_CODE, _PROMPT = ("code", "solution", "content"), ("prompt", "text")
_LINE = re.compile(r":\d+\Z")


@dataclass
class Corpus:
    """Traces read from a source, and what was left out of it."""

    traces: list[Trace] = field(default_factory=list)
    """Programs that can be used, in the order of the source."""
    origins: list[str] = field(default_factory=list)
    """For each of them the file that it was cut out of; where nothing says so, its own name."""
    refused: Counter[str] = field(default_factory=Counter)
    """Programs and files left out, counted by reason."""
    refusals: list[Refused] = field(default_factory=list)
    """Each of them, with file, line and reason."""

    def keep(self, trace: Trace, origin: str) -> None:
        """Add one."""
        self.traces.append(trace)
        self.origins.append(origin)

    def refuse(self, refusal: Refused) -> None:
        """Count one and go on."""
        self.refused[refusal.reason] += 1
        self.refusals.append(refusal)


def trace_of_code(code: str, prompt: str = "", trace_id: str = "", language: Language = PYTHON) -> Trace:
    """A trace of source code, `prompt` above it as a docstring (Python) or comment.

    A missing last newline is added; a shebang or coding cookie goes to the top of the trace's prompt. Raises
    SyntaxError, with its line, where the code does not parse, Refused for half a Unicode character, which no file can
    hold, and ValueError where there is no code.

    >>> trace_of_code("x = 1\\ny = [\\n  2]", "Two numbers.").prompt
    '\"\"\"Two numbers.\"\"\"\\n'
    """
    language.check(code)
    for part, text in (("description", prompt), ("code", code)):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = f"{text[error.start]!r} in the {part}"
            raise Refused(trace_id, text.count("\n", 0, error.start) + 1, "half a Unicode character", half) from error
    if not code.endswith("\n"):
        code += "\n"
    header = language.header(code)
    if header == code:
        header = ""
    lines = tuple(language.split_logical_lines(code[len(header) :]))
    return Trace(header + (language.describe(prompt, code) if prompt else ""), lines, (), trace_id, language.marker)


def origin_of(row: dict[str, Any], name: str) -> str:
    """The file that a row was cut out of: its `source` without the line, as `ra3-lab corpus` writes it, or else `name`.

    >>> origin_of({"source": "lib/a.py:12"}, "7"), origin_of({}, "7")
    ('lib/a.py', '7')
    """
    source = row.get("source")
    return (_LINE.sub("", source) if isinstance(source, str) else "") or name


def _read_jsonl(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """(name, origin, code, prompt) of each row."""
    for number, row in numbered_rows(path):
        code = next((row[key] for key in _CODE if isinstance(row, dict) and isinstance(row.get(key), str)), None)
        if code is None:
            raise ValueError(f"{path}:{number} has no program: it needs a string field, one of {', '.join(_CODE)}.")
        prompt = next((row[key] for key in _PROMPT if isinstance(row.get(key), str)), "")
        code, prompt = (part.replace("\r\n", "\n") for part in (code, prompt))
        name = str(row.get("task_id", f"{path.name}:{number}"))
        yield name, origin_of(row, name), code, prompt


def _add_jsonl(corpus: Corpus, path: Path, ids: tuple[int, int] | None, language: Language) -> None:
    for name, origin, code, prompt in _read_jsonl(path):
        if ids is not None and not (name.isdigit() and ids[0] <= int(name) <= ids[1]):
            continue
        try:
            if not code.strip():
                raise Refused(name, 0, "empty")
            corpus.keep(trace_of_code(code, prompt, name, language), origin)
        except Refused as refusal:
            corpus.refuse(refusal)
        except SyntaxError as error:
            corpus.refuse(Refused(name, error.lineno or 0, "does not parse", error.msg or ""))


def _add_functions(corpus: Corpus, path: Path, name: str) -> None:
    """Every function of a Python file. Raises Refused for a file that cannot be used."""
    text, _ = decode(path.read_bytes(), name)
    try:
        found = list(functions(text, syntax_tree(text)))
    except SyntaxError as error:
        raise Refused(name, error.lineno or 0, "does not parse", error.msg or "") from error
    for function in found:
        try:
            corpus.keep(trace_of_code(function.code, "", f"{name}:{function.line}"), name)
        except SyntaxError as error:
            corpus.refuse(Refused(name, function.line, "a function that does not stand alone", error.msg or ""))


def _add_folder(corpus: Corpus, folder: Path, language: Language) -> None:
    paths = [path for suffix in language.suffixes for path in folder.rglob(f"*{suffix}")]
    for path in sorted(paths):
        name = path.relative_to(folder).as_posix()
        try:
            if language is PYTHON:
                _add_functions(corpus, path, name)
            else:
                corpus.keep(read_source(path, name, language).trace, name)
        except Refused as refusal:
            corpus.refuse(refusal)
        except OSError as error:
            corpus.refuse(Refused(name, 0, "cannot be read", error.strerror or str(error)))


def load_corpus(source: str | Path, ids: tuple[int, int] | None = None, language: str = "python") -> Corpus:
    """Traces of a JSONL file or a folder. `ids` keeps rows whose task_id is a number in these bounds, both included.

    What does not parse is left out, counted and listed. Raises FileNotFoundError for a missing source and ValueError
    for a broken JSONL line (file and line named), an unknown language, or where nothing is left.
    """
    path, rules = Path(source), language_of(language)
    if not path.exists():
        raise FileNotFoundError(
            f"{source} does not exist: give a .jsonl file of solutions or a folder of {rules.suffixes[0]} files."
        )
    corpus = Corpus()
    if path.is_dir():
        if ids is not None:
            raise ValueError(f"{source} is a folder, whose programs have no numbers: leave ids={ids} out.")
        _add_folder(corpus, path, rules)
    else:
        _add_jsonl(corpus, path, ids, rules)
    if not corpus.traces:
        kept = f" with task_id {ids[0]} to {ids[1]}" if ids else ""
        first = f", the first {corpus.refusals[0]}" if corpus.refusals else ""
        reasons = f"; left out: {dict(corpus.refused)}{first}" if corpus.refused else ""
        raise ValueError(f"{source} holds no {rules.name.capitalize()} program{kept}{reasons}.")
    return corpus
