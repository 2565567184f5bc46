"""`ra3-lab midtrain`: NTP, prior or RA3 on your own Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ra3_lab.commands.output import ConfigFile, Json, ResumeRun, results, summary_of
from ra3_lab.midtrain.em import MidtrainConfig
from ra3_lab.runs import Follower, RunDirectory, model_source, narrator, open_run, polite_stop
from ra3_lab.threads import use_threads

if TYPE_CHECKING:
    from ra3_lab.midtrain.em import MidtrainResult
    from ra3_lab.models.tokenizer import LineTokenizer
    from ra3_lab.trace import Trace

_DEFAULTS = MidtrainConfig()


def run(
    data: str,
    out: Path,
    model: str = "embedded",
    heldout: str | None = None,
    ids: tuple[int, int] | None = None,
    heldout_ids: tuple[int, int] | None = None,
    language: str = "python",
    max_tokens: int | None = None,
    heldout_samples: tuple[int, ...] = (1, 8),
    device: str = "auto",
    threads: int = 2,
    checkpoint_every: int = 50,
    config: Annotated[MidtrainConfig, tyro.conf.arg(name="")] = _DEFAULTS,
    settings: ConfigFile = None,
    resume: ResumeRun = None,
    json: Json = None,
) -> int:
    """Mid-train a model on expert code; writes the model, metrics as they happen, sampled traces and a summary to OUT.

    A run that was stopped (Ctrl-C) or killed goes on with --resume, to the same weights as without the break. Several
    GPUs: `accelerate launch -m ra3_lab midtrain ...`, see docs/scaling.md.

    Example: ra3-lab midtrain --data mbpp.jsonl --ids 601 974 --heldout mbpp.jsonl --heldout-ids 511 600 --out runs/mbpp

    Example: ra3-lab midtrain --config settings.toml --out runs/mine --estep.cost 0.05 --json

    Example: ra3-lab midtrain --resume runs/mine

    Args:
        data: JSONL file of solutions, a folder of .py files, or 'pipelines' for the built-in expert split.
        out: Run directory; must be new or empty.
        model: 'embedded', a model directory, a finished run, or a hub name.
        heldout: Held-out programs (JSONL or folder) whose likelihood is reported; default: a tenth of the data by file.
        ids: Use only rows whose numeric task_id lies between these two, both included.
        heldout_ids: The same for the held-out programs.
        language: python or sql; decides where lines end and how a comment begins.
        heldout_samples: Numbers K of thoughts sampled per held-out program; a bound for each, time grows with the sum.
        max_tokens: Leave out programs of more tokens (counted and reported); default: half of the model's context.
        device: auto, cpu or cuda.
        threads: CPU threads.
        checkpoint_every: Updates between two checkpoints; a kill costs at most these.
        config: Training settings.
        settings: TOML or JSON file of these settings, nested ones as tables; flags override it.
        resume: Go on with this run; its settings, data and model must be what they were.
        json: Write the result as JSON to FILE, or to stdout; progress then goes to stderr.
    """
    from ra3_lab.distributed import first, joined

    if heldout_ids is not None and heldout is None:
        raise ValueError("--heldout-ids needs --heldout FILE.")
    if few := [k for k in heldout_samples if k < 1]:
        raise ValueError(f"--heldout-samples {few[0]}: numbers of thoughts sampled per program, 1 or more each.")
    if max_tokens is not None and max_tokens < 1:
        raise ValueError(f"--max-tokens {max_tokens}: 1 or more.")
    given = {
        "data": data,
        "model": model,
        "heldout": heldout,
        "ids": ids,
        "heldout_ids": heldout_ids,
        "language": language,
        "max_tokens": max_tokens,
        "heldout_samples": heldout_samples,
        "device": device,
        "threads": threads,
        "checkpoint_every": checkpoint_every,
        **asdict(config),
    }
    with joined(), results("midtrain", json if first() else None) as emit:
        summary = summary_of(out, resume, lambda going_on: _train(given, config, out, going_on), given)
        for name, row in summary["nats_per_line"].items():
            print(
                f"{name:<7} held-out log-likelihood per line: "
                + ", ".join(f"{key} {value:.4f}" for key, value in row.items())
            )
        print(f"model, metrics and traces are in {out}")
        emit({"run": out, **summary})
    return 0


def _train(given: dict[str, Any], config: MidtrainConfig, out: Path, going_on: bool) -> dict[str, Any]:
    """Begin or go on, to the end; returns the summary. Raises Interrupted, the run saved, when asked to stop."""
    from ra3_lab.corpus.holdout import hold_out
    from ra3_lab.distributed import from_first
    from ra3_lab.midtrain.em import midtrain
    from ra3_lab.midtrain.silence import silence_watch
    from ra3_lab.models.load import load_model, pick_device
    from ra3_lab.models.variants import check
    from ra3_lab.runs.directory import check_interval, require_free
    from ra3_lab.runs.provenance import digest_of_traces, digest_of_weights
    from ra3_lab.trace import language_of

    use_threads(given["threads"])
    if not going_on:
        from_first(lambda: require_free(out))
    check_interval(given["checkpoint_every"])  # before a model is loaded
    check(config.variant, pick_device(given["device"]))
    base, tokenizer = load_model(model_source(given["model"]), given["device"], config.variant, config.seed)
    tokenizer = tokenizer.with_marker(language_of(given["language"]).marker)
    limit = base.config.max_position_embeddings // 2 if given["max_tokens"] is None else given["max_tokens"]
    training, origins, left_out = _read(given["data"], given["ids"], given["language"], tokenizer, limit)
    if given["heldout"] is None:
        training, test, double = hold_out(training, origins)
        left_out |= {"also held out": double} if double else {}
    else:
        test, _, _ = _read(given["heldout"], given["heldout_ids"], given["language"], tokenizer, limit)
    if not training:
        raise ValueError(
            f"{given['data']}: no program is left to train on (whole files are held out, and what is the same as a "
            "held-out program is left out): add programs or give --heldout."
        )
    inputs = {
        "programs": len(training),
        "heldout_programs": len(test),
        "left_out": left_out,
        "data_sha256": digest_of_traces(training),
        "heldout_sha256": digest_of_traces(test),
        "model_sha256": digest_of_weights(base),
    }
    opened = open_run(out, "midtrain", given, inputs, given["checkpoint_every"], going_on)
    with opened as run, narrator() as say:
        say(f"{len(training)} programs to train on, {len(test)} held out, left out: {left_out or 'none'}")

        watch = silence_watch(say)

        def report(record: dict) -> None:
            if record["stage"] == "estep" or record["update"] % 20 == 0:
                shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in record.items()}
                say(", ".join(f"{key} {value}" for key, value in shown.items()))
            watch(record)

        with polite_stop() as run.stop:
            result = midtrain(config, base, tokenizer, training, report=report, keeper=run)
        return from_first(lambda: _finish(run, config, base, result, tokenizer, test, say))


def _finish(
    run: RunDirectory | Follower,
    config: MidtrainConfig,
    base: Any,
    result: MidtrainResult,
    tokenizer: LineTokenizer,
    test: list[Trace],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Save the model, score it on the held-out programs, write traces and summary."""
    from ra3_lab.evaluate.likelihood import k_sample_bound
    from ra3_lab.models.engines.interface import engine_of
    from ra3_lab.models.load import save_model
    from ra3_lab.models.rollout import LatentSampling, sample_latents
    from ra3_lab.models.sampling import MEASURING

    if not (run.path / "model").exists():  # there already after a kill in what follows
        save_model(result.model, tokenizer, run.path / "model")
    lines, estep = sum(len(t.lines) for t in test), config.estep
    longest = estep.longest_thought

    def nats_per_line(name: str, scored: Any) -> dict[str, float]:
        found = {}
        for k in (None, *run.record["settings"]["heldout_samples"]):
            say(f"scoring {len(test)} held-out programs {name} training, " + (f"K = {k}" if k else "without thoughts"))
            bound = k_sample_bound(
                scored, tokenizer, test, k or 1, config.seed, config.precision, bool(k), longest, estep.tokens_at_once
            )
            found[f"k{k}" if k else "no_thought"] = float(bound.sum()) / lines
        return found

    engine, how = engine_of(result.model, config.precision), LatentSampling(longest_thought=longest)
    rollouts = sample_latents(engine, tokenizer, test[:20], how, config.seed, MEASURING)
    thoughts = sum(len(r.trace.thought_lines) for r in rollouts)
    summary = {
        "method": config.method,
        "updates": result.updates,
        "tokens": result.tokens,
        "seconds": round(result.seconds, 1),
        "heldout_lines": lines,
        "nats_per_line": {
            name: nats_per_line(name, scored) for name, scored in (("before", base), ("after", result.model))
        },
        "think_share": thoughts / sum(len(r.trace.lines) for r in rollouts),
    }
    for rollout in rollouts:
        run.traces({"stage": "final", **asdict(rollout.trace)})
    run.finish(summary)
    return summary


def _read(
    source: str, ids: tuple[int, int] | None, language: str, tokenizer: LineTokenizer, limit: int
) -> tuple[list[Trace], list[str], dict[str, int]]:
    """Traces that fit, the files they are from, and counts by reason of those left out."""
    from collections import Counter
    from itertools import compress

    from ra3_lab.api import load_traces

    refused: Counter[str] = Counter()
    origins: list[str] = []
    traces = load_traces(source, ids, language, report=refused, origins=origins)
    fits = [len(tokenizer.encode_trace(t).ids) <= limit for t in traces]
    kept = list(compress(traces, fits))
    if len(kept) < len(traces):
        refused[f"more than {limit} tokens"] += len(traces) - len(kept)
    if not kept:
        raise ValueError(f"{source}: none of {len(traces)} programs has at most {limit} tokens: raise --max-tokens.")
    return kept, list(compress(origins, fits)), dict(refused)
