"""How many ways on does a policy see? The effective action set, with and without the thought it writes first.

At the start of a segment the policy draws its next code line many times. The effective number of choices is how many
different lines carry 95 % of the draws. A latent prunes: it moves the choice into the thought (`thoughts`), after which
hardly any is left (`lines_after_thought`). Counts of n draws cannot exceed n and are too small where choices are nearly
as many as draws.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ra3_lab.models.engines.interface import engine_of
from ra3_lab.models.generation import Sampling, sample_groups
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.trace import Trace

LINE = Sampling(max_new=64)
WITHOUT_THOUGHT = ""
STOP = ("\n",)


@dataclass(frozen=True)
class Choices:
    """Effective numbers of choices at one state."""

    lines: int
    """Next code lines, whatever thought came before them."""
    thoughts: int
    """Thoughts, none being one of them."""
    lines_after_thought: int
    """Next code lines once the likeliest thought stands."""
    thinks: float
    """Share of draws that began with a thought."""


def effective_number(weights: Mapping[Any, float], mass: float = 0.95) -> int:
    """How many of the likeliest outcomes it takes to carry `mass` of the whole.

    >>> effective_number({"a": 60, "b": 30, "c": 6, "d": 4})
    3
    """
    ordered = np.sort(np.fromiter(weights.values(), float))[::-1]
    return int(np.searchsorted(np.cumsum(ordered), mass * ordered.sum() - 1e-9) + 1)


def prefix(trace: Trace, line: int) -> str:
    """Prompt and all that stands before line `line` of a trace, thoughts included."""
    pieces = [trace.prompt]
    for text, thought in zip(trace.lines[:line], trace.latents[:line], strict=True):
        pieces += [text] if thought is None else [f"{trace.marker}{thought}\n", text]
    return "".join(pieces)


def choices_at(
    model: Any,
    tokenizer: LineTokenizer,
    states: Sequence[str],
    draws: int = 64,
    seed: int = 0,
    precision: str = "auto",
) -> list[Choices]:
    """Effective choices at each state (a text that ends with a newline), from `draws` samples at temperature 1."""
    engine, marker = engine_of(model, precision), tokenizer.marker_text

    def lines(texts: Sequence[str], update: int) -> list[list[str]]:
        keys = np.arange(len(texts) * draws).reshape(len(texts), draws)
        found = sample_groups(engine, tokenizer, texts, keys, LINE, seed, update, [STOP] * len(texts), 512)
        return [[each.text for each in group] for group in found]

    firsts = [Counter(group) for group in lines(states, 0)]
    thoughts = [{text: n for text, n in first.items() if text.startswith(marker)} for first in firsts]
    places = [(i, thought) for i, found in enumerate(thoughts) for thought in found]
    after = dict(zip(places, lines([f"{states[i]}{thought}\n" for i, thought in places], 1), strict=True))
    return [
        _choices(first, {t: after[i, t] for t in found})
        for i, (first, found) in enumerate(zip(firsts, thoughts, strict=True))
    ]


def _choices(first: Counter[str], after: Mapping[str, Sequence[str]]) -> Choices:
    """`first`: first lines drawn, thoughts among them; `after`: for each of those thoughts the lines drawn next."""
    code = {text: n for text, n in first.items() if text not in after}
    marginal: dict[str, float] = defaultdict(float, code)
    for thought, drawn in after.items():
        for text in drawn:
            marginal[text] += first[thought] / len(drawn)
    thoughts = {thought: first[thought] for thought in after} | ({WITHOUT_THOUGHT: sum(code.values())} if code else {})
    likeliest = max(thoughts, key=lambda thought: thoughts[thought])
    return Choices(
        lines=effective_number(marginal),
        thoughts=effective_number(thoughts),
        lines_after_thought=effective_number(Counter(after[likeliest]) if likeliest in after else code),
        thinks=1 - sum(code.values()) / first.total(),
    )
