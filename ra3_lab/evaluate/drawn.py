"""Samples kept as they are drawn, so that sampling which was stopped goes on where it was.

A line a sample as `samples.py` has them, and with each what it cost and `made_by`, which says from what it was drawn.
The file grows by whole batches: of a batch that a kill tore nothing is kept, so that the next run draws all of it in
the same company, and to the same bits, as a run without the break.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ra3_lab.evaluate.samples import Sample
from ra3_lab.runs import JsonLines, json_text, read_jsonl


@dataclass(frozen=True)
class Drawn:
    """A sample, and what a summary counts of how it was drawn."""

    sample: Sample
    """The sample."""
    tokens: int
    """Tokens sampled for it."""
    ended: bool
    """Whether it came to an end (of text, or at a stop) before the limit."""


class DrawnSamples:
    """The samples in a file; there need not be one yet. Raises FileExistsError for a file that holds anything else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made_by = ""
        try:
            self.rows = read_jsonl(path)
            foreign = not all("made_by" in row for row in self.rows) or (path.exists() and not self.rows)
            if foreign and path.stat().st_size:
                raise ValueError
        except ValueError:
            raise FileExistsError(
                f"{path} exists and holds no samples of ra3-lab eval to go on from: choose another --samples-out, or "
                "delete it if you no longer need it."
            ) from None

    def claim(self, settings: Mapping[str, Any]) -> None:
        """Say what samples are drawn from, for those to come. Raises FileExistsError where those that are there were
        drawn from anything else."""
        self.made_by = hashlib.sha256(json_text(settings).encode()).hexdigest()[:16]
        if any(row["made_by"] != self.made_by for row in self.rows):
            raise FileExistsError(
                f"{self.path} holds samples drawn with other settings, of other tasks or from another model: choose "
                "another --samples-out, or delete it if you no longer need it."
            )

    def begin(self, batches: Iterable[Sequence[str]], each: int) -> dict[str, list[Drawn]]:
        """The samples by task of those `batches` (task_ids, with `each` samples a task) of which all is there. The rest
        is taken out of the file."""
        found: dict[str, list[Drawn]] = defaultdict(list)
        for row in self.rows:
            sample = Sample(row["task_id"], row["completion"], whole=False, number=row["sample"])
            found[sample.task_id].append(Drawn(sample, row["tokens"], row["ended"]))
        whole = [batch for batch in batches if all(len(found[name]) == each for name in batch)]
        kept = {name: found[name] for batch in whole for name in batch}
        staging = self.path.with_name(self.path.name + ".tmp")
        staging.unlink(missing_ok=True)
        self._append(staging, kept)
        os.replace(staging, self.path)
        return kept

    def add(self, drawn: Mapping[str, Sequence[Drawn]]) -> None:
        """Append a batch, and bring it to the disk. Raises OSError with the reason where it cannot be written."""
        self._append(self.path, drawn)

    def _append(self, path: Path, drawn: Mapping[str, Sequence[Drawn]]) -> None:
        append = JsonLines(path)
        for one in (one for row in drawn.values() for one in row):
            append({**one.sample.record(), "tokens": one.tokens, "ended": one.ended, "made_by": self.made_by})
        append.sync()
