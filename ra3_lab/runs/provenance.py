"""Where a result comes from: versions of what it depends on, the user's git commit, fingerprints of inputs."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    import torch

    names = ("ra3-lab", "torch", "transformers", "peft", "numpy", "tokenizers")
    found = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_state(folder: Path | None = None) -> dict[str, Any] | None:
    """Commit of the checkout that the folder (default: the current one) is in, and how many tracked files differ.

    None outside a checkout and where there is no git.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=5, check=True, errors="replace"
        )
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return {"commit": git("rev-parse", "HEAD"), "changed_files": len(changed.splitlines())}
    except (OSError, subprocess.SubprocessError):
        return None


def digest_of_texts(texts: Iterable[str]) -> str:
    """SHA-256 of texts in their order, each closed, so that moving a border changes it.

    >>> digest_of_texts(["ab", "c"]) == digest_of_texts(["a", "bc"])
    False
    """
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def digest_of_traces(traces: Iterable[Any]) -> str:
    """SHA-256 of programs and their latents."""
    return digest_of_texts(str((t.prompt, t.lines, t.latents)) for t in traces)


def digest_of_weights(model: Any) -> str:
    """SHA-256 of a torch module's parameters, names and bits, tied ones once."""
    import torch

    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
