"""`ra3-lab demo`: the whole loop in minutes, on the embedded model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ra3_lab.threads import use_threads

STARTS = ("ntp", "ra3")
"""Arms from which RLVR starts."""
RLVR_UPDATES = 8
"""Updates of each."""
RLVR_VALIDATION = 30
"""Validation tasks of the RLVR stage."""


def demo(out: Path = Path("demo_out"), seed: int = 0, threads: int = 2) -> int:
    """See RA3 discover latents in expert code, fine-tune on them, and compare it with next-token prediction.

    Trains NTP, prior and RA3 live from the embedded model at equal budgets, scores them and the base on held-out
    tasks, and writes report.html (open it in a browser, no network needed), summary.json and record.json to OUT. Then
    goes on for a few updates of reinforcement learning from tests from two of them, and writes the files again.

    Example: ra3-lab demo --out demo_out --seed 0

    Args:
        out: Folder for the results; must be new or empty.
        seed: Seed of everything that is drawn; the same seed gives the same table on the same machine.
        threads: CPU threads.
    """
    from ra3_lab.experiment import run_experiment
    from ra3_lab.models.load import load_model
    from ra3_lab.presets import demo_experiment
    from ra3_lab.runs import fresh_directory, narrator

    use_threads(threads)
    config = demo_experiment(seed)
    fresh_directory(out)
    with narrator() as say:
        say("loading the embedded model")
        model, tokenizer = load_model("embedded", "cpu")
        result = run_experiment(config, model, tokenizer, say)
        record: dict[str, Any] = result.record | {"command": f"ra3-lab demo --seed {seed}"}
        _write(out, record)
        say(f"{out / 'report.html'} is written; reinforcement learning from tests comes on top")
        starts = {arm: result.arms[arm].trained for arm in STARTS}
        runs = [_rlvr(arm, start.model, tokenizer, seed, say) for arm, start in starts.items() if start is not None]
    record["rlvr_runs"] = runs
    record["summary"]["rlvr"] = {run["label"]: {"validation": run["validation"], **run["seconds"]} for run in runs}
    _write(out, record)
    print(table(record["summary"]))
    print(f"\nopen {out / 'report.html'} in a browser; numbers are in {out / 'summary.json'}")
    return 0


def _write(out: Path, record: dict[str, Any]) -> None:
    """What the record says, as files."""
    from ra3_lab.explore.report import write_report
    from ra3_lab.runs import write_json

    write_json(out / "summary.json", record["summary"])
    write_json(out / "record.json", record)
    write_report(out / "report.html", record)


def _rlvr(arm: str, model: Any, tokenizer: Any, seed: int, say: Any) -> dict[str, Any]:
    """A short RLVR run from an arm's policy on the tasks that the RLVR split is for."""
    from ra3_lab.models.generation import Sampling
    from ra3_lab.rlvr.stage import rlvr_stage, short_config
    from ra3_lab.sandbox import Judge
    from ra3_lab.sandbox.isolation import for_own_model
    from ra3_lab.tasks.registry import load_tasks

    tasks, validation = (list(load_tasks("pipelines", split=split)) for split in ("rlvr", "validation"))
    config = replace(short_config(seed, RLVR_UPDATES), sampling=Sampling())  # room for validation's longer programs
    with Judge(isolation=for_own_model()) as judge:
        return rlvr_stage(model, tokenizer, tasks, validation[:RLVR_VALIDATION], config, judge.each, say, arm)


def table(summary: dict) -> str:
    """The arms as plain text."""
    rows = [
        f"{'arm':<6} {'pass@1':>7} {'95% interval':>16} {'pass@4':>7} "
        f"{'thoughts':>9} {'updates':>8} {'tokens':>10} {'seconds':>8}"
    ]
    for arm, row in summary["arms"].items():
        low, high = row["ci95"]
        rows.append(
            f"{arm:<6} {row['pass@1']:7.3f} {f'[{low:.3f}, {high:.3f}]':>16} {row['pass@4']:7.3f} "
            f"{row['thoughts_per_program']:9.2f} {row['updates']:8d} {row['tokens']:10,d} {row['seconds']:8.0f}"
        )
    for arm, run in summary.get("rlvr", {}).items():
        before, after = run["validation"][0][1], run["validation"][-1][1]
        rows.append(f"RLVR from {arm}: validation pass@1 {before:.3f} before, {after:.3f} after")
    found = summary["segmentation"]
    rows.append(
        f"\nsegmentation by RA3's latents: precision {found['precision']:.2f}, recall {found['recall']:.2f}, "
        f"F1 {found['f1']:.2f}; thoughts at {summary['think_share']:.0%} of lines"
    )
    return "\n".join(rows)
