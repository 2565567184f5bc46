"""`ra3-lab midtrain`: NTP, prior or RA3 on your own Python."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ra3_lab.midtrain.em import MidtrainConfig

if TYPE_CHECKING:
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
    max_tokens: int | None = None,
    device: str = "auto",
    threads: int = 2,
    config: Annotated[MidtrainConfig, tyro.conf.arg(name="")] = _DEFAULTS,
) -> int:
    """Mid-train a model on expert code; writes the model, metrics as they happen, sampled traces and a summary to OUT.

    Example: ra3-lab midtrain --data mbpp.jsonl --ids 601 974 --heldout mbpp.jsonl --heldout-ids 511 600 --out runs/mbpp

    Args:
        data: JSONL file of solutions, a folder of .py files, or 'pipelines' for the built-in expert split.
        out: Run directory; must be new or empty.
        model: 'embedded', a model directory, or a hub name.
        heldout: Held-out programs (JSONL or folder) whose likelihood is reported; default: every tenth of the data.
        ids: Use only rows whose numeric task_id lies between these two, both included.
        heldout_ids: The same for the held-out programs.
        max_tokens: Leave out programs of more tokens (counted and reported); default: half of the model's context.
        device: auto, cpu or cuda.
        threads: CPU threads.
        config: Training settings.
    """
    import torch

    from ra3_lab.evaluate.likelihood import k_sample_bound
    from ra3_lab.experiment import SCHEMA_VERSION, versions
    from ra3_lab.midtrain.em import midtrain
    from ra3_lab.models.decoder import Decoder
    from ra3_lab.models.load import dtype_of, load_model, save_model
    from ra3_lab.models.rollout import LatentSampling, sample_latents
    from ra3_lab.runs import JsonLines, fresh_directory, narrator, write_json

    if heldout_ids is not None and heldout is None:
        raise ValueError("--heldout-ids needs --heldout FILE.")
    torch.set_num_threads(threads)
    base, tokenizer = load_model(model, device)
    limit = max_tokens or base.config.max_position_embeddings // 2
    training, left_out = _read(data, ids, tokenizer, limit)
    if heldout is None:
        test, training = training[::10], [t for i, t in enumerate(training) if i % 10]
    else:
        test, _ = _read(heldout, heldout_ids, tokenizer, limit)
    if not training:
        raise ValueError(
            f"{data}: no program is left to train on (every tenth is held out): add programs or give --heldout."
        )
    fresh_directory(out)
    setup = {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "data": data,
        "heldout": heldout,
        "ids": ids,
        "heldout_ids": heldout_ids,
        "programs": len(training),
        "heldout_programs": len(test),
        "left_out": left_out,
        "config": asdict(config),
        "versions": versions(),
    }
    write_json(out / "config.json", setup)
    with narrator() as say:
        say(f"{len(training)} programs to train on, {len(test)} held out, left out: {left_out or 'none'}")
        metrics = JsonLines(out / "metrics.jsonl")

        def report(record: dict) -> None:
            metrics(record)
            if record["stage"] == "estep" or record["update"] % 20 == 0:
                shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in record.items()}
                say(", ".join(f"{key} {value}" for key, value in shown.items()))

        result = midtrain(config, base, tokenizer, training, report=report)
        save_model(result.model, tokenizer, out / "model")
        say("scoring the held-out programs")
        lines = sum(len(t.lines) for t in test)

        def per_line(scored: Any, k: int, think: bool = True) -> float:
            bound = k_sample_bound(scored, tokenizer, test, k, config.seed, config.precision, think)
            return float(bound.sum()) / lines

        summary = {
            "schema_version": SCHEMA_VERSION,
            "method": config.method,
            "updates": result.updates,
            "tokens": result.tokens,
            "seconds": round(result.seconds, 1),
            "heldout_lines": lines,
            "nats_per_line": {
                name: {
                    "no_thought": per_line(m, k=1, think=False),
                    **{f"k{k}": per_line(m, k=k) for k in (1, 8, 32)},
                }
                for name, m in (("before", base), ("after", result.model))
            },
        }
        rollouts = sample_latents(
            Decoder(result.model, dtype_of(config.precision)),
            tokenizer,
            test[:20],
            LatentSampling(),
            config.seed,
            0,
        )
        samples = JsonLines(out / "traces.jsonl")
        for rollout in rollouts:
            samples({"schema_version": SCHEMA_VERSION, **asdict(rollout.trace)})
        thoughts = sum(len(r.trace.thought_lines) for r in rollouts)
        summary["think_share"] = thoughts / sum(len(r.trace.lines) for r in rollouts)
        write_json(out / "summary.json", summary)
    for name, row in summary["nats_per_line"].items():
        print(
            f"{name:<7} held-out log-likelihood per line: "
            + ", ".join(f"{key} {value:.4f}" for key, value in row.items())
        )
    print(f"model, metrics and traces are in {out}")
    return 0


def _read(
    source: str, ids: tuple[int, int] | None, tokenizer: LineTokenizer, limit: int
) -> tuple[list[Trace], dict[str, int]]:
    """Traces that fit, and counts by reason of those left out."""
    from collections import Counter

    from ra3_lab.corpus import load_corpus
    from ra3_lab.evaluate.latents import trace_of
    from ra3_lab.tasks.pipelines import load_split

    refused: Counter[str] = Counter()
    if source == "pipelines":
        traces = [trace_of(task) for task in load_split("expert")]
    else:
        corpus = load_corpus(source, ids)
        traces, refused = corpus.traces, corpus.refused
    kept = [t for t in traces if len(tokenizer.encode_trace(t).ids) <= limit]
    if len(kept) < len(traces):
        refused[f"more than {limit} tokens"] += len(traces) - len(kept)
    if not kept:
        raise ValueError(f"{source}: none of {len(traces)} programs has at most {limit} tokens: raise --max-tokens.")
    return kept, dict(refused)
