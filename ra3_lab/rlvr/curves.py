"""Learning curves of runs, and what they come to: area under the curve, updates to a level, final value.

Runs that differ in nothing but their seed are one group; intervals are over its seeds, by Student's t (with three seeds
it is wide, and says so). One seed has no interval.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ra3_lab.evaluate.passk import student_t
from ra3_lab.runs import read_jsonl
from ra3_lab.runs.directory import read_run


class Estimate(NamedTuple):
    """A mean over seeds with its 95 % interval; both ends are nan with one seed."""

    mean: float
    low: float
    high: float


def over_seeds(values: Sequence[float]) -> Estimate:
    """Mean and t interval of one value per seed. Raises ValueError without any.

    >>> [round(x, 3) for x in over_seeds([0.5, 0.6, 0.7])]
    [0.6, 0.352, 0.848]
    """
    if not len(values):
        raise ValueError("no values: an estimate needs at least one seed.")
    mean, n = float(np.mean(values)), len(values)
    if n == 1:
        return Estimate(mean, math.nan, math.nan)
    half = student_t(0.95, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half)


def rate_over_seeds(values: Sequence[float]) -> Estimate:
    """`over_seeds` of rates: the interval ends where rates do, at 0 and 1.

    >>> [round(x, 3) for x in rate_over_seeds([0.0, 0.0, 0.3])]
    [0.1, 0.0, 0.53]
    """
    mean, low, high = over_seeds(values)
    return Estimate(mean, float(np.maximum(low, 0.0)), float(np.minimum(high, 1.0)))  # of nan they leave nan


@dataclass(frozen=True)
class Curve:
    """Validation pass@1 of one run."""

    seed: int
    """Training seed."""
    updates: tuple[int, ...]
    """When validation was looked at."""
    values: tuple[float, ...]
    """pass@1 there."""

    @property
    def area(self) -> float:
        """Area under the curve divided by its length: the mean height on the way (trapezoids)."""
        if len(self.updates) == 1:
            return self.values[0]
        widths, values = np.diff(self.updates), np.array(self.values)
        return float((widths * (values[1:] + values[:-1]) / 2).sum() / widths.sum())

    @property
    def final(self) -> float:
        """The last value."""
        return self.values[-1]

    def until(self, update: int) -> Curve:
        """The looks up to this update."""
        looks = sum(at <= update for at in self.updates)
        return Curve(self.seed, self.updates[:looks], self.values[:looks])

    def steps_to(self, level: float) -> float:
        """Updates until the curve first reaches the level, straight lines between looks; infinity if it never does.

        >>> Curve(0, (0, 10, 20), (0.0, 0.4, 0.8)).steps_to(0.6)
        15.0
        """
        previous: tuple[int, float] | None = None
        for update, value in zip(self.updates, self.values, strict=True):
            if value >= level:
                if previous is None:
                    return float(update)
                share = (level - previous[1]) / (value - previous[1])
                return previous[0] + share * (update - previous[0])
            previous = (update, value)
        return math.inf


@dataclass(frozen=True)
class CurveGroup:
    """The curves of runs that differ in their seed only."""

    label: str
    """What the runs start from, or their folder's name where that does not tell groups apart."""
    curves: tuple[Curve, ...]
    """One per seed."""

    def band(self) -> list[tuple[int, Estimate]]:
        """Mean and interval at every update at which all seeds were looked at."""
        common = sorted(set.intersection(*(set(curve.updates) for curve in self.curves)))
        at = [dict(zip(curve.updates, curve.values, strict=True)) for curve in self.curves]
        return [(update, rate_over_seeds([values[update] for values in at])) for update in common]

    def until(self, update: int) -> CurveGroup:
        """The looks up to this update."""
        return CurveGroup(self.label, tuple(curve.until(update) for curve in self.curves))

    def summary(self, level: float) -> dict[str, Any]:
        """Plain data: area, final value, updates to the level (median over seeds; infinite where half of them
        never do), all up to the last update at which every run was looked at."""
        curves = self.until(common_end([self])).curves
        reached = [curve.steps_to(level) for curve in curves]
        return {
            "label": self.label,
            "seeds": [curve.seed for curve in curves],
            "updates": curves[0].updates[-1],
            "area": rate_over_seeds([curve.area for curve in curves])._asdict(),
            "final": rate_over_seeds([curve.final for curve in curves])._asdict(),
            "steps_to_level": float(np.median(reached)),
            "reached_level": sum(map(math.isfinite, reached)),
        }


def common_end(groups: Sequence[CurveGroup]) -> int:
    """The last update at which every run of all groups was looked at: what comes after it cannot be compared.

    Raises ValueError where there is none.

    >>> long, short = Curve(0, (0, 10, 20), (0.1, 0.2, 0.3)), Curve(0, (0, 10), (0.1, 0.4))
    >>> common_end([CurveGroup("a", (long,)), CurveGroup("b", (short,))])
    10
    """
    looks = [set(curve.updates) for group in groups for curve in group.curves]
    if not (common := set.intersection(*looks)):
        raise ValueError("no update at which all runs were looked at: validate them at the same updates.")
    return max(common)


def read_groups(paths: Sequence[Path]) -> list[CurveGroup]:
    """The groups of these run directories. Raises ValueError for a run without validation, for a seed given twice, and
    for runs on other validation tasks: their values cannot be compared."""
    found: dict[str, list[tuple[Path, dict[str, Any], Curve]]] = {}
    hashes: dict[str, Path] = {}
    for path in paths:
        record = read_run(path)
        if record["command"] != "rlvr":
            raise ValueError(f"{path} is a run of `ra3-lab {record['command']}`: curves are those of rlvr runs.")
        rows = [row for row in read_jsonl(path / "metrics.jsonl") if row["stage"] == "validation"]
        if not rows:
            raise ValueError(f"{path} has no look at validation yet: run it with --validation.")
        settings = record["settings"]
        hashes.setdefault(f"{record['inputs']['validation_hash']} {settings['validation_tasks']}", path)
        curve = Curve(settings["seed"], tuple(r["update"] for r in rows), tuple(float(r["pass@1"]) for r in rows))
        free = ("seed", "checkpoint_every", "threads", "device", "force", "json")
        alike = {key: value for key, value in settings.items() if key not in free}
        found.setdefault(json.dumps([alike, record["inputs"]["model_sha256"]], sort_keys=True), []).append(
            (path, settings, curve)
        )
    if len(hashes) > 1:
        one, other = list(hashes.values())[:2]
        raise ValueError(f"{one} and {other} were validated on other tasks: their pass@1 cannot be compared.")
    groups = []
    labels = _labels([(members[0][1]["init"], members[0][0]) for members in found.values()])
    for label, members in zip(labels, found.values(), strict=True):
        seeds = [curve.seed for _, _, curve in members]
        if len(set(seeds)) < len(seeds):
            twice = next(seed for seed in seeds if seeds.count(seed) > 1)
            raise ValueError(f"seed {twice} of {members[0][0]} is there twice: give each run once.")
        groups.append(CurveGroup(label, tuple(curve for _, _, curve in sorted(members, key=lambda m: m[2].seed))))
    return groups


def _labels(groups: Sequence[tuple[str, Path]]) -> list[str]:
    """A label for each group, of which is given what its runs start from, and the folder of one: the first of these
    names that no other group has among its own, so that no two are alike.

    >>> _labels([("embedded", Path("out/ra3")), ("embedded", Path("out/x")), ("runs/ra3", Path("out/y"))])
    ['out/ra3', 'x', 'y']
    """
    names = [(Path(init).name, path.name, str(path)) for init, path in groups]
    taken = Counter(name for own in names for name in set(own))
    return [next((name for name in own if taken[name] == 1), own[-1]) for own in names]
