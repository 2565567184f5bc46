"""What to do when memory ends: how much there is, and the settings and the preset whose plan fits into it.

Two answers, since a run goes on with the weights it began with: the same variant with fewer tokens at once, or with
checkpointing, for `--resume`; and the first setting of a memory preset for a run that begins anew.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ra3_lab.models.adapters import variant_of
from ra3_lab.models.plan import GB, Job, Shape, peak, shape_of, stages
from ra3_lab.models.presets import choose, memory_presets, reserve
from ra3_lab.models.variants import Variant, flags

LEAST = 256  # tokens at once, below which nothing is tried


def memory_of(device: torch.device) -> float:
    """Bytes that this process may use there: the GPU's memory, or the smallest of the machine's and the limits on this
    process (RLIMIT_AS, the control group's)."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    found = []
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        found.append(float(soft) if soft != resource.RLIM_INFINITY else float("inf"))
    except ImportError:
        pass
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal:"):
            found.append(float(line.split()[1]) * 1024)
    for line in _lines("/sys/fs/cgroup/memory.max"):
        found.append(float("inf") if line.strip() == "max" else float(line))
    return min(found, default=float("inf"))


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def smaller(shape: Shape, variant: Variant, job: Job, room: float, size: int) -> tuple[Variant, Job, float] | None:
    """The first setting that goes on with the same weights and fits: fewer tokens at once, then checkpointing too.

    Less than 0.8 times the peak that was planned for the failed one is asked for in any case. None where nothing fits.
    """
    most = min(room * (1 - reserve()), 0.8 * peak(stages(shape, variant, job, size)).total)
    tried = [variant] if variant.checkpointing else [variant, replace(variant, checkpointing=True)]
    for candidate in tried:
        tokens = job.tokens_at_once // (2 if candidate is variant else 1)
        while tokens >= LEAST:
            less = replace(job, tokens_at_once=tokens)
            need = peak(stages(shape, candidate, less, size)).total
            if need <= most:
                return candidate, less, need
            tokens //= 2
    return None


def advice(model: Any, job: Job, prefixes: tuple[str, ...]) -> str:
    """What needs less memory, for a run of `model` that failed with `job`; flags of tokens at once begin with
    `prefixes`, such as `estep.`; none where their number must stay."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    shape = shape_of(causal.config.to_dict(), causal.config.name_or_path or "this model")
    device = next(model.parameters()).device
    variant, size = variant_of(model) or Variant(), 2 if device.type == "cuda" else 4
    room = memory_of(device)
    failed = peak(stages(shape, variant, job, size))
    text = [f"Planned for these settings: {failed.total / GB:.2f} GB at the peak ({failed.name})."]
    found = smaller(shape, variant, job, room, size) if prefixes else None
    if found is not None:
        less, smaller_job, need = found
        said = [f"--{prefix}tokens-at-once {smaller_job.tokens_at_once}" for prefix in prefixes]
        said += ["--checkpointing"] if less.checkpointing and not variant.checkpointing else []
        text.append(f"Going on in {need / GB:.2f} GB: add {' '.join(said)} to --resume (the same updates).")
    text.append(_preset(shape, room, size))
    return " ".join(text)


def _preset(shape: Shape, room: float, size: int) -> str:
    """The memory preset for this much room, in a sentence."""
    presets = sorted(memory_presets().values(), key=lambda preset: preset.memory)
    fitting = [p for p in presets if p.memory <= room] or presets[:1]
    for preset in reversed(fitting):
        try:
            choice = choose(shape, preset, size)
        except ValueError:
            continue
        return (
            f"The preset that fits is {preset.name}: begin anew with {flags(choice.variant)} and "
            f"{choice.job.tokens_at_once} tokens at once (ra3-lab plan --preset {preset.name})."
        )
    names = [p.name for p in presets if p.memory > room and _chosen(shape, p, size)]
    return f"No preset fits into {room / GB:.1f} GB; {names[0] if names else 'a smaller model'} would."


def _chosen(shape: Shape, preset: Any, size: int) -> bool:
    try:
        choose(shape, preset, size)
    except ValueError:
        return False
    return True
