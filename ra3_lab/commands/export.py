"""`ra3-lab export`: a run's adapters or merged weights, with a model card."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ra3_lab.commands.output import Json, results


def run(
    source: Annotated[Path, tyro.conf.Positional],
    out: Path,
    form: Literal["adapter", "merged"] = "merged",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    device: str = "cpu",
    json: Json = None,
) -> int:
    """Write what a finished run trained, so that plain transformers and peft load it; states what merging changed.

    Example: ra3-lab export runs/mine --out exported/mine --form adapter

    Example: ra3-lab export runs/mine --out exported/mine-merged --dtype bfloat16

    Args:
        source: A finished run.
        out: New folder.
        form: adapter, or merged (float weights with the adapters in them).
        dtype: Type of merged weights.
        device: cpu, or cuda.
        json: Write the result as JSON to FILE, or to stdout.
    """
    import torch

    from ra3_lab.models.export import export
    from ra3_lab.models.trained import trained_model
    from ra3_lab.runs import view_run

    if out.exists():
        raise FileExistsError(f"{out} exists already: choose another --out or delete it.")
    with results("export", json) as emit:
        view = view_run(source)
        if view.summary is None:
            go_on = f"ra3-lab {view.record['command']} --resume {shlex.quote(str(source))}"
            raise ValueError(f"{source} is not finished: go on with {go_on} first.")
        model, tokenizer, base = trained_model(source, device)
        sequences = [tokenizer.encode_prompt(text) for text in _texts(source)]
        error = export(model, tokenizer, out, form, base, sequences, view.summary, getattr(torch, dtype))
        print(f"{out}: {form} of {source}")
        if error["tokens"]:
            print(
                f"merging changed log-probabilities by {error['mean']:.2g} nats a token, at most {error['largest']:.2g}"
            )
        emit({"out": out, "form": form, "merge_error": error})
    return 0


def _texts(run: Path) -> list[str]:
    """Some programs that the run wrote down: what merging changes is measured on them."""
    from ra3_lab.runs import read_jsonl

    rows = {name: read_jsonl(run / name)[:8] for name in ("traces.jsonl", "groups.jsonl") if (run / name).exists()}
    traces = [row["prompt"] + "".join(row["lines"]) for row in rows.get("traces.jsonl", [])]
    return traces + [row["prompt"] + row["answers"][0]["text"] for row in rows.get("groups.jsonl", [])]
