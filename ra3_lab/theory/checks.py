"""Checks of parameters: each error names the value, the allowed range and what to do."""

from __future__ import annotations

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
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}={value}: needs a finite number above 0.")


def check_count(name: str, value: int, low: int = 1, high: int | None = None) -> None:
    """A whole number from `low` to `high`. ValueError otherwise."""
    if value != int(value) or value < low or (high is not None and value > high):
        allowed = f"{low} or more" if high is None else f"{low} to {high}"
        raise ValueError(f"{name}={value}: needs a whole number, {allowed}.")


def check_durations(durations: Sequence[float] | np.ndarray, probabilities: Sequence[float] | np.ndarray) -> None:
    """A law of tau: durations of at least one step with probabilities that sum to 1. ValueError otherwise."""
    taus, weights = np.asarray(durations, float), np.asarray(probabilities, float)
    if taus.ndim != 1 or taus.shape != weights.shape or not len(taus):
        raise ValueError(
            f"durations of shape {taus.shape}, probabilities {weights.shape}: needs two equal lists, not empty."
        )
    if taus.min() < 1:
        raise ValueError(f"tau={taus.min():g}: needs tau >= 1; an option runs at least one primitive action.")
    if weights.min() < 0 or abs(weights.sum() - 1) > 1e-9:
        raise ValueError(f"probabilities of tau sum to {weights.sum():g}: needs numbers of 0 or more that sum to 1.")


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
