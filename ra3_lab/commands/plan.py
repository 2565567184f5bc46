"""`ra3-lab plan`: memory and minutes of a run, from a model's configuration alone."""

from __future__ import annotations

from dataclasses import asdict

from ra3_lab.commands.output import Json, results
from ra3_lab.models.plan import GB, Shape, Stage, minutes, peak
from ra3_lab.models.presets import Choice, choose, memory_preset, model_presets, shape_by_name
from ra3_lab.models.variants import flags
from ra3_lab.runs import model_source


def run(model: str, preset: str = "12gb", tokens: float = 1e7, rollouts: float = 4e6, json: Json = None) -> int:
    """Print what a run will need, stage by stage, and the first setting that fits. Nothing is downloaded or loaded.

    Example: ra3-lab plan --model qwen2.5-1.5b --preset 12gb

    Example: ra3-lab plan --model path/to/config.json --preset 24gb --tokens 5e7 --json

    Args:
        model: A preset (qwen2.5-1.5b, qwen2.5-coder-0.5b, ...), a finished run, a model directory, a config.json, or
            'embedded'.
        preset: Memory of the GPU: 8gb, 12gb, 16gb, 24gb or 80gb.
        tokens: Tokens that the M-step trains on.
        rollouts: Tokens of the E-step's rollouts (each is sampled, scored and trained on).
        json: Write the plan as JSON to FILE, or to stdout.
    """
    if not (tokens >= 0 and rollouts >= 0):
        raise ValueError(f"--tokens {tokens:g} --rollouts {rollouts:g}: numbers of tokens, 0 or more.")
    with results("plan", json) as emit:
        shape, memory = shape_by_name(str(model_source(model))), memory_preset(preset)
        choice = choose(shape, memory)
        time = minutes(shape, choice.variant, tokens, rollouts, memory.tflops)
        print(describe(shape, choice, time, memory.tflops))
        emit(
            {
                "model": model,
                "parameters": shape.parameters,
                "preset": preset,
                "variant": asdict(choice.variant),
                "job": asdict(choice.job),
                "stages": [{"name": s.name, "bytes": s.total, "parts": s.parts} for s in choice.stages],
                "minutes": time,
            }
        )
    return 0


def describe(shape: Shape, choice: Choice, time: dict[str, float], tflops: float) -> str:
    """The plan in words."""
    lines = [f"{shape.name}: {_weights(shape.parameters)} weights, {shape.layers} layers"]
    for variant, job, need in choice.refused:
        lines.append(f"  does not fit: {flags(variant)} ({job.tokens_at_once} tokens at once): {need / GB:.1f} GB")
    lines.append(
        f"  fits: {flags(choice.variant)} ({choice.job.tokens_at_once} tokens at once, {choice.job.rows} rows)"
    )
    worst = peak(choice.stages)
    for stage in choice.stages:
        lines.append(
            f"  {stage.name:<8} {stage.total / GB:6.2f} GB{' <- peak' if stage is worst else '':8} {_parts(stage)}"
        )
    spent = ", ".join(f"{name} {value:.0f}" for name, value in time.items())
    lines.append(f"  minutes, if the GPU sustains {tflops:g} TFLOP/s: {spent}")
    known = model_presets().get(shape.name)
    if known:
        lines.append(f"  weights: {known.hub} (licence {known.licence})")
    if shape.model_type not in ("llama", "qwen2"):
        lines.append(
            f"  note: our decoder knows Llama and Qwen2 models; {shape.model_type} is sampled by generate, slower"
        )
    return "\n".join(lines)


def _weights(count: int) -> str:
    return f"{count / 1e9:.2f} billion" if count >= 1e8 else f"{count / 1e6:.2f} million"


def _parts(stage: Stage) -> str:
    return ", ".join(f"{name} {size / GB:.2f}" for name, size in stage.parts.items() if size >= 0.005 * GB)
