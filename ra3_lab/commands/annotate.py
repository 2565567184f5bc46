"""`ra3-lab annotate`: a program with the latents a model proposes, and what each line gained."""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ra3_lab.commands.output import Json, require_new_file, results
from ra3_lab.models.variants import Reading
from ra3_lab.runs import json_text
from ra3_lab.threads import use_threads

if TYPE_CHECKING:
    from ra3_lab.models.tokenizer import LineTokenizer
    from ra3_lab.trace import Trace

_AS_IT_IS = Reading()


def run(
    file: Annotated[Path, tyro.conf.Positional],
    model: str = "embedded",
    format: Literal["text", "json", "html"] = "text",
    out: Path | None = None,
    limit: int = 5,
    samples: int = 1,
    temperature: float = 0.5,
    cost: float = 0.1,
    seed: int = 0,
    language: str = "python",
    device: str = "auto",
    threads: int = 2,
    reading: Annotated[Reading, tyro.conf.arg(name="")] = _AS_IT_IS,
    json: Json = None,
) -> int:
    """Show programs with the thoughts a model proposes, and the nats that each line gained by them.

    Example: ra3-lab annotate program.py --model runs/mine

    Example: ra3-lab annotate solutions.jsonl --model runs/mine --limit 20 --format html --out annotated.html

    Args:
        file: Source file (whole where the model's context has room, else by function), folder, or JSONL of solutions.
        model: A finished run, a model directory, 'embedded', or a hub name.
        format: text for the terminal, json for programs, html for a page that needs no network.
        out: Write to this file instead of the terminal; it must not exist yet.
        limit: At most so many programs, the first ones that fit.
        samples: Latent sequences tried per program; the one that explains the lines best is shown.
        temperature: Temperature at which latents are drawn.
        cost: Nats a thought costs in that choice.
        seed: Seed of the draws.
        language: python or sql.
        device: auto, cpu or cuda.
        threads: CPU threads.
        reading: Storage of the weights.
        json: Write the records as JSON to FILE, or to stdout; what else is said goes to stderr.
    """
    from ra3_lab.evaluate.annotation import annotate_traces
    from ra3_lab.models.trained import load_to_read
    from ra3_lab.trace import language_of

    require_new_file("--out", out)
    if out is not None and json is not None and out.absolute() == json.absolute():
        raise ValueError(f"--out and --json both name {out}: give each a file of its own.")
    with results("annotate", json) as emit:
        use_threads(threads)
        loaded, tokenizer = load_to_read(model, device, reading)
        tokenizer = tokenizer.with_marker(language_of(language).marker)
        longest = loaded.config.max_position_embeddings // 2  # the other half is room for thoughts
        traces, too_long = _programs(file, language, tokenizer, longest, limit)
        records = annotate_traces(loaded, tokenizer, traces, temperature, samples, cost, seed)
        text = render(records, model, format)
        if out is None:
            print(text)
        else:
            out.write_text(text + "\n", encoding="utf-8")
            print(f"{len(records)} programs written to {out}")
        if too_long:
            told = sys.stderr if out is None and format != "text" else None  # stdout is the JSON or HTML alone
            print(f"left out as too long for the model (more than {longest} tokens): {too_long}", file=told)
        emit({"model": model, "file": file, "programs": records, "too_long": too_long})
    return 0


def _programs(file: Path, language: str, tokenizer: LineTokenizer, longest: int, limit: int) -> tuple[list[Trace], int]:
    """The first programs that fit, and how many were left out before they were found. Raises ValueError for none."""
    from ra3_lab.api import load_traces

    if limit < 1:
        raise ValueError(f"limit={limit}: at least one program.")
    traces = load_traces(file, language=language)

    def fits(trace: Trace) -> bool:
        return len(tokenizer.encode_trace(trace).ids) <= longest

    if language == "python" and file.is_file() and len(traces) == 1 and not fits(traces[0]):
        traces = _functions(traces[0])
    fitting: list[Trace] = []
    too_long = 0
    for trace in traces:
        if len(fitting) == limit:
            break
        if fits(trace):
            fitting.append(trace)
        else:
            too_long += 1
    if not fitting:
        raise ValueError(
            f"{file}: none of {len(traces)} programs or functions has at most {longest} tokens, half of the model's "
            "context: take a model with a longer one."
        )
    return fitting, too_long


def _functions(whole: Trace) -> list[Trace]:
    """The functions of a file that is too long as a whole; the file itself where it has none."""
    from ra3_lab.corpus import trace_of_code
    from ra3_lab.corpus.functions import functions
    from ra3_lab.trace.python import syntax_tree

    found = functions(whole.code, syntax_tree(whole.code))
    return [trace_of_code(f.code, "", f"{whole.trace_id}:{f.line} {f.name}") for f in found] or [whole]


def render(records: list[dict[str, Any]], model: str, format: str) -> str:
    """The records in one of the formats."""
    from ra3_lab.evaluate.annotation import annotation_text

    if format == "json":
        return json_text({"schema_version": 1, "model": model, "programs": records})
    if format == "text":
        return "\n\n".join(annotation_text(record) for record in records)
    from importlib.resources import files

    from ra3_lab.explore.programs import annotated_program, gain_bounds

    css = (files("ra3_lab.explore") / "report.css").read_text(encoding="utf-8")
    bounds = gain_bounds(records)
    articles = "\n".join(annotated_program(record, bounds) for record in records)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>Annotated programs</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>Programs with the thoughts of {escape(model)}</h1>\n{articles}\n</main>\n</body>\n</html>"
    )
