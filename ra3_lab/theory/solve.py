"""Exact planning over options: the SMDP Bellman operator, value iteration, policy iteration, evaluation.

Sources: Sutton, Precup and Singh 1999 for the operator; theorem 3 of docs/theory.md for its contraction. Values are
arrays (M, S), one row a task; every function handles all tasks of the model at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ra3_lab.theory.checks import check_count, check_positive, is_distribution
from ra3_lab.theory.mdp import OptionModel

_TIE = 1e-12
"""Options whose values differ by less are equally good."""


@dataclass(frozen=True)
class Solution:
    """V* and an optimal policy of every task of a model."""

    values: np.ndarray
    """(M, S) V*."""
    policy: np.ndarray
    """(M, S) index of an optimal option."""
    start_values: np.ndarray
    """(M,) V* at s_0."""


@dataclass(frozen=True)
class Sweeps:
    """A run of value iteration from V_0 = 0."""

    values: np.ndarray
    """(N + 1, M, S) V_0 .. V_N."""
    errors: np.ndarray
    """(N + 1,) ||V_n - V*|| over all tasks and states."""

    def needed(self, epsilon: float) -> int | None:
        """Fewest sweeps with ||V_n - V*|| <= epsilon from there on; None if the run is too short."""
        check_positive("epsilon", epsilon)
        above = np.flatnonzero(self.errors > epsilon)
        first = int(above[-1]) + 1 if len(above) else 0
        return first if first < len(self.errors) else None


def action_values(model: OptionModel, values: np.ndarray) -> np.ndarray:
    """(..., M, S, Z) Q(s, z) = reward + sum_s' kernel * V(s'); `values` is (..., M, S)."""
    shape = (*values.shape, len(model.options))
    return model.reward + (values @ model.flat_kernel).reshape(shape)


def bellman(model: OptionModel, values: np.ndarray) -> np.ndarray:
    """(..., M, S) one sweep of the SMDP Bellman operator: the best of Q over options.

    >>> from ra3_lab.theory.mdp import option_model, primitive_options, two_state_family
    >>> family = two_state_family()
    >>> bellman(option_model(family, primitive_options(family)), np.array([[0.0, 2.0]])).tolist()
    [[1.0, 2.0]]
    """
    return action_values(model, values).max(-1)


def value_iteration(model: OptionModel, sweeps: int) -> Sweeps:
    """V_0 = 0 and `sweeps` applications of the Bellman operator, with the distance to V* of each."""
    check_count("sweeps", sweeps, 0)
    values = np.zeros((sweeps + 1, *model.reward.shape[:2]))
    for n in range(sweeps):
        values[n + 1] = bellman(model, values[n])
    return Sweeps(values, np.abs(values - solve(model).values).max((1, 2)))


def solve(model: OptionModel) -> Solution:
    """V* by policy iteration: exact up to the rounding of linear solves. RuntimeError if it does not settle."""
    policy = model.reward.argmax(-1)
    for _ in range(10_000):
        values = evaluate(model, policy)
        q = action_values(model, values)
        best = q.argmax(-1)
        # Change only what gets better by more than rounding; otherwise ties could make it go round in circles.
        gain = np.take_along_axis(q, best[..., None], -1)[..., 0] - np.take_along_axis(q, policy[..., None], -1)[..., 0]
        change = gain > _TIE * (1 + np.abs(q).max(-1))
        if not change.any():
            return Solution(values, policy, values @ model.start)
        policy = np.where(change, best, policy)
    raise RuntimeError("policy iteration did not settle in 10,000 rounds: please report this model.")


def evaluate(model: OptionModel, policy: np.ndarray) -> np.ndarray:
    """(M, S) exact values of a policy: (M, S) option indices, or (M, S, Z) probabilities over options."""
    tasks, states, options = model.reward.shape
    if policy.shape == (tasks, states):
        rows = np.arange(states)
        chain = model.kernel[rows, policy]  # (M, S, S)
        within = np.take_along_axis(model.reward, policy[..., None], -1)[..., 0]
    elif policy.shape == (tasks, states, options):
        if not is_distribution(policy):
            raise ValueError("policy: needs a distribution over options in every state.")
        chain = np.einsum("msz,szt->mst", policy, model.kernel)
        within = (policy * model.reward).sum(-1)
    else:
        raise ValueError(f"policy of shape {policy.shape}: needs {(tasks, states)} or {(tasks, states, options)}.")
    return np.linalg.solve(np.eye(states) - chain, within[..., None])[..., 0]


def greedy(model: OptionModel, values: np.ndarray) -> np.ndarray:
    """(M, S, Z) the greedy policy of these values; equally good options share the probability."""
    q = action_values(model, values)
    best = q >= q.max(-1, keepdims=True) - _TIE
    return best / best.sum(-1, keepdims=True)


def subset_values(model: OptionModel, masks: np.ndarray, tolerance: float = 1e-12) -> np.ndarray:
    """(B, M) V* at s_0 when only the options of a mask may be used, for B subsets at once.

    `masks` is (B, Z) of bool, at least one True a row. Value iteration on all subsets side by side until no value
    moves by more than `tolerance` times (1 - modulus), so that `tolerance` bounds the error. RuntimeError beyond
    100,000 sweeps. Where options lead deterministically to an end, as in the program world, it is exact after a few
    sweeps.
    """
    masks = np.asarray(masks, bool)
    if masks.ndim != 2 or masks.shape[1] != len(model.options):
        raise ValueError(f"masks of shape {masks.shape}: needs (B, {len(model.options)}), a column an option.")
    if not masks.any(1).all():
        raise ValueError("empty subset of options: each mask needs to keep at least one.")
    check_positive("tolerance", tolerance)
    tasks, states, options = model.reward.shape
    allowed = np.where(masks, 0.0, -np.inf).T[:, :, None, None]  # (Z, B, 1, 1)
    into = np.ascontiguousarray(model.kernel.transpose(1, 2, 0))  # (Z, S', S)
    gained = np.ascontiguousarray(model.reward.transpose(2, 0, 1))  # (Z, M, S)
    values = np.zeros((len(masks), tasks, states))
    enough = tolerance * max(1 - model.modulus, 1e-6)
    for _ in range(100_000):
        updated = np.full_like(values, -np.inf)
        for z in range(options):  # option by option: whole arrays in order are faster than a maximum over a short axis
            q = (values.reshape(-1, states) @ into[z]).reshape(values.shape)
            q += gained[z]
            q += allowed[z]
            np.maximum(updated, q, out=updated)
        moved = np.abs(updated - values).max()
        values = updated
        if moved <= enough:
            return values @ model.start
    raise RuntimeError("value iteration did not settle in 100,000 sweeps: gamma is very close to 1, lower it.")


def all_masks(options: int, size: int) -> np.ndarray:
    """(C(options, size), options) of bool: every subset of this size, in lexicographic order.

    >>> all_masks(3, 2).astype(int).tolist()
    [[1, 1, 0], [1, 0, 1], [0, 1, 1]]
    """
    from itertools import combinations

    check_count("size", size, 1, options)
    rows: Sequence[tuple[int, ...]] = list(combinations(range(options), size))
    masks = np.zeros((len(rows), options), bool)
    np.put_along_axis(masks, np.array(rows), True, axis=1)
    return masks
