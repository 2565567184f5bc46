"""Theorem 1: regret splits into pruning error and RL error, exactly.

    E_M[ V*_M(s0) - V^pi_M(s0) ] = E_M[ Delta(M, Z') ] + E_M[ V*_{M,Z'}(s0) - V^pi_M(s0) ],   Delta = V*_M - V*_{M,Z'}

V* of the full problem, V* inside Z' and V^pi come from three separate exact solves. The lab trades the two off: a
large set of short actions has no pruning error and makes RL work long, a small set of long ones the reverse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ra3_lab.theory.checks import check_count
from ra3_lab.theory.mdp import OptionModel, option_model, primitive_options
from ra3_lab.theory.records import floats, record
from ra3_lab.theory.solve import bellman, evaluate, greedy, solve
from ra3_lab.theory.worlds import rooms_family, walks


@dataclass(frozen=True)
class Regret:
    """The split of one policy's regret, expected over tasks; all in units of return at s_0."""

    regret: float
    """E_M[V*_M - V^pi_M]."""
    pruning: float
    """E_M[Delta(M, Z')], what no policy over Z' can win back."""
    learning: float
    """E_M[V*_{M,Z'} - V^pi_M], the RL error inside Z'."""


def decompose(full: OptionModel, subset: Sequence[int] | np.ndarray, policy: np.ndarray) -> Regret:
    """Theorem 1 for a policy over the kept options.

    `full` holds every option of Z (its V* is the optimum to compare with), `subset` the indices of Z', and `policy`
    (M, S) or (M, S, |Z'|) is a policy over Z', indices or probabilities counted within the subset.

    >>> from ra3_lab.theory.mdp import two_state_family
    >>> family = two_state_family()
    >>> model = option_model(family, primitive_options(family))
    >>> decompose(model, [0], np.zeros((1, 2), int))  # only `stay`: the paying state is out of reach
    Regret(regret=1.0, pruning=1.0, learning=0.0)
    """
    kept = full.restrict(subset)
    best = float(solve(full).start_values @ full.weights)
    inside = float(solve(kept).start_values @ full.weights)
    value = float(evaluate(kept, policy) @ full.start @ full.weights)
    return Regret(best - value, best - inside, inside - value)


@record
@dataclass(frozen=True)
class RegretCurve:
    """One kept set Z' and how its regret falls with the RL budget."""

    name: str
    """What the set holds."""
    options: int
    """|Z'|."""
    modulus: float
    """Contraction factor of its Bellman operator on the states in which it decides."""
    pruning: float
    """E_M[Delta(M, Z')], constant in the budget."""
    learning: tuple[float, ...]
    """RL error inside Z' after each number of sweeps."""
    regret: tuple[float, ...]
    """The whole regret, from V* of the full problem and V^pi alone."""


@record
@dataclass(frozen=True)
class RegretRecord:
    """What `regret_lab` measured."""

    gamma: float
    """Discount per primitive step."""
    slip: float
    """Probability that a step in the rooms goes nowhere."""
    best: float
    """E_M[V*_M(s0)]."""
    sweeps: tuple[int, ...]
    """RL budgets: sweeps of value iteration before acting greedily."""
    curves: tuple[RegretCurve, ...]
    """One a kept set."""
    largest_gap: float
    """Largest |regret - pruning - learning|: rounding only."""


def regret_lab(gamma: float = 0.95, slip: float = 0.1, sweeps: int = 24, kept_walks: int = 4) -> RegretRecord:
    """Four rooms, three kept sets: single steps; the first `kept_walks` walks; all seven walks (each with `dig`).

    The RL inside Z' is value iteration from 0 stopped after 0 .. `sweeps` sweeps, then greedy, ties shared evenly.
    """
    check_count("sweeps", sweeps, 1, 200)
    family = rooms_family(gamma, slip)
    options = walks(family)
    check_count("kept_walks", kept_walks, 1, len(options))
    full = option_model(family, [*options, *primitive_options(family)])
    steps = list(range(len(options), len(full.options)))
    dig = steps[-1]
    sets: Mapping[str, list[int]] = {
        "single steps": steps,
        f"{kept_walks} walks": [*range(kept_walks), dig],
        f"all {len(options)} walks": [*range(len(options)), dig],
    }
    best = float(solve(full).start_values @ full.weights)
    curves, gap = [], 0.0
    for name, subset in sets.items():
        curve = _curve(full, name, subset, best, sweeps)
        gap = max(gap, *(abs(r - curve.pruning - x) for r, x in zip(curve.regret, curve.learning, strict=True)))
        curves.append(curve)
    return RegretRecord(gamma, slip, best, tuple(range(sweeps + 1)), tuple(curves), gap)


def _curve(full: OptionModel, name: str, subset: Sequence[int], best: float, sweeps: int) -> RegretCurve:
    kept = full.restrict(subset).decision_states()
    inside = float(solve(kept).start_values @ kept.weights)
    values = np.zeros(kept.reward.shape[:2])
    reached = []
    for _ in range(sweeps + 1):
        reached.append(float(evaluate(kept, greedy(kept, values)) @ kept.start @ kept.weights))
        values = bellman(kept, values)
    got = np.array(reached)
    return RegretCurve(name, len(subset), kept.modulus, best - inside, floats(inside - got), floats(best - got))
