"""Latents that a model samples for known programs, measured against the pipelines' true segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ra3_lab.evaluate.segmentation import (
    LatentPlacement,
    mean_duration,
    mean_tokens,
    normalized_mutual_information,
    random_placement_f1,
    segmentation_score,
    shuffled_mutual_information,
    think_share,
)
from ra3_lab.midtrain.estep import in_hindsight
from ra3_lab.models.engines.interface import engine_of
from ra3_lab.models.rollout import LatentSampling, Rollout, sample_latents
from ra3_lab.models.sampling import MEASURING
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.tasks.pipelines import Task
from ra3_lab.trace import Trace


def trace_of(task: Task) -> Trace:
    """The task's expert solution without latents."""
    return Trace(task.prompt, task.lines, (), task.task_id)


def true_trace(task: Task) -> Trace:
    """The task's expert solution with the true thought before every segment."""
    thoughts = dict(zip(task.starts, (step.thought for step in task.steps), strict=True))
    return Trace(task.prompt, task.lines, tuple(thoughts.get(i) for i in range(len(task.lines))), task.task_id)


def describe_latents(rollouts: Sequence[Rollout], tasks: Sequence[Task]) -> dict[str, Any]:
    """Scores of sampled latents against the tasks' truth.

    `apt`: share of all thoughts that stand at a segment's start and say exactly that step. `apt_at_starts`: of the
    thoughts at starts alone. `nmi`: thought text against the true skill of the line it stands before; `nmi_shuffled`:
    what the numbers of labels alone would earn. Each is None
    where there is no such thought.
    """
    places, counts, texts, skills = [], [], [], []
    apt = at_starts = thoughts = 0
    for rollout, task in zip(rollouts, tasks, strict=True):
        truth = dict(zip(task.starts, task.steps, strict=True))
        places.append(LatentPlacement(rollout.trace.thought_lines, task.starts, len(task.lines)))
        skill = ""
        for line, thought in enumerate(rollout.trace.latents):
            skill = truth[line].skill if line in truth else skill
            if thought is None:
                continue
            thoughts += 1
            counts.append(len(rollout.thought_ids[line] or ()))
            texts.append(thought)
            skills.append(skill)
            at_starts += line in truth
            apt += line in truth and truth[line].thought == thought
    score = segmentation_score(places)
    return {
        "precision": score.precision,
        "recall": score.recall,
        "f1": score.f1,
        "random_f1": random_placement_f1(places),
        "think_share": think_share(places),
        "apt": apt / thoughts if thoughts else None,
        "apt_at_starts": apt / at_starts if at_starts else None,
        "nmi": normalized_mutual_information(texts, skills) if thoughts else None,
        "nmi_shuffled": shuffled_mutual_information(texts, skills, draws=20) if thoughts else None,
        "duration": mean_duration(places),
        "tokens_per_thought": mean_tokens(counts),
    }


def evaluate_latents(
    model: Any,
    tokenizer: LineTokenizer,
    tasks: Sequence[Task],
    seed: int = 0,
    temperature: float = 1.0,
    precision: str = "auto",
    longest: int = 16,
    hindsight: bool = False,
) -> tuple[dict[str, Any], list[Rollout]]:
    """Sample latents for the tasks' solutions and describe them. `longest`: most tokens of a thought; `hindsight`: each
    thought was drawn after the line it explains, before which it then counts."""
    how = LatentSampling(temperature, longest)
    rollouts = sample_latents(
        engine_of(model, precision), tokenizer, [trace_of(t) for t in tasks], how, seed, MEASURING
    )
    rollouts = [in_hindsight(rollout) for rollout in rollouts] if hindsight else rollouts
    return describe_latents(rollouts, tasks), rollouts
