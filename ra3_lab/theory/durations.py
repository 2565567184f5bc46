"""Options that run a fixed way of acting for a random number of steps drawn from a law of tau, as exact SMDP kernels.

The other kind of option, with a stopping rule on states, is `MarkovOption` in `mdp.py`. Here tau is drawn first and
does not look at the states, so one can vary its law and nothing else: that is what theorem 3 is about. A law is an
array (D,), the probabilities of tau = 1 .. D.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ra3_lab.theory.checks import check_count, check_durations
from ra3_lab.theory.mdp import Family, OptionModel

LAWS = ("fixed", "uniform", "geometric")


def duration_law(name: str, mean: int) -> np.ndarray:
    """(D,) a law of tau with this mean: `fixed`, `uniform` on 1 .. 2 mean - 1, or `geometric` (cut at 12 means).

    The cut takes e^-12 of the geometric's probability away and lowers its mean by less than a thousandth.

    >>> duration_law("uniform", 2).round(3).tolist()
    [0.333, 0.333, 0.333]
    """
    check_count("tau (the mean)", mean)
    if name == "fixed":
        return np.eye(mean)[mean - 1]
    if name == "uniform":
        return np.full(2 * mean - 1, 1 / (2 * mean - 1))
    if name == "geometric":
        law = (1 - 1 / mean) ** np.arange(12 * mean if mean > 1 else 1) / mean
        return law / law.sum()
    raise ValueError(f"law={name!r}: choose one of {LAWS}.")


def timed_options(family: Family, policies: np.ndarray, laws: Sequence[np.ndarray]) -> list[OptionModel]:
    """One model a law: each option follows one of `policies` (Z, S, A) for tau ~ law primitive steps.

    kernel = sum_n p(tau = n) gamma^n P^n and reward = sum_n p(tau >= n) gamma^(n-1) P^(n-1) r; the powers of the
    chains P are shared by all laws. ValueError where a law is no distribution or an episode may end (then tau would
    look at states).

    >>> from ra3_lab.theory.mdp import two_state_family
    >>> go = np.array([[[0.0, 1.0], [0.0, 1.0]]])
    >>> model = timed_options(two_state_family(), go, [duration_law("fixed", 3)])[0]
    >>> model.gbar, model.reward[0, :, 0].tolist()  # 0.5^3; from state 0 the first of three steps pays nothing
    (0.125, [0.75, 1.75])
    """
    if policies.shape[1:] != (len(family.states), len(family.actions)) or not len(policies):
        raise ValueError(
            f"policies of shape {policies.shape}: needs (Z, {len(family.states)}, {len(family.actions)}) with Z >= 1."
        )
    if not abs(family.transition.sum(2) - 1).max() <= 1e-9:
        raise ValueError("an episode of this family may end: use option_model, whose options look at states.")
    for law in laws:
        check_durations(np.arange(1, len(law) + 1), law)
    chain = np.einsum("zsa,ast->zst", policies, family.transition)
    within = np.einsum("zsa,msa->zsm", policies, family.reward)
    longest = max(map(len, laws))
    powers = np.empty((longest + 1, *chain.shape))  # (D + 1, Z, S, S): P^n
    powers[0] = np.eye(chain.shape[1])
    for n in range(longest):
        powers[n + 1] = powers[n] @ chain
    gains = powers[:-1] @ within  # (D, Z, S, M): mean reward of step n
    models = []
    for law in laws:
        steps = np.arange(1, len(law) + 1)
        kernel = np.tensordot(law * family.gamma**steps, powers[1 : len(law) + 1], 1)  # (Z, S, S)
        still = law[::-1].cumsum()[::-1] * family.gamma ** (steps - 1.0)
        reward = np.tensordot(still, gains[: len(law)], 1)  # (Z, S, M)
        ones = np.ones(chain.shape[1::-1])  # (S, Z)
        models.append(
            OptionModel(
                kernel=kernel.transpose(1, 0, 2),
                reward=reward.transpose(2, 1, 0),
                discount=ones * (law @ family.gamma**steps),
                duration=ones * (law @ steps),
                weights=family.weights,
                start=family.start,
                gamma=family.gamma,
                options=tuple(f"option {z}" for z in range(len(policies))),
                states=family.states,
                tasks=family.tasks,
            )
        )
    return models
