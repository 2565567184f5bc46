"""Latents between forced expert lines (E-step, M-step); whole programs are in `generation.py`.

`sample_latents` forces the expert's lines and samples a latent before each. It feeds several forced lines at once,
looks at the decision before every one of them, and goes back to the first that chose to think: draws are keyed by
position, so this gives exactly the traces of a token-by-token loop, in far fewer passes.

A latent is offered only where the longest thought would still leave room for the rest of the program: every trace that
comes back fits the context, and a program fits as long as it does without thoughts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from ra3_lab.models.decoder import Cache, Decoder
from ra3_lab.models.generation import Completion, generate
from ra3_lab.models.sampling import draw_tokens, keyed_uniforms
from ra3_lab.models.tokenizer import Encoded, LineTokenizer
from ra3_lab.trace import Trace, annotate, strip

__all__ = ["Completion", "LatentSampling", "Rollout", "generate", "sample_latents"]

LOOKAHEAD = 24  # forced tokens fed in one pass: about a block of code


@dataclass(frozen=True)
class LatentSampling:
    """How latents are drawn."""

    temperature: float = 1.0
    """Softmax temperature of decision and thought."""
    longest_thought: int = 16
    """Most tokens between marker and closing newline; a longer thought is cut."""
    think: bool = True
    """False masks the think branch (c = infinity): every trace comes back without latents."""

    def __post_init__(self) -> None:
        if not self.temperature >= 0 or self.longest_thought < 1:
            raise ValueError(
                f"temperature={self.temperature}, longest_thought={self.longest_thought}: at least 0 and 1."
            )

    def fits(self, before: int, rest: int, context: int) -> bool:
        """Whether a thought, however long, fits between `before` tokens and the `rest` of a trace."""
        return before + self.longest_thought + 2 + rest <= context  # with its marker and newline


@dataclass(frozen=True)
class Rollout:
    """One sampled trace."""

    trace: Trace
    """The expert's code with the sampled latents."""
    cut: tuple[bool, ...]
    """Per line, whether the thought before it was cut for length."""
    thought_ids: tuple[list[int] | None, ...]
    """Per line the thought's tokens as sampled, without marker and newline."""
    no_room: tuple[bool, ...] = ()
    """Per line whether no latent was offered because the context had no room for one; () for nowhere."""

    def encode(self, tokenizer: LineTokenizer) -> Encoded:
        """Ids and roles, exactly as sampled."""
        return tokenizer.encode_trace(self.trace, self.cut, self.thought_ids)


def rest_of(lines: Sequence[Sequence[int]]) -> list[int]:
    """For each line the tokens from it to the end of text, that included.

    >>> rest_of([[5, 6], [7]])
    [4, 2]
    """
    return [*accumulate(map(len, reversed(lines)), initial=1)][:0:-1]


def sizes_of(tokenizer: LineTokenizer, traces: Sequence[Trace], context: int) -> list[int]:
    """Tokens of each trace without its thoughts. ValueError, naming it, for one that does not fit the context."""
    sizes = []
    for trace in traces:
        rest = sum(len(tokenizer.encode_line(line)) for line in trace.lines) + 1
        sizes.append(len(tokenizer.encode_prompt(trace.prompt)) + rest)
        if sizes[-1] > context:
            raise ValueError(
                f"trace {trace.trace_id!r} has {sizes[-1]} tokens, the context is {context}: shorten or drop it."
            )
    return sizes


class _Row:
    """State of one trace while it is being sampled."""

    def __init__(self, tokenizer: LineTokenizer, trace: Trace, sample: int) -> None:
        self.trace, self.sample = trace, sample
        self.pending = tokenizer.encode_prompt(trace.prompt)  # forced tokens not yet fed
        self.lines = [tokenizer.encode_line(line) for line in trace.lines]
        self.offered = [tokenizer.offered(line) for line in trace.lines]
        self.rest = rest_of(self.lines)
        self.no_room = [False] * len(self.lines)
        self.at = 0  # next line to decide about
        self.fed = 0  # tokens in the cache
        self.thought: list[int] | None = None  # tokens of the thought being written
        self.thoughts: list[list[int] | None] = [None] * len(self.lines)
        self.cut = [False] * len(self.lines)

    @property
    def done(self) -> bool:
        return self.at == len(self.lines)


def _feed(
    decoder: Decoder, cache: Cache, rows: Sequence[_Row], active: Sequence[int], chunks: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Feed a chunk to each active row; hidden states (active, widest chunk, D)."""
    ids = torch.zeros((len(active), max(map(len, chunks))), dtype=torch.long)
    for slot, chunk in enumerate(chunks):
        ids[slot, : len(chunk)] = torch.tensor(chunk, dtype=torch.long)
    starts = torch.tensor([rows[i].fed for i in active])
    return decoder.forward(ids, starts, cache, active if len(active) < len(rows) else None)


def _prefill(decoder: Decoder, rows: Sequence[_Row], length: int) -> Cache:
    """A cache that holds every row's prompt but for its last token; rows with the same prompt share the work."""
    first: dict[str, int] = {}
    for i, row in enumerate(rows):
        first.setdefault(row.trace.prompt, i)
    leaders = [rows[i] for i in first.values()]
    cache = Cache(decoder, len(leaders), length)
    if any(len(row.pending) > 1 for row in leaders):
        _feed(decoder, cache, leaders, range(len(leaders)), [row.pending[:-1] for row in leaders])
    slot = {prompt: k for k, prompt in enumerate(first)}
    cache.select(torch.tensor([slot[row.trace.prompt] for row in rows]))
    for row in rows:
        row.fed, row.pending = len(row.pending) - 1, row.pending[-1:]
    return cache


def _advance(row: _Row) -> tuple[list[int], list[tuple[int, int]]]:
    """The row's next forced chunk and its decision points (offset of the token before, line)."""
    chunk = list(row.pending)
    points = [(len(chunk) - 1, row.at)]
    for line in range(row.at, len(row.lines) - 1):
        if len(chunk) + len(row.lines[line]) > len(row.pending) + LOOKAHEAD:
            break
        chunk += row.lines[line]
        points.append((len(chunk) - 1, line + 1))
    return chunk, points


def _force(
    decoder: Decoder,
    cache: Cache,
    rows: list[_Row],
    tokenizer: LineTokenizer,
    how: LatentSampling,
    keys: tuple[int, int],
) -> None:
    """Feed every row up to its next thought or the end of its lookahead."""
    active = [i for i, row in enumerate(rows) if not row.done]
    plans = [_advance(rows[i]) for i in active]
    hidden = _feed(decoder, cache, rows, active, [chunk for chunk, _ in plans])
    where = [(slot, offset, line) for slot, (_, points) in enumerate(plans) for offset, line in points]
    picked = hidden[[slot for slot, _, _ in where], [offset for _, offset, _ in where]]
    logits = decoder.logits(picked).float()
    if how.temperature:
        think = torch.softmax(logits / how.temperature, -1)[:, tokenizer.marker].double().numpy()
    else:
        think = (logits.argmax(-1) == tokenizer.marker).double().numpy()
    samples = np.array([rows[active[slot]].sample for slot, _, _ in where])
    positions = np.array([rows[active[slot]].fed + offset + 1 for slot, offset, _ in where])
    chosen = keyed_uniforms(*keys, samples, positions) < think
    decided: set[int] = set()
    for (slot, offset, line), yes in zip(where, chosen, strict=True):
        row = rows[active[slot]]
        if slot in decided or not row.offered[line]:
            continue
        row.no_room[line] = not how.fits(row.fed + offset + 1, row.rest[line], decoder.context)
        if row.no_room[line] or not yes:
            continue
        decided.add(slot)
        row.fed += offset + 1
        row.at, row.thought, row.pending = line, [], [tokenizer.marker]
    for slot, (chunk, points) in enumerate(plans):
        if slot not in decided:
            row, line = rows[active[slot]], points[-1][1]
            row.fed += len(chunk)
            row.pending, row.at = row.lines[line], line + 1


def _write_thoughts(
    decoder: Decoder,
    cache: Cache,
    rows: list[_Row],
    tokenizer: LineTokenizer,
    how: LatentSampling,
    keys: tuple[int, int],
) -> None:
    """Write the open thoughts of all rows token by token."""
    while active := [i for i, row in enumerate(rows) if row.thought is not None]:
        hidden = _feed(decoder, cache, rows, active, [rows[i].pending for i in active])
        samples = np.array([rows[i].sample for i in active])
        uniforms = keyed_uniforms(*keys, samples, np.array([rows[i].fed + 1 for i in active]))
        tokens = draw_tokens(decoder.logits(hidden[:, 0]), uniforms, how.temperature, tokenizer.banned).tolist()
        for i, token in zip(active, tokens, strict=True):
            row = rows[i]
            assert row.thought is not None
            row.fed += 1
            if token != tokenizer.newline and len(row.thought) == how.longest_thought:
                row.cut[row.at], token = True, tokenizer.newline
            if token == tokenizer.newline:
                row.thoughts[row.at], row.thought = row.thought, None
                row.pending = [token, *row.lines[row.at]]
                row.at += 1
            else:
                row.thought.append(token)
                row.pending = [token]


@torch.no_grad()
def sample_latents(
    decoder: Any,
    tokenizer: LineTokenizer,
    traces: Sequence[Trace],
    how: LatentSampling,
    seed: int,
    update: int,
    samples: Sequence[int] | None = None,
    rows_at_once: int = 64,
) -> list[Rollout]:
    """Sample z_t ~ q(. | s_t) before every line of every trace, the lines being forced.

    `samples` are the keys of the draws (default 0, 1, ...): equal keys give equal traces, whatever the batch. Raises
    ValueError where a program does not fit the context even without thoughts. `decoder` may be another engine
    (`engines.interface`): then line by line.
    """
    if not isinstance(decoder, Decoder):
        from ra3_lab.models.engines.by_line import sample_by_line

        return sample_by_line(decoder, tokenizer, traces, how, seed, update, samples)
    keys = list(samples) if samples is not None else list(range(len(traces)))
    if not how.think:
        return [Rollout(strip(trace), (False,) * len(trace.lines), (None,) * len(trace.lines)) for trace in traces]
    results: list[Rollout | None] = [None] * len(traces)
    sizes = sizes_of(tokenizer, traces, decoder.context)
    order = np.argsort(sizes, kind="stable")
    for begin in range(0, len(order), rows_at_once):
        picked = order[begin : begin + rows_at_once]
        rows = [_Row(tokenizer, traces[i], keys[i]) for i in picked]
        cache = _prefill(decoder, rows, max(sizes[i] for i in picked) + LOOKAHEAD)
        while not all(row.done for row in rows):
            _force(decoder, cache, rows, tokenizer, how, (seed, update))
            _write_thoughts(decoder, cache, rows, tokenizer, how, (seed, update))
        for i, row in zip(picked, rows, strict=True):
            latents = [None if thought is None else tokenizer.decode(thought) for thought in row.thoughts]
            results[i] = Rollout(annotate(traces[i], latents), tuple(row.cut), tuple(row.thoughts), tuple(row.no_room))
    return [result for result in results if result is not None]
