"""Closed forms: discounts of durations, the two bounds of the theory, and the sticky prior's KL. Plain numbers.

Sections refer to "the theory" and "the temporal ELBO" of docs/theory.md. The prior's functions have the names and the
arguments of `ra3_lab/midtrain/elbo.py`, which computes them in torch for training; a test holds the two equal.

Departs from the paper: the number of expert tasks comes from a union bound over *subsets* of size k, which is sound
as it stands; the paper states the order k log(|Z| / delta) / sigma, here `expert_tasks_paper`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ra3_lab.theory.checks import (
    check_count,
    check_discount,
    check_duration,
    check_durations,
    check_positive,
    check_probability,
    check_share,
    is_distribution,
)

# Durations and horizon (theorem 3).


def duration_discount(gamma: float, durations: Sequence[float], probabilities: Sequence[float]) -> float:
    """E[gamma^tau] of a law of tau, the factor by which an option shrinks what comes after it.

    >>> round(duration_discount(0.9, [1], [1.0]), 12)
    0.9
    >>> round(duration_discount(0.9, [1, 3], [0.5, 0.5]), 6)  # (0.9 + 0.729) / 2
    0.8145
    """
    check_discount(gamma)
    check_durations(durations, probabilities)
    return float(np.asarray(probabilities, float) @ gamma ** np.asarray(durations, float))


def geometric_discount(gamma: float, mean: float) -> float:
    """E[gamma^tau] where tau is geometric on 1, 2, ... with this mean: p gamma / (1 - (1 - p) gamma), p = 1 / mean.

    By Jensen at least gamma^mean: an option of random length shrinks the future less than one of that fixed length.

    >>> round(geometric_discount(0.9, 1.0), 12), round(geometric_discount(0.9, 4.0), 6)
    (0.9, 0.692308)
    """
    check_discount(gamma)
    check_duration("mean", mean)
    stop = 1 / mean
    return stop * gamma / (1 - (1 - stop) * gamma)


def effective_horizon(gbar: float) -> float:
    """1 / (1 - gbar): how many decisions ahead matter.

    >>> round(effective_horizon(0.9), 9)
    10.0
    """
    check_discount(gbar, "gbar")
    return 1 / (1 - gbar)


def option_reward_cap(gamma: float, tau: float) -> float:
    """(1 - gamma^tau) / (1 - gamma): most discounted reward inside one option, in units of the largest primitive one.

    >>> round(option_reward_cap(0.9, 1), 12), round(option_reward_cap(0.9, 3), 12)
    (1.0, 2.71)
    """
    check_discount(gamma)
    check_durations([tau], [1.0])
    return (1 - gamma**tau) / (1 - gamma)


def value_iteration_bound(gbar: float, r_max: float, epsilon: float) -> int:
    """Theorem 3: sweeps after which value iteration from V_0 = 0 is within epsilon of V* in every state.

    The smallest whole N >= 1 / (1 - gbar) * ln( R_max / (epsilon (1 - gbar)) ). R_max is the largest expected
    discounted reward collected *within one option*, epsilon is in the same unit.

    >>> value_iteration_bound(0.5, 1.0, 0.01)  # 2 ln 200 = 10.6
    11
    >>> value_iteration_bound(0.5, 1.0, 5.0)  # V_0 = 0 is close enough already
    0
    """
    check_discount(gbar, "gbar")
    check_positive("epsilon", epsilon)
    if not 0 <= r_max < math.inf:
        raise ValueError(f"r_max={r_max}: the largest size of an option's reward, needs a finite number of 0 or more.")
    too_far = r_max / (epsilon * (1 - gbar))  # distance of V_0 = 0 from V*, at most, in units of epsilon
    return math.ceil(math.log(too_far) / (1 - gbar)) if too_far > 1 else 0


# Pruning (theorem 2).


def expert_tasks_bound(k: int, options: int, sigma: float, delta: float) -> float:
    """Theorem 2: N >= (k ln|Z| + ln(1 / delta)) / sigma expert tasks.

    With that many independent tasks, the chance that any (epsilon, sigma)-suboptimal subset of size k is still
    consistent with all of them is at most delta.

    >>> round(expert_tasks_bound(3, 8, 0.1, 0.05), 2)  # (3 ln 8 + ln 20) / 0.1
    92.34
    """
    _check_pruning(k, options, sigma, delta)
    return (k * math.log(options) + math.log(1 / delta)) / sigma


def expert_tasks_sharp(k: int, options: int, sigma: float, delta: float) -> float:
    """The same union bound without its two roundings: (ln C(|Z|, k) + ln(1 / delta)) / -ln(1 - sigma).

    C(|Z|, k) <= |Z|^k subsets, each consistent with a task with probability at most 1 - sigma <= e^-sigma.

    >>> round(expert_tasks_sharp(3, 8, 0.1, 0.05), 2)
    66.64
    """
    _check_pruning(k, options, sigma, delta)
    return (math.log(math.comb(options, k)) + math.log(1 / delta)) / -math.log1p(-sigma)


def expert_tasks_paper(k: int, options: int, sigma: float, delta: float) -> float:
    """The paper's order k log(|Z| / delta) / sigma, with constant 1; never below `expert_tasks_bound` for k >= 1.

    >>> round(expert_tasks_paper(3, 8, 0.1, 0.05), 2)
    152.26
    """
    _check_pruning(k, options, sigma, delta)
    return k * math.log(options / delta) / sigma


def failure_bound(tasks: float, k: int, options: int, sigma: float) -> float:
    """Theorem 2 read the other way: |Z|^k e^(-sigma N), cut at 1, bounds the chance that a bad subset survives N tasks.

    >>> round(failure_bound(expert_tasks_bound(3, 8, 0.1, 0.05), 3, 8, 0.1), 9)
    0.05
    """
    _check_pruning(k, options, sigma, 0.5)
    if not tasks >= 0:
        raise ValueError(f"tasks={tasks}: a number of expert tasks, needs 0 or more.")
    return min(1.0, math.exp(min(0.0, k * math.log(options) - sigma * tasks)))


def _check_pruning(k: int, options: int, sigma: float, delta: float) -> None:
    check_count("options", options)
    check_count("k", k, 1, options)
    check_share("sigma", sigma)
    check_share("delta", delta)


# The sticky prior (the temporal ELBO).


def sticky_prior(alpha: float, size: int, previous: int) -> np.ndarray:
    """(|Z|,) p(z | z_prev) = alpha [z = z_prev] + (1 - alpha) / |Z|.

    >>> sticky_prior(0.5, 2, 1).tolist()
    [0.25, 0.75]
    """
    _check_prior(alpha, size)
    prior = np.full(size, (1 - alpha) / size)
    prior[previous] += alpha
    return prior


def bernoulli_kl(a: float, b: float) -> float:
    """KL( Bern(a) || Bern(b) ) in nats, 0 < b < 1.

    >>> round(bernoulli_kl(1.0, 0.5), 6), bernoulli_kl(0.2, 0.2)
    (0.693147, 0.0)
    """
    check_probability("a", a)
    check_share("b", b)
    return sum(p * math.log(p / q) for p, q in ((a, b), (1 - a, 1 - b)) if p > 0)


def pair_kl(renew: float, choice: Sequence[float] | np.ndarray, alpha: float) -> float:
    """KL of the pair (renewed?, z) under q from the sticky prior, in nats.

    KL( Bern(rho) || Bern(1 - alpha) ) + rho ( log|Z| - H[q(z | renew)] ), `renew` is rho = q(renew), `choice` (|Z|,)
    is q(z | renew).

    >>> round(pair_kl(1.0, [1.0, 0.0], 0.5), 6)  # ln 2 to renew, ln 2 to choose
    1.386294
    """
    chosen = _check_choice(choice)
    _check_prior(alpha, len(chosen))
    return bernoulli_kl(renew, 1 - alpha) + renew * (math.log(len(chosen)) + _negative_entropy(chosen))


def marginal_kl(renew: float, choice: Sequence[float] | np.ndarray, alpha: float, previous: int) -> float:
    """KL( q(z_t) || p(z_t | z_prev) ) on z alone, in nats; at most `pair_kl`, since a renewal may draw the old z.

    >>> round(marginal_kl(1.0, [0.0, 1.0], 0.5, previous=1), 6)  # -ln 0.75: renewing to the old z looks like keeping
    0.287682
    """
    chosen = _check_choice(choice)
    check_probability("renew", renew)
    q = renew * chosen
    q[previous] += 1 - renew
    return _negative_entropy(q) - float(q @ np.log(sticky_prior(alpha, len(q), previous)))


def renewal_cost(alpha: float, size: int) -> float:
    """Nats that choosing one particular new z costs more than keeping: log(alpha |Z| / (1 - alpha)).

    The constant c of training stands for it where |Z| has no meaning.

    >>> round(renewal_cost(0.9, 10), 6)  # ln 90
    4.49981
    """
    _check_prior(alpha, size)
    return math.log(alpha * size / (1 - alpha))


def _negative_entropy(q: np.ndarray) -> float:
    return float(sum(p * math.log(p) for p in q if p > 0))


def _check_prior(alpha: float, size: int) -> None:
    check_share("alpha", alpha)
    check_count("|Z|", size)


def _check_choice(choice: Sequence[float] | np.ndarray) -> np.ndarray:
    chosen = np.asarray(choice, float)
    if chosen.ndim != 1 or not len(chosen) or not is_distribution(chosen):
        raise ValueError(f"choice={choice}: q(z | renew), needs |Z| numbers of 0 or more that sum to 1.")
    return chosen
