"""Policy gradient and Q-learning over options, plotted beside value iteration. Theorem 3 claims nothing about them.

Both work on a stack of problems at once: `kernel` (B, S, Z, S) and `reward` (B, S, Z) of B option models with one
task each. What they share with value iteration is the SMDP; how fast they are also depends on step sizes, exploration
and ties.
"""

from __future__ import annotations

import numpy as np

from ra3_lab.theory.checks import check_count, check_positive


def optimal_values(kernel: np.ndarray, reward: np.ndarray) -> np.ndarray:
    """(B, S) V* of B problems side by side, by policy iteration; the same as `solve` on each.

    >>> optimal_values(np.array([[[[0.5]]]]), np.array([[[1.0]]])).tolist()
    [[2.0]]
    """
    policy = reward.argmax(-1)
    for _ in range(10_000):
        chain = np.take_along_axis(kernel, policy[:, :, None, None], 2)[:, :, 0]  # (B, S, S)
        within = np.take_along_axis(reward, policy[..., None], 2)  # (B, S, 1)
        values = np.linalg.solve(np.eye(kernel.shape[1]) - chain, within)[..., 0]
        q = backup(kernel, reward, values)
        better = q.max(-1) > np.take_along_axis(q, policy[..., None], 2)[..., 0] + 1e-11 * (1 + np.abs(q).max())
        if not better.any():
            return values
        policy = np.where(better, q.argmax(-1), policy)
    raise RuntimeError("policy iteration did not settle in 10,000 rounds: please report these models.")


def backup(kernel: np.ndarray, reward: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(B, S, Z) Q = reward + kernel V for values (B, S)."""
    count, states, options, _ = kernel.shape
    return reward + (kernel.reshape(count, -1, states) @ values[..., None]).reshape(count, states, options)


def policy_gradient_steps(
    kernel: np.ndarray, reward: np.ndarray, best: np.ndarray, share: float, rate: float, most: int
) -> np.ndarray:
    """(B,) exact softmax policy gradient steps until the gap to V* is `share` of that of the uniform policy; NaN:
    never.

    The gap is the mean over states of V* - V^pi; `best` (B, S) is V*. The gradient of the mean value is exact: visits
    times probability times advantage; `rate` (per unit of return) is the same for all problems.
    """
    check_positive("share", share)
    check_positive("rate", rate)
    check_count("most", most)
    count, states, options, _ = kernel.shape
    logits, eye = np.zeros((count, states, options)), np.eye(states)
    needed, first = np.full(count, np.nan), np.zeros(count)
    for step in range(most + 1):
        policy = np.exp(logits - logits.max(-1, keepdims=True))
        policy /= policy.sum(-1, keepdims=True)
        chain = (policy[:, :, None, :] @ kernel)[:, :, 0]  # (B, S, S)
        inverse = np.linalg.inv(eye - chain)
        values = (inverse @ (policy * reward).sum(-1)[..., None])[..., 0]
        gap = (best - values).mean(-1)
        first = gap if step == 0 else first
        needed = np.where(np.isnan(needed) & (gap <= share * first), step, needed)
        if not np.isnan(needed).any():
            break
        visits = inverse.mean(1)  # (B, S) from a uniform start
        logits += rate * visits[..., None] * policy * (backup(kernel, reward, values) - values[..., None])
    return needed


def q_learning_updates(
    kernel: np.ndarray, reward: np.ndarray, best: np.ndarray, share: float, most: int, rng: np.random.Generator
) -> np.ndarray:
    """(B,) updates of synchronous Q-learning until max |Q - Q*| is `share` of max |Q*|; NaN: not within `most`.

    Each update samples one next state for every (s, z). The next state is drawn in proportion to the kernel and the
    row sum, E[gamma^tau | s, z], stands for gamma^tau: unbiased, with less noise than drawing tau too. Rewards enter
    by their mean. Step size 1 / (1 + (1 - d) n) with d the largest row sum.
    """
    check_positive("share", share)
    check_count("most", most)
    target = backup(kernel, reward, best)
    size = np.abs(target).max((1, 2))
    discount = kernel.sum(-1)
    edges = kernel.cumsum(-1)[..., :-1]
    slow = (1 - discount.max((1, 2)))[:, None, None]
    rows = np.arange(len(kernel))[:, None, None]
    q, needed = np.zeros_like(reward), np.full(len(kernel), np.nan)
    for n in range(most + 1):
        error = np.abs(q - target).max((1, 2))
        # The last time it comes inside: noise may carry it out again.
        needed = np.where(error <= share * size, np.where(np.isnan(needed), n, needed), np.nan)
        if n == most:
            break
        drawn = (edges < (rng.random(discount.shape) * discount)[..., None]).sum(-1)
        ahead = q.max(-1)[rows, drawn]
        q += (reward + discount * ahead - q) / (1 + slow * n)
    return needed
