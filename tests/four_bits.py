"""What plain transformers makes of 4-bit weights on a CPU, put right."""

from __future__ import annotations

from typing import Any

import torch

from ra3_lab.models.quantize import quantize_linear


def mend_down_proj(plain: Any, embedded: Any) -> None:
    """Give a model that transformers quantised (NF4, double quantisation) our `down_proj`.

    bitsandbytes unpacks its rows of 416 wrongly on a CPU, see `quantize.block_size`.
    """
    for layer, given in zip(plain.model.layers, embedded.model.layers, strict=True):
        layer.mlp.down_proj = quantize_linear(given.mlp.down_proj, "nf4", True, torch.float32, torch.device("cpu"))
