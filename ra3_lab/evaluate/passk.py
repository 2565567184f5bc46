"""pass@k without bias, and intervals over tasks and seeds.

pass@k is the chance that at least one of k samples of a task is right. With n >= k samples of which c are
right, 1 - C(n-c, k) / C(n, k) is its unbiased estimate (Chen et al. 2021, "Evaluating Large Language Models
Trained on Code", section 2.1). The plug-in 1 - (1 - c/n)^k is biased low and is not offered.

Intervals over tasks alone are percentile bootstraps. The task is the unit that is drawn again, never the sample:
samples of one task are not independent. Intervals over seeds and tasks are by Student's t (`crossed_mean_ci`), since
a bootstrap over three seeds is too narrow by sqrt(2/3).
"""

from __future__ import annotations

from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Interval(NamedTuple):
    """A mean and the ends of its interval, in the unit of the values."""

    mean: float
    low: float
    high: float


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased pass@k of one task: 1 - C(n-c, k) / C(n, k), in 0..1.

    n: samples drawn; c: those that passed; k: samples allowed. Computed as (C(n,k) - C(n-c,k)) / C(n,k) in
    whole numbers with one rounding at the end, so nothing overflows or cancels. ValueError unless 0 <= c <= n
    and 1 <= k <= n.

    >>> pass_at_k(n=4, c=1, k=1), pass_at_k(n=4, c=1, k=2), pass_at_k(n=4, c=3, k=2)
    (0.25, 0.5, 1.0)
    """
    n, c, k = int(n), int(c), int(k)
    if not 0 <= c <= n:
        raise ValueError(f"c is {c} of n = {n} samples; it must be from 0 to n")
    if not 1 <= k <= n:
        raise ValueError(f"k is {k} with n = {n} samples; it must be from 1 to n: draw more samples or lower k")
    draws = comb(n, k)
    return (draws - comb(n - c, k)) / draws


def pass_at_k_tasks(correct: ArrayLike, k: int) -> NDArray[np.float64]:
    """pass@k of each task, (tasks,) float64, from `correct`: (tasks, n) bool, rows tasks, columns samples.

    Their mean is the pass@k of the set; `bootstrap_ci` takes them as they are. ValueError for another shape,
    for no tasks, for values that are not 0 or 1, and for k outside 1..n.

    >>> pass_at_k_tasks([[True, False, False, False], [True, True, True, False]], k=2).tolist()
    [0.5, 1.0]
    """
    table = np.asarray(correct)
    if table.ndim != 2 or table.shape[0] == 0:
        raise ValueError(f"correct has shape {table.shape}; it must be (tasks, samples) with at least one task")
    if not np.isin(table, (0, 1)).all():
        raise ValueError("correct must hold True and False (or 0 and 1) only; leave out tasks without a verdict")
    n = table.shape[1]
    by_count = {c: pass_at_k(n, c, k) for c in np.unique(table.sum(axis=1)).tolist()}
    return np.array([by_count[c] for c in table.sum(axis=1).tolist()], dtype=np.float64)


def _check(values: NDArray[np.float64], level: float, draws: int) -> None:
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError("the values must be finite and at least one")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1, for example 0.95")
    if draws < 1:
        raise ValueError(f"draws is {draws}; it must be at least 1")


def _counts(rng: np.random.Generator, units: int, draws: int) -> NDArray[np.float64]:
    """How often each unit is drawn: (draws, units), each row adding to `units`."""
    return rng.multinomial(units, np.full(units, 1 / units), size=draws).astype(np.float64)


def _interval(mean: float, resampled: NDArray[np.float64], level: float) -> Interval:
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(mean), float(low), float(high))


def bootstrap_ci(per_task_values: ArrayLike, level: float = 0.95, draws: int = 2000, seed: int = 0) -> Interval:
    """Mean over tasks with its percentile bootstrap interval; tasks are drawn with replacement.

    per_task_values: (tasks,), one value a task, for example from `pass_at_k_tasks` (average seeds first). The
    same seed gives the same interval. ValueError for another shape, no tasks, NaN, or a level outside (0, 1).

    >>> bootstrap_ci([0.5, 0.5, 0.5])
    Interval(mean=0.5, low=0.5, high=0.5)
    """
    values = np.asarray(per_task_values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"per_task_values has shape {values.shape}; it must be (tasks,)")
    _check(values, level, draws)
    counts = _counts(np.random.default_rng(seed), values.size, draws)
    return _interval(values.mean(), counts @ values / values.size, level)


def student_t(level: float, freedom: float) -> float:
    """Half-width, in standard errors, of Student's two-sided interval at `level`; `freedom` need not be whole.

    By the angle: with t = sqrt(freedom) tan(x), x has density proportional to cos(x)^(freedom - 1).

    >>> [round(student_t(0.95, freedom), 3) for freedom in (1, 2, 4, 200)]
    [12.706, 4.303, 2.776, 1.972]
    """
    angle = np.linspace(0, np.pi / 2, 40_001)
    density = np.cos(angle) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return float(np.sqrt(freedom) * np.tan(np.interp(level, mass / mass[-1], angle)))


def crossed_mean_ci(values: ArrayLike, level: float = 0.95) -> Interval:
    """Mean over seeds and tasks, with an interval that doubts both.

    values: (seeds, tasks). Seeds and tasks are crossed random effects: with the mean squares between seeds, between
    tasks and of the rest, and t the quantile of Student's distribution at S - 1 and at T - 1 degrees of freedom,

        half^2 = (t_S^2 MS_seeds + t_T^2 max(MS_tasks - MS_rest, 0)) / (S T).

    The sum of the two parts in squares is a little cautious. A bootstrap over a handful of seeds would be far too
    narrow: with three seeds its 95 % interval holds the truth 84 times of 100 (tests/test_passk.py simulates both).
    With one seed the interval is over tasks only, and says nothing about another training run. ValueError when
    `values` is not two-dimensional, for NaN and for a bad level.

    >>> crossed_mean_ci([[0.5, 0.5], [0.5, 0.5]])
    Interval(mean=0.5, low=0.5, high=0.5)
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2:
        raise ValueError(f"values have shape {found.shape}; they must be (seeds, tasks)")
    _check(found, level, 1)
    mean, (seeds, tasks) = float(found.mean()), found.shape
    by_seed, by_task = found.mean(axis=1) - mean, found.mean(axis=0) - mean
    rest = found - mean - by_seed[:, None] - by_task
    square = 0.0  # of half the interval
    if seeds > 1:
        square += student_t(level, seeds - 1) ** 2 * tasks * float(by_seed @ by_seed) / (seeds - 1)
    if tasks > 1:
        left = float((rest * rest).sum()) / (max(seeds - 1, 1) * (tasks - 1))
        between = max(seeds * float(by_task @ by_task) / (tasks - 1) - left, 0.0)
        square += student_t(level, tasks - 1) ** 2 * between
    half = float(np.sqrt(square / found.size))
    return Interval(mean, mean - half, mean + half)


def paired_difference_ci(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Interval:
    """Mean of a - b over seeds and tasks, with the interval of `crossed_mean_ci`.

    a, b: (seeds, tasks) of two arms scored on the same tasks; row i of both is the pair trained with seed i. ValueError
    when shapes differ or are not two-dimensional, for NaN and for a bad level.

    >>> paired_difference_ci([[1.0, 0.5]], [[0.5, 0.0]])
    Interval(mean=0.5, low=0.5, high=0.5)
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"a has shape {first.shape}, b {second.shape}; both must be the same (seeds, tasks)")
    return crossed_mean_ci(first - second, level)
