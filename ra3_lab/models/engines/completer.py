"""What an engine beside our decoder has to do: draw one token, or some, after prefixes. Groups of answers follow.

`generation.Fallback` and `vllm.VLLM` are such engines; `by_line` writes latents with one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ra3_lab.models.generation import Sampling, StopWatch

Row = tuple[list[int], list[float]]
"""Tokens, and the log-probability each was drawn at."""
Rows = list[list[Row]]
"""For each prompt its samples."""


class Completer(ABC):
    """An engine that completes prefixes, given as token ids. Draws are keyed by `keys` (one a prefix) and `seeds`."""

    context: int
    """Longest sequence."""

    @abstractmethod
    def thinks(
        self, prefixes: Sequence[list[int]], marker: int, temperature: float, keys: np.ndarray, seeds: tuple[int, int]
    ) -> np.ndarray:
        """(B,) whether `marker` is drawn after each prefix."""

    @abstractmethod
    def complete(
        self,
        prefixes: Sequence[list[int]],
        keys: np.ndarray,
        how: Sampling,
        seeds: tuple[int, int],
        ends: tuple[int, ...],
        banned: tuple[int, ...] = (),
        watches: Sequence[StopWatch | None] = (),
    ) -> list[Row]:
        """For each prefix the tokens drawn after it: up to one of `ends`, to a stop its watch sees, or by length."""

    def decode(
        self,
        prompts: Sequence[list[int]],
        keys: np.ndarray,
        how: Sampling,
        seeds: tuple[int, int],
        eos: int,
        banned: tuple[int, ...] = (),
        watch: Sequence[StopWatch | None] = (),
    ) -> Rows:
        """As `generation.decode`: answers to each prompt, one for each of its keys (P, G)."""
        group = keys.shape[1]
        prefixes = [prompt for prompt in prompts for _ in range(group)]
        watches = [one for one in watch for _ in range(group)]
        flat = self.complete(prefixes, keys.ravel(), how, seeds, (eos,), banned, watches)
        return [flat[begin : begin + group] for begin in range(0, len(flat), group)]
