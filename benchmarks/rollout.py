"""E-step rollouts against a per-token loop over the Hugging Face module with its key/value cache.

Both sides sample latents between forced expert lines for the same batch, in the same dtype, with the same
keyed uniforms. The loop is written as one would write it well: prompts left-padded and prefilled in one pass,
then all rows advance one token a step, forced or sampled, with attention mask and position ids. In fp32 the
sampled traces must be equal, and the log-probability of everything after the prompt must agree to 1e-4 nats a
row, or the program ends with status 1.

    python benchmarks/rollout.py --json rollout.json
    python benchmarks/rollout.py --model MODEL_DIR --rows 32 --threads 1
"""

from __future__ import annotations

import copy
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ra3_lab  # isort: skip  (before torch: sets how OpenMP threads wait)

import numpy as np
import torch
import transformers
import tyro
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from ra3_lab.evaluate.latents import trace_of
from ra3_lab.models.decoder import Cache, Decoder
from ra3_lab.models.load import load_model
from ra3_lab.models.rollout import LatentSampling, Rollout, sample_latents
from ra3_lab.models.sampling import draw_tokens, keyed_uniforms
from ra3_lab.models.tokenizer import LineTokenizer, train_tokenizer
from ra3_lab.resources import data_dir
from ra3_lab.tasks.pipelines import WorldConfig, make_tasks
from ra3_lab.trace import Trace

TOLERANCE = 1e-4  # nats a row, fp32
TARGET = 2.0  # times the loop's speed
SEED, UPDATE = 0, 0
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    model: Path | None = None
    """Model directory; default the embedded model, else random weights of its shape (which rarely think)."""
    rows: int = 64
    """Rows of the batch: groups of 8 latent sequences, as in an E-step update."""
    repeats: int = 5
    """Timed runs of each side, alternating; the fastest counts."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of torch threads."""
    precisions: tuple[str, ...] = ("fp32", "bf16")
    """Dtypes: fp32, bf16."""
    json: Path | None = None
    """File for the results."""


@dataclass
class Reference:
    """What the loop did."""

    thoughts: list[tuple[list[int] | None, ...]]
    """Per row and line the thought's tokens, or None."""
    ids: list[list[int]]
    """Per row all tokens, prompt included."""
    logits: list[torch.Tensor]
    """Per step (B, V): those of the prefill's last place, then one entry a step."""


class LoopRow:
    """Where one row of the loop stands."""

    def __init__(self, tokenizer: LineTokenizer, trace: Trace) -> None:
        self.ids = tokenizer.encode_prompt(trace.prompt)
        self.lines = [tokenizer.encode_line(line) for line in trace.lines]
        self.offered = [tokenizer.offered(line) for line in trace.lines]
        self.forced: list[int] = []  # tokens of the current line still to come
        self.thought: list[int] | None = None
        self.thoughts: list[list[int] | None] = []

    @property
    def deciding(self) -> bool:
        return not self.forced and self.thought is None and len(self.thoughts) < len(self.lines)

    def go_on(self, thought: list[int] | None) -> None:
        """Close the latent of this line; the line is forced next."""
        self.forced = list(self.lines[len(self.thoughts)])
        self.thoughts.append(thought)
        self.thought = None


@torch.no_grad()
def loop_over_module(model: Any, tokenizer: LineTokenizer, traces: list[Trace], how: LatentSampling) -> Reference:
    """Sample latents token by token with a batched key/value cache."""
    rows = [LoopRow(tokenizer, trace) for trace in traces]
    lengths = torch.tensor([len(row.ids) for row in rows])
    width = int(lengths.max())
    ids = torch.full((len(rows), width), tokenizer.pad)
    for i, row in enumerate(rows):
        ids[i, width - len(row.ids) :] = torch.tensor(row.ids)
    mask = (torch.arange(width)[None] >= width - lengths[:, None]).long()
    places = (mask.cumsum(-1) - 1).clamp(min=0)  # (B, width) position ids
    cache = DynamicCache(config=model.config)
    recorded = []
    while True:
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = output.logits[:, -1].float()
        recorded.append(logits)
        tokens = next_tokens(rows, logits, tokenizer, how)
        if all(token is None for token in tokens):
            break
        ids = torch.tensor([[tokenizer.pad if token is None else token] for token in tokens])
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], -1)
        places = places[:, -1:] + 1
    thoughts = [tuple(row.thoughts) for row in rows]
    return Reference(thoughts, [row.ids for row in rows], recorded)


def next_tokens(
    rows: list[LoopRow], logits: torch.Tensor, tokenizer: LineTokenizer, how: LatentSampling
) -> list[int | None]:
    """One token a row, forced or drawn; None for a finished row."""
    deciding = [i for i, row in enumerate(rows) if row.deciding]
    writing = [i for i, row in enumerate(rows) if row.thought is not None]
    if deciding:
        share = torch.softmax(logits[deciding] / how.temperature, -1)[:, tokenizer.marker].double().numpy()
        for i, yes in zip(deciding, uniforms(rows, deciding) < share, strict=True):
            row = rows[i]
            if yes and row.offered[len(row.thoughts)]:
                row.thought, row.forced = [], [tokenizer.marker]
            else:
                row.go_on(None)
    if writing:
        drawn = draw_tokens(logits[writing], uniforms(rows, writing), how.temperature, tokenizer.banned)
        for i, token in zip(writing, drawn.tolist(), strict=True):
            row = rows[i]
            assert row.thought is not None
            if token == tokenizer.newline or len(row.thought) == how.longest_thought:
                row.go_on(row.thought)
                row.forced.insert(0, tokenizer.newline)
            else:
                row.thought.append(token)
                row.forced = [token]
    tokens = []
    for row in rows:
        token = row.forced.pop(0) if row.forced else None
        if token is not None:
            row.ids.append(token)
        tokens.append(token)
    return tokens


def uniforms(rows: list[LoopRow], picked: list[int]) -> np.ndarray:
    """The draws that `sample_latents` uses at these rows' next places; a row's number is its key."""
    return keyed_uniforms(SEED, UPDATE, np.array(picked), np.array([len(rows[i].ids) for i in picked]))


def loop_logp(reference: Reference, prompts: list[int]) -> torch.Tensor:
    """(B,) summed log-probability of all tokens after the prompt, from the loop's logits."""
    logp = torch.stack(reference.logits).log_softmax(-1)  # (steps, B, V)
    sums = torch.zeros(len(prompts), dtype=torch.float64)
    for i, (ids, start) in enumerate(zip(reference.ids, prompts, strict=True)):
        new = torch.tensor(ids[start:])
        sums[i] = logp[torch.arange(len(new)), i, new].double().sum()
    return sums


@torch.no_grad()
def decoder_logp(decoder: Decoder, ids: list[list[int]], prompts: list[int]) -> torch.Tensor:
    """(B,) the same from the decoder, a row at a time."""
    sums = torch.zeros(len(prompts), dtype=torch.float64)
    for i, (row, start) in enumerate(zip(ids, prompts, strict=True)):
        hidden = decoder.forward(torch.tensor([row]), torch.tensor([0]), Cache(decoder, 1, len(row)))
        logp = decoder.logits(hidden[0, start - 1 : -1]).log_softmax(-1)
        sums[i] = logp[torch.arange(len(row) - start), torch.tensor(row[start:])].double().sum()
    return sums


def tokens_of(tokenizer: LineTokenizer, rollouts: list[Rollout]) -> list[list[int]]:
    """Per row all tokens, without the end of text."""
    return [rollout.encode(tokenizer).ids[:-1].tolist() for rollout in rollouts]


def fastest(sides: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Least seconds of each side; sides alternate, so that a busy machine slows all of them."""
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(repeats):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def measure(
    model: Any, tokenizer: LineTokenizer, traces: list[Trace], precision: str, threads: int, repeats: int
) -> dict[str, Any]:
    """Check both sides against each other, then time them. Taking the decoder's snapshot is timed too."""
    torch.set_num_threads(threads)
    frequencies = model.model.rotary_emb.inv_freq  # stay float32, as when a model is loaded in bf16
    model = copy.deepcopy(model).to(DTYPES[precision])
    model.model.rotary_emb.inv_freq = frequencies
    how = LatentSampling()
    prompts = [len(tokenizer.encode_prompt(trace.prompt)) for trace in traces]

    def ours() -> list[Rollout]:
        return sample_latents(Decoder(model, DTYPES[precision]), tokenizer, traces, how, SEED, UPDATE)

    def loop() -> Reference:
        return loop_over_module(model, tokenizer, traces, how)

    rollouts, reference = ours(), loop()  # also warm-up
    same = [r.thought_ids == t for r, t in zip(rollouts, reference.thoughts, strict=True)]
    decoder = Decoder(model, DTYPES[precision])
    apart = decoder_logp(decoder, reference.ids, prompts) - loop_logp(reference, prompts)
    best = fastest({"ours": ours, "loop": loop}, repeats)
    sampled = tokens_of(tokenizer, rollouts)
    decisions = sum(len(trace.lines) for trace in traces)
    return {
        "precision": precision,
        "threads": threads,
        "loop_seconds": round(best["loop"], 4),
        "ours_seconds": round(best["ours"], 4),
        "ratio": round(best["loop"] / best["ours"], 3),
        "new_tokens": sum(map(len, sampled)) - sum(prompts),
        "loop_steps": len(reference.logits),
        "think_share": round(sum(len(r.trace.thought_lines) for r in rollouts) / decisions, 4),
        "same_traces": sum(same) / len(same),
        "largest_logp_difference": float(apart.abs().max()),
    }


def load(path: Path | None, traces: list[Trace]) -> tuple[Any, LineTokenizer, str]:
    """The model asked for, the embedded one, or random weights of its shape."""
    embedded = data_dir() / "models" / "pipelines-base"
    if path is None and (embedded / "config.json").is_file():
        path = embedded
    if path is not None:
        return *load_model(path, "cpu"), path.name
    tokenizer = LineTokenizer(train_tokenizer([trace.text for trace in traces] * 4, 1280), "benchmark")
    torch.manual_seed(SEED)
    shape = LlamaConfig(
        vocab_size=1280,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=416,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(shape).eval(), tokenizer, "random weights"


def main(settings: Settings) -> int:
    """Measure, print, write; 1 where the two sides do not agree."""
    unknown = set(settings.precisions) - set(DTYPES)
    if unknown or settings.rows < 8 or settings.rows % 8:
        print(f"precisions are {', '.join(DTYPES)}; rows is a multiple of 8", file=sys.stderr)
        return 2
    tasks = make_tasks(7, settings.rows // 8, WorldConfig(), "benchmark")
    traces = [trace_of(task) for task in tasks for _ in range(8)]
    model, tokenizer, name = load(settings.model, traces)
    machine = {
        "model": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "rows": settings.rows,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "ra3_lab": ra3_lab.__version__,
    }
    print(", ".join(f"{key} {value}" for key, value in machine.items()), flush=True)
    print("precision threads  loop s  ours s  ratio  thoughts  same traces  largest logp difference")
    results, agree = [], True
    for precision in settings.precisions:
        for threads in settings.threads:
            row = measure(model, tokenizer, traces, precision, threads, settings.repeats)
            results.append(row)
            print(
                f"{precision:9s} {threads:7d} {row['loop_seconds']:7.3f} {row['ours_seconds']:7.3f}"
                f" {row['ratio']:6.2f} {row['think_share']:9.1%} {row['same_traces']:12.1%}"
                f" {row['largest_logp_difference']:12.1e}",
                flush=True,
            )
            if precision == "fp32":
                agree &= row["same_traces"] == 1 and row["largest_logp_difference"] <= TOLERANCE
    slowest = min(row["ratio"] for row in results)
    print(f"least ratio {slowest:.2f}, target {TARGET:.1f}; fp32 sides {'agree' if agree else 'DIFFER'}")
    if settings.json is not None:
        record = {"settings": asdict(settings), "machine": machine, "results": results, "agree": agree}
        settings.json.write_text(json.dumps(record, indent=1, default=str) + "\n")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Settings)))
