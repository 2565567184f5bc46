"""One M-step update of each variant timed against LoRA on float weights, in one process and on one thread.

    python benchmarks/qlora.py --json benchmarks/results/qlora.json

All variants start from the same weights and see the same programs. Rounds are interleaved and processor time is what is
counted; the ratio of medians is the result. The model has 3.5 million random weights, or is the one that --model names.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ra3_lab.evaluate.latents import trace_of
from ra3_lab.midtrain.mstep import FineTuner, MStepConfig
from ra3_lab.models.adapters import prepare
from ra3_lab.models.load import load_model
from ra3_lab.models.variants import Variant
from ra3_lab.runs.provenance import versions
from ra3_lab.tasks.pipelines import load_split

VARIANTS = {
    "all weights": Variant(),
    "LoRA": Variant(adapter="lora"),
    "NF4 + LoRA": Variant(quant="nf4", adapter="lora"),
    "NF4, single + LoRA": Variant(quant="nf4", double_quant=False, adapter="lora"),
    "FP4 + LoRA": Variant(quant="fp4", adapter="lora"),
    "NF4 + DoRA": Variant(quant="nf4", adapter="dora"),
    "NF4 + LoRA, checkpointing": Variant(quant="nf4", adapter="lora", checkpointing=True),
}


def main() -> int:
    """Time the variants; status 1 where NF4 + LoRA takes more than 1.6 times float LoRA."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="model directory or hub name; default: 3.5 million random weights")
    parser.add_argument("--rounds", type=int, default=7, help="timed updates of each variant")
    parser.add_argument("--programs", type=int, default=16, help="programs an update")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    base, tokenizer = load_model(arguments.model or "embedded", "cpu")
    if arguments.model is None:
        torch.manual_seed(0)
        shape = LlamaConfig(
            vocab_size=base.config.vocab_size,
            hidden_size=256,
            intermediate_size=688,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=1_024,
            tie_word_embeddings=True,
        )
        base = LlamaForCausalLM(shape).eval()
    encoded = [tokenizer.encode_trace(trace_of(task)) for task in load_split("expert")[: arguments.programs]]
    tuners = {
        name: FineTuner(prepare(base, variant), tokenizer, MStepConfig(updates=arguments.rounds + 1), "fp32")
        for name, variant in VARIANTS.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in tuners}
    for tuner in tuners.values():
        tuner.update(encoded)  # first use of everything
    for _ in range(arguments.rounds):
        for name, tuner in tuners.items():
            start = time.process_time()  # processor time: neighbours do not count
            tuner.update(encoded)
            seconds[name].append(time.process_time() - start)
    unit = statistics.median(seconds["LoRA"])
    rows = []
    for name, times in seconds.items():
        ratio = statistics.median(times) / unit
        rows.append({"name": name, "variant": asdict(VARIANTS[name]), "seconds": times, "ratio": round(ratio, 3)})
        print(f"{name:<28} {statistics.median(times):6.3f} s an update, {ratio:4.2f} times LoRA on float weights")
    if arguments.json:
        record = {
            "schema_version": 1,
            "date": str(date.today()),
            "versions": versions(),
            "weights": sum(p.numel() for p in base.parameters()),
            "tokens": sum(len(e.ids) for e in encoded),
            "rows": rows,
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    return int(next(row["ratio"] for row in rows if row["name"] == "NF4 + LoRA") > 1.6)


if __name__ == "__main__":
    sys.exit(main())
