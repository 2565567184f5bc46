"""Families of tasks with shared dynamics, and options of random duration reduced to their exact SMDP kernels.

A *family* is p(M): tasks that share states, primitive actions and transitions and differ in rewards. An *option* z runs
primitive actions for tau >= 1 steps. All that planning needs of it is (Sutton, Precup and Singh 1999)

    kernel[s, z, s'] = E[ gamma^tau 1{s_tau = s'} | s, z ]      discount[s, z] = E[ gamma^tau | s, z ]
    reward[s, z]     = E[ sum_{i < tau} gamma^i r_i | s, z ]    duration[s, z] = E[ tau | s, z ]

A primitive action is an option with tau = 1, so primitive, option and mixed sets are one data type here.

The end of an episode is not a state: its value is 0, so its column is left out and the rows of `kernel` may sum to less
than `discount`. Every option may be started in every state. Arrays are float64.
Not handled: options with an initiation set, undiscounted tasks, state spaces too large for dense arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ra3_lab.theory.checks import check_discount, check_subset, is_distribution

_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Family:
    """Tasks M ~ p(M) with the same states, primitive actions and transitions."""

    transition: np.ndarray
    """(A, S, S) p(s' | s, a); a row sums to 1, or to less where the action may end the episode."""
    reward: np.ndarray
    """(M, S, A) expected reward of task M for action a in state s."""
    weights: np.ndarray
    """(M,) p(M)."""
    start: np.ndarray
    """(S,) distribution of s_0, the same for all tasks."""
    gamma: float
    """Discount per primitive step, 0 < gamma < 1."""
    actions: tuple[str, ...]
    """(A,) names of the primitive actions."""
    states: tuple[str, ...]
    """(S,) names of the states."""
    tasks: tuple[str, ...]
    """(M,) names of the tasks."""

    def __post_init__(self) -> None:
        check_discount(self.gamma)
        a, s, m = len(self.actions), len(self.states), len(self.tasks)
        shapes = {"transition": (a, s, s), "reward": (m, s, a), "weights": (m,), "start": (s,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} of shape {getattr(self, name).shape}: the names given make it {shape}.")
        if not (self.transition.min() >= 0 and self.transition.sum(2).max() <= 1 + _TOLERANCE):
            raise ValueError("transition: needs probabilities with rows that sum to 1 or less.")
        for name in ("weights", "start"):
            if not is_distribution(getattr(self, name)):
                raise ValueError(f"{name} sums to {getattr(self, name).sum():g}: needs a distribution.")


@dataclass(frozen=True)
class MarkovOption:
    """A way to act until a stopping rule fires; the rule is asked after each step, so tau >= 1."""

    name: str
    """For tables and figures."""
    policy: np.ndarray
    """(S, A) probabilities of the primitive actions."""
    stop: np.ndarray
    """(S,) probability to stop on arriving in s."""


@dataclass(frozen=True)
class OptionModel:
    """A family seen through a set of options Z: the exact SMDP."""

    kernel: np.ndarray
    """(S, Z, S) E[gamma^tau 1{s_tau = s'}], without the end of the episode."""
    reward: np.ndarray
    """(M, S, Z) expected discounted reward within one option."""
    discount: np.ndarray
    """(S, Z) E[gamma^tau], the end of the episode counted like any other step."""
    duration: np.ndarray
    """(S, Z) E[tau] in primitive steps."""
    weights: np.ndarray
    """(M,) p(M)."""
    start: np.ndarray
    """(S,) distribution of s_0."""
    gamma: float
    """Discount per primitive step."""
    options: tuple[str, ...]
    """(Z,) names."""
    states: tuple[str, ...]
    """(S,) names."""
    tasks: tuple[str, ...]
    """(M,) names."""

    @property
    def gbar(self) -> float:
        """sup over (s, z) of E[gamma^tau | s, z]: the contraction factor of theorem 3; at most gamma."""
        return float(self.discount.max())

    @property
    def modulus(self) -> float:
        """The largest row sum of `kernel`: gbar without the options that end the episode. Also a contraction factor."""
        return float(self.kernel.sum(2).max())

    @property
    def r_max(self) -> float:
        """R_max of theorem 3: the largest size of an expected discounted reward within one option."""
        return float(np.abs(self.reward).max())

    @cached_property
    def flat_kernel(self) -> np.ndarray:
        """(S, S * Z) the kernel laid out for one matrix product: values (..., S) @ flat_kernel gives (..., S * Z)."""
        return np.ascontiguousarray(self.kernel.transpose(2, 0, 1).reshape(len(self.states), -1))

    def restrict(self, subset: Sequence[int] | np.ndarray) -> OptionModel:
        """The model with only these options, Z'. ValueError for an empty subset."""
        kept = check_subset(subset, len(self.options))
        return self._replace(
            kernel=self.kernel[:, kept],
            reward=self.reward[:, :, kept],
            discount=self.discount[:, kept],
            duration=self.duration[:, kept],
            options=tuple(self.options[z] for z in kept),
        )

    def decision_states(self) -> OptionModel:
        """The model on the states in which decisions are really made: those that options reach from s_0.

        Exact for values at s_0; a set of long options leaves far fewer states than primitive actions do.
        """
        found = self.start > 0
        step: np.ndarray = self.kernel.max(1) > 0  # (S, S): some option ends there
        while True:
            grown = found | step[found].any(0)
            if (grown == found).all():
                break
            found = grown
        kept = np.flatnonzero(found)
        return self._replace(
            kernel=self.kernel[np.ix_(kept, np.arange(len(self.options)), kept)],
            reward=self.reward[:, kept],
            discount=self.discount[kept],
            duration=self.duration[kept],
            start=self.start[kept],
            states=tuple(self.states[s] for s in kept),
        )

    def _replace(self, **changes: object) -> OptionModel:
        names = OptionModel.__dataclass_fields__
        return OptionModel(**{name: changes.get(name, getattr(self, name)) for name in names})  # type: ignore[arg-type]


def primitive_options(family: Family) -> list[MarkovOption]:
    """Every primitive action as an option with tau = 1."""
    count, states = len(family.actions), len(family.states)
    return [
        MarkovOption(name, np.tile(np.eye(count)[a], (states, 1)), np.ones(states))
        for a, name in enumerate(family.actions)
    ]


def option_model(family: Family, options: Sequence[MarkovOption]) -> OptionModel:
    """The exact SMDP of Markov options, one linear solve an option. ValueError if an option may never stop.

    With P the option's chain and C = P diag(1 - stop) its way of going on:
    kernel = (I - gamma C)^-1 gamma P diag(stop), reward = (I - gamma C)^-1 r, E[tau] = (I - C)^-1 1.

    >>> family = two_state_family()
    >>> model = option_model(family, primitive_options(family))
    >>> model.kernel[0].tolist(), model.gbar  # stay, go
    ([[0.5, 0.0], [0.0, 0.5]], 0.5)
    """
    if not options:
        raise ValueError("empty set of options: give at least one, for example primitive_options(family).")
    states = len(family.states)
    gamma, eye = family.gamma, np.eye(states)
    kernels, rewards, discounts, durations = [], [], [], []
    for option in options:
        _check_option(option, family)
        chain = np.einsum("sa,ast->st", option.policy, family.transition)  # (S, S)
        ends = 1 - chain.sum(1)
        on = chain * (1 - option.stop)
        within = np.einsum("sa,msa->sm", option.policy, family.reward)  # (S, M)
        over = gamma * ((chain * option.stop).sum(1) + ends)
        right = np.column_stack([gamma * chain * option.stop, within, over])
        solved = np.linalg.solve(eye - gamma * on, right)
        kernels.append(solved[:, :states])
        rewards.append(solved[:, states:-1].T)
        discounts.append(solved[:, -1])
        durations.append(_mean_duration(option, on, eye))
    return OptionModel(
        kernel=np.stack(kernels, 1),
        reward=np.stack(rewards, 2),
        discount=np.stack(discounts, 1),
        duration=np.stack(durations, 1),
        weights=family.weights,
        start=family.start,
        gamma=gamma,
        options=tuple(option.name for option in options),
        states=family.states,
        tasks=family.tasks,
    )


def _mean_duration(option: MarkovOption, on: np.ndarray, eye: np.ndarray) -> np.ndarray:
    try:
        with np.errstate(all="ignore"):
            duration = np.linalg.solve(eye - on, np.ones(len(eye)))
    except np.linalg.LinAlgError:
        duration = np.full(len(eye), -1.0)
    if not (np.isfinite(duration).all() and (duration >= 1 - _TOLERANCE).all() and duration.max() < 1e12):
        raise ValueError(
            f"option {option.name!r} may run for ever: from every state it needs a way to a state where stop > 0."
        )
    return duration


def _check_option(option: MarkovOption, family: Family) -> None:
    shape = (len(family.states), len(family.actions))
    if option.policy.shape != shape or option.stop.shape != shape[:1]:
        raise ValueError(
            f"option {option.name!r}: policy {option.policy.shape} and stop {option.stop.shape}, "
            f"this family needs {shape} and {shape[:1]}."
        )
    if not is_distribution(option.policy):
        raise ValueError(f"option {option.name!r}: each row of its policy needs to be a distribution over actions.")
    if not (option.stop.min() >= 0 and option.stop.max() <= 1):
        raise ValueError(f"option {option.name!r}: stop holds probabilities, 0 to 1.")


def two_state_family(gamma: float = 0.5) -> Family:
    """The smallest example: `stay` in place, `go` from state 0 to state 1; each step in state 1 pays 1.

    >>> two_state_family().tasks
    ('be in state 1',)
    """
    transition = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    reward = np.array([[[0.0, 0.0], [1.0, 1.0]]])
    names = {"actions": ("stay", "go"), "states": ("0", "1"), "tasks": ("be in state 1",)}
    return Family(transition, reward, np.ones(1), np.array([1.0, 0.0]), gamma, **names)
