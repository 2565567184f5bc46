"""A3, first half: forced lines and their rewards, returns, baselines. The assignment is in `a3.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ra3_lab.course.exercise import Exercise, Mistake
from ra3_lab.course.plain import array
from ra3_lab.theory.oracle import log_sum_exp
from ra3_lab.trace import Trace

# --- a3.trace --------------------------------------------------------------------------------------------------------

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

# --- a3.reward -------------------------------------------------------------------------------------------------------


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
    total = float((x[np.arange(len(tokens)), tokens] - log_sum_exp(x)).sum())
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
            wrong=lambda *a: _reward(*a[:6], floor=-np.inf),
        ),
        Mistake(
            "no_cost",
            "A thought's price is missing.",
            wrong=lambda *a: _reward(*a[:5], cost=0.0, floor=a[6]),
        ),
        Mistake(
            "cost_sign",
            "The price of a thought is added: it must be paid.",
            wrong=lambda *a: _reward(*a[:5], cost=-a[5], floor=a[6]),
        ),
        Mistake(
            "unstable",
            "nan or infinity where the marker is all but sure: leave its logit out instead of subtracting log(1 - q).",
            matches=lambda a, expected, result: a[0][0, a[2]] - expected > 40 and not np.isfinite(result),
        ),
    ),
    gives_away=("ra3_lab.models.scoring:line_logp", "ra3_lab.midtrain.elbo:rewards"),
)

# --- a3.credit -------------------------------------------------------------------------------------------------------


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

# --- a3.baseline -----------------------------------------------------------------------------------------------------


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
