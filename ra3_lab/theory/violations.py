"""Theorem 2 where its assumptions fail: the number of tasks it asks for, tried on demonstrations that break them.

- *correlated*: each demonstration repeats the task of the one before with some probability. Repeats rule nothing out.
- *failing experts*: each demonstration fails with some probability (the expert's own return is low), and then no subset
  looks too small beside it.
- *misleading experts*: with some probability the demonstration comes from a task outside p(M), which needs skills that
  nobody asks for. Bad subsets still go; but soon no subset of size k is consistent with everything seen, and there
  is nothing left to keep.
- *overlapping options*: every skill comes in several copies. The union bound pays for each; the tasks needed hardly
  change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ra3_lab.theory.checks import check_count, check_probability
from ra3_lab.theory.closed_forms import expert_tasks_bound
from ra3_lab.theory.programs import SKILLS, programs, skill_model
from ra3_lab.theory.pruning import MOST_USED, delta_table, first_draws, rare_usage, smallest_size, survival_times
from ra3_lab.theory.records import record

REPEATED = (0.0, 0.5, 0.8, 0.9, 0.95)
FAILED = (0.0, 0.5, 0.8, 0.9, 0.95)
MISLED = (0.0, 0.002, 0.01, 0.05, 0.2)
COPIES = (1, 2, 3, 4)
KINDS = ("correlated", "failing experts", "misleading experts", "overlapping options")


@record
@dataclass(frozen=True)
class ViolationRow:
    """One broken assumption at one strength."""

    kind: str
    """Which assumption."""
    strength: float
    """Probability of a broken demonstration, or copies of each skill."""
    predicted: float
    """N that theorem 2 asks for, as if its assumptions held."""
    needed: float
    """N at which the measured failure rate is delta; inf: not in any number of tasks."""
    failure: float
    """Share of repeats in which a bad subset is consistent with the predicted N tasks."""
    nothing_left: float
    """Share of repeats in which no subset of size k is consistent with the predicted N tasks."""


@record
@dataclass(frozen=True)
class ViolationRecord:
    """What `violations_lab` measured."""

    sigma: float
    """Share of tasks that makes a subset bad."""
    delta: float
    """Failure rate that the theorem allows."""
    k: int
    """|Z_eps|."""
    options: int
    """|Z|, copies not counted."""
    repeats: int
    """Draws of the expert tasks."""
    seed: int
    """Of those draws."""
    rows: tuple[ViolationRow, ...]
    """By kind, then strength."""

    def of(self, kind: str) -> list[ViolationRow]:
        """The rows of one kind."""
        return [row for row in self.rows if row.kind == kind]


def violations_lab(
    sigma: float = 0.1, delta: float = 0.05, epsilon: float = 0.02, used: int = 4, repeats: int = 1000, seed: int = 0
) -> ViolationRecord:
    """The program world of `pruning_lab`, skills as options, with demonstrations that break one assumption at a
    time. ValueError unless `used` leaves a task outside p(M), 1 to 4."""
    check_count("repeats", repeats, 2)
    if not 1 <= used < MOST_USED or used != int(used):
        raise ValueError(
            f"used={used}: needs a whole number, 1 to {MOST_USED - 1}; misleading experts need a task outside p(M)."
        )
    rng = np.random.default_rng(seed)
    usage = rare_usage(used, sigma)
    every = np.full(len(SKILLS), 1 / len(SKILLS))
    model = skill_model(programs(SKILLS, tuple(every), (1, 1)))  # its tasks: those of all skills
    asked = programs(SKILLS, usage, (1, 1)).weights[programs(SKILLS, tuple(every), (1, 1)).weights > 0]
    masks, errors = delta_table(model)
    k = smallest_size(masks, errors[:, asked > 0], epsilon)
    sized = masks.sum(1) == k
    over = errors > epsilon
    bad = over @ asked >= sigma - 1e-12
    foreign = np.where(asked > 0, 0.0, 1.0) / (asked == 0).sum()
    predicted = expert_tasks_bound(k, len(model.options), sigma, delta)
    rows = []

    def add(kind: str, strength: float, asks: float, times: np.ndarray, gone: np.ndarray) -> None:
        limit, ordered = math.ceil(asks), np.sort(times)
        needed = float(ordered[math.ceil((1 - delta) * repeats - 1e-9) - 1])
        rows.append(
            ViolationRow(kind, strength, asks, needed, float((times > limit).mean()), float((gone <= limit).mean()))
        )

    for repeat in REPEATED:
        fresh = first_draws(asked, repeats, rng)
        times = spread_out(survival_times(over[sized & bad], fresh), repeat, rng)
        add("correlated", repeat, predicted, times, survival_times(over[sized], fresh))
    for failing in FAILED:
        # A failed demonstration is a kind of task on which nothing shows.
        first = first_draws(np.r_[asked * (1 - failing), failing], repeats, rng)
        shows = np.column_stack([over, np.zeros(len(over), bool)])
        add("failing experts", failing, predicted, *(survival_times(shows[sized & b], first) for b in (bad, True)))
    for misled in MISLED:
        first = first_draws(asked * (1 - misled) + foreign * misled, repeats, rng)
        add("misleading experts", misled, predicted, *(survival_times(over[sized & b], first) for b in (bad, True)))
    for copies in COPIES:
        # k options out of all copies are some ceil(k / copies) .. k different skills.
        reach = (masks.sum(1) <= k) & (masks.sum(1) >= math.ceil(k / copies))
        asks = expert_tasks_bound(k, copies * len(model.options), sigma, delta)
        first = first_draws(asked, repeats, rng)
        add("overlapping options", copies, asks, *(survival_times(over[reach & b], first) for b in (bad, True)))
    return ViolationRecord(sigma, delta, k, len(model.options), repeats, seed, tuple(rows))


def spread_out(fresh: np.ndarray, repeat: float, rng: np.random.Generator) -> np.ndarray:
    """(R,) at which demonstration the n-th fresh one comes, n = `fresh` (R,), if each later one is a repeat with
    `repeat`.

    n plus the repeats between them, negative binomial with n - 1 successes.

    >>> spread_out(np.array([1.0, np.inf]), 0.5, np.random.default_rng(0)).tolist()
    [1.0, inf]
    """
    check_probability("repeat", repeat)
    if repeat == 1:
        raise ValueError("repeat=1.0: needs less than 1, or only one task is ever seen.")
    if repeat == 0:
        return fresh
    between = np.where(np.isfinite(fresh), fresh - 1, 0)
    extra = np.zeros(len(fresh))
    some = between > 0
    extra[some] = rng.negative_binomial(between[some], 1 - repeat)
    return fresh + extra
