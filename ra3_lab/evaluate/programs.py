"""Evaluate a policy on tasks with tests: sample programs, judge them outside this process, count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ra3_lab.evaluate.passk import Interval, bootstrap_ci, pass_at_k_tasks
from ra3_lab.models.engines.interface import engine_of
from ra3_lab.models.rollout import generate
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.resources import embedded_model_dir
from ra3_lab.sandbox import Calls, Limits, Program, Verdict, judge_batch, verdict_trouble
from ra3_lab.sandbox.isolation import choose, for_own_model
from ra3_lab.tasks.pipelines import ENTRY_POINT, Task
from ra3_lab.trace import MARKER


@dataclass(frozen=True)
class ProgramScores:
    """What a policy's samples earned."""

    correct: np.ndarray
    """(tasks, n) bool: sample passed every test."""
    steps: np.ndarray
    """(tasks,) steps of each task's pipeline."""
    in_order: np.ndarray
    """(tasks,) bool: the task lists its steps in order."""
    thoughts: np.ndarray
    """(tasks, n) comment lines per program."""
    ended: float
    """Share of samples that the policy ended itself."""
    programs: tuple[tuple[str, ...], ...]
    """The samples, prompt left out."""
    statuses: dict[str, int]
    """How often each verdict status was given."""

    def pass_at(self, k: int) -> Interval:
        """Unbiased pass@k with a bootstrap interval over tasks."""
        return bootstrap_ci(pass_at_k_tasks(self.correct, k))

    def by_length(self) -> dict[int, float]:
        """pass@1 by number of steps."""
        return {int(n): float(self.correct[self.steps == n].mean()) for n in np.unique(self.steps)}

    def by_listing(self) -> dict[str, float]:
        """pass@1 of the tasks that list their steps in order, and of the others."""
        kinds = {"in order": self.in_order, "out of order": ~self.in_order}
        return {name: float(self.correct[rows].mean()) for name, rows in kinds.items() if rows.any()}


def evaluate_programs(
    model: Any,
    tokenizer: LineTokenizer,
    tasks: Sequence[Task],
    samples: int = 4,
    temperature: float = 1.0,
    seed: int = 0,
    precision: str = "auto",
    max_new: int = 480,
    progress: Callable[[int, int], None] | None = None,
    thinking: Literal["free", "begin", "never"] = "free",
    isolation: str | None = None,
    update: int = 0,
) -> ProgramScores:
    """Sample `samples` programs a task at `temperature` and judge them.

    `thinking` leaves the policy free, makes it begin with a thought, or keeps it from thinking at all.
    At temperature 1 pass@1 is the expected reward that RLVR would start from. `isolation` None takes the hardest that
    holds here; where none does, programs of our embedded model (also after training in this process) run in
    processes of their own, with a warning, and any other model's are an error that says what to do.

    `update` keys the draws with the seed: `models.sampling.VALIDATING` where the score chooses something, so that the
    choice is not scored by the same draws in the end.

    Raises ChildProcessError where the judge has no verdict on some program even when asked again: it is neither right
    nor wrong.
    """
    if not tasks:
        raise ValueError("no tasks to evaluate on.")
    if isolation is None:
        isolation = for_own_model() if is_embedded(model) else choose()  # said before anything is sampled
    lead = MARKER if thinking == "begin" else ""
    completions = generate(
        engine_of(model, precision),
        tokenizer,
        [task.prompt + lead for task in tasks],
        samples,
        temperature,
        max_new,
        seed,
        update,
        progress=progress,
        banned=(tokenizer.marker,) if thinking == "never" else (),
    )
    texts = [[lead + completion.text for completion in row] for row in completions]
    programs = [
        Program(task.prompt + text, Calls(ENTRY_POINT, task.pairs))
        for task, row in zip(tasks, texts, strict=True)
        for text in row
    ]
    verdicts = _judged(programs, isolation)
    statuses = {status: sum(v.status == status for v in verdicts) for status in sorted({v.status for v in verdicts})}
    shape = (len(tasks), samples)
    return ProgramScores(
        correct=np.array([v.passed for v in verdicts]).reshape(shape),
        steps=np.array([len(task.steps) for task in tasks]),
        in_order=np.array([task.in_order for task in tasks]),
        thoughts=np.array([[_comments(text) for text in row] for row in texts]),
        ended=float(np.mean([c.ended for row in completions for c in row])),
        programs=tuple(tuple(row) for row in texts),
        statuses=statuses,
    )


def _judged(programs: Sequence[Program], isolation: str) -> list[Verdict]:
    """A verdict on every program, in order; those that got none are judged again. Raises ChildProcessError."""
    verdicts = list(judge_batch(programs, Limits(), isolation=isolation))
    if missing := [i for i, verdict in enumerate(verdicts) if verdict.status == "no_verdict"]:
        again = judge_batch([programs[i] for i in missing], Limits(), isolation=isolation)
        for i, verdict in zip(missing, again, strict=True):
            verdicts[i] = verdict
    without = [verdict for verdict in verdicts if verdict.status == "no_verdict"]
    if trouble := verdict_trouble(len(without), len(verdicts), without[0].detail if without else "", share=0.0):
        raise ChildProcessError(trouble)
    return verdicts


def is_embedded(model: Any) -> bool:
    """Whether a model is the embedded one, as `load_model("embedded")` gave it or trained further since."""
    name = getattr(getattr(model, "config", None), "_name_or_path", "")
    try:
        return bool(name) and Path(name).resolve() == embedded_model_dir().resolve()
    except FileNotFoundError:  # this installation has none
        return False


def _comments(text: str) -> int:
    return sum(line.startswith(MARKER) for line in text.splitlines())
