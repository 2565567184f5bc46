"""The theory's labs with sliders: regret, pruning, horizon. Every move recomputes the lab (`ra3_lab/theory`)
exactly."""

from __future__ import annotations

from functools import lru_cache

from ra3_lab.explore import theory
from ra3_lab.explore.explorer import Control, Explorer
from ra3_lab.explore.view import View
from ra3_lab.theory.durations import LAWS
from ra3_lab.theory.horizon import horizon_lab
from ra3_lab.theory.pruning import pruning_lab
from ra3_lab.theory.regret import regret_lab


def regret_explorer() -> Explorer:
    """Theorem 1: regret is pruning error plus RL error, on four rooms."""
    return Explorer(
        "regret-lab",
        "Regret lab",
        "Four rooms, and three sets of actions to plan with. Regret splits exactly into what the set cannot do "
        "(pruning "
        "error) and what has not been learned yet inside it (RL error). Move the number of walks that are kept.",
        (
            Control("kept_walks", "walks kept", (1, 2, 3, 4, 5, 6), 4),
            Control("gamma", "discount gamma", (0.8, 0.9, 0.95, 0.98), 0.95),
            Control("slip", "chance to slip", (0.0, 0.1, 0.2, 0.3), 0.1, exported=(0.0, 0.1, 0.3)),
        ),
        lambda kept_walks, gamma, slip: _regret(kept_walks, gamma, slip),
    )


def pruning_explorer() -> Explorer:
    """Theorem 2: how many expert tasks it takes until no bad subset survives."""
    return Explorer(
        "pruning-lab",
        "Pruning lab",
        "Expert tasks rule out sets of actions that cannot solve them. How many tasks until every bad set is ruled "
        "out? "
        "Compare a few skills with many lines on the same tasks. sigma is how rare the rarest needed action is.",
        (
            Control("sigma", "sigma, share of the rare tasks", (0.05, 0.1, 0.15, 0.2), 0.1),
            Control("delta", "delta, allowed failure rate", (0.01, 0.05, 0.1, 0.2), 0.05),
            Control("used", "skills that the tasks use", (2, 3, 4, 5), 4),
        ),
        lambda sigma, delta, used: _pruning(sigma, delta, used),
    )


def horizon_explorer() -> Explorer:
    """Theorem 3: longer options need fewer sweeps of value iteration."""
    return Explorer(
        "horizon-lab",
        "Horizon lab",
        "Value iteration over options that last tau steps. Longer options shrink the effective discount, so fewer "
        "sweeps "
        "reach the same precision. Change the law of tau, the discount and the precision.",
        (
            Control("law", "law of tau", LAWS, "fixed", "choice"),
            Control("gamma", "discount gamma", (0.8, 0.9, 0.95, 0.98, 0.99), 0.95),
            Control("epsilon", "precision epsilon", (0.3, 0.1, 0.03, 0.01), 0.01),
        ),
        lambda law, gamma, epsilon: _horizon(law, gamma, epsilon),
    )


@lru_cache(maxsize=256)
def _regret(kept_walks: int, gamma: float, slip: float) -> View:
    return theory.view(regret_lab(gamma, slip, kept_walks=kept_walks))


@lru_cache(maxsize=256)
def _pruning(sigma: float, delta: float, used: int) -> View:
    return theory.view(pruning_lab(sigma, delta, used=used))


@lru_cache(maxsize=256)
def _horizon(law: str, gamma: float, epsilon: float) -> View:
    return theory.view(horizon_lab(law, gamma, epsilon))
