"""Pruning on the pipelines themselves: how many expert programs until the next step is among a policy's top choices.

The policies are counts, exact and fast, not language models: after N expert programs a policy's choices in a context
are what it has seen there, most frequent first, and the needed choice counts if it is among the first k. Four
alphabets for the same held-out programs:

- *thoughts*: before each step choose a skill (its parameter is copied from the docstring); no context.
- *thoughts with values*: before each step choose a skill and its parameter together; no context.
- *lines*: before each line choose the line, given the line before.
- *tokens*: choose token by token, given the last `order` tokens.

A step is *available* if every choice that it takes is among the top k: one for a thought, 1 to 6 lines, or all their
tokens. None of the policies reads the docstring, so this is about the size of what must be learned, not about who
writes better programs. For lines and tokens the parameter is part of the text. Theorem 2 has nothing to say here: the
held-out programs use all 24 skills, and where k = |Z| there is only one subset to keep.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ra3_lab.tasks.pipelines import Task, load_split
from ra3_lab.theory.checks import check_count, check_share
from ra3_lab.theory.records import record

_TOKEN = re.compile(r"\n| {4}|\w+|[^\w\s]")
ALPHABETS = ("thoughts", "thoughts with values", "lines", "tokens")


@dataclass(frozen=True)
class Choices:
    """The choices of many programs, as numbers: row i says which program and step it is in, its context and what was
    chosen."""

    program: np.ndarray
    """(R,) index of the program."""
    step: np.ndarray
    """(R,) index of the step, counted over all programs."""
    context: np.ndarray
    """(R,) number of the context."""
    pair: np.ndarray
    """(R,) number of (context, choice)."""


@dataclass(frozen=True)
class Corpus:
    """Expert and held-out choices in one alphabet, numbered together."""

    expert: Choices
    """Of the expert programs."""
    held_out: Choices
    """Of the held-out programs."""
    pair_context: np.ndarray
    """(P,) the context of each pair."""
    choices: int
    """Different choices, whatever the context."""


def tokens(line: str) -> list[str]:
    """A line of code as tokens: words, signs, indents, the newline.

    >>> tokens("    if x > 3:\\n")
    ['    ', 'if', 'x', '>', '3', ':', '\\n']
    """
    return _TOKEN.findall(line)


def choices_of(task: Task, alphabet: str, order: int) -> Iterator[tuple[int, tuple, str]]:
    """(step, context, choice) of every decision in a program. ValueError for an unknown alphabet."""
    bounds = [*task.starts, len(task.lines)]
    if alphabet == "thoughts":
        for i, step in enumerate(task.steps):
            yield i, (), step.skill
    elif alphabet == "thoughts with values":
        for i, step in enumerate(task.steps):
            yield i, (), f"{step.skill} {step.value}"
    elif alphabet == "lines":
        before = ""
        for i in range(len(task.steps)):
            for line in task.lines[bounds[i] : bounds[i + 1]]:
                yield i, (before,), line
                before = line
    elif alphabet == "tokens":
        seen = ["<start>"] * order
        for i in range(len(task.steps)):
            for line in task.lines[bounds[i] : bounds[i + 1]]:
                for token in tokens(line):
                    yield i, tuple(seen[len(seen) - order :]), token
                    seen.append(token)
    else:
        raise ValueError(f"alphabet={alphabet!r}: choose one of {ALPHABETS}.")


@lru_cache(maxsize=16)
def corpus(alphabet: str, order: int = 3, expert: str = "expert", held_out: str = "validation") -> Corpus:
    """The shipped splits as choices; kept in memory, since reading them takes longer than any slider may."""
    check_count("order", order, 1, 12)
    contexts: dict[tuple, int] = {}
    pairs: dict[tuple, int] = {}
    found = []
    for name in (expert, held_out):
        rows, steps = [], 0
        for program, task in enumerate(load_split(name)):
            for i, context, choice in choices_of(task, alphabet, order):
                c = contexts.setdefault(context, len(contexts))
                rows.append((program, steps + i, c, pairs.setdefault((c, choice), len(pairs))))
            steps += len(task.steps)
        found.append(Choices(*np.array(rows).T))
    pair_context = np.array([c for c, _ in pairs])
    return Corpus(found[0], found[1], pair_context, len({choice for _, choice in pairs}))


def ranks(counts: np.ndarray, pair_context: np.ndarray) -> np.ndarray:
    """(P,) place of each pair among those of its context, by count: 1 is the most frequent, ties share the worst
    place; inf unseen.

    >>> ranks(np.array([3, 5, 3, 0]), np.array([0, 0, 0, 0])).tolist()
    [3.0, 1.0, 3.0, inf]
    """
    order = np.lexsort((-counts, pair_context))
    context, count = pair_context[order], counts[order]
    start = np.r_[0, np.flatnonzero(np.diff(context)) + 1]
    first = np.repeat(start, np.diff(np.r_[start, len(order)]))
    changes = np.r_[np.flatnonzero((np.diff(context) != 0) | (np.diff(count) != 0)), len(order) - 1]
    last = np.repeat(changes, np.diff(np.r_[-1, changes]))  # the end of the run of equal counts
    place = np.empty(len(order))
    place[order] = np.where(count > 0, last - first + 1, np.inf)
    return place


@record
@dataclass(frozen=True)
class ChoiceCurve:
    """One alphabet."""

    name: str
    """Thoughts, thoughts with values, lines or tokens."""
    choices: int
    """Different choices, whatever the context: |Z|."""
    kept: int
    """Different (context, choice) pairs that all expert programs use: what a policy must have learned."""
    per_step: float
    """Choices that a step takes, on average."""
    available: tuple[float, ...]
    """Share of held-out steps of which every choice is among the top k, after each N; mean over orders."""
    spread: tuple[float, ...]
    """Its standard deviation over orders of the expert programs."""
    whole: tuple[float, ...]
    """Share of held-out programs with all steps available."""
    needed: float | None
    """Expert programs until `target` of the steps are available (between two N on a log scale); None: never."""


@record
@dataclass(frozen=True)
class ChoiceRecord:
    """What `choices_lab` measured."""

    k: int
    """Top choices that count."""
    order: int
    """Tokens of context of the token policy."""
    target: float
    """Share of steps that `needed` asks for."""
    seed: int
    """Of the orders of the expert programs."""
    tasks: tuple[int, ...]
    """N, expert programs."""
    curves: tuple[ChoiceCurve, ...]
    """One an alphabet."""


def choices_lab(k: int = 24, order: int = 3, target: float = 0.9, orders: int = 3, seed: int = 0) -> ChoiceRecord:
    """Share of held-out steps within the top k choices after 1 .. 1,200 expert programs, for the four alphabets.

    `order` tokens of context for the token policy; the expert programs come in `orders` random orders.
    """
    check_count("k", k)
    check_share("target", target)
    check_count("orders", orders)
    rng = np.random.default_rng(seed)
    curves: list[ChoiceCurve] = []
    sizes: tuple[int, ...] = ()
    for name in ALPHABETS:
        data = corpus(name, order)
        programs = int(data.expert.program.max()) + 1
        sizes = tuple(int(n) for n in np.unique(np.r_[2 ** np.arange(int(np.log2(programs)) + 1), programs]))
        runs = [_available(data, rng.permutation(programs), sizes, k) for _ in range(orders)]
        steps, whole = (np.array([run[i] for run in runs]) for i in (0, 1))
        curves.append(
            ChoiceCurve(
                name=name,
                choices=data.choices,
                kept=len(np.unique(data.expert.pair)),
                per_step=len(data.held_out.step) / (int(data.held_out.step.max()) + 1),
                available=tuple(steps.mean(0).tolist()),
                spread=tuple(steps.std(0).tolist()),
                whole=tuple(whole.mean(0).tolist()),
                needed=_crossing(sizes, steps.mean(0), target),
            )
        )
    return ChoiceRecord(k, order, target, seed, sizes, tuple(curves))


def _available(data: Corpus, place: np.ndarray, sizes: Sequence[int], k: int) -> tuple[list[float], list[float]]:
    """Shares of steps and of programs available after each number of expert programs, these taken in the order
    `place`."""
    pairs = len(data.pair_context)
    when = place[data.expert.program]  # when each expert choice is read
    stage = np.searchsorted(sizes, when, side="right")  # read before sizes[stage]
    counts = np.bincount(stage * pairs + data.expert.pair, minlength=len(sizes) * pairs)
    counts = counts[: len(sizes) * pairs].reshape(len(sizes), pairs).cumsum(0)
    steps, programs = int(data.held_out.step.max()) + 1, int(data.held_out.program.max()) + 1
    program_of = np.zeros(steps, int)
    program_of[data.held_out.step] = data.held_out.program
    by_step, by_program = [], []
    for row in counts:
        missing = ranks(row, data.pair_context)[data.held_out.pair] > k
        open_steps = np.bincount(data.held_out.step, missing, steps) > 0
        by_step.append(1 - float(open_steps.mean()))
        by_program.append(1 - float((np.bincount(program_of, open_steps, programs) > 0).mean()))
    return by_step, by_program


def _crossing(sizes: Sequence[int], shares: np.ndarray, target: float) -> float | None:
    above = np.flatnonzero(shares >= target)
    if not len(above):
        return None
    i = int(above[0])
    if i == 0:
        return float(sizes[0])
    part = (target - shares[i - 1]) / (shares[i] - shares[i - 1])
    return float(np.exp(np.log(sizes[i - 1]) + part * (np.log(sizes[i]) - np.log(sizes[i - 1]))))
