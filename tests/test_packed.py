"""oneDNN's products: what `F.linear` gives and its gradients, packed, fused and in training."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ra3_lab.models import packed
from ra3_lab.models.packed import PackedLinear, can_pack, onednn

CPU = torch.device("cpu")


@pytest.fixture(params=[True, False], ids=["packed", "as elsewhere"])
def where(request, monkeypatch):
    """This machine, and one whose torch has no such kernels."""
    if not request.param:
        monkeypatch.setattr(packed, "_TWO", None)
    return request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [(1,), (3, 5), (200,)])
def test_packed_products_and_what_follows_them(where, dtype, rows):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(*rows, 24), torch.randn(40, 24) / 5, torch.randn(40)
    other = torch.randn(*rows, 40)
    layer = PackedLinear(weight, bias, dtype)
    assert layer.packed == (where and can_pack(dtype, CPU))
    exact = F.linear(x.to(dtype).double(), weight.to(dtype).double(), bias.to(dtype).double())
    factor = other.to(dtype)
    near = 1e-5 if dtype == torch.float32 else 0.03
    for found, wanted in (
        (layer(x.to(dtype)), exact),
        (layer.silu(x.to(dtype)), F.silu(exact)),
        (layer.times(x.to(dtype), factor), exact * factor.double()),
        (layer.plus(x.to(dtype), factor), exact + factor.double()),
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), wanted, atol=near, rtol=near)


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_those_of_linear(where, bias):
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(24, 40, bias=bias), torch.nn.SiLU(), torch.nn.Linear(40, 8, bias=bias))
    x = torch.randn(3, 50, 24, requires_grad=True)

    def gradients(inside):
        tensors = (x, *layers.parameters())
        for tensor in tensors:
            tensor.grad = None
        with inside:
            checkpoint(layers, x, use_reentrant=False).square().sum().backward()
        return [tensor.grad for tensor in tensors]

    for ours, theirs in zip(gradients(onednn()), gradients(nullcontext()), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


def test_frozen_weights_get_no_gradient_and_other_types_are_left_alone(monkeypatch):
    seen = []
    product = packed._product
    monkeypatch.setattr(packed, "_product", lambda *a: seen.append(a[0].shape) or product(*a))
    frozen = torch.nn.Linear(24, 40).requires_grad_(False)
    x = torch.randn(5, 24, requires_grad=True)
    with onednn():
        frozen(x).sum().backward()
        calls = len(seen)
        frozen.double()(x.detach().double())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert frozen.float()(x.detach()).dtype == torch.bfloat16
    assert len(seen) == calls == (2 if can_pack(torch.float32, CPU) else 0), "forward and the input's gradient"
    assert frozen.weight.grad is None and x.grad is not None
    with pytest.raises(RuntimeError), onednn():
        F.linear(x, torch.zeros(3, 3))
    assert F.linear is packed._TORCH_LINEAR
