"""Log-probabilities of given tokens, and what a trace's lines and latents get of them.

`score_batch` runs a causal LM over right-padded sequences and returns per-token log-probabilities; the vocabulary
axis is reduced chunk by chunk, so that logits of shape (B, T, V) never exist at once. `line_logp` and `latent_logp`
sum them by role:

- a line: log pi(a_t | s_t, z_t), its first token renormalised without the marker (z_t has already chosen);
- a latent: log q(#) + the thought's tokens and closing newline when thinking, log(1 - q(#)) when not. Tokens of a
  thought are renormalised without those no thought may hold, as they are sampled. Where a thought was cut, its
  closing newline was forced because another token was drawn: it counts log(1 - q(newline)), so that all latents
  together have probability 1.

`answer_logps` is for RL on whole answers: log-probability and entropy of each token of an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from ra3_lab.models.tokenizer import (
    FIRST_ACT,
    FIRST_THOUGHT,
    FORCED,
    LINE,
    MARK,
    PROMPT,
    THOUGHT,
    Encoded,
    LineTokenizer,
)

_CHUNK = 4_096  # tokens whose logits exist at the same time, at most


@dataclass(frozen=True)
class Batch:
    """Right-padded traces; padding has role PROMPT and counts nowhere."""

    ids: torch.Tensor
    """(B, T) token ids."""
    roles: torch.Tensor
    """(B, T) token roles."""
    line: torch.Tensor
    """(B, T) action index of each token."""
    lengths: torch.Tensor
    """(B,) tokens of each trace."""
    lines: int
    """Largest number of lines in the batch."""


@dataclass(frozen=True)
class Scores:
    """Log-probabilities at positions 1..T-1 of a batch, each (B, T - 1): entry [b, i] is about token i + 1; 0 where
    that token is of the prompt or padding."""

    token: torch.Tensor
    """log p(token | before)."""
    marker: torch.Tensor
    """log p('#' | before)."""
    banned: torch.Tensor
    """log p(any token that no thought may hold | before)."""


def collate(encoded: Sequence[Encoded], pad: int) -> Batch:
    """Pad traces on the right to one length."""
    width = max(len(e.ids) for e in encoded)
    ids = torch.full((len(encoded), width), pad)
    roles = torch.full((len(encoded), width), PROMPT, dtype=torch.int8)
    line = torch.zeros((len(encoded), width), dtype=torch.long)
    for row, e in enumerate(encoded):
        ids[row, : len(e.ids)] = torch.from_numpy(e.ids)
        roles[row, : len(e.ids)] = torch.from_numpy(e.roles)
        line[row, : len(e.ids)] = torch.from_numpy(e.line)
    lengths = torch.tensor([len(e.ids) for e in encoded])
    return Batch(ids, roles, line, lengths, max(e.lines for e in encoded))


def check_lengths(encoded: Sequence[Encoded], context: int, names: Sequence[str] | None = None) -> None:
    """Raise ValueError for the first trace that does not fit the model's context."""
    for i, e in enumerate(encoded):
        if len(e.ids) > context:
            name = names[i] if names else f"number {i}"
            raise ValueError(
                f"trace {name} has {len(e.ids)} tokens, the model's context is {context}: "
                "shorten or drop it (--max-tokens)."
            )


def hidden_states(model: Any, ids: torch.Tensor) -> tuple[torch.Tensor, torch.nn.Module]:
    """Last hidden states (B, T, D) of a Hugging Face causal LM (with or without LoRA) and its output head."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    return causal.model(input_ids=ids, use_cache=False).last_hidden_state, causal.lm_head


class _Reduced(torch.autograd.Function):
    """(N, V) logits -> (N,) log-probabilities of the targets, of the marker, and of the banned tokens together.

    Plain indexing would make an (N, V) gradient for each of the three; this makes one for all.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor, marker: int, banned: torch.Tensor) -> Any:
        every = logits.log_softmax(-1)
        inadmissible = every[:, banned].logsumexp(-1)
        ctx.save_for_backward(every, targets, banned, inadmissible)
        ctx.marker = marker
        return every.gather(-1, targets[:, None])[:, 0], every[:, marker].clone(), inadmissible

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        every, targets, banned, inadmissible = ctx.saved_tensors
        token, marker, none = gradients
        logits = every.exp().mul_(-(token + marker + none)[:, None])
        logits.scatter_add_(1, targets[:, None], token[:, None])
        logits[:, ctx.marker] += marker
        logits[:, banned] += none[:, None] * (every[:, banned] - inadmissible[:, None]).exp()
        return logits, None, None, None


def _logits(head: torch.nn.Module, hidden: torch.Tensor, temperature: float) -> torch.Tensor:
    logits = head(hidden)
    logits = logits.float() if logits.itemsize < 4 else logits  # half types up; float64 stays
    return logits if temperature == 1 else logits / temperature


def _reduce(
    head: torch.nn.Module,
    hidden: torch.Tensor,
    targets: torch.Tensor,
    marker: int,
    banned: torch.Tensor,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return _Reduced.apply(_logits(head, hidden, temperature), targets, marker, banned)


def chunk_of(vocabulary: int) -> int:
    """Tokens whose logits `score_batch` holds at the same time: 4,096, fewer for vocabularies above 16,384.

    >>> chunk_of(1_280), chunk_of(151_936)
    (4096, 441)
    """
    return max(1, min(_CHUNK, 4 * _LOGITS_AT_ONCE // vocabulary))


def score_batch(model: Any, batch: Batch, tokenizer: LineTokenizer, temperature: float = 1.0) -> Scores:
    """Log-probabilities of every token that has a role under `model` at `temperature`; differentiable where gradients
    are on. The head sees no other token: prompts and padding have scores of 0."""
    device = next(model.parameters()).device
    row, column = (batch.roles[:, 1:] != PROMPT).nonzero(as_tuple=True)
    hidden, head = _states_and_head(model, batch.ids[:, :-1].to(device))
    packed = hidden[row.to(device), column.to(device)]  # (N, D)
    targets, banned = batch.ids[row, column + 1].to(device), torch.tensor(tokenizer.banned, device=device)
    parts = []
    size = chunk_of(model.config.vocab_size)
    for i in range(0, len(packed), size):
        arguments = (head, packed[i : i + size], targets[i : i + size], tokenizer.marker, banned, temperature)
        if torch.is_grad_enabled() and len(packed) > size:
            parts.append(checkpoint(_reduce, *arguments, use_reentrant=False))
        else:
            parts.append(_reduce(*arguments))
    found = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    width = batch.ids.shape[1] - 1
    return Scores(*(one.new_zeros(len(batch.ids), width).index_put((row, column), one) for one in found))


_LOGITS_AT_ONCE = 2**24  # numbers: 64 MiB in float32, whatever the vocabulary


def answer_logps(
    model: Any,
    ids: torch.Tensor,
    prompts: torch.Tensor,
    lengths: torch.Tensor,
    temperature: float = 1.0,
    entropy_gradient: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability and entropy (nats) of every answer token at `temperature`, each (B, A), 0 beyond an answer's end.

    ids (B, T) hold prompt and answer, right-padded; prompts (B,) and lengths (B,) are the tokens of each prompt and of
    each answer; A is the longest answer. Differentiable, the entropy only where `entropy_gradient` asks for it. Right
    padding needs no mask: nothing attends to what follows it. The head sees answer tokens only, packed, in chunks whose
    logits are computed anew in the backward pass where there is more than one; so logits of shape (B, T, V) never
    exist.
    """
    device = next(model.parameters()).device
    longest = int(lengths.max())
    counted = torch.arange(longest) < lengths[:, None]  # (B, A)
    row, column = counted.nonzero(as_tuple=True)
    place = prompts[row] + column  # of the token itself; it is predicted one place before
    targets = ids[row, place].to(device)
    states, head = _states_and_head(model, ids[:, :-1].to(device))
    packed = states[row.to(device), (place - 1).to(device)]  # (N, D)
    size = max(1, _LOGITS_AT_ONCE // model.config.vocab_size)
    parts = []
    for i in range(0, len(packed), size):
        arguments = (head, packed[i : i + size], targets[i : i + size], temperature, entropy_gradient)
        if torch.is_grad_enabled() and len(packed) > size:
            parts.append(checkpoint(_logp_and_entropy, *arguments, use_reentrant=False))
        else:
            parts.append(_logp_and_entropy(*arguments))
    logp, entropy = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    empty = logp.new_zeros(len(ids), longest)
    return empty.index_put((row, column), logp), empty.index_put((row, column), entropy)


def _states_and_head(model: Any, ids: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """What the head is applied to, (B, T, D), and the head; the logits themselves for an architecture not known."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    if causal.config.model_type in ("llama", "qwen2"):
        return hidden_states(model, ids)
    return causal(input_ids=ids, use_cache=False).logits, torch.nn.Identity()


def _logp_and_entropy(
    head: Any, states: torch.Tensor, targets: torch.Tensor, temperature: float, entropy_gradient: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    every = _logits(head, states, temperature).log_softmax(-1)
    logp = every.gather(-1, targets[:, None])[:, 0]
    every = every if entropy_gradient else every.detach()
    return logp, -(every.exp() * every).sum(-1)


def log1mexp(x: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) for x < 0, accurate at both ends (Maechler 2012); finite at x = 0, where it is log of the
    smallest step.

    >>> round(float(log1mexp(torch.tensor(-1.0))), 4)
    -0.4587
    """
    x = x.clamp(max=-torch.finfo(x.dtype).eps)
    near = x > -0.6931
    return torch.where(
        near, torch.log(-torch.expm1(torch.where(near, x, -1.0))), torch.log1p(-torch.exp(torch.where(near, -1.0, x)))
    )


def _sum_by_line(values: torch.Tensor, batch: Batch) -> torch.Tensor:
    """(B, T - 1) per-token values -> (B, lines) sums; the END token's line is left out."""
    sums = values.new_zeros(len(values), batch.lines + 1)
    return sums.scatter_add(1, batch.line[:, 1:], values)[:, : batch.lines]


def line_logp(scores: Scores, batch: Batch) -> torch.Tensor:
    """(B, lines) log pi(a_t | s_t, z_t), summed over the line's tokens; 0 beyond a trace's end."""
    roles = batch.roles[:, 1:]
    first = (roles == FIRST_ACT) | (roles == FIRST_THOUGHT)
    values = torch.where(first, scores.token - log1mexp(scores.marker), torch.where(roles == LINE, scores.token, 0.0))
    return _sum_by_line(values, batch)


def latent_logp(scores: Scores, batch: Batch) -> torch.Tensor:
    """(B, lines) log q(z_t | s_t): both branches; 0 where no latent was offered."""
    roles = batch.roles[:, 1:]
    admissible = scores.token - log1mexp(scores.banned)
    values = torch.where(roles == MARK, scores.token, 0.0)
    values = torch.where(roles == THOUGHT, admissible, values)
    values = torch.where(roles == FORCED, log1mexp(admissible), values)
    values = torch.where(roles == FIRST_ACT, log1mexp(scores.marker), values)
    return _sum_by_line(values, batch)


def thought_mask(batch: Batch) -> torch.Tensor:
    """(B, lines) whether a thought stands before the line."""
    marks = (batch.roles[:, 1:] == MARK).float()
    return _sum_by_line(marks, batch) > 0


def line_mask(batch: Batch, encoded: Sequence[Encoded]) -> torch.Tensor:
    """(B, lines) whether the trace has this line."""
    counts = torch.tensor([e.lines for e in encoded])
    return torch.arange(batch.lines)[None] < counts[:, None]


def padding_free(encoded: Sequence[Encoded], tokens: int) -> list[np.ndarray]:
    """Indices grouped so that a group's padded size stays under `tokens`, similar lengths together."""
    order = np.argsort([len(e.ids) for e in encoded], kind="stable")
    groups, current = [], []
    for i in order:
        if current and (len(current) + 1) * len(encoded[i].ids) > tokens:
            groups.append(np.array(current))
            current = []
        current.append(i)
    return [*groups, np.array(current)]
