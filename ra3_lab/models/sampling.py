"""Reproducible sampling: a row's draw depends on (seed, update, sample id, token position) and on nothing around it."""

from __future__ import annotations

import numpy as np
import torch

# What stands in the place of the update where no update draws, so that nothing is chosen by the draws that it was
# trained on or is scored with in the end. Updates are 0, 1, ...; scores on test and final, tasks of their own, have 0.
INFUSING = 1_000_000
"""The M-step's latents, plus the number of the round."""
WATCHING = 2_000_000
"""q's latents on held-out programs while it is trained."""
MEASURING = 3_000_000
"""Latents by which held-out code is scored or shown."""
VALIDATING = 1_000_000_000
"""Programs by which a checkpoint or a setting is chosen: every look draws the same."""
LOOKING_BEFORE = 2_000_000_000
"""Answers to see whether RLVR would learn."""


def check_seed(seed: int) -> None:
    """Raises ValueError for a seed that numpy's generators do not take."""
    if seed < 0:
        raise ValueError(f"seed={seed}: 0 or more.")


def _mix(x: np.ndarray) -> np.ndarray:
    """One round of the SplitMix64 finaliser (Steele et al. 2014) on uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def keyed_uniforms(seed: int, update: int, sample: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Uniforms in (0, 1], shape of `sample` and `position` broadcast, a hash of the four keys.

    >>> a = keyed_uniforms(0, 1, np.arange(3), np.array(7))
    >>> bool((a == keyed_uniforms(0, 1, np.arange(3), np.array(7))).all()), bool(a[0] != a[1])
    (True, True)
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        key = _mix(np.array([seed], dtype=np.int64).astype(np.uint64) * golden + golden)
        for part in (np.array([update]), np.asarray(sample), np.asarray(position)):
            key = _mix(key + (part.astype(np.int64).astype(np.uint64) + np.uint64(1)) * golden)
    return ((key >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def draw_tokens(
    logits: torch.Tensor, uniforms: np.ndarray, temperature: float, banned: tuple[int, ...] = ()
) -> torch.Tensor:
    """Inverse-CDF draw of one token a row from logits (B, V); temperature 0 takes the largest.

    `banned` tokens have probability 0. Returns ids (B,).
    """
    return draw_with_logp(logits, uniforms, temperature, banned)[0]


def draw_with_logp(
    logits: torch.Tensor,
    uniforms: np.ndarray,
    temperature: float,
    banned: tuple[int, ...] = (),
    top_k: int = 0,
    top_p: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `draw_tokens`, with the log-probability (B,) at which each token was drawn: after temperature, bans, and

    `top_k`: only the k likeliest tokens (0: all; several at the k-th place all stay); `top_p`: only the likeliest
    tokens that together reach this probability (Holtzman et al. 2020). At temperature 0 the log-probability is 0.

    >>> logits, uniforms = torch.log(torch.tensor([[0.5, 0.3, 0.2]])), np.array([0.7])
    >>> [int(draw_with_logp(logits, uniforms, 1.0, top_p=p)[0]) for p in (1.0, 0.6, 0.4)]
    [1, 1, 0]
    """
    logits = logits.float()
    if banned:
        logits = logits.index_fill(-1, torch.tensor(banned), -torch.inf)
    if temperature == 0:
        return logits.argmax(-1), torch.zeros(len(logits))
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, -1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    probabilities = torch.softmax(logits / temperature, -1)
    if top_p < 1.0:
        ordered, places = torch.sort(probabilities, dim=-1, descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered  # a token stays while those before it have not reached top_p
        kept = torch.zeros_like(ordered).scatter(-1, places, ordered.masked_fill(before >= top_p, 0.0))
        probabilities = kept / kept.sum(-1, keepdim=True)
    cdf = probabilities.double().cumsum(-1)
    target = torch.from_numpy(uniforms)[:, None] * cdf[:, -1:]
    tokens = torch.searchsorted(cdf, target, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
    return tokens, probabilities.gather(-1, tokens[:, None])[:, 0].log()
