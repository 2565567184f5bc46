"""The pre-training corpus: pipelines with a human-like comment habit, and real functions of the standard library.

As in real code, long functions are often commented and short ones mostly not; comments are usually apt, sometimes empty
talk, sometimes missing. Everything is drawn from a seed; the standard-library part is read from the running Python
(PSF licence), with whole-line comments moved flush left, the place where ra3_lab writes thoughts.
"""

from __future__ import annotations

import ast
import hashlib
import io
import random
import re
import string
import sysconfig
import textwrap
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ra3_lab.tasks.pipelines import Task, WorldConfig, draw_task
from ra3_lab.tasks.skills import COMMON, RARE
from ra3_lab.trace import Trace

VAGUE = (
    " next step",
    " continue here",
    " this part is important",
    " now the loop",
    " see above",
    " go on",
    " do it",
    " note",
)
"""Comments that say nothing about the step: the empty talk of real code."""


@dataclass(frozen=True)
class CorpusConfig:
    """What the base model sees before mid-training."""

    steps: tuple[int, int] = (2, 5)
    """Fewest and most steps of a pre-training pipeline."""
    rare_rate: float = 0.01
    """Probability of a rare skill per step."""
    commented: float = 0.5
    """Share of commented programs among those with three steps or more; shorter ones have a quarter of it."""
    comment_every: float = 0.97
    """In a commented program: probability of a comment at each block's start."""
    vague: float = 0.05
    """Share of those comments that are empty talk."""
    stray: float = 0.01
    """Probability of an empty comment at any other line, in every program."""
    lists_first: int = 2_200_000
    """Tokens at the start that are only lists put in order: the copying that text at large is full of."""
    lists: float = 0.1
    """Share of sequences that are such lists afterwards."""
    stdlib: float = 0.04
    """Share of sequences that are standard-library functions."""


def comment(rng: random.Random, task: Task, config: CorpusConfig) -> Trace:
    """The task's solution with comments as people write them."""
    share = config.commented if len(task.steps) >= 3 else config.commented / 4
    commented = rng.random() < share
    latents: list[str | None] = []
    steps = dict(zip(task.starts, task.steps, strict=True))
    for i in range(len(task.lines)):
        thought = None
        if commented and i in steps and rng.random() < config.comment_every:
            thought = rng.choice(VAGUE) if rng.random() < config.vague else steps[i].thought
        elif rng.random() < config.stray:
            thought = rng.choice(VAGUE)
        latents.append(thought)
    return Trace(task.prompt, task.lines, tuple(latents), task.task_id)


def draw_pipeline(rng: random.Random, config: CorpusConfig, exclude: set[tuple]) -> Trace:
    """The next commented pipeline whose program is not in `exclude`."""
    world = WorldConfig(steps=config.steps, rare_rate=config.rare_rate, tests=0)
    while True:
        task = draw_task(rng, world, "pretrain")
        if task.signature not in exclude:
            return comment(rng, task, config)


def pipeline_traces(seed: int, config: CorpusConfig, exclude: set[tuple]) -> Iterator[Trace]:
    """Endless commented pipelines, none of whose programs is in `exclude`."""
    rng = random.Random(seed)
    while True:
        yield draw_pipeline(rng, config, exclude)


def word_list(functions: Sequence[str]) -> list[str]:
    """The lower-case words of these functions, sorted."""
    return sorted({word for text in functions for word in re.findall(r"[a-z]{3,10}", text)})


def ordered_list(rng: random.Random, words: Sequence[str]) -> tuple[str, str]:
    """A lettered list out of order, and the same list in order, as plain lines or as comments.

    Entries are steps or arbitrary words. A model that saw only pipelines would learn to look a step up far too
    slowly; text at large teaches that skill on every page.
    """
    count = rng.randint(2, 9)
    first = rng.randrange(26 - count + 1)
    entries = []
    for label in string.ascii_lowercase[first : first + count]:
        if words and rng.random() < 0.5:
            phrase = " ".join(rng.choices(words, k=rng.randint(1, 4)))
        else:
            skill = rng.choice(COMMON + RARE)  # the words of rare steps are known, their code hardly
            phrase = skill.phrase(rng.choice(skill.values) if skill.values else None, rng.randrange(2))
        entries.append(f" {label} {phrase}\n")
    listed = rng.sample(entries, count)
    title = f"Steps{entries[0][:2]} to{entries[-1][:2]}:\n"
    lead = rng.choice(("#", "   "))
    return title + "".join(f"   {entry}" for entry in listed), "".join(lead + entry for entry in entries)


def _flush_comments_left(source: str) -> str:
    """Move comments that have a line of their own to the first column."""
    lines = source.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip():
            lines[token.start[0] - 1] = token.string + "\n"
    return "".join(lines)


def stdlib_functions(longest: int = 1200) -> tuple[list[str], str]:
    """Functions of the running Python's standard library (at most `longest` characters) and a hash of them all.

    Tests, packages installed beside it and files that do not parse are left out; equal texts appear once.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    found: dict[str, None] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if {"site-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo"} & set(parts):
            continue
        try:
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue
        rows = source.splitlines(keepends=True)
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.FunctionDef)
                and node.end_lineno is not None
                and 3 <= node.end_lineno - node.lineno <= 40
            ):
                text = textwrap.dedent("".join(rows[node.lineno - 1 : node.end_lineno]))
                if len(text) > longest or not text.isascii() or not text.endswith("\n"):
                    continue
                if not text.startswith("def "):  # a docstring that goes on at the first column
                    continue
                try:
                    found[_flush_comments_left(text)] = None
                except (tokenize.TokenError, SyntaxError):
                    continue
    functions = list(found)
    return functions, hashlib.sha256("".join(functions).encode()).hexdigest()
