"""A7's ranking: every submission's programs are judged on fresh tasks, and the table says how sure it is.

The test split is drawn from the teacher's secret, with the difficulty of the shipped test split and none of its
programs. All submissions, and the embedded base beside them, get the same tasks and the same random numbers; gains are
paired by task, with intervals over tasks. One training run stands behind each row: the intervals say
nothing about another seed. Places whose difference from the first may be chance are marked; these
intervals are wider, since the first was chosen among all.

Programs written by a student's weights are hostile programs: they run in the sandbox, and never where none holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ra3_lab.course.project import Entry, Refused, embedded_shapes, read_entry
from ra3_lab.course.results import SCORES
from ra3_lab.course.secret import Secret
from ra3_lab.course.submissions import folder_name
from ra3_lab.evaluate.passk import Interval, bootstrap_ci, paired_difference_ci

BASE = "(base)"
"""The row of the embedded model as it ships."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    student: str
    """Folder name; BASE for the embedded model."""
    title: str
    """Of the submission."""
    tokens: int
    """Spent, as the student says."""
    rate: Interval
    """pass@1 with its interval over tasks."""
    gain: Interval
    """pass@1 minus the base's, paired by task."""
    behind: Interval
    """The first row's pass@1 minus this one's, paired by task, at the level `level_behind`."""
    thoughts: float
    """Comment lines a program."""
    place: int = 0
    """1 for the best; equal rates share it; 0 for the base."""
    notes: tuple[str, ...] = ()
    """What a reader must know."""

    @property
    def tied(self) -> bool:
        """Whether the difference from the first may be chance: its interval reaches 0."""
        return self.behind.low <= 0


@dataclass(frozen=True)
class Ranking:
    """The table and what it rests on."""

    rows: list[Row]
    """Best first, the base among them."""
    refused: dict[str, str]
    """Folder name -> why it is not ranked."""
    tasks: int
    """Fresh tasks."""
    samples: int
    """Programs a task."""
    split: str = field(repr=False)
    """sha256 of the tasks."""


def fresh_tasks(secret: Secret, count: int) -> list[Any]:
    """`count` tasks of the test split's difficulty, none of whose programs is in a shipped split."""
    from ra3_lab.tasks.pipelines import SPLITS, load_split, make_tasks

    known = {task.signature for name in SPLITS for task in load_split(name)}
    return make_tasks(secret.seed("a7.test"), count, SPLITS["test"].config, "a7", known)


def rank(
    submissions: Path,
    secret: Secret,
    course: Path,
    tasks: int = 200,
    samples: int = 4,
    isolation: str | None = None,
    say: Callable[[str], None] = print,
) -> Ranking:
    """Validate, score and compare all submissions of a folder. What was scored before is read from `course`, where
    scores are kept by weights, without names.

    Raises FileNotFoundError where the folder is not there, ValueError for a bad number, and sandbox.Unavailable where
    no isolation holds.
    """
    from ra3_lab.sandbox.isolation import choose
    from ra3_lab.tasks.pipelines import task_to_json

    if tasks < 2 or samples < 1:
        raise ValueError(f"tasks={tasks}, samples={samples}: at least 2 tasks and 1 sample.")
    isolation = choose(isolation)
    entries, refused = read_all(submissions)
    split = fresh_tasks(secret, tasks)
    digest = hashlib.sha256("".join(map(task_to_json, split)).encode()).hexdigest()
    scorer = _Scorer(split, digest, samples, secret.seed("a7.samples"), isolation, course / SCORES)
    say(f"{len(entries)} submissions, {len(refused)} refused; {tasks} fresh tasks, {samples} programs a task")
    scores = {}
    for entry in [_base_entry(), *entries]:
        say(f"scoring {secret.pseudonym(entry.student) if entry.student != BASE else 'the base'}")
        scores[entry.student] = scorer.score(entry)
    return Ranking(_table([_base_entry(), *entries], scores), refused, tasks, samples, digest)


def read_all(submissions: Path) -> tuple[list[Entry], dict[str, str]]:
    """Those that can be scored, and why the others cannot. One folder a student; links are not followed."""
    if not submissions.is_dir():
        raise FileNotFoundError(f"{submissions} is not a folder: give the folder with one folder a student.")
    shapes, entries, refused = embedded_shapes(), [], {}
    for folder in sorted(submissions.iterdir()):
        if folder.name.startswith("."):
            continue
        try:
            if folder.is_symlink() or not folder.is_dir():
                raise Refused("not a folder: each submission is a folder with two files.")
            if folder.name == BASE:
                raise Refused("this name is the base's: rename the folder.")
            entries.append(read_entry(folder, shapes))
        except Refused as error:
            refused[folder_name(folder)] = str(error)
    return entries, refused


def _base_entry() -> Entry:
    from safetensors.torch import load_file

    from ra3_lab.course.project import WEIGHTS, digest_of
    from ra3_lab.resources import embedded_model_dir

    tensors = {name: value.float() for name, value in load_file(embedded_model_dir() / WEIGHTS).items()}
    return Entry(BASE, "the embedded model", 0, 0, "nothing", digest_of(tensors), tensors)


@dataclass(frozen=True)
class _Scorer:
    """Scores weights on the split, each once."""

    tasks: list[Any]
    split: str
    samples: int
    seed: int
    isolation: str
    journal: Path

    def score(self, entry: Entry) -> dict[str, Any]:
        """{"passed": share of each task's programs that passed, "thoughts": mean}."""
        key = {"weights": entry.digest, "split": self.split, "samples": self.samples, "seed": self.seed}
        for record in self._known():
            if all(record.get(name) == value for name, value in key.items()):
                return record
        from ra3_lab.evaluate.programs import evaluate_programs
        from ra3_lab.models.load import load_model

        model, tokenizer = load_model("embedded", "cpu")
        _, unexpected = model.load_state_dict(entry.tensors, strict=False)  # tied weights are in the file once
        if unexpected:
            raise RuntimeError(f"the model has no tensors named {unexpected}: it and its file do not fit.")
        model.tie_weights()
        found = evaluate_programs(
            model, tokenizer, self.tasks, self.samples, seed=self.seed, precision="fp32", isolation=self.isolation
        )
        record = {**key, "passed": found.correct.mean(1).tolist(), "thoughts": float(found.thoughts.mean())}
        with open(self.journal, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        return record

    def _known(self) -> list[dict[str, Any]]:
        """Records so far; a line that a kill left half-written is skipped."""
        if not self.journal.exists():
            return []
        known = []
        for line in self.journal.read_text(encoding="utf-8").splitlines():
            try:
                known.append(json.loads(line))
            except ValueError:
                continue
        return known


def level_behind(submissions: int) -> float:
    """Of the intervals of differences from the first place: 95 % for all comparisons of a submission together.

    The first is the best of all by chance, too. A submission as good as any other is held against m - 1 others, each
    of which may be that: 1 - 0.05 / (m - 1) each (Bonferroni).

    >>> [round(level_behind(m), 4) for m in (1, 2, 3, 30)]
    [0.95, 0.95, 0.975, 0.9983]
    """
    return 1 - 0.05 / max(submissions - 1, 1)


def _table(entries: list[Entry], scores: dict[str, dict[str, Any]]) -> list[Row]:
    passed = {name: np.array(score["passed"]) for name, score in scores.items()}
    order = sorted(entries, key=lambda entry: (-passed[entry.student].mean(), entry.student))
    first = passed[next((entry.student for entry in order if entry.student != BASE), BASE)]
    base_digest = next(entry.digest for entry in entries if entry.student == BASE)
    digests = [entry.digest for entry in entries if entry.student != BASE]
    level = level_behind(len(digests))
    rows: list[Row] = []
    ranked: list[float] = []
    for entry in order:
        own, notes = passed[entry.student], []
        if entry.student != BASE:
            ranked.append(float(own.mean()))
            if entry.digest == base_digest:
                notes.append("the base's weights, unchanged")
            elif digests.count(entry.digest) > 1:
                notes.append(f"the same weights in {digests.count(entry.digest)} submissions")
        rows.append(
            Row(
                student=entry.student,
                title=entry.title,
                tokens=entry.tokens,
                rate=bootstrap_ci(own),
                gain=paired_difference_ci([own], [passed[BASE]]),
                behind=paired_difference_ci([first], [own], level),
                thoughts=float(scores[entry.student]["thoughts"]),
                place=0 if entry.student == BASE else ranked.index(float(own.mean())) + 1,
                notes=tuple(notes),
            )
        )
    return rows


def table_rows(ranking: Ranking, label: Callable[[str], str]) -> list[dict[str, Any]]:
    """The table as plain rows, for CSV and JSON: rates in 0..1."""
    return [
        {
            "place": row.place or "",
            "student": BASE if row.student == BASE else label(row.student),
            "title": row.title,
            "pass@1": round(row.rate.mean, 4),
            "low": round(row.rate.low, 4),
            "high": round(row.rate.high, 4),
            "gain": round(row.gain.mean, 4),
            "gain_low": round(row.gain.low, 4),
            "gain_high": round(row.gain.high, 4),
            "behind_first_low": round(row.behind.low, 4),
            "behind_first_high": round(row.behind.high, 4),
            "may_be_first": bool(row.tied and row.place),
            "thoughts": round(row.thoughts, 2),
            "tokens_claimed": row.tokens,
            "notes": "; ".join(row.notes),
        }
        for row in ranking.rows
    ]


def table_text(rows: list[dict[str, Any]]) -> str:
    """The table for a terminal."""
    lines = [
        f"{'place':>5}  {'student':<14} {'pass@1':>7}  {'95 % (tasks)':<16} {'gain over base':<24} thoughts  title"
    ]
    for row in rows:
        rate = f"{100 * row['low']:.1f} to {100 * row['high']:.1f} %"
        gain = f"{100 * row['gain']:+.1f} ({100 * row['gain_low']:+.1f} to {100 * row['gain_high']:+.1f})"
        place = f"{row['place']}{'=' if row['may_be_first'] and row['place'] != 1 else ''}"
        lines.append(
            f"{place:>5}  {row['student']:<14} {100 * row['pass@1']:>5.1f} %  {rate:<16} {gain:<24} "
            f"{row['thoughts']:>8.1f}  {row['title']}" + (f" [{row['notes']}]" if row["notes"] else "")
        )
    lines.append("=: the difference from the first may be chance, the first being chosen among all (Bonferroni).")
    lines.append("One training run a row: no word on other seeds.")
    return "\n".join(lines)
