"""From a loaded model to one that can be trained: quantise the base, add adapters, share what is frozen.

`prepare` is the one way there. The given model stays as it is. Initialisations that depend on the weights (PiSSA,
OLoRA, LoftQ, orthogonal: `initial.py`) are computed in float, layer by layer, and the *residual* W - s B A is what gets
quantised: peft's own versions fail on 4-bit weights or quantise first. peft supplies the layers themselves, so that
what is saved loads anywhere.

`twin` copies a model but shares everything frozen with it: q and pi of the EM loop, and the reference policy of RLVR,
cost an extra set of adapters, not an extra model.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ra3_lab.models.initial import FROM_WEIGHTS, eva_inits, initial
from ra3_lab.models.quantize import (
    dense_weight,
    disarm,
    is_4bit,
    is_quantized,
    mark_quantized,
    quantize_linear,
)
from ra3_lab.models.variants import Variant, check

_ATTRIBUTE = "ra3_variant"
_Starts = dict[str, tuple[torch.Tensor, "torch.Tensor | None"]]  # A and B by layer; B None where it stays 0
_MIN_8BIT = 4_096  # bitsandbytes keeps smaller tensors' moments in 32 bits


def variant_of(model: Any) -> Variant | None:
    """The variant a model was prepared as, or None."""
    return getattr(model, _ATTRIBUTE, None)


def without_adapter(variant: Variant) -> Variant:
    """The same base weights, adapters left out."""
    return replace(variant, adapter="none", rank=None, alpha=None, target="all-linear")


def twin(model: Any) -> Any:
    """A copy of the model that shares its frozen parameters; what is trained is the copy's own."""
    return _copy(model, {id(p): p for p in model.parameters() if not p.requires_grad})


def _copy(model: Any, shared: dict[int, Any]) -> Any:
    """A deep copy in which parameters are replaced as `shared` says, by id; scales of 4-bit ones are shared too."""
    scales = {id(s): s for p in shared.values() if (s := getattr(p, "quant_state", None)) is not None}
    return copy.deepcopy(model, {**shared, **scales})


def prepare(
    model: Any,
    variant: Variant,
    seed: int = 0,
    device: torch.device | None = None,
    examples: Sequence[Sequence[int]] | None = None,
) -> Any:
    """A model of this variant on `device` (default: where the model is), in eval mode; `model` is left alone.

    A model that was prepared so before is copied with `twin`. `examples` are token ids of some programs; only eva
    needs them. Raises ValueError for what does not fit together, NeedsExtra without bitsandbytes where it is needed.
    """
    place = device or next(model.parameters()).device
    check(variant, place, training=False)
    before = variant_of(model)
    if before is not None and variant in (before, Variant()):  # no variant asked for: as it was loaded
        return twin(model).eval()
    if before is not None and not (before.quantized or before.adapted):
        before = None  # plain float weights may become anything
    waits = before is not None and before.quantized and before == without_adapter(variant)  # loaded, adapters to come
    if before is not None and not waits:
        raise ValueError(
            f"the model was prepared as {_short(before)} and is now asked for as {_short(variant)}: load it anew."
        )
    if hasattr(model, "peft_config"):
        raise ValueError("the model has adapters already: merge them (ra3-lab export) or give the plain model.")
    if variant.quantized and is_quantized(model) and not waits:
        raise ValueError(
            f"the model is quantised already and cannot be quantised to {variant.quant}: leave out --quant, or start "
            "from its float weights."
        )
    if variant.adapter in FROM_WEIGHTS and is_quantized(model):
        raise ValueError(
            f"adapter {variant.adapter} is computed from float weights, and this model is quantised already: use lora, "
            "or start from its float weights with --quant."
        )
    if not variant.quantized and not variant.adapted and not is_quantized(model):
        plain = copy.deepcopy(model).to(place)
        setattr(plain, _ATTRIBUTE, variant)
        return _checkpointed(plain, variant).eval()
    if variant.adapter == "eva" and examples is None:
        raise ValueError("adapter eva reads programs before training, and there are none here: use lora.")
    result = _share(model)
    targets = target_layers(result, variant.target) if variant.adapted else []
    starts: _Starts = _rebuild(result, variant, place, targets, torch.Generator().manual_seed(seed))
    if variant.quantized and not waits:
        head = [name for name, module in result.named_modules() if module is result.get_output_embeddings()]
        mark_quantized(result, variant.quant, variant.nested, variant.compute_dtype(place), head)
    result = result.to(place)
    if variant.adapted:
        if variant.adapter == "eva":
            assert examples is not None
            starts = {name: (a, None) for name, a in eva_inits(result, targets, examples, variant.r).items()}
        result = _add_adapters(result, variant, seed, starts)
    setattr(result, _ATTRIBUTE, variant)
    disarm(result)
    return _checkpointed(result, variant).eval()


def target_layers(model: Any, target: str) -> list[str]:
    """Names of the linear layers that `target` means; the output head is never one of them under all-linear.

    Raises ValueError, listing what there is, for a name that matches nothing.
    """
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not model.get_output_embeddings()
    }
    if target == "all-linear":
        return list(linear)
    wanted = [part.strip() for part in target.split(",") if part.strip()]
    endings = sorted({name.rsplit(".", 1)[-1] for name in linear})
    for part in wanted or [target]:
        if not any(name == part or name.endswith("." + part) for name in linear):
            raise ValueError(
                f"target={part!r} matches no linear layer of this {model.config.model_type} model: all-linear, or "
                f"some of {', '.join(endings)}."
            )
    return [name for name in linear if any(name == part or name.endswith("." + part) for part in wanted)]


def make_optimizer(model: Any, learning_rate: float, weight_decay: float = 0.0) -> torch.optim.Optimizer:
    """The optimiser of the model's variant over its trainable parameters; torch AdamW for an unprepared model.

    Raises ValueError where an 8-bit one would keep all of its moments in 32 bits.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("the model has nothing to train, 4-bit weights are frozen: add --adapter lora.")
    variant = variant_of(model) or Variant()
    if variant.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)
    from ra3_lab.models.quantize import bitsandbytes

    largest = max(p.numel() for p in parameters)
    if "8bit" in variant.optimizer and largest < _MIN_8BIT:
        raise ValueError(
            f"optimizer={variant.optimizer} keeps the moments of tensors under {_MIN_8BIT} entries in 32 bits, and the "
            f"largest here has {largest}: it would change nothing; use adamw."
        )
    optim = bitsandbytes("8-bit and paged optimisers").optim
    kinds = {"adamw8bit": "AdamW8bit", "paged_adamw": "PagedAdamW", "paged_adamw8bit": "PagedAdamW8bit"}
    return getattr(optim, kinds[variant.optimizer])(parameters, lr=learning_rate, weight_decay=weight_decay)


@torch.no_grad()
def merged(model: Any, dtype: torch.dtype | None = None) -> Any:
    """A plain float model that computes what `model` does: 4-bit weights as floats, adapters added in.

    Weights are of `dtype`, by default that of the embeddings. A plain model comes back as it is where nothing is to be
    changed.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    if causal is model and not is_quantized(model):
        return model if dtype is None else _cast(copy.deepcopy(model), dtype)
    plain, own = _share(causal), causal.get_input_embeddings().weight.dtype
    for name, layer in list(plain.named_modules()):
        if hasattr(layer, "base_layer") or is_4bit(layer):
            base = getattr(layer, "base_layer", layer)
            if not name or ".base_layer" in name:
                continue
            new = torch.nn.Linear(base.in_features, base.out_features, base.bias is not None, device="meta")
            new.weight = torch.nn.Parameter(dense_weight(layer).to(dtype or own))
            if base.bias is not None:
                new.bias = torch.nn.Parameter(base.bias.detach())
            plain.set_submodule(name, new)
    for attribute in (_ATTRIBUTE, "is_loaded_in_4bit", "is_quantized", "hf_quantizer", "peft_config"):
        if attribute in plain.__dict__:
            delattr(plain, attribute)
    if hasattr(plain.config, "quantization_config"):
        plain.config = copy.deepcopy(plain.config)
        del plain.config.quantization_config
    return _cast(plain, dtype or own).eval()


def _cast(model: Any, dtype: torch.dtype) -> Any:
    """Parameters in another type; buffers keep theirs, since rotary frequencies must stay float32."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


# --- pieces of prepare ----------------------------------------------------------------------------------


def _short(variant: Variant) -> str:
    return f"--quant {variant.quant} --adapter {variant.adapter}"


def _share(model: Any) -> Any:
    """A copy with modules of its own over the given model's memory, all of it frozen; tied weights stay tied."""
    return _copy(model, {id(p): _frozen(p) for p in model.parameters()})


def _frozen(parameter: Any) -> torch.nn.Parameter:
    """The parameter's memory, frozen; 4-bit ones are so already."""
    packed = hasattr(parameter, "quant_state")
    return parameter if packed else torch.nn.Parameter(parameter.detach(), requires_grad=False)


def _rebuild(
    model: Any, variant: Variant, place: torch.device, targets: Sequence[str], generator: torch.Generator
) -> _Starts:
    """Replace layers of `model` one by one by what the variant stores; returns A and B where they are not peft's."""
    starts: _Starts = {}
    for name in target_layers(model, "all-linear"):
        layer = model.get_submodule(name)
        base = None
        if name in targets and variant.adapter in FROM_WEIGHTS:
            a, b, base = initial(name, layer.weight.detach().float(), variant, generator)
            starts[name] = a, b
        if variant.quantized and not is_4bit(layer):
            new = quantize_linear(layer, variant.quant, variant.nested, variant.compute_dtype(place), place, base)
            model.set_submodule(name, new)
        elif base is not None:
            layer.weight = torch.nn.Parameter(base.to(layer.weight.dtype), requires_grad=False)
    return starts


def _add_adapters(model: Any, variant: Variant, seed: int, starts: _Starts) -> Any:
    from peft import LoraConfig, get_peft_model

    names = variant.target
    config = LoraConfig(
        r=variant.r,
        lora_alpha=variant.alpha or 32,
        target_modules=names if names == "all-linear" else [part.strip() for part in names.split(",")],
        use_rslora=variant.adapter == "rslora",
        use_dora=variant.adapter == "dora",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):  # peft draws from torch's global generator
        torch.manual_seed(seed)
        with warnings.catch_warnings():  # transformers renamed what this peft asks for
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
            adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, (a, b) in starts.items():
            layer: Any = adapted.get_base_model().get_submodule(name)
            layer.lora_A["default"].weight.copy_(a)
            if b is not None:
                layer.lora_B["default"].weight.copy_(b)
    return adapted


def _checkpointed(model: Any, variant: Variant) -> Any:
    if variant.checkpointing:  # the reentrant kind loses gradients where the input needs none
        with warnings.catch_warnings():  # of a new name, which the oldest transformers that we support does not have
            warnings.simplefilter("ignore", FutureWarning)
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model
