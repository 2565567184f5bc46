"""Recorded runs: a short EM run watched closely, as one small JSON file that every explorer can replay.

`record_em` mid-trains the embedded model by ra3 (and by ntp, for comparison) and *looks* at q before the first E-step
update, after every few, and after each round's last one: on fixed expert programs with fixed draws it samples latents,
has pi score the lines with and without them, and measures what each thought bought. The same function runs live in a
notebook and behind `ra3-lab record`; views read its record and cannot tell the two apart.

The format is written down in data/records/README.md. Numbers are rounded to a thousandth of a nat or finer: records
are for looking, not for computing on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ra3_lab.evaluate.latents import describe_latents, trace_of
from ra3_lab.experiment import pick, thought_gains, versions
from ra3_lab.midtrain.em import MidtrainConfig, midtrain
from ra3_lab.midtrain.estep import EStepConfig, in_hindsight, score_traces
from ra3_lab.midtrain.mstep import MStepConfig
from ra3_lab.models.engines.interface import engine_of
from ra3_lab.models.rollout import LatentSampling, sample_latents
from ra3_lab.models.sampling import WATCHING
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.records import SCHEMA_VERSION
from ra3_lab.tasks.pipelines import Task, load_split

KIND = "em"


@dataclass(frozen=True)
class RecordingConfig:
    """A short run and how it is watched."""

    midtrain: MidtrainConfig = field(
        default_factory=lambda: MidtrainConfig(rounds=2, estep=EStepConfig(updates=20), mstep=MStepConfig(updates=40))
    )
    """Settings of the ra3 run; ntp gets the same number of updates."""
    watched: int = 24
    """Expert programs, held out of training, whose latents are recorded at every look."""
    corpus: int | None = None
    """Number of expert programs to train on; None for all but the watched ones."""
    arms: tuple[str, ...] = ("ntp", "ra3")
    """Arms to run; only ra3 is watched."""


def record_em(
    config: RecordingConfig,
    model: Any,
    tokenizer: LineTokenizer,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Run the arms and return the record: plain data, schema in data/records/README.md."""
    expert = load_split("expert")
    tasks, training = expert[: config.watched], expert[config.watched :][: config.corpus]
    corpus = [trace_of(task) for task in training]
    looks: list[dict[str, Any]] = []
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "title": "A short RA3 run on pipelines, watched",
        "seed": config.midtrain.seed,
        "versions": versions(),
        "config": asdict(config),
        "programs": [program_record(task) for task in tasks],
        "looks": looks,
        "estep": [],
        "mstep": {},
    }
    seconds = 0.0
    for arm in config.arms:
        settings = replace(config.midtrain, method=arm)

        def monitor(q: Any, pi: Any, settings: MidtrainConfig = settings) -> dict:
            found = look_at(q, pi, tokenizer, tasks, settings)
            looks.append(found)
            say(f"look {len(looks)}: return {found['scores']['return']:.2f}, F1 {found['scores']['f1']:.2f}")
            return {"look": len(looks) - 1}

        def report(row: dict, arm: str = arm) -> None:
            if row["stage"] == "estep" or row["update"] % 10 == 0:
                say(f"{arm}: {row['stage']} update {row['update']}")

        result = midtrain(settings, model, tokenizer, corpus, report=report, monitor=monitor if arm == "ra3" else None)
        record["mstep"][arm] = [_short(pick(r, "update", "loss")) for r in result.history if r["stage"] == "mstep"]
        seconds += result.seconds
        if arm == "ra3":
            for row in result.history:
                if "look" in row:
                    looks[row["look"]] |= pick(row, "round", "update")
            keys = ("update", "round", "return", "line_logp", "think_share")
            record["estep"] = [_short(pick(r, *keys)) for r in result.history if r["stage"] == "estep"]
            last = look_at(result.model, result.model, tokenizer, tasks, settings)
            looks.append(last | {"round": settings.rounds - 1, "update": settings.estep.updates, "after": "em"})
    record["monitor"] = [pick(look, "update", "round") | look["scores"] for look in looks if "after" not in look]
    record["seconds"] = round(seconds, 1)
    return record


def look_at(q: Any, pi: Any, tokenizer: LineTokenizer, tasks: Sequence[Task], config: MidtrainConfig) -> dict[str, Any]:
    """What q thinks before the lines of these programs, what pi makes of it, and how it compares with the truth."""
    estep, traces = config.estep, [trace_of(task) for task in tasks]
    how = LatentSampling(estep.temperature, estep.longest_thought)
    engine = engine_of(q, config.precision, estep.engine)
    rollouts = sample_latents(engine, tokenizer, traces, how, config.seed, WATCHING)
    rollouts = [in_hindsight(rollout) for rollout in rollouts] if estep.hindsight else rollouts
    encoded = [rollout.encode(tokenizer) for rollout in rollouts]
    plain = [tokenizer.encode_trace(trace) for trace in traces]
    with_, without = (
        score_traces(pi, ids, tokenizer, precision=config.precision, temperature=1.0) for ids in (encoded, plain)
    )
    line, thoughts = float(with_.line.sum()) / len(tasks), float(with_.thought.sum()) / len(tasks)
    found = describe_latents(rollouts, tasks)
    scores = {"return": line - estep.cost * thoughts, "line_logp": line, "plain_logp": float(without.line.sum())}
    scores["plain_logp"] /= len(tasks)
    scores |= {key: found[key] for key in ("think_share", "precision", "recall", "f1", "apt", "duration")}
    rows = []
    for i, rollout in enumerate(rollouts):
        gains = thought_gains(pi, tokenizer, rollout, config.precision)
        count = len(rollout.trace.lines)
        rows.append(
            {
                "latents": {str(t): rollout.trace.latents[t] for t in rollout.trace.thought_lines},
                "gains": {str(t): round(float(gains[t] or 0.0), 3) for t in rollout.trace.thought_lines},
                "logp": [round(float(x), 3) for x in with_.line[i, :count]],
                "plain": [round(float(x), 3) for x in without.line[i, :count]],
            }
        )
    return {"scores": _short(scores), "programs": rows}


def program_record(task: Task) -> dict[str, Any]:
    """What is fixed about a watched program: its text, and the truth where there is one."""
    return {
        "task_id": task.task_id,
        "prompt": task.prompt,
        "lines": list(task.lines),
        "starts": list(task.starts),
        "truth": [step.thought for step in task.steps],
        "skills": [step.skill for step in task.steps],
    }


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """Floats rounded for the file."""
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
