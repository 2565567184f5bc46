"""Sampled groups: for each task G answers, what the judge says of them, and what they look like.

An answer's reward is 1 where its program passes every test and 0 where it does not; without a verdict it is None, and
the answer is kept out of baseline and loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ra3_lab.evaluate.sampling import finish, sampling_stops
from ra3_lab.models.decoder import Decoder
from ra3_lab.models.generation import Completion, Fallback, Sampling, sample_groups
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.sandbox import Limits, Program, Verdict, judge_each
from ra3_lab.tasks.protocol import Task
from ra3_lab.trace import MARKER

JudgeAll = Callable[[Sequence[tuple[Program, Limits]]], Sequence[Verdict]]
"""Programs with their limits in, one verdict each out: `judge_each`, or `sandbox.Judge.each` of a judge kept warm."""


@dataclass(frozen=True)
class Answer:
    """One sampled answer and its verdict."""

    completion: Completion
    """Text, tokens, and the log-probabilities they were drawn at."""
    status: str
    """The verdict in one word, see ra3_lab.sandbox."""
    reward: float | None
    """1.0 or 0.0; None without a verdict."""
    detail: str = ""
    """The judge's line for a reader."""


@dataclass(frozen=True)
class Group:
    """The answers to one task."""

    task_id: str
    """Which task."""
    prompt: str
    """What the model continued."""
    prompt_ids: tuple[int, ...]
    """The same as tokens."""
    answers: tuple[Answer, ...]
    """G of them."""

    @property
    def rewards(self) -> list[float]:
        """(G,) rewards, 0 where there is no verdict."""
        return [answer.reward or 0.0 for answer in self.answers]

    @property
    def valid(self) -> list[bool]:
        """(G,) whether there is a verdict."""
        return [answer.reward is not None for answer in self.answers]

    @property
    def informative(self) -> bool:
        """Whether two rewards differ: only then does the group have a gradient."""
        return len({answer.reward for answer in self.answers if answer.reward is not None}) > 1

    def record(self) -> dict[str, Any]:
        """Plain data for groups.jsonl."""
        return {
            "task_id": self.task_id,
            "prompt": self.prompt,
            "answers": [
                {
                    "text": answer.completion.text,
                    "tokens": answer.completion.tokens,
                    "reason": answer.completion.reason,
                    "status": answer.status,
                    "reward": answer.reward,
                    "detail": answer.detail,
                    "logp": round(float(np.sum(answer.completion.logp)), 4),
                }
                for answer in self.answers
            ],
        }


def draw_groups(
    sampler: Decoder | Fallback,
    tokenizer: LineTokenizer,
    tasks: Sequence[Task],
    size: int,
    how: Sampling,
    seed: int,
    update: int,
    judge: JudgeAll = judge_each,
    places: Sequence[int] | None = None,
    rows_at_once: int = 128,
) -> tuple[list[Group], float]:
    """`size` answers for each task, judged; and the seconds the judge took.

    `places` are the tasks' places among all that the update draws (default 0, 1, ...): answer j of the task at place i
    is keyed i * size + j.
    """
    import time

    keys = np.array(range(len(tasks)) if places is None else places)[:, None] * size + np.arange(size)
    stops = [sampling_stops(task) for task in tasks]
    prompts = [task.prompt for task in tasks]
    completions = sample_groups(sampler, tokenizer, prompts, keys, how, seed, update, stops, rows_at_once)
    begin = time.perf_counter()
    jobs = [
        (task.program(finish(task, completion.text)), task.limits)
        for task, row in zip(tasks, completions, strict=True)
        for completion in row
    ]
    verdicts = iter(judge(jobs))
    groups = []
    for task, row in zip(tasks, completions, strict=True):
        answers = []
        for completion, verdict in zip(row, verdicts, strict=False):
            reward = None if verdict.status == "no_verdict" else float(verdict.passed)
            answers.append(Answer(completion, verdict.status, reward, verdict.detail))
        ids = tuple(tokenizer.encode_prompt(task.prompt))
        groups.append(Group(task.task_id, task.prompt, ids, tuple(answers)))
    return groups, time.perf_counter() - begin


def rewards_of(groups: Sequence[Group]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards (P, G), float64, and which of them count."""
    return (
        torch.tensor([group.rewards for group in groups], dtype=torch.float64),
        torch.tensor([group.valid for group in groups]),
    )


@dataclass(frozen=True)
class ThoughtCounts:
    """Thoughts in sampled programs: comment lines flush left, as in mid-training."""

    share: float
    """Thoughts per line of code."""
    words: float
    """Mean words of a thought; 0 where there is none."""
    duration: float
    """Mean number of code lines from a thought to the next one or the end; 0 where there is none."""


def count_thoughts(texts: Sequence[str], marker: str = MARKER) -> ThoughtCounts:
    """What the thoughts in these programs amount to.

    >>> count_thoughts(["# add one\\n    x += 1\\n    y = x\\n", "    return 0\\n"])
    ThoughtCounts(share=0.3333333333333333, words=2.0, duration=2.0)
    """
    lines, words, durations = 0, [], []
    for text in texts:
        running: int | None = None
        for line in text.splitlines():
            if line.startswith(marker):
                words.append(len(line.removeprefix(marker).split()))
                if running is not None:
                    durations.append(running)
                running = 0
            elif line.strip():
                lines += 1
                running = None if running is None else running + 1
        if running is not None:
            durations.append(running)

    def mean(values: list[int]) -> float:
        return float(np.mean(values)) if values else 0.0

    return ThoughtCounts(len(words) / max(lines, 1), mean(words), mean(durations))
