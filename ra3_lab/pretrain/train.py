"""Pre-train the embedded base model: tokenizer, Llama-shaped decoder, one pass over a drawn corpus.

Two departures from a textbook loop. The loss of a pipeline counts its body only (its docstring is random by design);
a standard-library function counts whole. And half of the sequences get random gaps in their position ids at line ends
(after Ruoss et al. 2023, randomised positional encodings), so that distances beyond the training length are no surprise
when longer programs come.

A run can be killed at any moment: with a keeper it goes on to the same weights, bit for bit on the same machine.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from ra3_lab.models.load import Precision, autocast
from ra3_lab.models.packed import onednn
from ra3_lab.models.sampling import check_seed
from ra3_lab.models.tokenizer import LineTokenizer, train_tokenizer
from ra3_lab.pretrain.corpus import CorpusConfig, pipeline_traces
from ra3_lab.pretrain.stream import Stream, collate
from ra3_lab.runs.checkpoint import TrainerState, capture, restore

if TYPE_CHECKING:
    from ra3_lab.midtrain.em import Keeper

LOG_EVERY = 20  # updates whose mean loss is one line of pretrain_log.jsonl


@dataclass(frozen=True)
class PretrainConfig:
    """Shape of the model, length of the training and the corpus."""

    seed: int = 0
    """Seed of corpus, initial weights and data order."""
    precision: Precision = "auto"
    """auto, bf16 or fp32; auto means bf16 where the processor has instructions for it. Elsewhere bf16 is far slower."""
    tokens: int = 18_000_000
    """Tokens to train on, padding not counted."""
    batch_tokens: int = 2_048
    """Tokens per update."""
    learning_rate: float = 2e-3
    """Peak learning rate; linear warm-up over 2 %, cosine to a tenth."""
    weight_decay: float = 0.05
    """AdamW weight decay on matrices."""
    vocab_size: int = 1_280
    """Size of the byte-level BPE vocabulary."""
    width: int = 128
    """Hidden size."""
    layers: int = 4
    """Transformer layers."""
    heads: int = 4
    """Attention heads."""
    hidden: int = 416
    """Width of the gated MLP."""
    context: int = 1_024
    """Longest sequence."""
    position_gaps: float = 0.5
    """Share of sequences with random gaps in their positions."""
    widest_gap: int = 320
    """Largest sum of gaps in a sequence."""
    save_every: int = 500
    """Updates between two checkpoints; each replaces the last."""
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    """What is trained on."""

    def __post_init__(self) -> None:
        check_seed(self.seed)


def new_model(config: PretrainConfig, tokenizer: LineTokenizer) -> Any:
    """A freshly initialised Llama-architecture model of the configured shape."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(config.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer.hf),
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            intermediate_size=config.hidden,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=config.context,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos,
            eos_token_id=tokenizer.eos,
            pad_token_id=tokenizer.pad,
        )
    )


def _rate(done: float) -> float:
    """Share of the peak learning rate after this share of the training."""
    return min(done / 0.02, 1.0) * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def make_tokenizer(config: PretrainConfig, functions: list[str], exclude: set[tuple]) -> LineTokenizer:
    """The BPE tokenizer, trained on 4,000 pipelines and every fourth standard-library function."""
    traces = pipeline_traces(config.seed + 1, config.corpus, exclude)
    texts = [next(traces).text for _ in range(4_000)] + functions[::4]
    random.Random(config.seed).shuffle(texts)
    return LineTokenizer(train_tokenizer(texts, config.vocab_size), "the new tokenizer")


@dataclass
class Pretrained:
    """What a run leaves behind."""

    model: Any
    """The base model."""
    tokenizer: LineTokenizer
    """Its tokenizer."""
    history: list[dict] = field(default_factory=list)
    """One record per update: update, tokens so far, loss in nats per counted token, seconds and CPU seconds."""


def pretrain(
    config: PretrainConfig,
    exclude: set[tuple],
    functions: list[str],
    keeper: Keeper | None = None,
    report: Callable[[dict], None] | None = None,
    stop_after: int | None = None,
) -> Pretrained:
    """Train a base model; none of its pipelines is in `exclude`, `functions` are the library's (`stdlib_functions`).

    With a `keeper` the run goes on from its latest state, if there is one, to the same result as without the break.
    `report(record)` is called after each update. `stop_after` ends after that many updates with the same schedule
    (for tests). Raises FloatingPointError where the loss is not finite.
    """
    tokenizer = make_tokenizer(config, functions, exclude)
    model = new_model(config, tokenizer)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    stream, result = Stream(tokenizer, functions, config, exclude), Pretrained(model, tokenizer)
    seen = updates = 0
    start, cpu = time.perf_counter(), time.process_time()
    if keeper is not None and (saved := keeper.latest()) is not None:
        values = restore(saved, {"model": model}, {"model": optimizer}, {})
        stream.seek(values["stream"])
        seen, updates = values["tokens"], saved.step
        start, cpu = start - values["seconds"], cpu - values["cpu_seconds"]
        result.history = keeper.history()

    def state() -> TrainerState:
        spent = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
        values = {"stream": stream.position(), "tokens": seen, **spent}
        return capture(updates, {"model": model}, {"model": optimizer}, {}, values)

    while seen < config.tokens and updates != stop_after:
        batch = next(stream)
        ids, targets, positions = collate(batch, tokenizer.pad)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _rate((seen + 1) / config.tokens)
        with onednn(), autocast(model, config.precision):
            logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets[:, 1:].flatten())
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"update {updates}: the loss is {loss.item()}; lower learning_rate ({config.learning_rate})."
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += sum(len(sequence) for sequence, _, _ in batch)
        updates += 1
        record = {
            "stage": "pretrain",
            "update": updates,
            "tokens": seen,
            "loss": loss.item(),
            "seconds": round(time.perf_counter() - start, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
        }
        result.history.append(record)
        if keeper is not None:
            keeper.metrics(record)
        if report is not None:
            report(record)
        if keeper is not None:
            keeper.after_update(updates, state, seen >= config.tokens)
    return result


def save_origin(
    out: Path, config: PretrainConfig, result: Pretrained, functions: Sequence[str], stdlib_sha256: str
) -> None:
    """Beside a model's weights: `pretrain_config.json`, what it was made from, and `pretrain_log.jsonl`, how."""
    tokenizer = result.tokenizer.hf.backend_tokenizer.to_str()
    record = {
        "schema_version": 1,
        "config": asdict(config),
        "parameters": sum(p.numel() for p in result.model.parameters()),
        "stdlib_functions": len(functions),
        "stdlib_sha256": stdlib_sha256,
        "torch": torch.__version__,
        "tokenizer_sha256": hashlib.sha256(tokenizer.encode()).hexdigest(),
    }
    (out / "pretrain_config.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    text = "".join(json.dumps(row) + "\n" for row in log_rows(result.history))
    (out / "pretrain_log.jsonl").write_text(text, encoding="utf-8")


def log_rows(history: Sequence[dict]) -> list[dict]:
    """The history with one row for `LOG_EVERY` updates: their mean loss, and the rest as at the last of them."""
    rows = []
    for begin in range(0, len(history), LOG_EVERY):
        part = history[begin : begin + LOG_EVERY]
        loss = round(float(np.mean([row["loss"] for row in part])), 5)
        rows.append({name: loss if name == "loss" else value for name, value in part[-1].items() if name != "stage"})
    return rows
