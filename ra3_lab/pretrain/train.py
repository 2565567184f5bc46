"""Pre-train the embedded base model: tokenizer, Llama-shaped decoder, one pass over a drawn corpus.

Two departures from a textbook loop. The loss of a pipeline counts its body only (its docstring is random by design);
a standard-library function counts whole. And half of the sequences get random gaps in their position ids at line ends
(after Ruoss et al. 2023, randomised positional encodings), so that distances beyond the training length are no surprise
when longer programs come.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ra3_lab.models.load import autocast
from ra3_lab.models.tokenizer import PROMPT, LineTokenizer, train_tokenizer
from ra3_lab.pretrain.corpus import CorpusConfig, ordered_list, pipeline_traces, stdlib_functions, word_list
from ra3_lab.trace import Trace


@dataclass(frozen=True)
class PretrainConfig:
    """Shape of the model, length of the training and the corpus."""

    seed: int = 0
    """Seed of corpus, initial weights and data order."""
    precision: str = "auto"
    """auto, bf16 or fp32; auto means bf16 where the processor has instructions for it. Elsewhere bf16 is far slower."""
    tokens: int = 8_000_000
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


Sequence = tuple[np.ndarray, np.ndarray, np.ndarray]  # ids, counted, positions; each (T,)


def _encode_pipeline(tokenizer: LineTokenizer, trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    encoded = tokenizer.encode_trace(trace)
    return encoded.ids, encoded.roles != PROMPT


def _encode_function(tokenizer: LineTokenizer, text: str, longest: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.array([*tokenizer.encode_prompt(text), tokenizer.eos])[:longest]
    counted = np.ones(len(ids), dtype=bool)
    counted[0] = False
    return ids, counted


def _encode_list(tokenizer: LineTokenizer, given: str, ordered: str) -> tuple[np.ndarray, np.ndarray]:
    before = tokenizer.encode_prompt(given)
    after = [token for line in ordered.splitlines(keepends=True) for token in tokenizer.encode_line(line)]
    return np.array([*before, *after, tokenizer.eos]), np.arange(len(before) + len(after) + 1) >= len(before)


def _positions(
    rng: np.random.Generator, ids: np.ndarray, newline: int, share: float, config: PretrainConfig
) -> np.ndarray:
    """0, 1, 2, ... with up to three jumps at line ends in a share of the sequences."""
    positions = np.arange(len(ids))
    ends = np.flatnonzero(ids[:-1] == newline)
    if len(ends) and rng.random() < share:
        room = min(config.widest_gap, config.context - len(ids))
        for end in rng.choice(ends, size=rng.integers(1, 4)):
            positions[end + 1 :] += rng.integers(0, max(room // 3, 1))
    return positions


def batches(
    tokenizer: LineTokenizer, functions: list[str], config: PretrainConfig, exclude: set[tuple]
) -> Iterator[list[Sequence]]:
    """Endless batches of about `batch_tokens` tokens, sequences of similar length together.

    The first `lists_first` tokens are lists only, without gaps in their positions: looking an entry up by its letter is
    learned there in minutes, among pipelines alone in hours.
    """
    rng = np.random.default_rng(config.seed)
    traces = pipeline_traces(config.seed, config.corpus, exclude)
    lists, words = random.Random(config.seed + 2), word_list(functions)
    given = 0
    while True:
        pool = []
        only_lists = given < config.corpus.lists_first
        for _ in range(1024):
            draw = rng.random()
            if only_lists or draw > 1 - config.corpus.lists:
                ids, counted = _encode_list(tokenizer, *ordered_list(lists, words))
            elif functions and draw < config.corpus.stdlib:
                ids, counted = _encode_function(tokenizer, functions[rng.integers(len(functions))], 448)
            else:
                ids, counted = _encode_pipeline(tokenizer, next(traces))
            gaps = 0.0 if only_lists else config.position_gaps
            pool.append((ids, counted, _positions(rng, ids, tokenizer.newline, gaps, config)))
        given += sum(len(ids) for ids, _, _ in pool)
        pool.sort(key=lambda sequence: len(sequence[0]))
        ready, batch = [], []
        for sequence in pool:
            if batch and (len(batch) + 1) * len(sequence[0]) > config.batch_tokens:
                ready.append(batch)
                batch = []
            batch.append(sequence)
        ready.append(batch)
        for i in rng.permutation(len(ready)):
            yield ready[i]


def _collate(batch: list[Sequence], pad: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids, targets (-100 where not counted) and positions, each (B, T)."""
    width = max(len(ids) for ids, _, _ in batch)
    ids = torch.full((len(batch), width), pad)
    targets = torch.full((len(batch), width), -100)
    positions = torch.zeros((len(batch), width), dtype=torch.long)
    for row, (sequence, counted, place) in enumerate(batch):
        length = len(sequence)
        ids[row, :length] = torch.from_numpy(sequence)
        targets[row, :length] = torch.from_numpy(np.where(counted, sequence, -100))
        positions[row, :length] = torch.from_numpy(place)
    return ids, targets, positions


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


def pretrain(config: PretrainConfig, out: Path, exclude: set[tuple], stop_after: int | None = None) -> Any:
    """Train a base model and write model, tokenizer, config and log (one JSON line every 20 updates) to `out`.

    `stop_after` ends after that many updates with the same schedule (for tests). Raises FileExistsError if `out` holds
    a model.
    """
    from transformers.utils import logging

    if (out / "model.safetensors").exists():
        raise FileExistsError(f"{out} already holds a model: choose another --out or delete it.")
    out.mkdir(parents=True, exist_ok=True)
    logging.disable_progress_bar()  # every checkpoint would draw one over our own progress lines
    functions, digest = stdlib_functions() if config.corpus.stdlib > 0 else ([], "")
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
    record = {
        "schema_version": 1,
        "config": asdict(config),
        "parameters": sum(p.numel() for p in model.parameters()),
        "stdlib_functions": len(functions),
        "stdlib_sha256": digest,
        "torch": torch.__version__,
        "tokenizer_sha256": hashlib.sha256(tokenizer.hf.backend_tokenizer.to_str().encode()).hexdigest(),
    }
    (out / "pretrain_config.json").write_text(json.dumps(record, indent=1) + "\n")
    seen = updates = 0
    losses: list[float] = []
    start, cpu = time.perf_counter(), time.process_time()
    with open(out / "pretrain_log.jsonl", "w") as log:
        for batch in batches(tokenizer, functions, config, exclude):
            ids, targets, positions = _collate(batch, tokenizer.pad)
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _rate((seen + 1) / config.tokens)
            with autocast(model, config.precision):
                logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            seen += sum(len(sequence) for sequence, _, _ in batch)
            updates += 1
            losses.append(loss.item())
            last = seen >= config.tokens or updates == stop_after
            if updates % 20 == 0 or last:
                row = {
                    "update": updates,
                    "tokens": seen,
                    "loss": round(float(np.mean(losses)), 5),
                    "seconds": round(time.perf_counter() - start, 1),
                    "cpu_seconds": round(time.process_time() - cpu, 1),
                }
                log.write(json.dumps(row) + "\n")
                log.flush()
                losses = []
                if updates % 200 == 0 or last:
                    print(
                        f"pretrain {seen / config.tokens:6.1%}  update {updates}  loss {row['loss']:.4f}  "
                        f"{row['seconds']:.0f} s",
                        flush=True,
                    )
            if last or updates % config.save_every == 0:
                model.save_pretrained(out)
                tokenizer.hf.save_pretrained(out)
            if last:
                return model
