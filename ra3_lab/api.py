"""The library in seven functions: `load_model`, `load_traces`, `ntp`, `estep`, `mstep`, `em`, `evaluate`.

All of them are names of the package itself (`ra3_lab.em`), looked up when first used. They take a model and its
tokenizer as `load_model` gives them, and traces; they never change the model they are given, and what they draw
depends on `seed` alone. `em` is `midtrain.em.midtrain` with a run directory; `estep` and `mstep` are its two halves for
loops of one's own: `em` with one round is `mstep` on the q of `estep`, bit for bit.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ra3_lab.corpus.read import Corpus, load_corpus, origin_of
from ra3_lab.midtrain.em import MidtrainConfig, MidtrainResult, midtrain
from ra3_lab.midtrain.estep import EStep, EStepConfig
from ra3_lab.midtrain.loop import estep_generator, fit_context, infuse
from ra3_lab.midtrain.mstep import FineTuner, MStepConfig, program_order
from ra3_lab.models.adapters import twin
from ra3_lab.models.load import load_model as load_model_directory
from ra3_lab.models.scoring import check_lengths
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.models.variants import Variant
from ra3_lab.runs import model_source, read_jsonl
from ra3_lab.trace import MARKER, Trace, language_of, read_source, strip

# --- models and data ----------------------------------------------------------------------------------


def load_model(
    source: str | Path = "embedded", device: str = "auto", variant: Variant | None = None, seed: int = 0
) -> tuple[Any, LineTokenizer]:
    """A causal language model (a transformers module, float32, eval mode) and its line tokenizer.

    `source`: 'embedded' (ships with the package), a directory written by `save_pretrained`, a finished run directory
    (its result), or a hub name. `device`: 'auto', 'cpu' or 'cuda'. Remote code is never run. A `variant`, such as
    Variant(quant="nf4", adapter="lora"), loads 4-bit weights and puts adapters on, drawn with `seed`.

    Raises FileNotFoundError where the path holds no model, ValueError for a device that is not there and for a
    tokenizer that has no token of its own for the newline and for '#'.

    >>> model, tokenizer = load_model("embedded", "cpu")
    >>> model.config.model_type
    'llama'
    """
    return load_model_directory(model_source(source), device, variant, seed)


def load_traces(
    source: str | Path,
    ids: tuple[int, int] | None = None,
    language: str = "python",
    report: Counter[str] | None = None,
    origins: list[str] | None = None,
) -> list[Trace]:
    """Programs as traces, in the order of the source.

    `source`: a folder of source files (of Python: every function of theirs); a single source file, whole; a JSONL file
    with a field `code` (or `solution`, `content`) a row and optionally `prompt` and `task_id`; traces that a run
    sampled (its folder or its traces.jsonl), with their latents, or other rows of `prompt` and `lines`; 'pipelines' or
    'pipelines:SPLIT', the built-in expert programs. `ids` keeps rows whose task_id is a number in these bounds, both
    included. What cannot be used is left out; `report` counts it by reason. For each trace the file that it was cut out
    of (a row's `source`), or else its own name, is added to `origins`.

    Raises FileNotFoundError for a missing source and ValueError for a broken row (file and line named), a record
    of a newer schema, or where nothing is left.

    >>> traces = load_traces("pipelines")
    >>> len(traces), traces[0].lines[0][:4]
    (1200, '    ')
    """
    corpus = _corpus(source, ids, language)
    if report is not None:
        report.update(corpus.refused)
    if origins is not None:
        origins += corpus.origins
    return corpus.traces


def _corpus(source: str | Path, ids: tuple[int, int] | None, language: str) -> Corpus:
    corpus = Corpus()
    word, _, split = str(source).partition(":")
    if word == "pipelines":
        from ra3_lab.evaluate.latents import trace_of
        from ra3_lab.tasks.pipelines import load_split

        for task in load_split(split or "expert"):
            corpus.keep(trace_of(task), task.task_id)
        return corpus
    path = Path(source)
    if (path / "run.json").is_file():
        path = path / "traces.jsonl"
    if path.is_file() and _holds_traces(path):
        for number, row in enumerate(read_jsonl(path), 1):
            trace = _trace(row, f"{path}:{number}")
            corpus.keep(trace, origin_of(row, trace.trace_id or f"number {number}"))
        return corpus
    if path.is_file() and path.suffix in language_of(language).suffixes:
        corpus.keep(read_source(path, language=language_of(language)).trace, str(path))
        return corpus
    return load_corpus(path, ids, language)


def _holds_traces(path: Path) -> bool:
    """Whether the first row of a JSONL file is a sampled trace."""
    with open(path, encoding="utf-8") as file:
        try:
            row = json.loads(next((line for line in file if line.strip()), "null"))
        except ValueError:
            return False  # the reader of solutions will say what is wrong with it
    return isinstance(row, dict) and isinstance(row.get("lines"), list)


def _trace(row: dict[str, Any], where: str) -> Trace:
    try:
        name, marker = row.get("trace_id", row.get("task_id", "")), row.get("marker", MARKER)
        return Trace(row["prompt"], tuple(row["lines"]), tuple(row.get("latents") or ()), str(name), marker)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        said = str(error) if type(error) is ValueError else repr(error)
        raise ValueError(f"{where} is no trace ({said}): it needs prompt and lines, latents if any.") from error


# --- mid-training -------------------------------------------------------------------------------------


def em(
    model: Any,
    tokenizer: LineTokenizer,
    traces: Sequence[Trace],
    config: MidtrainConfig | None = None,
    *,
    validate: Callable[[Any], float] | None = None,
    report: Callable[[dict], None] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int = 50,
) -> MidtrainResult:
    """Mid-train a copy of the model: RA3's EM loop, or the arm that `config.method` names (arXiv 2509.25810).

    `validate(model)` scores a model (higher is better) every `config.evaluate_every` updates, and the best one is kept;
    `report(record)` gets one record per update, its values in nats where they are log-likelihoods.

    With `out` the run is kept in that folder (settings, versions, metrics, traces, a checkpoint every
    `checkpoint_every` updates, in the end the model). Killed at any moment, the same call with `resume=True` goes on to
    the same weights, bit for bit on the same machine; of a finished run it gives the result back (without q).

    Raises ValueError for no traces, programs longer than the context, or a run of other settings, data or model;
    FileExistsError where `out` is taken; FloatingPointError where training diverges; OSError where the disk is full
    (the last checkpoint stays).

    >>> model, tokenizer = load_model("embedded", "cpu")
    >>> short = MidtrainConfig(
    ...     estep=EStepConfig(updates=1, programs=1, group=2), mstep=MStepConfig(updates=2, programs=2))
    >>> result = em(model, tokenizer, load_traces("pipelines")[:4], short)
    >>> [record["stage"] for record in result.history]
    ['estep', 'mstep', 'mstep']
    """
    config = config or MidtrainConfig()
    if out is None:
        return midtrain(config, model, tokenizer, traces, validate, report)
    from ra3_lab.distributed import first
    from ra3_lab.models.load import save_model
    from ra3_lab.runs import open_run, polite_stop, view_run
    from ra3_lab.runs.provenance import digest_of_traces, digest_of_weights

    out = Path(out)
    inputs = {
        "programs": len(traces),
        "data_sha256": digest_of_traces(traces),
        "model_sha256": digest_of_weights(model),
    }
    again = f"ra3_lab.em(..., out={str(out)!r}, resume=True)"
    going_on = resume and (out / "run.json").exists()
    with open_run(out, "em", asdict(config), inputs, checkpoint_every, going_on, again) as run:
        if (summary := view_run(out).summary) is not None:
            trained, _ = load_model_directory(out / "model", str(model.device))
            known = {name: summary[name] for name in ("updates", "tokens", "seconds", "validation")}
            return MidtrainResult(trained, **known, history=run.history())
        with polite_stop() as run.stop:
            result = midtrain(config, model, tokenizer, traces, validate, report, keeper=run)
        if not (out / "model").exists() and first():
            save_model(result.model, tokenizer, out / "model")
        names = ("updates", "tokens", "seconds", "validation")
        run.finish({"method": config.method, **{name: getattr(result, name) for name in names}})
    return result


def ntp(
    model: Any, tokenizer: LineTokenizer, traces: Sequence[Trace], config: MidtrainConfig | None = None, **settings: Any
) -> MidtrainResult:
    """Next-token prediction on the plain code: the baseline at RA3's number of updates, on the same programs.

    `em` with `config.method` set to 'ntp': E-step updates become M-step updates, latents are stripped. Further
    settings and errors are those of `em`.

    >>> model, tokenizer = load_model("embedded", "cpu")
    >>> config = MidtrainConfig(estep=EStepConfig(updates=1), mstep=MStepConfig(updates=2, programs=2))
    >>> ntp(model, tokenizer, load_traces("pipelines")[:4], config).updates
    3
    """
    return em(model, tokenizer, traces, replace(config or MidtrainConfig(), method="ntp"), **settings)


@dataclass
class EStepResult:
    """What an E-step leaves behind."""

    q: Any
    """The posterior over latents: a model like pi that knows where to think and what."""
    tokens: int
    """Tokens of all rollouts."""
    history: list[dict]
    """One record per update: return and line_logp in nats per program, think_share between 0 and 1."""


def estep(
    pi: Any,
    tokenizer: LineTokenizer,
    traces: Sequence[Trace],
    config: EStepConfig | None = None,
    *,
    q: Any = None,
    seed: int = 0,
    precision: str = "auto",
    report: Callable[[dict], None] | None = None,
) -> EStepResult:
    """Train a posterior q over latents by RL, pi being frozen (arXiv 2509.25810, E-step of the temporal ELBO).

    q starts from a copy of `q`, or of `pi`. Reward of a line: log pi(line | state, latent) - c [thought], in nats.
    Raises ValueError for no traces or programs longer than the context, FloatingPointError where the gradient is not
    finite.

    >>> model, tokenizer = load_model("embedded", "cpu")
    >>> found = estep(model, tokenizer, load_traces("pipelines")[:4], EStepConfig(updates=1, programs=2, group=2))
    >>> sorted(found.history[0])
    ['gradient_norm', 'line_logp', 'malformed', 'return', 'think_share', 'update']
    """
    config = config or EStepConfig()
    _check(traces, pi, tokenizer)
    result = EStepResult(twin(pi if q is None else q), 0, [])
    trainer = EStep(result.q, pi, tokenizer, config, seed, precision)
    chooser = estep_generator(seed)
    for number in range(config.updates):
        chosen = chooser.choice(len(traces), size=min(config.programs, len(traces)), replace=False)
        record = {"update": number, **trainer.update([traces[i] for i in chosen], number)}
        result.history.append(record)
        if report is not None:
            report(record)
    result.tokens = trainer.tokens
    return result


@dataclass
class MStepResult:
    """What an M-step leaves behind."""

    model: Any
    """pi after the M-step."""
    traces: list[Trace]
    """What it was trained on, update by update: the programs with their sampled latents."""
    tokens: int
    """Tokens trained on."""
    history: list[dict]
    """One record per update: mean loss in nats per counted token."""


def mstep(
    pi: Any,
    tokenizer: LineTokenizer,
    traces: Sequence[Trace],
    config: MStepConfig | None = None,
    *,
    q: Any = None,
    temperature: float = 0.5,
    longest_thought: int = 16,
    seed: int = 0,
    precision: str = "auto",
    report: Callable[[dict], None] | None = None,
) -> MStepResult:
    """Fine-tune a copy of pi by next-token prediction on the programs with latents sampled from q at `temperature`.

    Without `q` the traces are taken as they are, their own latents included (but for those that the context has no room
    for, with a warning). Each visit to a program draws its latents
    anew; thoughts have at most `longest_thought` tokens. Raises ValueError for no traces or programs longer than the
    context, FloatingPointError where the loss is not finite.

    >>> model, tokenizer = load_model("embedded", "cpu")
    >>> result = mstep(model, tokenizer, load_traces("pipelines")[:4], MStepConfig(updates=2, programs=2), q=model)
    >>> len(result.traces), [record["update"] for record in result.history]
    (4, [1, 2])
    """
    config = config or MStepConfig()
    _check(traces, pi, tokenizer)
    trained = twin(pi)
    tuner = FineTuner(trained, tokenizer, config, precision)
    order = program_order(seed, len(traces), config.updates, config.programs)
    infused = infuse(q, tokenizer, [traces[i] for i in order.ravel()], temperature, longest_thought, precision, seed, 0)
    infused = fit_context(infused, tokenizer, trained.config.max_position_embeddings)
    history = []
    for begin in range(0, len(infused), config.programs):
        loss = tuner.update([tokenizer.encode_trace(trace) for trace in infused[begin : begin + config.programs]])
        history.append({"update": tuner.updates, "loss": loss})
        if report is not None:
            report(history[-1])
    return MStepResult(trained, infused, tuner.tokens, history)


def _check(traces: Sequence[Trace], model: Any, tokenizer: LineTokenizer) -> None:
    if not traces:
        raise ValueError("there are no traces: give at least one program.")
    names = [trace.trace_id or f"number {i}" for i, trace in enumerate(traces)]
    bare = [tokenizer.encode_trace(strip(trace)) for trace in traces]  # thoughts without room are left out later
    check_lengths(bare, model.config.max_position_embeddings, names)


# --- evaluation ---------------------------------------------------------------------------------------


def evaluate(
    model: Any,
    tokenizer: LineTokenizer,
    data: Sequence[Any],
    *,
    k: Sequence[int] = (1, 8),
    samples: int = 4,
    temperature: float = 1.0,
    seed: int = 0,
    precision: str = "auto",
    isolation: str | None = None,
) -> dict[str, float]:
    """Figures of a model on held-out programs (traces) or on tasks with tests.

    Of traces, in nats per line: `no_thought`, log p(lines) without thoughts, and for each K `kK`, the bound
    log (1/K) sum_k p(lines | thoughts_k) with thoughts sampled causally from the model itself (their own latents are
    not looked at); `lines` counts the lines. Of tasks: `pass@1` to `pass@samples` (unbiased; Chen et al. 2021), `low`
    and `high`, the 95 % bootstrap interval of pass@1 over tasks, and `thoughts` per program, from `samples` programs
    per task at `temperature`, run in the sandbox (`isolation`: as for `ra3_lab.sandbox.judge_batch`; where nothing
    holds, None is enough for the embedded model only).

    Raises ValueError for no data or K < 1, or where programs cannot be isolated as asked; ChildProcessError where the
    sandbox gave no verdict.

    >>> model, tokenizer = load_model("embedded", "cpu")
    >>> sorted(evaluate(model, tokenizer, load_traces("pipelines:validation")[:2], k=(1,)))
    ['k1', 'lines', 'no_thought']
    """
    if not data:
        raise ValueError("there is nothing to evaluate on: give traces or tasks.")
    if isinstance(data[0], Trace):
        from ra3_lab.evaluate.likelihood import k_sample_bound

        lines = sum(len(trace.lines) for trace in data)
        bounds = {"no_thought": k_sample_bound(model, tokenizer, data, 1, seed, precision, think=False)}
        bounds |= {f"k{n}": k_sample_bound(model, tokenizer, data, n, seed, precision) for n in k}
        return {"lines": lines, **{name: float(bound.sum()) / lines for name, bound in bounds.items()}}
    from ra3_lab.evaluate.programs import evaluate_programs

    scores = evaluate_programs(model, tokenizer, data, samples, temperature, seed, precision, isolation=isolation)
    first = scores.pass_at(1)
    passed = {f"pass@{n}": scores.pass_at(n).mean for n in range(1, samples + 1)}
    return {**passed, "low": first.low, "high": first.high, "thoughts": float(np.mean(scores.thoughts))}


def load_run(path: str | Path) -> dict[str, Any]:
    """Everything a run directory says, as plain data: `run` (run.json), `metrics` and `summary` (None until finished).

    Raises FileNotFoundError where the folder is no run, ValueError for a newer schema.
    """
    from ra3_lab.runs import view_run

    view = view_run(Path(path))
    return {
        "run": view.record,
        "state": view.state,
        "metrics": read_jsonl(Path(path) / "metrics.jsonl"),
        "summary": view.summary,
    }
