"""Sampling timed against Hugging Face's `generate`: 64 rows, prompts of 32 tokens, 96 new ones, 3.5M parameters.

    python benchmarks/decode.py --json decode.json

Both sides alternate in one run, in the same dtype (fp32, and bf16 where the processor computes in it), on one thread
and on two; both sample at temperature 1 from the whole softmax and never stop early. Medians of CPU seconds decide,
since they do not count the waiting for a busy neighbour; wall seconds stand beside them. The roof is what products of
the model's own shape would take, attention, norms and draws left out. The answer is checked: log-probabilities of the
sampled tokens against the float32 module's logits.

`--busy` adds rounds in which another process computes all the time, and prints by how much they are slower.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ra3_lab.models.decoder import Decoder
from ra3_lab.models.generation import Sampling, decode
from ra3_lab.models.load import best_precision
from ra3_lab.models.packed import PackedLinear
from ra3_lab.runs import write_json
from ra3_lab.runs.provenance import versions

PROMPT, NEW, ROWS = 32, 96, 64


def small_llama(vocabulary: int = 1_280) -> Any:
    """A random Llama of 3.5M parameters."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        num_hidden_layers=4,
        intermediate_size=704,
        num_attention_heads=8,
        max_position_embeddings=1_024,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def matmul_rate(dtype: torch.dtype) -> float:
    """GFLOP per CPU second of a product of the model's own shape, by the kernel that is faster here: the roof for what
    is computed."""
    x, weight = torch.randn(ROWS, 256, dtype=dtype), torch.randn(1_408, 256, dtype=dtype)
    packed, best = PackedLinear(weight, None, dtype), 0.0
    for product in 5 * (packed, lambda x: torch.nn.functional.linear(x, weight)):
        cpu, _ = timed(lambda product=product: [product(x) for _ in range(200)])
        best = max(best, 200 * 2 * x.shape[0] * weight.numel() / cpu / 1e9)
    return best


@contextmanager
def neighbour() -> Iterator[None]:
    """Another process that computes all the time."""
    work = "import torch; torch.set_num_threads(1); x = torch.randn(512, 512)\nwhile True: x @ x"
    process = subprocess.Popen([sys.executable, "-c", work])
    try:
        time.sleep(3)
        yield
    finally:
        process.kill()
        process.wait()


def compare(model: Any, group: int, repeats: int, dtype: torch.dtype, busy: bool) -> dict[str, Any]:
    """`group` rows share a prompt. Times in seconds, medians."""
    prompts = torch.randint(1, 1_280, (ROWS // group, PROMPT), generator=torch.Generator().manual_seed(1))
    keys, how = np.arange(ROWS).reshape(-1, group), Sampling(max_new=NEW)
    rows = prompts.repeat_interleave(group, 0)
    decoder, theirs_model = Decoder(model, dtype), copy.deepcopy(model).to(dtype)

    def ours() -> Any:
        return decode(decoder, prompts.tolist(), keys, how, (0, 0), eos=-1)

    def theirs() -> None:
        with torch.no_grad():
            theirs_model.generate(
                rows, attention_mask=torch.ones_like(rows), do_sample=True, top_k=0, max_new_tokens=NEW, pad_token_id=0
            )

    ids, logp = ours()[0][0]
    with torch.no_grad():
        every = model(input_ids=torch.tensor([[*prompts[0].tolist(), *ids]])).logits[0].log_softmax(-1)
    apart = (every[PROMPT - 1 : -1].gather(-1, torch.tensor(ids)[:, None])[:, 0] - torch.tensor(logp)).abs().max()
    theirs()
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "generate": []}
    for _ in range(repeats):
        times["ours"].append(timed(ours))
        times["generate"].append(timed(theirs))
    record: dict[str, Any] = {"rows_per_prompt": group, "largest_logp_difference": float(apart)}
    for number, kind in enumerate(("cpu", "wall")):
        mine, other = (statistics.median(t[number] for t in times[side]) for side in ("ours", "generate"))
        record[kind] = {
            "ours_tokens_per_s": round(ROWS * NEW / mine),
            "generate_tokens_per_s": round(ROWS * NEW / other),
            "times_as_fast": round(other / mine, 2),
        }
    if busy:
        quiet = statistics.median(wall for _, wall in times["ours"])
        with neighbour():
            beside = statistics.median(timed(ours)[1] for _ in range(repeats))
        record["times_as_slow_beside_a_busy_process"] = round(beside / quiet, 2)
    return record


def main() -> None:
    """Run, print and write; status 1 where the two sides disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--groups", type=int, nargs="+", default=[8, 1], help="rows that share a prompt")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model = small_llama()
    flops = 2 * sum(p.numel() for p in model.parameters())
    dtypes = [torch.float32, *([torch.bfloat16] if best_precision() == "bf16" else [])]
    results = []
    for threads, dtype, group in itertools.product(arguments.threads, dtypes, arguments.groups):
        torch.set_num_threads(threads)
        roof = matmul_rate(dtype) * 1e9 / flops
        found = {"threads": threads, "dtype": str(dtype).removeprefix("torch.")}
        found |= compare(model, group, arguments.repeats, dtype, arguments.busy)
        found["roof_tokens_per_cpu_s"] = round(roof)
        found["share_of_roof"] = round(found["cpu"]["ours_tokens_per_s"] / roof, 2)
        results.append(found)
        print(found, flush=True)
    if arguments.json:
        record = {"date": datetime.date.today().isoformat(), "versions": versions(), "results": results}
        write_json(arguments.json, record | {"rows": ROWS, "prompt": PROMPT, "new": NEW})
    bound = {"float32": 1e-4, "bfloat16": 0.1}
    raise SystemExit(any(found["largest_logp_difference"] > bound[found["dtype"]] for found in results))


if __name__ == "__main__":
    main()
