"""4-bit weights whose rows are no multiple of the block: what bitsandbytes unpacks on a CPU, and what that costs.

    python benchmarks/blocks.py --json benchmarks/results/blocks.json

First normal weights of several row lengths go to NF4 and back, in blocks of 64 and of 32: the mean error beside that of
the same rounding in plain torch (`models/nf4.py`), which both must have. Then the embedded model, whose `down_proj` has
rows of 416, in float and in NF4 with either block in those layers: nats a program on expert programs, without thoughts.
Double quantisation is off in the first part and on in the second, as in training. Seconds, not minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from unittest.mock import patch

import torch

from ra3_lab.evaluate.latents import trace_of
from ra3_lab.evaluate.likelihood import k_sample_bound
from ra3_lab.models import quantize
from ra3_lab.models.adapters import prepare
from ra3_lab.models.load import load_model
from ra3_lab.models.nf4 import rounded
from ra3_lab.models.variants import Variant
from ra3_lab.runs import write_json
from ra3_lab.runs.provenance import versions
from ra3_lab.tasks.pipelines import load_split

BLOCKS = (64, 32)


@contextmanager
def blocks_of(size: int) -> Iterator[None]:
    """Rows that are no multiple of 64 are stored in blocks of this size."""
    with patch.object(quantize, "block_size", lambda columns, device: size if columns % 64 else 64):
        yield


def unpacked(columns: int, block: int, rows: int = 256) -> dict[str, float]:
    """Mean distance of unpacked from packed weights, and what it should be."""
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    with blocks_of(block):
        used = quantize.block_size(columns, weight.device)
        back = quantize.round_trip(weight, "nf4", False)
    error, right = ((found - weight).abs().mean().item() for found in (back, rounded(weight, block=used)))
    return {"columns": columns, "block": used, "error": error, "right": right, "ratio": error / right}


def nats(programs: int) -> dict[str, float]:
    """Mean log-likelihood of an expert program under the embedded model, by how its weights are stored."""
    model, tokenizer = load_model("embedded", "cpu")
    traces = [trace_of(task) for task in load_split("expert")[:programs]]
    stored = {"float": model}
    for block in BLOCKS:
        with blocks_of(block):
            stored[f"nf4, blocks of {block}"] = prepare(model, Variant("nf4", adapter="lora"))  # B = 0: changes nothing
    return {
        name: float(k_sample_bound(one, tokenizer, traces, 1, precision="fp32", think=False).mean())
        for name, one in stored.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, tell, write; status 1 where the blocks that ra3_lab uses come out wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=12, help="expert programs")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = [unpacked(columns, block) for columns in (384, 416, 448) for block in (BLOCKS if columns % 64 else (64,))]
    for row in rows:
        print(f"rows of {row['columns']}, blocks of {row['block']}: error {row['error']:.4f}, {row['ratio']:.2f} times")
    likelihood = nats(arguments.programs)
    for name, value in likelihood.items():
        print(f"{name:<18} {value:7.3f} nats a program")
    if arguments.json:
        import bitsandbytes

        known = versions() | {"bitsandbytes": bitsandbytes.__version__}
        record = {"date": str(date.today()), "versions": known, "programs": arguments.programs}
        write_json(arguments.json, {"schema_version": 1, **record, "rows": rows, "nats": likelihood})
    used = quantize.block_size(416, torch.device("cpu"))
    return int(any(row["ratio"] > 1.05 for row in rows if row["columns"] != 416 or row["block"] == used))


if __name__ == "__main__":
    sys.exit(main())
