"""RA3's E-step beside the exact one: causal posteriors, their optimum, and REINFORCE with a leave-one-out baseline.

Causal means that q(u_t | z_(t-1), a_0 .. a_(t-1)) does not see a_t or later lines. `best_causal` finds the best of
all causal posteriors by dynamic programming over beginnings of programs, for the exact ELBO or for a constant price
c. A *tabular* q, softmax of logits (C, K + 1, K + 1) over the last few lines, is what RA3's sampled E-step trains:
rewards, returns and baseline are those of `ra3_lab/midtrain/elbo.py`, and a test holds them equal.

Objective throughout: J(q) = sum_n w_n E_q[ sum_t r_t ], w a distribution over programs, r_t = log pi(a_t | s_t, z_t)
minus c for a thought (`cost` a number) or minus log q(u) / p(u) (`cost` None: the exact ELBO).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ra3_lab.theory.checks import check_count
from ra3_lab.theory.oracle import HiddenWorld, draw_below, largest, line_logp, log_sum_exp, visits

Price = float | np.ndarray | None
"""c in nats for each thought; None for the exact KL from the sticky prior."""


def best_causal(world: HiddenWorld, lines: np.ndarray, weights: np.ndarray, cost: float | None = None) -> np.ndarray:
    """(N, T, K + 1, K + 1) the causal posterior that maximises J on these programs, exactly.

    From the last line to the first: the mean over programs with the same beginning of what a choice brings, then
    soft-max over choices (`cost` None) or the maximum (ties keep).
    """
    return _best(world, lines, weights, cost, hindsight=False)


def best_with_hindsight(
    world: HiddenWorld, lines: np.ndarray, weights: np.ndarray, cost: float | None = None
) -> np.ndarray:
    """The same with sight of the whole program: for the exact ELBO the posterior, for a price the best sequence."""
    return _best(world, lines, weights, cost, hindsight=True)


def _best(
    world: HiddenWorld, lines: np.ndarray, weights: np.ndarray, cost: float | None, hindsight: bool
) -> np.ndarray:
    check_cost(cost)
    logp, after, latents = line_logp(world, lines), world.after, world.thoughts + 1
    choice_cost = -world.log_prior if cost is None else np.where(np.arange(latents) > 0, cost, 0.0)
    value = np.zeros((len(lines), latents))
    q = np.zeros_like(logp)
    for t in reversed(range(lines.shape[1])):
        gain = logp[:, t] + value[:, after]
        if not hindsight:
            gain = _mean_by(beginnings(lines, t), weights, gain)
        gain = gain - choice_cost
        if cost is None:
            value = log_sum_exp(gain)
            q[:, t] = np.exp(gain - value[..., None])
        else:
            value = largest(gain)[..., 0]
            q[:, t] = np.eye(latents)[gain.argmax(-1)]
    return q


def beginnings(lines: np.ndarray, length: int) -> np.ndarray:
    """(N,) which programs share their first `length` lines: equal numbers, counted from 0."""
    if length == 0:
        return np.zeros(len(lines), int)
    base = int(lines.max()) + 1
    return np.unique(lines[:, :length] @ base ** np.arange(length), return_inverse=True)[1]


def _mean_by(groups: np.ndarray, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`values` (N, ...) replaced by their weighted mean within each group; plain mean where all weights are 0."""
    flat = values.reshape(len(values), -1)
    count = groups.max() + 1
    mass = np.bincount(groups, weights, count)
    use = np.where(mass[groups] > 0, weights, 1.0)
    total = np.bincount(groups, use, count)
    means = np.stack([np.bincount(groups, use * column, count) for column in flat.T], 1) / total[:, None]
    return means[groups].reshape(values.shape)


@dataclass(frozen=True)
class Contexts:
    """What a tabular q looks at: the last `memory` lines of each program before each line."""

    index: np.ndarray
    """(N, T) row of the table."""
    count: int
    """C, rows of the table."""


def contexts(lines: np.ndarray, kinds: int, memory: int) -> Contexts:
    """Contexts of these programs; `kinds` is A, and a place before the program's start is a kind of its own.

    >>> contexts(np.array([[0, 1]]), 2, 1).index.tolist()
    [[2, 0]]
    """
    check_count("memory", memory, 0)
    length = lines.shape[1]
    padded = np.column_stack([np.full((len(lines), memory), kinds), lines])
    index = np.zeros(lines.shape, int)
    for back in range(memory):
        index = index * (kinds + 1) + padded[:, back : back + length]
    return Contexts(index, (kinds + 1) ** memory)


def prior_logits(world: HiddenWorld, count: int) -> np.ndarray:
    """(C, K + 1, K + 1) logits of the q that is the prior: where the E-step starts."""
    return np.tile(world.log_prior, (count, world.thoughts + 1, 1))


def stack_tables(where: Contexts, copies: int) -> Contexts:
    """The contexts of `copies` copies of the programs, each with a table of its own: several E-steps trained as one."""
    index = np.concatenate([where.index + copy * where.count for copy in range(copies)])
    return Contexts(index, copies * where.count)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    shifted = np.exp(logits - largest(logits))
    return shifted / shifted.sum(-1, keepdims=True)


def tabular(logits: np.ndarray, where: Contexts) -> np.ndarray:
    """(N, T, K + 1, K + 1) the posterior that these logits make of these contexts."""
    return softmax(logits)[where.index]


def exact_gradient(
    world: HiddenWorld,
    lines: np.ndarray,
    weights: np.ndarray,
    logits: np.ndarray,
    where: Contexts,
    cost: float | None = None,
) -> np.ndarray:
    """(C, K + 1, K + 1) dJ / dlogits: visits times probability times advantage, summed over where the row is used."""
    check_cost(cost)
    q, after = tabular(logits, where), world.after
    reward = line_logp(world, lines) - _choice_costs(world, q, cost)
    value = np.zeros((len(lines), world.thoughts + 1))
    advantage = np.zeros_like(q)
    for t in reversed(range(lines.shape[1])):
        action_value = reward[:, t] + value[:, after]
        value = (q[:, t] * action_value).sum(-1)
        advantage[:, t] = action_value - value[..., None]
    flow = weights[:, None, None, None] * visits(q)[..., None] * q * advantage
    gradient = np.zeros_like(logits)
    np.add.at(gradient, where.index, flow)
    return gradient


def _choice_costs(world: HiddenWorld, q: np.ndarray, cost: float | None) -> np.ndarray:
    """(..., K + 1) what each choice costs: c for a thought, or log q / p."""
    if cost is None:
        return np.log(q) - world.log_prior
    return np.where(np.arange(world.thoughts + 1) > 0, cost, 0.0)


@dataclass(frozen=True)
class Rollouts:
    """Sampled latents of programs, G rows a program, side by side."""

    program: np.ndarray
    """(B,) index of the program."""
    latent: np.ndarray
    """(B, T) z_(t-1), before each choice."""
    choice: np.ndarray
    """(B, T) u_t."""
    reward: np.ndarray
    """(B, T) r_t."""


def roll_out(
    world: HiddenWorld,
    logp: np.ndarray,
    logits: np.ndarray,
    where: Contexts,
    program: np.ndarray,
    cost: Price,
    rng: np.random.Generator,
) -> Rollouts:
    """Sample choices along the forced expert lines of `program` (B,); `logp` is `line_logp` of all programs.

    A price may be one number, or an array with one for each row.
    """
    table, length = softmax(logits), logp.shape[1]
    edges = table.cumsum(-1)
    latent, choice = np.zeros((len(program), length), int), np.zeros((len(program), length), int)
    reward, z = np.zeros((len(program), length)), np.zeros(len(program), int)
    for t in range(length):
        row = where.index[program, t]
        u = draw_below(edges[row, z], rng)
        price = np.log(table[row, z, u]) - world.log_prior[u] if cost is None else cost * (u > 0)
        latent[:, t], choice[:, t] = z, u
        reward[:, t] = logp[program, t, z, u] - price
        z = np.where(u > 0, u, z)
    return Rollouts(program, latent, choice, reward)


def returns_to_go(reward: np.ndarray) -> np.ndarray:
    """(B, T) R_t, the sum of the rewards from line t on.

    >>> returns_to_go(np.array([[1.0, 2.0, 3.0]])).tolist()
    [[6.0, 5.0, 3.0]]
    """
    return reward[:, ::-1].cumsum(1)[:, ::-1]


def baseline(returns: np.ndarray, group: int, kind: str) -> np.ndarray:
    """(B, T) what is taken off the return: `none`, `leave-one-out`, or `group mean` (which includes the row itself).

    >>> baseline(np.array([[1.0], [3.0], [5.0]]), 3, "leave-one-out").ravel().tolist()
    [4.0, 3.0, 2.0]
    """
    if kind == "none":
        return np.zeros_like(returns)
    if group < 2 or len(returns) % group:
        raise ValueError(f"group={group} for {len(returns)} rows: needs groups of 2 or more that divide the rows.")
    grouped = returns.reshape(-1, group, returns.shape[1])
    if kind == "group mean":
        return np.repeat(grouped.mean(1), group, axis=0)
    if kind == "leave-one-out":
        return ((grouped.sum(1, keepdims=True) - grouped) / (group - 1)).reshape(returns.shape)
    raise ValueError(f"baseline={kind!r}: choose 'none', 'leave-one-out' or 'group mean'.")


def sampled_gradient(rolls: Rollouts, logits: np.ndarray, where: Contexts, group: int, kind: str) -> np.ndarray:
    """(C, K + 1, K + 1) REINFORCE: the mean over rows of sum_t (onehot(u_t) - q) (R_t - baseline)."""
    returns = returns_to_go(rolls.reward)
    weight = (returns - baseline(returns, group, kind)) / len(returns)
    rows = where.index[rolls.program]  # (B, T)
    latents = logits.shape[1]
    cell = (rows * latents + rolls.latent).ravel()
    size = logits.shape[0] * latents
    took = np.bincount(cell * latents + rolls.choice.ravel(), weight.ravel(), size * latents)
    total = np.bincount(cell, weight.ravel(), size)
    return took.reshape(logits.shape) - total.reshape(logits.shape[:2])[..., None] * softmax(logits)


def train(
    world: HiddenWorld,
    lines: np.ndarray,
    weights: np.ndarray,
    where: Contexts,
    updates: int,
    rng: np.random.Generator,
    cost: Price = None,
    programs: int = 32,
    group: int = 4,
    rate: float = 0.3,
    logits: np.ndarray | None = None,
) -> np.ndarray:
    """(C, K + 1, K + 1) RA3's sampled E-step: `updates` Adam steps from the prior, or from given logits.

    Each update draws `programs` expert programs by `weights`, `group` latent sequences of each, leave-one-out baseline.
    `cost` may hold a price for each program (N,).
    """
    check_cost(cost)
    check_count("updates", updates, 0)
    check_count("group", group, 2)
    logits = prior_logits(world, where.count) if logits is None else logits.copy()
    logp, edges = line_logp(world, lines), weights.cumsum() / weights.sum()
    mean, square = np.zeros_like(logits), np.zeros_like(logits)
    for step in range(1, updates + 1):
        drawn = np.minimum(np.searchsorted(edges, rng.random(programs)), len(lines) - 1)
        drawn = np.repeat(drawn, group)
        price = cost[drawn] if isinstance(cost, np.ndarray) else cost
        rolls = roll_out(world, logp, logits, where, drawn, price, rng)
        gradient = sampled_gradient(rolls, logits, where, group, "leave-one-out")
        mean = 0.8 * mean + 0.2 * gradient
        square = 0.95 * square + 0.05 * gradient**2
        scale = np.sqrt(square / (1 - 0.95**step)) + 1e-8
        logits += rate * mean / (1 - 0.8**step) / scale
    return logits


def check_cost(cost: Price) -> None:
    """ValueError for a negative price."""
    if cost is not None and not (np.min(cost) >= 0 and np.max(cost) < np.inf):
        raise ValueError(f"cost={cost}: nats to pay for a thought, needs 0 or more, or None for the exact ELBO.")
