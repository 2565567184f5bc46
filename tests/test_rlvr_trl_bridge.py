"""Tasks and judge as TRL takes them; with trl installed, a real GRPO step on the embedded model."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from ra3_lab.models.load import load_model
from ra3_lab.rlvr.trl import to_trl
from ra3_lab.sandbox import Verdict
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
