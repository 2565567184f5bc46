"""Watch one E-step on the embedded base: does it think more, better, and is the return up? On held-out expert programs.

    python benchmarks/estep.py --out benchmarks/results/estep_t05.json --estep.temperature 0.5

The settings of the E-step were chosen with this, before any arm was scored.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from ra3_lab.evaluate.latents import trace_of
from ra3_lab.experiment import versions, watch
from ra3_lab.midtrain.em import MidtrainConfig
from ra3_lab.midtrain.estep import EStep, EStepConfig
from ra3_lab.models.load import load_model
from ra3_lab.runs import write_json
from ra3_lab.tasks.pipelines import load_split

_DEFAULTS = EStepConfig()
HELD_OUT = 48


def main(
    out: Path, estep: Annotated[EStepConfig, tyro.conf.arg(name="estep")] = _DEFAULTS, seed: int = 0, threads: int = 2
) -> None:
    """Run one E-step and look at held-out programs after every fifth update.

    Args:
        out: JSON file to write.
        estep: Settings.
        seed: Seed of programs and draws.
        threads: CPU threads.
    """
    torch.set_num_threads(threads)
    pi, tokenizer = load_model("embedded", "cpu")
    expert = load_split("expert")
    corpus = [trace_of(task) for task in expert[HELD_OUT:]]
    look = watch(tokenizer, expert[:HELD_OUT], MidtrainConfig(estep=estep, seed=seed))
    q = copy.deepcopy(pi)
    step = EStep(q, pi, tokenizer, estep, seed)
    rng = np.random.default_rng(seed)
    rows = []
    for update in range(estep.updates + 1):
        if update % 5 == 0 or update == estep.updates:
            rows.append({"update": update, **look(q, pi)["held_out"]})
            print(json.dumps(rows[-1]), flush=True)
        if update < estep.updates:
            step.update([corpus[i] for i in rng.choice(len(corpus), estep.programs, replace=False)], update)
    out.parent.mkdir(parents=True, exist_ok=True)
    record = {"schema_version": 1, "seed": seed, "estep": asdict(estep), "versions": versions(), "rows": rows}
    write_json(out, record)


if __name__ == "__main__":
    tyro.cli(main)
