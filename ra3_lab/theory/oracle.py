"""An exact oracle for the temporal ELBO: a hidden semi-Markov world small enough for every sum.

A program is lines a_0 .. a_(T-1) out of A kinds. Behind each line stands a latent z_t in 0 .. K: 0 is "no thought", the
start; 1 .. K are thoughts (skills). Before each line the choice u_t is made: u = 0 keeps z, u = 1 .. K thinks and makes
z = u. So (z_(t-1), u_t) is the pair (z, renewed?) of the temporal ELBO, and the sticky prior is
p(u = 0) = alpha, p(u = k) = (1 - alpha) / K. Lines follow p(a_t | z_t, renewed?, a_(t-1)): pi of the method.

A posterior q is an array (N, T, K + 1, K + 1), q[n, t, z_prev, u]: it may depend on all of program n (hindsight) or
be the same for programs with the same beginning (causal, `estep.py`). Sums run backward and forward in O(T K^2);
`enumeration.py` does the same by listing every sequence of choices, and tests hold the two equal.

Departs from the method: a latent is a symbol, not text, and pi is a table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from ra3_lab.theory.checks import check_count, check_positive, check_probability, check_share, is_distribution


@dataclass(frozen=True)
class HiddenWorld:
    """Sticky prior and emissions: p(choices, lines)."""

    alpha: float
    """Probability to keep z, 0 < alpha < 1."""
    emission: np.ndarray
    """(2, K + 1, A + 1, A) p(a | renewed?, z, line before); the last `line before` is the start of the program."""

    def __post_init__(self) -> None:
        check_share("alpha", self.alpha)
        shape = self.emission.shape
        if len(shape) != 4 or shape[0] != 2 or shape[1] < 2 or shape[2] != shape[3] + 1:
            raise ValueError(f"emission of shape {shape}: needs (2, K + 1, A + 1, A) with K >= 1.")
        if not is_distribution(self.emission):
            raise ValueError("emission: each row over lines needs to be a distribution.")

    @property
    def thoughts(self) -> int:
        """K = |Z|."""
        return self.emission.shape[1] - 1

    @property
    def lines(self) -> int:
        """A, the kinds of line."""
        return self.emission.shape[3]

    @property
    def log_prior(self) -> np.ndarray:
        """(K + 1,) log p(u)."""
        return np.log(np.array([self.alpha, *[(1 - self.alpha) / self.thoughts] * self.thoughts]))

    @property
    def after(self) -> np.ndarray:
        """(K + 1, K + 1) z_t after choice u in z_prev."""
        count = self.thoughts + 1
        after = np.tile(np.arange(count), (count, 1))
        after[:, 0] = np.arange(count)
        return after


def skill_world(
    thoughts: int = 3, lines: int = 3, alpha: float = 0.75, noise: float = 0.1, fade: float = 0.0
) -> HiddenWorld:
    """Skill k goes k - 1 kinds of line further at each line; without a thought every line is as likely as any other.

    `noise` is the probability of any other line; `fade` that a kept thought is not followed (a fresh one always is):
    how much a thought is worth repeating.

    >>> world = skill_world(noise=0.1)
    >>> world.emission[1, 2, 0].round(2).tolist()  # skill 2 after line 0: line 1
    [0.05, 0.9, 0.05]
    """
    check_count("thoughts", thoughts)
    check_count("lines", lines, 2)
    check_share("noise", noise)
    check_probability("fade", fade)
    emission = np.full((2, thoughts + 1, lines + 1, lines), 1 / lines)
    for z in range(1, thoughts + 1):
        for before in range(lines + 1):
            follow = np.full(lines, noise / (lines - 1))
            follow[(before + z - 1) % lines] = 1 - noise
            emission[1, z, before] = follow
            emission[0, z, before] = (1 - fade) * follow + fade / lines
    return HiddenWorld(alpha, emission)


def sample_programs(
    world: HiddenWorld, count: int, length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(count, length) lines and the choices u behind them."""
    check_count("count", count)
    check_count("length", length)
    rows = np.zeros((count, length), int)
    choices = np.zeros((count, length), int)
    z, before = np.zeros(count, int), np.full(count, world.lines)
    for t in range(length):
        u = draw(np.tile(np.exp(world.log_prior), (count, 1)), rng)
        z = np.where(u > 0, u, z)
        before = draw(world.emission[(u > 0).astype(int), z, before], rng)
        rows[:, t], choices[:, t] = before, u
    return rows, choices


def draw(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(...) one index a row of (..., K), by inverse CDF."""
    return draw_below(probabilities.cumsum(-1), rng)


def draw_below(edges: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same from the running sums of the probabilities."""
    at = rng.random(edges.shape[:-1]) * edges[..., -1]
    index = np.zeros(at.shape, int)
    for k in range(edges.shape[-1] - 1):
        index += edges[..., k] < at
    return index


def all_programs(lines: int, length: int) -> np.ndarray:
    """(lines^length, length) every program, in lexicographic order; with `evidence` as weights it is the whole
    population.

    >>> all_programs(2, 2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    check_count("number of programs", lines**length, 1, 100_000)
    return np.stack(np.meshgrid(*[np.arange(lines)] * length, indexing="ij"), -1).reshape(-1, length)


def line_logp(world: HiddenWorld, lines: np.ndarray) -> np.ndarray:
    """(N, T, K + 1, K + 1) log p(a_t | choice u in z_prev, a_(t-1)); `lines` is (N, T)."""
    before = np.column_stack([np.full(len(lines), world.lines), lines[:, :-1]])
    with np.errstate(divide="ignore"):
        table = np.log(world.emission)
    seen = table[:, :, before, lines]  # (2, K + 1, N, T)
    fresh = np.moveaxis(seen[1], 0, -1)[:, :, None, :]  # by u
    logp = np.repeat(fresh, world.thoughts + 1, axis=2)
    logp[..., 0] = np.moveaxis(seen[0], 0, -1)
    return logp


def backward(world: HiddenWorld, lines: np.ndarray) -> np.ndarray:
    """(N, T + 1, K + 1) log p(a_t .. a_(T-1) | z_(t-1), a_(t-1)): the soft values of the E-step with full sight."""
    logp, after, prior = line_logp(world, lines), world.after, world.log_prior
    messages = np.zeros((len(lines), lines.shape[1] + 1, world.thoughts + 1))
    for t in reversed(range(lines.shape[1])):
        messages[:, t] = log_sum_exp(prior + logp[:, t] + messages[:, t + 1][:, after])
    return messages


def evidence(world: HiddenWorld, lines: np.ndarray) -> np.ndarray:
    """(N,) log p(a_0 .. a_(T-1)).

    >>> world = skill_world()
    >>> float(np.exp(evidence(world, all_programs(3, 4))).sum().round(12))
    1.0
    """
    return backward(world, lines)[:, 0, 0]


def posterior(world: HiddenWorld, lines: np.ndarray) -> np.ndarray:
    """(N, T, K + 1, K + 1) the exact posterior p(u_t | z_(t-1), a_0 .. a_(T-1)): the best q with hindsight."""
    messages = backward(world, lines)
    ahead = world.log_prior + line_logp(world, lines) + messages[:, 1:][:, :, world.after]
    return np.exp(ahead - messages[:, :-1, :, None])


def visits(q: np.ndarray) -> np.ndarray:
    """(N, T, K + 1) the probability under q that z_(t-1) is each latent."""
    count, length, latents, _ = q.shape
    seen = np.zeros((count, length, latents))
    seen[:, 0, 0] = 1.0
    for t in range(length - 1):
        moved = seen[:, t][:, None] @ q[:, t]  # (N, 1, K + 1)
        seen[:, t + 1] = moved[:, 0]
        seen[:, t + 1, 0] = 0.0
        seen[:, t + 1] += seen[:, t] * q[:, t, :, 0]  # kept
    return seen


@dataclass(frozen=True)
class Bound:
    """The terms of the temporal ELBO for each program, in nats."""

    likelihood: np.ndarray
    """(N,) E_q[ sum_t log pi(a_t | s_t, z_t) ]."""
    divergence: np.ndarray
    """(N,) E_q[ sum_t KL( q(u_t | z_(t-1)) || p(u_t) ) ], exact on the pair."""
    thoughts: np.ndarray
    """(N,) expected number of thoughts."""

    @property
    def elbo(self) -> np.ndarray:
        """(N,) the bound; evidence minus KL(q || posterior)."""
        return self.likelihood - self.divergence

    def priced(self, cost: float) -> np.ndarray:
        """(N,) what training on text maximises: likelihood minus c for each thought."""
        return self.likelihood - cost * self.thoughts


def bound(world: HiddenWorld, lines: np.ndarray, q: np.ndarray) -> Bound:
    """The temporal ELBO of any q, exact. ValueError where q is no distribution."""
    check_posterior(world, lines, q)
    chosen = visits(q)[..., None] * q  # (N, T, K + 1, K + 1)
    logp = line_logp(world, lines)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(q > 0, np.log(q) - world.log_prior, 0.0)
    # A choice that is never made costs nothing, even where its line has probability 0.
    scored = np.where(chosen > 0, logp, 0.0)
    return Bound(
        likelihood=(chosen * scored).sum((1, 2, 3)),
        divergence=(chosen * ratio).sum((1, 2, 3)),
        thoughts=chosen[..., 1:].sum((1, 2, 3)),
    )


def check_posterior(world: HiddenWorld, lines: np.ndarray, q: np.ndarray) -> None:
    """ValueError unless q is (N, T, K + 1, K + 1) with rows that are distributions."""
    shape = (*lines.shape, world.thoughts + 1, world.thoughts + 1)
    if q.shape != shape:
        raise ValueError(f"q of shape {q.shape}: needs (N, T, K + 1, K + 1) = {shape}.")
    if not is_distribution(q):
        raise ValueError("q: needs a distribution over choices for every program, line and z before it.")


def expected_counts(world: HiddenWorld, lines: np.ndarray, weights: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(2, K + 1, A + 1, A) how often each line follows each (renewed?, z, line before) under q."""
    chosen = visits(q)[..., None] * q * weights[:, None, None, None]  # (N, T, z_prev, u)
    kept, fresh = chosen[..., 0], chosen.sum(2)  # (N, T, K + 1) by z
    fresh[..., 0] = 0.0
    before = np.column_stack([np.full(len(lines), world.lines), lines[:, :-1]])
    counts = np.zeros_like(world.emission)
    cell = (before * world.lines + lines).ravel()
    for renewed, mass in enumerate((kept, fresh)):
        for z in range(world.thoughts + 1):
            found = np.bincount(cell, mass[..., z].ravel(), counts[0, 0].size)
            counts[renewed, z] = found.reshape(counts[0, 0].shape)
    return counts


def with_counts(world: HiddenWorld, counts: np.ndarray, smoothing: float = 0.0) -> HiddenWorld:
    """The M-step: emissions in proportion to counts (plus `smoothing`); rows without any count stay as they are.

    >>> world, counts = skill_world(), np.zeros((2, 4, 4, 3))
    >>> counts[1, 2, 0] = [0, 3, 1]
    >>> moved = with_counts(world, counts, smoothing=1.0)
    >>> moved.emission[1, 2, 0].round(2).tolist(), bool((moved.emission[0] == world.emission[0]).all())
    ([0.14, 0.57, 0.29], True)
    """
    if smoothing:
        check_positive("smoothing", smoothing)
    counted = counts.sum(-1, keepdims=True) > 0
    total = (counts + smoothing).sum(-1, keepdims=True)
    moved = (counts + smoothing) / np.where(counted, total, 1.0)
    return replace(world, emission=np.where(counted, moved, world.emission))


def em_step(world: HiddenWorld, lines: np.ndarray, weights: np.ndarray) -> HiddenWorld:
    """One round of exact EM on programs with these weights; never lowers the weighted log-evidence."""
    return with_counts(world, expected_counts(world, lines, weights, posterior(world, lines)))


def log_sum_exp(values: np.ndarray) -> np.ndarray:
    """log sum exp over the last axis; -inf where all are."""
    top = largest(values)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(values - top).sum(-1)) + top[..., 0]


def largest(values: np.ndarray) -> np.ndarray:
    """(..., 1) the maximum over a short last axis: a few times as fast as `max`, which loops over short rows."""
    return reduce(np.maximum, (values[..., k] for k in range(values.shape[-1])))[..., None]
