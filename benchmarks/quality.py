"""What 4-bit weights and adapters cost in quality on the embedded model: NTP and RA3 in full precision and in three
4-bit variants, several seeds, pass@1 on held-out tasks.

    python benchmarks/quality.py --out runs/quality --tune --estep 16 --mstep 32 --rounds 1    # learning rates
    python benchmarks/quality.py --out runs/quality             # the arms themselves, at 32 + 64 updates
    python benchmarks/quality.py --out runs/quality --json benchmarks/results/quality.json --page docs/variants.md

Scored on fresh tasks of 6 steps, a length of the expert data, where NTP has something to lose, and on the split test
(8 and 9 steps). Checkpoints and rates are chosen on other tasks of 6 steps, with the same trials for all; a rate is
the M-step's, the E-step has a fifth of it, as the defaults have. Each finished arm is a JSON file of its own in --out
and is not run again: a benchmark that was stopped goes on. Every arm has the same programs, updates, draws and tasks.
The trials use a seed of their own (1,000); of a variant without trials the first rate of --rates is taken. --json and
--page only read, and refuse a table in which an arm is missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import torch
from cells import table as cells_table

from ra3_lab.evaluate.passk import paired_difference_ci
from ra3_lab.experiment import ExperimentConfig, Field, arm_config, field_of, run_arm
from ra3_lab.midtrain.em import MidtrainConfig
from ra3_lab.midtrain.estep import EStepConfig
from ra3_lab.midtrain.mstep import MStepConfig
from ra3_lab.models.load import load_model
from ra3_lab.models.variants import Variant
from ra3_lab.runs import read_json, write_json
from ra3_lab.runs.provenance import versions
from ra3_lab.tasks.pipelines import SPLITS, WorldConfig, load_split, make_tasks

VARIANTS = {
    "fp32": Variant(),
    "NF4 + LoRA": Variant(quant="nf4", adapter="lora"),
    "NF4 + DoRA": Variant(quant="nf4", adapter="dora"),
    "FP4 + LoRA": Variant(quant="fp4", adapter="lora"),
}
METHODS = ("ntp", "ra3")
TUNING_SEED = 1_000
INSIDE = "6 steps"
BEGIN, END = "<!-- quality: begin (benchmarks/quality.py --page) -->", "<!-- quality: end -->"


def file_of(out: Path, name: str, method: str, what: str) -> Path:
    """Where an arm's record lies."""
    return out / f"{name.lower().replace(' + ', '-')}-{method}-{what}.json"


def settings(arguments: argparse.Namespace, variant: Variant, seed: int, rate: float) -> ExperimentConfig:
    """One comparison with this variant, seed and learning rate, at the sizes asked for."""
    estep = EStepConfig(arguments.estep, programs=8, group=5, learning_rate=rate * arguments.estep_share)
    mstep = MStepConfig(arguments.mstep, learning_rate=rate)
    midtrain = MidtrainConfig(
        rounds=arguments.rounds, evaluate_every=32, variant=variant, precision="fp32", estep=estep, mstep=mstep
    )
    return ExperimentConfig(
        seed, midtrain=midtrain, tasks=arguments.tasks, validation_tasks=arguments.validation, samples=4
    )


def tasks_of(config: ExperimentConfig) -> Field:
    """The experiment's tasks, with tasks of 6 steps to validate on and others to score, none of them in a split."""
    field, known = field_of(config), {task.signature for split in SPLITS for task in load_split(split)}
    validation = make_tasks(8_301, config.validation_tasks, WorldConfig(steps=(6, 6)), "inside", known)
    known |= {task.signature for task in validation}
    inside = make_tasks(8_302, config.tasks or 64, WorldConfig(steps=(6, 6)), INSIDE, known)
    return replace(field, validation=validation, tests={INSIDE: inside, **field.tests} if field.tests else {})


def train(
    arguments: argparse.Namespace, name: str, method: str, seed: int, rate: float, path: Path, model: Any
) -> None:
    """Train and score one arm, and write its record; nothing where it is there."""
    if path.exists():
        print(f"{path.name} is there", flush=True)
        return
    config = settings(arguments, VARIANTS[name], seed, rate)
    if seed == TUNING_SEED:
        config = replace(config, splits=(), monitor_programs=8)
    base, tokenizer = model
    found = run_arm(config, method, arm_config(config, method), tasks_of(config), base, tokenizer, print)
    assert found.trained is not None
    record = {
        "schema_version": 1,
        "variant": name,
        "method": method,
        "seed": seed,
        "learning_rate": rate,
        "validation": found.trained.validation,
        "scores": found.scores,
        "correct": found.correct,
        "seconds": round(found.trained.seconds, 1),
        "config": asdict(config),
        "versions": versions(),
    }
    write_json(path, record)


def best_rate(out: Path, name: str, method: str, rates: Sequence[float]) -> float:
    """The rate whose trial had the best validation score; the first of `rates` without trials."""
    trials = [read_json(path) for rate in rates if (path := file_of(out, name, method, f"trial-{rate:g}")).exists()]
    if not trials:
        return rates[0]
    if len(trials) < len(rates):
        raise ValueError(f"{name}, {method}: {len(trials)} of {len(rates)} trials are there: finish --tune first.")
    return max(trials, key=lambda trial: trial["validation"])["learning_rate"]


def collect(out: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """The table's record from the finished arms. Raises FileNotFoundError naming the arms that are missing."""
    paths = {
        (name, method): [file_of(out, name, method, f"seed{seed}") for seed in seeds]
        for name in VARIANTS
        for method in METHODS
    }
    missing = [path.name for row in paths.values() for path in row if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} arms are missing in {out}: {', '.join(missing[:4])} ...")
    arms = {key: [read_json(path) for path in row] for key, row in paths.items()}

    def passed(key: tuple[str, str], split: str) -> list[list[float]]:
        """(seeds, tasks) share of samples that passed."""
        return [[sum(task) / len(task) for task in record["correct"][split]] for record in arms[key]]

    rows = []
    for (name, method), records in arms.items():
        scores = {}
        for split in records[0]["correct"]:
            rates = passed((name, method), split)
            by_seed = [sum(row) / len(row) for row in rates]
            less = paired_difference_ci(rates, passed(("fp32", method), split))._asdict()
            scores[split] = {"pass@1": sum(by_seed) / len(by_seed), "by_seed": by_seed, "less_fp32": less}
        rows.append(
            {
                "variant": name,
                "method": method,
                "scores": scores,
                "learning_rate": records[0]["learning_rate"],
                "seconds": sum(record["seconds"] for record in records) / len(records),
            }
        )
    first = arms["fp32", "ntp"][0]
    return {
        "schema_version": 1,
        "date": str(date.today()),
        "versions": first["versions"],
        "seeds": list(seeds),
        "tasks": len(first["correct"][INSIDE]),
        "samples": len(first["correct"][INSIDE][0]),
        "tuned": any(out.glob("*-trial-*.json")),
        "updates": first["config"]["midtrain"]["estep"]["updates"] + first["config"]["midtrain"]["mstep"]["updates"],
        "rows": rows,
    }


def table(record: dict[str, Any]) -> str:
    """The record as a Markdown table with a sentence before it."""
    rates = "learning rates chosen on validation" if record["tuned"] else "one learning rate for all"
    splits = list(record["rows"][0]["scores"])
    columns = ["weights", "arm", "learning rate"]
    for split in splits:
        columns += [f"{split}: pass@1", "by seed", "less fp32 [95 %, seeds and tasks]"]
    rows = []
    for row in record["rows"]:
        cells = [row["variant"], row["method"].upper(), f"{row['learning_rate']:g}"]
        for split in splits:
            found = row["scores"][split]
            less = found["less_fp32"]
            cells += [f"{found['pass@1']:.1%}", ", ".join(f"{value:.1%}" for value in found["by_seed"])]
            same = row["variant"] == "fp32"
            cells += ["" if same else f"{less['mean']:+.1%} [{less['low']:+.1%}, {less['high']:+.1%}]"]
        rows.append([*cells, f"{row['seconds']:.0f}"])
    told = (
        f"{record['tasks']} held-out tasks each, {record['samples']} programs a task, {len(record['seeds'])} seeds, "
        f"{record['updates']} updates for every arm, fp32 computation, {rates}."
    )
    return told + "\n\n" + cells_table([*columns, "seconds"], rows)


def fill(page: Path, record: dict[str, Any]) -> None:
    """Put the table between the page's two marks. Raises ValueError where they are missing."""
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{page} needs one line {BEGIN!r} and one line {END!r}: the table goes between them.")
    head, rest = text.split(BEGIN)
    page.write_text(f"{head}{BEGIN}\n\n{table(record)}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the arms' records")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 4e-3], help="M-step learning rates to try")
    parser.add_argument("--estep-share", type=float, default=0.2, help="the E-step's rate as a share of the M-step's")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--tune", action="store_true", help="run the trials instead of the arms")
    parser.add_argument("--tasks", type=int, default=64, help="tasks to score on, of either kind")
    parser.add_argument("--validation", type=int, default=30, help="validation tasks")
    parser.add_argument("--estep", type=int, default=32, help="E-step updates")
    parser.add_argument("--mstep", type=int, default=64, help="M-step updates")
    parser.add_argument("--rounds", type=int, default=2, help="EM rounds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the table's record to this file; nothing is run")
    parser.add_argument("--page", type=Path, help="write the table into this page; nothing is run")
    arguments = parser.parse_args(argv)
    if arguments.json or arguments.page:
        record = collect(arguments.out, arguments.seeds)
        if arguments.json:
            write_json(arguments.json, record)
        if arguments.page:
            fill(arguments.page, record)
        print(table(record))
        return 0
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    model = load_model("embedded", "cpu")
    if arguments.tune:
        for name in arguments.variants:
            for method in METHODS:
                for rate in arguments.rates:
                    path = file_of(arguments.out, name, method, f"trial-{rate:g}")
                    train(arguments, name, method, TUNING_SEED, rate, path, model)
        return 0
    for seed in arguments.seeds:
        for name in arguments.variants:
            for method in METHODS:
                rate = best_rate(arguments.out, name, method, arguments.rates)
                path = file_of(arguments.out, name, method, f"seed{seed}")
                train(arguments, name, method, seed, rate, path, model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
