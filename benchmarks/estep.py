"""Watch E-steps on the embedded base, or another: does it think more, better, and is the return up? On held-out expert
programs.

    python benchmarks/estep.py --estep.temperature 0.5 --out estep.json
    python benchmarks/estep.py --seeds 100 101 102 103 --corpus 64 --threads 1 --out estep_64.json

The settings of the E-step, but for the size of an update, were chosen with this, before any arm was scored. Over
several seeds, with all of the expert programs or the first few, it shows how often thinking dies out.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from ra3_lab.evaluate.latents import trace_of
from ra3_lab.experiment import versions, watch
from ra3_lab.midtrain.em import MidtrainConfig
from ra3_lab.midtrain.estep import EStep, EStepConfig
from ra3_lab.models.load import load_model
from ra3_lab.runs import model_source, write_json
from ra3_lab.tasks.pipelines import load_split

_DEFAULTS = EStepConfig()
HELD_OUT = 48


def main(
    out: Path,
    estep: Annotated[EStepConfig, tyro.conf.arg(name="estep")] = _DEFAULTS,
    seeds: tuple[int, ...] = (0,),
    corpus: int | None = None,
    model: str = "embedded",
    threads: int = 2,
) -> None:
    """Run one E-step a seed and look at held-out programs after every fifth update.

    Args:
        out: JSON file to write.
        estep: Settings.
        seeds: Seeds of programs and draws.
        corpus: Number of expert programs; all by default.
        model: 'embedded', a model directory or a finished run.
        threads: CPU threads.
    """
    torch.set_num_threads(threads)
    pi, tokenizer = load_model(model_source(model), "cpu")
    expert = load_split("expert")
    known = len(expert) - HELD_OUT
    if corpus is not None and not estep.programs <= corpus <= known:
        raise SystemExit(f"--corpus {corpus}: {estep.programs} (--estep.programs) to {known}.")
    programs = [trace_of(task) for task in expert[HELD_OUT:][:corpus]]
    about = {"schema_version": 1, "estep": asdict(estep), "corpus": corpus, "model": model, "versions": versions()}
    out.parent.mkdir(parents=True, exist_ok=True)
    runs: list[dict[str, Any]] = []
    for seed in seeds:
        look = watch(tokenizer, expert[:HELD_OUT], MidtrainConfig(rounds=1, estep=estep, seed=seed))
        q = copy.deepcopy(pi)
        step = EStep(q, pi, tokenizer, estep, seed)
        rng = np.random.default_rng(seed)
        rows: list[dict[str, Any]] = []
        for update in range(estep.updates + 1):
            if update % 5 == 0 or update == estep.updates:
                rows.append({"update": update, **look(q, pi)["held_out"]})
                print(json.dumps({"seed": seed, **rows[-1]}), flush=True)
            if update < estep.updates:
                step.update([programs[i] for i in rng.choice(len(programs), estep.programs, replace=False)], update)
        runs.append({"seed": seed, "rows": rows})
        write_json(out, {**about, "runs": runs})


if __name__ == "__main__":
    tyro.cli(main)
