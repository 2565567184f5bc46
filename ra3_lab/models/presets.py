"""Real code models and memory sizes by name, as data (data/presets/): shapes, hub names, settings to try.

`resolve` turns a preset's name into what transformers loads; a local directory always wins over a name. `choose` walks
through a memory size's settings, best first, and returns the first whose planned peak fits.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ra3_lab.models.plan import GB, Job, Shape, Stage, peak, shape_of, stages
from ra3_lab.models.variants import Variant


@dataclass(frozen=True)
class ModelPreset:
    """A published model."""

    name: str
    """Name in ra3_lab."""
    hub: str
    """Name on the hub."""
    licence: str
    """Licence of the weights."""
    rules: str
    """Pre-tokenization rules of its tokenizer, see tests/test_presets.py."""
    shape: Shape
    """Sizes."""


@dataclass(frozen=True)
class MemoryPreset:
    """A size of GPU memory and settings to try in it."""

    name: str
    """Name, such as 8gb."""
    memory: float
    """Bytes."""
    tflops: float
    """What such a GPU is assumed to sustain in training, 10^12 operations a second; for estimates of time only."""
    settings: tuple[tuple[Variant, Job], ...]
    """Best first."""


@dataclass(frozen=True)
class Choice:
    """A setting that fits."""

    variant: Variant
    """Weights, adapters, optimiser."""
    job: Job
    """What happens at a time."""
    stages: tuple[Stage, ...]
    """Planned memory."""
    refused: tuple[tuple[Variant, Job, float], ...]
    """Settings before it that do not fit, with their planned peaks in bytes."""


def _read(name: str) -> dict[str, Any]:
    from ra3_lab.resources import data_dir

    return json.loads((data_dir() / "presets" / name).read_text(encoding="utf-8"))


@cache
def model_presets() -> dict[str, ModelPreset]:
    """All model presets by name."""
    return {
        name: ModelPreset(name, row["hub"], row["licence"], row["rules"], shape_of(row["config"], name))
        for name, row in _read("models.json")["models"].items()
    }


@cache
def memory_presets() -> dict[str, MemoryPreset]:
    """All memory sizes by name."""
    found = {}
    for name, row in _read("memory.json")["presets"].items():
        settings = tuple(
            (Variant(**s["variant"]), Job(s["tokens_at_once"], s["length"], s["rows"])) for s in row["settings"]
        )
        found[name] = MemoryPreset(name, row["memory_gb"] * GB, row["tflops"], settings)
    return found


@cache
def reserve() -> float:
    """Share of a GPU's memory that a plan leaves free: CUDA's context, fragmentation, a desktop."""
    return _read("memory.json")["reserve"]


def memory_preset(name: str) -> MemoryPreset:
    """The memory size of that name. Raises ValueError with what there is.

    >>> memory_preset("8gb").memory
    8000000000
    """
    found = memory_presets()
    if name not in found:
        raise ValueError(f"preset={name!r}: one of {', '.join(found)}.")
    return found[name]


def resolve(source: str | Path) -> str:
    """A preset's hub name; anything else, a local directory above all, as it is.

    >>> resolve("qwen2.5-1.5b")
    'Qwen/Qwen2.5-1.5B'
    """
    name = str(source)
    return model_presets()[name].hub if name in model_presets() and not Path(name).exists() else name


def shape_by_name(model: str) -> Shape:
    """Sizes of a preset, 'embedded', a model directory or a config.json. Raises ValueError with what there is."""
    if model in model_presets() and not Path(model).exists():
        return model_presets()[model].shape
    if model == "embedded":
        from ra3_lab.resources import embedded_model_dir

        model = str(embedded_model_dir())
    path = Path(model)
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        near = difflib.get_close_matches(model.lower(), model_presets(), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"model={model!r} is neither a directory with a config.json nor one of {', '.join(model_presets())}{hint}"
        )
    try:
        return shape_of(json.loads(path.read_text(encoding="utf-8")), model)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no configuration in JSON ({error}).") from None


def choose(shape: Shape, preset: MemoryPreset, size: int = 2) -> Choice:
    """The first setting of a memory size that fits the model. Raises ValueError with the smallest need where none does.

    >>> choose(shape_by_name("llama-3.1-8b"), memory_preset("8gb"))
    Traceback (most recent call last):
    ...
    ValueError: llama-3.1-8b does not fit into 8 GB with any setting (the smallest needs ...
    """
    room = preset.memory * (1 - reserve())
    refused = []
    for variant, job in preset.settings:
        job = Job(job.tokens_at_once, min(job.length, shape.context), job.rows)
        found = stages(shape, variant, job, size)
        if peak(found).total <= room:
            return Choice(variant, job, tuple(found), tuple(refused))
        refused.append((variant, job, peak(found).total))
    least = min(need for *_, need in refused)
    others = [p.name for p in memory_presets().values() if _fits(shape, p, size)]
    fitting = [name for name, p in model_presets().items() if _fits(p.shape, preset, size)]
    raise ValueError(
        f"{shape.name} does not fit into {preset.memory / GB:.0f} GB with any setting (the smallest needs "
        f"{least / GB:.1f} GB, {room / GB:.1f} are to be had): use {', '.join(others) or 'a larger GPU'}, or a smaller "
        f"model ({', '.join(fitting) or 'none of the presets fits'})."
    )


def _fits(shape: Shape, preset: MemoryPreset, size: int) -> bool:
    room = preset.memory * (1 - reserve())
    return any(peak(stages(shape, variant, job, size)).total <= room for variant, job in preset.settings)
