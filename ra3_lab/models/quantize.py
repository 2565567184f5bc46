"""4-bit base weights with bitsandbytes: NF4 and FP4 (Dettmers et al. 2023, QLoRA), on a CPU or a GPU.

`quantize_linear` turns one linear layer into a `Linear4bit`; `mark_quantized` writes into the model's configuration
what plain transformers and peft need to recognise it; `dense_weight` gives the matrix that a layer applies, whatever it
is made of. bitsandbytes is the extra `qlora` and is imported only when something is quantised.

A trap this module closes: on CPUs with AVX512-BF16 one forward pass in eval mode repacks the 4-bit weights for a kernel
without autograd, and they stay so in training: the loss looks right, the gradients of the adapters are wrong by half.
Rollout-then-update is exactly that order. `disarm` switches the repacking off on every layer; everything here and
`load_model` call it.
"""

from __future__ import annotations

import logging
import platform
from typing import Any

import torch


class NeedsExtra(ImportError, ValueError):
    """A setting needs a package, or processor instructions, that are not there; str() says what to do."""


def bitsandbytes(use: str = "4-bit weights") -> Any:
    """The bitsandbytes module. Raises NeedsExtra where it is absent or cannot run on this CPU."""
    # It warns about a faster kernel for inference that training could not use (the trap above).
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        import bitsandbytes as bnb
    except ImportError as error:
        raise NeedsExtra(
            f"{use} need bitsandbytes, which is not installed: pip install 'ra3-lab[qlora]', or leave out --quant and "
            "--optimizer."
        ) from error
    if not torch.cuda.is_available() and not cpu_can_quantize():
        raise NeedsExtra(
            f"{use} on a CPU need AVX2 or AVX-512 (on x86) and this one offers "
            f"{torch.backends.cpu.get_cpu_capability()}: use a GPU or --quant none."
        )
    return bnb


def cpu_can_quantize() -> bool:
    """Whether bitsandbytes' CPU kernels run here: x86 with AVX2 or AVX-512, or 64-bit ARM."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    return platform.machine().lower() in ("arm64", "aarch64")


def is_4bit(linear: Any) -> bool:
    """Whether a layer's weight is 4-bit, told without importing bitsandbytes."""
    # its own weight: peft's layers pass on that of the layer they wrap
    return type(getattr(linear, "_parameters", {}).get("weight")).__name__ == "Params4bit"


def is_quantized(model: Any) -> bool:
    """Whether a model holds quantised weights, by its layers or by its configuration."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    return getattr(causal.config, "quantization_config", None) is not None or any(map(is_4bit, causal.modules()))


def block_size(in_features: int, device: torch.device) -> int:
    """Weights that share a scale: 64, and 32 on a CPU where a row is no multiple of 64.

    bitsandbytes 0.50.2 unpacks such rows wrongly on a CPU (a mean error of 0.166 instead of 0.073 for rows of 416
    standard normal numbers); blocks that end with the row come out right.

    >>> cpu, gpu = torch.device("cpu"), torch.device("cuda")
    >>> block_size(416, cpu), block_size(416, gpu), block_size(128, cpu)
    (32, 64, 64)
    """
    return 32 if device.type == "cpu" and in_features % 64 else 64


def quantize_linear(
    linear: torch.nn.Linear,
    quant: str,
    double_quant: bool,
    compute: torch.dtype,
    device: torch.device,
    weight: torch.Tensor | None = None,
) -> Any:
    """The layer with its weight (or `weight`, of the same shape) in 4 bits on `device`; the given layer stays."""
    bnb = bitsandbytes()
    source = linear.weight.detach() if weight is None else weight
    # On the meta device nothing is allocated; the weight goes in quantised.
    layer = bnb.nn.Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=compute,
        compress_statistics=double_quant,
        quant_type=quant,
        device="meta",
    )
    layer.weight = bnb.nn.Params4bit(
        source.contiguous(),
        requires_grad=False,
        blocksize=block_size(linear.in_features, device),
        quant_type=quant,
        compress_statistics=double_quant,
        module=layer,
    ).to(device)
    layer.quant_state = layer.weight.quant_state
    if linear.bias is not None:
        layer.bias = torch.nn.Parameter(linear.bias.detach().to(device), requires_grad=False)
    layer.support_avx512bf16_for_cpu = False  # see the module's first lines
    return layer.train(linear.training)


def disarm(model: torch.nn.Module) -> int:
    """Switch the repacking of 4-bit weights off on every layer; returns how many there were.

    Raises RuntimeError where a layer was repacked already, since its training would be silently wrong.
    """
    count = 0
    module: Any
    for name, module in model.named_modules():
        if is_4bit(module):
            if getattr(module.weight.quant_state, "packing_format_for_cpu", False):
                raise RuntimeError(f"{name} was repacked for inference: load the model again before training it.")
            module.support_avx512bf16_for_cpu = False
            count += 1
    return count


def round_trip(weight: torch.Tensor, quant: str, double_quant: bool) -> torch.Tensor:
    """The float matrix that stays of `weight` after quantisation."""
    functional, block = bitsandbytes().functional, block_size(weight.shape[-1], weight.device)
    packed, state = functional.quantize_4bit(
        weight.contiguous(), quant_type=quant, compress_statistics=double_quant, blocksize=block
    )
    return functional.dequantize_4bit(packed, state)


def mark_quantized(model: Any, quant: str, double_quant: bool, compute: torch.dtype, skipped: list[str]) -> None:
    """Tell transformers (saving, loading) and peft (which layer class) what the model's layers now are."""
    from transformers import BitsAndBytesConfig

    model.config.quantization_config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quant,
        bnb_4bit_use_double_quant=double_quant,
        bnb_4bit_compute_dtype=compute,
        llm_int8_skip_modules=skipped,
    )
    model.is_loaded_in_4bit = True
    model.is_quantized = True


@torch.no_grad()
def base_weight(linear: Any) -> torch.Tensor:
    """The float matrix (out, in) of a plain or 4-bit layer, adapters left out."""
    base = getattr(linear, "base_layer", linear)
    if not is_4bit(base):
        return base.weight.detach()
    state = base.weight.quant_state
    return bitsandbytes().functional.dequantize_4bit(base.weight.data, state).to(base.compute_dtype or state.dtype)


@torch.no_grad()
def dense_weight(linear: Any) -> torch.Tensor:
    """The float matrix (out, in) that a layer applies: dequantised, active adapters (LoRA, DoRA) included.

    For a plain layer it is the weight itself, not a copy.
    """
    weight = base_weight(linear)
    if not hasattr(linear, "base_layer") or linear.disable_adapters or linear.merged:
        return weight
    for adapter in linear.active_adapters:
        if adapter not in linear.lora_A:
            continue
        weight = weight + linear.get_delta_weight(adapter).to(weight.dtype)
        if adapter in linear.lora_magnitude_vector:  # DoRA: direction of the sum, length from the vector
            magnitude = linear.lora_magnitude_vector[adapter].weight
            weight = weight * (magnitude / weight.norm(dim=1)).to(weight.dtype)[:, None]
    return weight
