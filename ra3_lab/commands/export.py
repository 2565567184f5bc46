"""`ra3-lab export`: a run's adapters or merged weights, with a model card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ra3_lab.commands.output import Json, results


def run(
    source: Annotated[Path, tyro.conf.Positional],
    out: Path,
    form: Literal["adapter", "merged"] = "merged",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    device: str = "cpu",
    json: Json = None,
) -> int:
    """Write what a finished run trained, so that plain transformers and peft load it; states what merging changed.

    Example: ra3-lab export runs/mine --out exported/mine --form adapter

    Example: ra3-lab export runs/mine --out exported/mine-merged --dtype bfloat16

    Args:
        source: A finished run.
        out: New folder.
        form: adapter, or merged (float weights with the adapters in them).
        dtype: Type of merged weights.
        device: cpu, or cuda.
        json: Write the result as JSON to FILE, or to stdout.
    """
    import torch

    from ra3_lab.models.export import export
    from ra3_lab.runs import view_run

    with results("export", json) as emit:
        view = view_run(source)
        if view.summary is None:
            command = view.record["command"]
            raise ValueError(f"{source} is not finished: go on with ra3-lab {command} --resume {source} first.")
        model, tokenizer, base = trained_model(source, device)
        sequences = [tokenizer.encode_prompt(text) for text in _texts(source)]
        error = export(model, tokenizer, out, form, base, sequences, view.summary, getattr(torch, dtype))
        print(f"{out}: {form} of {source}")
        if form == "merged":
            print(
                f"merging changed log-probabilities by {error['mean']:.2g} nats a token, at most {error['largest']:.2g}"
            )
        emit({"out": out, "form": form, "merge_error": error})
    return 0


def _texts(run: Path) -> list[str]:
    """Some programs that the run wrote down: what merging changes is measured on them."""
    from ra3_lab.runs import read_jsonl

    rows = {name: read_jsonl(run / name)[:8] for name in ("traces.jsonl", "groups.jsonl") if (run / name).exists()}
    traces = [row["prompt"] + "".join(row["lines"]) for row in rows.get("traces.jsonl", [])]
    return traces + [row["prompt"] + row["answers"][0]["text"] for row in rows.get("groups.jsonl", [])]


def trained_model(run: Path, device: str = "cpu") -> tuple[Any, Any, str]:
    """The model of a run with its adapters apart, its tokenizer, and the base model's name.

    Raises ValueError where the base is not the one that the run began with.
    """
    from ra3_lab.models.adapters import prepare, without_adapter
    from ra3_lab.models.export import ADAPTER_FOLDER, load_adapter
    from ra3_lab.models.load import load_model
    from ra3_lab.models.variants import Variant
    from ra3_lab.runs import model_source, read_run
    from ra3_lab.runs.provenance import digest_of_weights

    record = read_run(run)
    settings = record["settings"]
    variant = Variant(**settings.get("variant", {}))
    base = settings.get("model") or settings.get("init", "unknown")
    if not variant.adapted:
        return *load_model(run / "model", device), base
    model, tokenizer = load_model(model_source(base), device, variant, settings["seed"])
    begun = record["inputs"].get("model_sha256")
    if begun is not None and begun != digest_of_weights(model):
        raise ValueError(
            f"{base} is not what the run {run} began with (its weights differ, or it was trained on another kind of "
            "processor): export on that machine, with that base."
        )
    if variant.adapter == "eva":  # A comes with the adapters
        as_lora = replace(variant, adapter="lora")
        bare = model if without_adapter(as_lora).quantized else load_model(model_source(base), device)[0]
        model = prepare(bare, as_lora, settings["seed"])
    load_adapter(model, run / "model" / ADAPTER_FOLDER)
    return model, tokenizer, base
