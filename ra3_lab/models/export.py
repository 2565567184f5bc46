"""What a run leaves for others: its adapters or merged weights, with a model card; plain transformers and peft load it.

Adapters of lora, rslora, dora and eva belong on the base model as published (quantised the same way, where they were
trained over 4-bit weights). PiSSA, OLoRA, orthogonal and LoftQ train over a residual of it, so their export holds that
residual too, in `base/`. Merging adds adapters to float weights: exact but for rounding to the type they are saved in,
which `merge_error` measures in nats.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ra3_lab.models.adapters import merged, twin, variant_of
from ra3_lab.models.initial import FROM_WEIGHTS
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.models.variants import Variant, as_record
from ra3_lab.runs.files import staged_folder

ADAPTER_FOLDER = "adapter"


def save_adapter(model: Any, out: Path) -> None:
    """Write a prepared model's adapters, and its variant in `variant.json`, into `out`."""
    variant = variant_of(model)
    if variant is None or not variant.adapted:
        raise ValueError("the model has no adapters: export it with --form merged.")
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)  # peft's empty card
    (out / "variant.json").write_text(json.dumps(asdict(variant), indent=2) + "\n", encoding="utf-8")


def load_adapter(model: Any, folder: Path) -> None:
    """Put saved adapters into a model that was prepared alike. Raises ValueError for those of another base."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    if not (folder / "adapter_model.safetensors").is_file():
        raise FileNotFoundError(f"{folder} holds no adapters (adapter_model.safetensors): were all weights trained?")
    saved, places = load_file(folder / "adapter_model.safetensors"), get_peft_model_state_dict(model)
    for name in sorted({*saved, *places}):
        if name not in saved or name not in places or saved[name].shape != places[name].shape:
            theirs = tuple(saved[name].shape) if name in saved else "not among them"
            ours = tuple(places[name].shape) if name in places else "not there"
            raise ValueError(
                f"the adapters in {folder} are of another base or variant: {name} is {theirs}, the model's is {ours}; "
                "load the base they were trained on."
            )
    set_peft_model_state_dict(model, saved)


@torch.no_grad()
def merge_error(model: Any, plain: Any, sequences: Sequence[Sequence[int]]) -> dict[str, float]:
    """Mean and largest difference of the tokens' log-probabilities (nats) between a model and its merged copy; zeros
    without sequences."""
    gaps = [torch.zeros(0)]
    for ids in sequences:
        row = torch.tensor([list(ids)], device=next(model.parameters()).device)
        found = []
        for each in (model, plain):
            logits = each(input_ids=row, use_cache=False).logits[0, :-1].float()
            found.append(logits.log_softmax(-1).gather(-1, row[0, 1:, None])[:, 0])
        gaps.append((found[0] - found[1]).abs().cpu())
    gap = torch.cat(gaps)
    if not len(gap):
        return {"mean": 0.0, "largest": 0.0, "tokens": 0}
    return {"mean": float(gap.mean()), "largest": float(gap.max()), "tokens": len(gap)}


def export(
    model: Any,
    tokenizer: LineTokenizer,
    out: Path,
    form: str,
    base: str,
    sequences: Sequence[Sequence[int]],
    figures: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> dict[str, float]:
    """Write `model` to `out`, complete or not at all, as adapters ('adapter') or merged weights ('merged' in `dtype`).

    Returns the merge error over `sequences` of token ids (zeros for adapters). `base` names the base model and
    `figures` are the run's, both for the card.
    """
    if form not in ("adapter", "merged"):
        raise ValueError(f"form={form!r}: adapter or merged.")
    if out.exists():
        raise FileExistsError(f"{out} exists already: choose another --out or delete it.")
    variant = variant_of(model) or Variant()
    error = {"mean": 0.0, "largest": 0.0, "tokens": 0}
    with staged_folder(out) as staging:
        if form == "adapter":
            save_adapter(model, staging)
            if variant.adapter in FROM_WEIGHTS:
                stored = twin(model).unload()
                stored.save_pretrained(staging / "base")
                tokenizer.hf.save_pretrained(staging / "base")
        else:
            plain = merged(model, dtype)
            error = merge_error(model, plain, sequences)
            plain.save_pretrained(staging)
        tokenizer.hf.save_pretrained(staging)
        text = card(base, variant, form, error, figures or {}, str(dtype).removeprefix("torch."))
        (staging / "README.md").write_text(text, encoding="utf-8")
    return error


def card(
    base: str, variant: Variant, form: str, error: Mapping[str, float], figures: Mapping[str, Any], dtype: str
) -> str:
    """The model card: what this is, how to load it, what the run measured."""
    own_base = variant.adapter in FROM_WEIGHTS
    lines = [
        "---",
        "library_name: " + ("peft" if form == "adapter" else "transformers"),
        f"base_model: {base}",
        "tags: [ra3, code]",
        "---",
        f"# {base}, trained with ra3_lab",
        "",
        "Trained as " + ", ".join(f"{key} {value}" for key, value in as_record(variant).items()) + ".",
        "",
        "```python",
        "from transformers import AutoModelForCausalLM",
    ]
    if form == "merged":
        lines += [f'model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER", dtype="{dtype}")', "```", ""]
        if error["tokens"]:
            lines.append(
                f"Merging changed log-probabilities by {error['mean']:.2g} nats a token on average, at most "
                f"{error['largest']:.2g} ({error['tokens']:.0f} tokens), against the model that was trained."
            )
    else:
        where, extra = f'"{"THIS_FOLDER/base" if own_base else base}"', ""
        if base == "embedded" and not own_base:
            where = "ra3_lab.embedded_model_dir()"
            lines.append("import ra3_lab")
        if variant.quantized and not own_base:
            lines.append("from transformers import BitsAndBytesConfig")
            lines.append(
                f'stored = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="{variant.quant}", '
                f"bnb_4bit_use_double_quant={variant.nested}, "
                f'bnb_4bit_compute_dtype="{as_record(variant)["compute"]}")'
            )
            extra = ", quantization_config=stored"
        lines += [
            "from peft import PeftModel",
            f"base = AutoModelForCausalLM.from_pretrained({where}{extra})",
            'model = PeftModel.from_pretrained(base, "THIS_FOLDER")',
            "```",
            "",
        ]
        if variant.quantized:
            lines += [
                "On a CPU set `support_avx512bf16_for_cpu = False` on every module that has it, before the first call:",
                "else bitsandbytes 0.50 may repack 4-bit weights in evaluation mode, and DoRA and later gradients come",
                "out wrong. There it also unpacks weights wrongly whose rows are no multiple of 64, as some of the",
                "embedded model are; merged weights have neither fault.",
                "",
            ]
        if own_base:
            lines.append(f"{variant.adapter} adapters belong on the residual in `base/`, not on the published base.")
    if figures:
        lines += ["", "## Figures of the run", "", "```json", json.dumps(figures, indent=2), "```"]
    return "\n".join(lines) + "\n"
