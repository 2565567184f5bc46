"""Reproducible sampling: a row's draw depends on (seed, update, sample id, token position) and on nothing around it."""

from __future__ import annotations

import numpy as np
import torch


def _mix(x: np.ndarray) -> np.ndarray:
    """One round of the SplitMix64 finaliser (Steele et al. 2014) on uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def keyed_uniforms(seed: int, update: int, sample: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Uniforms in (0, 1), shape of `sample` and `position` broadcast, a hash of the four keys.

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
    logits = logits.float()
    if banned:
        logits = logits.index_fill(-1, torch.tensor(banned), -torch.inf)
    if temperature == 0:
        return logits.argmax(-1)
    cdf = torch.softmax(logits / temperature, -1).double().cumsum(-1)
    target = torch.from_numpy(uniforms)[:, None] * cdf[:, -1:]
    return torch.searchsorted(cdf, target, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
