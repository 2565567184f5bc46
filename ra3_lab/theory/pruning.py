"""Theorem 2: the number of expert tasks that pruning needs, measured against (k ln|Z| + ln(1 / delta)) / sigma.

Mid-training sees N tasks M ~ p(M) and keeps *any* size-k subset Z' with Delta(M, Z') <= epsilon on all of them. A
subset is bad, (epsilon, sigma)-suboptimal, if P_M[Delta > epsilon] >= sigma. The theorem bounds the chance that some
bad subset is still consistent with N tasks (then "any" may pick it). Everything but the draw of the tasks is exact
here: Delta of every size-k subset on every task comes from exact planning.

`violations.py` shows what happens where the assumptions fail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ra3_lab.theory.checks import check_count, check_positive, check_share
from ra3_lab.theory.closed_forms import expert_tasks_bound, expert_tasks_sharp, failure_bound
from ra3_lab.theory.mdp import OptionModel
from ra3_lab.theory.programs import SKILLS, Programs, distinct_lines, programs, skill_model
from ra3_lab.theory.records import Fit, fit_line, floats, record
from ra3_lab.theory.solve import all_masks, solve, subset_values

_MOST_SUBSETS = 20_000


@dataclass(frozen=True)
class PruningProblem:
    """Delta of every size-k subset on every task."""

    name: str
    """What Z is made of."""
    options: int
    """|Z|."""
    k: int
    """Size of the subsets: |Z_eps|, the smallest with Delta <= epsilon on all tasks."""
    epsilon: float
    """Pruning error that is still acceptable, in units of return."""
    errors: np.ndarray
    """(B, M) the distinct rows Delta(., Z'): subsets with the same errors live and die together."""
    weights: np.ndarray
    """(M,) p(M)."""

    @property
    def exceeds(self) -> np.ndarray:
        """(B, M) whether Delta > epsilon: an expert task on which a subset shows that it is too small."""
        return self.errors > self.epsilon

    @property
    def mass(self) -> np.ndarray:
        """(B,) P_M[Delta > epsilon]."""
        return self.exceeds @ self.weights

    def bad(self, sigma: float) -> np.ndarray:
        """(B,) whether a subset is (epsilon, sigma)-suboptimal. ValueError unless 0 < sigma < 1."""
        check_share("sigma", sigma)
        return self.mass >= sigma - 1e-12


def delta_table(model: OptionModel) -> tuple[np.ndarray, np.ndarray]:
    """Every subset of Z and its pruning error on every task: masks (2^|Z| - 1, |Z|) and errors (2^|Z| - 1, M).

    By brute force. ValueError for more than 12 options.
    """
    count = len(model.options)
    check_count("|Z|", count, 1, 12)
    masks = ((np.arange(1, 2**count)[:, None] >> np.arange(count)) & 1).astype(bool)
    return masks, solve(model).start_values - subset_values(model, masks)


def smallest_size(masks: np.ndarray, errors: np.ndarray, epsilon: float) -> int:
    """k = |Z_eps|: fewest options with Delta <= epsilon on every task, from `delta_table`.

    >>> smallest_size(np.array([[True, False], [True, True]]), np.array([[0.5], [0.0]]), 0.1)
    2
    """
    check_positive("epsilon", epsilon)
    return int(masks[(errors <= epsilon).all(1)].sum(1).min())


def skill_problem(model: OptionModel, epsilon: float = 0.02) -> PruningProblem:
    """Pruning over the options of a model, every size-k subset of them.

    >>> problem = skill_problem(skill_model(programs(("reverse", "sort"), (1.0, 0.0), (1, 1))))
    >>> problem.k, problem.errors.round(2).tolist()  # `reverse` and `return_list`; without one of them nothing works
    (2, [[0.0], [0.88]])
    """
    masks, errors = delta_table(model)
    k = smallest_size(masks, errors, epsilon)
    return _problem("skills", len(model.options), k, epsilon, errors[masks.sum(1) == k], model.weights)


def line_problem(world: Programs, model: OptionModel, epsilon: float = 0.02) -> PruningProblem:
    """The same tasks with lines as actions: every size-k subset of the distinct lines.

    A kept set of lines is worth as much as the skills whose blocks it can write in full, since an unfinished block is
    worth nothing (a test checks this against planning over lines). `model` is the world's `skill_model`.
    """
    lines = distinct_lines(world)
    uses = np.array([[int(line in block) for line in lines] for block in world.blocks])  # (Z, lines)
    masks, errors = delta_table(model)
    good = (errors <= epsilon).all(1)
    k = int((masks[good] @ uses > 0).sum(1).min())
    check_count(f"number of {k}-line subsets", math.comb(len(lines), k), 1, _MOST_SUBSETS)
    # Subsets of lines that can write the same skills are one row; a skill set is coded in bits, as in `masks`.
    writable = all_masks(len(lines), k).astype(np.int8) @ uses.T.astype(np.int8) == uses.sum(1)  # (C, Z)
    codes = np.unique(writable @ 2 ** np.arange(len(world.blocks)))
    nothing = solve(model).start_values  # no block can be written: value 0
    rows = np.vstack([nothing if code == 0 else errors[code - 1] for code in codes])
    return _problem("lines", len(lines), k, epsilon, rows, model.weights)


def _problem(
    name: str, options: int, k: int, epsilon: float, errors: np.ndarray, weights: np.ndarray
) -> PruningProblem:
    return PruningProblem(name, options, k, epsilon, np.unique(errors.round(12), axis=0), weights)


def union_bound(problem: PruningProblem, sigma: float, tasks: Sequence[int] | np.ndarray) -> np.ndarray:
    """(len(tasks),) the union bound of this very instance: sum over distinct bad rows of (1 - mass)^N, cut at 1."""
    mass = problem.mass[problem.bad(sigma)]
    return np.minimum(1.0, ((1 - mass)[:, None] ** np.asarray(tasks, float)).sum(0))


def first_draws(weights: np.ndarray, repeats: int, rng: np.random.Generator) -> np.ndarray:
    """(repeats, M) at which independent draw from p(M) each task comes first, counted from 1; inf if p(M) = 0.

    Exact and without drawing the tasks one by one: the wait for a task not seen yet is geometric, and which one it is
    follows p(M) among those.

    >>> first_draws(np.array([1.0, 0.0]), 2, np.random.default_rng(0)).tolist()
    [[1.0, inf], [1.0, inf]]
    """
    first = np.full((repeats, len(weights)), np.inf)
    now, rows = np.zeros(repeats), np.arange(repeats)
    for _ in range(np.count_nonzero(weights)):
        left = np.where(np.isinf(first), weights, 0.0).cumsum(1)  # (repeats, M)
        now = now + rng.geometric(np.minimum(left[:, -1], 1.0))
        # A strict comparison, so that a task with weight 0 is never the one.
        drawn = (left > rng.random((repeats, 1)) * left[:, -1:]).argmax(1)
        first[rows, drawn] = now
    return first


def survival_times(reveals: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(repeats,) number of tasks after which no subset is left, where `reveals` (B, M) says which task rules out which.

    inf where some subset outlives the draws; 0 if there is no subset.
    """
    times = np.zeros(len(first))
    for row in reveals:
        times = np.maximum(times, first[:, row].min(1, initial=np.inf))
    return times


@record
@dataclass(frozen=True)
class PruningCurve:
    """One action set: how the chance that a bad subset survives falls with the number of expert tasks."""

    name: str
    """What Z is made of: skills or lines."""
    options: int
    """|Z|."""
    k: int
    """|Z_eps|."""
    tasks: tuple[int, ...]
    """N, numbers of expert tasks."""
    failure: tuple[float, ...]
    """Measured share of repeats in which a bad subset is consistent with all N tasks."""
    union: tuple[float, ...]
    """Union bound with the instance's own masses."""
    bound: tuple[float, ...]
    """|Z|^k e^(-sigma N), cut at 1."""
    needed: float
    """Measured: fewest tasks with a failure rate of at most delta."""
    predicted: float
    """Theorem 2: (k ln|Z| + ln(1 / delta)) / sigma."""


@record
@dataclass(frozen=True)
class PruningSetting:
    """Theorem 2 at one setting."""

    name: str
    """What Z is made of."""
    options: int
    """|Z|."""
    k: int
    """|Z_eps|."""
    sigma: float
    """Share of tasks on which a bad subset may fail."""
    delta: float
    """Allowed chance that a bad subset survives."""
    predicted: float
    """N of theorem 2."""
    sharp: float
    """N of the union bound without roundings."""
    needed: float
    """Measured N at which the failure rate is delta."""
    failure: float
    """Measured failure rate at the predicted N (rounded up)."""
    standard_error: float
    """Of a rate of delta in as many repeats."""


@record
@dataclass(frozen=True)
class PruningRecord:
    """What `pruning_lab` measured."""

    sigma: float
    """Share of tasks that makes a subset bad, in the curves."""
    delta: float
    """Allowed failure rate, in the curves."""
    epsilon: float
    """Acceptable pruning error, in units of return."""
    gamma: float
    """Discount per line."""
    repeats: int
    """Draws of the expert tasks."""
    seed: int
    """Of those draws."""
    curves: tuple[PruningCurve, ...]
    """Skills and lines on the same tasks."""
    settings: tuple[PruningSetting, ...]
    """Over families of tasks, sigma and delta."""
    fits: tuple[Fit, ...]
    """Measured N against predicted N over the settings: of skills, of lines."""


SIGMAS = (0.03, 0.05, 0.1, 0.15)
DELTAS = (0.05, 0.1, 0.2)
USED = (2, 3, 4, 5)
"""How many skills the tasks of the settings use: k grows with it."""
MOST_USED = 5
"""The last skill, take:4, leaves the start as it is: no one-skill task asks for it. It can only be pruned."""


def pruning_lab(
    sigma: float = 0.1,
    delta: float = 0.05,
    epsilon: float = 0.02,
    gamma: float = 0.97,
    used: int = 4,
    repeats: int = 400,
    seed: int = 0,
) -> PruningRecord:
    """Failure rates over N for skills and lines on the same tasks, and N measured against N predicted over settings.

    Tasks are one-skill programs; `used` of the six skills occur, the first most often and each other one in a share
    `sigma` of the tasks: as rare as the theorem has to find. The settings are 2 to 5 used skills, four sigmas, three
    deltas, skills and lines: 96 in all. ValueError for a `used` above `MOST_USED` and where the rare skills would
    need more than all tasks.
    """
    check_share("delta", delta)
    check_count("repeats", repeats, 2)
    rng = np.random.default_rng(seed)
    curves: list[PruningCurve] = []
    settings: list[PruningSetting] = []
    for count in sorted({used, *USED}):
        problems = program_problems(rare_usage(count, 0.1), epsilon, gamma)
        for share in sorted({sigma, *SIGMAS}) if count == used else SIGMAS:
            weights = task_weights(rare_usage(count, share))
            first = first_draws(weights, repeats, rng)
            now = [replace(problem, weights=weights) for problem in problems]
            if count == used and share == sigma:
                curves = [measure_curve(problem, sigma, delta, first) for problem in now]
            if count in USED and share in SIGMAS:
                settings += [row for problem in now for row in measure_settings(problem, share, DELTAS, first)]
    fits = tuple(
        fit_line(
            [row.predicted for row in settings if row.name == name],
            [row.needed for row in settings if row.name == name],
        )
        for name in ("skills", "lines")
    )
    return PruningRecord(sigma, delta, epsilon, gamma, repeats, seed, tuple(curves), tuple(settings), fits)


def rare_usage(used: int, sigma: float) -> tuple[float, ...]:
    """Usage of the six skills: `used` (1 to `MOST_USED`) occur, all but the first with probability sigma each.

    >>> rare_usage(3, 0.25)
    (0.5, 0.25, 0.25, 0.0, 0.0, 0.0)
    """
    check_share("sigma", sigma)
    if not 1 <= used <= MOST_USED or used != int(used):
        raise ValueError(
            f"used={used}: needs a whole number, 1 to {MOST_USED}; {SKILLS[-1]} leaves the start as it is."
        )
    rest = 1 - (used - 1) * sigma
    if rest <= 0:
        raise ValueError(
            f"sigma={sigma}: {used - 1} rare skills need less than all tasks; choose sigma < {1 / (used - 1):g}."
        )
    return (rest, *[sigma] * (used - 1), *[0.0] * (len(SKILLS) - used))


def task_weights(usage: tuple[float, ...]) -> np.ndarray:
    """(M,) p(M) of the one-skill programs."""
    weights = programs(SKILLS, usage, (1, 1)).weights
    return weights[weights > 0]


def program_problems(usage: tuple[float, ...], epsilon: float, gamma: float) -> tuple[PruningProblem, PruningProblem]:
    """Skills and lines on the same one-skill programs."""
    world = programs(SKILLS, usage, (1, 1))
    model = skill_model(world, gamma)
    return skill_problem(model, epsilon), line_problem(world, model, epsilon)


def measure_curve(problem: PruningProblem, sigma: float, delta: float, first: np.ndarray) -> PruningCurve:
    """Failure against N for these draws, `first` (repeats, M) of `first_draws`."""
    times = survival_times(problem.exceeds[problem.bad(sigma)], first)
    predicted = expert_tasks_bound(problem.k, problem.options, sigma, delta)
    tasks = np.unique(np.linspace(0, math.ceil(predicted * 1.1), 60).astype(int))
    return PruningCurve(
        name=problem.name,
        options=problem.options,
        k=problem.k,
        tasks=floats(tasks),
        failure=floats((times[:, None] > tasks).mean(0)),
        union=floats(union_bound(problem, sigma, tasks)),
        bound=tuple(failure_bound(n, problem.k, problem.options, sigma) for n in tasks),
        needed=_needed(times, delta),
        predicted=predicted,
    )


def measure_settings(
    problem: PruningProblem, sigma: float, deltas: Sequence[float], first: np.ndarray
) -> list[PruningSetting]:
    """Theorem 2 at this sigma and each delta, for these draws."""
    rows = []
    times = survival_times(problem.exceeds[problem.bad(sigma)], first)
    for delta in deltas:
        setting = (problem.k, problem.options, sigma, delta)
        predicted = expert_tasks_bound(*setting)
        rows.append(
            PruningSetting(
                name=problem.name,
                options=problem.options,
                k=problem.k,
                sigma=sigma,
                delta=delta,
                predicted=predicted,
                sharp=expert_tasks_sharp(*setting),
                needed=_needed(times, delta),
                failure=float((times > math.ceil(predicted)).mean()),
                standard_error=math.sqrt(delta * (1 - delta) / len(times)),
            )
        )
    return rows


def _needed(times: np.ndarray, delta: float) -> float:
    """Fewest N with a share of at most delta of the repeats still failing: an order statistic of the times."""
    return float(np.sort(times)[math.ceil((1 - delta) * len(times) - 1e-9) - 1])
