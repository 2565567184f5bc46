"""A4, first half: the M-step on text, where it can be solved, and the EM loop. The assignment is in `a4.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ra3_lab.course.exercise import Exercise, Mistake
from ra3_lab.course.plain import array, tensor

# --- a4.weave ------------------------------------------------------------------------------------------------------

_WORDS = ("x", "y", "=", "1", "2", "return", "(", ")", "for", "in", "+", "def", ":")


def _weave_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)

    def words(low: int, high: int) -> list[str]:
        return [str(word) for word in rng.choice(_WORDS, int(rng.integers(low, high)))]

    cases = []
    for count, share in ((2, 1.0), (4, 0.5), (5, 0.4), (3, 0.0), (6, 0.6)):
        thoughts: list[list[str] | None] = [words(1, 4) if rng.random() < share else None for _ in range(count)]
        if share:
            thoughts[-1] = []  # a thought without words
            thoughts[0] = words(1, 3)
        lines = [words(1, 5) for _ in range(count)]
        lines[-1] = ["#", *lines[-1]]  # the expert's own comment
        cases.append([[*words(1, 4), "\n"], lines, thoughts])
    return cases


def _weave(
    prompt: list, lines: list, thoughts: list, after: bool = False, counts: tuple = (False, True, True, True)
) -> list:
    """`counts`: whether prompt, thoughts, lines and the end are counted."""
    of_prompt, of_thought, of_line, of_end = counts
    pieces = [(list(prompt), of_prompt)]
    for line, thought in zip(lines, thoughts, strict=True):
        latent = [] if thought is None else [(["#", *thought, "\n"], of_thought)]
        raw = [([*line, "\n"], of_line)]
        pieces += raw + latent if after else latent + raw
    pieces.append((["<end>"], of_end))
    return [
        [token for piece, _ in pieces for token in piece],
        [counted for piece, counted in pieces for _ in piece],
    ]


def _same_text(arguments: Any, expected: Any, result: Any) -> bool:
    """Equal tokens, equal marks; 0 and 1 are marks, too."""
    tokens, counted = result
    whole = isinstance(counted, list) and all(isinstance(mark, int) for mark in counted)
    return whole and [tokens, counted] == expected


def _no_empty(prompt: list, lines: list, thoughts: list) -> list:
    return _weave(prompt, lines, [thought or None for thought in thoughts])


WEAVE = Exercise(
    id="a4.weave",
    title="Latents into the code",
    objective="Write thoughts into a program and mark which tokens the M-step learns.",
    minutes=15,
    difficulty=1,
    points=2,
    function="weave",
    example=[["def", ":"], [["x", "=", "1"], ["return", "x"]], [["set", "it"], None]],
    make_inputs=_weave_inputs,
    oracle=_weave,
    compare=_same_text,
    mistakes=(
        Mistake(
            "prompt_counted",
            "The prompt is counted: it is given, not the policy's to learn.",
            wrong=lambda *a: _weave(*a, counts=(True, True, True, True)),
        ),
        Mistake(
            "thoughts_not_counted",
            "Thoughts are not counted: then the model never learns to think, it only reads.",
            wrong=lambda *a: _weave(*a, counts=(False, False, True, True)),
        ),
        Mistake(
            "end_not_counted",
            "The end is not counted: a model that never learns to stop does not stop.",
            wrong=lambda *a: _weave(*a, counts=(False, True, True, False)),
        ),
        Mistake(
            "after",
            "A thought stands after its line; it must come before the line that it is to help.",
            wrong=lambda *a: _weave(*a, after=True),
        ),
        Mistake(
            "empty_thought",
            "A thought without words is dropped: [] is a thought, None is none.",
            wrong=_no_empty,
        ),
    ),
    gives_away=("ra3_lab.trace.record:annotate", "ra3_lab.models.tokenizer:LineTokenizer.encode_trace"),
)

# --- a4.micro_loss -------------------------------------------------------------------------------------------------


def _micro_loss_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for rows, width, size, spread in ((2, 4, 3, 1.0), (3, 5, 4, 2.0), (1, 6, 5, 1.0), (2, 5, 3, 900.0)):
        logits = rng.normal(0, spread, (rows, width, size))
        tokens = rng.integers(0, size, (rows, width))
        start, stop = rng.integers(1, 3, rows), rng.integers(3, width + 1, rows)
        stop[0] = width - 1
        places = np.arange(width)
        counted = (places >= start[:, None]) & (places < stop[:, None])
        total = int(counted.sum() + rng.integers(3, 30))
        cases.append(
            [
                tensor(logits.tolist(), "float64"),
                tensor(tokens.tolist(), "int64"),
                tensor(counted.tolist(), "bool"),
                total,
            ]
        )
    return cases


def _micro_loss_adapter(function: Any, logits: Any, tokens: Any, counted: Any, total: int) -> Any:
    """The loss and its gradient by the logits."""
    logits.requires_grad_(True)
    loss = function(logits, tokens, counted, total)
    if not loss.requires_grad:
        return [loss, "no gradient"]
    loss.backward()
    return [loss, "no gradient" if logits.grad is None else logits.grad]


def _micro_loss(logits: Any, tokens: Any, counted: Any, total: int, weight: Any = None, shift: int = 1) -> list:
    """`weight` (B, T) of each token; None: counted / total."""
    weight = counted.double() / total if weight is None else weight
    logp, loss, slope = logits.log_softmax(-1), 0.0, torch.zeros_like(logits)
    for i in range(len(tokens)):
        for t in range(shift, tokens.shape[1]):
            loss -= float(weight[i, t] * logp[i, t - shift, tokens[i, t]])
            slope[i, t - shift] += weight[i, t] * logp[i, t - shift].exp()
            slope[i, t - shift, tokens[i, t]] -= weight[i, t]
    return [loss, slope]


def _row_mean(logits: Any, tokens: Any, counted: Any, total: int) -> list:
    own = counted.double()
    own[:, 0] = 0
    return _micro_loss(logits, tokens, counted, total, own / (own.sum(1, keepdim=True) * len(own)))


MICRO_LOSS = Exercise(
    id="a4.micro_loss",
    title="The loss of a micro-batch",
    objective="Write next-token prediction so that the update does not depend on how its batch is cut.",
    minutes=25,
    difficulty=2,
    points=4,
    function="micro_loss",
    example=[
        tensor([[[2.0, 0.0], [0.5, 1.0], [1.0, -1.0]], [[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]]], "float64"),
        tensor([[0, 0, 1], [1, 1, 0]], "int64"),
        tensor([[False, True, True], [False, True, True]], "bool"),
        4,
    ],
    make_inputs=_micro_loss_inputs,
    oracle=_micro_loss,
    adapter=_micro_loss_adapter,
    mistakes=(
        Mistake(
            "detached",
            "No gradient reaches the logits.",
            matches=lambda a, expected, result: result[1] == "no gradient",
        ),
        Mistake(
            "unstable",
            "log(softmax(...)) of a probability that rounds to 0 is minus infinity: never form the probability.",
            matches=lambda a, expected, result: bool(
                not np.isfinite(np.array(result[0], float)) or _has_nan(result[1])
            ),
        ),
        Mistake(
            "own_mean",
            "The loss is divided by this micro-batch's own tokens: the parts of an update would not add up.",
            wrong=lambda logits, tokens, counted, total: _micro_loss(
                logits, tokens, counted, int(counted[:, 1:].sum())
            ),
        ),
        Mistake(
            "row_mean",
            "Each program counts alike, whatever its length: then a token of a short program weighs more.",
            wrong=_row_mean,
        ),
        Mistake(
            "mask",
            "Tokens that are not counted (prompt, padding) get into the loss.",
            wrong=lambda logits, tokens, counted, total: _micro_loss(logits, tokens, torch.ones_like(counted), total),
        ),
        Mistake(
            "no_shift",
            "Logits at position t are for the token at t + 1; here they score the token they have already read.",
            wrong=lambda *a: _micro_loss(*a, shift=0),
        ),
        Mistake("sign", "The sign is flipped.", wrong=lambda *a: [-np.asarray(part) for part in _micro_loss(*a)]),
    ),
    gives_away=("ra3_lab.midtrain.mstep:FineTuner.update", "ra3_lab.models.scoring:score_batch"),
)


def _has_nan(value: Any) -> bool:
    return bool(np.isnan(np.array(value, float)).any())


# --- a4.mstep_table ------------------------------------------------------------------------------------------------


def _table_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for count, length, latents, kinds, pseudo, dead in (
        (3, 4, 2, 3, 0.5, False),
        (4, 5, 3, 2, 0.0, True),
        (2, 6, 2, 4, 0.0, False),
        (5, 3, 4, 3, 0.1, True),
    ):
        q = rng.dirichlet(np.ones(latents), (count, length))
        if dead:
            q[..., -1] = 0.0
            q /= q.sum(-1, keepdims=True)
        cases.append(
            [
                array(rng.integers(0, kinds, (count, length)).tolist(), "int64"),
                array(rng.integers(1, length, count).tolist(), "int64"),
                array(q.tolist()),
                array(rng.dirichlet(np.ones(kinds), latents).tolist()),
                pseudo,
            ]
        )
    return cases


def _table(actions: np.ndarray, lengths: np.ndarray, q: np.ndarray, previous: np.ndarray, pseudo: float) -> np.ndarray:
    counts = np.full(previous.shape, float(pseudo))
    for i, length in enumerate(lengths):
        for t in range(length):
            counts[:, actions[i, t]] += q[i, t]
    totals = counts.sum(1, keepdims=True)
    return np.where(totals > 0, counts / np.where(totals > 0, totals, 1), previous)


def _hard(q: np.ndarray) -> np.ndarray:
    return np.eye(q.shape[-1])[q.argmax(-1)]


def _columns_add_up(arguments: Any, expected: Any, result: Any) -> bool:
    table = np.array(result, float)
    defined = ~np.isnan(table).any(0)
    return bool(defined.any() and np.allclose(table[:, defined].sum(0), 1))


TABLE = Exercise(
    id="a4.mstep_table",
    title="The M-step where it can be solved",
    objective="Maximise the expected log-likelihood of lines given soft latents, exactly.",
    minutes=25,
    difficulty=2,
    points=3,
    function="mstep_table",
    example=[
        array([[0, 1], [1, 1]], "int64"),
        array([2, 2], "int64"),
        array([[[0.5, 0.5], [1.0, 0.0]], [[0.25, 0.75], [0.5, 0.5]]]),
        array([[0.5, 0.5], [0.5, 0.5]]),
        0.0,
    ],
    make_inputs=_table_inputs,
    oracle=_table,
    mistakes=(
        Mistake(
            "dead",
            "A latent that q never uses has no counts, and 0/0 is nan: its row stays as it was.",
            matches=lambda a, expected, result: _has_nan(result),
        ),
        Mistake(
            "hard",
            "Each line is given to its likeliest latent: the M-step counts every latent by its probability.",
            wrong=lambda actions, lengths, q, previous, pseudo: _table(actions, lengths, _hard(q), previous, pseudo),
        ),
        Mistake(
            "padding",
            "Lines beyond a program's length are counted.",
            wrong=lambda actions, lengths, q, previous, pseudo: _table(
                actions, np.full_like(lengths, actions.shape[1]), q, previous, pseudo
            ),
        ),
        Mistake(
            "no_pseudo",
            "The pseudo-count is left out.",
            wrong=lambda actions, lengths, q, previous, pseudo: _table(actions, lengths, q, previous, 0.0),
        ),
        Mistake(
            "axis",
            "The columns add up to 1; p(a | z) is a distribution over a, for each z.",
            matches=_columns_add_up,
        ),
    ),
    gives_away=("ra3_lab.theory.oracle:expected_counts", "ra3_lab.theory.oracle:with_counts"),
)

# --- a4.em_evidence ------------------------------------------------------------------------------------------------


def _em_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for count, length, latents, kinds, rounds in ((5, 4, 2, 3, 2), (6, 3, 3, 4, 4), (4, 700, 2, 4, 1), (7, 5, 2, 2, 3)):
        emission = rng.dirichlet(np.ones(kinds) * 3, latents)
        actions = rng.integers(0, kinds, (count, length))
        actions[np.arange(kinds) % count, 0] = np.arange(kinds)
        mix = rng.dirichlet(np.ones(latents) * 2)
        cases.append([array(actions.tolist(), "int64"), array(mix.tolist()), array(emission.tolist()), rounds])
    return cases


def _em(
    actions: np.ndarray,
    mix: np.ndarray,
    emission: np.ndarray,
    rounds: int,
    learn_mix: bool = True,
    use_mix: bool = True,
) -> list[float]:
    trace = []
    one_hot = np.eye(emission.shape[1])[actions]  # (N, L, A)
    for _ in range(rounds + 1):
        logp = np.log(emission)[:, actions].sum(-1).T  # (N, Z)
        joint = logp + np.log(mix)
        evidence = np.logaddexp.reduce(joint, axis=1)
        trace.append(float(evidence.sum()))
        weight = joint if use_mix else logp
        q = np.exp(weight - np.logaddexp.reduce(weight, axis=1)[:, None])
        counts = np.einsum("nz,nla->za", q, one_hot)
        emission = counts / counts.sum(1, keepdims=True)
        if learn_mix:
            mix = q.mean(0)
    return trace


EM = Exercise(
    id="a4.em_evidence",
    title="EM climbs",
    objective="Alternate exact E- and M-steps and watch the evidence never fall.",
    minutes=30,
    difficulty=3,
    points=4,
    function="em_evidence",
    example=[
        array([[0, 0, 1], [1, 1, 0]], "int64"),
        array([0.5, 0.5]),
        array([[0.6, 0.4], [0.4, 0.6]]),
        1,
    ],
    make_inputs=_em_inputs,
    oracle=_em,
    mistakes=(
        Mistake(
            "underflow",
            "The probability of a long program is smaller than any number the machine has: add logarithms.",
            matches=lambda a, expected, result: bool(not np.isfinite(np.array(result, float)).all()),
        ),
        Mistake(
            "mix_fixed",
            "The shares of the latents are never updated: the M-step maximises over them, too.",
            wrong=lambda *a: _em(*a, learn_mix=False),
        ),
        Mistake(
            "mix_not_in_q",
            "The posterior ignores the latents' shares: q(z) is proportional to p(z) p(lines | z).",
            wrong=lambda *a: _em(*a, use_mix=False),
        ),
        Mistake(
            "late",
            "The first value belongs to the model as it was given; yours begins after an update.",
            wrong=lambda actions, mix, emission, rounds: _em(actions, mix, emission, rounds + 1)[1:],
        ),
        Mistake(
            "short",
            "The evidence after the last round is missing.",
            wrong=lambda *a: _em(*a)[:-1],
        ),
    ),
    gives_away=("ra3_lab.theory.oracle:em_step", "ra3_lab.theory.oracle:evidence"),
)
