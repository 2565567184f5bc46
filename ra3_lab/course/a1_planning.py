"""A1, first half: an option as one big step, and planning over options. The assignment is in `a1.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ra3_lab.course.exercise import Exercise, Mistake
from ra3_lab.course.plain import array

# --- a1.discount -----------------------------------------------------------------------------------------------------


def _discount_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases: list = [[0.9, [1.0]], [float(rng.uniform(0.5, 0.99)), [float(rng.uniform(0.1, 0.9))]]]
    for count in (2, 3, 5, 8):
        cases.append([float(rng.uniform(0.5, 0.99)), rng.uniform(0.05, 0.7, count).tolist()])
    cases.append([float(rng.uniform(0.9, 0.999)), [0.0, 0.0, 0.0, float(rng.uniform(0.001, 0.01))]])
    return cases


def _discount(gamma: float, hazard: Sequence[float], tail: bool = True, first: int = 1) -> float:
    """E[gamma^tau]; `tail`: whether the last hazard goes on for ever, `first`: the duration of the first step."""
    total, alive = 0.0, 1.0
    for step, chance in enumerate(hazard, first):
        total += alive * chance * gamma**step
        alive *= 1 - chance
    last = hazard[-1]
    after = alive * gamma ** (len(hazard) + first - 1) * last * gamma / (1 - (1 - last) * gamma)
    return total + after * tail


def _mean_duration(hazard: Sequence[float]) -> float:
    mean, alive = 0.0, 1.0
    for chance in hazard[:-1]:
        mean += alive
        alive *= 1 - chance
    return mean + alive / hazard[-1]


DISCOUNT = Exercise(
    id="a1.discount",
    title="How much an option shrinks the future",
    objective="Compute the discount of an option of random duration from the chances that it stops.",
    minutes=15,
    difficulty=1,
    points=2,
    function="option_discount",
    example=[0.5, [0.0, 1.0]],
    make_inputs=_discount_inputs,
    oracle=_discount,
    mistakes=(
        Mistake(
            "mean_duration",
            "This is gamma to the mean duration. The mean of gamma^tau is larger: gamma^tau is convex in tau.",
            wrong=lambda gamma, hazard: gamma ** _mean_duration(hazard),
        ),
        Mistake(
            "no_tail",
            "The sum ends with the last number listed: an option that still runs goes on with that same chance.",
            wrong=lambda gamma, hazard: _discount(gamma, hazard, tail=False),
        ),
        Mistake(
            "off_by_one",
            "Every power of gamma is one too low: an option that stops after its first step has tau = 1.",
            wrong=lambda gamma, hazard: _discount(gamma, hazard, first=0),
        ),
        Mistake(
            "hazard_as_law",
            "The chances to stop are used as the law of tau: only what has not stopped before can stop now.",
            wrong=lambda gamma, hazard: sum(chance * gamma ** (i + 1) for i, chance in enumerate(hazard)),
        ),
    ),
    gives_away=(
        "ra3_lab.theory.closed_forms:duration_discount",
        "ra3_lab.theory.closed_forms:geometric_discount",
    ),
)

# --- a1.model --------------------------------------------------------------------------------------------------------


def _model_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for states, limit, leak in ((2, 1, 0.0), (3, 2, 0.0), (4, 3, 0.1), (3, 7, 0.0), (5, 4, 0.2)):
        chain = rng.dirichlet(np.ones(states), states) * (1 - leak)
        stop = rng.uniform(0, 1, states) * (rng.random(states) < 0.8)
        reward = rng.normal(0, 1, states)
        gamma = float(rng.uniform(0.6, 0.98))
        cases.append([array(chain.tolist()), array(reward.tolist()), array(stop.tolist()), gamma, limit])
    return cases


def _model(chain: np.ndarray, reward: np.ndarray, stop: np.ndarray, gamma: float, limit: int) -> list:
    """Kernel and reward of an option that stops at the latest after `limit` steps."""
    kernel, within = gamma * chain, reward
    for _ in range(limit - 1):
        on = gamma * chain * (1 - stop)
        kernel, within = gamma * chain * stop + on @ kernel, reward + on @ within
    return [kernel, within]


def _unlimited(chain: np.ndarray, reward: np.ndarray, stop: np.ndarray, gamma: float, limit: int) -> list:
    on = np.eye(len(chain)) - gamma * chain * (1 - stop)
    return [np.linalg.solve(on, gamma * chain * stop), np.linalg.solve(on, reward)]


def _stop_before(chain: np.ndarray, reward: np.ndarray, stop: np.ndarray, gamma: float, limit: int) -> list:
    kernel, within = gamma * chain, reward
    for _ in range(limit - 1):
        stays = (1 - stop)[:, None]
        kernel = gamma * chain * stop[:, None] + stays * (gamma * chain @ kernel)
        within = reward + (1 - stop) * (gamma * chain @ within)
    return [kernel, within]


def _cut_lost(chain: np.ndarray, reward: np.ndarray, stop: np.ndarray, gamma: float, limit: int) -> list:
    lost = np.linalg.matrix_power(gamma * chain * (1 - stop), limit - 1) @ (gamma * chain * (1 - stop))
    kernel, within = _model(chain, reward, stop, gamma, limit)
    return [kernel - lost, within]


def _undiscounted_reward(chain: np.ndarray, reward: np.ndarray, stop: np.ndarray, gamma: float, limit: int) -> list:
    return [_model(chain, reward, stop, gamma, limit)[0], _model(chain, reward, stop, 1.0, limit)[1]]


def _undiscounted_kernel(chain: np.ndarray, reward: np.ndarray, stop: np.ndarray, gamma: float, limit: int) -> list:
    return [_model(chain, reward, stop, 1.0, limit)[0], _model(chain, reward, stop, gamma, limit)[1]]


MODEL = Exercise(
    id="a1.model",
    title="An option as one big step",
    objective="Reduce an option with a stopping rule and a time limit to a kernel and a reward, all a planner needs.",
    minutes=25,
    difficulty=3,
    points=4,
    function="limited_option",
    example=[
        array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]),
        array([0.0, 0.0, 1.0]),
        array([0.0, 0.0, 1.0]),
        0.5,
        5,
    ],
    make_inputs=_model_inputs,
    oracle=_model,
    mistakes=(
        Mistake(
            "no_limit",
            "The time limit is ignored: after `limit` steps the option stops wherever it is.",
            wrong=_unlimited,
        ),
        Mistake(
            "limit_short",
            "The option may run one step more than you allow: `limit` counts steps, the first one included.",
            wrong=lambda chain, reward, stop, gamma, limit: _model(chain, reward, stop, gamma, max(limit - 1, 1)),
        ),
        Mistake(
            "limit_long",
            "The option runs one step too long: `limit` counts steps, the first one included.",
            wrong=lambda chain, reward, stop, gamma, limit: _model(chain, reward, stop, gamma, limit + 1),
        ),
        Mistake(
            "stop_before",
            "The stopping rule is asked in the state that a step leaves; it is asked in the one where it arrives.",
            wrong=_stop_before,
        ),
        Mistake(
            "cut_lost",
            "What still runs when the limit comes is lost: it stops there, too, and belongs to the kernel.",
            wrong=_cut_lost,
        ),
        Mistake(
            "undiscounted_reward",
            "The kernel is right; later rewards within the option are not discounted.",
            wrong=_undiscounted_reward,
        ),
        Mistake("undiscounted_kernel", "The reward is right; the kernel lacks gamma^tau.", wrong=_undiscounted_kernel),
    ),
    gives_away=("ra3_lab.theory.mdp:option_model", "ra3_lab.theory.durations:timed_options"),
)

# --- a1.plan ---------------------------------------------------------------------------------------------------------


def _plan_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for states, options, share, sweeps in (
        (3, 2, 1.0, 0),
        (4, 3, 0.6, 1),
        (4, 3, 0.6, 5),
        (6, 4, 0.5, 12),
        (3, 2, 0.5, 3),
    ):
        gamma = rng.uniform(0.3, 0.95, (states, options, 1))
        kernel = rng.dirichlet(np.ones(states), (states, options)) * gamma
        reward = rng.normal(-0.6, 1, (states, options))
        allowed = rng.random((states, options)) < share
        allowed[0], reward[0] = True, -np.abs(reward[0]) - 0.2  # whatever one may do here costs something
        if share < 1:
            allowed[0, 0], reward[0, 0] = False, 2.0  # the best one is not allowed
            allowed[-1] = False  # an end
        cases.append([array(kernel.tolist()), array(reward.tolist()), array(allowed.tolist(), "bool"), sweeps])
    return cases


def _plan(kernel: np.ndarray, reward: np.ndarray, allowed: np.ndarray, sweeps: int, out: float = -np.inf) -> np.ndarray:
    values = np.zeros(len(reward))
    for _ in range(sweeps):
        best = np.where(allowed, reward + kernel @ values, out).max(1)
        values = np.where(allowed.any(1), best, 0.0)
    return values


def _in_place(kernel: np.ndarray, reward: np.ndarray, allowed: np.ndarray, sweeps: int) -> np.ndarray:
    values = np.zeros(len(reward))
    for _ in range(sweeps):
        for s in range(len(values)):
            q = [reward[s, z] + kernel[s, z] @ values for z in np.flatnonzero(allowed[s])]
            values[s] = max(q, default=0.0)
    return values


PLAN = Exercise(
    id="a1.plan",
    title="Value iteration where not every option may start everywhere",
    objective="Plan over options with initiation sets, sweep by sweep.",
    minutes=20,
    difficulty=2,
    points=3,
    function="plan",
    example=[
        array(
            [
                [[0.0, 0.5, 0.0], [0.0, 0.0, 0.25]],
                [[0.0, 0.0, 0.5], [0.0, 0.5, 0.0]],
                [[0.0, 0.0, 0.5], [0.0, 0.0, 0.5]],
            ]
        ),
        array([[0.0, 0.5], [1.0, 0.0], [1.0, 0.5]]),
        array([[True, True], [True, True], [True, True]], "bool"),
        2,
    ],
    make_inputs=_plan_inputs,
    oracle=_plan,
    mistakes=(
        Mistake(
            "all_allowed",
            "Options are used in states where they may not start.",
            wrong=lambda kernel, reward, allowed, sweeps: _plan(kernel, reward, np.ones_like(allowed), sweeps),
        ),
        Mistake(
            "zero_for_forbidden",
            "A forbidden option counts as one worth 0: where everything allowed costs something, it looks best.",
            wrong=lambda *a: _plan(*a, out=0.0),
        ),
        Mistake(
            "in_place",
            "Values are changed while the sweep still reads them: a sweep computes all of V_{n+1} from V_n.",
            wrong=_in_place,
        ),
        Mistake(
            "one_sweep_more",
            "One sweep too many: V_0 = 0 is the value after 0 sweeps.",
            wrong=lambda kernel, reward, allowed, sweeps: _plan(kernel, reward, allowed, sweeps + 1),
        ),
        Mistake(
            "end",
            "A state in which no option may start is an end: its value is 0, not the maximum of nothing.",
            matches=lambda a, expected, result: bool(not np.isfinite(np.array(result, float)).all()),
        ),
    ),
    gives_away=("ra3_lab.theory.solve:bellman", "ra3_lab.theory.solve:subset_values"),
)
