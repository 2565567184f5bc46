"""The pipelines world: tasks whose programs have known latent structure.

A task's docstring lists n lettered steps, half of the time *out of order*; the solution carries them out in
alphabetical order, each step as a block of 1 to 6 plain Python lines:

    def solve(xs):
        \"\"\"Steps c to e:
        e return the count
        c add 3
        d reverse the list
        \"\"\"
        added = []            <- segment c starts here
        for x in xs:
        ...

Why this world (chosen before any arm was scored; see docs/decisions.md): writing the next block without help takes
serial work - recognise which step the last block was, find its letter, take the next letter, look that step up, write
it. A thought "# d reverse the list" does that work once, in the open, and every line of the block profits. Letters
start anywhere, so no count from the top helps; the same skill may come twice, so the code alone does not say where one
is. Where the docstring says "in order", the next step is simply the next line: there a thought saves little, as in much
real code.

Ground truth per task: which line starts which skill. Splits differ in seed and length and share no program.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ra3_lab.jsonl import numbered_rows
from ra3_lab.tasks.skills import BY_NAME, COMMON, RARE, TERMINAL, Skill

SCHEMA_VERSION = 1
ENTRY_POINT = "solve"
_LARGEST = 1_000_000  # a pipeline with a result beyond this is not used


@dataclass(frozen=True)
class Step:
    """One step of a pipeline."""

    label: str
    """Its letter; alphabetical order is execution order."""
    skill: str
    """Name of the skill."""
    value: int | None
    """The skill's parameter."""
    phrase: str
    """The words of the docstring."""

    @property
    def thought(self) -> str:
        """What a careful programmer would note before the block (text after the '#')."""
        return f" {self.label} {self.phrase}"


@dataclass(frozen=True)
class Task:
    """A programming problem with its expert solution, ground-truth segments and tests."""

    task_id: str
    """Unique within the project, `split/number`."""
    prompt: str
    """Function header and docstring, ends with a newline."""
    lines: tuple[str, ...]
    """The expert solution's body lines, each ended by a newline."""
    starts: tuple[int, ...]
    """Index of the body line at which each step's block starts."""
    steps: tuple[Step, ...]
    """Steps in execution order."""
    pairs: tuple[tuple[list, Any], ...] = ()
    """Tests: (arguments, expected value)."""

    @property
    def in_order(self) -> bool:
        """Whether the docstring lists the steps in the order in which they are carried out."""
        return self.prompt.splitlines()[1].endswith("in order:")

    @property
    def signature(self) -> tuple:
        """What the program does: the sequence of skills and parameters."""
        return tuple((step.skill, step.value) for step in self.steps)


@dataclass(frozen=True)
class WorldConfig:
    """Difficulty knobs of the generator."""

    steps: tuple[int, int] = (3, 5)
    """Fewest and most steps of a pipeline, the final return included."""
    rare_rate: float = -1.0
    """Probability that a transform is one of the rare skills; negative: as common as the others."""
    paraphrases: int = 2
    """Number of ways a step may be said (1 or 2)."""
    tests: int = 8
    """Input/expected pairs per task; 0 makes none (pre-training)."""
    in_order: float = 0.5
    """Share of tasks whose docstring lists the steps in order and says so; the others list them out of order."""

    def __post_init__(self) -> None:
        low, high = self.steps
        if not 1 <= low <= high <= 20:
            raise ValueError(f"steps={self.steps}: needs 1 <= fewest <= most <= 20 (letters a to z must suffice).")
        if self.rare_rate > 1:
            raise ValueError(f"rare_rate={self.rare_rate}: a probability, or negative for 'as common as the others'.")
        if self.paraphrases not in (1, 2):
            raise ValueError(f"paraphrases={self.paraphrases}: 1 or 2.")
        if not 0 <= self.in_order <= 1:
            raise ValueError(f"in_order={self.in_order}: a share, 0 to 1.")
        if self.tests < 0:
            raise ValueError(f"tests={self.tests}: 0 or more.")


def _draw_step(rng: random.Random, skills: Sequence[Skill], label: str, config: WorldConfig) -> Step:
    skill = rng.choice(skills)
    value = rng.choice(skill.values) if skill.values else None
    return Step(label, skill.name, value, skill.phrase(value, rng.randrange(config.paraphrases)))


def draw_task(rng: random.Random, config: WorldConfig, task_id: str = "") -> Task:
    """One random pipeline without tests (see `make_tasks` for tasks with tests)."""
    count = rng.randint(*config.steps)
    first = rng.randrange(26 - count + 1)
    labels = string.ascii_lowercase[first : first + count]
    steps = []
    for label in labels[:-1]:
        pool = COMMON + RARE
        if config.rare_rate >= 0:
            pool = RARE if rng.random() < config.rare_rate else COMMON
        steps.append(_draw_step(rng, pool, label, config))
    steps.append(_draw_step(rng, TERMINAL, labels[-1], config))
    return build_task(task_id, steps, None if rng.random() < config.in_order else rng)


def build_task(task_id: str, steps: Sequence[Step], rng: random.Random | None = None) -> Task:
    """The task of these steps; `rng` shuffles the docstring, which without it says that its steps are in order."""
    listed = list(steps)
    if rng is not None:
        rng.shuffle(listed)
    doc = "".join(f"    {step.label} {step.phrase}\n" for step in listed)
    title = f"Steps {steps[0].label} to {steps[-1].label}" + (":" if rng else " in order:")
    prompt = f'def {ENTRY_POINT}(xs):\n    """{title}\n{doc}    """\n'
    lines: list[str] = []
    starts = []
    for step in steps:
        starts.append(len(lines))
        lines.extend(BY_NAME[step.skill].lines(step.value))
    return Task(task_id, prompt, tuple(lines), tuple(starts), tuple(steps))


def _compile(task: Task, without: int | None = None) -> Callable[[list[int]], Any]:
    """The reference solution as a function, optionally leaving one step out. Only our own text is executed here."""
    bounds = [*task.starts, len(task.lines)]
    kept = [line for i in range(len(task.steps)) if i != without for line in task.lines[bounds[i] : bounds[i + 1]]]
    scope: dict = {}
    exec(f"def {ENTRY_POINT}(xs):\n" + "".join(kept), scope)
    return scope[ENTRY_POINT]


def _draw_tests(rng: random.Random, task: Task, count: int) -> tuple[tuple[list, Any], ...] | None:
    """Inputs on which the program stays small and every transform matters; None where this pipeline has none."""
    solve = _compile(task)
    partial = [_compile(task, without=i) for i in range(len(task.steps) - 1)]
    pairs = []
    for _ in range(count):
        xs = [rng.randint(-9, 20) for _ in range(rng.randint(7, 12))]
        expected = solve(list(xs))
        if len(str(expected)) > 400 or any(
            abs(v) > _LARGEST for v in (expected if isinstance(expected, list) else [expected])
        ):
            return None
        pairs.append(([xs], expected))
    pairs[-1] = ([[]], solve([]))
    if len({json.dumps(expected) for _, expected in pairs}) < count // 2:
        return None
    for function in partial:
        if all(function(list(args[0])) == expected for args, expected in pairs):
            return None
    return tuple(pairs)


def make_tasks(seed: int, count: int, config: WorldConfig, name: str, exclude: set[tuple] | None = None) -> list[Task]:
    """`count` tasks with tests, no program twice and none whose signature is in `exclude` (which is not changed).

    Every transform of a task changes the result of at least one test, so a program that skips a step fails.

    >>> task = make_tasks(0, 1, WorldConfig(steps=(3, 3)), "doc")[0]
    >>> len(task.steps), task.pairs[0][1] == _compile(task)(task.pairs[0][0][0])
    (3, True)
    """
    rng = random.Random(seed)
    seen = set(exclude or ())
    tasks: list[Task] = []
    for _ in range(1000 * count):
        if len(tasks) == count:
            return tasks
        task = draw_task(rng, config, f"{name}/{len(tasks)}")
        if task.signature in seen:
            continue
        pairs = _draw_tests(rng, task, config.tests)
        if pairs is not None:
            seen.add(task.signature)
            tasks.append(Task(task.task_id, task.prompt, task.lines, task.starts, task.steps, pairs))
    if len(tasks) == count:
        return tasks
    raise ValueError(
        f"only {len(tasks)} of {count} distinct tasks exist under {config}: ask for fewer or for more steps."
    )


@dataclass(frozen=True)
class Split:
    """How a shipped split is made."""

    seed: int
    count: int
    config: WorldConfig = field(default_factory=WorldConfig)


SPLITS: dict[str, Split] = {
    "expert": Split(301, 1200, WorldConfig(steps=(5, 7))),
    "rlvr": Split(302, 600, WorldConfig(steps=(5, 7))),
    "validation": Split(303, 200, WorldConfig(steps=(8, 9))),
    "test": Split(304, 300, WorldConfig(steps=(8, 9))),
    "final": Split(719_305, 300, WorldConfig(steps=(8, 9))),
}
"""Shipped splits. Pre-training draws 2 to 5 steps; validation, test and final are longer than any training data."""


def build_splits() -> dict[str, list[Task]]:
    """All shipped splits, disjoint by program."""
    used: set[tuple] = set()
    splits = {}
    for name, split in SPLITS.items():
        splits[name] = make_tasks(split.seed, split.count, split.config, name, used)
        used.update(task.signature for task in splits[name])
    return splits


def task_to_json(task: Task) -> str:
    """One line of a split file."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(task)}, separators=(",", ":"))


def task_from_record(record: dict[str, Any]) -> Task:
    """The task of a split file's row. ValueError for a newer schema, KeyError or TypeError for what is none."""
    record = {**record}
    version = record.pop("schema_version")
    if version > SCHEMA_VERSION:
        raise ValueError(
            f"task record has schema_version {version}, this ra3_lab reads up to {SCHEMA_VERSION}: update ra3_lab."
        )
    steps = tuple(Step(**step) for step in record.pop("steps"))
    pairs = tuple((args, expected) for args, expected in record.pop("pairs"))
    lines, starts = tuple(record.pop("lines")), tuple(record.pop("starts"))
    return Task(lines=lines, starts=starts, steps=steps, pairs=pairs, **record)


def read_tasks(path: Path) -> Iterator[Task]:
    """Tasks of a split file, in order."""
    for number, row in numbered_rows(path):
        try:
            yield task_from_record(row)
        except (KeyError, TypeError) as error:
            what = f"{type(error).__name__}: {error}"
            raise ValueError(
                f"{path}:{number} is no task of pipelines ({what}); `ra3-lab data` writes some."
            ) from error
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error


def load_split(name: str, directory: Path | None = None) -> list[Task]:
    """A shipped split by name: expert, rlvr, validation, test or final."""
    from ra3_lab.resources import data_dir

    path = (directory or data_dir() / "pipelines") / f"{name}.jsonl"
    if not path.exists():
        known = sorted(p.stem for p in path.parent.glob("*.jsonl"))
        raise ValueError(f"no split named {name!r}; there are {known}.")
    return list(read_tasks(path))
