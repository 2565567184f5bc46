"""Tasks and judge as TRL takes them; with trl installed, a real GRPO step on the embedded model."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import pytest
import torch

from ra3_lab.evaluate.sampling import finish
from ra3_lab.models.generation import Sampling
from ra3_lab.models.load import load_model
from ra3_lab.rlvr.groups import draw_groups
from ra3_lab.rlvr.trl import to_trl
from ra3_lab.sandbox import Verdict
from ra3_lab.tasks.mbpp import mbpp_task
from ra3_lab.tasks.registry import load_tasks


def test_rewards_are_the_judges():
    tasks = load_tasks("pipelines", split="rlvr")[:2]
    rows, reward = to_trl(tasks)
    assert rows[1] == {"prompt": tasks[1].prompt, "task_id": "rlvr/1"}
    right = [task.canonical.removeprefix(task.prompt) for task in tasks]
    given = reward(completions=[right[0], right[0], right[1]], task_id=["rlvr/0", "rlvr/1", "rlvr/1"], prompts=[""] * 3)
    assert given == [1.0, 0.0, 1.0]
    chat = [[{"role": "assistant", "content": right[1]}]]
    assert reward(completions=chat, task_id=["rlvr/1"]) == [1.0]
    _, no_verdict = to_trl(tasks, judge=lambda jobs: [Verdict(False, "no_verdict", 0.0, "")] * len(jobs))
    assert no_verdict(completions=["x"], task_id=["rlvr/0"]) == [None]
    with pytest.raises(ValueError, match="no tasks"):
        to_trl([])


class Says:
    """A sampler that gives one answer, token by token, until it is stopped."""

    context = 1000

    def __init__(self, tokenizer, answer):
        self.ids = tokenizer.hf.encode(answer, add_special_tokens=False) + [tokenizer.eos]

    def decode(self, prompts, keys, how, seeds, eos, banned, watch):
        def row(stop):
            ends = (n for n in range(1, len(self.ids)) if stop is not None and stop.stopped(self.ids[:n]))
            ids = self.ids[: next(ends, len(self.ids))]
            return ids, [0.0] * len(ids)

        return [[row(stop) for _ in group] for group, stop in zip(keys, watch, strict=True)]


DOUBLE = "def f(x):\n    return 2 * x\n"


@pytest.mark.parametrize(
    "answer",
    [
        DOUBLE,
        f"Here you are:\n```python\n{DOUBLE}```\nDone.",
        f"```\n{DOUBLE}```\nOutput:\n```\n6\n```\n",
        f"{DOUBLE}```\n\nThis doubles the number.",
        f"{DOUBLE}\nassert f(3) == 7\n",
    ],
    ids=["code", "prose and block", "block and output", "closing fence", "code and assert"],
)
def test_rlvr_trl_and_eval_judge_the_same_program(answer, small_tokenizer):
    row = {"task_id": 11, "text": "Double it.", "code": DOUBLE, "test_list": ["assert f(3) == 6"]}
    task = mbpp_task(row)
    judged = []

    def judge(jobs):
        judged.extend(program.source.strip() for program, _ in jobs)
        return [Verdict(True, "passed", 0.0, "")] * len(jobs)

    sampler: Any = Says(small_tokenizer, answer)
    draw_groups(sampler, small_tokenizer, [task], 1, Sampling(), 0, 0, judge)
    to_trl([task], judge)[1](completions=[answer], task_id=["11"])
    assert judged == [DOUBLE.strip()] * 2 == [finish(task, answer).strip()] * 2


def test_a_function_to_be_continued_ends_at_a_fence_while_it_is_sampled(small_tokenizer):
    row = {"task_id": 11, "text": "Double it.", "code": DOUBLE, "test_list": ["assert f(3) == 6"]}
    task = replace(mbpp_task(row), prefix="def f(x):\n")
    sampler: Any = Says(small_tokenizer, "    return 2 * x\n```\nDone.")
    passed = [Verdict(True, "passed", 0.0, "")]
    (group,), _ = draw_groups(sampler, small_tokenizer, [task], 1, Sampling(), 0, 0, lambda _: passed)
    assert group.answers[0].completion.reason == "stop"
    assert group.answers[0].completion.text == "    return 2 * x"


def test_the_embedded_tokenizer_spells_prompts_alike_alone():
    _, tokenizer = load_model("embedded", "cpu")
    to_trl(load_tasks("pipelines", split="rlvr")[:50], prompts_as=tokenizer)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="needs trl: pip install 'ra3-lab[trl]'")
def test_a_real_grpo_step_of_trl(tmp_path):
    from datasets import Dataset  # pyright: ignore[reportMissingImports]
    from trl.trainer.grpo_config import GRPOConfig  # pyright: ignore[reportMissingImports]
    from trl.trainer.grpo_trainer import GRPOTrainer  # pyright: ignore[reportMissingImports]

    model, tokenizer = load_model("embedded", "cpu")
    before = [p.detach().clone() for p in model.parameters()]
    rows, reward = to_trl(load_tasks("pipelines", split="rlvr")[:8])
    config = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=120,
        max_steps=2,
        learning_rate=1e-4,
        report_to=[],
        save_strategy="no",
        bf16=False,
        use_cpu=True,
        logging_steps=1,
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer.hf,
    )
    trainer.train()
    rewards = [row["reward"] for row in trainer.state.log_history if "reward" in row]
    assert len(rewards) == 2 and all(0 <= value <= 1 for value in rewards) and max(rewards) > 0
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
