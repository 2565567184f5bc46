"""Rollout engines by name, and the checks that keep them honest, whichever writes the tokens.

An engine holds a snapshot of a policy. It writes whole answers (`decode`, for RLVR and evaluation) and latents between
forced lines (`latents`, for the E-step and the M-step). Three are there:

- ours (`decoder.Decoder`): Llama and Qwen2 models, forced lines many tokens at a time; the default;
- generate (`generation.Fallback`): whatever transformers can generate with, static cache, the same keyed draws;
- vllm (`vllm.VLLM`): bf16 weights plus the adapter in a server's engine. NEVER RUN HERE: tests use a fake.

Two dangers of an engine outside the trainer. It may still hold an older adapter: `engine_of` loads the policy's
by `fingerprint`, and what was written with another one raises StaleEngine. And its numbers differ from the trainer's
(other kernels, bf16 for 4-bit weights): `mismatch_kl` says by how much.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ra3_lab.models.decoder import Decoder
from ra3_lab.models.generation import Fallback, sampler_of
from ra3_lab.models.load import dtype_of

ENGINES = ("auto", "decoder", "generate", "vllm")


class StaleEngine(RuntimeError):
    """An engine holds other weights than the policy it should sample from."""


def fingerprint(model: Any) -> str:
    """SHA-256 of what training changes in a policy: names and bits of the parameters that require a gradient."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def mismatch_kl(engine: Sequence[Sequence[float]], own: Sequence[Sequence[float]]) -> dict[str, float]:
    """How far the engine is from the trainer, in nats a token, over tokens that the engine drew: the mean difference of
    log-probabilities (k1, unbiased for KL(engine || trainer)), k3 (never negative, less noise), the largest distance.

    `engine` and `own` are log-probabilities by row. Schulman 2020, "Approximating KL divergence".

    >>> found = mismatch_kl([[-1.0, -2.0]], [[-1.0, -2.5]])
    >>> found["k1"], found["largest"], round(found["k3"], 4)
    (0.25, 0.5, 0.0533)
    """
    drawn = np.concatenate([np.asarray(row, dtype=np.float64) for row in engine])
    scored = np.concatenate([np.asarray(row, dtype=np.float64) for row in own])
    log_ratio = scored - drawn
    k3 = np.expm1(log_ratio) - log_ratio
    return {"k1": float(-log_ratio.mean()), "k3": float(k3.mean()), "largest": float(np.abs(log_ratio).max())}


def check_engine(name: str) -> None:
    """Raises ValueError for an engine that does not exist."""
    if name not in ENGINES:
        raise ValueError(f"engine={name!r}: one of {', '.join(ENGINES)}.")


def engine_of(model: Any, precision: str = "auto", name: str = "auto") -> Any:
    """A snapshot of the policy in the engine of that name; auto takes ours where it knows the architecture, else
    generate, with a warning.

    Raises ValueError for an engine that does not exist or cannot serve the model, NeedsExtra for one that is not
    installed.
    """
    check_engine(name)
    if name in ("auto", "decoder"):
        dtype = dtype_of(precision, next(model.parameters()).device)
        return sampler_of(model, dtype) if name == "auto" else Decoder(model, dtype)
    if name == "generate":
        return Fallback(model)
    from ra3_lab.models.engines.vllm import VLLM

    return VLLM.of(model)
