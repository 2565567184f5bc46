"""Whole answers from a model: groups of samples for each prompt, with the log-probabilities they were drawn at.

Draws are keyed by (seed, update, key of the sample, token position): a sample does not depend on what else is in the
batch, up to the rounding of the matrix products. The samples of a prompt share its prefill and its keys and values; a
finished row stops writing at once and leaves the batch when enough others have.

Models that the decoder does not know go through Hugging Face's `generate`, with a warning: slower, and their samples
depend on the batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from ra3_lab.models.decoder import Cache, Decoder, GroupCache
from ra3_lab.models.sampling import draw_with_logp, keyed_uniforms
from ra3_lab.models.tokenizer import LineTokenizer

COMPACT_AT = 0.75  # move the cache when this share of it, or less, would still hold all rows that go on


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn."""

    temperature: float = 1.0
    """Softmax temperature; 0 takes the likeliest token."""
    top_p: float = 1.0
    """Only the likeliest tokens that together reach this probability; 1 for all."""
    top_k: int = 0
    """Only the k likeliest tokens; 0 for all."""
    max_new: int = 480
    """Most tokens of an answer, end of text included."""

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature={self.temperature}: 0 (greedy) or more.")
        if not 0 < self.top_p <= 1 or self.top_k < 0:
            raise ValueError(f"top_p={self.top_p}, top_k={self.top_k}: 0 < top_p <= 1 and top_k >= 0.")
        if self.max_new < 1:
            raise ValueError(f"max_new={self.max_new}: at least one token.")


@dataclass(frozen=True)
class Completion:
    """One sampled program."""

    text: str
    """What follows the prompt, up to the end of text or the first stop."""
    tokens: int
    """Tokens sampled, end of text included."""
    ended: bool
    """Whether the model ended it (False: cut at max_new)."""
    reason: Literal["end", "stop", "length"] = "end"
    """What ended it: end of text, a stop, or max_new (or the context)."""
    ids: tuple[int, ...] = field(default=(), repr=False)
    """The tokens, end of text or the stop's included."""
    logp: tuple[float, ...] = field(default=(), repr=False, compare=False)
    """The log-probability each was drawn at; the last bits depend on the batch."""


@torch.no_grad()
def generate(
    decoder: Decoder,
    tokenizer: LineTokenizer,
    prompts: Sequence[str],
    samples_per_prompt: int,
    temperature: float,
    max_new: int,
    seed: int,
    update: int = 0,
    rows_at_once: int = 128,
    progress: Callable[[int, int], None] | None = None,
    banned: tuple[int, ...] = (),
) -> list[list[Completion]]:
    """`samples_per_prompt` completions for each prompt, without the `banned` tokens.

    Sample j of prompt i is keyed i * samples_per_prompt + j. `progress(done, all)` is called after each group of rows.
    """
    keys = np.arange(len(prompts) * samples_per_prompt).reshape(len(prompts), samples_per_prompt)
    how = Sampling(temperature, max_new=max_new)
    return sample_groups(decoder, tokenizer, prompts, keys, how, seed, update, (), rows_at_once, progress, banned)


@torch.no_grad()
def sample_groups(
    decoder: Decoder | Fallback,
    tokenizer: LineTokenizer,
    prompts: Sequence[str],
    keys: np.ndarray,
    how: Sampling,
    seed: int,
    update: int,
    stops: Sequence[tuple[str, ...]] = (),
    rows_at_once: int = 128,
    progress: Callable[[int, int], None] | None = None,
    banned: tuple[int, ...] = (),
) -> list[list[Completion]]:
    """Completions for each prompt, one for each of its keys (P, G); equal keys give equal samples.

    `stops[i]` are texts that end the answers to prompt i; the text is cut before them, the tokens are kept. Raises
    ValueError for a prompt that leaves no room in the context.
    """
    encoded = [tokenizer.encode_prompt(prompt) for prompt in prompts]
    for prompt, ids in zip(prompts, encoded, strict=True):
        if len(ids) >= decoder.context:
            raise ValueError(
                f"prompt {prompt[:40]!r}... has {len(ids)} tokens, the context is {decoder.context}: shorten it."
            )
    order = np.argsort([len(ids) for ids in encoded], kind="stable")
    at_once = max(1, rows_at_once // keys.shape[1])
    results: list[list[Completion]] = [[] for _ in prompts]
    for begin in range(0, len(order), at_once):
        picked = order[begin : begin + at_once]
        watch = [_StopWatch(tokenizer, stops[i]) if len(stops) else None for i in picked]
        rows = decode(
            decoder, [encoded[i] for i in picked], keys[picked], how, (seed, update), tokenizer.eos, banned, watch
        )
        for i, group in zip(picked, rows, strict=True):
            results[i] = [_completion(tokenizer, ids, logp, stops[i] if len(stops) else ()) for ids, logp in group]
        if progress is not None:
            progress(begin + len(picked), len(order))
    return results


Rows = list[list[tuple[list[int], list[float]]]]
"""For each prompt its samples: tokens, and the log-probability each was drawn at."""


class _StopWatch:
    """Sees whether the last token completed a stop. It looks at the end of the text only."""

    def __init__(self, tokenizer: LineTokenizer, stops: tuple[str, ...]) -> None:
        self.tokenizer, self.stops = tokenizer, stops
        self.ends = {stop[-1] for stop in stops}
        self.reach = max(map(len, stops), default=0)
        self.may_finish: dict[int, bool] = {}  # token -> whether its text holds the last character of a stop

    def stopped(self, ids: list[int]) -> bool:
        """Whether the text of these tokens holds a stop that the last token finished."""
        last = ids[-1]
        if last not in self.may_finish:
            self.may_finish[last] = bool(self.ends & set(self.tokenizer.decode([last])))
        if not self.may_finish[last]:
            return False
        tail = self.tokenizer.decode(ids[-self.reach - 1 :])  # a token is at least a byte: the stop lies in here
        return any(stop in tail for stop in self.stops)


def decode(
    decoder: Decoder | Fallback,
    prompts: Sequence[list[int]],
    keys: np.ndarray,
    how: Sampling,
    seeds: tuple[int, int],
    eos: int,
    banned: tuple[int, ...] = (),
    watch: Sequence[_StopWatch | None] = (),
) -> Rows:
    """Sample token by token for prompts given as ids; keys (P, G). A row ends with `eos`, at a stop, or by length."""
    if isinstance(decoder, Fallback):
        return decoder.decode(prompts, keys, how, seeds, eos, banned, watch)
    lengths = torch.tensor([len(ids) for ids in prompts])
    width, (count, group) = int(lengths.max()), keys.shape
    ids = torch.zeros((count, width), dtype=torch.long)
    for i, prompt in enumerate(prompts):
        ids[i, : len(prompt)] = torch.tensor(prompt)
    context = min(width + how.max_new, decoder.context)
    prefilled = Cache(decoder, count, width)
    hidden = decoder.forward(ids, torch.zeros(count, dtype=torch.long), prefilled)
    hidden = hidden[torch.arange(count), lengths.to(hidden.device) - 1][:, None].expand(-1, group, -1)  # (P, G, D)
    cache = GroupCache(prefilled, lengths.to(decoder.device), group, context - int(lengths.min()))
    rows: Rows = [[([], []) for _ in range(group)] for _ in range(count)]
    alive = np.ones((count, group), dtype=bool)
    # Where each place of the batch came from: (prompt, member). Places of rows that have ended stay until moved.
    origin = np.stack(np.meshgrid(np.arange(count), np.arange(group), indexing="ij"), -1)  # (P, G, 2)
    place = np.broadcast_to(lengths.numpy()[:, None], keys.shape)
    while True:
        uniforms = keyed_uniforms(*seeds, keys.ravel(), place.ravel())
        logits = decoder.logits(hidden).flatten(0, 1)
        tokens, logp = draw_with_logp(logits, uniforms, how.temperature, banned, how.top_k, how.top_p)
        drawn, logps = tokens.numpy().reshape(alive.shape), logp.numpy().reshape(alive.shape)
        for p, g in zip(*np.nonzero(alive), strict=True):
            prompt, member = origin[p, g]
            written, probabilities = rows[prompt][member]
            token = int(drawn[p, g])
            written.append(token)
            probabilities.append(float(logps[p, g]))
            room = len(written) < how.max_new and place[p, g] + 1 < context
            stop = watch[prompt] if len(watch) else None
            alive[p, g] = room and token != eos and not (stop is not None and stop.stopped(written))
        if not alive.any():
            return rows
        going = alive.sum(1)
        if (going > 0).sum() * going.max() <= COMPACT_AT * alive.size:
            kept = np.flatnonzero(going)
            members = np.argsort(~alive[kept], axis=1, kind="stable")[:, : going.max()]  # those that go on come first
            cache.select(torch.from_numpy(kept).to(decoder.device), torch.from_numpy(members).to(decoder.device))
            alive, keys, place, drawn = (x[kept[:, None], members] for x in (alive, keys, place, drawn))
            origin = origin[kept[:, None], members]
        hidden = decoder.step(torch.from_numpy(drawn.copy()), cache)
        place = place + 1


def _completion(tokenizer: LineTokenizer, ids: list[int], logp: list[float], stops: tuple[str, ...]) -> Completion:
    text = tokenizer.decode(ids)
    places = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    reason = "stop" if places else "end" if ids and ids[-1] == tokenizer.eos else "length"
    text = text[: min(places)] if places else text
    return Completion(text, len(ids), reason != "length", reason, tuple(ids), tuple(logp))


class Fallback:
    """The part of the decoder for a model it does not know: Hugging Face's `generate`, one prompt's group at a time."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.context: int = model.config.max_position_embeddings

    def decode(
        self,
        prompts: Sequence[list[int]],
        keys: np.ndarray,
        how: Sampling,
        seeds: tuple[int, int],
        eos: int,
        banned: tuple[int, ...],
        watch: Sequence[_StopWatch | None],
    ) -> Rows:
        """As `decode` above; torch's generator is seeded by the group's first key and left as it was."""
        rows: Rows = []
        for number, (prompt, group) in enumerate(zip(prompts, keys, strict=True)):
            given = torch.tensor([prompt] * len(group), device=self.model.device)
            draw: dict[str, Any] = {"do_sample": False}
            if how.temperature:
                top_k = how.top_k or None
                draw = {"do_sample": True, "temperature": how.temperature, "top_p": how.top_p, "top_k": top_k or 0}
            with torch.random.fork_rng():
                uniform = keyed_uniforms(*seeds, group[:1], np.array(len(prompt)))
                torch.manual_seed(int(uniform[0] * 2**53))
                found = self.model.generate(
                    given,
                    attention_mask=torch.ones_like(given),
                    max_new_tokens=min(how.max_new, self.context - len(prompt)),
                    eos_token_id=eos,
                    pad_token_id=eos,
                    suppress_tokens=list(banned) or None,
                    return_dict_in_generate=True,
                    output_scores=True,
                    **draw,
                )
            logp = torch.stack(found.scores, 1).float().log_softmax(-1)  # (G, T, V)
            ids = found.sequences[:, len(prompt) :]
            logp = logp.gather(-1, ids[..., None])[..., 0] if how.temperature else torch.zeros(ids.shape)
            rows.append([])
            for tokens, probabilities in zip(ids.tolist(), logp.tolist(), strict=True):
                end = _end_of(tokens, eos, watch[number] if len(watch) else None)
                rows[-1].append((tokens[:end], probabilities[:end]))
        return rows


def _end_of(tokens: list[int], eos: int, watch: _StopWatch | None) -> int:
    """Tokens up to the end of text or the first finished stop."""
    for n, token in enumerate(tokens, 1):
        if token == eos or (watch is not None and watch.stopped(tokens[:n])):
            return n
    return len(tokens)


def sampler_of(model: Any, dtype: torch.dtype = torch.float32) -> Decoder | Fallback:
    """A decoder of the model as it is now; for an architecture it does not know `generate`, with a warning."""
    try:
        return Decoder(model, dtype)
    except ValueError as error:
        warnings.warn(
            f"{error} Sampling falls back to Hugging Face's generate: slower, and samples depend on the batch.",
            stacklevel=2,
        )
        return Fallback(model)
