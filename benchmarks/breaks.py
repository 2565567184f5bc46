"""Where do programs break, at a thought or at the lines after it? Sampled programs walked along the expert's segments.

    ra3-lab study arms --out runs/arms --keep-models
    ra3-lab study aptness --out runs/aptness --keep-models
    python benchmarks/breaks.py --models ra3=runs/arms/models/ra3-{seed} annotator=runs/arms/models/annotator-{seed} \\
        "10 % wrong=runs/aptness/models/10 % wrong-{seed}" --seeds 0 1 --out benchmarks/results/breaks.json

Tasks of the split `test`, as in those studies. A model that is measured already stays in --out and is not run again.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

import torch

from ra3_lab.evaluate.breaks import BEGUN, count_breaks, walk
from ra3_lab.evaluate.programs import evaluate_programs
from ra3_lab.models.load import load_model
from ra3_lab.runs import read_json, write_json
from ra3_lab.runs.provenance import versions
from ra3_lab.tasks.pipelines import load_split

SEED = 8_300


def measure(source: str, tasks: int, samples: int) -> dict[str, Any]:
    """One model: how its segments begin and how many of them are right; programs that pass, and those that are right to
    the expert's last line."""
    model, tokenizer = load_model(source, "cpu")
    picked = load_split("test")[:tasks]
    scores = evaluate_programs(model, tokenizer, picked, samples, 1.0, SEED, "fp32")
    written = [(text, task) for texts, task in zip(scores.programs, picked, strict=True) for text in texts]
    walks = [walk(text, task) for text, task in written]
    whole = [len(found) == len(task.steps) and found[-1].right for found, (_, task) in zip(walks, written, strict=True)]
    return {
        "model": source,
        "programs": len(written),
        "passed": int(scores.correct.sum()),
        "right": sum(whole),
        "segments": count_breaks(written),
    }


def main() -> None:
    """Measure every model at every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", required=True, help="NAME=MODEL, {seed} stands for the seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    settings = {"split": "test", "tasks": a.tasks, "samples": a.samples, "seed": SEED}
    rows = read_json(a.out)["rows"] if a.out.exists() else []
    if a.out.exists() and read_json(a.out)["settings"] != settings:
        parser.error(f"{a.out} was made with {read_json(a.out)['settings']}: give the same, or another --out.")
    for name, source in (text.split("=", 1) for text in a.models):
        for seed in a.seeds if "{seed}" in source else a.seeds[:1]:
            if any((row["arm"], row["seed"]) == (name, seed) for row in rows):
                continue
            row = measure(source.replace("{seed}", str(seed)), a.tasks, a.samples)
            rows.append({"arm": name, "seed": seed} | row)
            counts = row["segments"]
            shown = [f"{how}: {counts['right'][how]} of {counts['reached'][how]} right" for how in BEGUN]
            print(f"{name:<12} seed {seed}  {row['passed']} of {row['programs']} pass  " + "  ".join(shown), flush=True)
            record = {"date": datetime.date.today().isoformat(), "versions": versions(), "settings": settings}
            write_json(a.out, {"schema_version": 1, **record, "rows": rows})


if __name__ == "__main__":
    main()
