"""A run as seen by the processes that train along and do not write: `RunDirectory` without the pen.

The first process has the real one. The others keep their place in the same loop, read the checkpoint to go on from in
the run's folder, which they must see, and stop when it stops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ra3_lab.runs.signals import Interrupted, StopRequest

if TYPE_CHECKING:
    from ra3_lab.runs.checkpoint import TrainerState


class Follower:
    """Takes what a run would keep, and keeps nothing."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path, self.record = path, record
        self.stop: StopRequest = StopRequest()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *details: object) -> None:
        pass

    def metrics(self, record: dict[str, Any], /) -> None:
        """Nothing: the first process keeps it."""

    traces = metrics

    def latest(self) -> TrainerState | None:
        """The state to go on from, as the first process reads it; ValueError where this one sees another."""
        from ra3_lab.distributed import require_same
        from ra3_lab.runs.checkpoint import latest_checkpoint, load_state

        found = latest_checkpoint(self.path / "checkpoints")
        state = load_state(found) if found else None
        require_same("the checkpoint", state and state.step)
        return state

    def history(self) -> list[dict[str, Any]]:
        """Nothing: the first process has the metrics."""
        return []

    def after_update(self, step: int, capture: Callable[[], TrainerState], last: bool = False) -> None:
        """Stop with the others, once the first process has saved; raises Interrupted."""
        from ra3_lab.distributed import everyone

        if asked := max(everyone(self.stop.signum or 0)):
            everyone(None)
            raise Interrupted(self.standing(), asked)

    def note_logs(self, state: TrainerState) -> None:
        """Nothing: the first process has the logs."""

    def save(self, state: TrainerState) -> None:
        """Nothing: the first process saves."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Nothing: the first process writes the summary."""

    def standing(self) -> str:
        """Where the run stands and how to go on."""
        return f"stopped; go on from its last checkpoint with: {self.record['go_on']}"
