"""One EM round and GRPO steps in NF4 with double quantisation on a randomly initialised model of a real one's shape:
peak memory against the plan, tokens a second of rollout, scoring and update beside Hugging Face's generate and a peft
update on the same model, and the share of what the machine could do at most.

    python benchmarks/gpu.py --json benchmarks/results/gpu.json                     # Qwen2.5-1.5B's shape, a 12 GB plan
    python benchmarks/gpu.py --shape tiny --length 48 --programs 2 --group 2        # any CPU, seconds

Needs no network: weights are random and the embedded model's tokenizer stands in for the real one (its tokens are a
part of the vocabulary). Status 1 where the peak passes --limit on a GPU. The roofline: a sampled token must read every
weight of the decoder once per batch (bandwidth, measured by a copy); scoring and updates must multiply (2 operations a
weight and token forward, 4 with the gradient of the inputs; rate measured by a matrix product of the same type).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ra3_lab.evaluate.latents import trace_of
from ra3_lab.midtrain.estep import EStep, EStepConfig, score_traces
from ra3_lab.midtrain.loop import infuse
from ra3_lab.midtrain.mstep import FineTuner, MStepConfig
from ra3_lab.models.adapters import prepare, twin
from ra3_lab.models.decoder import Decoder
from ra3_lab.models.generation import Sampling, decode
from ra3_lab.models.load import best_precision, dtype_of, load_model, pick_device
from ra3_lab.models.plan import GB, Job, Shape, peak, stages
from ra3_lab.models.presets import choose, memory_preset, shape_by_name
from ra3_lab.models.rollout import LatentSampling, sample_latents
from ra3_lab.models.variants import Variant
from ra3_lab.rlvr.groups import Answer, Completion, Group
from ra3_lab.rlvr.update import GRPO, UpdateConfig
from ra3_lab.runs import write_json
from ra3_lab.runs.provenance import versions
from ra3_lab.tasks.pipelines import load_split
from ra3_lab.trace import Trace

TINY = Shape("tiny", "qwen2", 64, 192, 2, 4, 2, 16, 1_536, 1_024, True)


def random_model(shape: Shape, dtype: torch.dtype, device: torch.device) -> Any:
    """A causal model of this shape with random weights, made where it is to be."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        shape.model_type,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocabulary,
        max_position_embeddings=min(shape.context, 4_096),
        tie_word_embeddings=shape.tied,
    )
    torch.manual_seed(0)
    with device:
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def long_traces(tokenizer: Any, count: int, length: int) -> list[Trace]:
    """Expert programs, lines of further ones added until there are `length` tokens."""
    source = [trace_of(task) for task in load_split("expert")[: count * 12]]
    made = []
    for number in range(count):
        first, lines = source[number], list(source[number].lines)
        extra = (line for trace in source[number + 1 :] for line in trace.lines)
        room = length - len(tokenizer.encode_trace(first).ids)
        for line in extra:
            room -= len(tokenizer.encode_line(line))
            if room < 0:
                break
            lines.append(line)
        made.append(Trace(first.prompt, tuple(lines), trace_id=str(number)))
    return made


class Meter:
    """Seconds and tokens of each stage, and the peak of memory in it."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.rows = device, {}

    def wait(self) -> None:
        """Until the GPU is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def run(self, name: str, tokens: int | Callable[[Any], int], work: Callable[[], Any]) -> Any:
        """Do it once untimed and once timed; `tokens` are those of one time, known before or from the result."""
        work()
        self.wait()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        begin = time.perf_counter()
        found = work()
        self.wait()
        seconds = time.perf_counter() - begin
        count = tokens(found) if callable(tokens) else tokens
        row = {"seconds": round(seconds, 4), "tokens": count, "tokens_per_second": round(count / seconds, 1)}
        if self.device.type == "cuda":
            row["peak_gb"] = round(torch.cuda.max_memory_allocated(self.device) / GB, 3)
        self.rows[name] = row
        peak = f", peak {row['peak_gb']:.2f} GB" if "peak_gb" in row else ""
        print(f"{name:<34} {row['tokens_per_second']:>10,.0f} tokens/s, {seconds:8.3f} s{peak}", flush=True)
        return found


def machine(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """What the machine does at most: operations a second of a matrix product, bytes a second of a copy (both ways)."""
    size = 8_192 if device.type == "cuda" else 768
    a = torch.randn(size, size, device=device, dtype=dtype)
    block = torch.zeros(2**29 if device.type == "cuda" else 2**25, dtype=torch.uint8, device=device)
    target = torch.empty_like(block)
    best: dict[str, float] = {"flops": 0.0, "bytes": 0.0}
    for _ in range(6):
        for name, work, amount in (
            ("flops", lambda: a @ a, 2.0 * size**3),
            ("bytes", lambda: target.copy_(block), 2.0 * block.numel()),
        ):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            begin = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best[name] = max(best[name], amount / (time.perf_counter() - begin))
    return best


def groups_of(rows: Any, prompts: list[list[int]]) -> list[Group]:
    """Sampled rows as groups whose rewards differ within each (no judge: it costs no GPU time)."""
    groups = []
    for number, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
        answers = [
            Answer(Completion("", len(ids), False, "length", tuple(ids), tuple(logp)), "", float(member % 2))
            for member, (ids, logp) in enumerate(row)
        ]
        groups.append(Group(str(number), "", tuple(prompt), tuple(answers)))
    return groups


def hf_generate(model: Any, prompts: list[list[int]], group: int, new: int) -> int:
    """The peer of sampling: generate on the 4-bit model with its adapters, all rows in one batch."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts for _ in range(group)], device=model.device)
    mask = torch.tensor(
        [[0] * (width - len(p)) + [1] * len(p) for p in prompts for _ in range(group)], device=model.device
    )
    with torch.no_grad():
        model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=True,
            top_k=0,
            max_new_tokens=new,
            min_new_tokens=new,
            pad_token_id=0,
            eos_token_id=model.config.vocab_size - 1,
        )
    return len(ids) * new


def peft_update(model: Any, optimizer: Any, rows: torch.Tensor, at_once: int, precision: torch.dtype) -> None:
    """The peer of the update: transformers' own loss, backward and AdamW, as many rows at once as ours."""
    model.train()
    for part in rows.split(max(1, at_once // rows.shape[1])):
        with torch.autocast(rows.device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
            (model(input_ids=part, labels=part, use_cache=False).loss * len(part) / len(rows)).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    model.eval()


def peer_scores(model: Any, rows: torch.Tensor, at_once: int) -> None:
    """The peer of scoring: log-probabilities of every token from the whole logits."""
    with torch.no_grad():
        for part in rows.split(max(1, at_once // rows.shape[1])):
            logits = model(input_ids=part, use_cache=False).logits[:, :-1]
            for row, ids in zip(logits, part, strict=True):  # a row at a time: the whole would not fit
                -F.cross_entropy(row.float(), ids[1:], reduction="none")


def em_round(
    meter: Meter, model: Any, tokenizer: Any, traces: list[Trace], group: int, at_once: int, precision: str
) -> None:
    """E-step and M-step: rollouts, scoring, a whole update of q, an update of pi on infused programs."""
    config = EStepConfig(programs=len(traces), group=group, tokens_at_once=at_once)
    estep = EStep(twin(model), model, tokenizer, config, 0, precision)
    tuner = FineTuner(model, tokenizer, MStepConfig(tokens_at_once=at_once), precision)
    repeated = [trace for trace in traces for _ in range(group)]
    how = LatentSampling(0.5)
    forced = sum(len(tokenizer.encode_trace(trace).ids) for trace in repeated)
    rollouts = meter.run(
        "E-step: rollout",
        forced,
        lambda: sample_latents(Decoder(estep.q, dtype_of(precision)), tokenizer, repeated, how, 0, 0),
    )
    encoded = [rollout.encode(tokenizer) for rollout in rollouts]
    count = sum(len(e.ids) for e in encoded)
    meter.run("E-step: scoring", count, lambda: score_traces(model, encoded, tokenizer, at_once, precision))
    meter.run("E-step: whole update", count, lambda: estep.update(traces, 0))
    infused = infuse(estep.q, tokenizer, traces, 0.5, 16, precision, 0, 0)
    plain = [tokenizer.encode_trace(trace) for trace in infused]
    meter.run("M-step: update", sum(len(e.ids) for e in plain), lambda: tuner.update(plain))


def grpo_steps(
    meter: Meter, model: Any, prompts: list[list[int]], group: int, how: Sampling, at_once: int, precision: str
) -> None:
    """GRPO: answers that no token ends, so that both sides write the same number of them, and an update."""
    rows = len(prompts) * group
    keys = np.arange(rows).reshape(len(prompts), group)
    dtype = dtype_of(precision)
    sampled = meter.run(
        "GRPO: sampling", rows * how.max_new, lambda: decode(Decoder(model, dtype), prompts, keys, how, (0, 0), eos=-1)
    )
    trainer, groups = GRPO(model, UpdateConfig(tokens_at_once=at_once), how, precision), groups_of(sampled, prompts)
    whole = sum(len(prompt) for prompt in prompts) * group + rows * how.max_new
    meter.run("GRPO: update", whole, lambda: trainer.update(groups))


def peers(
    meter: Meter, model: Any, prompts: list[list[int]], group: int, new: int, length: int, at_once: int, precision: str
) -> None:
    """The same model with transformers and peft alone."""
    rows, dtype = len(prompts) * group, dtype_of(precision)
    ids = torch.randint(3, 1_000, (rows, length), device=model.device)
    meter.run("peer: generate", rows * new, lambda: hf_generate(model, prompts, group, new))
    meter.run("peer: scoring", ids.numel(), lambda: peer_scores(model, ids, at_once))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    meter.run("peer: update", ids.numel(), lambda: peft_update(model, optimizer, ids, at_once, dtype))


def setting(arguments: argparse.Namespace) -> tuple[Shape, Variant, Job]:
    """The model's shape, and the first 4-bit setting of the memory preset that fits it."""
    if arguments.shape == "tiny":
        return TINY, Variant("nf4", adapter="lora"), Job(512, arguments.length, arguments.programs * arguments.group)
    shape, memory = shape_by_name(arguments.shape), memory_preset(arguments.preset)
    choice = choose(shape, replace(memory, settings=tuple(s for s in memory.settings if s[0].quantized)))
    rows = arguments.programs * arguments.group
    return shape, choice.variant, replace(choice.job, length=arguments.length, rows=rows)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Build the model, run every stage and its peer; the record."""
    device, precision = pick_device(arguments.device), best_precision()
    gpu, dtype = device.type == "cuda", dtype_of(precision)
    shape, variant, job = setting(arguments)
    _, tokenizer = load_model("embedded", "cpu")
    made = random_model(shape, dtype if gpu else torch.float32, device)
    model = prepare(made, variant, device=device)
    del made
    if gpu:
        torch.cuda.empty_cache()
    meter, at_most = Meter(device), machine(device, dtype)
    traces = long_traces(tokenizer, arguments.programs, arguments.length)
    prompts = [tokenizer.encode_prompt(trace.prompt)[: arguments.length // 4] for trace in traces]
    how = Sampling(max_new=arguments.length - max(map(len, prompts)))
    em_round(meter, model, tokenizer, traces, arguments.group, job.tokens_at_once, precision)
    grpo_steps(meter, model, prompts, arguments.group, how, job.tokens_at_once, precision)
    peers(meter, model, prompts, arguments.group, how.max_new, arguments.length, job.tokens_at_once, precision)
    rates = {name: row["tokens_per_second"] for name, row in meter.rows.items()}
    weights, size = shape.linear + shape.vocabulary * shape.hidden, torch.finfo(dtype).bits // 8
    forward = at_most["flops"] / (2.0 * weights)
    roofs = {
        "GRPO: sampling": min(job.rows * at_most["bytes"] / (weights * size), forward),
        "E-step: scoring": forward,
        "M-step: update": forward / (2 + variant.checkpointing),
        "GRPO: update": forward / (2 + variant.checkpointing),
    }
    for name, roof in roofs.items():
        meter.rows[name] |= {"roof": round(roof, 1), "share": round(rates[name] / roof, 4)}
    return {
        "schema_version": 1,
        "date": str(date.today()),
        "versions": versions(),
        "device": torch.cuda.get_device_name(device) if gpu else "cpu",
        "shape": asdict(shape),
        "variant": asdict(variant),
        "job": asdict(job),
        "machine": at_most,
        "stages": meter.rows,
        "times_the_peer": {
            "sampling": round(rates["GRPO: sampling"] / rates["peer: generate"], 3),
            "scoring": round(rates["E-step: scoring"] / rates["peer: scoring"], 3),
            "update": round(rates["M-step: update"] / rates["peer: update"], 3),
        },
        "planned_peak_gb": round(peak(stages(shape, variant, job, size if gpu else 4)).total / GB, 3),
        "peak_gb": max(row["peak_gb"] for row in meter.rows.values()) if gpu else None,
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="qwen2.5-1.5b", help="a model preset, or tiny")
    parser.add_argument("--preset", default="12gb", help="memory preset whose 4-bit settings are taken")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--length", type=int, default=512, help="tokens of a program, and of prompt and answer")
    parser.add_argument("--programs", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--limit", type=float, default=12.0, help="GB that the peak must stay under on a GPU")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    record = measure(arguments)
    for name, row in record["stages"].items():
        if "share" in row:
            print(f"{name}: {row['share']:.1%} of the roof ({row['roof']:,.0f} tokens/s)")
    print("times the peer's rate:", record["times_the_peer"])
    print(f"planned peak {record['planned_peak_gb']} GB, measured {record['peak_gb'] or 'on a GPU only'}")
    if arguments.json:
        write_json(arguments.json, record)
    return int(bool(record["peak_gb"]) and record["peak_gb"] >= arguments.limit)


if __name__ == "__main__":
    sys.exit(main())
