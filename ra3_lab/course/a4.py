"""A4: the M-step and the EM loop against next-token prediction. Its first half is in `a4_steps.py`."""

from __future__ import annotations

import numpy as np

from ra3_lab.course.a4_steps import EM, MICRO_LOSS, TABLE, WEAVE
from ra3_lab.course.exercise import Assignment, Exercise, Mistake, Question
from ra3_lab.course.plain import array

# --- a4.bound ------------------------------------------------------------------------------------------------------


def _bound_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for count, k, length, scale in ((2, 3, 4, 1.0), (3, 5, 2, 1.0), (2, 4, 6, 2000.0), (1, 2, 3, 1.0)):
        lines = -(0.5 + rng.exponential(1, (count, k, length))) * scale
        prior, proposal = (-rng.exponential(1, (count, k, length)) for _ in range(2))
        lengths = rng.integers(1, length, count)
        lengths[0] = max(lengths[0], min(2, length - 1))  # of one line each, a mean taken line by line would be right
        exists = np.arange(length) < lengths[:, None]
        lines = np.where(exists[:, None], lines, 40.0)
        cases.append([*(array(part.tolist()) for part in (lines, prior, proposal)), array(exists.tolist(), "bool")])
    return cases


def _bound(lines: np.ndarray, prior: np.ndarray, proposal: np.ndarray, exists: np.ndarray) -> np.ndarray:
    total = _totals(lines, prior, proposal, exists)
    return np.logaddexp.reduce(total, axis=1) - np.log(lines.shape[1])


def _totals(lines: np.ndarray, prior: np.ndarray, proposal: np.ndarray, exists: np.ndarray) -> np.ndarray:
    return np.where(exists[:, None], lines + prior - proposal, 0.0).sum(-1)


BOUND = Exercise(
    id="a4.bound",
    title="Fair to a policy that thinks",
    objective="Estimate the likelihood of code under a policy that may think, with thoughts drawn from another.",
    minutes=25,
    difficulty=3,
    points=4,
    function="evidence_bound",
    example=[
        array([[[-1.0, -2.0]], [[-0.5, -1.5]]]),
        array([[[-0.7, -0.7]], [[-0.1, -2.3]]]),
        array([[[-0.7, -0.2]], [[-0.7, -0.7]]]),
        array([[True, True], [True, True]], "bool"),
    ],
    make_inputs=_bound_inputs,
    oracle=_bound,
    mistakes=(
        Mistake(
            "underflow",
            "exp of a large negative number is 0 and its logarithm minus infinity: take out the largest term first.",
            matches=lambda a, expected, result: bool(not np.isfinite(np.array(result, float)).all()),
        ),
        Mistake(
            "elbo",
            "The mean of the logarithms is the ELBO; asked for is the logarithm of the mean, which is never smaller.",
            wrong=lambda *a: _totals(*a).mean(1),
        ),
        Mistake(
            "sum",
            "The sum over samples is not divided by K: more samples must not mean more likelihood.",
            wrong=lambda *a: _bound(*a) + np.log(a[0].shape[1]),
        ),
        Mistake(
            "upside_down",
            "The importance weight is upside down: p over q.",
            wrong=lambda lines, prior, proposal, exists: _bound(lines, proposal, prior, exists),
        ),
        Mistake(
            "unweighted",
            "The samples are not weighted by p over q, although they come from q.",
            wrong=lambda lines, prior, proposal, exists: _bound(lines, prior, prior, exists),
        ),
        Mistake(
            "padding",
            "Lines that do not exist are counted.",
            wrong=lambda lines, prior, proposal, exists: _bound(lines, prior, proposal, np.ones_like(exists)),
        ),
        Mistake(
            "line_by_line",
            "The mean over samples is taken line by line: a sample's lines belong together, multiply them first.",
            wrong=lambda lines, prior, proposal, exists: np.where(
                exists, np.logaddexp.reduce(lines + prior - proposal, axis=1) - np.log(lines.shape[1]), 0.0
            ).sum(1),
        ),
    ),
    gives_away=("ra3_lab.evaluate.likelihood:k_sample_bound",),
)

# --- a4.worth ------------------------------------------------------------------------------------------------------


def _worth_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for length, horizon in ((5, 5), (8, 2), (9, 3), (10, 10), (7, 1)):
        thought = rng.random(length) < 0.4
        thought[[0, length - 1]] = rng.random() < 0.5, True
        thought[length // 2] = True
        if horizon == 3:
            thought[:] = np.arange(length) % 8 == 1  # one governs more lines than the horizon
        cases.append(
            [
                array(thought.tolist(), "bool"),
                array((-rng.exponential(1, length)).tolist()),
                array((-rng.exponential(2, length)).tolist()),
                float(rng.uniform(0.05, 0.8)),
                horizon,
            ]
        )
    return cases


def _worth(
    thought: np.ndarray,
    informed: np.ndarray,
    plain: np.ndarray,
    cost: float,
    horizon: int,
    to_end: bool = False,
    skip: int = 0,
) -> np.ndarray:
    starts = np.flatnonzero(thought)
    stops = [len(thought)] * len(starts) if to_end else [*starts[1:], len(thought)]
    gain = informed - plain
    return np.array(
        [
            gain[start + skip : min(stop, start + horizon)].sum() - cost
            for start, stop in zip(starts, stops, strict=True)
        ]
    )


WORTH = Exercise(
    id="a4.worth",
    title="When a thought pays",
    objective="Credit each thought with the lines it governs and set its price against them.",
    minutes=15,
    difficulty=2,
    points=3,
    function="thought_gains",
    example=[
        array([True, False, False], "bool"),
        array([-0.5, -0.25, -1.0]),
        array([-2.0, -0.75, -1.25]),
        0.5,
        3,
    ],
    make_inputs=_worth_inputs,
    oracle=_worth,
    mistakes=(
        Mistake(
            "to_end",
            "A thought is credited with lines that a later thought governs: stop at the next one.",
            wrong=lambda *a: _worth(*a, to_end=True),
        ),
        Mistake(
            "own_line_missing",
            "The line directly after the thought is left out: it is the first that the thought helps.",
            wrong=lambda *a: _worth(*a, skip=1),
        ),
        Mistake(
            "no_horizon",
            "The horizon is ignored.",
            wrong=lambda thought, informed, plain, cost, horizon: _worth(thought, informed, plain, cost, len(thought)),
        ),
        Mistake(
            "free",
            "The price of the thought is not subtracted.",
            wrong=lambda thought, informed, plain, cost, horizon: _worth(thought, informed, plain, 0.0, horizon),
        ),
        Mistake(
            "sign",
            "The gain is the wrong way round: with the thought minus without.",
            wrong=lambda thought, informed, plain, cost, horizon: _worth(thought, plain, informed, cost, horizon),
        ),
    ),
    gives_away=("ra3_lab.evaluate.annotation:annotate_traces",),
)

# --- a4.paired -----------------------------------------------------------------------------------------------------


def _paired_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for seeds, tasks in ((3, 8), (5, 4), (2, 6), (4, 10)):
        hard = rng.uniform(0, 0.6, tasks)
        luck = rng.normal(0, 0.1, (seeds, 1))
        first, second = (hard + luck + rng.uniform(0, 0.3, (seeds, tasks)) for _ in range(2))
        cases.append([array(first.tolist()), array(second.tolist())])
    return cases


def _paired(ra3: np.ndarray, ntp: np.ndarray) -> list[float]:
    by_seed = (ra3 - ntp).mean(1)
    return [float(by_seed.mean()), float(by_seed.std(ddof=1) / len(by_seed) ** 0.5)]


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / values.size**0.5)


PAIRED = Exercise(
    id="a4.paired",
    title="RA3 against NTP, fairly",
    objective="Compare two arms trained with the same seeds, and say how sure one may be.",
    minutes=15,
    difficulty=2,
    points=3,
    function="paired_gain",
    example=[array([[0.2, 0.4], [0.4, 0.6]]), array([[0.0, 0.0], [0.0, 0.0]])],
    make_inputs=_paired_inputs,
    oracle=_paired,
    mistakes=(
        Mistake(
            "unpaired",
            "The two arms' spreads are added: seed and tasks were the same, take differences first.",
            wrong=lambda ra3, ntp: [
                _paired(ra3, ntp)[0],
                float(np.hypot(_standard_error(ra3.mean(1)), _standard_error(ntp.mean(1)))),
            ],
        ),
        Mistake(
            "independent",
            "Every (seed, task) counts as an independent run: tasks of one run share its luck.",
            wrong=lambda ra3, ntp: [_paired(ra3, ntp)[0], _standard_error(ra3 - ntp)],
        ),
        Mistake(
            "over_tasks",
            "The error is over tasks: it says nothing about another training run.",
            wrong=lambda ra3, ntp: [_paired(ra3, ntp)[0], _standard_error((ra3 - ntp).mean(0))],
        ),
        Mistake(
            "biased",
            "The deviation divides by S: with few seeds that is much too small.",
            wrong=lambda ra3, ntp: [_paired(ra3, ntp)[0], float((ra3 - ntp).mean(1).std() / len(ra3) ** 0.5)],
        ),
        Mistake(
            "spread",
            "This is the spread of single seeds; the mean of S seeds is surer than one.",
            wrong=lambda ra3, ntp: [_paired(ra3, ntp)[0], float((ra3 - ntp).mean(1).std(ddof=1))],
        ),
        Mistake("sign", "The sign is flipped: RA3 minus NTP.", wrong=lambda ra3, ntp: _paired(ntp, ra3)),
    ),
    gives_away=("ra3_lab.evaluate.passk:paired_difference_ci",),
)

ASSIGNMENT = Assignment(
    id="a4",
    title="M-step and EM against next-token prediction",
    notebook="a4_mstep_em",
    exercises=(WEAVE, MICRO_LOSS, TABLE, EM, BOUND, WORTH, PAIRED),
    questions=(
        Question("a4.why_own_weights", points=2),
        Question("a4.why_total", points=2),
        Question("a4.why_soft", points=2),
        Question("a4.why_climbs", points=2),
        Question("a4.why_causal", points=2),
        Question("a4.why_price", points=2),
        Question("a4.why_paired", points=2),
    ),
)
