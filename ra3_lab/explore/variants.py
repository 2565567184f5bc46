"""One program with one thought changed: what the next lines' likelihood makes of it.

`score_thoughts` puts different thoughts before the same line and scores every version in one batch; `controls` makes
the thoughts that a claim about a thought must be compared with: the words of another program's thought, the same
words shuffled, and filler of the same length. If these help as much, it was not what the thought says.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ra3_lab.midtrain.estep import score_traces
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.trace import Trace, annotate


@dataclass(frozen=True)
class Variant:
    """The program with one thought changed."""

    name: str
    """What was done."""
    thought: str | None
    """The thought before the line, or None for no thought."""
    logp: tuple[float, ...]
    """log pi of each line of the program, nats."""


@dataclass(frozen=True)
class Comparison:
    """Variants of one program, which differ in the thought before one line."""

    trace: Trace
    """The program as it is."""
    line: int
    """The line before which the thought stands, counted from 0."""
    variants: tuple[Variant, ...]
    """The first is the program as it is."""

    @property
    def window(self) -> tuple[int, int]:
        """Lines that the thought governs: from its line to the next thought or the end."""
        later = [t for t in self.trace.thought_lines if t > self.line]
        return self.line, later[0] if later else len(self.trace.lines)

    def change(self, variant: Variant) -> float:
        """Nats by which the governed lines are likelier than without a thought there. Raises KeyError where no variant
        is without one.
        """
        plain = {v.thought: v for v in self.variants}[None]
        begin, end = self.window
        return sum(variant.logp[begin:end]) - sum(plain.logp[begin:end])


def score_thoughts(
    model: Any, tokenizer: LineTokenizer, trace: Trace, line: int, thoughts: Mapping[str, str | None]
) -> Comparison:
    """Score the program with each of these thoughts before `line` (name -> thought or None), and as it is and without.

    Raises ValueError for a line that is not there, and as `Trace` does for a thought that is no single line.
    """
    if not 0 <= line < len(trace.lines):
        raise ValueError(f"line={line}: the program has lines 0 to {len(trace.lines) - 1}.")
    versions = {"as it is": trace.latents[line], "no thought": None, **thoughts}
    traces = [annotate(trace, [*trace.latents[:line], z, *trace.latents[line + 1 :]]) for z in versions.values()]
    scored = score_traces(model, [tokenizer.encode_trace(t) for t in traces], tokenizer, precision="fp32").line
    rows = [tuple(float(x) for x in row[: len(trace.lines)]) for row in scored]
    return Comparison(
        trace, line, tuple(Variant(name, z, row) for (name, z), row in zip(versions.items(), rows, strict=True))
    )


def controls(
    thought: str, others: Sequence[str], tokenizer: LineTokenizer | None = None, seed: int = 0
) -> dict[str, str]:
    """Control thoughts for a thought: a random other one, its own words shuffled, and filler of the same length.

    `others` are thoughts of other programs; with a tokenizer the filler has as many tokens, without as many words.

    >>> controls(" d reverse the list", [" a add 3", " d reverse the list"])
    {'random': ' a add 3', 'shuffled': ' the d list reverse', 'filler': ' . . . .'}
    """
    rng = random.Random(f"{seed}:{thought}")
    words = thought.split()
    made: dict[str, str] = {}
    if rest := [other for other in others if other.strip() != thought.strip()]:
        made["random"] = rng.choice(rest)
    if len(set(words)) > 1:
        mixed = list(words)
        while mixed == words:
            rng.shuffle(mixed)
        made["shuffled"] = " " + " ".join(mixed)
    filler = " ." * max(1, len(words))
    if tokenizer is not None:
        want = len(tokenizer.encode_line(thought))
        filler = min((" ." * n for n in range(1, 40)), key=lambda text: abs(len(tokenizer.encode_line(text)) - want))
    return made | {"filler": filler}
