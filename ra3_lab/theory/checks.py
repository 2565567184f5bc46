"""Checks of parameters: each error names the value, the allowed range and what to do.

Comparisons say what is allowed, not what is forbidden: NaN compares as false, and so it fails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def check_discount(gamma: float, name: str = "gamma") -> None:
    """A discount per step, 0 < gamma < 1. ValueError otherwise.

    >>> check_discount(1.0)
    Traceback (most recent call last):
    ValueError: gamma=1.0: needs 0 < gamma < 1; at 1 sums over an endless horizon need not be finite.
    """
    if not 0 < gamma < 1:
        raise ValueError(f"{name}={gamma}: needs 0 < {name} < 1; at 1 sums over an endless horizon need not be finite.")


def check_share(name: str, value: float) -> None:
    """A probability strictly between 0 and 1. ValueError otherwise."""
    if not 0 < value < 1:
        raise ValueError(f"{name}={value}: needs 0 < {name} < 1; the bounds divide by it or take its logarithm.")


def check_probability(name: str, value: float) -> None:
    """A probability, 0 and 1 allowed. ValueError otherwise."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name}={value}: a probability, needs 0 <= {name} <= 1.")


def check_positive(name: str, value: float) -> None:
    """A number above 0. ValueError otherwise."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name}={value}: needs a finite number above 0.")


def check_count(name: str, value: int, low: int = 1, high: int | None = None) -> None:
    """A whole number from `low` to `high`. ValueError otherwise.

    >>> check_count("k", float("inf"))
    Traceback (most recent call last):
    ValueError: k=inf: needs a whole number, 1 or more.
    """
    if not (low <= value < math.inf and (high is None or value <= high) and value == int(value)):
        allowed = f"{low} or more" if high is None else f"{low} to {high}"
        raise ValueError(f"{name}={value}: needs a whole number, {allowed}.")


def check_durations(durations: Sequence[float] | np.ndarray, probabilities: Sequence[float] | np.ndarray) -> None:
    """A law of tau: finite durations of at least one step, probabilities that sum to 1. ValueError otherwise."""
    taus, weights = np.asarray(durations, float), np.asarray(probabilities, float)
    if taus.ndim != 1 or taus.shape != weights.shape or not len(taus):
        raise ValueError(
            f"durations of shape {taus.shape}, probabilities {weights.shape}: needs two equal lists, not empty."
        )
    for tau in (taus.min(), taus.max()):
        check_duration("tau", tau)
    if not is_distribution(weights):
        raise ValueError(f"probabilities of tau sum to {weights.sum():g}: needs numbers of 0 or more that sum to 1.")


def check_duration(name: str, tau: float) -> None:
    """A finite duration, tau >= 1. ValueError otherwise."""
    if not 1 <= tau < math.inf:
        raise ValueError(f"{name}={tau:g}: needs tau >= 1, finite; an option runs at least one primitive action.")


def is_distribution(rows: np.ndarray) -> bool:
    """Whether each row over the last axis holds numbers of 0 or more that sum to 1 (to 1e-9).

    >>> is_distribution(np.array([0.5, 0.5])), is_distribution(np.array([0.5, np.nan]))
    (True, False)
    """
    return bool(rows.min() >= 0 and np.abs(rows.sum(-1) - 1).max() <= 1e-9)


def check_subset(subset: Sequence[int] | np.ndarray, size: int) -> np.ndarray:
    """Indices of kept options, sorted and without repeats. ValueError for an empty or foreign one.

    >>> check_subset([2, 0, 2], 3)
    array([0, 2])
    """
    kept = np.unique(np.asarray(subset, dtype=int))
    if not len(kept):
        raise ValueError(
            f"empty subset of options: keep at least one of the {size}; without actions there is no value."
        )
    if kept[0] < 0 or kept[-1] >= size:
        raise ValueError(f"subset {kept.tolist()}: needs indices from 0 to {size - 1}, one for each option.")
    return kept
