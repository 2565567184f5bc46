"""How much memory and time a run will take, from a model's configuration alone: nothing is loaded.

What counts: weights (4-bit ones with their scales), adapters, gradients, optimiser moments, activations kept for the
backward pass, logits, the decoder's float snapshot of the policy, its key/value cache, the frozen reference. The
activations per token and layer are those that autograd keeps in transformers' Llama and Qwen2 layers, counted with
`saved_tensors_hooks` (a test counts them again):

    float, all trained   6 h + 2 q + 2 k + 4 i + heads + 2
    adapters             4 h + 2 q + 2 k + 4 i + heads + 2 + 7 r       (the same over 4-bit weights)
    DoRA                 that + 2 x (outputs of all seven layers)

numbers, with h hidden size, q = heads x head size, k = key/value heads x head size, i intermediate size, r rank.
Checkpointing keeps h a layer, and one layer whole. `benchmarks/plan.py` measures the peaks.

Not counted: fragmentation, other programs, CUDA's own context (about 0.5 GB; `reserve` in data/presets/memory.json).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ra3_lab.models.scoring import chunk_of
from ra3_lab.models.variants import Variant

GB = 1_000_000_000


@dataclass(frozen=True)
class Shape:
    """A model's sizes."""

    name: str
    """Name for people."""
    model_type: str
    """Architecture as transformers names it."""
    hidden: int
    """Width of the residual stream."""
    intermediate: int
    """Width inside the feed-forward part."""
    layers: int
    """Transformer layers."""
    heads: int
    """Attention heads."""
    kv_heads: int
    """Key and value heads."""
    head_dim: int
    """Width of a head."""
    vocabulary: int
    """Tokens."""
    context: int
    """Longest sequence."""
    tied: bool
    """Whether input embeddings are the output head."""

    @property
    def gated(self) -> bool:
        """Whether the feed-forward part has a gate (three matrices) or not (two)."""
        return self.model_type != "starcoder2"

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """(out, in) of one layer's linear layers."""
        q, k, h, i = self.heads * self.head_dim, self.kv_heads * self.head_dim, self.hidden, self.intermediate
        up = ((i, h), (i, h)) if self.gated else ((i, h),)
        return ((q, h), (k, h), (k, h), (h, q), *up, (h, i))

    @property
    def linear(self) -> int:
        """Weights of all linear layers, the output head left out."""
        return self.layers * sum(a * b for a, b in self.matrices)

    @property
    def rest(self) -> int:
        """All other weights: embeddings, an untied head, norms, biases of Qwen2."""
        bias = (self.heads + 2 * self.kv_heads) * self.head_dim if self.model_type == "qwen2" else 0
        norms = self.layers * (2 * self.hidden + bias) + self.hidden
        return self.vocabulary * self.hidden * (1 if self.tied else 2) + norms

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.linear + self.rest

    def adapters(self, variant: Variant) -> int:
        """Weights of the adapters, for all linear layers."""
        if not variant.adapted:
            return 0
        each = sum((a + b) * variant.r + (a if variant.adapter == "dora" else 0) for a, b in self.matrices)
        return self.layers * each

    def kept(self, variant: Variant) -> float:
        """Numbers per token and layer that autograd keeps for the backward pass."""
        q, k = self.heads * self.head_dim, self.kv_heads * self.head_dim
        count = (4 if variant.adapted else 6) * self.hidden + 2 * q + 2 * k + 4 * self.intermediate + self.heads + 2
        if variant.adapted:
            count += 7 * variant.r
        if variant.adapter == "dora":
            count += 2 * sum(out for out, _ in self.matrices)
        return count


@dataclass(frozen=True)
class Job:
    """What a run does at a time."""

    tokens_at_once: int = 8_192
    """Padded tokens in one forward pass of training."""
    length: int = 1_024
    """Tokens of the longest program with its thoughts."""
    rows: int = 64
    """Sequences sampled at the same time."""
    reference: bool = False
    """Whether RLVR measures the KL to the initial policy: a second set of what is trained."""
    rl: bool = True
    """Whether an E-step (or RLVR) is part of the run, so that there is q beside pi."""


@dataclass(frozen=True)
class Stage:
    """Memory of one stage at its worst moment."""

    name: str
    """load, rollout, score or update."""
    parts: dict[str, float] = field(default_factory=dict)
    """Bytes by what they hold."""

    @property
    def total(self) -> float:
        """Bytes."""
        return sum(self.parts.values())


def shape_of(config: Mapping[str, Any], name: str = "model") -> Shape:
    """Sizes from a configuration as config.json holds it. Raises ValueError naming what is missing."""
    try:
        heads = config["num_attention_heads"]
        return Shape(
            name,
            config["model_type"],
            config["hidden_size"],
            config["intermediate_size"],
            config["num_hidden_layers"],
            heads,
            config.get("num_key_value_heads") or heads,
            config.get("head_dim") or config["hidden_size"] // heads,
            config["vocab_size"],
            config["max_position_embeddings"],
            bool(config.get("tie_word_embeddings", False)),
        )
    except KeyError as error:
        raise ValueError(f"the configuration of {name} has no {error}: plan knows Llama-like causal models.") from None


def weight_bytes(shape: Shape, variant: Variant, size: int) -> float:
    """Bytes of the base weights; `size` bytes for each that is not 4-bit."""
    if not variant.quantized:
        return shape.parameters * size
    # blocks of 64 share a scale: 4 bytes, or 1 and 4 more for each 256 scales
    scale = (1 + 4 / 256) / 64 if variant.nested else 4 / 64
    return shape.linear * (0.5 + scale) + shape.rest * size


def stages(shape: Shape, variant: Variant, job: Job, size: int = 4) -> list[Stage]:
    """Memory by stage. `size` is bytes a number in float computation: 4 on a CPU, 2 for bf16 on a GPU.

    Trained weights, their gradients and moments are float32 in any case.
    """
    small = size if variant.adapted or variant.quantized else 4  # how weights that are not 4-bit are stored
    trained = shape.adapters(variant) if variant.adapted else shape.parameters
    moments = 2.1 if "8bit" in variant.optimizer else 8
    base = {"weights": weight_bytes(shape, variant, small)}
    copies = 2 if job.rl else 1
    if variant.adapted:
        base["adapters"] = copies * trained * 4
    elif job.rl:
        base["second model (q)"] = shape.parameters * 4
    if job.reference:
        base["reference"] = shape.parameters * small if not variant.adapted else trained * 4
    held = {**base, "optimiser": copies * trained * moments}
    tokens = job.tokens_at_once
    # at the worst moment logits and their logarithms, in the E-step also the logits over the temperature
    logits = (2 + job.rl) * min(tokens, chunk_of(shape.vocabulary)) * shape.vocabulary * 4.0
    kept = shape.layers * shape.kept(variant)
    if variant.checkpointing:
        kept = shape.layers * shape.hidden + shape.kept(variant)
    update = {
        **held,
        "gradients": trained * 4.0,
        "activations": tokens * (kept + 3 * shape.hidden) * size,
        "logits": logits,
    }
    found = [Stage("load", base)]
    if job.rl:
        head = shape.vocabulary * shape.hidden if size == 4 else 0  # packed on a CPU, as all that is multiplied with
        snapshot = (shape.linear + head) * size
        cache = 2 * shape.layers * shape.kv_heads * shape.head_dim * job.rows * job.length * size
        found.append(Stage("rollout", {**held, "decoder": snapshot, "key/value cache": 1.25 * cache}))
        passing = tokens * (3 * shape.intermediate + 6 * shape.hidden) * size
        found.append(Stage("score", {**held, "passing through": passing, "logits": logits}))
    return [*found, Stage("update", update)]


def peak(found: Sequence[Stage]) -> Stage:
    """The stage that needs most."""
    return max(found, key=lambda stage: stage.total)


def minutes(shape: Shape, variant: Variant, tokens: float, rollouts: float, tflops: float) -> dict[str, float]:
    """Minutes of the M-step and the E-step, from arithmetic operations alone: 2 a weight and token forward, 2 more for
    the gradient of the inputs, 2 more for that of trained weights, 2 more where checkpointing computes again.

    Sampling reads weights rather than multiplying: it is counted at a tenth of the rate. A lower bound in practice.
    """
    once = 2.0 * (shape.linear + shape.vocabulary * shape.hidden)
    train = once * (2 + (not variant.adapted) + variant.checkpointing)
    rate = tflops * 1e12 * 60
    estep = rollouts * (10 * once + once + train) / rate
    return {"M-step": tokens * train / rate, "E-step": estep, "together": tokens * train / rate + estep}
