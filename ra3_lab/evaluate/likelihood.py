"""Held-out likelihood of code under a policy that may think first.

log (1/K) sum_k p(lines | thoughts_k), thoughts sampled causally from the policy itself: in expectation a lower bound of
the log-evidence, rising with K. Every arm's first tokens are renormalised without the marker, NTP's too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ra3_lab.midtrain.estep import score_traces
from ra3_lab.models.engines.interface import engine_of
from ra3_lab.models.rollout import LatentSampling, sample_latents
from ra3_lab.models.sampling import MEASURING
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.trace import Trace, strip


def sample_log_likelihoods(
    model: Any,
    tokenizer: LineTokenizer,
    traces: Sequence[Trace],
    k: int,
    seed: int = 0,
    precision: str = "auto",
    think: bool = True,
    longest_thought: int = 16,
    tokens_at_once: int = 8_192,
) -> torch.Tensor:
    """(N, K) nats, float64: log p(lines | thoughts_k) of each trace with K sequences of thoughts sampled causally.

    Raises ValueError for k < 1. `think=False` gives log p(lines) with no thought at all, K times.
    """
    if k < 1:
        raise ValueError(f"k={k}: at least one sample.")
    repeated = [strip(trace) for trace in traces for _ in range(k)]
    how = LatentSampling(longest_thought=longest_thought, think=think)
    rollouts = sample_latents(engine_of(model, precision), tokenizer, repeated, how, seed, MEASURING)
    encoded = [rollout.encode(tokenizer) for rollout in rollouts]
    scored = score_traces(model, encoded, tokenizer, tokens_at_once, precision)
    return scored.line.double().sum(1).view(len(traces), k)


def k_sample_bound(
    model: Any,
    tokenizer: LineTokenizer,
    traces: Sequence[Trace],
    k: int,
    seed: int = 0,
    precision: str = "auto",
    think: bool = True,
    longest_thought: int = 16,
    tokens_at_once: int = 8_192,
) -> torch.Tensor:
    """(N,) nats per program: the K-sample bound of each trace's lines. Raises ValueError for k < 1.

    `think=False` gives log p(lines) with no thought at all.
    """
    drawn = sample_log_likelihoods(model, tokenizer, traces, k, seed, precision, think, longest_thought, tokens_at_once)
    return drawn.logsumexp(1) - math.log(k)
