"""Load a causal language model and its tokenizer from a directory or by hub name, in float or as a 4-bit variant with
adapters; save it again."""

from __future__ import annotations

import difflib
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from ra3_lab.models.adapters import merged, prepare, variant_of, without_adapter
from ra3_lab.models.presets import model_presets, resolve
from ra3_lab.models.quantize import disarm
from ra3_lab.models.tokenizer import LineTokenizer, load_tokenizer
from ra3_lab.models.variants import Storage, Variant, check

Precision = Literal["auto", "bf16", "fp32"]
"""Arithmetic of forward passes; auto is `best_precision`."""

_VOCABULARY = "vocabulary_sha256"  # in config.json: the fingerprint of the tokenizer that the weights belong to


def pick_device(name: str) -> torch.device:
    """The device of that name; 'auto' takes CUDA where there is one. Raises ValueError where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device {name!r} was asked for, but torch {torch.__version__} sees no CUDA GPU here: "
            "use --device cpu or auto."
        )
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r} is unknown: use auto, cpu or cuda.") from error


def located(source: str | Path) -> str:
    """The directory or hub name that a model's name stands for. Raises FileNotFoundError for a path that is no model
    directory (a hub name has one slash at most, and its owner is no folder here), and for a preset's name mistyped."""
    if str(source) == "embedded":
        from ra3_lab.resources import embedded_model_dir

        return str(embedded_model_dir())
    name = resolve(source)
    path = Path(name)
    local = path.exists() or name.startswith((".", "/", "~")) or len(path.parts) > 2
    local = local or (len(path.parts) == 2 and (path.parts[0] == "runs" or path.parent.is_dir()))
    if local and not (path / "config.json").exists():
        raise FileNotFoundError(
            f"{name} is no model directory (no config.json): give a directory saved by save_pretrained or a hub name."
        )
    near = difflib.get_close_matches(name.lower(), ["embedded", *model_presets()], n=1, cutoff=0.8)
    if near and not local and "/" not in name:
        raise FileNotFoundError(f"there is no model {name!r}: did you mean {near[0]!r}?")
    return name


def load_model(
    source: str | Path, device: str = "auto", variant: Storage | None = None, seed: int = 0
) -> tuple[Any, LineTokenizer]:
    """Model (eval mode) and checked tokenizer of a directory or hub name; 'embedded' is the shipped base model.

    With a `Variant` the model comes back quantised and with its adapters on it, drawn with `seed` (those of eva follow
    when training begins, since they need programs); with a `Storage` quantised only. Trained weights are float32;
    frozen ones are bf16 on a GPU that computes in it. 4-bit weights are made from float ones in host memory, one layer
    after the other.

    Raises FileNotFoundError for a path that is no model directory and ValueError for a tokenizer that cannot isolate
    newline and marker or is not the one that the weights were saved with, or for a variant that does not work here.
    Remote code is never run.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    place = pick_device(device)
    source = located(source)
    path = Path(source)
    try:
        tokenizer = load_tokenizer(source)
    except OSError as error:
        if path.exists():
            raise
        raise FileNotFoundError(
            f"{source} is no directory here, and the hub did not give it: check the name, or the connection "
            f"({str(error).splitlines()[0]})"
        ) from None
    if path.exists():
        logging.disable_progress_bar()  # a local load takes a moment; a download keeps its bar
    if not isinstance(variant, Variant):
        variant = Variant() if variant is None else Variant(**asdict(variant))
    check(variant, place, training=False)  # before anything is downloaded or read
    frozen = variant.quantized or variant.adapted
    dtype = torch.bfloat16 if frozen and place.type == "cuda" and best_precision(place) == "bf16" else torch.float32
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(str(source), dtype=dtype, trust_remote_code=False)
    except SafetensorError as error:
        raise ValueError(f"{source}: its weights cannot be read ({error}): they are damaged, get them anew.") from error
    if len(tokenizer.hf) > model.config.vocab_size:
        raise ValueError(
            f"{source}: the tokenizer has {len(tokenizer.hf)} tokens, the model {model.config.vocab_size}: "
            "they do not belong together."
        )
    known = getattr(model.config, _VOCABULARY, None)
    if known is not None and known != tokenizer.fingerprint():
        raise ValueError(
            f"{source}: the tokenizer beside the weights is not the one they were trained with, though it is of a size "
            "that fits: its tokens have other ids. Put back the tokenizer files of that run (tokenizer.json)."
        )
    disarm(model)  # a directory may hold 4-bit weights
    if not frozen:
        return model.to(place).eval(), tokenizer
    if variant.adapter == "eva":
        variant = without_adapter(variant)
    if not variant.quantized:
        model = model.to(place)
    return prepare(model, variant, seed, place), tokenizer


def save_model(model: Any, tokenizer: LineTokenizer, out: Path) -> None:
    """Write model (float weights, adapters merged) and tokenizer to a directory, complete or not at all; adapters
    once more by themselves, in its folder adapter/, for `ra3-lab export`. The configuration names the vocabulary, so
    that `load_model` knows another one."""
    from ra3_lab.runs.files import staged_folder

    with staged_folder(out) as staging:
        whole = merged(model)
        setattr(whole.config, _VOCABULARY, tokenizer.fingerprint())
        whole.save_pretrained(staging)
        if (variant := variant_of(model)) is not None and variant.adapted:
            from ra3_lab.models.export import ADAPTER_FOLDER, save_adapter

            save_adapter(model, staging / ADAPTER_FOLDER)
        tokenizer.hf.save_pretrained(staging)


def best_precision(device: torch.device | None = None) -> str:
    """'bf16' where the device (default: the one that models go to) computes it natively (CUDA, AVX512-BF16 or AMX),
    else 'fp32'."""
    if torch.cuda.is_available() if device is None else device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"


def dtype_of(precision: str, device: torch.device | None = None) -> torch.dtype:
    """torch dtype of 'bf16' or 'fp32'; 'auto' means the device's `best_precision`."""
    if precision not in get_args(Precision):
        raise ValueError(f"precision={precision!r}: use auto, bf16 or fp32.")
    name = best_precision(device) if precision == "auto" else precision
    return torch.bfloat16 if name == "bf16" else torch.float32


def autocast(model: Any, precision: str) -> torch.autocast:
    """Mixed precision around forward passes; does nothing for fp32."""
    device = next(model.parameters()).device
    enabled = dtype_of(precision, device) == torch.bfloat16
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)
