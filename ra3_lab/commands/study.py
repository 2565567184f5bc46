"""`ra3-lab study`: the arms over several seeds, with paired intervals over seeds and tasks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path


def run(out: Path, seeds: tuple[int, ...] = (0, 1, 2), splits: tuple[str, ...] = ("test",), threads: int = 2) -> int:
    """Run base, ntp, prior and ra3 with the study settings for each seed.

    Finished seeds in OUT are kept and not run again.

    Example: ra3-lab study --out runs/study --seeds 0 1 2 --splits test

    Args:
        out: Folder for one record per seed and a table per split.
        seeds: Training seeds.
        splits: Held-out splits to score on, the one that counts first.
        threads: CPU threads.
    """
    import torch

    from ra3_lab.evaluate.seeds import summarise_seeds
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
        config = replace(study_experiment(seed), splits=splits)
        with narrator() as say:
            result = run_experiment(config, model, tokenizer, say)
        write_json(path, {**result.record, "correct": result.correct})
    records = [json.loads((out / f"seed{seed}.json").read_text(encoding="utf-8")) for seed in seeds]
    for split in splits:
        table = summarise_seeds([_of_split(record, split) for record in records])
        write_json(out / f"table_{split}.json", table)
        print(f"\n{split}\n{render(table)}")
    return 0


def _of_split(record: dict, split: str) -> dict:
    """A seed's record as `summarise_seeds` reads it, for one split."""
    return {**record, "correct": record["correct"][split], "summary": {"arms": record["scores"][split]}}


def render(table: dict) -> str:
    """The table as plain text; an interval that holds 0 comes first and says so."""

    def holds_zero(difference: dict) -> bool:
        return difference["low"] <= 0 <= difference["high"]

    rows = []
    for d in sorted(table["differences"], key=lambda d: not holds_zero(d)):
        mean, low, high = (100 * d[key] for key in ("mean", "low", "high"))
        note = "  <- the interval holds 0" if holds_zero(d) else ""
        rows.append(f"{d['a']} - {d['b']}: {mean:+.1f} points [{low:+.1f}, {high:+.1f}]{note}")
    for arm, row in table["arms"].items():
        lengths = ", ".join(f"{n} steps {value:.2f}" for n, value in row["by_length"].items())
        seeds = ", ".join(f"{value:.3f}" for value in row["by_seed"])
        rows.append(
            f"{arm:<6} pass@1 {row['pass@1']:.3f}  pass@4 {row['pass@4']:.3f}  "
            f"thoughts {row['thoughts_per_program']:.1f}  {lengths}  seeds [{seeds}]"
        )
    for arm, row in table["segmentation"].items():
        known = [f"{key} {value:.2f}" for key, value in row.items() if value is not None]
        rows.append(f"latents of {arm}: " + ", ".join(known))
    return "\n".join(rows)
