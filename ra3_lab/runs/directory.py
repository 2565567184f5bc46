"""The run directory: everything one run leaves behind, readable at any moment, and enough to go on after a kill.

    run.json         settings, versions, git commit, fingerprints of data and model; written once, at the start
    metrics.jsonl    one record per update, as it happens
    traces.jsonl     sampled programs with their latents
    checkpoints/     the newest whole checkpoint while the run is under way (see checkpoint.py)
    model/           the result, a transformers model directory
    summary.json     the figures; written last, so a run that has it is finished

A run is never overwritten: a new one wants a new folder, and going on (`resume`) wants the same settings, data and
model. After a kill the metrics are cut back to the checkpoint, and what follows is what would have followed.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ra3_lab.runs.files import (
    SCHEMA_VERSION,
    JsonLines,
    fresh_directory,
    json_text,
    leftovers,
    made_directory,
    plain,
    read_json,
    read_jsonl,
    write_json,
)
from ra3_lab.runs.follower import Follower
from ra3_lab.runs.lock import is_locked, lock
from ra3_lab.runs.signals import Interrupted, StopRequest

if TYPE_CHECKING:
    from ra3_lab.runs.checkpoint import TrainerState

RECORDED = ("command", "started", "settings", "inputs", "versions")
"""What every run.json holds."""
FREE_SETTINGS = ("checkpoint_every", "json")
"""Settings that may differ when a run goes on: they change no result."""
NOTED_SETTINGS = ("device", "threads", "tokens_at_once", "checkpointing", "processes")
"""These may differ too (nested ones by their last name), but then sums are taken in another order and the last bits
differ."""


class RunDirectory:
    """A run being written, by one process at a time. Make one with `create_run` or `resume_run`."""

    def __init__(self, path: Path, record: dict[str, Any], checkpoint_every: int) -> None:
        check_interval(checkpoint_every)
        self.path, self.record = path, record
        self.checkpoint_every = checkpoint_every
        self.stop: StopRequest = StopRequest()
        """Looked at after every update; set by `signals.polite_stop`."""
        self._lock = lock(path)
        try:
            self.metrics, self.traces = JsonLines(path / "metrics.jsonl"), JsonLines(path / "traces.jsonl")
        except OSError:
            self.close()
            raise
        self._saved = -1  # step of the newest checkpoint

    def close(self) -> None:
        """Let another process have the run."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    def latest(self) -> TrainerState | None:
        """The state to go on from, metrics and traces being cut back to it; None where the run has to begin anew."""
        from ra3_lab.distributed import require_same
        from ra3_lab.runs.checkpoint import latest_checkpoint, load_state

        found = latest_checkpoint(self.checkpoints)
        state = load_state(found) if found else None
        for log in (self.metrics, self.traces):
            length = state.values["lengths"][log.path.name] if state else 0
            if log.path.stat().st_size < length:
                raise ValueError(f"{log.path} is shorter than at the checkpoint: it was cut or replaced.")
            os.truncate(log.path, length)
        require_same("the checkpoint", state and state.step)
        if state:
            self._saved = state.step
        return state

    def history(self) -> list[dict[str, Any]]:
        """The metrics so far, as the file has them: infinity and not-a-number are words there (`files.plain`)."""
        return [{k: v for k, v in row.items() if k != "schema_version"} for row in read_jsonl(self.metrics.path)]

    def after_update(self, step: int, capture: Callable[[], TrainerState], last: bool = False) -> None:
        """To be called after each update: saves when it is time, and stops the run when somebody asked for it.

        Raises Interrupted, the state being saved, and OSError where the checkpoint cannot be written.
        """
        from ra3_lab.distributed import ProcessLost, everyone

        try:  # where several processes train, all stop after the same update
            asked = max(everyone(self.stop.signum or 0))
        except ProcessLost:
            self.save(capture())
            raise
        if last or asked or step % self.checkpoint_every == 0:
            self.save(capture())
        if asked:
            everyone(None)  # none ends before the checkpoint is whole: its launcher would end this one
            raise Interrupted(self.standing(), asked)

    def save(self, state: TrainerState) -> None:
        """Write a checkpoint; metrics and traces reach the disk first."""
        from ra3_lab.runs.checkpoint import save_state

        if state.step == self._saved:
            return
        for log in (self.metrics, self.traces):
            log.sync()
        self.note_logs(state)
        save_state(self.checkpoints, state)
        self._saved = state.step

    def note_logs(self, state: TrainerState) -> None:
        """Write into the state how far the logs have come, unless it says so already: `latest` cuts them back there."""
        lengths = {log.path.name: log.path.stat().st_size for log in (self.metrics, self.traces)}
        state.values.setdefault("lengths", lengths)

    def standing(self) -> str:
        """Where the run stands and how to go on, for people."""
        where = f"at update {self._saved}, saved" if self._saved >= 0 else "before its first checkpoint"
        return f"stopped {where}; go on with: {self.record['go_on']}"

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json; from now on the run is finished, and its checkpoint is no longer needed."""
        write_json(self.path / "summary.json", {"schema_version": SCHEMA_VERSION, **summary})
        shutil.rmtree(self.checkpoints, ignore_errors=True)


def check_interval(checkpoint_every: int) -> None:
    """Raises ValueError below 1."""
    if checkpoint_every < 1:
        raise ValueError(f"checkpoint_every={checkpoint_every}: updates between two checkpoints, 1 or more.")


def create_run(
    out: Path,
    command: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Any],
    checkpoint_every: int = 50,
    go_on: str = "",
) -> RunDirectory:
    """A new run in a new or empty folder. `inputs` are fingerprints that must not change while the run is under way;
    `go_on` is what to tell people who stop it (default: the command with --resume).

    Raises FileExistsError where the folder holds anything, OSError where it cannot be written to.
    """
    from ra3_lab.runs.provenance import git_state, versions

    check_interval(checkpoint_every)
    require_free(out)
    made_directory(out)
    record = {
        "schema_version": SCHEMA_VERSION,
        "command": command,
        "go_on": go_on or f"ra3-lab {command} --resume {shlex.quote(str(out))}",
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "settings": plain(settings),
        "inputs": plain(inputs),
        "versions": versions(),
        "git": git_state(),
    }
    write_json(out / "run.json", record)
    return RunDirectory(out, record, checkpoint_every)


def require_free(out: Path) -> None:
    """Say at once, before a model is loaded, that no new run can begin in this folder. Leaves none.

    Raises FileExistsError where it holds anything, OSError where it cannot be made.
    """
    if (out / "run.json").exists() and not (out / "summary.json").exists():
        raise FileExistsError(
            f"{out} holds a run that is not finished: go on with {read_run(out)['go_on']}, choose another --out, or "
            "delete it."
        )
    with suppress(OSError):  # on a disk that cannot be written to; there is none, mostly
        (out / "run.json.tmp").unlink()  # all that a kill in `create_run` leaves
    missing = [one for one in (out, *out.parents) if not one.exists()]
    fresh_directory(out)
    with suppress(OSError):  # somebody else's by now
        for one in missing:
            one.rmdir()


def resume_run(
    out: Path,
    command: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Any],
    checkpoint_every: int = 50,
    say: Callable[[str], None] = print,
    fixed: Collection[str] = (),
) -> RunDirectory:
    """Open a run that was stopped or killed. `say` gets what may keep the result from being the same to the last bit.
    `fixed` are those of NOTED_SETTINGS that change more than bits in this run, so that they must be what they were.

    Raises FileNotFoundError where there is no run, ValueError where command, settings or inputs are others, OSError
    where another process is at it.
    """
    from ra3_lab.runs.provenance import versions

    record = read_run_of(out, command)
    for what, now in (("settings", settings), ("inputs", inputs)):
        for key, was, value in differences(record[what], plain(now)):
            if key in FREE_SETTINGS:
                continue
            told = f"{what[:-1]} {key} was {json_text(was, None)} and is now {json_text(value, None)}"
            if (name := key.rsplit(".", 1)[-1]) not in NOTED_SETTINGS or name in fixed:
                raise ValueError(
                    f"{out}: {told}: a run goes on with what it began with; start a new one in a new folder."
                )
            say(f"note: {told}; the last bits of the result may differ")
    for name, was, value in differences(record["versions"], versions()):
        say(f"note: {name} was {was} and is now {value}; the result may differ")
    run = RunDirectory(out, record, checkpoint_every)
    for leftover in leftovers(out):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    return run


@contextmanager
def open_run(
    out: Path,
    command: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Any],
    checkpoint_every: int,
    going_on: bool,
    go_on: str = "",
    fixed: Collection[str] = (),
) -> Iterator[RunDirectory | Follower]:
    """A new run (`create_run`) or one that goes on (`resume_run`, with `fixed`); Ctrl-C meanwhile says where it stands
    and how to go on: raises Interrupted. A new run that fails before anything has happened in it leaves no folder.
    Where several processes train, the first has the folder, the others get a `Follower`."""
    from ra3_lab.distributed import first, from_first, require_same, world

    require_same("the input", inputs)
    inputs = {**inputs, "processes": world()}
    opened: list[RunDirectory] = []

    def open_folder() -> dict[str, Any]:
        if going_on:
            opened.append(resume_run(out, command, settings, inputs, checkpoint_every, fixed=fixed))
        else:
            opened.append(create_run(out, command, settings, inputs, checkpoint_every, go_on))
        return opened[0].record

    record = from_first(open_folder)
    run = opened[0] if first() else Follower(out, record)
    try:
        with run:
            yield run
    except KeyboardInterrupt as stop:
        raise Interrupted(run.standing(), getattr(stop, "status", 130) - 128) from None
    except Exception:
        if first() and not going_on:
            _discard_untouched(out)
        raise


def _discard_untouched(out: Path) -> None:
    """Remove a new run's folder where it holds no more than what `create_run` put there, so that the corrected command
    finds it free."""
    files = [path for path in out.rglob("*") if path.is_file()]
    if all(path.name in ("run.json", ".lock") or not path.stat().st_size for path in files):
        shutil.rmtree(out, ignore_errors=True)  # `--out .` stays, empty; the error that led here is the one to tell


def differences(before: Mapping[str, Any], now: Mapping[str, Any], under: str = "") -> list[tuple[str, Any, Any]]:
    """Where two records of plain data differ: dotted key, value before, value now (None: not there).

    >>> differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    [('b.c', 2, 3)]
    """
    found: list[tuple[str, Any, Any]] = []
    for key in {**before, **now}:
        a, b = before.get(key), now.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{under}{key}.")
        elif a != b:
            found.append((under + key, a, b))
    return found


# --- reading ------------------------------------------------------------------------------------------


def read_run(path: Path) -> dict[str, Any]:
    """run.json of a run directory. Raises FileNotFoundError where there is none, ValueError where it is damaged, of a
    newer schema or something else."""
    if not (path / "run.json").is_file():
        raise FileNotFoundError(f"{path} is no run directory (no run.json): give the --out of a run.")
    record = read_json(path / "run.json")
    lacking = [name for name in RECORDED if not isinstance(record, dict) or name not in record]
    if lacking:
        raise ValueError(f"{path / 'run.json'} has no {lacking[0]!r}: it is damaged or no run of ra3_lab; remove it.")
    return record


def read_run_of(path: Path, command: str) -> dict[str, Any]:
    """The same, of a run of this command. Raises ValueError for another command's, else as `read_run` does."""
    record = read_run(path)
    if record["command"] != command:
        whose = "`ra3_lab.em` in Python" if record["command"] == "em" else f"`ra3-lab {record['command']}`"
        raise ValueError(f"{path} is a run of {whose}, not of `ra3-lab {command}`: go on with {record['go_on']}.")
    return record


@dataclass(frozen=True)
class RunView:
    """A run as a reader sees it, whatever its state."""

    path: Path
    """The run directory."""
    record: dict[str, Any]
    """run.json."""
    state: Literal["finished", "running", "stopped"]
    """finished: it has a summary; running: a process holds it; stopped: `--resume` goes on."""
    updates: int
    """Updates in the metrics."""
    last: dict[str, Any]
    """The newest record of the metrics, {} before the first."""
    summary: dict[str, Any] | None
    """summary.json of a finished run."""


def view_run(path: Path) -> RunView:
    """Read a run, also while it is being written. Raises as `read_run` does."""
    record = read_run(path)
    summary = read_json(path / "summary.json") if (path / "summary.json").exists() else None
    rows = read_jsonl(path / "metrics.jsonl")
    updates = sum(row.get("stage") in ("pretrain", "estep", "mstep", "rlvr") for row in rows)
    state = "finished" if summary else "running" if is_locked(path) else "stopped"
    return RunView(path, record, state, updates, rows[-1] if rows else {}, summary)


def require_finished_with(view: RunView, settings: Mapping[str, Any]) -> None:
    """Raises ValueError where a finished run has other settings than these, but for FREE_SETTINGS and NOTED_SETTINGS:
    going on would change nothing."""
    for key, was, _ in differences(view.record["settings"], plain(settings)):
        if key.rsplit(".", 1)[-1] not in (*FREE_SETTINGS, *NOTED_SETTINGS):
            raise ValueError(f"{view.path} is finished with {key}={json_text(was, None)}: start a new run with --out.")


def model_source(source: str | Path) -> str | Path:
    """The model directory of a finished run where `source` is a run directory; anything else as it is.

    Raises FileNotFoundError for a run that has no model yet.
    """
    path = Path(source)
    if not (path / "run.json").is_file():
        return source
    if not (path / "model").is_dir():
        go_on = f"--resume {shlex.quote(str(path))}"
        raise FileNotFoundError(f"{path} is a run that has no model yet: finish it first ({go_on}).")
    return path / "model"
