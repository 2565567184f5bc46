"""Matrix products by oneDNN where torch would take MKL: packed weights for sampling, `onednn` around training.

torch's own float32 product goes to MKL, which leaves AVX-512 unused on other makers' processors: 85 against 180 GFLOP/s
for a batch of 64 on one core of such a machine. In bf16 both go to oneDNN, and packing saves small batches the
reordering. What follows a product (silu, a factor, a sum) is done in the same pass. Sums are taken in another order
than MKL's, so the last bits differ from `F.linear`'s.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional as F

_ONE: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_TWO: Any = getattr(_ONE, "binary", None)
_TORCH_LINEAR = F.linear
_BATCH = 64  # the packing is made for this many rows; it serves others as well


def can_pack(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether oneDNN computes such products here: float32 or bf16, on an x86 CPU."""
    if device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    if not torch.backends.mkldnn.is_available() or _TWO is None:
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


class PackedLinear:
    """x -> x W^T + b for (..., in) inputs, W (out, in) in `dtype`; no gradients, W is copied where it is packed."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
        weight = weight.detach().to(dtype)
        self.bias = None if bias is None else bias.detach().to(dtype)
        self.packed = can_pack(dtype, weight.device)
        self.weight: Any = torch.ops.mkldnn._reorder_linear_weight(weight, _BATCH) if self.packed else weight

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(..., out)."""
        return (_product if self.packed else F.linear)(x, self.weight, self.bias)

    def silu(self, x: torch.Tensor) -> torch.Tensor:
        """silu of the product."""
        return _ONE(x, self.weight, self.bias, "swish", [], "") if self.packed else F.silu(self(x))

    def times(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """The product times `factor` (..., out), contiguous."""
        return _TWO(x, factor, self.weight, self.bias, "mul") if self.packed else self(x) * factor

    def plus(self, x: torch.Tensor, term: torch.Tensor) -> torch.Tensor:
        """The product plus `term` (..., out), contiguous."""
        return _TWO(x, term, self.weight, self.bias, "add") if self.packed else self(x) + term


@contextmanager
def onednn() -> Iterator[None]:
    """Inside, float32 linear layers on a CPU, and their gradients, are computed by oneDNN.

    For that time `torch.nn.functional.linear` is another function, for the whole process; a mode of torch would end in
    `backward`, where checkpointing computes again. Everything else is left alone: other types (also by autocast), 4-bit
    layers, GPUs, machines without oneDNN.
    """
    before, F.linear = F.linear, _linear
    try:
        yield
    finally:
        F.linear = before


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    return _Linear.apply(x, weight, bias) if _is_ours(x, weight) else _TORCH_LINEAR(x, weight, bias)


def _is_ours(x: torch.Tensor, weight: torch.Tensor) -> bool:
    return (
        x.dtype == weight.dtype == torch.float32
        and x.ndim > 1
        and not torch.is_autocast_enabled("cpu")
        and can_pack(x.dtype, x.device)
    )


class _Linear(torch.autograd.Function):
    """x W^T + b with its gradients, weights taken as they are."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight = ctx.saved_tensors
        rows = gradients[0].flatten(0, -2)  # (N, out)
        wanted = ctx.needs_input_grad
        return (
            _product(gradients[0], weight.t()) if wanted[0] else None,
            _product(rows.t(), x.flatten(0, -2).t()) if wanted[1] else None,
            rows.sum(0) if wanted[2] else None,
        )


def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    return _ONE(x, weight, bias, "none", [], "")
