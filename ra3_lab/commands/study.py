"""`ra3-lab study`: a declarative comparison, arm by arm, with paired intervals over seeds and tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from ra3_lab.commands.output import Json, results
from ra3_lab.threads import use_threads


def run(
    spec: Annotated[str, tyro.conf.Positional],
    out: Path | None = None,
    seeds: tuple[int, ...] | None = None,
    arms: tuple[str, ...] | None = None,
    plan: bool = False,
    keep_models: bool = False,
    threads: int = 1,
    json: Json = None,
) -> int:
    """Run the arms of SPEC with each seed, and write records.jsonl, a table per split and report.html to OUT.

    SPEC is a .toml or .json file, or a shipped study by name (main, tuning, ...). Finished arms in OUT are kept and not
    run again, so a stopped study goes on where it was. Tables and page have every arm of SPEC that OUT holds at all of
    the seeds, those of earlier calls among them.

    Example: ra3-lab study main --plan

    Example: ra3-lab study main --out runs/main --seeds 0 1 2

    Args:
        spec: File, or name of a shipped study.
        out: Folder for records, tables and page; by default runs/ and the spec's name.
        seeds: Training seeds instead of the spec's.
        arms: Run only these arms.
        plan: Time a few updates and print minutes per arm, and run nothing.
        keep_models: Save every trained model in OUT/models/ARM-SEED, to start RLVR from it, say.
        threads: CPU threads.
        json: Write the tables as JSON to FILE, or to stdout; progress then goes to stderr.
    """
    from ra3_lab.evaluate.seeds import summarise_seeds
    from ra3_lab.explore.study_page import render_study
    from ra3_lab.runs import narrator, write_json
    from ra3_lab.study import finished_arms, load_spec, minutes, run_study, seed_records

    with results("study", json) as emit:
        use_threads(threads)
        whole = load_spec(spec)
        if seeds is not None:
            whole = replace(whole, seeds=seeds)
        chosen = whole.only(arms) if arms is not None else whole
        if plan:
            rows = minutes(chosen)
            for name, each in rows:
                print(f"{name:<24} {each:6.1f} minutes a seed")
            whole = len(chosen.seeds) * sum(each for _, each in rows)
            print(f"{'all arms and seeds':<24} {whole:6.1f} minutes, with {threads} thread{'s' * (threads > 1)}")
            emit({"minutes": dict(rows), "all": whole})
            return 0
        folder = out or Path("runs") / Path(spec).stem
        try:
            with narrator(15) as say:
                run_study(chosen, folder, say, keep_models)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped; finished arms are in {folder}, the one under way is begun anew. Give the same command again "
                "to go on"
            ) from None
        records = finished_arms(whole, folder)
        shown = whole.only([record["arm"] for record in records])
        tables = {split: summarise_seeds(seed_records(records, split), shown.pairs) for split in shown.splits}
        for split, table in tables.items():
            write_json(folder / f"table_{split}.json", table)
            print(f"\n{split}\n{render(table)}")
        (folder / "report.html").write_text(render_study(shown, records, tables), encoding="utf-8")
        if missing := [arm.name for arm in whole.arms if arm not in shown.arms]:
            print(f"\nnot in these tables (not run as SPEC has it, or not at every seed): {', '.join(missing)}")
        print(f"\nopen {folder / 'report.html'} in a browser")
        emit({"out": folder, "tables": tables})
    return 0


def render(table: dict) -> str:
    """The table as plain text; an interval that holds 0 comes first and says so. One seed is named before all."""

    def holds_zero(difference: dict) -> bool:
        return difference["low"] <= 0 <= difference["high"]

    rows = ["one seed: says nothing about another training run"] if len(table["seeds"]) == 1 else []
    for d in sorted(table["differences"], key=lambda d: not holds_zero(d)):
        mean, low, high = (100 * d[key] for key in ("mean", "low", "high"))
        note = "  <- the interval holds 0" if holds_zero(d) else ""
        rows.append(f"{d['a']} - {d['b']}: {mean:+.1f} points [{low:+.1f}, {high:+.1f}]{note}")
    for arm, row in table["arms"].items():
        lengths = ", ".join(f"{n} steps {value:.2f}" for n, value in row["by_length"].items())
        seeds = ", ".join(f"{value:.3f}" for value in row["by_seed"])
        of_four = "" if row["pass@4"] is None else f"pass@4 {row['pass@4']:.3f}  "
        rows.append(
            f"{arm:<6} pass@1 {row['pass@1']:.3f}  {of_four}"
            f"thoughts {row['thoughts_per_program']:.1f}  {lengths}  seeds [{seeds}]"
        )
    for arm, row in table["segmentation"].items():
        known = [f"{key} {value:.2f}" for key, value in row.items() if value is not None]
        rows.append(f"latents of {arm}: " + ", ".join(known))
    return "\n".join(rows)
