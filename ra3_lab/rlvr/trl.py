"""Our tasks and judge for TRL's GRPOTrainer: a dataset of prompts, and a reward function that runs the tests.

    dataset, reward = to_trl(load_tasks("pipelines", split="rlvr"))
    GRPOTrainer(model, reward_funcs=reward, train_dataset=Dataset.from_list(dataset), processing_class=tokenizer.hf)

trl itself is not imported: what crosses are plain rows and a function. An answer without a verdict gets None, which TRL
leaves out of its rewards. TRL tokenizes prompts as whole texts; ra3_lab line by line, so pass `prompts_as=tokenizer` to
be told where the two differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ra3_lab.evaluate.sampling import finish
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.rlvr.groups import JudgeAll
from ra3_lab.sandbox import judge_each
from ra3_lab.tasks.protocol import Task


def to_trl(
    tasks: Sequence[Task], judge: JudgeAll = judge_each, prompts_as: LineTokenizer | None = None
) -> tuple[list[dict[str, str]], Callable[..., list[float | None]]]:
    """Rows with `prompt` and `task_id`, and a reward function: 1.0 passed, 0.0 failed, None without a verdict.

    With `prompts_as`, ValueError names the first prompt whose ids differ between the tokenizer alone and line by line,
    beginning-of-text aside.
    """
    if not tasks:
        raise ValueError("no tasks to export.")
    by_id = {task.task_id: task for task in tasks}
    if prompts_as is not None:
        for task in tasks:
            whole = prompts_as.hf.encode(task.prompt, add_special_tokens=False)
            if whole != prompts_as.encode_prompt(task.prompt)[1:]:
                raise ValueError(
                    f"task {task.task_id!r}: the tokenizer alone spells the prompt otherwise than line by line; TRL "
                    "would train on other ids than ra3_lab scores."
                )

    def passes_tests(completions: Sequence[Any], task_id: Sequence[str], **_: Any) -> list[float | None]:
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        chosen = [by_id[name] for name in task_id]
        jobs = [(task.program(finish(task, text)), task.limits) for task, text in zip(chosen, texts, strict=True)]
        return [None if v.status == "no_verdict" else float(v.passed) for v in judge(jobs)]

    return [{"prompt": task.prompt, "task_id": task.task_id} for task in tasks], passes_tests
