"""Sample programs for the tasks of a benchmark from a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ra3_lab.evaluate.drawn import Drawn, DrawnSamples
from ra3_lab.evaluate.samples import Sample
from ra3_lab.models.engines.interface import engine_of
from ra3_lab.models.generation import Completion, Sampling, sample_groups
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.tasks.protocol import Task, TaskSet, code_block, cut_at_stops

ROWS_AT_ONCE = 128
"""Completions in a batch, at most (more where one task has more)."""


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
    keep: DrawnSamples | None = None,
) -> tuple[list[Sample], dict[str, Any]]:
    """`n` completions of every task's prompt, and what a reader must know of them.

    A prompt that leaves no room in the model's context is not sampled: its samples are empty and will fail, as they
    would for a user. `ended` is the share of completions that came to an end (of text, or at a stop) before `max_new`.
    `keep` holds what was drawn before, which is not drawn again, and takes each batch. ValueError for n or max_new
    below 1, or a temperature below 0.
    """
    for name, value in (("n", n), ("max_new", max_new)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1.")
    if not temperature >= 0:
        raise ValueError(f"temperature is {temperature}; it must be 0 (greedy) or more.")
    decoder = engine_of(model, precision)
    lengths = {task.task_id: len(tokenizer.encode_prompt(task.prompt)) for task in tasks}
    fitting = [task for task in tasks if lengths[task.task_id] < decoder.context]
    too_long = [task for task in tasks if lengths[task.task_id] >= decoder.context]
    keys = {task.task_id: range(i * n, (i + 1) * n) for i, task in enumerate(fitting)}
    size = max(1, ROWS_AT_ONCE // n)
    by_length = sorted(range(len(fitting)), key=lambda i: lengths[fitting[i].task_id])
    batches = [[fitting[i] for i in sorted(by_length[j : j + size])] for j in range(0, len(fitting), size)]

    def draw(batch: list[Task]) -> dict[str, list[Drawn]]:
        prompts, chosen = [task.prompt for task in batch], np.array([keys[task.task_id] for task in batch])
        how = Sampling(temperature, max_new=max_new)
        rows = sample_groups(decoder, tokenizer, prompts, chosen, how, seed, 0, rows_at_once=ROWS_AT_ONCE)
        return {task.task_id: _drawn(task, row) for task, row in zip(batch, rows, strict=True)}

    drawn: dict[str, list[Drawn]] = {}
    if keep is not None:
        drawn |= keep.begin([[task.task_id for task in batch] for batch in [too_long, *batches]], n)
    for batch in [too_long, *batches]:
        if batch and batch[0].task_id not in drawn:
            found = draw(batch) if batch is not too_long else {task.task_id: _empty(task, n) for task in batch}
            if keep is not None:
                keep.add(found)
            drawn |= found
        if progress is not None and batch is not too_long:
            progress(sum(task.task_id in drawn for task in fitting), len(fitting))
    rows = [drawn[task.task_id] for task in tasks]
    return [one.sample for row in rows for one in row], {
        "prompts_too_long": len(too_long),
        "ended": sum(one.ended for row in rows for one in row) / max(1, n * len(fitting)),
        "tokens": sum(one.tokens for row in rows for one in row),
    }


def _empty(task: Task, n: int) -> list[Drawn]:
    return [Drawn(Sample(task.task_id, "", whole=False, number=number), 0, False) for number in range(n)]


def _drawn(task: Task, row: Sequence[Completion]) -> list[Drawn]:
    """The completions of one task as samples."""
    drawn = []
    for number, completion in enumerate(row):
        text = finish(task, completion.text)
        ended = completion.ended or len(text) < len(_code(task, completion.text))
        drawn.append(Drawn(Sample(task.task_id, text, whole=False, number=number), completion.tokens, ended))
    return drawn
