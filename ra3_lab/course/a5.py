"""A5: GRPO. Advantages from groups, the clipped surrogate, who counts how much, KL estimators, pass@k."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np

from ra3_lab.course.exercise import Assignment, Exercise, Mistake, Question, close
from ra3_lab.course.plain import array, tensor

# --- a5.advantages -------------------------------------------------------------------------------------------------


def _advantage_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for sizes, missing in (((4, 4), 0.0), ((3, 5, 2), 0.25), ((6, 1), 0.0), ((4, 4, 4), 0.4), ((2, 2), 0.5)):
        groups = rng.permutation(np.repeat(np.arange(len(sizes)) * 3 + 7, sizes))
        rewards = np.round(rng.uniform(0, 1, len(groups)), 3)
        valid = rng.random(len(groups)) >= missing
        cases.append([array(rewards.tolist()), array(groups.tolist(), "int64"), array(valid.tolist(), "bool")])
    return cases


def _advantages(
    rewards: np.ndarray, groups: np.ndarray, valid: np.ndarray, own: bool = False, counted: np.ndarray | None = None
) -> np.ndarray:
    """R_i - mean of the others; `own` takes R_i into the mean, `counted` is who enters baselines."""
    counted = valid if counted is None else counted
    result = np.zeros(len(rewards))
    for i in np.flatnonzero(valid):
        others = counted & (groups == groups[i])
        if not own:
            others[i] = False
        if others.any():
            result[i] = rewards[i] - rewards[others].mean()
    return result


ADVANTAGES = Exercise(
    id="a5.advantages",
    title="Advantages from a group",
    objective="Turn verdicts into advantages with a leave-one-out baseline, whatever the order and whoever is missing.",
    minutes=20,
    difficulty=2,
    points=3,
    function="advantages",
    example=[
        array([1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]),
        array([0, 0, 0, 0, 1, 1, 1, 1], "int64"),
        array([True] * 8, "bool"),
    ],
    make_inputs=_advantage_inputs,
    oracle=_advantages,
    mistakes=(
        Mistake("sign", "The sign is flipped: a reward above the baseline is good.", wrong=lambda *a: -_advantages(*a)),
        Mistake(
            "own",
            "The baseline contains the sample's own reward: compare it with the *other* members.",
            wrong=lambda r, g, v: _advantages(r, g, v, own=True),
        ),
        Mistake(
            "batch",
            "The baseline is taken over the whole batch: another task's difficulty gets into it.",
            wrong=lambda r, g, v: _advantages(r, np.zeros_like(g), v),
        ),
        Mistake(
            "no_verdict_in_baseline",
            "Samples without a verdict enter the baseline as if they had earned their 'reward'.",
            wrong=lambda r, g, v: _advantages(r, g, v, counted=np.ones_like(v)),
        ),
        Mistake(
            "no_verdict_trained",
            "A sample without a verdict gets an advantage: nothing is known about it, so it must get 0.",
            matches=lambda a, expected, result: bool(
                np.allclose(np.array(result)[a[2]], np.array(expected)[a[2]]) and np.any(np.array(result)[~a[2]])
            ),
        ),
        Mistake(
            "alone",
            "A sample whose group has nobody to compare with must get 0, not a division by nothing.",
            matches=lambda a, expected, result: bool(np.isnan(np.array(result, float)).any()),
        ),
    ),
    gives_away=("ra3_lab.rlvr.advantages:group_advantages", "ra3_lab.midtrain.elbo:leave_one_out"),
)

# --- a5.surrogate --------------------------------------------------------------------------------------------------


def _surrogate_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for rows, width, low, high, floor, full in (
        (3, 4, 0.8, 1.2, 3.0, True),
        (4, 5, 0.8, 1.28, 2.0, False),
        (3, 6, 0.7, 1.5, 1.8, False),
        (2, 3, 0.9, 1.05, 4.0, False),
    ):
        logp = rng.uniform(-3, -0.1, (rows, width))
        old = logp - rng.normal(0, 0.5, (rows, width))
        mask = np.ones((rows, width), bool) if full else np.arange(width) < rng.integers(1, width, rows)[:, None]
        advantage = rng.uniform(0.2, 1.5, rows) * np.where(np.arange(rows) % 2, -1, 1)
        old[1, 0] = logp[1, 0] - np.log(floor * 1.5)  # a ratio beyond the floor, at a negative advantage
        old[0, 0] = logp[0, 0] + np.log(3.0)  # far below the clip, at a positive one
        old[2:3, 0] = logp[2:3, 0] - np.log(high * 1.1)  # above the clip, at a positive one: tells `high` from 2 - low
        logp[~mask] = 900.0  # what padding holds may be anything
        cases.append(
            [
                tensor(logp.tolist(), "float64"),
                tensor(old.tolist(), "float64"),
                tensor(advantage.tolist(), "float64"),
                tensor(mask.tolist(), "bool"),
                low,
                high,
                floor,
            ]
        )
    return cases


def _surrogate_adapter(function: Any, logp: Any, *rest: Any) -> Any:
    """Values, and the gradient of their sum."""
    logp = logp.clone().requires_grad_(True)
    value = function(logp, *rest)
    if not value.requires_grad:
        return [value, "no gradient"]
    value.sum().backward()
    return [value, "no gradient" if logp.grad is None else logp.grad]


def _surrogate(
    logp: Any, old: Any, advantage: Any, mask: Any, low: float, high: float, floor: float, widest: Any = min
) -> list:
    """Values and gradients, token by token, by hand. `widest` chooses among the two surrogates."""
    value, slope = np.zeros(logp.shape), np.zeros(logp.shape)
    for i, t in zip(*np.nonzero(mask.numpy()), strict=True):
        a, ratio = float(advantage[i]), float(np.exp(float(logp[i, t]) - float(old[i, t])))
        clipped = min(max(ratio, low), high)
        options = [(ratio * a, ratio * a), (clipped * a, ratio * a if clipped == ratio else 0.0)]
        best = widest(options)
        if a < 0:
            best = max(best, (floor * a, 0.0))
        value[i, t], slope[i, t] = best
    return [value, slope]


def _no_floor(logp: Any, old: Any, advantage: Any, mask: Any, low: float, high: float, floor: float) -> list:
    return _surrogate(logp, old, advantage, mask, low, high, float("inf"))


def _symmetric(logp: Any, old: Any, advantage: Any, mask: Any, low: float, high: float, floor: float) -> list:
    return _surrogate(logp, old, advantage, mask, low, 2 - low, floor)


SURROGATE = Exercise(
    id="a5.surrogate",
    title="The clipped surrogate, with a floor",
    objective="Write the token objective whose gradient stops where the policy has moved far enough.",
    minutes=30,
    difficulty=3,
    points=4,
    function="surrogate",
    example=[
        tensor([[-1.0, -2.0], [-0.5, -1.5]], "float64"),
        tensor([[-1.1, -2.9], [-0.6, -1.0]], "float64"),
        tensor([1.0, -0.5], "float64"),
        tensor([[True, True], [True, True]], "bool"),
        0.8,
        1.2,
        3.0,
    ],
    make_inputs=_surrogate_inputs,
    oracle=_surrogate,
    adapter=_surrogate_adapter,
    mistakes=(
        Mistake(
            "detached",
            "No gradient reaches logp: something between it and your result is detached or is not torch.",
            matches=lambda a, expected, result: result[1] == "no gradient",
        ),
        Mistake(
            "padding",
            "Padding gets into the result: 0 * inf is nan, and a `where` around an infinity still has a nan gradient. "
            "Replace what padding holds before the first exp.",
            matches=lambda a, expected, result: bool(not np.isfinite(np.array(result, float)).all()),
        ),
        Mistake(
            "upside_down",
            "The ratio is upside down: new over old.",
            wrong=lambda logp, old, *rest: [
                _surrogate(old, logp, *rest)[0],
                -np.asarray(_surrogate(old, logp, *rest)[1]),
            ],
        ),
        Mistake(
            "no_floor",
            "The floor is missing: at a negative advantage a large ratio makes the objective as small as it likes.",
            wrong=_no_floor,
        ),
        Mistake(
            "symmetric",
            "The clip is symmetric around 1: `low` and `high` are two bounds.",
            wrong=_symmetric,
        ),
        Mistake(
            "max",
            "The larger of the two surrogates is taken: a clip must only ever take gain away.",
            wrong=lambda *a: _surrogate(*a, widest=max),
        ),
        Mistake(
            "sign",
            "The sign is flipped: this is an objective, to be made large, not a loss.",
            wrong=lambda *a: [-np.asarray(part) for part in _surrogate(*a)],
        ),
    ),
    gives_away=("ra3_lab.rlvr.losses:surrogate", "ra3_lab.rlvr.losses:loss_of"),
)

# --- a5.update_loss ------------------------------------------------------------------------------------------------


def _update_loss_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for count, empty in ((3, False), (5, True), (4, False), (6, True)):
        lengths = rng.integers(1, 30, count)
        if empty:
            lengths[rng.integers(count)] = 0
        sums = rng.normal(0, 2, count) * lengths
        longest = int(lengths.max() + rng.integers(1, 20))
        cases += [
            [array(sums.tolist()), array(lengths.tolist(), "int64"), longest, scheme]
            for scheme in ("answer", "token", "constant")
        ]
    return cases


def _update_loss(sums: np.ndarray, lengths: np.ndarray, longest: int, scheme: str, judged_only: bool = True) -> float:
    answers = int((lengths > 0).sum()) if judged_only else len(lengths)
    if scheme == "answer":
        return float(sum(s / n for s, n in zip(sums, lengths, strict=True) if n) / answers)
    return float(sums.sum() / (lengths.sum() if scheme == "token" else answers * longest))


UPDATE_LOSS = Exercise(
    id="a5.update_loss",
    title="Who counts how much",
    objective="See that GRPO, DAPO and Dr. GRPO differ in one denominator, and what it does to long answers.",
    minutes=15,
    difficulty=1,
    points=2,
    function="update_loss",
    example=[array([2.0, -4.0, 6.0]), array([4, 4, 4], "int64"), 4, "answer"],
    make_inputs=_update_loss_inputs,
    oracle=_update_loss,
    mistakes=(
        Mistake(
            "one_scheme",
            "Every scheme gives the mean over answers of their own mean: look at the scheme.",
            wrong=lambda sums, lengths, longest, scheme: _update_loss(sums, lengths, longest, "answer"),
        ),
        Mistake(
            "empty_counted",
            "Answers without a verdict (length 0) are counted in the number of answers.",
            wrong=lambda *a: _update_loss(*a, judged_only=False),
        ),
        Mistake(
            "longest_seen",
            "The constant is the longest answer of this batch: then it is none, and changes with the batch.",
            wrong=lambda sums, lengths, longest, scheme: _update_loss(sums, lengths, int(lengths.max()), scheme),
        ),
        Mistake("sign", "The sign is flipped.", wrong=lambda *a: -_update_loss(*a)),
        Mistake(
            "empty_divides",
            "An answer of length 0 is divided by its length.",
            matches=lambda a, expected, result: bool((a[1] == 0).any() and not np.isfinite(result)),
        ),
    ),
    gives_away=("ra3_lab.rlvr.losses:token_weights",),
)

# --- a5.kl_sums ----------------------------------------------------------------------------------------------------


def _kl_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for rows, width, scale, full in ((2, 4, 0.5, True), (3, 5, 1.0, False), (2, 6, 1e-7, False), (3, 4, 3.0, False)):
        logp = rng.uniform(-4, -0.1, (rows, width))
        reference = logp - rng.uniform(0.3, 1.0, (rows, width)) * scale * rng.choice([-1, 1], (rows, width))
        mask = np.ones((rows, width), bool) if full else np.arange(width) < rng.integers(1, width, rows)[:, None]
        reference[~mask] = 900.0
        logp[~mask] = -900.0
        cases.append([array(logp.tolist()), array(reference.tolist()), array(mask.tolist(), "bool")])
    return cases


def _kl_sums(logp: np.ndarray, reference: np.ndarray, mask: np.ndarray, sign: int = 1) -> np.ndarray:
    d = sign * np.where(mask, logp - reference, 0.0)
    return np.stack([d, d**2 / 2, np.expm1(-d) + d]).sum(-1)


def _close_sums(arguments: Any, expected: Any, result: Any) -> bool:
    """k1 may also be the difference of two sums of size 10, whose last digits it loses; k2 and k3 are that small."""
    return close(expected[:1], result[:1], 1e-6, 1e-13) and close(expected[1:], result[1:], 1e-6, 1e-20)


KL_SUMS = Exercise(
    id="a5.kl_sums",
    title="Three estimators of a divergence",
    objective="Compute k1, k2 and k3 of each answer, to full precision where policy and reference nearly agree.",
    minutes=20,
    difficulty=2,
    points=3,
    function="kl_sums",
    example=[
        array([[-1.0, -2.0], [-0.5, -1.0]]),
        array([[-1.5, -1.8], [-0.25, -1.75]]),
        array([[True, True], [True, True]], "bool"),
    ],
    make_inputs=_kl_inputs,
    oracle=_kl_sums,
    compare=_close_sums,
    rtol=1e-6,
    atol=1e-20,
    mistakes=(
        Mistake(
            "sign",
            "The difference is the wrong way round: d = log pi - log ref, since the tokens come from pi.",
            wrong=lambda *a: _kl_sums(*a, sign=-1),
        ),
        Mistake(
            "padding",
            "Tokens outside the mask get into the sums.",
            matches=lambda a, expected, result: bool((~a[2]).any() and np.abs(np.array(result, float)).max() > 500),
        ),
        Mistake(
            "cancellation",
            "Right by formula, but exp(-d) - 1 + d loses its digits where d is tiny: the 1 swallows them.",
            matches=lambda a, expected, result: bool(
                np.allclose(result[:2], expected[:2], rtol=1e-6, atol=0)
                and np.allclose(result[2], expected[2], rtol=0, atol=1e-14)
            ),
        ),
        Mistake(
            "mean",
            "This is a mean over tokens: sum them, an answer's divergence grows with its length.",
            wrong=lambda logp, reference, mask: _kl_sums(logp, reference, mask) / mask.sum(1),
        ),
    ),
    gives_away=("ra3_lab.rlvr.kl:kl_estimate",),
)

# --- a5.kl_gradient ------------------------------------------------------------------------------------------------


def _kl_gradient_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for size in (2, 4, 7):
        reference = rng.dirichlet(np.ones(size) * 2) * 0.9 + 0.1 / size
        for estimator in ("k1", "k2", "k3", "reward"):
            cases.append([array(rng.normal(0, 1, size).tolist()), array(reference.tolist()), estimator])
    return cases


def _kl_gradient(theta: np.ndarray, reference: np.ndarray, estimator: str, shift: float = 0.0) -> np.ndarray:
    pi = np.exp(theta - theta.max())
    pi /= pi.sum()
    d = np.log(pi) - np.log(reference)
    weight = {"k1": np.ones_like(d), "k2": d, "k3": 1 - np.exp(-d), "reward": d}[estimator] + shift
    return pi * (weight - pi @ weight)  # sum_a pi_a w_a (e_a - pi)


KL_GRADIENT = Exercise(
    id="a5.kl_gradient",
    title="Which gradient an estimator gives",
    objective="Find by enumeration which divergence each estimator really follows when it stands in the loss.",
    minutes=35,
    difficulty=3,
    points=4,
    function="kl_gradient",
    example=[array([0.5, -0.5, 0.0]), array([0.2, 0.5, 0.3]), "k2"],
    make_inputs=_kl_gradient_inputs,
    oracle=_kl_gradient,
    atol=1e-9,
    mistakes=(
        Mistake(
            "always_kl",
            "Every estimator gives the gradient of KL(pi || ref): that is their value's gradient, weights included. "
            "Differentiate what an autograd loss sees, where the samples are constants.",
            wrong=lambda theta, reference, estimator: _kl_gradient(theta, reference, "k2"),
        ),
        Mistake("sign", "The sign is flipped.", wrong=lambda *a: -_kl_gradient(*a)),
        Mistake(
            "uniform",
            "Actions count equally: the expectation is over actions drawn from pi.",
            wrong=lambda theta, reference, estimator: _unweighted(theta, reference, estimator),
        ),
        Mistake(
            "k3_up",
            "The gradient of k3 has exp(+d) where exp(-d) belongs.",
            wrong=lambda theta, reference, estimator: (
                _k3_up(theta, reference) if estimator == "k3" else _kl_gradient(theta, reference, estimator)
            ),
        ),
    ),
    gives_away=("ra3_lab.rlvr.kl:kl_estimate",),
)


def _unweighted(theta: np.ndarray, reference: np.ndarray, estimator: str) -> np.ndarray:
    pi = np.exp(theta) / np.exp(theta).sum()
    d = np.log(pi) - np.log(reference)
    weight = {"k1": np.ones_like(d), "k2": d, "k3": 1 - np.exp(-d), "reward": d}[estimator]
    return (weight - pi * weight.sum()) / len(pi)


def _k3_up(theta: np.ndarray, reference: np.ndarray) -> np.ndarray:
    pi = np.exp(theta) / np.exp(theta).sum()
    weight = 1 - pi / reference
    return pi * (weight - pi @ weight)


# --- a5.pass_curve -------------------------------------------------------------------------------------------------


def _pass_curve_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for sizes, ks in (((10, 10, 10), [1, 2, 5]), ((5, 8, 20), [1, 5, 8, 20, 30]), ((2000, 3000), [1, 100, 1000])):
        counts = [[n, int(rng.integers(1, max(2, n // 3)))] for n in sizes]
        cases.append([counts, ks])
    cases.append([[[6, 0], [6, 6], [6, int(rng.integers(3, 6))]], [2, 4, 6]])
    return cases


def _pass_curve(counts: list, ks: list, short: Any = None) -> list:
    curve: list[float | None] = []
    for k in ks:
        rates = [(comb(n, k) - comb(n - c, k)) / comb(n, k) if n >= k else short for n, c in counts]
        known = [rate for rate in rates if rate is not None]
        curve.append(sum(known) / len(known) if known else None)
    return curve


def _plug_in(counts: list, ks: list) -> list:
    return [
        None
        if not any(n >= k for n, _ in counts)
        else float(np.mean([1 - (1 - c / n) ** k for n, c in counts if n >= k]))
        for k in ks
    ]


PASS_CURVE = Exercise(
    id="a5.pass_curve",
    title="pass@k without bias",
    objective="Estimate the chance that one of k samples is right, from n samples, for tasks with different n.",
    minutes=20,
    difficulty=2,
    points=3,
    function="pass_curve",
    example=[[[4, 1], [4, 3]], [1]],
    make_inputs=_pass_curve_inputs,
    oracle=_pass_curve,
    mistakes=(
        Mistake(
            "plug_in",
            "1 - (1 - c/n)^k draws with replacement: it is biased low for k > 1.",
            wrong=_plug_in,
        ),
        Mistake(
            "short_as_zero",
            "A task with fewer than k samples counts as failed: nothing is known about it at this k, leave it out.",
            wrong=lambda counts, ks: _pass_curve(counts, ks, short=0.0),
        ),
        Mistake(
            "complement",
            "This is the chance that all k are wrong.",
            wrong=lambda counts, ks: [None if value is None else 1 - value for value in _pass_curve(counts, ks)],
        ),
        Mistake(
            "pooled",
            "The tasks' samples are pooled: samples of an easy task say nothing about a hard one. Average over tasks.",
            wrong=lambda counts, ks: _pass_curve([[sum(n for n, _ in counts), sum(c for _, c in counts)]], ks),
        ),
    ),
    gives_away=("ra3_lab.evaluate.passk:pass_at_k", "ra3_lab.evaluate.passk:pass_at_k_tasks"),
)

# --- a5.informative ------------------------------------------------------------------------------------------------


def _informative_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for sizes, group in (((8, 8, 8), 4), ((16, 12, 16), 8), ((6, 20, 9), 2), ((3, 12, 12), 6)):
        counts = [[n, int(rng.integers(0, n + 1))] for n in sizes]
        cases.append([[*counts, [group + 4, group + 4], [group + 5, group + 3]], group])
    return cases


def _informative(counts: list, group: int, all_right: bool = True) -> float:
    shares = [
        1 - (comb(n - c, group) + (comb(c, group) if all_right else 0)) / comb(n, group)
        for n, c in counts
        if n >= group
    ]
    return sum(shares) / len(shares)


INFORMATIVE = Exercise(
    id="a5.informative",
    title="Which groups teach anything",
    objective="Predict, before training, how many groups of G samples will have a gradient at all.",
    minutes=15,
    difficulty=2,
    points=3,
    function="informative_share",
    example=[[[8, 2], [8, 0]], 4],
    make_inputs=_informative_inputs,
    oracle=_informative,
    mistakes=(
        Mistake(
            "all_right",
            "Groups in which every sample is right are counted as informative: their rewards are equal, too.",
            wrong=lambda counts, group: _informative(counts, group, all_right=False),
        ),
        Mistake(
            "plug_in",
            "1 - p^G - (1-p)^G with p = c/n draws with replacement: it is biased.",
            wrong=lambda counts, group: float(
                np.mean([1 - (c / n) ** group - (1 - c / n) ** group for n, c in counts if n >= group])
            ),
        ),
        Mistake(
            "mixed_tasks",
            "This is the share of tasks with right and wrong samples among all n: a group sees only G of them.",
            wrong=lambda counts, group: float(np.mean([0 < c < n for n, c in counts if n >= group])),
        ),
    ),
    gives_away=("ra3_lab.rlvr.advantages:zero_variance", "ra3_lab.evaluate.passk:pass_at_k"),
)

ASSIGNMENT = Assignment(
    id="a5",
    title="GRPO: reinforcement learning from tests",
    notebook="a5_grpo",
    exercises=(ADVANTAGES, SURROGATE, UPDATE_LOSS, KL_SUMS, KL_GRADIENT, PASS_CURVE, INFORMATIVE),
    questions=(
        Question("a5.why_others", points=2),
        Question("a5.why_minimum", points=2),
        Question("a5.why_lengths", points=2),
        Question("a5.why_positive", points=2),
        Question("a5.why_no_gradient", points=2),
        Question("a5.why_biased", points=2),
        Question("a5.why_silent", points=2),
    ),
)
