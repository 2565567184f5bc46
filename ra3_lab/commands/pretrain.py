"""`ra3-lab pretrain`: make an embedded base model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from ra3_lab.pretrain.train import PretrainConfig

_DEFAULTS = PretrainConfig()


def run(
    out: Path,
    config: Annotated[PretrainConfig, tyro.conf.arg(name="")] = _DEFAULTS,
    threads: int = 2,
) -> int:
    """Train tokenizer and base model; writes model, tokenizer, config and log to OUT.

    Example: ra3-lab pretrain --out runs/base --tokens 2000000

    Args:
        out: Folder for the model; must not hold one yet.
        config: Shape, length and corpus.
        threads: CPU threads.
    """
    import torch

    from ra3_lab.pretrain.train import pretrain
    from ra3_lab.tasks.pipelines import SPLITS, load_split

    torch.set_num_threads(threads)
    exclude = {task.signature for name in SPLITS for task in load_split(name)}
    pretrain(config, out, exclude)
    print(f"model written to {out}")
    return 0
