"""NF4 in plain torch, to be read: what bitsandbytes computes in its kernels (Dettmers et al. 2023, QLoRA, section 3).

    weights in blocks of 64  ->  divided by the block's largest magnitude  ->  each to the nearest of 16 values

The 16 values are quantiles of a normal distribution, because trained weights are nearly normal: there, values lie
densest. 0 is one of them, which is why there are 8 above and 7 below. Not handled: double quantisation of the scales,
and packing two codes into a byte; for training use `quantize.py`.
"""

from __future__ import annotations

import torch

BLOCK = 64
"""Weights that share a scale."""
_OFFSET = 0.9677083  # the outermost quantile: halfway between 1 - 1/30 and 1 - 1/32


def nf4_values() -> torch.Tensor:
    """(16,) float64, from -1 to 1.

    >>> [round(float(value), 3) for value in nf4_values()[6:10]]
    [-0.091, 0.0, 0.08, 0.161]
    """
    above = torch.special.ndtri(torch.linspace(_OFFSET, 0.5, 9, dtype=torch.float64)[:-1])
    below = -torch.special.ndtri(torch.linspace(_OFFSET, 0.5, 8, dtype=torch.float64)[:-1])
    values = torch.cat([above, below, torch.zeros(1, dtype=torch.float64)]).sort().values
    return values / values.abs().max()


def quantize(
    weight: torch.Tensor, values: torch.Tensor | None = None, block: int = BLOCK
) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes (blocks, block) int64 of the nearest values, and scales (blocks,) float32; the last block is padded with 0.

    `values` (any number of levels from -1 to 1) are NF4's by default.

    >>> codes, scales = quantize(torch.tensor([0.5, -2.0, 0.1, 0.0]), block=4)
    >>> codes.tolist(), scales.tolist()
    ([[10, 0, 8, 7]], [2.0])
    """
    if block < 1 or not weight.is_floating_point():
        raise ValueError(
            f"block={block}, {weight.dtype}: needs a block of at least 1 weight and floating point weights."
        )
    levels = (nf4_values() if values is None else values).float()
    flat = weight.detach().float().flatten()
    padded = torch.nn.functional.pad(flat, (0, -len(flat) % block)).view(-1, block)
    scales = padded.abs().amax(1)
    unit = padded / scales.clamp_min(1e-30)[:, None]
    between = (levels[1:] + levels[:-1]) / 2
    return torch.bucketize(unit, between), scales


def dequantize(
    codes: torch.Tensor, scales: torch.Tensor, shape: torch.Size | tuple[int, ...], values: torch.Tensor | None = None
) -> torch.Tensor:
    """The float32 weights of this shape that codes and scales stand for."""
    levels = (nf4_values() if values is None else values).float()
    count = int(torch.tensor(shape).prod())
    return (levels[codes] * scales[:, None]).flatten()[:count].view(shape)


def rounded(weight: torch.Tensor, values: torch.Tensor | None = None, block: int = BLOCK) -> torch.Tensor:
    """What stays of a weight after four bits."""
    return dequantize(*quantize(weight, values, block), weight.shape, values)


@torch.no_grad()
def round_linears(model: torch.nn.Module, values: torch.Tensor | None = None) -> int:
    """Round every linear layer but the output head in place, as QLoRA stores a base; returns how many there were.

    The model still computes in floating point: what it says is what a 4-bit model says, its memory is not.
    """
    count = 0
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and not name.endswith("lm_head"):
            module.weight.copy_(rounded(module.weight, values).to(module.weight.dtype))
            count += 1
    return count
