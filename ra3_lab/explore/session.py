"""The first cell of every walkthrough: `lab = start("05", minutes=2, memory_gb=1)`.

It says what the notebook runs on, sets the style and the threads, and hands out models and records. A *preset* names
the model; with a GPU the same cells take a real one: change `preset` and run again.
"""

from __future__ import annotations

import contextlib
import logging
import platform
import sys
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

import ra3_lab
from ra3_lab.explore.display import in_notebook, show_html, show_style
from ra3_lab.threads import use_threads

PRESETS: dict[str, tuple[str, str]] = {
    "embedded": ("embedded", "cpu"),
    "qwen-0.5b": ("Qwen/Qwen2.5-Coder-0.5B", "cuda"),
    "qwen-1.5b": ("Qwen/Qwen2.5-Coder-1.5B", "cuda"),
}
"""Name -> (model, device). All but the first need a GPU and, the first time, the network."""


@dataclass
class Lab:
    """What a notebook works with."""

    preset: str
    """Name of the preset."""

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from ra3_lab.models.load import load_model

        return load_model(*PRESETS[self.preset])

    @property
    def model(self) -> Any:
        """The preset's model, loaded when first asked for."""
        return self._loaded[0]

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self._loaded[1]

    def record(self, name: str) -> dict[str, Any]:
        """A recorded run by name ("em") or by the path of a .json file."""
        from ra3_lab.records import load_record

        return load_record(name)

    def tasks(self, split: str = "expert", count: int | None = None) -> list[Any]:
        """Tasks of a shipped split of the pipelines world."""
        from ra3_lab.tasks.pipelines import load_split

        return load_split(split)[:count]

    def command(self, *words: object) -> None:
        """Run `ra3-lab WORDS` here, with its progress in the cell. Raises RuntimeError where it fails."""
        from ra3_lab.cli import main

        with contextlib.redirect_stderr(sys.stdout):
            status = main([str(word) for word in words])
        if status:
            raise RuntimeError(f"ra3-lab {words[0]} ended with status {status}: the reason stands above.")


def start(notebook: str, minutes: float, memory_gb: float, preset: str = "embedded", threads: int = 2) -> Lab:
    """Begin a notebook. Raises ValueError for an unknown preset, naming those there are."""
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r}: one of {', '.join(PRESETS)}.")
    import torch

    use_threads(threads)
    # peft imports bitsandbytes where it is installed, which then warns of a missing kernel that training cannot use.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    length = "half a minute" if minutes == 0.5 else f"{minutes:g} minute{'s' * (minutes != 1)}"
    model, device = PRESETS[preset]
    needs = f"about {length} and {memory_gb:g} GB of memory on two CPU cores"
    if device == "cuda":
        needs = f"a GPU, and the network the first time; the embedded preset needs {needs}"
    else:
        needs += "; no network"
    rows = {
        "Notebook": notebook,
        "Versions": f"ra3_lab {ra3_lab.__version__}, torch {torch.__version__}, Python {platform.python_version()}",
        "Preset": f"{preset} ({model} on {device})",
        "Needs": needs,
    }
    if in_notebook():
        show_style()
        cells = "".join(
            f'<tr><th scope="row">{name}</th><td class="words">{escape(text)}</td></tr>' for name, text in rows.items()
        )
        show_html(f'<table class="data">{cells}</table>', "\n".join(f"{name}: {text}" for name, text in rows.items()))
    else:
        print("\n".join(f"{name}: {text}" for name, text in rows.items()))
    return Lab(preset)
