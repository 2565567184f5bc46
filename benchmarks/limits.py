"""The limits of the cost c: how often q thinks, and how far the result is from NTP, as c grows.

    python benchmarks/limits.py --out benchmarks/results/limits.json

With c = infinity the think branch is masked and the run *is* NTP, weight for weight (tests/test_em.py). With a large
finite c, thinking has to die out by learning. The gap is in nats per held-out expert program, scored without thoughts.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import tyro

from ra3_lab.evaluate.latents import evaluate_latents, trace_of
from ra3_lab.evaluate.likelihood import k_sample_bound
from ra3_lab.experiment import versions
from ra3_lab.midtrain.em import MidtrainConfig, midtrain
from ra3_lab.models.load import load_model
from ra3_lab.runs import narrator, write_json
from ra3_lab.tasks.pipelines import load_split


def main(out: Path, costs: tuple[float, ...] = (0.05, 1.0, 20.0), seed: int = 0, threads: int = 2) -> None:
    """Train RA3 at several costs beside NTP, with the default budget.

    Args:
        out: JSON file to write.
        costs: Values of c, in nats.
        seed: Training seed.
        threads: CPU threads.
    """
    torch.set_num_threads(threads)
    model, tokenizer = load_model("embedded", "cpu")
    settings = MidtrainConfig(seed=seed)
    expert = load_split("expert")
    held_out, corpus = expert[:48], [trace_of(task) for task in expert[48:]]
    # Equal M-step updates here, so that the only difference left is what q does.
    plain = replace(settings, method="ntp", estep=replace(settings.estep, updates=0))

    def held_out_nats(trained: object) -> float:
        traces = [trace_of(task) for task in held_out]
        return float(k_sample_bound(trained, tokenizer, traces, 1, think=False).mean())

    with narrator(30) as say:
        ntp = held_out_nats(midtrain(plain, model, tokenizer, corpus).model)
        say(f"ntp: {ntp:.3f} nats per program")
        rows = []
        for cost in costs:
            config = replace(settings, method="ra3", estep=replace(settings.estep, cost=cost))
            result = midtrain(config, model, tokenizer, corpus)
            found, _ = evaluate_latents(result.q, tokenizer, held_out, seed)
            gap = held_out_nats(result.model) - ntp
            rows.append({"cost": cost, "think_share": found["think_share"], "f1": found["f1"], "gap_to_ntp": gap})
            say(f"c = {cost}: thoughts at {found['think_share']:.2%} of lines, {gap:+.3f} nats per program against ntp")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, {"schema_version": 1, "seed": seed, "versions": versions(), "ntp_nats": ntp, "rows": rows})


if __name__ == "__main__":
    tyro.cli(main)
