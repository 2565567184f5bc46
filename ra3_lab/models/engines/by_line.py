"""Latents by an engine that only completes prefixes: line ends in order within a trace, all traces in parallel.

At each line of each trace the engine decides whether to think and, where it does, writes the thought; the expert's line
follows and the next line's prefix holds what was thought before. All programs and all members of a group are asked
together, one line at a time, so there are as many rounds as the longest program has lines.

`all_lines_at_once` asks for all lines of a trace in one round: every thought then sees the expert's lines but none of
the thoughts before it. That is another distribution than q's (an APPROXIMATION, never the default): thoughts repeat
each other, and their log-probabilities must be scored anew under the trace as it came out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ra3_lab.models.engines.completer import Completer
from ra3_lab.models.generation import Sampling
from ra3_lab.models.rollout import LatentSampling, Rollout, rest_of, sizes_of
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.trace import Trace, annotate, strip


@dataclass
class _Row:
    """A trace being written."""

    tokens: list[int]
    lines: list[list[int]]
    offered: list[bool]
    rest: list[int]
    sample: int
    thoughts: list[list[int] | None] = field(default_factory=list)
    cut: list[bool] = field(default_factory=list)
    no_room: list[bool] = field(default_factory=list)


def _row(tokenizer: LineTokenizer, trace: Trace, key: int) -> _Row:
    lines = [tokenizer.encode_line(line) for line in trace.lines]
    offered = [tokenizer.offered(line) for line in trace.lines]
    return _Row(tokenizer.encode_prompt(trace.prompt), lines, offered, rest_of(lines), key)


def sample_by_line(
    engine: Completer,
    tokenizer: LineTokenizer,
    traces: Sequence[Trace],
    how: LatentSampling,
    seed: int,
    update: int,
    samples: Sequence[int] | None = None,
    all_lines_at_once: bool = False,
) -> list[Rollout]:
    """As `rollout.sample_latents`, by an engine that completes prefixes. ValueError where a program does not fit."""
    keys = list(samples) if samples is not None else list(range(len(traces)))
    if not how.think:
        return [Rollout(strip(trace), (False,) * len(trace.lines), (None,) * len(trace.lines)) for trace in traces]
    sizes_of(tokenizer, traces, engine.context)
    rows = [_row(tokenizer, trace, key) for trace, key in zip(traces, keys, strict=True)]
    seeds = (seed, update)
    rounds = [list(range(max(len(row.lines) for row in rows)))]
    for lines in rounds if all_lines_at_once else [[line] for line in rounds[0]]:
        asked = [(row, line) for row in rows for line in lines if line < len(row.lines)]
        prefixes = [_before(row, line, all_lines_at_once) for row, line in asked]
        for (row, line), prefix in zip(asked, prefixes, strict=True):
            unseen = line * (how.longest_thought + 2) if all_lines_at_once else 0  # what earlier lines may be thinking
            room = how.fits(len(prefix) + unseen, row.rest[line], engine.context)
            row.no_room.append(row.offered[line] and not room)
        written = _thoughts(engine, tokenizer, how, seeds, asked, prefixes)
        for (row, line), thought in zip(asked, written, strict=True):
            cut = thought is not None and len(thought) > how.longest_thought
            kept = thought[: how.longest_thought] if thought is not None else None
            row.thoughts.append(kept)
            row.cut.append(cut)
            if not all_lines_at_once:
                before = [] if kept is None else [tokenizer.marker, *kept, tokenizer.newline]
                row.tokens += before + row.lines[line]
    return [_finished(tokenizer, trace, row) for trace, row in zip(traces, rows, strict=True)]


def _before(row: _Row, line: int, plain: bool) -> list[int]:
    """What stands before a line: with the thoughts so far, or (`plain`) the expert's lines alone."""
    return row.tokens + [token for ids in row.lines[:line] for token in ids] if plain else list(row.tokens)


def _thoughts(
    engine: Completer,
    tokenizer: LineTokenizer,
    how: LatentSampling,
    seeds: tuple[int, int],
    asked: Sequence[tuple[_Row, int]],
    prefixes: Sequence[list[int]],
) -> list[list[int] | None]:
    """For each place asked about the thought's tokens (one too many where it was cut), or None for none."""
    found: list[list[int] | None] = [None] * len(asked)
    open_ = [i for i, (row, line) in enumerate(asked) if row.offered[line] and not row.no_room[line]]
    if not open_:
        return found
    keys = np.array([asked[i][0].sample for i in open_])
    chosen = engine.thinks([prefixes[i] for i in open_], tokenizer.marker, how.temperature, keys, seeds)
    thinking = [i for i, yes in zip(open_, chosen, strict=True) if yes]
    if not thinking:
        return found
    written = engine.complete(
        [[*prefixes[i], tokenizer.marker] for i in thinking],
        np.array([asked[i][0].sample for i in thinking]),
        Sampling(how.temperature, max_new=how.longest_thought + 1),
        seeds,
        (tokenizer.newline,),
        tokenizer.banned,
    )
    for i, (ids, _) in zip(thinking, written, strict=True):
        found[i] = ids[:-1] if ids and ids[-1] == tokenizer.newline else ids
    return found


def _finished(tokenizer: LineTokenizer, trace: Trace, row: _Row) -> Rollout:
    latents = [None if thought is None else tokenizer.decode(thought) for thought in row.thoughts]
    return Rollout(annotate(trace, latents), tuple(row.cut), tuple(row.thoughts), tuple(row.no_room))
