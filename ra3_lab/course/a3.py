"""A3: the E-step. Forced lines and sampled thoughts, returns, leave-one-out baselines, the act branch, its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ra3_lab.course.exercise import Assignment, Exercise, Mistake, Question
from ra3_lab.course.plain import array, tensor
from ra3_lab.trace import Trace

# --- a3.trace ------------------------------------------------------------------------------------------------------

_LINES = (
    "    total = 0\n",
    "    # the expert's own words\n",
    "# flush left, the expert's, too\n",
    "    text = '# no comment'\n",
    "    größe = len(values)\n",
    "    return total\n",
    "\n",
    "    for value in values:\n",
    "        total += value  # running sum\n",
)
_THOUGHTS = (None, None, "", " keep the even ones", " größer als drei", "# twice", " now return it")


def _trace_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for count in (1, 3, 5, 7, 9):
        lines = [_LINES[i] for i in rng.permutation(len(_LINES))[:count]]
        thoughts = [_THOUGHTS[i] for i in rng.integers(0, len(_THOUGHTS), count)]
        cases.append([f"def f{rng.integers(100)}(values):\n", lines, thoughts])
    order = rng.permutation(4)
    lines = [("# shared\n", "    # mine\n", "    größe = 1\n", "    return größe\n")[i] for i in order]
    thoughts = [(" nobody asked", " look here", "", " möglich")[i] for i in order]
    return [*cases, [f"def g{rng.integers(100)}(x):\n", lines, thoughts]]


def _trace(
    prompt: str, lines: Sequence[str], thoughts: Sequence[str | None], indented: bool = False, in_bytes: bool = False
) -> list:
    offered = [not (line.lstrip() if indented else line).startswith("#") for line in lines]
    said = tuple(z if place else None for z, place in zip(thoughts, offered, strict=True))
    text, spans, at = Trace(prompt, tuple(lines), said).text, [], len(prompt)

    def size(part: str) -> int:
        return len(part.encode() if in_bytes else part)

    for line, thought in zip(lines, said, strict=True):
        if thought is not None:
            spans.append([at, at + size(thought) + 2])
            at = spans[-1][1]
        at += size(line)
    return [text, spans]


TRACE = Exercise(
    id="a3.trace",
    title="Forced lines, written thoughts",
    objective="Write down a rollout so that the expert's program can be had back to the last character.",
    minutes=15,
    difficulty=1,
    points=2,
    function="write_trace",
    example=["def f():\n", ["    x = 1\n", "    return x\n"], [None, " give it back"]],
    make_inputs=_trace_inputs,
    oracle=_trace,
    mistakes=(
        Mistake(
            "empty_thought",
            "An empty thought is a thought, too: it writes the line '#'. Only None means none.",
            wrong=lambda prompt, lines, thoughts: _trace(prompt, lines, [z or None for z in thoughts]),
        ),
        Mistake(
            "not_offered",
            "A thought stands before a line that is the expert's own comment, flush left: no latent is offered there.",
            matches=lambda a, expected, result: any(
                line.startswith("#") and z is not None and f"#{z}\n{line}" in result[0]
                for line, z in zip(a[1], a[2], strict=True)
            ),
        ),
        Mistake(
            "bytes",
            "The spans count bytes; a letter like ö has two of them. Count characters.",
            wrong=lambda *a: _trace(*a, in_bytes=True),
        ),
        Mistake(
            "indented",
            "A thought is missing before an indented comment: that is a line like any other; only one flush left could "
            "be taken for a thought.",
            wrong=lambda *a: _trace(*a, indented=True),
        ),
        Mistake(
            "span_end",
            "The text is right, the spans are not: a span goes from '#' to behind the newline that closes the thought.",
            matches=lambda a, expected, result: result[0] == expected[0],
        ),
    ),
    gives_away=("ra3_lab.trace:Trace", "ra3_lab.trace:annotate"),
)

# --- a3.reward -----------------------------------------------------------------------------------------------------


def _reward_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases: list = []
    for tokens, gap, offered, think, floor in (
        (1, 1.0, True, True, -50.0),
        (3, 2.0, True, False, -50.0),
        (4, 80.0, True, True, -60.0),
        (3, 1.0, False, False, -50.0),
        (6, 0.5, True, True, -4.0),
        (5, 0.0, True, False, -3.0),
    ):
        size = 6
        marker = int(rng.integers(0, size))
        logits = rng.normal(0, 1.2, (tokens, size))
        logits[0, marker] = logits[0].max() + gap
        logits[1:, marker] += 2.0
        line = (marker + rng.integers(1, size, tokens)) % size
        cases.append(
            [array(logits.tolist()), array(line.tolist(), "int64"), marker, offered, think]
            + [float(rng.uniform(0.05, 0.9)), floor]
        )
    return cases


def _reward(
    logits: np.ndarray,
    tokens: np.ndarray,
    marker: int,
    offered: bool,
    think: bool,
    cost: float,
    floor: float,
    renormalised: str = "first",
    floor_last: bool = False,
) -> float:
    x = logits.copy()
    rows = {"first": slice(0, 1), "all": slice(None), "none": slice(0, 0)}[renormalised if offered else "none"]
    x[rows, marker] = -np.inf
    total = float((x[np.arange(len(tokens)), tokens] - _log_total(x)).sum())
    return max(total - cost * think, floor) if floor_last else max(total, floor) - cost * think


REWARD = Exercise(
    id="a3.reward",
    title="What a line earns",
    objective="Turn logits into a line's reward: forced tokens, a first token that is no marker, a floor, a price.",
    minutes=20,
    difficulty=2,
    points=3,
    function="line_reward",
    example=[array([[0.5, 1.0, -0.5]]), array([1], "int64"), 2, True, False, 0.1, -10.0],
    make_inputs=_reward_inputs,
    oracle=_reward,
    mistakes=(
        Mistake(
            "not_renormalised",
            "The first token competes with the marker: z_t has already chosen, so it is renormalised without it.",
            wrong=lambda *a: _reward(*a, renormalised="none"),
        ),
        Mistake(
            "all_renormalised",
            "Every token is renormalised: only before the first one a latent was chosen.",
            wrong=lambda *a: _reward(*a, renormalised="all"),
        ),
        Mistake(
            "offered",
            "Where no latent is offered nothing has been chosen: the first token is scored like any other.",
            wrong=lambda logits, tokens, marker, offered, *rest: _reward(logits, tokens, marker, True, *rest),
        ),
        Mistake(
            "floor_last",
            "The floor bounds the log-likelihood; the price comes on top, or thoughts before hopeless lines are free.",
            wrong=lambda *a: _reward(*a, floor_last=True),
        ),
        Mistake(
            "no_floor",
            "The floor is missing: one hopeless line drowns the rest.",
            wrong=lambda *a: _reward(*a[:-1], -np.inf),
        ),
        Mistake(
            "no_cost",
            "A thought's price is missing.",
            wrong=lambda *a: _reward(*a[:5], 0.0, a[6]),
        ),
        Mistake(
            "cost_sign",
            "The price of a thought is added: it must be paid.",
            wrong=lambda *a: _reward(*a[:5], -a[5], a[6]),
        ),
        Mistake(
            "unstable",
            "nan or infinity where the marker is all but sure: leave its logit out instead of subtracting log(1 - q).",
            matches=lambda a, expected, result: a[0][0, a[2]] - expected > 40 and not np.isfinite(result),
        ),
    ),
    gives_away=("ra3_lab.models.scoring:line_logp", "ra3_lab.midtrain.elbo:rewards"),
)

# --- a3.credit -----------------------------------------------------------------------------------------------------


def _credit_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for rows, width in ((1, 4), (2, 5), (3, 7), (4, 9)):
        reward = rng.normal(-2, 1, (rows, width))
        thoughts = rng.random((rows, width)) < 0.4
        thoughts[:, 2] = True
        lengths = rng.integers(3, width + 1, rows)
        lengths[0] = width - 1
        reward[np.arange(width) >= lengths[:, None]] = 900.0
        args = [array(reward.tolist()), array(thoughts.tolist(), "bool"), array(lengths.tolist(), "int64")]
        cases.append([*args, float(rng.uniform(0.5, 0.98))])
    return cases


def _credit(
    reward: np.ndarray,
    thoughts: np.ndarray,
    lengths: np.ndarray,
    discount: float,
    own: bool = True,
    next_line: bool = False,
) -> np.ndarray:
    result = np.zeros_like(reward)
    for b, length in enumerate(lengths):
        for t in range(length):
            for k in range(t, length):
                new = k > t and thoughts[b, k]
                if (k > t or own) and (not new or next_line):
                    result[b, t] += discount ** (k - t) * reward[b, k]
                if new:
                    break
    return result


def _from_the_front(reward: np.ndarray, thoughts: np.ndarray, lengths: np.ndarray, discount: float) -> np.ndarray:
    result = np.zeros_like(reward)
    for b, length in enumerate(lengths):
        for t in range(length):
            before = result[b, t - 1] if t and not thoughts[b, t] else 0.0
            result[b, t] = reward[b, t] + discount * before
    return result


CREDIT = Exercise(
    id="a3.credit",
    title="Credit until the next thought",
    objective="Give each latent the rewards of the lines that were written under it, and no others.",
    minutes=20,
    difficulty=2,
    points=3,
    function="credit",
    example=[
        array([[-1.0, -2.0, -3.0]]),
        array([[True, False, False]], "bool"),
        array([3], "int64"),
        1.0,
    ],
    make_inputs=_credit_inputs,
    oracle=_credit,
    mistakes=(
        Mistake(
            "padding",
            "What stands beyond a program's last line gets into the result; there the return is 0.",
            matches=lambda a, expected, result: bool(np.abs(np.array(result, float)).max() > 300),
        ),
        Mistake(
            "to_the_end",
            "Credit runs on to the end of the program: it must stop where the next thought begins.",
            wrong=lambda reward, thoughts, lengths, discount: _credit(
                reward, np.zeros_like(thoughts), lengths, discount
            ),
        ),
        Mistake(
            "next_line",
            "The line with the next thought is counted in: it belongs to that thought.",
            wrong=lambda *a: _credit(*a, next_line=True),
        ),
        Mistake(
            "own_line",
            "A latent's own line is left out: it is the first that the latent helps.",
            wrong=lambda *a: _credit(*a, own=False),
        ),
        Mistake(
            "no_discount",
            "The discount is missing.",
            wrong=lambda reward, thoughts, lengths, discount: _credit(reward, thoughts, lengths, 1.0),
        ),
        Mistake("direction", "This sums what came *before*: a latent helps the lines after it.", wrong=_from_the_front),
    ),
    gives_away=("ra3_lab.midtrain.elbo:reward_to_go", "ra3_lab.theory.estep:returns_to_go"),
)

# --- a3.baseline ---------------------------------------------------------------------------------------------------


def _baseline_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for programs, group, lines, share in ((2, 3, 2, 1.0), (3, 4, 3, 0.7), (1, 5, 4, 0.5), (4, 2, 3, 0.6)):
        returns = rng.normal(-8, 2, (programs, group, lines)) - 10 * np.arange(programs)[:, None, None]
        decided = rng.random((programs, group, lines)) < share
        if share < 1:
            decided[0, :, 0], decided[0, 0, 0] = False, True  # alone
            decided[0, :2, 1], decided[0, 2:, 1] = True, False
        cases.append([array(returns.tolist()), array(decided.tolist(), "bool")])
    return cases


def _baseline(
    returns: np.ndarray, decided: np.ndarray, own: bool = False, counted: np.ndarray | None = None, over: str = "group"
) -> np.ndarray:
    """R - mean of the others with a decision there; `over` is whom a mistake compares with: "batch" or "lines"."""
    counted = decided if counted is None else counted
    result = np.zeros_like(returns)
    for p, g, t in zip(*np.nonzero(decided), strict=True):
        others = np.zeros_like(counted)
        if over == "batch":
            others[:, :, t] = counted[:, :, t]
        elif over == "lines":
            others[p, g] = counted[p, g]
        else:
            others[p, :, t] = counted[p, :, t]
        if not own:
            others[p, g, t] = False
        if others.any():
            result[p, g, t] = returns[p, g, t] - returns[others].mean()
    return result


BASELINE = Exercise(
    id="a3.baseline",
    title="A baseline for every line",
    objective="Compare a return with what the group's other rollouts earned at the same line of the same program.",
    minutes=20,
    difficulty=2,
    points=3,
    function="line_advantages",
    example=[array([[[-6.0], [-3.0], [-3.0]]]), array([[[True], [True], [True]]], "bool")],
    make_inputs=_baseline_inputs,
    oracle=_baseline,
    mistakes=(
        Mistake("sign", "The sign is flipped: more than the others is good.", wrong=lambda *a: -_baseline(*a)),
        Mistake(
            "own",
            "The baseline contains the rollout's own return: compare it with the *other* ones.",
            wrong=lambda *a: _baseline(*a, own=True),
        ),
        Mistake(
            "batch",
            "Rollouts of other programs get into the baseline: another program is easier or harder as a whole.",
            wrong=lambda *a: _baseline(*a, over="batch"),
        ),
        Mistake(
            "lines",
            "A rollout is compared with its own other lines: compare it with other rollouts at the *same* line.",
            wrong=lambda *a: _baseline(*a, over="lines"),
        ),
        Mistake(
            "undecided",
            "Rollouts without a decision at that line enter the baseline.",
            wrong=lambda returns, decided: _baseline(returns, decided, counted=np.ones_like(decided)),
        ),
        Mistake(
            "alone",
            "Where nobody else decided there is nothing to compare with: the advantage is 0, not nan.",
            matches=lambda a, expected, result: bool(np.isnan(np.array(result, float)).any()),
        ),
        Mistake(
            "undecided_trained",
            "Where nothing was decided the advantage must be 0.",
            matches=lambda a, expected, result: bool(np.any(np.array(result)[~a[1]])),
        ),
    ),
    gives_away=("ra3_lab.midtrain.elbo:leave_one_out", "ra3_lab.theory.estep:baseline"),
)

# --- a3.branch -----------------------------------------------------------------------------------------------------


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


def _softmax(logits: np.ndarray) -> np.ndarray:
    grown = np.exp(logits - logits.max(-1, keepdims=True))
    return grown / grown.sum(-1, keepdims=True)


def _log_total(logits: np.ndarray) -> np.ndarray:
    top = logits.max(-1)
    return top + np.log(np.exp(logits - top[..., None]).sum(-1))


def _branch(logits: Any, marker: int, think: Any, thought_logp: Any, act: float = 1.0, tokens: float = 1.0) -> list:
    """Values and gradients; `act` and `tokens` weigh the act branch and the thought's tokens."""
    x, thinks, thought = logits.numpy(), think.numpy(), thought_logp.numpy()
    rest = np.delete(x, marker, 1)
    value = np.where(
        thinks,
        x[:, marker] - _log_total(x) + tokens * np.where(thinks, thought, 0.0),
        act * (_log_total(rest) - _log_total(x)),
    )
    other = np.insert(_softmax(rest), marker, 0.0, 1)
    target = np.where(thinks[:, None], np.eye(x.shape[1])[marker], other)
    return [value, (target - _softmax(x)) * np.where(thinks, 1.0, act)[:, None]]


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

# --- a3.gradient ---------------------------------------------------------------------------------------------------


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
    chances = _softmax(logits / temperature if inner else logits)
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

# --- a3.loss -------------------------------------------------------------------------------------------------------


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
