"""How good is a base model at the pipelines world before mid-training? Nothing here looks at the test split.

    python benchmarks/base_model.py --model embedded --out benchmarks/results/base_model.json

By number of steps, on fresh tasks with pre-training's mix of skills and with expert data's: pass@1 of the model left
free, made to begin with a thought, and kept from thinking; where its sampled thoughts stand and how many are apt; and
log-likelihood of the expert's lines without thoughts, with true thoughts, and with thoughts it sampled itself.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import tyro

from ra3_lab.evaluate.latents import evaluate_latents, trace_of, true_trace
from ra3_lab.evaluate.likelihood import k_sample_bound
from ra3_lab.evaluate.programs import evaluate_programs
from ra3_lab.experiment import versions
from ra3_lab.midtrain.estep import score_traces
from ra3_lab.models.load import load_model
from ra3_lab.runs import write_json
from ra3_lab.tasks.pipelines import WorldConfig, make_tasks

SEED = 7_000


def main(out: Path, model: str = "embedded", tasks: int = 100, threads: int = 2, longest: int = 8) -> None:
    """Measure a base model.

    Args:
        out: JSON file to write.
        model: 'embedded' or a model directory.
        tasks: Tasks per row.
        threads: CPU threads.
        longest: Most steps.
    """
    torch.set_num_threads(threads)
    base, tokenizer = load_model(model, "cpu")
    rows = []
    for mix, rare_rate in (("pre-training", 0.01), ("expert", -1.0)):
        for steps in range(2, longest + 1):
            picked = make_tasks(SEED + steps, tasks, WorldConfig(steps=(steps, steps), rare_rate=rare_rate), "probe")
            found, _ = evaluate_latents(base, tokenizer, picked, SEED)
            plain, true = (
                score_traces(base, [tokenizer.encode_trace(make(task)) for task in picked], tokenizer)
                .line.sum(1)
                .mean()
                for make in (trace_of, true_trace)
            )
            own = k_sample_bound(base, tokenizer, [trace_of(task) for task in picked], 1, SEED).mean()
            passed = {
                how: float(evaluate_programs(base, tokenizer, picked, 2, seed=SEED, thinking=how).correct.mean())
                for how in ("free", "begin", "never")
            }
            row = {
                "mix": mix, "steps": steps, "pass@1": passed, "thoughts_f1": found["f1"],
                "think_share": found["think_share"], "apt": found["apt"],
                "line_logp": {"no_thought": float(plain), "true_thoughts": float(true), "own_thoughts": float(own)},
            }  # fmt: skip
            rows.append(row)
            print(json.dumps(row), flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        out, {"schema_version": 1, "model": model, "tasks": tasks, "seed": SEED, "versions": versions(), "rows": rows}
    )


if __name__ == "__main__":
    tyro.cli(main)
