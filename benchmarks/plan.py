"""The memory plan against measured peaks: each setting trains for two updates in a process of its own.

    python benchmarks/plan.py --json benchmarks/results/plan.json

The measured peak is the process's largest resident set (VmHWM) after loading, less what it held before there was a
model. Linux only: the high-water mark is reset through /proc/self/clear_refs. glibc is told to give back what is freed
(MALLOC_MMAP_THRESHOLD_), as the allocators of GPUs nearly do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

MB = 1e6


@dataclass(frozen=True)
class Setting:
    """One measured setting."""

    name: str
    """Name in the table."""
    variant: dict[str, Any]
    """Settings of the variant."""
    config: dict[str, Any] = field(default_factory=dict)
    """What differs from the default shape."""
    tokens: int = 2_048
    """Padded tokens in one forward pass."""
    width: int = 256
    """Tokens of a program."""
    rollout: bool = False
    """An E-step (rollout, scoring, update) instead of an M-step."""


SHAPE = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 4_096,
    "max_position_embeddings": 1_024,
    "tie_word_embeddings": True,
}
NF4 = {"quant": "nf4", "adapter": "lora"}
QWEN = {"model_type": "qwen2", "num_key_value_heads": 1, "intermediate_size": 1_408}
SETTINGS = (
    Setting("full, float", {}),
    Setting("LoRA, float", {"adapter": "lora"}),
    Setting("LoRA, NF4", NF4),
    Setting("LoRA, NF4, checkpointing", {**NF4, "checkpointing": True}, {"vocab_size": 16_384}, 4_096),
    Setting("LoRA, NF4, 65,536 tokens in the vocabulary", NF4, {"vocab_size": 65_536, "num_hidden_layers": 2}, 1_024),
    Setting("LoRA, NF4, Qwen2 with one key/value head", NF4, QWEN),
    Setting("DoRA, NF4", {**NF4, "adapter": "dora"}),
    Setting(
        "LoRA, FP4, an E-step",
        {"quant": "fp4", "adapter": "lora"},
        {"vocab_size": 1_280, "num_hidden_layers": 4},
        8_192,
        rollout=True,
    ),
)


def status(key: str) -> float:
    """Bytes of an entry of /proc/self/status."""
    text = Path("/proc/self/status").read_text()
    return float(text.split(key + ":")[1].split()[0]) * 1024


def measure(setting: Setting) -> dict[str, float]:
    """Run the setting in this process; peak bytes above the baseline, and the plan's."""
    import numpy as np
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from ra3_lab.evaluate.latents import trace_of
    from ra3_lab.midtrain.estep import EStep, EStepConfig
    from ra3_lab.midtrain.mstep import FineTuner, MStepConfig
    from ra3_lab.models.adapters import prepare, twin
    from ra3_lab.models.load import load_model
    from ra3_lab.models.plan import Job, peak, shape_of, stages
    from ra3_lab.models.tokenizer import LINE, PROMPT, Encoded
    from ra3_lab.models.variants import Variant
    from ra3_lab.tasks.pipelines import load_split

    torch.set_num_threads(1)
    embedded, tokenizer = load_model("embedded", "cpu")
    variant = Variant(**setting.variant)
    small = prepare(embedded, variant)  # everything that is loaded on first use
    small(input_ids=torch.arange(3, 40)[None], labels=torch.arange(3, 40)[None]).loss.backward()
    del small, embedded
    baseline = status("VmRSS")
    torch.manual_seed(0)
    config = {**SHAPE, **setting.config}
    kind = config.pop("model_type")
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **config))
    model = prepare(made, variant)
    del made
    Path("/proc/self/clear_refs").write_text("5")
    rows = setting.tokens // setting.width
    fake: Any = SimpleNamespace(marker=5, banned=(0, 1, 2), pad=0)
    if setting.rollout:
        traces = [trace_of(task) for task in load_split("test")[:8]]
        longest = max(len(tokenizer.encode_trace(trace).ids) for trace in traces)
        job = Job(min(setting.tokens, 64 * longest), longest + 24, 64)
        estep = EStep(twin(model), model, tokenizer, EStepConfig(programs=8, group=8), seed=0, precision="fp32")
        for number in range(2):
            estep.update(traces, number)
    else:
        job = Job(setting.tokens, setting.width, rl=False)
        tuner = FineTuner(model, fake, MStepConfig(tokens_at_once=setting.tokens), precision="fp32")
        rng = np.random.default_rng(0)
        roles = np.array([PROMPT] + [LINE] * (setting.width - 1), dtype=np.int8)
        for _ in range(2):
            ids = rng.integers(6, config["vocab_size"], (rows, setting.width))
            tuner.update([Encoded(row, roles, np.zeros(setting.width, dtype=np.int64), 1) for row in ids])
    measured = status("VmHWM") - baseline
    planned = peak(stages(shape_of({"model_type": kind, **config}), variant, job)[1:])
    return {"measured": measured, "planned": planned.total, "stage": planned.name, "parts": planned.parts}


def main() -> int:
    """Measure every setting; status 1 where one is off by more than 15 %."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--only", type=int, help="measure this setting in this process")
    arguments = parser.parse_args()
    if arguments.only is not None:
        print(json.dumps(measure(SETTINGS[arguments.only])))
        return 0
    from ra3_lab.runs.provenance import versions

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "262144"}
    rows = []
    for number, setting in enumerate(SETTINGS):
        command = [sys.executable, __file__, "--only", str(number)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return 1
        found = json.loads(done.stdout.splitlines()[-1])
        off = found["planned"] / found["measured"] - 1
        rows.append({**asdict(setting), **found, "off": round(off, 4)})
        mega = f"measured {found['measured'] / MB:7.0f} MB, planned {found['planned'] / MB:7.0f} MB"
        print(f"{setting.name:<45} {mega} ({found['stage']}), {off:+.1%}", flush=True)
    if arguments.json:
        record = {"schema_version": 1, "date": str(date.today()), "versions": versions(), "settings": rows}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    return int(any(abs(row["off"]) > 0.15 or row["measured"] < 300 * MB for row in rows))


if __name__ == "__main__":
    sys.exit(main())
