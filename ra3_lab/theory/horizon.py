"""Theorem 3, the horizon effect: longer options contract faster, so value iteration needs fewer sweeps.

||V_N - V*|| <= epsilon after N >= 1 / (1 - gbar) * ln( R_max / (epsilon (1 - gbar)) ) sweeps, gbar = sup E[gamma^tau
| s, z]. The lab varies the law of tau, gamma and epsilon over one family of random tasks with a few ways to act,
measures N and compares. A set that keeps a single primitive action has gbar = gamma again. Policy gradient and
Q-learning stand beside it without a claim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ra3_lab.theory.checks import check_count, check_discount, check_positive
from ra3_lab.theory.closed_forms import effective_horizon, value_iteration_bound
from ra3_lab.theory.durations import duration_law, timed_options
from ra3_lab.theory.learners import backup, optimal_values, policy_gradient_steps, q_learning_updates
from ra3_lab.theory.mdp import Family
from ra3_lab.theory.records import Fit, fit_line, record

EPSILONS = (0.1, 0.01, 0.001)
"""Distances to V* that the settings try, in units of reward (primitive rewards lie between 0 and 1)."""
MEANS = (1, 2, 4, 8, 16)
SHARE_PG, SHARE_Q, MOST_PG, MOST_Q = 0.05, 0.1, 100, 250


@record
@dataclass(frozen=True)
class HorizonSetting:
    """Value iteration at one setting."""

    mean: float
    """E[tau] of the long options, primitive steps."""
    gamma: float
    """Discount per primitive step."""
    epsilon: float
    """Distance to V* that counts as done, units of reward."""
    kept: bool
    """Whether the set also keeps a primitive action."""
    gbar: float
    """sup E[gamma^tau]."""
    horizon: float
    """1 / (1 - gbar), in decisions."""
    r_max: float
    """Largest expected discounted reward within one option."""
    measured: int
    """Sweeps until ||V_N - V*|| <= epsilon."""
    bound: int
    """Theorem 3."""


@record
@dataclass(frozen=True)
class LearnerRow:
    """The two other learners at one mean duration, long options only."""

    mean: float
    """E[tau]."""
    policy_gradient: float | None
    """Exact gradient steps to 5 % of the first gap; None: more than were tried."""
    q_learning: float | None
    """Synchronous updates to 10 % of |Q*|, median over runs; None: more than were tried."""


@record
@dataclass(frozen=True)
class HorizonRecord:
    """What `horizon_lab` measured."""

    law: str
    """Of tau: fixed, uniform or geometric."""
    gamma: float
    """Discount of the curves; the settings also take others."""
    epsilon: float
    """Distance of the curves, units of reward."""
    seed: int
    """Of the random family and of Q-learning."""
    settings: tuple[HorizonSetting, ...]
    """All of them: means x gammas x epsilons, without and with a kept primitive."""
    learners: tuple[LearnerRow, ...]
    """Policy gradient and Q-learning at `gamma`."""
    fit_long: Fit
    """Measured against bound over the settings without a kept primitive."""
    fit_kept: Fit
    """The same with one."""
    most: tuple[int, int]
    """Steps tried: policy gradient, Q-learning."""

    def curve(self, kept: bool) -> list[HorizonSetting]:
        """The settings at the record's gamma and epsilon, by mean duration."""
        return [s for s in self.settings if s.kept == kept and (s.gamma, s.epsilon) == (self.gamma, self.epsilon)]


def random_family(states: int, actions: int, gamma: float, seed: int = 0) -> Family:
    """One random task that never ends: Dirichlet transitions, rewards uniform on 0 to 1."""
    check_discount(gamma)
    check_count("states", states, 2)
    check_count("actions", actions)
    rng = np.random.default_rng(seed)
    return Family(
        transition=rng.dirichlet(np.full(states, 0.3), (actions, states)),
        reward=rng.random((1, states, actions)),
        weights=np.ones(1),
        start=np.full(states, 1 / states),
        gamma=gamma,
        actions=tuple(f"action {a}" for a in range(actions)),
        states=tuple(f"state {s}" for s in range(states)),
        tasks=("collect",),
    )


def horizon_lab(
    law: str = "fixed", gamma: float = 0.95, epsilon: float = 0.01, states: int = 8, options: int = 4, seed: int = 0
) -> HorizonRecord:
    """Sweeps of value iteration against the bound for mean durations 1 to 16, gammas and epsilons; beside it two
    learners.

    `options` ways to act (random deterministic policies) run for tau steps each; the sets with a kept primitive add one
    of them with tau = 1.
    """
    check_discount(gamma)
    check_positive("epsilon", epsilon)
    gammas, epsilons = sorted({gamma, 0.9, 0.95}), sorted({epsilon, *EPSILONS}, reverse=True)
    laws = [duration_law(law, mean) for mean in MEANS]
    kernels, rewards = [], []
    for g in gammas:
        family = random_family(states, options, g, seed)
        choice = np.random.default_rng(seed).integers(0, options, (options, states))
        models = timed_options(family, np.eye(options)[choice], [*laws, duration_law("fixed", 1)])
        single = models.pop()
        kernels += [np.concatenate([model.kernel, single.kernel[:, :1]], 1) for model in models]
        rewards += [np.concatenate([model.reward[0], single.reward[0, :, :1]], 1) for model in models]
    kernel, reward = np.stack(kernels), np.stack(rewards)  # (B, S, Z + 1, S), (B, S, Z + 1): the last is the primitive
    rows: list[HorizonSetting] = []
    for kept in (False, True):
        used = options + kept
        rows += _measure(kernel[:, :, :used], reward[:, :, :used], kept, gammas, epsilons)
    long = {kept: [row for row in rows if row.kept == kept] for kept in (False, True)}
    fits = {k: fit_line([r.bound for r in found], [r.measured for r in found]) for k, found in long.items()}
    here = slice(gammas.index(gamma) * len(MEANS), (gammas.index(gamma) + 1) * len(MEANS))
    learned = _learners(kernel[here, :, :options], reward[here, :, :options], seed)
    return HorizonRecord(law, gamma, epsilon, seed, tuple(rows), learned, fits[False], fits[True], (MOST_PG, MOST_Q))


def _measure(
    kernel: np.ndarray, reward: np.ndarray, kept: bool, gammas: list[float], epsilons: list[float]
) -> list[HorizonSetting]:
    gbar, r_max = kernel.sum(-1).max((1, 2)), np.abs(reward).max((1, 2))
    bounds = [[value_iteration_bound(g, r, epsilon) for epsilon in epsilons] for g, r in zip(gbar, r_max, strict=True)]
    best = optimal_values(kernel, reward)
    values, errors = np.zeros_like(best), []
    for _ in range(max(map(max, bounds)) + 1):
        errors.append(np.abs(values - best).max(-1))
        if errors[-1].max() <= epsilons[-1] / 2:  # errors only fall: gbar < 1 contracts at every sweep
            break
        values = backup(kernel, reward, values).max(-1)
    fallen = np.array(errors)  # (N, B)
    problems = [(g, mean) for g in gammas for mean in MEANS]
    return [
        HorizonSetting(
            mean=mean,
            gamma=g,
            epsilon=epsilon,
            kept=kept,
            gbar=float(gbar[b]),
            horizon=effective_horizon(float(gbar[b])),
            r_max=float(r_max[b]),
            measured=int((fallen[:, b] > epsilon).sum()),
            bound=bounds[b][e],
        )
        for b, (g, mean) in enumerate(problems)
        for e, epsilon in enumerate(epsilons)
    ]


def _learners(kernel: np.ndarray, reward: np.ndarray, seed: int, runs: int = 3) -> tuple[LearnerRow, ...]:
    best = optimal_values(kernel, reward)
    steps = policy_gradient_steps(kernel, reward, best, SHARE_PG, 2.0, MOST_PG)
    rng, again = np.random.default_rng(seed), np.tile(np.arange(len(kernel)), runs)
    updates = q_learning_updates(kernel[again], reward[again], best[again], SHARE_Q, MOST_Q, rng).reshape(runs, -1)
    # A run that was not done in time counts as later than all others: the median stays honest.
    middle = np.sort(np.where(np.isnan(updates), np.inf, updates), 0)[(runs - 1) // 2]
    return tuple(
        LearnerRow(mean, None if np.isnan(s) else float(s), None if np.isinf(u) else float(u))
        for mean, s, u in zip(MEANS, steps, middle, strict=True)
    )
