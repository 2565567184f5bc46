"""A1: option MDPs, pruning and horizon. Its first half is in `a1_planning.py`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ra3_lab.course.a1_planning import DISCOUNT, MODEL, PLAN
from ra3_lab.course.exercise import Assignment, Exercise, Mistake, Question
from ra3_lab.course.plain import array
from ra3_lab.theory.closed_forms import option_reward_cap, value_iteration_bound

# --- a1.regret -------------------------------------------------------------------------------------------------------


def _regret_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for tasks, options, size in ((2, 3, 1), (4, 5, 2), (6, 6, 3), (3, 4, 4), (8, 7, 3)):
        kept = rng.permutation(options)[:size]
        if size < options:
            kept[0] = options - 1
            kept = np.unique(kept)[::-1]
        worth = rng.normal(0, 1, (tasks, options))
        weights = rng.dirichlet(np.ones(tasks))
        policy = rng.dirichlet(np.ones(len(kept)), tasks)
        cases.append(
            [array(worth.tolist()), array(weights.tolist()), array(kept.tolist(), "int64"), array(policy.tolist())]
        )
    return cases


def _regret(worth: np.ndarray, weights: np.ndarray, kept: np.ndarray, policy: np.ndarray) -> list[float]:
    best = weights @ worth.max(1)
    inside = weights @ worth[:, kept].max(1)
    value = weights @ (policy * worth[:, kept]).sum(1)
    return [float(best - value), float(best - inside), float(inside - value)]


def _one_for_all(worth: np.ndarray, weights: np.ndarray, kept: np.ndarray, policy: np.ndarray) -> list[float]:
    mean = weights @ worth
    best, inside = mean.max(), mean[kept].max()
    value = weights @ (policy * worth[:, kept]).sum(1)
    return [float(best - value), float(best - inside), float(inside - value)]


REGRET = Exercise(
    id="a1.regret",
    title="Regret splits in two",
    objective="Separate what the kept set can never win back from what learning has not won yet.",
    minutes=15,
    difficulty=1,
    points=2,
    function="regret_split",
    example=[
        array([[4.0, 2.0, 0.0], [3.0, 2.0, 1.0]]),
        array([0.5, 0.5]),
        array([0, 1], "int64"),
        array([[0.5, 0.5], [0.5, 0.5]]),
    ],
    make_inputs=_regret_inputs,
    oracle=_regret,
    mistakes=(
        Mistake(
            "unweighted",
            "All tasks count equally: the expectation is over p(M).",
            wrong=lambda worth, weights, kept, policy: _regret(
                worth, np.full_like(weights, 1 / len(weights)), kept, policy
            ),
        ),
        Mistake(
            "one_for_all",
            "The optimum is taken after the mean over tasks: V* is each task's own best, and the mean comes last.",
            wrong=_one_for_all,
        ),
        Mistake(
            "whole_set_columns",
            "The policy's columns are taken for the first options of Z; they belong to the kept ones, in that order.",
            wrong=lambda worth, weights, kept, policy: _mixed(worth, weights, kept, policy),
        ),
        Mistake("sign", "The sign is flipped: regret is never negative.", wrong=lambda *a: [-x for x in _regret(*a)]),
        Mistake(
            "swapped",
            "Pruning error and RL error are swapped.",
            wrong=lambda *a: [_regret(*a)[i] for i in (0, 2, 1)],
        ),
    ),
    gives_away=("ra3_lab.theory.regret:decompose",),
)


def _mixed(worth: np.ndarray, weights: np.ndarray, kept: np.ndarray, policy: np.ndarray) -> list[float]:
    best, inside = weights @ worth.max(1), weights @ worth[:, kept].max(1)
    value = weights @ (policy * worth[:, : len(kept)]).sum(1)
    return [float(best - value), float(best - inside), float(inside - value)]


# --- a1.smallest_sets ------------------------------------------------------------------------------------------------


def _sets_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases: list = []
    for tasks, options, epsilon in ((3, 4, 0.5), (5, 5, 0.25), (6, 6, 0.75), (4, 5, 0.25), (7, 7, 0.5)):
        worth = rng.integers(0, 9, (tasks, options)) / 4
        cases.append([array(worth.tolist()), epsilon])
    # The option that is good most often is in no smallest set: greedy choice fails. The order of options is drawn.
    trap = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0]], float)
    cases.append([array(trap[rng.permutation(6)][:, rng.permutation(4)].tolist()), 0.0])
    # Good enough but never best, on all tasks; and a pair that is fine on average only.
    cover = np.array([[1.0, 0.0, 0.75, 0.25], [0.0, 1.0, 0.75, 0.5]])
    cases.append([array(cover[:, rng.permutation(4)].tolist()), 0.25])
    return cases


def _sets(worth: np.ndarray, epsilon: float, mean: bool = False, strict: bool = False) -> list[list[int]]:
    error_of_best = worth.max(1)
    for size in range(1, worth.shape[1] + 1):
        found = []
        for subset in combinations(range(worth.shape[1]), size):
            error = error_of_best - worth[:, list(subset)].max(1)
            error = np.array([error.mean()]) if mean else error
            if (error < epsilon).all() if strict else (error <= epsilon).all():
                found.append(list(subset))
        if found:
            return found
    return []


def _same_sets(arguments: Sequence[Any], expected: Any, result: Any) -> bool:
    if not all(isinstance(z, int) and not isinstance(z, bool) for subset in result for z in subset):
        return False
    return sorted(map(sorted, result)) == sorted(map(sorted, expected))


SETS = Exercise(
    id="a1.smallest_sets",
    title="The smallest sets that are good enough",
    objective="Find |Z_eps| and every set of that size that loses at most epsilon on each task.",
    minutes=20,
    difficulty=2,
    points=3,
    function="smallest_sets",
    example=[array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]]), 0.0],
    make_inputs=_sets_inputs,
    oracle=_sets,
    compare=_same_sets,
    mistakes=(
        Mistake(
            "mean_error",
            "The error is averaged over tasks: it must be at most epsilon on *each* of them.",
            matches=lambda a, expected, result: _same_sets(a, _sets(*a, mean=True), result),
        ),
        Mistake(
            "strict",
            "An error of exactly epsilon is still acceptable.",
            matches=lambda a, expected, result: _same_sets(a, _sets(*a, strict=True), result or []),
        ),
        Mistake(
            "only_one",
            "There are more sets of the smallest size: return all of them.",
            matches=lambda a, expected, result: (
                len(result) < len(expected) and all(sorted(subset) in expected for subset in result) and len(result) > 0
            ),
        ),
        Mistake(
            "no_set",
            "No set is returned; all options together always lose nothing.",
            matches=lambda a, expected, result: result == [],
        ),
        Mistake(
            "flat",
            "This is one list of numbers: return a list of sets, each a list of option numbers, also for a single set.",
            matches=lambda a, expected, result: all(isinstance(z, (int, float)) for z in result),
        ),
        Mistake(
            "not_whole",
            "Option numbers must be whole numbers (int).",
            matches=lambda a, expected, result: any(isinstance(z, float) for subset in result for z in subset),
        ),
        Mistake(
            "too_large",
            "A smaller set does it too: choosing the best option step by step, or each task's best, may keep too many.",
            matches=lambda a, expected, result: all(len(subset) > len(expected[0]) for subset in result),
        ),
        Mistake(
            "not_the_smallest",
            "Some sets are missing, too large, or not good enough on every task: a rule of thumb that picks options "
            "one by one does not find them all.",
            matches=lambda a, expected, result: (
                len(result) > 0 and all(isinstance(z, int) for subset in result for z in subset)
            ),
        ),
    ),
    gives_away=("ra3_lab.theory.pruning:smallest_size", "ra3_lab.theory.pruning:delta_table"),
)

# --- a1.expert_tasks -------------------------------------------------------------------------------------------------


def _tasks_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for subsets, tasks, sigma, delta in ((4, 6, 0.1, 0.05), (10, 8, 0.2, 0.01), (30, 12, 0.05, 0.1)):
        errors = np.round(rng.uniform(0, 1, (subsets, tasks)), 2) * (rng.random((subsets, tasks)) < 0.4)
        errors[0] = 0.0  # a subset that is never wrong
        errors[1] = np.eye(tasks)[0] * 0.9  # one that is wrong on a rare task only
        errors[2] = np.eye(tasks)[1] * 0.9
        rest = rng.dirichlet(np.full(tasks - 2, 2.0)) * (1 - sigma / 3 - 1.5 * sigma)
        weights = [sigma / 3, 1.5 * sigma, *rest.tolist()]
        cases.append([array(errors.tolist()), array(weights), 0.5, sigma, delta])
    for size in (1.1, 1.3):  # the subset that is hardest to expose is off by exactly epsilon
        sigma = float(rng.uniform(0.02, 0.2))
        weights = [size * sigma, 0.6, 0.4 - size * sigma]
        errors = [[0.25, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.3]]
        cases.append([array(errors), array(weights), 0.25, sigma, float(rng.uniform(0.001, 0.05))])
    cases.append([array([[0.0, 0.0, 0.9]]), array([0.5, 0.45, 0.05]), 0.5, 0.5, 0.1])  # nothing is bad
    # A subset fails with exactly sigma; quarters, so that sums are exact in any order.
    errors = np.array([[0.9, 0.0, 0.0, 0.0], [0.0, 0.9, 0.9, 0.0]])[:, rng.permutation(4)]
    cases.append([array(errors.tolist()), array([0.25] * 4), 0.5, 0.25, 0.1])
    return cases


def _tasks(
    errors: np.ndarray,
    weights: np.ndarray,
    epsilon: float,
    sigma: float,
    delta: float,
    weighted: bool = True,
    at_epsilon: bool = False,
    worst: bool = False,
    above: float | None = None,
) -> int:
    exceeds = errors >= epsilon if at_epsilon else errors > epsilon
    mass = exceeds @ weights if weighted else exceeds.mean(1)
    mass = mass[mass >= sigma] if above is None else mass[mass > above]
    if worst and len(mass):
        mass = np.full(len(mass), mass.min())
    tasks = 0
    while ((1 - mass) ** tasks).sum() > delta:
        tasks += 1
    return tasks


TASKS = Exercise(
    id="a1.expert_tasks",
    title="How many expert tasks this pruning needs",
    objective="Turn the union bound into the number of expert tasks, for a table of errors instead of the worst case.",
    minutes=25,
    difficulty=3,
    points=4,
    function="expert_tasks",
    example=[array([[0.9, 0.9, 0.0, 0.0], [0.0, 0.0, 0.9, 0.9]]), array([0.25] * 4), 0.5, 0.25, 0.1],
    make_inputs=_tasks_inputs,
    oracle=_tasks,
    rtol=0.0,
    atol=0.0,
    mistakes=(
        Mistake(
            "unweighted",
            "All tasks count equally: a task is drawn from p(M).",
            wrong=lambda *a: _tasks(*a, weighted=False),
        ),
        Mistake(
            "at_epsilon",
            "An error of exactly epsilon counts as too large; a task exposes a subset only where Delta > epsilon.",
            wrong=lambda *a: _tasks(*a, at_epsilon=True),
        ),
        Mistake(
            "all_subsets",
            "Subsets that are not bad are counted, too: only those with P[Delta > epsilon] >= sigma must not survive.",
            wrong=lambda *a: _tasks(*a, above=0.0),
        ),
        Mistake(
            "above_sigma",
            "A subset that fails with a chance of exactly sigma is bad, too.",
            wrong=lambda *a: _tasks(*a, above=a[3]),
        ),
        Mistake(
            "worst_case",
            "Every bad subset is treated like the one that is hardest to expose: sum each one's own chance.",
            wrong=lambda *a: _tasks(*a, worst=True),
        ),
        Mistake(
            "one_too_few",
            "One task too few: the chance must be at most delta.",
            wrong=lambda *a: max(_tasks(*a) - 1, 0),
        ),
    ),
    gives_away=(
        "ra3_lab.theory.pruning:union_bound",
        "ra3_lab.theory.closed_forms:expert_tasks_bound",
        "ra3_lab.theory.closed_forms:expert_tasks_sharp",
    ),
)

# --- a1.horizon ------------------------------------------------------------------------------------------------------


def _horizon_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases: list = []
    for count in (1, 2, 3, 4, 6):
        durations = rng.choice(np.arange(2, 20), count, replace=False).tolist()
        gamma, reward = float(rng.uniform(0.8, 0.99)), float(rng.uniform(0.5, 4))
        cases.append([gamma, durations, reward, float(rng.uniform(0.001, 0.1))])
    cases.append([float(rng.uniform(0.9, 0.99)), [1, 12, 7], float(rng.uniform(0.5, 4)), 0.01])
    cases.append([float(rng.uniform(0.5, 0.7)), [3, 6], float(rng.uniform(0.5, 1)), float(rng.uniform(50, 100))])
    return cases


def _horizon(
    gamma: float,
    durations: Sequence[int],
    reward: float,
    epsilon: float,
    contraction: float | None = None,
    reward_steps: float | None = None,
) -> int:
    """The bound; `contraction` and `reward_steps` are the durations that mistakes put into gbar and R_max."""
    gbar = gamma ** (min(durations) if contraction is None else contraction)
    most = reward * option_reward_cap(gamma, max(durations) if reward_steps is None else reward_steps)
    return value_iteration_bound(gbar, most, epsilon)


HORIZON = Exercise(
    id="a1.horizon",
    title="How many sweeps long options save",
    objective="Bound the sweeps of value iteration for options of given durations, and see what a short one costs.",
    minutes=15,
    difficulty=2,
    points=3,
    function="sweeps_needed",
    example=[0.9, [4, 4], 1.0, 0.01],
    make_inputs=_horizon_inputs,
    oracle=_horizon,
    rtol=0.0,
    atol=0.0,
    mistakes=(
        Mistake(
            "longest",
            "gbar is taken from the longest option: it is the supremum, so the option that shrinks least decides.",
            wrong=lambda gamma, durations, *rest: _horizon(gamma, durations, *rest, contraction=max(durations)),
        ),
        Mistake(
            "mean",
            "gbar is taken from the mean duration: it is the supremum, so the option that shrinks least decides.",
            wrong=lambda gamma, durations, *rest: _horizon(
                gamma, durations, *rest, contraction=sum(durations) / len(durations)
            ),
        ),
        Mistake(
            "primitive_reward",
            "R_max is the reward of one step: it must bound what is collected *within one option*.",
            wrong=lambda *a: _horizon(*a, reward_steps=1),
        ),
        Mistake(
            "primitive_gamma",
            "gamma is used as contraction factor: a decision lasts tau steps, so that it shrinks by gamma^tau.",
            wrong=lambda *a: _horizon(*a, contraction=1),
        ),
        Mistake(
            "reward_of_shortest",
            "R_max is taken from the shortest option; the longest one collects most.",
            wrong=lambda gamma, durations, *rest: _horizon(gamma, durations, *rest, reward_steps=min(durations)),
        ),
        Mistake(
            "negative",
            "The number of sweeps is negative: where V_0 = 0 is close enough already, none is needed.",
            matches=lambda a, expected, result: result < 0 == expected,
        ),
    ),
    gives_away=(
        "ra3_lab.theory.closed_forms:value_iteration_bound",
        "ra3_lab.theory.closed_forms:option_reward_cap",
    ),
)

ASSIGNMENT = Assignment(
    id="a1",
    title="Option MDPs, pruning and horizon",
    notebook="a1_options",
    exercises=(DISCOUNT, MODEL, PLAN, REGRET, SETS, TASKS, HORIZON),
    questions=(
        Question("a1.why_jensen", points=2),
        Question("a1.why_reduce", points=2),
        Question("a1.why_minus_infinity", points=1),
        Question("a1.why_two_errors", points=2),
        Question("a1.why_small", points=2),
        Question("a1.why_log", points=2),
        Question("a1.why_primitive", points=2),
    ),
)
