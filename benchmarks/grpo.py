"""A GRPO step timed against TRL's: 8 prompts of 32 tokens, 8 answers each, 64 tokens an answer, 3.5M parameters.

    python benchmarks/grpo.py --json grpo.json        needs trl 1.16.0

Both sides take the same random Llama, whole-softmax sampling at temperature 1, answers that never end early, the same
length-based reward (no judge), the dapo loss without KL, AdamW. TRL runs in several settings; its fastest one counts,
against our side in the same precision (bf16 is autocast on both). A step is sampling, scoring, backward and optimiser;
the sides take turns, medians of CPU seconds decide (a busy neighbour does not count there), wall seconds stand beside
them. The roof is the time that the step's matrix products with weights alone would take at the rate of the largest one.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decode import matmul_rate, neighbour, small_llama, timed

from ra3_lab.models.decoder import Decoder
from ra3_lab.models.generation import Completion, Sampling, decode
from ra3_lab.models.load import best_precision, dtype_of
from ra3_lab.rlvr.groups import Answer, Group
from ra3_lab.rlvr.losses import LossConfig
from ra3_lab.rlvr.update import GRPO, UpdateConfig
from ra3_lab.runs import write_json
from ra3_lab.runs.provenance import versions

PROMPTS, GROUP, PROMPT, NEW, RATE = 8, 8, 32, 64, 1e-5
TRL_SETTINGS: dict[str, dict[str, Any]] = {
    "one batch of 64": {"per_device_train_batch_size": 64},
    "8 x 8 accumulated": {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 8},
    "one batch of 64, bf16": {"per_device_train_batch_size": 64, "bf16": True},
}


def reward(ids: list[int]) -> float:
    """Something to learn that costs nothing to compute: high token numbers."""
    return sum(ids) / len(ids) / 1_280


class Ours:
    """Our side, a step at a time."""

    def __init__(self, model: Any, prompts: list[list[int]], precision: str) -> None:
        self.how, self.dtype = Sampling(max_new=NEW), dtype_of(precision)
        config = UpdateConfig(learning_rate=RATE, warmup=0, loss=LossConfig("dapo"))
        self.grpo, self.prompts = GRPO(model, config, self.how, precision), prompts

    def step(self) -> None:
        """Sample, reward, update."""
        keys = np.arange(PROMPTS * GROUP).reshape(PROMPTS, GROUP)
        decoder = Decoder(self.grpo.model, self.dtype)
        rows = decode(decoder, self.prompts, keys, self.how, (0, self.grpo.updates), eos=-1)
        groups = []
        for number, (prompt, group) in enumerate(zip(self.prompts, rows, strict=True)):
            answers = [
                Answer(Completion("", NEW, False, "length", tuple(ids), tuple(logp)), "", reward(ids))
                for ids, logp in group
            ]
            groups.append(Group(str(number), "", tuple(prompt), tuple(answers)))
        record = self.grpo.update(groups)
        assert record["rows_with_gradient"] == PROMPTS * GROUP, "no row may be left out here"


def our_times(prompts: list[list[int]], steps: int, precision: str) -> list[tuple[float, float]]:
    """CPU and wall seconds of our steps, the first (warm-up) left out."""
    ours = Ours(small_llama(), prompts, precision)
    ours.step()
    return [timed(ours.step) for _ in range(steps)]


def roof_seconds(dtype: torch.dtype) -> float:
    """CPU seconds of a step's products with weights: 2 operations a weight and sampled token (one prompt a group), 6
    and a trained one."""
    weights = sum(p.numel() for p in small_llama().parameters())
    sampled, trained = PROMPTS * (PROMPT + GROUP * NEW), PROMPTS * GROUP * (PROMPT + NEW)
    return weights * (2 * sampled + 6 * trained) / (matmul_rate(dtype) * 1e9)


def trl_times(model: Any, prompts: list[list[int]], steps: int, **settings: Any) -> list[tuple[float, float]]:
    """CPU and wall seconds of TRL's steps, the first (warm-up) left out."""
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    words = Tokenizer(WordLevel({str(i): i for i in range(1_280)}, unk_token="0"))  # a word per token
    words.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]
    # The end token is one that the model's vocabulary does not have, so that no answer ends early.
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="0", eos_token="<end>", unk_token="0")
    marks: list[tuple[float, float]] = []

    class Clock(TrainerCallback):
        """Notes the time after every step."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append((time.process_time(), time.perf_counter()))

    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            num_generations=GROUP,
            max_completion_length=NEW,
            max_steps=steps + 1,
            learning_rate=RATE,
            loss_type="dapo",
            epsilon_high=0.28,
            beta=0.0,
            temperature=1.0,
            report_to=[],
            save_strategy="no",
            logging_steps=1_000,
            disable_tqdm=True,
            use_cpu=True,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            **{"bf16": False} | settings,
        )
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=lambda completion_ids, **_: [reward(ids) for ids in completion_ids],
            args=config,
            train_dataset=Dataset.from_list([{"prompt": " ".join(map(str, prompt))} for prompt in prompts]),
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        trainer.train()
        lengths = trainer._metrics["train"].get("completions/mean_length", [NEW])
        assert all(abs(length - NEW) < 1 for length in lengths), f"TRL's answers ended early: {lengths}"
    return [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(marks)]


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3, help="timed steps of each side per round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--busy", action="store_true", help="time our side beside a busy process, too")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    prompts = torch.randint(1, 1_280, (PROMPTS, PROMPT), generator=torch.Generator().manual_seed(1)).tolist()
    precisions = ["fp32", *(["bf16"] if best_precision() == "bf16" else [])]
    trl_settings = {name: how for name, how in TRL_SETTINGS.items() if "bf16" in precisions or not how.get("bf16")}
    results = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        times: dict[str, list[tuple[float, float]]] = {}
        for _ in range(arguments.rounds):
            for precision in precisions:
                times.setdefault(precision, []).extend(our_times(prompts, arguments.steps, precision))
            for name, settings in trl_settings.items():
                times.setdefault(name, []).extend(trl_times(small_llama(), prompts, arguments.steps, **settings))
        found: dict[str, Any] = {"threads": threads}
        for number, kind in enumerate(("cpu", "wall")):
            seconds = {side: round(statistics.median(t[number] for t in row), 3) for side, row in times.items()}
            fastest = min(trl_settings, key=lambda name: seconds[name])
            same = "bf16" if trl_settings[fastest].get("bf16") else "fp32"
            share = round(seconds[same] / seconds[fastest], 2)
            found[kind] = seconds | {"fastest_trl": fastest, "ours": same, "share_of_fastest_trl": share}
        found["share_of_roof"] = {p: round(roof_seconds(dtype_of(p)) / found["cpu"][p], 2) for p in precisions}
        if arguments.busy:
            with neighbour():
                beside = statistics.median(wall for _, wall in our_times(prompts, arguments.steps, "fp32"))
            found["times_as_slow_beside_a_busy_process"] = round(beside / found["wall"]["fp32"], 2)
        results.append(found)
        print(found, flush=True)
    if arguments.json:
        record = {"date": datetime.date.today().isoformat(), "versions": versions(), "results": results}
        write_json(arguments.json, record | {"trl": "1.16.0", "steps": arguments.steps, "rounds": arguments.rounds})


if __name__ == "__main__":
    main()
