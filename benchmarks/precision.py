"""bf16 against fp32 on this machine: one update of pre-training, M-step and E-step, timed in turns.

    python benchmarks/precision.py --rounds 4 --threads 1 --out benchmarks/results/precision.json

On the embedded model and pipelines. What `--precision auto` means on a CPU follows from this
(models/load.py). Ratios are of medians within this run; bare times depend on what else the machine does.
"""

from __future__ import annotations

import copy
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import tyro

from ra3_lab.api import load_model, load_traces
from ra3_lab.midtrain.estep import EStep, EStepConfig
from ra3_lab.midtrain.mstep import FineTuner, MStepConfig
from ra3_lab.models.decoder import Decoder
from ra3_lab.models.load import autocast, dtype_of
from ra3_lab.models.rollout import LatentSampling, sample_latents
from ra3_lab.pretrain.stream import Stream, collate
from ra3_lab.pretrain.train import PretrainConfig
from ra3_lab.runs import write_json

PRECISIONS = ("fp32", "bf16")


def works() -> dict[str, Callable[[str], Callable[[], None]]]:
    """Kind of update -> a function of the precision that makes the update."""
    model, tokenizer = load_model("embedded", "cpu")
    traces = load_traces("pipelines")[:256]
    config = PretrainConfig()
    config = replace(config, corpus=replace(config.corpus, stdlib=0.0, lists_first=0))
    batches = [next(stream) for stream in [Stream(tokenizer, [], config, set())] for _ in range(12)]

    def pretraining(precision: str) -> Callable[[], None]:
        own = copy.deepcopy(model).train()
        optimizer = torch.optim.AdamW(own.parameters(), lr=1e-5, fused=True)

        def update() -> None:
            for batch in batches:
                ids, targets, positions = collate(batch, tokenizer.pad)
                with autocast(own, precision):
                    logits = own(input_ids=ids, position_ids=positions, use_cache=False).logits
                flat = logits[:, :-1].flatten(0, 1).float()
                torch.nn.functional.cross_entropy(flat, targets[:, 1:].flatten()).backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

        return update

    def mstep(precision: str) -> Callable[[], None]:
        own = copy.deepcopy(model)
        tuner = FineTuner(own, tokenizer, MStepConfig(updates=10_000, learning_rate=1e-6), precision)
        encoded = [tokenizer.encode_trace(trace) for trace in traces[:16]]
        return lambda: [tuner.update(encoded) for _ in range(4)] and None

    def estep(precision: str) -> Callable[[], None]:
        settings = EStepConfig(programs=8, group=8, learning_rate=1e-6)
        step = EStep(copy.deepcopy(model), model, tokenizer, settings, 0, precision)
        return lambda: step.update(traces[:8], 0) and None

    def drawing(precision: str) -> Callable[[], None]:
        decoder, repeated = Decoder(model, dtype_of(precision)), [trace for trace in traces[:8] for _ in range(8)]
        return lambda: sample_latents(decoder, tokenizer, repeated, LatentSampling(0.5, 16), 0, 0) and None

    return {"pretraining": pretraining, "mstep": mstep, "estep": estep, "estep's rollouts alone": drawing}


def measure(make: Callable[[str], Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median seconds of each precision, in turns, by the clock and of CPU time, and their ratios."""
    updates = {precision: make(precision) for precision in PRECISIONS}
    clocks = {"seconds": time.perf_counter, "cpu_seconds": time.process_time}
    spent: dict[str, dict[str, list[float]]] = {p: {name: [] for name in clocks} for p in PRECISIONS}
    for number in range(rounds + 1):
        for precision, update in updates.items():
            begin = {name: clock() for name, clock in clocks.items()}
            update()
            if number:  # the first one warms up
                for name, clock in clocks.items():
                    spent[precision][name].append(clock() - begin[name])
    found: dict[str, float] = {}
    for name in clocks:
        medians = {precision: statistics.median(spent[precision][name]) for precision in PRECISIONS}
        found |= {f"{p}_{name}": round(medians[p], 4) for p in PRECISIONS}
        found[f"bf16_over_fp32_{name}"] = round(medians["bf16"] / medians["fp32"], 3)
    return found


def main(out: Path | None = None, rounds: int = 7, threads: tuple[int, ...] = (1, 2)) -> None:
    """Measure; print, and write as JSON.

    Args:
        out: JSON file to write.
        rounds: Timed repetitions of each.
        threads: Numbers of threads.
    """
    rows = []
    for count in threads:
        torch.set_num_threads(count)
        for name, make in works().items():
            row = {"what": name, "threads": count, **measure(make, rounds)}
            rows.append(row)
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    if out is not None:
        record = {
            "schema_version": 1,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "avx512_bf16": torch.cpu._is_avx512_bf16_supported(),
            "amx": torch.cpu._is_amx_tile_supported(),
            "date": time.strftime("%Y-%m-%d"),
            "load_average": round(os.getloadavg()[0], 1),
            "rounds": rounds,
            "rows": rows,
        }
        write_json(out, record)


if __name__ == "__main__":
    tyro.cli(main)
