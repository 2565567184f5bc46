"""`ra3-lab study`: the arms over several seeds, with paired intervals over seeds and tasks."""

from __future__ import annotations

import json
from pathlib import Path

PAIRS = (("ra3", "prior"), ("ra3", "ntp"), ("ra3", "base"), ("prior", "ntp"), ("ntp", "base"))


def run(out: Path, seeds: tuple[int, ...] = (0, 1, 2), split: str = "test", threads: int = 2) -> int:
    """Run base, ntp, prior and ra3 with the study settings for each seed; finished seeds in OUT are kept and not run again.

    Example: ra3-lab study --out runs/study --seeds 0 1 2 --split test

    Args:
        out: Folder for one record per seed and table.json.
        seeds: Training seeds.
        split: Held-out split to score on.
        threads: CPU threads.
    """
    import torch

    from ra3_lab.experiment import run_experiment
    from ra3_lab.models.load import load_model
    from ra3_lab.presets import study_experiment
    from ra3_lab.runs import narrator, write_json

    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    model, tokenizer = load_model("embedded", "cpu")
    for seed in seeds:
        path = out / f"seed{seed}.json"
        if path.exists():
            print(f"seed {seed} is done ({path})")
            continue
        from dataclasses import replace

        with narrator() as say:
            result = run_experiment(replace(study_experiment(seed), split=split), model, tokenizer, say)
        write_json(path, {**result.record, "correct": result.correct})
    records = [json.loads((out / f"seed{seed}.json").read_text(encoding="utf-8")) for seed in seeds]
    table = summarise_seeds(records)
    write_json(out / "table.json", table)
    print(render(table))
    return 0


def summarise_seeds(records: list[dict]) -> dict:
    """Mean pass@1 of each arm over seeds and paired differences with intervals over seeds and tasks."""
    import numpy as np

    from ra3_lab.evaluate.passk import bootstrap_ci, paired_difference_ci

    per_task = {
        arm: np.array([np.mean(r["correct"][arm], axis=1) for r in records]) for arm in records[0]["correct"]
    }
    arms = {
        arm: {
            "pass@1": float(values.mean()),
            "ci95_tasks": bootstrap_ci(values.mean(0))[1:],
            "by_seed": values.mean(1).tolist(),
            "pass@4": float(np.mean([r["summary"]["arms"][arm]["pass@4"] for r in records])),
            **{
                key: float(np.mean([r["summary"]["arms"][arm][key] for r in records]))
                for key in ("thoughts_per_program", "updates", "tokens", "seconds")
            },
            "by_length": {
                n: float(np.mean([r["summary"]["arms"][arm]["by_length"][n] for r in records]))
                for n in records[0]["summary"]["arms"][arm]["by_length"]
            },
        }
        for arm, values in per_task.items()
    }
    differences = [
        {"a": a, "b": b, **paired_difference_ci(per_task[a], per_task[b])._asdict()}
        for a, b in PAIRS
        if a in per_task and b in per_task
    ]
    segmentation = {
        arm: {
            key: float(np.mean([r["segmentation"][arm][key] for r in records]))
            for key in (
                "precision",
                "recall",
                "f1",
                "random_f1",
                "think_share",
                "apt",
                "nmi",
                "duration",
                "tokens_per_thought",
            )
        }
        for arm in records[0]["segmentation"]
    }
    return {
        "schema_version": 1,
        "seeds": [r["seed"] for r in records],
        "arms": arms,
        "differences": differences,
        "segmentation": segmentation,
        "versions": records[0]["versions"],
    }


def render(table: dict) -> str:
    """The table as plain text; an interval that holds 0 comes first and says so."""
    rows = []
    for d in sorted(table["differences"], key=lambda d: not d["low"] <= 0 <= d["high"]):
        note = "  <- the interval holds 0" if d["low"] <= 0 <= d["high"] else ""
        rows.append(
            f"{d['a']} - {d['b']}: {100 * d['mean']:+.1f} points [{100 * d['low']:+.1f}, {100 * d['high']:+.1f}]{note}"
        )
    for arm, row in table["arms"].items():
        lengths = ", ".join(f"{n} steps {v:.2f}" for n, v in row["by_length"].items())
        rows.append(
            f"{arm:<6} pass@1 {row['pass@1']:.3f}  pass@4 {row['pass@4']:.3f}  thoughts {row['thoughts_per_program']:.1f}  {lengths}  seeds {['%.3f' % v for v in row['by_seed']]}"
        )
    for arm, row in table["segmentation"].items():
        rows.append(f"latents of {arm}: " + ", ".join(f"{key} {value:.2f}" for key, value in row.items()))
    return "\n".join(rows)
