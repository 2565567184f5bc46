"""Where adapters start: from a layer's weight (PiSSA, OLoRA, LoftQ, orthogonal) or its inputs (EVA).

Each initialisation is a function from a matrix W (out, in) to A (r, in) and B (out, r), computed in float32. With B A
not zero, what is stored as base weight is the residual W - s B A, so that the model begins where it was (but for
quantisation, which then works on the residual). LoftQ alone wants the opposite: B A makes up for what quantisation
lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ra3_lab.models.quantize import round_trip
from ra3_lab.models.variants import Variant

FROM_WEIGHTS = ("pissa", "olora", "orthogonal", "loftq")  # their A and B depend on the layer's weight or shape
_EXACT_SVD = 1_024  # largest short side that is decomposed exactly; a randomised SVD is far faster beyond
_LOFTQ_ITERATIONS = 5
_EVA_TOKENS = 2_048


def initial(
    name: str, weight: torch.Tensor, variant: Variant, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A, B and the base weight to store, of a variant whose adapter is in FROM_WEIGHTS.

    Raises ValueError for a rank above the matrix's shorter side.
    """
    if variant.r > min(weight.shape):
        raise ValueError(
            f"rank={variant.r} with adapter {variant.adapter}: {name} is a matrix of {tuple(weight.shape)}, choose at "
            f"most {min(weight.shape)}."
        )
    if variant.adapter == "loftq":
        return loftq_init(weight, variant, generator)
    if variant.adapter == "pissa":
        a, b = pissa_init(weight, variant.r, variant.scaling, generator)
    elif variant.adapter == "olora":
        a, b = olora_init(weight, variant.r)
    else:
        a, b = orthogonal_init((weight.shape[0], weight.shape[1]), variant.r, generator)
    return a, b, _residual(weight, a, b, variant.scaling)


def _residual(weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scaling: float) -> torch.Tensor:
    return weight - scaling * (b @ a)


def truncated_svd(weight: torch.Tensor, rank: int, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """U (out, r), S (r,), V^T (r, in) of the largest singular values."""
    if min(weight.shape) <= _EXACT_SVD:
        wide = weight.shape[0] < weight.shape[1]  # twice as fast on the tall side
        u, s, vt = torch.linalg.svd(weight.T if wide else weight, full_matrices=False)
        u, vt = (vt.T, u.T) if wide else (u, vt)
        return u[:, :rank], s[:rank], vt[:rank]
    # Halko et al. 2011: range finder with power iterations, on a generator of its own
    probe = torch.randn(weight.shape[1], min(rank + 16, min(weight.shape)), generator=generator).to(weight.device)
    basis = torch.linalg.qr(weight @ probe).Q
    for _ in range(4):
        basis = torch.linalg.qr(weight @ torch.linalg.qr(weight.T @ basis).Q).Q
    u, s, vt = torch.linalg.svd(basis.T @ weight, full_matrices=False)
    return (basis @ u)[:, :rank], s[:rank], vt[:rank]


def pissa_init(
    weight: torch.Tensor, rank: int, scaling: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """s B A is the best rank-r approximation of W, its singular values shared evenly between A and B."""
    u, s, vt = truncated_svd(weight, rank, generator)
    root = (s / scaling).sqrt()
    return root[:, None] * vt, u * root


def olora_init(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """B, A: first columns and rows of W = Q R."""
    q, r = torch.linalg.qr(weight)
    return r[:rank].contiguous(), q[:, :rank].contiguous()


def orthogonal_init(shape: tuple[int, int], rank: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A and B in orthogonal halves of the rank space, so that B A = 0 although neither is zero."""
    q = torch.linalg.qr(torch.randn(rank, rank, generator=generator)).Q
    a = torch.randn(shape[1], rank // 2, generator=generator) @ q[0::2] / 10
    b = torch.randn(shape[0], rank // 2, generator=generator) @ q[1::2] / 10
    return a.T.contiguous(), b.contiguous()


def loftq_init(
    weight: torch.Tensor, variant: Variant, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A, B and the matrix to quantise, alternating Q = quantise(W - s B A) and the best rank-r s B A for W - Q."""
    a = b = None
    to_quantize = weight
    for _ in range(_LOFTQ_ITERATIONS):
        if a is not None and b is not None:
            to_quantize = _residual(weight, a, b, variant.scaling)
        left = weight - round_trip(to_quantize, variant.quant, variant.nested)
        a, b = pissa_init(left, variant.r, variant.scaling, generator)
    assert a is not None and b is not None
    return a, b, to_quantize


def eva_inits(
    model: Any, targets: Sequence[str], examples: Sequence[Sequence[int]], rank: int
) -> dict[str, torch.Tensor]:
    """A (r, in) of each target: the largest right singular vectors of its inputs over the examples' first tokens.

    One forward pass over at most 2,048 tokens. Raises ValueError for fewer tokens than the rank.
    """
    rows, left = [], _EVA_TOKENS
    for ids in examples:
        rows.append(list(ids)[:left])
        left -= len(rows[-1])
        if left <= 0:
            break
    tokens = sum(map(len, rows))
    if tokens < rank:
        raise ValueError(f"adapter eva with rank={rank} needs at least as many tokens, the programs have {tokens}.")
    width = max(map(len, rows))
    device = next(model.parameters()).device
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
    real = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows], device=device)
    found: dict[str, torch.Tensor] = {}

    def hook(name: str) -> Any:
        def look(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            x = inputs[0][real].float()  # (tokens, in)
            if x.shape[0] <= x.shape[1]:  # decompose the smaller Gram matrix
                values, u = torch.linalg.eigh(x @ x.T)
                v = (u[:, -rank:].T @ x) / values[-rank:, None].clamp(min=1e-12).sqrt()
            else:
                v = torch.linalg.eigh(x.T @ x).eigenvectors[:, -rank:].T
            found[name] = v.flip(0).contiguous()

        return look

    handles = [model.get_submodule(name).register_forward_pre_hook(hook(name)) for name in targets]
    try:
        with torch.no_grad():
            model.model(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found
