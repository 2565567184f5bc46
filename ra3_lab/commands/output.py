"""Flags that commands share: `--json [FILE]`, and `--config FILE` and `--resume RUN`, which fill in settings.

`--json`: what a command found, as one JSON object.

A command declares the flag as a parameter of type `Json` and emits its record once:

    def run(..., json: Json = None) -> int:
        '''... Args: ... json: Write the result as JSON to FILE, or to stdout.'''
        with results("eval", json) as emit:
            print("progress and tables, for people")
            emit({"pass@1": 0.5})

Without the flag `emit` does nothing. With a FILE (its name ends in .json) the record is written there, complete or not
at all. With `--json` alone stdout holds the record and nothing else: whatever is printed meanwhile goes to stderr.

`--config FILE` and `--resume RUN`: a command with a parameter `settings: ConfigFile` or `resume: ResumeRun` finds its
other parameters filled in from the file, or from the run's record, where no flag says otherwise.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import tyro

SCHEMA_VERSION = 1

Json = Annotated[Path | None, tyro.conf.arg(metavar="[FILE.json]")]
"""Type of the `json` parameter: None where the flag was not given, `-` for stdout."""

ConfigFile = Annotated[Path | None, tyro.conf.arg(name="config", metavar="FILE")]
"""Type of the parameter `settings`, which brings `--config FILE`: settings from a TOML or JSON file."""
ResumeRun = Annotated[Path | None, tyro.conf.arg(name="resume", metavar="RUN")]
"""Type of the parameter `resume`, which brings `--resume RUN`: a stopped run's settings, and its folder as `out`."""


def with_files(function: Callable[..., Any], arguments: Sequence[str]) -> Callable[..., Any]:
    """The command with the defaults that `--config` or `--resume` among its arguments bring; else the command itself.

    Raises ValueError, naming file and key, where the file does not fit the command, or the run is another command's.
    """
    from ra3_lab.config import read_settings, with_settings

    parameters = inspect.signature(function).parameters
    files = _values(arguments, "--config") if "settings" in parameters else []
    runs = _values(arguments, "--resume") if "resume" in parameters else []
    if len(files) + len(runs) > 1:
        raise ValueError("give one --config FILE, or one --resume RUN.")
    for file in files:
        return with_settings(function, read_settings(Path(file)), file)
    for run in runs:
        from ra3_lab.runs.directory import read_run_of

        command = function.__module__.rpartition(".")[2]  # a module that begins runs is named after its command
        return with_settings(function, {**read_run_of(Path(run), command)["settings"], "out": run}, run)
    return function


def summary_of(
    out: Path,
    resume: Path | None,
    train: Callable[[bool], dict[str, Any]],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The summary of the run in `out`: as it stands where `--resume` names a finished run, else what `train(going_on)`
    returns. Raises ValueError for a --resume beside another --out, and where a finished run has other settings than
    those given and its results would have differed by more than the last bits."""
    from ra3_lab.runs import view_run
    from ra3_lab.runs.directory import require_finished_with

    if resume is not None and resume != out:
        raise ValueError(f"--resume {resume} goes on in that folder: leave --out {out} out.")
    if resume is not None and (view := view_run(resume)).summary is not None:
        require_finished_with(view, settings)
        print(f"{resume} is finished already")
        return view.summary
    return train(resume is not None)


def _values(arguments: Sequence[str], flag: str) -> list[str]:
    """What stands after a flag, or after its equals sign."""
    after = [value for word, value in pairwise(arguments) if word == flag]
    return after + [word.split("=", 1)[1] for word in arguments if word.startswith(flag + "=")]


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
    for word, following in zip(arguments, [*arguments, ""][1:], strict=True):
        filled.append(word)
        if word == "--json" and following != "-" and not following.endswith(".json"):
            filled.append("-")
    return filled


def require_new_file(flag: str, path: Path | None) -> None:
    """Say at once, before hours of work, that a file cannot be made: makes it and takes it away again.

    Raises FileExistsError, FileNotFoundError for its folder, and OSError with the reason where it cannot be written.
    """
    from ra3_lab.runs.files import explained

    if path is None:
        return
    if path.exists():
        raise FileExistsError(f"{path} exists: choose another {flag}, or delete it if you no longer need it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}: make it, or choose another {flag}.")
    try:
        path.touch(exist_ok=False)
        path.unlink()
    except OSError as error:
        raise explained(error, f"{path} cannot be written", f"choose another {flag}") from error


@contextmanager
def results(command: str, json: Path | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that emits the command's record, to be called once, with `schema_version` and `command` added.

    Raises ValueError at once, before hours of work, where FILE is not a .json file in a folder that exists, and OSError
    where nothing can be written into that folder.
    """
    from ra3_lab.runs import json_text, write_json
    from ra3_lab.runs.files import explained

    if json is not None and str(json) != "-" and (json.suffix != ".json" or not json.parent.is_dir() or json.is_dir()):
        raise ValueError(
            f"--json {json}: give the name of a .json file in a folder that exists, or no name for stdout."
        )
    if json is not None and str(json) != "-":
        try:
            with tempfile.TemporaryFile(dir=json.parent):
                pass
        except OSError as error:
            raise explained(error, f"--json {json} cannot be written", "choose another folder") from error
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
