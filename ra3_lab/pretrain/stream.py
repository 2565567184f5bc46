"""The pre-training corpus as batches of token ids, drawn from a seed; its position is plain data, so that a run can go
on exactly where it stopped.

Sequences are drawn a pool of 1,024 at a time and batched by length. A position is therefore the state of the generators
before the pool at hand, and how many of its batches were taken.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ra3_lab.models.tokenizer import PROMPT, LineTokenizer
from ra3_lab.pretrain.corpus import draw_pipeline, ordered_list, word_list
from ra3_lab.trace import Trace

if TYPE_CHECKING:
    from ra3_lab.pretrain.train import PretrainConfig

Sequence = tuple[np.ndarray, np.ndarray, np.ndarray]  # ids, counted, positions; each (T,)
_POOL = 1_024
_LONGEST_FUNCTION = 448


class Stream(Iterator[list[Sequence]]):
    """Endless batches of about `batch_tokens` tokens, sequences of similar length together.

    The first `lists_first` tokens are lists only, without gaps in their positions: looking an entry up by its letter is
    learned there in minutes, among pipelines alone in hours.
    """

    def __init__(
        self, tokenizer: LineTokenizer, functions: list[str], config: PretrainConfig, exclude: set[tuple]
    ) -> None:
        self.tokenizer, self.functions, self.config, self.exclude = tokenizer, functions, config, exclude
        self.words = word_list(functions)
        self.rng = np.random.default_rng(config.seed)
        self.pipelines, self.lists = random.Random(config.seed), random.Random(config.seed + 2)
        self.given = 0  # tokens of all pools so far
        self.ready: list[list[Sequence]] = []  # batches of this pool, in the order they are taken
        self.taken = 0
        self.before = self._generators()

    def __next__(self) -> list[Sequence]:
        if self.taken == len(self.ready):
            self._fill()
        self.taken += 1
        return self.ready[self.taken - 1]

    def position(self) -> dict[str, Any]:
        """Where the stream stands, as plain data."""
        return {**self.before, "taken": self.taken}

    def seek(self, position: dict[str, Any]) -> None:
        """Go on from a `position` of a stream with the same settings."""
        self.rng.bit_generator.state = position["rng"]
        for name in ("pipelines", "lists"):
            version, state, gauss = position[name]
            getattr(self, name).setstate((version, tuple(state), gauss))
        self.given = position["given"]
        self.ready, self.taken = [], 0
        self.before = self._generators()
        if position["taken"]:
            self._fill()
            self.taken = position["taken"]

    def _generators(self) -> dict[str, Any]:
        return {
            "rng": self.rng.bit_generator.state,
            "pipelines": self.pipelines.getstate(),
            "lists": self.lists.getstate(),
            "given": self.given,
        }

    def _fill(self) -> None:
        """Draw the next pool and batch it."""
        self.before = self._generators()
        config, pool = self.config, []
        only_lists = self.given < config.corpus.lists_first
        for _ in range(_POOL):
            draw = self.rng.random()
            if only_lists or draw > 1 - config.corpus.lists:
                ids, counted = _encode_list(self.tokenizer, *ordered_list(self.lists, self.words))
            elif self.functions and draw < config.corpus.stdlib:
                text = self.functions[self.rng.integers(len(self.functions))]
                ids, counted = _encode_function(self.tokenizer, text, _LONGEST_FUNCTION)
            else:
                trace = draw_pipeline(self.pipelines, config.corpus, self.exclude)
                ids, counted = _encode_pipeline(self.tokenizer, trace)
            gaps = 0.0 if only_lists else config.position_gaps
            pool.append((ids, counted, _positions(self.rng, ids, self.tokenizer.newline, gaps, config)))
        self.given += sum(len(ids) for ids, _, _ in pool)
        pool.sort(key=lambda sequence: len(sequence[0]))
        batches, batch = [], []
        for sequence in pool:
            if batch and (len(batch) + 1) * len(sequence[0]) > config.batch_tokens:
                batches.append(batch)
                batch = []
            batch.append(sequence)
        batches.append(batch)
        self.ready, self.taken = [batches[i] for i in self.rng.permutation(len(batches))], 0


def _encode_pipeline(tokenizer: LineTokenizer, trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    encoded = tokenizer.encode_trace(trace)
    return encoded.ids, encoded.roles != PROMPT


def _encode_function(tokenizer: LineTokenizer, text: str, longest: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.array([*tokenizer.encode_prompt(text), tokenizer.eos])[:longest]
    counted = np.ones(len(ids), dtype=bool)
    counted[0] = False
    return ids, counted


def _encode_list(tokenizer: LineTokenizer, given: str, ordered: str) -> tuple[np.ndarray, np.ndarray]:
    before = tokenizer.encode_prompt(given)
    after = [token for line in ordered.splitlines(keepends=True) for token in tokenizer.encode_line(line)]
    return np.array([*before, *after, tokenizer.eos]), np.arange(len(before) + len(after) + 1) >= len(before)


def _positions(
    rng: np.random.Generator, ids: np.ndarray, newline: int, share: float, config: PretrainConfig
) -> np.ndarray:
    """0, 1, 2, ... with up to three jumps at line ends in a share of the sequences."""
    positions = np.arange(len(ids))
    ends = np.flatnonzero(ids[:-1] == newline)
    if len(ends) and rng.random() < share:
        room = min(config.widest_gap, config.context - len(ids))
        for end in rng.choice(ends, size=rng.integers(1, 4)):
            positions[end + 1 :] += rng.integers(0, max(room // 3, 1))
    return positions


def collate(batch: list[Sequence], pad: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids, targets (-100 where not counted) and positions, each (B, T)."""
    width = max(len(ids) for ids, _, _ in batch)
    ids = torch.full((len(batch), width), pad)
    targets = torch.full((len(batch), width), -100)
    positions = torch.zeros((len(batch), width), dtype=torch.long)
    for row, (sequence, counted, place) in enumerate(batch):
        length = len(sequence)
        ids[row, :length] = torch.from_numpy(sequence)
        targets[row, :length] = torch.from_numpy(np.where(counted, sequence, -100))
        positions[row, :length] = torch.from_numpy(place)
    return ids, targets, positions
