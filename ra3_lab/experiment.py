"""Compare mid-training arms on the pipelines world: train each at the same budget, keep its best validation
checkpoint, score all of them on held-out tasks. The demo is a short experiment; the comparison over seeds is a longer
one.

Arms: base (no mid-training), ntp, prior (thoughts sampled from the base, no E-step), ra3. Every arm meets the same
expert programs in the same order, gets the same number of updates and is scored on the same tasks with the same
draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ra3_lab.evaluate.annotation import thought_gains
from ra3_lab.evaluate.latents import describe_latents, evaluate_latents, trace_of
from ra3_lab.evaluate.passk import paired_difference_ci
from ra3_lab.evaluate.programs import ProgramScores, evaluate_programs
from ra3_lab.evaluate.seeds import PAIRS
from ra3_lab.midtrain.em import MidtrainConfig, MidtrainResult, midtrain
from ra3_lab.midtrain.estep import score_traces
from ra3_lab.models.decoder import Decoder
from ra3_lab.models.load import dtype_of
from ra3_lab.models.rollout import LatentSampling, Rollout, sample_latents
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.runs.provenance import versions
from ra3_lab.tasks.pipelines import Task, load_split

SCHEMA_VERSION = 1
ARMS = ("base", "ntp", "prior", "ra3")


@dataclass(frozen=True)
class ExperimentConfig:
    """One comparison at one seed."""

    seed: int = 0
    """Seed of everything that is drawn."""
    arms: tuple[str, ...] = ARMS
    """Which arms to run."""
    midtrain: MidtrainConfig = field(default_factory=MidtrainConfig)
    """Settings of RA3; the other arms use them too, at RA3's number of updates."""
    ntp_learning_rate: float | None = None
    """NTP's own M-step learning rate; None for RA3's."""
    prior_learning_rate: float | None = None
    """The prior arm's own M-step learning rate; None for RA3's."""
    splits: tuple[str, ...] = ("test",)
    """Held-out splits that the arms are scored on; the summary shows the first."""
    tasks: int | None = None
    """Number of tasks of each; None for all."""
    samples: int = 4
    """Programs sampled per task."""
    temperature: float = 1.0
    """Sampling temperature of the scored programs."""
    validation_tasks: int = 60
    """Validation tasks by which a checkpoint is chosen."""
    monitor_programs: int = 48
    """Expert programs held out of training on which q is watched and segmentation is measured."""
    corpus: int | None = None
    """Number of expert programs to train on; None for all but the monitored ones."""


def arm_config(config: ExperimentConfig, arm: str) -> MidtrainConfig:
    """The mid-training settings of one arm."""
    rates = {"ntp": config.ntp_learning_rate, "prior": config.prior_learning_rate}
    mstep = config.midtrain.mstep
    if rates.get(arm) is not None:
        mstep = replace(mstep, learning_rate=rates[arm])
    return replace(config.midtrain, method=arm, seed=config.seed, mstep=mstep)


def watch(tokenizer: LineTokenizer, tasks: Sequence[Task], config: MidtrainConfig) -> Callable[[Any, Any], dict]:
    """Looks at q on fixed programs with fixed draws: mean return, likelihood under pi, and scores against the truth."""
    traces = [trace_of(task) for task in tasks]
    how = LatentSampling(config.estep.temperature, config.estep.longest_thought)

    def look(q: Any, pi: Any) -> dict:
        rollouts = sample_latents(
            Decoder(q, dtype_of(config.precision)), tokenizer, traces, how, config.seed, 2_000_000
        )
        scored = score_traces(pi, [r.encode(tokenizer) for r in rollouts], tokenizer, precision=config.precision)
        line = float(scored.line.sum()) / len(traces)
        thoughts = float(scored.thought.sum()) / len(traces)
        found = describe_latents(rollouts, tasks)
        return {
            "held_out": {
                "return": line - config.estep.cost * thoughts,
                "line_logp": line,
                **{key: found[key] for key in ("think_share", "precision", "recall", "f1", "apt")},
            }
        }

    return look


def summarise(scores: ProgramScores, result: MidtrainResult | None) -> dict[str, Any]:
    """One arm's row of the table."""
    first, many = scores.pass_at(1), scores.pass_at(min(4, scores.correct.shape[1]))
    return {
        "pass@1": first.mean,
        "pass@4": many.mean,
        "ci95": [first.low, first.high],
        "by_length": {str(length): value for length, value in scores.by_length().items()},
        "thoughts_per_program": float(scores.thoughts.mean()),
        "ended": scores.ended,
        "updates": result.updates if result else 0,
        "tokens": result.tokens if result else 0,
        "seconds": round(result.seconds, 1) if result else 0.0,
        "validation": result.validation if result else None,
    }


@dataclass
class ExperimentResult:
    """Everything an experiment leaves behind."""

    record: dict[str, Any]
    """Plain data for report.html and summary.json."""
    correct: dict[str, dict[str, list[list[bool]]]]
    """Per split and arm, (tasks, samples) whether the sample passed: for paired intervals over seeds."""
    results: dict[str, MidtrainResult]
    """Per trained arm its models and history."""


def run_experiment(
    config: ExperimentConfig,
    model: Any,
    tokenizer: LineTokenizer,
    say: Callable[[str], None] = print,
) -> ExperimentResult:
    """Train and score the arms. `say` gets progress lines."""
    start = time.perf_counter()
    expert, validation = load_split("expert"), load_split("validation")[: config.validation_tasks]
    tests = {split: load_split(split)[: config.tasks] for split in config.splits}
    watched, training = expert[: config.monitor_programs], expert[config.monitor_programs :][: config.corpus]
    corpus = [trace_of(task) for task in training]
    precision, temperature = config.midtrain.precision, config.midtrain.estep.temperature
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "title": "RA3 on pipelines",
        "seed": config.seed,
        "versions": versions(),
        "config": asdict(config),
        "budget": _budget(config, len(corpus)),
        "segmentation": {},
        "estep": [],
        "monitor": [],
        "mstep": {},
        "validation": {},
        "examples": [],
    }
    scores: dict[str, dict] = {split: {} for split in tests}
    correct: dict[str, dict] = {split: {} for split in tests}
    results: dict[str, MidtrainResult] = {}

    def score(arm: str, trained: Any, result: MidtrainResult | None) -> None:
        for split, tasks in tests.items():
            found = evaluate_programs(
                trained,
                tokenizer,
                tasks,
                config.samples,
                config.temperature,
                config.seed,
                precision,
                progress=lambda done, total: say(f"{arm}: sampled programs for {done} of {total} tasks"),
            )
            scores[split][arm] = row = summarise(found, result)
            correct[split][arm] = found.correct.tolist()
            low, high = row["ci95"]
            say(f"{arm}: {split} pass@1 {row['pass@1']:.3f} [{low:.3f}, {high:.3f}], pass@4 {row['pass@4']:.3f}")

    record["segmentation"]["base"], _ = evaluate_latents(model, tokenizer, watched, config.seed, temperature, precision)
    for arm in config.arms:
        if arm == "base":
            score(arm, model, None)
            continue
        settings = arm_config(config, arm)

        def validate(candidate: Any) -> float:
            return float(
                evaluate_programs(
                    candidate, tokenizer, validation, 2, config.temperature, config.seed, precision
                ).correct.mean()
            )

        results[arm] = result = midtrain(
            settings,
            model,
            tokenizer,
            corpus,
            validate,
            report=_narrate(arm, say),
            monitor=watch(tokenizer, watched, settings) if arm == "ra3" else None,
        )
        record["mstep"][arm] = [pick(r, "update", "loss") for r in result.history if r["stage"] == "mstep"]
        record["validation"][arm] = [pick(r, "update", "score") for r in result.history if r["stage"] == "validation"]
        if arm == "ra3":
            record["estep"] = [
                pick(r, "update", "round", "return", "line_logp", "think_share")
                for r in result.history
                if r["stage"] == "estep"
            ]
            record["monitor"] = [pick(r, "update", "round") | r["held_out"] for r in result.history if "held_out" in r]
            found, rollouts = evaluate_latents(
                result.q or result.model, tokenizer, watched, config.seed, temperature, precision
            )
            record["segmentation"]["ra3"] = found
            record["examples"] = [
                _example(task, rollout, thought_gains(result.model, tokenizer, rollout, precision))
                for task, rollout in list(zip(watched, rollouts, strict=True))[:6]
            ]
        score(arm, result.model, result)
    record["scores"] = scores
    record["differences"] = _differences(correct[config.splits[0]])
    seconds = round(time.perf_counter() - start, 1)
    segmentation = record["segmentation"].get("ra3", record["segmentation"]["base"])
    record["summary"] = {
        "schema_version": SCHEMA_VERSION,
        "seconds": seconds,
        "think_share": segmentation["think_share"],
        "segmentation": pick(segmentation, "precision", "recall", "f1"),
        "arms": scores[config.splits[0]],
    }
    record["seconds"] = seconds
    return ExperimentResult(record, correct, results)


def _budget(config: ExperimentConfig, programs: int) -> dict[str, float]:
    """What every arm may spend, in words for the report."""
    estep, mstep = config.midtrain.estep, config.midtrain.mstep
    return {
        "expert programs": programs,
        "E-step updates of RA3": estep.updates,
        "M-step updates of RA3": mstep.updates,
        "updates of NTP and prior": estep.updates + mstep.updates,
        "EM rounds": config.midtrain.rounds,
        "programs per M-step update": mstep.programs,
        "latent sequences per E-step update": estep.programs * estep.group,
        "c (nats per thought)": estep.cost,
        "samples per held-out task": config.samples,
    }


def _example(task: Task, rollout: Rollout, gains: list[float | None]) -> dict[str, Any]:
    """An annotated program for the report."""
    return {
        "task_id": task.task_id,
        "prompt": task.prompt,
        "lines": list(task.lines),
        "latents": list(rollout.trace.latents),
        "gains": gains,
        "starts": list(task.starts),
        "truth": [step.thought for step in task.steps],
    }


def _differences(correct: dict[str, list]) -> list[dict[str, Any]]:
    """Paired differences of pass@1 between RA3 and the others, and of the others in order."""
    rows = []
    for a, b in PAIRS:
        if a in correct and b in correct:
            first, second = ([[sum(task) / len(task) for task in correct[arm]]] for arm in (a, b))
            rows.append({"a": a, "b": b, **paired_difference_ci(first, second)._asdict()})
    return rows


def pick(record: dict[str, Any], *keys: str) -> dict[str, Any]:
    """These keys of a record, where it has them."""
    return {key: record[key] for key in keys if key in record}


def _narrate(arm: str, say: Callable[[str], None]) -> Callable[[dict], None]:
    """Progress lines: every E-step update, every validation, and M-step updates at most every two seconds."""
    spoken = [0.0]

    def report(record: dict) -> None:
        stage, update = record["stage"], record["update"]
        if "held_out" in record:
            h = record["held_out"]
            say(
                f"{arm}: held-out programs: return {h['return']:.2f}, "
                f"thoughts at {h['think_share']:.0%} of lines, F1 {h['f1']:.2f}"
            )
        if stage == "estep":
            say(
                f"{arm}: E-step update {update}: return {record['return']:.2f}, "
                f"thoughts at {record['think_share']:.0%} of lines"
            )
        elif stage == "validation":
            say(f"{arm}: validation pass@1 {record['score']:.3f} after {update} M-step updates")
        elif stage == "mstep" and time.perf_counter() - spoken[0] > 2:
            spoken[0] = time.perf_counter()
            say(f"{arm}: M-step update {update}: loss {record['loss']:.4f}")

    return report
