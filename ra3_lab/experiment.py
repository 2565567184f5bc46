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
from ra3_lab.evaluate.latents import describe_latents, evaluate_latents, trace_of, true_trace
from ra3_lab.evaluate.passk import paired_difference_ci
from ra3_lab.evaluate.programs import ProgramScores, evaluate_programs
from ra3_lab.evaluate.seeds import PAIRS
from ra3_lab.midtrain.baselines import one_action
from ra3_lab.midtrain.em import MidtrainConfig, MidtrainResult, midtrain
from ra3_lab.midtrain.estep import in_hindsight, score_traces
from ra3_lab.midtrain.readiness import readiness_watch
from ra3_lab.midtrain.silence import silence_watch
from ra3_lab.models.engines.interface import engine_of
from ra3_lab.models.generation import Sampling
from ra3_lab.models.rollout import LatentSampling, Rollout, sample_latents
from ra3_lab.models.sampling import VALIDATING, WATCHING, check_seed
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

    def __post_init__(self) -> None:
        check_seed(self.seed)
        Sampling(self.temperature)  # which says itself what it does not take


def arm_config(config: ExperimentConfig, arm: str) -> MidtrainConfig:
    """The mid-training settings of one arm."""
    return replace(config.midtrain, method=arm, seed=config.seed)


def watch(tokenizer: LineTokenizer, tasks: Sequence[Task], config: MidtrainConfig) -> Callable[[Any, Any], dict]:
    """Looks at q on fixed programs with fixed draws: scores against the truth, likelihood of the lines under pi, and
    `return`, which is that less c for each thought (no floor, penalty or kl)."""
    traces = [trace_of(task) for task in tasks]
    how = LatentSampling(config.estep.temperature, config.estep.longest_thought)

    def look(q: Any, pi: Any) -> dict:
        engine = engine_of(q, config.precision, config.estep.engine)
        rollouts = sample_latents(engine, tokenizer, traces, how, config.seed, WATCHING)
        rollouts = [in_hindsight(rollout) for rollout in rollouts] if config.estep.hindsight else rollouts
        encoded = [r.encode(tokenizer) for r in rollouts]
        scored = score_traces(pi, encoded, tokenizer, config.estep.tokens_at_once, config.precision)
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
    first, samples = scores.pass_at(1), scores.correct.shape[1]
    return {
        "pass@1": first.mean,
        "pass@4": scores.pass_at(4).mean if samples >= 4 else None,
        "ci95": [first.low, first.high],
        "by_length": {str(length): value for length, value in scores.by_length().items()},
        "by_listing": scores.by_listing(),
        "thoughts_per_program": float(scores.thoughts.mean()),
        "ended": scores.ended,
        "updates": result.updates if result else 0,
        "tokens": result.tokens if result else 0,
        "seconds": round(result.seconds, 1) if result else 0.0,
        "validation": result.validation if result else None,
    }


@dataclass(frozen=True)
class Field:
    """The tasks of an experiment, each used for one thing only."""

    training: list[Task]
    """Expert programs to train on."""
    watched: list[Task]
    """Expert programs kept out of training, on which latents are measured."""
    validation: list[Task]
    """Tasks by which a checkpoint is chosen."""
    tests: dict[str, list[Task]]
    """Held-out tasks by split."""


def field_of(config: ExperimentConfig) -> Field:
    """The shipped splits, cut as the configuration says. Raises ValueError for an unknown split, and for a number of
    tasks that a split does not have."""

    def cut(split: str, tasks: list[Task], number: int | None, what: str) -> list[Task]:
        if number is not None and not 1 <= number <= len(tasks):
            raise ValueError(f"{what}={number}: split {split!r} has {len(tasks)} for it, so 1 to {len(tasks)}.")
        return tasks[:number]

    expert, validation = load_split("expert"), load_split("validation")
    watched = cut("expert", expert, config.monitor_programs, "monitor_programs")
    return Field(
        cut("expert", expert[len(watched) :], config.corpus, "corpus"),
        watched,
        cut("validation", validation, config.validation_tasks, "validation_tasks"),
        {split: cut(split, load_split(split), config.tasks, "tasks") for split in config.splits},
    )


@dataclass
class ArmResult:
    """What one arm leaves behind."""

    scores: dict[str, dict]
    """Its row of the table, by split."""
    correct: dict[str, list[list[bool]]]
    """(tasks, samples) whether the sample passed, by split."""
    trained: MidtrainResult | None
    """Models and history; None for the base."""
    latents: dict[str, Any] | None = None
    """What its latents on the watched programs are worth (`describe_latents`), if it has any line by line."""
    rollouts: list[Rollout] = field(default_factory=list)
    """Those latents."""


def run_arm(
    config: ExperimentConfig,
    arm: str,
    settings: MidtrainConfig | None,
    tasks: Field,
    model: Any,
    tokenizer: LineTokenizer,
    say: Callable[[str], None],
    one_latent: bool = False,
) -> ArmResult:
    """Train one arm on the expert programs (the base is taken as it is, `settings` None) and score it on every split.

    `one_latent` makes every program a single action, with one latent before it.
    """
    precision = config.midtrain.precision
    corpus = [one_action(trace_of(task)) if one_latent else trace_of(task) for task in tasks.training]

    def validate(candidate: Any) -> float:
        scores = evaluate_programs(
            candidate, tokenizer, tasks.validation, 2, config.temperature, config.seed, precision, update=VALIDATING
        )
        return float(scores.correct.mean())

    trained = settings and midtrain(
        settings,
        model,
        tokenizer,
        corpus,
        validate,
        report=_narrate(arm, say),
        monitor=watch(tokenizer, tasks.watched, settings) if settings.method == "ra3" and not one_latent else None,
        annotations={task.task_id: true_trace(task) for task in tasks.training},
    )
    policy = trained.model if trained else model
    result = ArmResult({}, {}, trained)
    for split, held_out in tasks.tests.items():
        found = evaluate_programs(
            policy,
            tokenizer,
            held_out,
            config.samples,
            config.temperature,
            config.seed,
            precision,
            progress=lambda done, total: say(f"{arm}: sampled programs for {done} of {total} tasks"),
        )
        result.scores[split] = row = summarise(found, trained)
        result.correct[split] = found.correct.tolist()
        low, high = row["ci95"]
        say(f"{arm}: {split} pass@1 {row['pass@1']:.3f} [{low:.3f}, {high:.3f}]")
    if settings is None or (settings.method == "ra3" and not one_latent):
        source = (trained.q or policy) if trained else policy
        estep = (settings or config.midtrain).estep
        how = (
            config.seed,
            estep.temperature,
            precision,
            estep.longest_thought,
            settings is not None and estep.hindsight,
        )
        result.latents, result.rollouts = evaluate_latents(source, tokenizer, tasks.watched, *how)
    return result


@dataclass
class ExperimentResult:
    """Everything an experiment leaves behind."""

    record: dict[str, Any]
    """Plain data for report.html and summary.json."""
    arms: dict[str, ArmResult]
    """Per arm its scores and models."""


def run_experiment(
    config: ExperimentConfig,
    model: Any,
    tokenizer: LineTokenizer,
    say: Callable[[str], None] = print,
) -> ExperimentResult:
    """Train and score the arms. `say` gets progress lines."""
    start = time.perf_counter()
    tasks = field_of(config)
    arms = {
        arm: run_arm(config, arm, None if arm == "base" else arm_config(config, arm), tasks, model, tokenizer, say)
        for arm in config.arms
    }
    first = config.splits[0]
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "title": "RA3 on pipelines",
        "seed": config.seed,
        "versions": versions(),
        "config": asdict(config),
        "budget": _budget(config, len(tasks.training)),
        "segmentation": {arm: result.latents for arm, result in arms.items() if result.latents},
        "estep": [],
        "monitor": [],
        "mstep": {},
        "validation": {},
        "examples": [],
    }
    for arm, result in arms.items():
        if result.trained is None:
            continue
        history = result.trained.history
        record["mstep"][arm] = [pick(r, "update", "loss") for r in history if r["stage"] == "mstep"]
        record["validation"][arm] = [pick(r, "update", "score") for r in history if r["stage"] == "validation"]
        if arm == "ra3":
            record |= _discovery(result, tasks.watched, tokenizer, config.midtrain.precision)
    record["scores"] = {split: {arm: result.scores[split] for arm, result in arms.items()} for split in config.splits}
    record["differences"] = _differences({arm: result.correct[first] for arm, result in arms.items()})
    seconds = round(time.perf_counter() - start, 1)
    record["summary"] = {"schema_version": SCHEMA_VERSION, "seconds": seconds}
    if record["segmentation"]:
        found = record["segmentation"].get("ra3") or record["segmentation"]["base"]
        record["summary"] |= {
            "think_share": found["think_share"],
            "segmentation": pick(found, "precision", "recall", "f1"),
        }
    record["summary"]["arms"] = record["scores"][first]
    record["seconds"] = seconds
    return ExperimentResult(record, arms)


def _discovery(result: ArmResult, watched: Sequence[Task], tokenizer: LineTokenizer, precision: str) -> dict[str, Any]:
    """RA3's E-step as it went, and annotated programs."""
    assert result.trained is not None
    policy, history = result.trained.model, result.trained.history
    keys = ("update", "round", "return", "line_logp", "think_share")
    return {
        "estep": [pick(r, *keys) for r in history if r["stage"] == "estep"],
        "monitor": [pick(r, "update", "round") | r["held_out"] for r in history if "held_out" in r],
        "examples": [
            _example(task, rollout, thought_gains(policy, tokenizer, rollout, precision))
            for task, rollout in list(zip(watched, result.rollouts, strict=True))[:6]
        ],
    }


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
    watches = [watch(lambda text: say(f"{arm}: {text}")) for watch in (silence_watch, readiness_watch)]

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
        for watch in watches:
            watch(record)

    return report
