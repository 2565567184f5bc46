"""Runs that go wrong, each in one known way, recorded for the notebook in which they are diagnosed.

    python benchmarks/failures.py --out data/records/failures.json          a few minutes on one core

Three are about thoughts, watched like the run of `ra3-lab record` (what a healthy one looks like): a price that no
thought can earn, a model brought up on a thought before every line, and one whose thoughts copy the line that follows.
Two are about rewards: a rule that pays for long answers, and tasks that the policy never solves. (A hacked reward is
recorded by hacking.py.)
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ra3_lab.commands.rlvr import read_task_set
from ra3_lab.evaluate.latents import trace_of
from ra3_lab.midtrain.em import MidtrainConfig
from ra3_lab.midtrain.estep import EStep, EStepConfig
from ra3_lab.midtrain.mstep import FineTuner, MStepConfig
from ra3_lab.models.load import load_model
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.recording import look_at, program_record
from ra3_lab.records import SCHEMA_VERSION, save_record, weights_digest
from ra3_lab.resources import embedded_model_dir
from ra3_lab.rlvr.stage import rlvr_stage, short_config
from ra3_lab.runs import read_json
from ra3_lab.runs.provenance import versions
from ra3_lab.sandbox import Judge, Limits, Program, Verdict
from ra3_lab.tasks.pipelines import Task, load_split
from ra3_lab.trace import Trace, annotate

PARTS = ("thoughts", "rewards")
LONG = 640
"""Characters from which on the rule that pays for length gives 1."""


def every_line(task: Task) -> Trace:
    """The program with the true thought of its step before each of its lines."""
    ends = [*task.starts, len(task.lines)][1:]
    thoughts = [step.thought for step, a, b in zip(task.steps, task.starts, ends, strict=True) for _ in range(a, b)]
    return annotate(trace_of(task), thoughts)


def copied_line(task: Task) -> Trace:
    """The program with a thought before each step that is the step's first line."""
    latents: list[str | None] = [None] * len(task.lines)
    for start in task.starts:
        latents[start] = " " + task.lines[start].strip()
    return annotate(trace_of(task), latents)


def brought_up(model: Any, tokenizer: LineTokenizer, traces: Sequence[Trace], updates: int) -> Any:
    """A copy of the model after `updates` M-step updates on these programs, 16 at a time."""
    tuner = FineTuner(
        copy.deepcopy(model), tokenizer, MStepConfig(updates=updates, programs=16, learning_rate=1e-3), precision="fp32"
    )
    encoded = [tokenizer.encode_trace(trace) for trace in traces]
    for number in range(updates):
        tuner.update([encoded[(16 * number + i) % len(encoded)] for i in range(16)])
    return tuner.model


def watched_run(
    name: str,
    model: Any,
    tokenizer: LineTokenizer,
    config: EStepConfig,
    watched: Sequence[Task],
    corpus: Sequence[Trace],
) -> dict[str, Any]:
    """An E-step from this model with three looks: before, half way, after."""
    settings = MidtrainConfig(estep=config, precision="fp32")
    estep = EStep(copy.deepcopy(model), model, tokenizer, config, seed=0, precision="fp32")
    looks, rows = [], []
    for number in range(config.updates + 1):
        if number in (0, config.updates // 2, config.updates):
            found = look_at(estep.q, model, tokenizer, watched, settings)
            looks.append(found | {"round": 0, "update": number})
            print(f"{name}: update {number}, thoughts at {found['scores']['think_share']:.0%} of lines", flush=True)
        if number < config.updates:
            first = number * config.programs % len(corpus)
            row = estep.update(corpus[first : first + config.programs], number)
            kept = {key: round(row[key], 4) for key in ("return", "line_logp", "think_share")}
            rows.append({"update": number, "round": 0} | kept)
    monitor = [{"update": look["update"], "round": 0} | look["scores"] for look in looks]
    programs = [program_record(task) for task in watched]
    return {
        "config": asdict(config),
        "programs": programs,
        "looks": looks,
        "estep": rows,
        "monitor": monitor,
    }


def pays_for_length(judge: Callable[..., Sequence[Verdict]]) -> Callable[..., list[Verdict]]:
    """A rule that gives 1 to long programs, whatever they do; how many are right is in the detail."""

    def each(jobs: Sequence[tuple[Program, Limits]]) -> list[Verdict]:
        told = []
        for (program, _), verdict in zip(jobs, judge(jobs), strict=True):
            size = len(program.source)
            detail = f"{size} characters; the tests say {verdict.status.replace('_', ' ')}"
            status = "passed" if size >= LONG else "wrong_answer"
            told.append(replace(verdict, passed=size >= LONG, status=status, detail=detail))
        return told

    return each


def about_thoughts(
    arguments: argparse.Namespace,
    model: Any,
    tokenizer: LineTokenizer,
    watched: Sequence[Task],
    training: Sequence[Task],
) -> dict[str, Any]:
    """The watched runs by name."""
    corpus = [trace_of(task) for task in training]
    base = EStepConfig(updates=arguments.updates, programs=arguments.programs, group=6)
    thinker = brought_up(model, tokenizer, [every_line(task) for task in training[:320]], arguments.brought_up)
    copier = brought_up(model, tokenizer, [copied_line(task) for task in training[:320]], arguments.brought_up)
    cases = {
        "never thinks": (model, replace(base, cost=12.0, learning_rate=1e-3)),
        "always thinks": (thinker, replace(base, cost=0.0)),
        "copies the next line": (copier, base),
    }
    return {
        name: watched_run(name, start, tokenizer, config, watched, corpus) for name, (start, config) in cases.items()
    }


def about_rewards(arguments: argparse.Namespace, model: Any, tokenizer: LineTokenizer) -> list[dict[str, Any]]:
    """The RLVR runs."""
    rlvr_runs = []
    with Judge(workers=1) as judge:
        for label, split, rule, updates, rate in (
            ("pays for length", "rlvr", pays_for_length(judge.each), arguments.rlvr_updates, 1e-3),
            ("too hard", "test", judge.each, 3, 1e-4),
        ):
            config = short_config(0, updates, rate)
            config = replace(config, prompts=4, precision="fp32", groups_kept=1, groups_every=max(1, updates - 1))
            tasks = list(read_task_set(f"pipelines:{split}"))
            rlvr_runs.append(rlvr_stage(model, tokenizer, tasks, (), config, rule, print, label))
    return rlvr_runs


def main() -> None:
    """Make all runs and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/records/failures.json"))
    parser.add_argument("--updates", type=int, default=16, help="E-step updates of each watched run")
    parser.add_argument("--programs", type=int, default=4, help="programs of an E-step update")
    parser.add_argument("--brought-up", type=int, default=20, help="M-step updates of 16 programs before two of them")
    parser.add_argument("--rlvr-updates", type=int, default=8)
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, help="what to run; the rest stays as it was recorded"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = load_model("embedded", "cpu")
    expert = load_split("expert")
    watched, training = expert[:6], expert[24:]
    before = read_json(arguments.out) if set(arguments.parts) < set(PARTS) else {"runs": {}, "rlvr_runs": []}
    runs, rlvr_runs = before["runs"], before["rlvr_runs"]
    if "thoughts" in arguments.parts:
        runs = about_thoughts(arguments, model, tokenizer, watched, training)
    if "rewards" in arguments.parts:
        rlvr_runs = about_rewards(arguments, model, tokenizer)
    record = {
        "schema_version": SCHEMA_VERSION,
        "kind": "failures",
        "title": "Runs that go wrong",
        "command": " ".join(["python benchmarks/failures.py", *sys.argv[1:]]),
        "seed": 0,
        "versions": versions(),
        "base": weights_digest(embedded_model_dir()),
        "runs": runs,
        "rlvr_runs": rlvr_runs,
    }
    save_record(arguments.out, record)
    print(f"{arguments.out}: {len(runs)} runs about thoughts, {len(rlvr_runs)} about rewards")


if __name__ == "__main__":
    main()
