"""Whole answers from a model: groups of samples for each prompt, with the log-probabilities they were drawn at.

Draws are keyed by (seed, update, key of the sample, token position): a sample does not depend on what else is in the
batch, up to the rounding of the matrix products. The samples of a prompt share its prefill and its keys and values; a
finished row stops writing at once and leaves the batch when enough others have.

Models that the decoder does not know go through Hugging Face's `generate`, with a warning: slower, the same draws.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from ra3_lab.models.decoder import Cache, Decoder
from ra3_lab.models.engines.completer import Completer, Row, Rows
from ra3_lab.models.group_cache import group_cache
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
    Raises ValueError for less than one.
    """
    if samples_per_prompt < 1:
        raise ValueError(f"samples={samples_per_prompt}: answers to each prompt, at least 1.")
    keys = np.arange(len(prompts) * samples_per_prompt).reshape(len(prompts), samples_per_prompt)
    how = Sampling(temperature, max_new=max_new)
    return sample_groups(decoder, tokenizer, prompts, keys, how, seed, update, (), rows_at_once, progress, banned)


@torch.no_grad()
def sample_groups(
    decoder: Decoder | Completer,
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
        watch = [StopWatch(tokenizer, stops[i]) if len(stops) else None for i in picked]
        rows = decode(
            decoder, [encoded[i] for i in picked], keys[picked], how, (seed, update), tokenizer.eos, banned, watch
        )
        for i, group in zip(picked, rows, strict=True):
            results[i] = [_completion(tokenizer, ids, logp, stops[i] if len(stops) else ()) for ids, logp in group]
        if progress is not None:
            progress(begin + len(picked), len(order))
    return results


class StopWatch:
    """Sees whether the last token completed a stop. It looks at the end of the text only."""

    def __init__(self, tokenizer: LineTokenizer, stops: tuple[str, ...]) -> None:
        self.tokenizer, self.stops = tokenizer, stops
        self.ends = {stop[-1] for stop in stops}
        self.reach = max((len(stop.encode()) for stop in stops), default=0)
        self.may_finish: dict[int, bool] = {}  # token -> whether it holds a stop's last character, or part of one

    def stopped(self, ids: Sequence[int] | np.ndarray) -> bool:
        """Whether the text of these tokens holds a stop that the last token finished."""
        last = int(ids[-1])
        if last not in self.may_finish:
            self.may_finish[last] = bool((self.ends | {"\ufffd"}) & set(self.tokenizer.decode([last])))
        if not self.may_finish[last]:
            return False
        tail = self.tokenizer.decode(ids[-self.reach - 1 :])  # a token is at least a byte: the stop lies in here
        return any(stop in tail for stop in self.stops)


def decode(
    decoder: Decoder | Completer,
    prompts: Sequence[list[int]],
    keys: np.ndarray,
    how: Sampling,
    seeds: tuple[int, int],
    eos: int,
    banned: tuple[int, ...] = (),
    watch: Sequence[StopWatch | None] = (),
) -> Rows:
    """Sample token by token for prompts given as ids; keys (P, G). A row ends with `eos`, at a stop, or by length."""
    if not isinstance(decoder, Decoder):
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
    cache = group_cache(prefilled, lengths.to(decoder.device), group, context - int(lengths.min()))
    most = min(how.max_new, context - int(lengths.min()))
    written = np.zeros((count, group, most), dtype=np.int64)
    probabilities = np.zeros(written.shape, dtype=np.float32)  # as logarithms
    tokens_of = np.zeros((count, group), dtype=np.int64)  # how many each row has
    alive = np.ones((count, group), dtype=bool)
    # Where each place of the batch came from: (prompt, member). Places of rows that have ended stay until moved.
    origin = np.stack(np.meshgrid(np.arange(count), np.arange(group), indexing="ij"), -1)  # (P, G, 2)
    place = np.broadcast_to(lengths.numpy()[:, None], keys.shape)
    for step in range(most):
        uniforms = keyed_uniforms(*seeds, keys.ravel(), place.ravel())
        logits = decoder.logits(hidden).flatten(0, 1)
        tokens, logp = draw_with_logp(logits, uniforms, how.temperature, banned, how.top_k, how.top_p)
        drawn = tokens.numpy().reshape(alive.shape)
        rows = tuple(origin[alive].T)  # prompts and members
        written[(*rows, step)], probabilities[(*rows, step)] = drawn[alive], logp.numpy().reshape(alive.shape)[alive]
        tokens_of[rows] = step + 1
        alive &= (drawn != eos) & (place + 1 < context)
        for p, g in zip(*np.nonzero(alive), strict=True) if len(watch) else ():
            prompt, member = origin[p, g]
            stop = watch[prompt]
            alive[p, g] = stop is None or not stop.stopped(written[prompt, member, : step + 1])
        if step + 1 == most or not alive.any():
            break
        going = alive.sum(1)
        if (going > 0).sum() * going.max() <= COMPACT_AT * alive.size:
            kept = np.flatnonzero(going)
            members = np.argsort(~alive[kept], axis=1, kind="stable")[:, : going.max()]  # those that go on come first
            cache.select(torch.from_numpy(kept).to(decoder.device), torch.from_numpy(members).to(decoder.device))
            alive, keys, place, drawn = (x[kept[:, None], members] for x in (alive, keys, place, drawn))
            origin = origin[kept[:, None], members]
        hidden = decoder.step(torch.from_numpy(drawn.copy()), cache)
        place = place + 1
    ends = zip(written, probabilities, tokens_of, strict=True)
    return [[(i[:n].tolist(), p[:n].tolist()) for i, p, n in zip(*group, strict=True)] for group in ends]


def _completion(tokenizer: LineTokenizer, ids: list[int], logp: list[float], stops: tuple[str, ...]) -> Completion:
    text = tokenizer.decode(ids)
    places = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    reason = "stop" if places else "end" if ids and ids[-1] == tokenizer.eos else "length"
    text = text[: min(places)] if places else text
    return Completion(text, len(ids), reason != "length", reason, tuple(ids), tuple(logp))


class Fallback(Completer):
    """The part of the decoder for a model it does not know: Hugging Face's `generate` with a static cache.

    The draws are the decoder's own: a logits processor takes the token that the row's key says, so a sample does not
    depend on the batch here either, up to rounding. Rows are padded on the left.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.context: int = model.config.max_position_embeddings

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
        """As `Completer` says, by one batch of Hugging Face's generate."""
        lengths = np.array([len(prefix) for prefix in prefixes])
        width = int(lengths.max())
        room = np.minimum(how.max_new, self.context - lengths)
        rows: list[Row] = [([], []) for _ in prefixes]
        alive = np.ones(len(prefixes), dtype=bool)

        def draw(before: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            place = lengths + before.shape[1] - width
            uniforms = keyed_uniforms(*seeds, keys, place)
            tokens, logp = draw_with_logp(scores.cpu(), uniforms, how.temperature, banned, how.top_k, how.top_p)
            for i in np.flatnonzero(alive).tolist():
                token = int(tokens[i])
                rows[i][0].append(token)
                rows[i][1].append(float(logp[i]))
                watch = watches[i] if len(watches) else None
                ended = token in ends or (watch is not None and watch.stopped(rows[i][0]))
                alive[i] = not ended and len(rows[i][0]) < room[i]
            return torch.full_like(scores, -torch.inf).scatter(1, tokens[:, None].to(scores.device), 0.0)

        self._generate(prefixes, int(room.max()), draw, lambda: ~alive)
        return rows

    def thinks(
        self, prefixes: Sequence[list[int]], marker: int, temperature: float, keys: np.ndarray, seeds: tuple[int, int]
    ) -> np.ndarray:
        """(B,) whether `marker` is drawn after each prefix: the decoder's own decisions."""
        places = np.array([len(prefix) for prefix in prefixes])
        return keyed_uniforms(*seeds, keys, places) < self.probability(prefixes, marker, temperature)

    def probability(self, prefixes: Sequence[Sequence[int]], token: int, temperature: float) -> np.ndarray:
        """(B,) float64: the probability of `token` after each prefix; at temperature 0 whether it is likeliest."""
        found: list[torch.Tensor] = []

        def look(before: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            logits = scores.float().cpu()
            likely = torch.softmax(logits / temperature, -1)[:, token] if temperature else logits.argmax(-1) == token
            found.append(likely.double())
            return scores

        self._generate(prefixes, 1, look, lambda: np.ones(len(prefixes), dtype=bool))
        return found[0].numpy()

    @torch.no_grad()
    def _generate(
        self,
        prefixes: Sequence[Sequence[int]],
        most: int,
        process: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        done: Callable[[], np.ndarray],
    ) -> None:
        """Hugging Face's generate over prefixes padded on the left, with a hand on every step's logits."""
        width = max(map(len, prefixes))
        ids = torch.tensor([[0] * (width - len(prefix)) + list(prefix) for prefix in prefixes])
        mask = torch.tensor([[0] * (width - len(prefix)) + [1] * len(prefix) for prefix in prefixes])
        self.model.generate(
            input_ids=ids.to(self.model.device),
            attention_mask=mask.to(self.model.device),
            do_sample=False,
            max_new_tokens=most,
            eos_token_id=None,
            pad_token_id=0,
            cache_implementation="static",
            disable_compile=True,
            logits_processor=[process],
            stopping_criteria=[lambda ids, _: torch.from_numpy(done()).to(ids.device)],
        )


def sampler_of(model: Any, dtype: torch.dtype = torch.float32) -> Decoder | Fallback:
    """A decoder of the model as it is now; for an architecture it does not know `generate`, with a warning."""
    try:
        return Decoder(model, dtype)
    except ValueError as error:
        warnings.warn(
            f"{error} Sampling falls back to Hugging Face's generate, which is slower.",
            stacklevel=2,
        )
        return Fallback(model)
