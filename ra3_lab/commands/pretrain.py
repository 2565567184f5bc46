"""`ra3-lab pretrain`: make an embedded base model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import tyro

from ra3_lab.commands.output import ConfigFile, Json, ResumeRun, results, summary_of
from ra3_lab.pretrain.train import PretrainConfig
from ra3_lab.threads import use_threads

_DEFAULTS = PretrainConfig()


def run(
    out: Path,
    config: Annotated[PretrainConfig, tyro.conf.arg(name="")] = _DEFAULTS,
    threads: int = 2,
    settings: ConfigFile = None,
    resume: ResumeRun = None,
    json: Json = None,
) -> int:
    """Train tokenizer and base model; writes metrics as they happen, the model (OUT/model) and a summary to OUT.

    A run that was stopped (Ctrl-C) or killed goes on with --resume, to the same weights as without the break.

    Example: ra3-lab pretrain --out runs/base --tokens 2000000

    Example: ra3-lab pretrain --resume runs/base

    Args:
        out: Run directory; must be new or empty.
        config: Shape, length and corpus.
        threads: CPU threads.
        settings: TOML or JSON file of these settings, nested ones as tables; flags override it.
        resume: Go on with this run; its settings and this Python's library must be what they were.
        json: Write the result as JSON to FILE, or to stdout; progress then goes to stderr.
    """
    with results("pretrain", json) as emit:
        given = {"threads": threads, **asdict(config)}
        summary = summary_of(out, resume, lambda going_on: _train(given, config, out, going_on), given)
        print(f"model written to {out / 'model'}")
        emit({"run": out, **summary})
    return 0


def _train(given: dict[str, Any], config: PretrainConfig, out: Path, going_on: bool) -> dict[str, Any]:
    """Begin or go on, to the end; returns the summary. Raises Interrupted, the run saved, when asked to stop."""
    from ra3_lab.models.load import save_model
    from ra3_lab.pretrain.corpus import stdlib_functions
    from ra3_lab.pretrain.train import LOG_EVERY, log_rows, pretrain, save_origin
    from ra3_lab.runs import narrator, open_run, polite_stop
    from ra3_lab.runs.directory import require_free
    from ra3_lab.runs.provenance import digest_of_texts
    from ra3_lab.tasks.pipelines import SPLITS, load_split

    use_threads(given["threads"])
    if not going_on:
        require_free(out)
    exclude = {task.signature for name in SPLITS for task in load_split(name)}
    functions, digest = stdlib_functions() if config.corpus.stdlib > 0 else ([], "")
    inputs = {"stdlib_sha256": digest, "excluded_sha256": digest_of_texts(sorted(map(repr, exclude)))}
    with narrator(30.0) as say, open_run(out, "pretrain", given, inputs, config.save_every, going_on) as run:

        def report(record: dict) -> None:
            if record["update"] % (10 * LOG_EVERY) == 0:
                done, loss = record["tokens"] / config.tokens, record["loss"]
                say(f"{done:6.1%}  update {record['update']}  loss {loss:.4f}")

        with polite_stop() as run.stop:
            result = pretrain(config, exclude, functions, run, report)
        model = out / "model"
        if not model.exists():  # there already after a kill in what follows
            save_model(result.model, result.tokenizer, model)
        save_origin(model, config, result, functions, digest)
        summary = {
            "model": model,
            "parameters": sum(p.numel() for p in result.model.parameters()),
            "last": log_rows(result.history)[-1],
        }
        run.finish(summary)
    return summary
