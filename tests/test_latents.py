"""What sampled latents are worth against the truth, and with which settings they are sampled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ra3_lab.evaluate import latents
from ra3_lab.evaluate.latents import evaluate_latents, true_trace
from ra3_lab.models.rollout import Rollout
from ra3_lab.tasks.pipelines import load_split

NOTHING: Any = None  # sampling is replaced
TASKS = load_split("expert")[:3]


def perfect(task, later: int) -> Rollout:
    """The true thoughts, each `later` lines after the place where it belongs."""
    true = true_trace(task).latents
    kept = (*[None] * later, *true)[: len(true)]
    trace = replace(true_trace(task), latents=kept)
    return Rollout(trace, (False,) * len(kept), tuple(None if z is None else [1] for z in kept))


def test_thoughts_drawn_in_hindsight_count_before_the_line_they_explain(monkeypatch):
    """All but the last line's: nothing is drawn after it."""
    monkeypatch.setattr(latents, "engine_of", lambda *a: None)
    monkeypatch.setattr(latents, "sample_latents", lambda *a: [perfect(task, 1) for task in TASKS])
    found, rollouts = evaluate_latents(None, NOTHING, TASKS, hindsight=True)
    assert [r.trace.latents[:-1] for r in rollouts] == [true_trace(task).latents[:-1] for task in TASKS]
    assert (found["precision"], found["apt"]) == (1.0, 1.0) and found["f1"] > 0.85
    assert evaluate_latents(None, NOTHING, TASKS)[0]["apt"] == 0.0


def test_thoughts_are_as_long_as_the_arm_may_write_them(monkeypatch):
    asked = []
    monkeypatch.setattr(latents, "engine_of", lambda *a: None)
    monkeypatch.setattr(latents, "sample_latents", lambda *a: asked.append(a[3]) or [perfect(t, 0) for t in TASKS])
    evaluate_latents(None, NOTHING, TASKS, 0, 0.5, longest=4)
    assert (asked[0].temperature, asked[0].longest_thought) == (0.5, 4)
