"""Sample programs for the tasks of a benchmark from a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ra3_lab.evaluate.samples import Sample
from ra3_lab.models.engines.interface import engine_of
from ra3_lab.models.rollout import generate
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.tasks.protocol import Task, TaskSet, code_block, cut_at_stops


def finish(task: Task, text: str) -> str:
    """The completion that is judged: code out of prose where a whole program is asked for, cut at the task's stops."""
    return cut_at_stops(_code(task, text), task.stops)


def _code(task: Task, text: str) -> str:
    return text if task.prefix else code_block(text)


def sampling_stops(task: Task) -> tuple[str, ...]:
    """The stops at which sampling may end: all, but a fence where the answer may be a fenced block in prose.

    `finish` looks for the block in what was sampled. Any other stop ends an answer of either kind, so sampling saves
    what a base model writes after its program; a block whose first line begins like a stop is lost by that.
    """
    return task.stops if task.prefix else tuple(stop for stop in task.stops if not stop.startswith("\n```"))


def sample_completions(
    model: Any,
    tokenizer: LineTokenizer,
    tasks: TaskSet,
    n: int,
    temperature: float = 1.0,
    max_new: int = 512,
    seed: int = 0,
    precision: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Sample], dict[str, Any]]:
    """`n` completions of every task's prompt, and what a reader must know of them.

    A prompt that leaves no room in the model's context is not sampled: its samples are empty and will fail, as they
    would for a user. `ended` is the share of completions that came to an end (of text, or at a stop) before `max_new`.
    ValueError for n or max_new below 1, or a temperature below 0.
    """
    for name, value in (("n", n), ("max_new", max_new)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1.")
    if not temperature >= 0:
        raise ValueError(f"temperature is {temperature}; it must be 0 (greedy) or more.")
    decoder = engine_of(model, precision)
    fitting = [task for task in tasks if len(tokenizer.encode_prompt(task.prompt)) < decoder.context]
    sampled = generate(
        decoder, tokenizer, [task.prompt for task in fitting], n, temperature, max_new, seed, progress=progress
    )
    texts, ended, tokens = {}, 0, 0
    for task, row in zip(fitting, sampled, strict=True):
        texts[task.task_id] = finished = [finish(task, completion.text) for completion in row]
        stopped = [len(text) < len(_code(task, c.text)) for c, text in zip(row, finished, strict=True)]
        ended += sum(c.ended or stop for c, stop in zip(row, stopped, strict=True))
        tokens += sum(completion.tokens for completion in row)
    samples = [
        Sample(task.task_id, text, whole=False, number=number)
        for task in tasks
        for number, text in enumerate(texts.get(task.task_id, [""] * n))
    ]
    return samples, {
        "prompts_too_long": len(tasks) - len(fitting),
        "ended": ended / max(1, n * len(fitting)),
        "tokens": tokens,
    }
