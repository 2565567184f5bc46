"""Expert code from files: JSONL of solutions, or a folder of Python files, as traces without latents.

JSONL: one object a line with `code` (or `solution`, `content`) and optionally `prompt` (or `text`) and `task_id`. The
prompt becomes a docstring above the code. A folder: every function of its .py files, without prompt.
"""

from __future__ import annotations

import ast
import json
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ra3_lab.trace import Trace, split_logical_lines

_CODE, _PROMPT = ("code", "solution", "content"), ("prompt", "text")


@dataclass
class Corpus:
    """Traces read from a source, and what was left out of it."""

    traces: list[Trace] = field(default_factory=list)
    """Programs that can be used, in the order of the source."""
    refused: Counter[str] = field(default_factory=Counter)
    """Programs left out, counted by reason."""


def trace_of_code(code: str, prompt: str = "", trace_id: str = "") -> Trace:
    """A trace of Python source. Raises SyntaxError where it does not parse; a missing last newline is added."""
    ast.parse(code)
    if not code.endswith("\n"):
        code += "\n"
    if prompt:
        prompt = '"""' + prompt.strip().replace('"""', "'''") + '"""\n'
    return Trace(prompt, tuple(split_logical_lines(code)), (), trace_id)


def _read_jsonl(path: Path) -> Iterator[tuple[str, str, str]]:
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{path}:{number} is not JSON ({error.msg} at column {error.colno}): mend or remove the line."
                ) from error
            code = next((row[key] for key in _CODE if isinstance(row, dict) and isinstance(row.get(key), str)), None)
            if code is None:
                raise ValueError(f"{path}:{number} has no program: it needs a string field, one of {', '.join(_CODE)}.")
            prompt = next((row[key] for key in _PROMPT if isinstance(row.get(key), str)), "")
            yield str(row.get("task_id", f"{path.name}:{number}")), code, prompt


def _read_folder(folder: Path) -> Iterator[tuple[str, str, str]]:
    for path in sorted(folder.rglob("*.py")):
        name = str(path.relative_to(folder))
        try:
            source = path.read_bytes().decode("utf-8")
            tree = ast.parse(source)
        except (SyntaxError, UnicodeDecodeError, ValueError):
            yield name, "", ""  # refused by the caller as not Python
            continue
        rows = source.splitlines(keepends=True)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                yield (
                    f"{name}:{node.lineno}",
                    textwrap.dedent("".join(rows[node.lineno - 1 : node.end_lineno])),
                    "",
                )


def load_corpus(source: str | Path, ids: tuple[int, int] | None = None) -> Corpus:
    """Traces of a JSONL file or a folder. `ids` keeps rows whose task_id is a number in these bounds, both included.

    A program that is not Python is left out and counted. Raises FileNotFoundError for a missing source and ValueError
    for a broken JSONL line (file and line named) or where nothing is left.
    """
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{source} does not exist: give a .jsonl file of solutions or a folder of .py files.")
    corpus = Corpus()
    for name, code, prompt in _read_folder(path) if path.is_dir() else _read_jsonl(path):
        if ids is not None and not (name.isdigit() and ids[0] <= int(name) <= ids[1]):
            continue
        try:
            if not code.strip():
                raise SyntaxError("empty or not Python")
            corpus.traces.append(trace_of_code(code, prompt, name))
        except (SyntaxError, ValueError) as error:
            corpus.refused[type(error).__name__ + ": " + str(error).split(" (")[0]] += 1
    if not corpus.traces:
        kept = f" with task_id {ids[0]} to {ids[1]}" if ids else ""
        reasons = f"; left out: {dict(corpus.refused)}" if corpus.refused else ""
        raise ValueError(f"{source} holds no Python program{kept}{reasons}.")
    return corpus
