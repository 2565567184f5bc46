"""`ra3-lab pretrain`: make an embedded base model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from ra3_lab.commands.output import ConfigFile, Json, results
from ra3_lab.pretrain.train import PretrainConfig

_DEFAULTS = PretrainConfig()


def run(
    out: Path,
    config: Annotated[PretrainConfig, tyro.conf.arg(name="")] = _DEFAULTS,
    threads: int = 2,
    settings: ConfigFile = None,
    json: Json = None,
) -> int:
    """Train tokenizer and base model; writes model, tokenizer, config and log to OUT.

    Example: ra3-lab pretrain --out runs/base --tokens 2000000

    Args:
        out: Folder for the model; must not hold one yet.
        config: Shape, length and corpus.
        threads: CPU threads.
        settings: TOML or JSON file of these settings, nested ones as tables; flags override it.
        json: Write the result as JSON to FILE, or to stdout; progress then goes to stderr.
    """
    import torch

    from ra3_lab.pretrain.train import pretrain
    from ra3_lab.runs import read_json, read_jsonl
    from ra3_lab.tasks.pipelines import SPLITS, load_split

    with results("pretrain", json) as emit:
        torch.set_num_threads(threads)
        exclude = {task.signature for name in SPLITS for task in load_split(name)}
        pretrain(config, out, exclude)
        print(f"model written to {out}")
        last = read_jsonl(out / "pretrain_log.jsonl")[-1]
        emit({"model": out, "parameters": read_json(out / "pretrain_config.json")["parameters"], "last": last})
    return 0
