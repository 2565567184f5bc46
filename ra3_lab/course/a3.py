"""A3: the E-step. Both branches, their gradient, the loss. Its first half is in `a3_credit.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ra3_lab.course.a3_credit import BASELINE, CREDIT, REWARD, TRACE
from ra3_lab.course.exercise import Assignment, Exercise, Mistake, Question
from ra3_lab.course.plain import array, tensor
from ra3_lab.theory.estep import softmax
from ra3_lab.theory.oracle import log_sum_exp

# --- a3.branch -------------------------------------------------------------------------------------------------------


def _branch_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for lines, size, gap in ((3, 4, 0.0), (5, 6, 2.0), (4, 5, 90.0), (4, 5, -90.0)):
        logits = rng.normal(0, 1.5, (lines, size))
        think = rng.random(lines) < 0.5
        think[:2] = [True, False]
        marker = int(rng.integers(0, size - 1))
        logits[1, marker] += gap  # the line where it does not think
        thought = np.where(think, -rng.gamma(2.0, 3.0, lines), 900.0)
        cases.append(
            [
                tensor(logits.tolist(), "float64"),
                marker,
                tensor(think.tolist(), "bool"),
                tensor(thought.tolist(), "float64"),
            ]
        )
    return cases


def _gradient_of_sum(function: Any, logits: Any, *rest: Any) -> Any:
    """Values, and the gradient of their sum."""
    logits = logits.clone().requires_grad_(True)
    value = function(logits, *rest)
    if not value.requires_grad:
        return [value, "no gradient"]
    value.sum().backward()
    return [value, "no gradient" if logits.grad is None else logits.grad]


def _branch(logits: Any, marker: int, think: Any, thought_logp: Any, act: float = 1.0, tokens: float = 1.0) -> list:
    """Values and gradients; `act` and `tokens` weigh the act branch and the thought's tokens."""
    x, thinks, thought = logits.numpy(), think.numpy(), thought_logp.numpy()
    rest = np.delete(x, marker, 1)
    value = np.where(
        thinks,
        x[:, marker] - log_sum_exp(x) + tokens * np.where(thinks, thought, 0.0),
        act * (log_sum_exp(rest) - log_sum_exp(x)),
    )
    other = np.insert(softmax(rest), marker, 0.0, 1)
    target = np.where(thinks[:, None], np.eye(x.shape[1])[marker], other)
    return [value, (target - softmax(x)) * np.where(thinks, 1.0, act)[:, None]]


BRANCH = Exercise(
    id="a3.branch",
    title="Both branches have a probability",
    objective="Write log q of a latent for thinking and for not thinking, finite where q is all but sure.",
    minutes=25,
    difficulty=3,
    points=4,
    function="latent_logp",
    example=[
        tensor([[0.5, -0.5, 1.0], [0.0, 1.0, 0.5]], "float64"),
        2,
        tensor([True, False], "bool"),
        tensor([-1.5, 0.0], "float64"),
    ],
    make_inputs=_branch_inputs,
    oracle=_branch,
    adapter=_gradient_of_sum,
    mistakes=(
        Mistake(
            "detached",
            "No gradient reaches the logits: something in between is detached or is not torch.",
            matches=lambda a, expected, result: result[1] == "no gradient",
        ),
        Mistake(
            "unstable",
            "nan or infinity where the marker is all but sure: 1 - q has been rounded to 0. Write the chance of *not* "
            "thinking with the other tokens' logits.",
            matches=lambda a, expected, result: not np.isfinite(np.array([*result[0], *np.ravel(result[1])])).all(),
        ),
        Mistake(
            "act_branch",
            "Not thinking counts as if it were certain: it is a choice with a probability, and both branches enter "
            "the policy gradient.",
            wrong=lambda *a: _branch(*a, act=0.0),
        ),
        Mistake(
            "thought_tokens",
            "The thought's own tokens are left out: choosing a thought is choosing its words.",
            wrong=lambda *a: _branch(*a, tokens=0.0),
        ),
        Mistake(
            "no_thought",
            "The thought's tokens are added where there is no thought.",
            matches=lambda a, expected, result: bool(np.max(result[0]) > 300),
        ),
        Mistake(
            "other_marker",
            "The marker is taken to be some fixed token: `marker` says which it is.",
            wrong=lambda logits, marker, think, thought: _branch(logits, logits.shape[1] - 1, think, thought),
        ),
    ),
    gives_away=("ra3_lab.models.scoring:latent_logp", "ra3_lab.models.scoring:log1mexp"),
)

# --- a3.gradient -----------------------------------------------------------------------------------------------------


def _gradient_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for group, lines, size, scale in ((2, 2, 2, 1.0), (4, 3, 3, 1.0), (6, 5, 4, 2.0), (3, 2, 5, 800.0)):
        logits = rng.normal(0, scale, (lines, size))
        logits[0, 0] = scale * rng.uniform(1.0, 1.2)
        cases.append(
            [
                array(logits.tolist()),
                array(rng.integers(0, size, (group, lines)).tolist(), "int64"),
                array(rng.normal(0, 1, (group, lines)).tolist()),
                float(rng.uniform(0.3, 0.8)),
            ]
        )
    return cases


def _gradient(
    logits: np.ndarray,
    choices: np.ndarray,
    advantage: np.ndarray,
    temperature: float,
    inner: bool = True,
    outer: bool = True,
    score: bool = True,
) -> np.ndarray:
    """d/dlogits of the mean over rollouts; `inner`, `outer`: the temperature within the softmax, the factor 1/tau."""
    chances = softmax(logits / temperature if inner else logits)
    result = np.zeros_like(logits)
    for row, weight in zip(choices, advantage, strict=True):
        for t, (k, a) in enumerate(zip(row, weight, strict=True)):
            result[t, k] += a
            result[t] -= a * chances[t] * score
    return result / len(choices) / (temperature if outer else 1.0)


GRADIENT = Exercise(
    id="a3.gradient",
    title="The policy gradient by hand",
    objective="Derive REINFORCE for a softmax with a temperature and get the same numbers as autograd would.",
    minutes=25,
    difficulty=2,
    points=3,
    function="policy_gradient",
    example=[array([[0.0, 1.0]]), array([[0]], "int64"), array([[2.0]]), 1.0],
    make_inputs=_gradient_inputs,
    oracle=_gradient,
    mistakes=(
        Mistake(
            "unstable",
            "nan or infinity for large logits: take the largest one out before exp.",
            matches=lambda a, expected, result: bool(
                np.max(a[0]) > 300 and not np.isfinite(np.array(result, float)).all()
            ),
        ),
        Mistake(
            "no_temperature",
            "The temperature is left out: latents were drawn from the softmax of logits / temperature.",
            wrong=lambda *a: _gradient(*a, inner=False, outer=False),
        ),
        Mistake(
            "no_outer",
            "The inner derivative is missing: the logits are divided by the temperature.",
            wrong=lambda *a: _gradient(*a, outer=False),
        ),
        Mistake(
            "no_score",
            "Only the chosen latent's logit moves: making it likelier makes all others less likely.",
            wrong=lambda *a: _gradient(*a, score=False),
        ),
        Mistake("sign", "The sign is flipped: this is an ascent direction.", wrong=lambda *a: -_gradient(*a)),
        Mistake(
            "sum",
            "Sum over rollouts instead of their mean.",
            wrong=lambda logits, choices, *rest: len(choices) * _gradient(logits, choices, *rest),
        ),
        Mistake(
            "mean_lines",
            "Also divided by the number of lines: lines are summed, rollouts averaged.",
            wrong=lambda logits, *rest: _gradient(logits, *rest) / len(logits),
        ),
    ),
    gives_away=("ra3_lab.theory.estep:sampled_gradient", "ra3_lab.theory.estep:exact_gradient"),
)

# --- a3.loss ---------------------------------------------------------------------------------------------------------


def _loss_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for programs, group, lines, share in ((2, 2, 2, 1.0), (2, 3, 4, 0.7), (1, 4, 5, 0.6), (3, 2, 3, 0.7)):
        rows = programs * group
        latent, under_pi = (-rng.gamma(2.0, 1.0, (rows, lines)) for _ in range(2))
        line = -rng.gamma(2.0, 2.0, (rows, lines)) - 5 * np.repeat(np.arange(programs), group)[:, None]
        offered = np.repeat(rng.random((programs, lines)) < share, group, axis=0)
        offered[:, 0] = True
        if share < 1:
            offered[:group, 1] = False
        cases.append(
            [tensor(part.tolist(), "float64") for part in (latent, under_pi, line)]
            + [tensor(offered.tolist(), "bool"), group, float(rng.uniform(0.1, 0.8))]
        )
    return cases


def _loss(
    q_logp: Any,
    pi_logp: Any,
    line_logp: Any,
    offered: Any,
    group: int,
    kl: float,
    own: bool = False,
    baseline: bool = True,
    to_go: str = "later",
) -> list:
    """Loss and gradient by hand; `to_go`: "later" lines, "all" of them, or a line's "own" reward only."""
    q, pi, line, place = (part.numpy() for part in (q_logp, pi_logp, line_logp, offered))
    reward = line - kl * np.where(place, q - pi, 0.0)
    returns = reward[:, ::-1].cumsum(1)[:, ::-1]
    if to_go != "later":
        returns = reward if to_go == "own" else np.repeat(returns[:, :1], reward.shape[1], axis=1)
    grouped = returns.reshape(-1, group, returns.shape[1])
    others = (grouped.sum(1, keepdims=True) - grouped) / (group - 1)
    mean = grouped.mean(1, keepdims=True) if own else others
    advantage = (grouped - mean * baseline).reshape(returns.shape) * place
    return [float(-(advantage * q).sum() / len(q)), -advantage / len(q)]


def _one_group(q_logp: Any, pi_logp: Any, line_logp: Any, offered: Any, group: int, kl: float) -> list:
    return _loss(q_logp, pi_logp, line_logp, offered, len(q_logp), kl)


def _loss_ignoring_offered(q_logp: Any, pi_logp: Any, line_logp: Any, offered: Any, group: int, kl: float) -> list:
    return _loss(q_logp, pi_logp, line_logp, offered | True, group, kl)


LOSS = Exercise(
    id="a3.loss",
    title="The E-step's loss",
    objective="Put it together: a loss whose gradient is the policy gradient and nothing else.",
    minutes=30,
    difficulty=3,
    points=4,
    function="estep_loss",
    example=[
        tensor([[-1.0], [-0.5]], "float64"),
        tensor([[-2.0], [-0.25]], "float64"),
        tensor([[-3.0], [-4.0]], "float64"),
        tensor([[True], [True]], "bool"),
        2,
        0.0,
    ],
    make_inputs=_loss_inputs,
    oracle=_loss,
    adapter=_gradient_of_sum,
    mistakes=(
        Mistake(
            "detached",
            "No gradient reaches q_logp: a loss needs it.",
            matches=lambda a, expected, result: result[1] == "no gradient",
        ),
        Mistake(
            "through_reward",
            "The value is right, the gradient is not: it also flows through the reward, which holds log q. What a "
            "latent earned is a constant.",
            matches=lambda a, expected, result: abs(result[0] - expected[0]) <= 1e-6 * (1 + abs(expected[0])),
        ),
        Mistake(
            "sign",
            "The sign is flipped: an optimiser makes a loss small.",
            wrong=lambda *a: [-np.asarray(part) for part in _loss(*a)],
        ),
        Mistake(
            "own",
            "The baseline contains the row's own return: take the mean of the others.",
            wrong=lambda *a: _loss(*a, own=True),
        ),
        Mistake("no_baseline", "The baseline is missing.", wrong=lambda *a: _loss(*a, baseline=False)),
        Mistake(
            "one_group",
            "The baseline is taken over the whole batch: only rows of the same program can be compared.",
            wrong=_one_group,
        ),
        Mistake(
            "own_line",
            "A latent is credited with its own line only: it also changes the lines after it.",
            wrong=lambda *a: _loss(*a, to_go="own"),
        ),
        Mistake(
            "whole_return",
            "A latent is credited with lines that were written before it: they only add noise.",
            wrong=lambda *a: _loss(*a, to_go="all"),
        ),
        Mistake(
            "offered",
            "Lines at which no latent is offered enter the loss or the reward's KL.",
            wrong=_loss_ignoring_offered,
        ),
        Mistake(
            "mean_lines",
            "Also divided by the number of lines: the objective is a sum over lines, averaged over rows.",
            wrong=lambda q_logp, *rest: [np.asarray(part) / q_logp.shape[1] for part in _loss(q_logp, *rest)],
        ),
    ),
    gives_away=("ra3_lab.midtrain.estep:EStep.accumulate", "ra3_lab.midtrain.estep:EStep.credit"),
)

ASSIGNMENT = Assignment(
    id="a3",
    title="The E-step",
    notebook="a3_estep",
    exercises=(TRACE, REWARD, CREDIT, BASELINE, BRANCH, GRADIENT, LOSS),
    questions=(
        Question("a3.why_marker", points=1),
        Question("a3.why_renormalise", points=2),
        Question("a3.why_truncate", points=2),
        Question("a3.why_same_line", points=2),
        Question("a3.why_both", points=2),
        Question("a3.why_temperature", points=2),
        Question("a3.why_constant_reward", points=2),
    ),
)
