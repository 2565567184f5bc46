"""The `--json [FILE]` flag, shared by all commands: what a command found, as one JSON object.

A command declares the flag as a parameter of type `Json` and emits its record once:

    def run(..., json: Json = None) -> int:
        '''... Args: ... json: Write the result as JSON to FILE, or to stdout.'''
        with results("eval", json) as emit:
            print("progress and tables, for people")
            emit({"pass@1": 0.5})

Without the flag `emit` does nothing. With a FILE (its name ends in .json) the record is written there, complete or not
at all. With `--json` alone stdout holds the record and nothing else: whatever is printed meanwhile goes to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import tyro

SCHEMA_VERSION = 1

Json = Annotated[Path | None, tyro.conf.arg(metavar="[FILE.json]")]
"""Type of the `json` parameter: None where the flag was not given, `-` for stdout."""


def with_json_target(arguments: Sequence[str]) -> list[str]:
    """The arguments with `-` (stdout) after a `--json` that names no file.

    Only a word that ends in .json is taken as the flag's FILE, so that `annotate --json program.py` can't overwrite the
    program.

    >>> with_json_target(["--json", "program.py"])
    ['--json', '-', 'program.py']
    >>> with_json_target(["--json", "found.json", "--seed", "1"])
    ['--json', 'found.json', '--seed', '1']
    """
    filled: list[str] = []
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        filled.append(word)
        if word == "--json" and following != "-" and not following.endswith(".json"):
            filled.append("-")
    return filled


@contextmanager
def results(command: str, json: Path | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that emits the command's record, to be called once, with `schema_version` and `command` added.

    Raises ValueError at once, before hours of work, where FILE is not a .json file in a folder that exists.
    """
    from ra3_lab.runs import json_text, write_json

    if json is not None and str(json) != "-" and (json.suffix != ".json" or not json.parent.is_dir() or json.is_dir()):
        raise ValueError(
            f"--json {json}: give the name of a .json file in a folder that exists, or no name for stdout."
        )
    stdout = sys.stdout

    def emit(record: Mapping[str, Any]) -> None:
        full = {"schema_version": SCHEMA_VERSION, "command": command, **record}
        if json is None:
            return
        if str(json) == "-":
            stdout.write(json_text(full) + "\n")
            stdout.flush()
        else:
            write_json(json, full)

    if json is not None and str(json) == "-":
        with redirect_stdout(sys.stderr):
            yield emit
    else:
        yield emit
