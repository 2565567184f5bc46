"""NF4 in plain torch against bitsandbytes, against nearest-value search, and against even spacing."""

import json

import pytest
import torch

from ra3_lab.models import quantize as storage
from ra3_lab.models.nf4 import dequantize, nf4_values, quantize, round_linears, rounded


def test_the_values_are_those_of_the_paper():
    told = [-1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0]
    told += [0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0]
    assert torch.allclose(nf4_values(), torch.tensor(told, dtype=torch.float64), atol=2e-6)


def test_every_weight_goes_to_the_nearest_value_of_its_block():
    weight = torch.randn(5, 33, generator=torch.Generator().manual_seed(0))  # not a whole number of blocks
    codes, scales = quantize(weight)
    padded = torch.nn.functional.pad(weight.flatten(), (0, -weight.numel() % 64)).view(-1, 64)
    assert torch.equal(scales, padded.abs().amax(1))
    nearest = (padded[..., None] - scales[:, None, None] * nf4_values().float()).abs().argmin(-1)
    assert torch.equal(codes, nearest)
    assert dequantize(codes, scales, weight.shape).shape == weight.shape


def test_on_normal_weights_it_beats_even_spacing():
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    error = [(rounded(weight, values) - weight).square().mean() for values in (None, torch.linspace(-1, 1, 16))]
    assert error[0] < 0.9 * error[1]


def test_a_block_of_zeros_stays_zero_and_whole_numbers_are_refused():
    assert torch.equal(rounded(torch.zeros(70)), torch.zeros(70))
    with pytest.raises(ValueError, match="floating point"):
        quantize(torch.ones(4, dtype=torch.int64))


def test_it_is_what_bitsandbytes_computes():
    pytest.importorskip("bitsandbytes")
    from ra3_lab.models.quantize import NeedsExtra, round_trip

    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(2))
    try:
        theirs = round_trip(weight, "nf4", False)
    except NeedsExtra as reason:
        pytest.skip(str(reason))
    assert (rounded(weight) - theirs.float()).abs().max() < 1e-5


def test_a_models_linear_layers_are_rounded_and_its_head_is_not():
    model = torch.nn.ModuleDict({"layer": torch.nn.Linear(64, 64), "lm_head": torch.nn.Linear(64, 8)})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert round_linears(model) == 1
    assert torch.equal(model["lm_head"].weight, before["lm_head.weight"])
    assert torch.allclose(model["layer"].weight, rounded(before["layer.weight"]))


def test_rows_that_are_no_multiple_of_a_block_keep_their_precision():
    """Of rows of 416 bitsandbytes 0.50.2 unpacks blocks of 64 wrongly on a CPU."""
    pytest.importorskip("bitsandbytes", reason="4-bit weights need the extra qlora (bitsandbytes)")
    torch.manual_seed(0)
    linear = torch.nn.Linear(416, 128)
    weight = linear.weight.data.normal_()
    stored = storage.quantize_linear(linear, "nf4", True, torch.float32, torch.device("cpu"))
    for back in (storage.base_weight(stored), storage.round_trip(weight, "nf4", True)):
        assert (back - weight).abs().mean() < 0.08  # 0.068 measured; 0.166 with blocks of 64


def test_the_page_quotes_the_fault_as_it_was_measured(repo_root):
    measured = json.loads((repo_root / "benchmarks" / "results" / "blocks.json").read_text())
    page = (repo_root / "docs" / "variants.md").read_text(encoding="utf-8")
    (fault,) = [row["ratio"] for row in measured["rows"] if (row["columns"], row["block"]) == (416, 64)]
    plain, wrong, right = (measured["nats"][key] for key in ("float", "nf4, blocks of 64", "nf4, blocks of 32"))
    assert f"mean error is {fault:.2f} times" in page
    assert f"fall from {plain:.2f} to {wrong:.2f} nats" in page and f"come out right ({right:.2f} nats" in page
    assert f"({measured['programs']} programs" in page
