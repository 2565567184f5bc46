"""Does mid-training help reinforcement learning? Curves of GRPO from several starts, tuned alike, on one budget.

    python benchmarks/learning.py --starts base=embedded ntp=runs/ntp-{seed} ra3=runs/ra3-{seed} \\
        --out runs/learning --json benchmarks/results/learning.json

First each start tries the same learning rates for a few updates, with a seed of its own, and keeps the one with the
best validation pass@1 at the end of the trial (the smaller one of equals; a single rate is not tried). Then each start
runs with each seed at its own rate: same tasks, same order, same numbers of updates, tasks and answers. `--score final`
scores every model before and after its run on 200 tasks of that split, which chose nothing (validation chose the
rates). `{seed}` in a start's path is replaced by the run's seed, so that mid-training has seeds, too; trials take the
first one.

Every finished trial and run is a file in OUT: a broken-off call goes on where it was, files of other settings are an
error. `--only ra3` makes the trials of one start and stops, `--only ra3:1` one run, too. The last call prints the table
and draws curves.html.

With `--quant nf4 --adapter lora` all starts train adapters on 4-bit weights; `--hold-out 100` takes the last 100 tasks
for validation and trains on the rest. The curve of docs/single_gpu.md:

    python benchmarks/learning.py --starts nf4=embedded --quant nf4 --adapter lora --seeds 0 --rates 3e-4 1e-3 \\
        --tune-updates 10 --updates 60 --max-new 256 --hold-out 100 --out runs/rlvr_nf4 \\
        --json benchmarks/results/rlvr_nf4.json
"""

from __future__ import annotations

import argparse
import datetime
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ra3_lab.commands.rlvr import read_task_set
from ra3_lab.evaluate.programs import evaluate_programs
from ra3_lab.explore.learning import figure_learning
from ra3_lab.models.load import load_model, located
from ra3_lab.models.variants import Variant
from ra3_lab.records import weights_digest
from ra3_lab.rlvr.curves import Curve, CurveGroup
from ra3_lab.rlvr.loop import RLVRConfig
from ra3_lab.rlvr.stage import rlvr_stage, short_config
from ra3_lab.runs import model_source, plain, read_json, write_json
from ra3_lab.runs.provenance import digest_of_weights, versions
from ra3_lab.sandbox import Judge, layers
from ra3_lab.tasks.pipelines import load_split

TUNING_SEED = 1_000
_HELD_OUT = ("held_out_before", "held_out")


class Bench:
    """The settings of a call, and the files of what is done."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.out = arguments, arguments.out
        self.starts = dict(text.split("=", 1) for text in arguments.starts)
        self.tasks = list(read_task_set(arguments.tasks))
        if arguments.hold_out:
            self.tasks, self.validation = self.tasks[: -arguments.hold_out], self.tasks[-arguments.hold_out :]
        else:
            self.validation = list(read_task_set(arguments.validation))[: arguments.validation_tasks]
        self.out.mkdir(parents=True, exist_ok=True)
        self.trials: dict[str, list[dict[str, float]]] = {}

    def config(self, seed: int, rate: float, updates: int, look_every: int) -> RLVRConfig:
        """What every start has in common."""
        a = self.arguments
        config = short_config(seed, updates, rate)
        sampling = replace(config.sampling, max_new=a.max_new)
        return replace(
            config,
            prompts=a.prompts,
            group=a.group,
            sampling=sampling,
            evaluate_every=look_every,
            validation_samples=a.validation_samples,
            kl_every=0 if seed == TUNING_SEED else look_every,
            groups_every=0 if seed == TUNING_SEED else updates - 1,  # the first and the last, for people to look at
            groups_kept=1,
            precision="fp32",
            variant=Variant(quant=a.quant, adapter=a.adapter),
        )

    def done(self, name: str, start: str, seed: int, config: RLVRConfig) -> dict[str, Any]:
        """The record `name`: read where it is there, else made."""
        path = self.out / f"{name}.json"
        source = self.starts[start].replace("{seed}", str(seed))
        weights = weights_digest(Path(located(model_source(source))))
        what = {"start": self.starts[start], "weights": weights, "config": asdict(config)}
        what |= {key: getattr(self.arguments, key) for key in ("tasks", "validation", "validation_tasks", "hold_out")}
        scored = self.arguments.score if seed != TUNING_SEED else None
        what |= {"scored": scored} if scored else {}
        if path.exists():
            found = read_json(path)
            if found["what"] != plain(what):
                raise SystemExit(f"{path} was made with other settings: give another --out, or delete it.")
            return found
        model, tokenizer = load_model(model_source(source), "cpu")
        print(f"{name}: {source}, learning rate {config.grpo.learning_rate:g}", flush=True)

        def look(trained: Any) -> dict[str, Any]:
            return {"held_out": self.score(trained, tokenizer, seed)}

        told, looked = self.arguments.say, look if scored else None
        with Judge() as judge:
            record = rlvr_stage(
                model, tokenizer, self.tasks, self.validation, config, judge.each, told, label=start, look=looked
            )
        record |= {"what": what, "weights": digest_of_weights(model)[:16], "judge": layers(), "versions": versions()}
        record["threads"] = torch.get_num_threads()
        write_json(path, record)
        print(f"{name}: validation {record['validation']}, {record['seconds']['training']} s", flush=True)
        return read_json(path)

    def score(self, model: Any, tokenizer: Any, seed: int) -> dict[str, Any]:
        """4 programs for each of 200 tasks of the split that chose nothing."""
        split, longest = self.arguments.score, self.arguments.max_new
        found = evaluate_programs(
            model, tokenizer, load_split(split)[:200], 4, seed=seed, precision="fp32", max_new=longest
        )
        passed = ["".join("01"[one] for one in row) for row in found.correct.tolist()]
        return {"split": split, "pass@1": float(found.correct.mean()), "correct": passed}

    def before(self, start: str, seed: int) -> dict[str, Any]:
        """The same score of a start before RLVR: read where it is there, else made."""
        path, source = self.out / f"before-{start}-{seed}.json", self.starts[start].replace("{seed}", str(seed))
        what = {"start": self.starts[start], "weights": weights_digest(Path(located(model_source(source))))}
        what |= {"scored": self.arguments.score, "max_new": self.arguments.max_new}
        if not path.exists():
            model, tokenizer = load_model(model_source(source), "cpu")
            write_json(path, {"what": what} | self.score(model, tokenizer, seed))
        found = read_json(path)
        if found.pop("what") != what:
            raise SystemExit(f"{path} was made with other settings: give another --out, or delete it.")
        return found

    def rate_of(self, start: str) -> float:
        """The learning rate that its trials choose for a start; what they say goes to `trials`."""
        a, scores = self.arguments, {}
        if len(a.rates) == 1:
            return a.rates[0]
        for rate in sorted(a.rates):
            config = self.config(TUNING_SEED, rate, a.tune_updates, a.tune_updates)
            record = self.done(f"trial-{start}-{rate:g}", start, a.seeds[0], config)
            scores[rate] = record["validation"][-1][1]
        self.trials[start] = [{"learning_rate": rate, "validation": score} for rate, score in scores.items()]
        return max(scores, key=lambda rate: (scores[rate], -rate))

    def run(self, start: str, seed: int, rate: float) -> dict[str, Any]:
        """One run of the comparison."""
        a = self.arguments
        record = self.done(f"run-{start}-{seed}", start, seed, self.config(seed, rate, a.updates, a.look_every))
        return record | ({"held_out_before": self.before(start, seed)} if a.score else {})


def summary(bench: Bench, rates: dict[str, float], runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Table and figure from finished runs; prints the table."""
    groups = []
    for start, records in runs.items():
        curves = [
            Curve(r["config"]["seed"], *(tuple(column) for column in zip(*r["validation"], strict=True)))  # type: ignore[arg-type]
            for r in records
        ]
        groups.append(CurveGroup(start, tuple(curves)))
    finals = {group.label: sum(c.final for c in group.curves) / len(group.curves) for group in groups}
    level = finals.get("ntp", min(finals.values()))
    rows = [group.summary(level) for group in groups]
    for row in rows:
        final, steps = row["final"], row["steps_to_level"]
        reached = f"{steps:.0f}" if math.isfinite(steps) else "not reached"
        ends = f"final {final['mean']:.3f} [{final['low']:.3f}, {final['high']:.3f}]"
        area, rate = row["area"]["mean"], rates[row["label"]]
        print(f"{row['label']:<8} rate {rate:g}  area {area:.3f}  {ends}  updates to {level:.3f}: {reached}")
    figure_learning(groups).write_html(bench.out / "curves.html", include_plotlyjs=True)
    found = {"level": level, "rates": rates, "trials": bench.trials}
    return found | {"starts": rows, "runs": {k: _brief(v) for k, v in runs.items()}}


def _brief(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: record[key] for key in ("validation", "tokens", "seconds", "weights", *_HELD_OUT) if key in record}
        | {"seed": record["config"]["seed"], "reward": [row["reward"] for row in record["curve"]]}
        for record in records
    ]


def main() -> None:
    """Run what is missing, then tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", nargs="+", default=["base=embedded"], help="NAME=MODEL_OR_RUN")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", default="pipelines:rlvr")
    parser.add_argument("--validation", default="pipelines:validation")
    parser.add_argument("--validation-tasks", type=int, default=60)
    parser.add_argument("--hold-out", type=int, default=0, help="last tasks for validation, not for training")
    parser.add_argument("--validation-samples", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-5, 1e-4, 3e-4])
    parser.add_argument("--score", help="a split of pipelines to score every trained model on, such as final")
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--tune-updates", type=int, default=20)
    parser.add_argument("--look-every", type=int, default=10)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--max-new", type=int, default=512)
    parser.add_argument("--quant", default="none", help="none, nf4 or fp4")
    parser.add_argument("--adapter", default="none", help="see docs/variants.md")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", help="START:SEED, or START for its trials: make this and stop")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    arguments.say = (lambda text: print(text, flush=True)) if arguments.verbose else None
    torch.set_num_threads(arguments.threads)
    bench = Bench(arguments)
    if arguments.only:
        start, _, seed = arguments.only.partition(":")
        rate = bench.rate_of(start)
        if seed:
            bench.run(start, int(seed), rate)
        return
    rates = {start: bench.rate_of(start) for start in bench.starts}
    runs = {start: [bench.run(start, seed, rates[start]) for seed in arguments.seeds] for start in bench.starts}
    record = summary(bench, rates, runs)
    if arguments.json:
        shared = {"date": datetime.date.today().isoformat(), "versions": versions()}
        write_json(
            arguments.json, shared | {"settings": {k: v for k, v in vars(arguments).items() if k != "say"}} | record
        )


if __name__ == "__main__":
    main()
