"""`ra3-lab rlvr`: GRPO on tasks with tests, from any model or run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ra3_lab.commands.output import ConfigFile, Json, ResumeRun, results, summary_of
from ra3_lab.rlvr.loop import RLVRConfig
from ra3_lab.threads import use_threads

if TYPE_CHECKING:
    from ra3_lab.rlvr.loop import RLVRResult
    from ra3_lab.runs import Follower, RunDirectory
    from ra3_lab.tasks.protocol import TaskSet

_DEFAULTS = RLVRConfig()


def run(
    out: Path,
    init: str = "embedded",
    tasks: str = "pipelines:rlvr",
    validation: str | None = "pipelines:validation",
    validation_tasks: int = 50,
    device: str = "auto",
    threads: int = 2,
    isolation: str | None = None,
    force: bool = False,
    checkpoint_every: int = 10,
    config: Annotated[RLVRConfig, tyro.conf.arg(name="")] = _DEFAULTS,
    settings: ConfigFile = None,
    resume: ResumeRun = None,
    json: Json = None,
) -> int:
    """Train a policy by GRPO on tasks with tests; writes metrics as they happen, sampled groups, the model, a summary.

    Before training one group is sampled for a few tasks; where nothing could be learned the run says why and does not
    start. A run that was stopped or killed goes on with --resume, to the same weights as without the break. Several
    GPUs: `accelerate launch -m ra3_lab rlvr ...`, see docs/scaling.md.

    Example: ra3-lab rlvr --init runs/ra3 --tasks pipelines:rlvr --out runs/ra3-rlvr --updates 50

    Example: ra3-lab rlvr --init qwen2.5-coder-1.5b --quant nf4 --adapter lora --out runs/small-memory

    Example: ra3-lab rlvr --tasks mine.jsonl --validation None --grpo.loss.name dapo --dynamic --out runs/mine

    Args:
        out: Run directory; must be new or empty.
        init: What to start from: 'embedded', a model directory, a finished run, or a hub name.
        tasks: NAME[:SPLIT] of a benchmark, NAME:FILE for its data in a file, or FILE.jsonl of your own tasks.
        validation: The same, for pass@1 as training goes; None for none.
        validation_tasks: At most this many of them.
        device: auto, cpu or cuda.
        threads: CPU threads.
        isolation: What confines the programs, see docs/sandbox.md; default: the strongest there is.
        force: Start although the look before training found that nothing can be learned.
        checkpoint_every: Updates between two checkpoints; a kill costs at most these.
        config: Training settings.
        settings: TOML or JSON file of these settings, nested ones as tables; flags override it.
        resume: Go on with this run; its settings, tasks and model must be what they were.
        json: Write the result as JSON to FILE, or to stdout; progress then goes to stderr.
    """
    from ra3_lab.distributed import first, joined

    if validation_tasks < 1:
        raise ValueError(f"--validation-tasks {validation_tasks}: 1 or more; --validation None for no validation.")
    given = {
        "init": init,
        "tasks": tasks,
        "validation": validation,
        "validation_tasks": validation_tasks,
        "device": device,
        "threads": threads,
        "isolation": isolation,
        "force": force,
        "checkpoint_every": checkpoint_every,
        **asdict(config),
    }
    with joined(), results("rlvr", json if first() else None) as emit:
        summary = summary_of(out, resume, lambda going_on: _train(given, config, out, going_on), given)
        for look in summary["validation"]:
            print(f"validation pass@1 after {look[0]:>4} updates: {look[1]:.3f}")
        print(f"model, metrics and sampled groups are in {out}")
        emit({"run": out, **summary})
    return 0


def _train(given: dict[str, Any], config: RLVRConfig, out: Path, going_on: bool) -> dict[str, Any]:
    """Begin or go on, to the end; returns the summary. Raises Interrupted, the run saved, when asked to stop."""
    from ra3_lab.distributed import first, from_first
    from ra3_lab.models.load import load_model, pick_device
    from ra3_lab.models.variants import check
    from ra3_lab.rlvr.loop import fixed_settings, rlvr
    from ra3_lab.runs import model_source, narrator, open_run, polite_stop, read_run, write_json
    from ra3_lab.runs.directory import check_interval, require_free
    from ra3_lab.runs.provenance import digest_of_texts, digest_of_weights
    from ra3_lab.sandbox import Judge, layers

    use_threads(given["threads"])
    if not going_on:
        from_first(lambda: require_free(out))
    check_interval(given["checkpoint_every"])  # all of this before tasks are judged and groups sampled
    check(config.variant, pick_device(given["device"]))
    training = read_task_set(given["tasks"])
    test = read_task_set(given["validation"]) if given["validation"] else None
    looked_at = list(test)[: given["validation_tasks"]] if test is not None else []
    model, tokenizer = load_model(model_source(given["init"]), given["device"], config.variant, config.seed)
    confined = layers(given["isolation"])
    inputs = {
        "tasks": len(training),
        "tasks_hash": training.hash,
        "excluded": len(training.excluded),
        "validation_hash": None if test is None else test.hash,
        "model_sha256": digest_of_weights(model),
        "tokenizer_sha256": digest_of_texts([tokenizer.hf.backend_tokenizer.to_str()]),
        "judge": confined,
    }
    with Judge(isolation=given["isolation"]) as judge, narrator() as say:
        if going_on:
            inputs["preflight"] = read_run(out)["inputs"].get("preflight")
        else:
            inputs["preflight"] = from_first(
                lambda: _look_before(given, config, model, tokenizer, training, judge.each, confined, say)
            )
        every, fixed = given["checkpoint_every"], fixed_settings(config)
        with open_run(out, "rlvr", given, inputs, every, going_on, fixed=fixed) as run:
            say(f"{len(training)} tasks to train on, {len(looked_at)} for validation")
            try:
                with polite_stop() as run.stop:
                    result = rlvr(
                        config,
                        model,
                        tokenizer,
                        training,
                        looked_at,
                        judge=judge.each,
                        report=lambda record: say(in_words(record)),
                        keeper=run,
                        save_group=_group_writer(run.path) if first() else lambda record: None,
                        save_bad=(lambda record: write_json(run.path / "bad_batch.json", record)) if first() else None,
                    )
                return from_first(lambda: _finish(run, result, tokenizer))
            except FloatingPointError as error:
                raise FloatingPointError(f"{error} The batch is in {run.path / 'bad_batch.json'}.") from error


def _look_before(
    given: dict[str, Any],
    config: RLVRConfig,
    model: Any,
    tokenizer: Any,
    tasks: TaskSet,
    judge: Any,
    confined: dict[str, Any],
    say: Callable[[str], None],
) -> list[dict[str, str]]:
    """The look before training, told; raises ValueError where it says stop and nobody forces it."""
    from ra3_lab.rlvr.preflight import preflight

    say("looking before training: one group for each of a few tasks")
    findings, groups = preflight(config, model, tokenizer, tasks, judge, confined)
    if groups:
        some = sum(group.informative for group in groups)
        reward = sum(sum(group.rewards) for group in groups) / sum(len(group.answers) for group in groups)
        say(f"{len(groups)} groups sampled: mean reward {reward:.2f}, different rewards in {some}")
    for finding in findings:
        say(f"{finding.level}: {finding.name}: {finding.text}")
    stops = [finding for finding in findings if finding.level == "stop"]
    if stops and not given["force"]:
        raise ValueError(
            f"the look before training says that this run would not learn: {stops[0].text} (--force starts it anyway)"
        )
    return [asdict(finding) for finding in findings]


def _finish(run: RunDirectory | Follower, result: RLVRResult, tokenizer: Any) -> dict[str, Any]:
    """Save the model, write the summary."""
    from ra3_lab.models.load import save_model

    if not (run.path / "model").exists():  # there already after a kill in what follows
        save_model(result.model, tokenizer, run.path / "model")
    rewards = [row["reward"] for row in result.history if row["stage"] == "rlvr"]
    summary = {
        "updates": result.updates,
        "tokens": result.tokens,
        "seconds": round(result.seconds, 1),
        "reward_first": rewards[0] if rewards else None,
        "reward_last": rewards[-1] if rewards else None,
        "validation": [list(look) for look in result.validation],
    }
    run.finish(summary)
    return summary


def _group_writer(path: Path) -> Callable[[dict[str, Any]], None]:
    """Appends to groups.jsonl; what a run that goes on draws once more is there already."""
    from ra3_lab.runs import JsonLines, read_jsonl

    file = path / "groups.jsonl"
    known = {(row["update"], row["group"]) for row in read_jsonl(file)}
    write = JsonLines(file)

    def save(record: dict[str, Any]) -> None:
        if (record["update"], record["group"]) not in known:
            write(record)

    return save


def read_task_set(text: str) -> TaskSet:
    """Tasks by NAME, NAME:SPLIT, NAME:FILE or FILE.jsonl, with expected outputs filled in.

    Raises FileNotFoundError where what looks like a file is none, ValueError for what cannot be tasks.
    """
    from ra3_lab.tasks.expected import with_expected
    from ra3_lab.tasks.registry import load_tasks

    name, _, part = ("own", "", text) if ":" not in text and _like_a_file(text) else text.partition(":")
    file = part if part and (_like_a_file(part) or Path(part).is_file()) else None
    if file is not None and not Path(file).is_file():
        raise FileNotFoundError(f"{file} is no file: give NAME, NAME:SPLIT, NAME:FILE or FILE.jsonl.")
    return with_expected(load_tasks(name, file, None if file else part or None))


def _like_a_file(text: str) -> bool:
    return "/" in text or text.endswith((".json", ".jsonl", ".gz", ".parquet"))


def in_words(record: dict[str, Any]) -> str:
    """A line of progress."""
    if record["stage"] == "validation":
        return f"validation pass@1 {record['pass@1']:.3f} after {record['update']} updates"
    parts = [f"update {record['update']}: reward {record['reward']:.3f}", f"length {record['length']:.0f}"]
    if "entropy" in record:
        parts.append(f"entropy {record['entropy']:.2f}")
    parts += [f"cut {record['truncated']:.0%}", f"same reward in {record['zero_variance']:.0%} of groups"]
    spent = ", ".join(f"{record[f'seconds_{what}']:.1f}" for what in ("sampling", "judging", "update"))
    return ", ".join(parts) + f" ({spent} s sampling, judging, updating)"
