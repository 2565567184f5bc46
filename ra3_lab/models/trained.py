"""Read what a run trained: its base weights and adapters apart, as they were in training, or merged."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ra3_lab.models.adapters import prepare, without_adapter
from ra3_lab.models.export import ADAPTER_FOLDER, load_adapter
from ra3_lab.models.load import load_model
from ra3_lab.models.presets import resolve
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.models.variants import Reading, Storage, Variant
from ra3_lab.runs import model_source, read_run
from ra3_lab.runs.provenance import digest_of_weights


def variant_of_run(run: Path) -> Variant:
    """The variant that a run records; that of all weights for runs without one."""
    return Variant(**read_run(run)["settings"].get("variant", {}))


def load_to_read(source: str | Path, device: str, reading: Reading) -> tuple[Any, LineTokenizer]:
    """A model that is only read, and its tokenizer: any model in the storage asked for, or with `reading.adapter` a run
    as it was trained.

    Raises ValueError where the run was trained otherwise, or where it is no run: untrained adapters change nothing.
    """
    if reading.adapter == "none":
        storage = {name: value for name, value in asdict(reading).items() if name != "adapter"}
        return load_model(model_source(source), device, Storage(**storage))
    run = Path(source)
    if not (run / "run.json").is_file():
        raise ValueError(
            f"--adapter {reading.adapter}: {source} is no run, and adapters that nobody trained change nothing: give a "
            "run directory that was trained with them, or leave --adapter out."
        )
    variant = variant_of_run(run)
    asked = (reading.adapter, reading.quant, reading.nested)
    if asked != (variant.adapter, variant.quant, variant.nested):
        trained = f"--quant {variant.quant} --adapter {variant.adapter}"
        raise ValueError(
            f"{run} was trained with {trained}{' --double-quant False' if variant.quantized > variant.nested else ''}: "
            "read it with the same flags, or without --adapter from its merged float weights."
        )
    model_source(run)  # says what is missing where the run is not finished
    model, tokenizer, _ = trained_model(run, device)
    return model, tokenizer


def trained_model(run: Path, device: str = "cpu") -> tuple[Any, LineTokenizer, str]:
    """The model of a run with its adapters apart, its tokenizer, and the base model by the name that plain transformers
    takes ('embedded' apart): a preset's on the hub, a run's model directory.

    Raises ValueError where the base is not the one that the run began with.
    """
    record, variant = read_run(run), variant_of_run(run)
    settings = record["settings"]
    base = resolve(model_source(settings.get("model") or settings.get("init", "unknown")))
    if not variant.adapted:
        return *load_model(run / "model", device), base
    model, tokenizer = load_model(base, device, variant, settings["seed"])
    begun = record["inputs"].get("model_sha256")
    if begun is not None and begun != digest_of_weights(model):
        raise ValueError(
            f"{base} is not what the run {run} began with (its weights differ, or it was trained on another kind of "
            "processor): export on that machine, with that base."
        )
    if variant.adapter == "eva":  # A comes with the adapters
        as_lora = replace(variant, adapter="lora")
        bare = model if without_adapter(as_lora).quantized else load_model(base, device)[0]
        model = prepare(bare, as_lora, settings["seed"])
    load_adapter(model, run / "model" / ADAPTER_FOLDER)
    return model, tokenizer, base
