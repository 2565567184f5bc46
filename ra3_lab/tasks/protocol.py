"""One form for every task, whatever benchmark it comes from: what the model reads, and what decides about its answer.

    task.prompt --model--> completion --task.program--> Program(source, tests) --judge_batch--> Verdict

A `Task` holds data only. How its program is run and compared stands in `tests`, one of the three forms of the judge
(`Calls`, `Asserts`, `Stdin`, see ra3_lab/sandbox/program.py) or `Inputs`: calls whose right results are whatever the
reference solution returns, not known until `expected.with_expected` has run it in the sandbox, once.
"""

from __future__ import annotations

import ast
import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ra3_lab.sandbox import Asserts, Calls, Limits, Program, Stdin
from ra3_lab.sandbox.checkers import TEXT_CHECKERS, canonical, parse_checker


@dataclass(frozen=True)
class Inputs:
    """Calls whose expected results the reference solution is to give."""

    entry_point: str
    """Name of the function to call."""
    inputs: Sequence[Sequence[Any]] = field(repr=False)
    """Argument lists, plain data."""
    checker: str = "equal"
    """How results will be compared with the reference's."""


Tests = Calls | Asserts | Stdin | Inputs


@dataclass(frozen=True)
class Task:
    """A programming problem: prompt, tests, and how a completion becomes a program. ValueError without any test."""

    task_id: str
    """Unique in its set, as the benchmark writes it: 'HumanEval/0', '11'."""
    prompt: str = field(repr=False)
    """What a base model continues."""
    tests: Tests = field(repr=False)
    """What decides. Expected outputs stay on the judge's side."""
    prefix: str = field(default="", repr=False)
    """Text that stands before a completion to make it a program: the prompt where that is code, else nothing."""
    preamble: str = field(default="", repr=False)
    """Text that the judge puts before every program: imports that a site's own judge makes."""
    suffix: str = field(default="", repr=False)
    """Text that the judge puts after every program, so that its entry point can be called (a method as a function)."""
    canonical: str = field(default="", repr=False)
    """The reference solution as a whole program; empty where the data has none."""
    stops: tuple[str, ...] = field(default=(), repr=False)
    """A sampled completion ends before the first of these."""
    limits: Limits = field(default_factory=Limits)
    """What one program may use."""
    source: str = ""
    """Which data it comes from."""
    known_failure: str = field(default="", repr=False)
    """Why the reference solution cannot pass here, where that is known; the self-test lets it fail."""

    def __post_init__(self) -> None:
        if not isinstance(self.task_id, str) or not self.task_id:
            raise ValueError(f"task_id is {self.task_id!r}; it must be text that is not empty")
        checker = getattr(self.tests, "checker", None)
        if checker is not None:
            word, _ = parse_checker(checker)
            if (word in TEXT_CHECKERS) != isinstance(self.tests, Stdin):
                kind = "text" if word in TEXT_CHECKERS else "returned values"
                raise ValueError(
                    f"task {self.task_id!r}: checker {checker!r} compares {kind}, its tests give the other"
                )
        if number_of_tests(self.tests) == 0:
            raise ValueError(f"task {self.task_id!r} has no tests; zero tests is an error, not a pass")

    @property
    def entry_point(self) -> str:
        """The function that is called; empty for programs that read stdin."""
        return getattr(self.tests, "entry_point", "")

    def program(self, completion: str) -> Program:
        """The judge's program of a completion of the prompt. ValueError while expected outputs are missing."""
        return self.program_of_solution(self.prefix + completion)

    def program_of_solution(self, solution: str) -> Program:
        """The judge's program of a whole solution. ValueError while expected outputs are missing."""
        if isinstance(self.tests, Inputs):
            raise ValueError(
                f"task {self.task_id!r} has inputs but no expected outputs yet: call "
                "ra3_lab.tasks.expected.with_expected(tasks) first."
            )
        return Program(self.source_of(solution), self.tests)

    def source_of(self, solution: str) -> str:
        """The text that is run for a whole solution: with what the judge puts before and after it."""
        # `from __future__` must be a program's first statement; what needs both has to import for itself.
        preamble = "" if "from __future__" in solution else self.preamble
        return preamble + solution + self.suffix

    @cached_property
    def hash(self) -> str:
        """16 hex digits that change when anything changes that a score depends on; the reference solution does not."""
        kept = {name: getattr(self, name) for name in ("task_id", "prompt", "prefix", "preamble", "suffix")}
        tests = {name: _text(value) for name, value in vars(self.tests).items()}
        text = json.dumps([kept, type(self.tests).__name__, tests, vars(self.limits)], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _text(value: Any) -> str:
    """Text of plain data that is the same in every process: `repr` where that is, for it is ten times as fast."""
    try:
        text = repr(value)
    except ValueError:  # whole numbers of more than 4,300 digits
        return canonical(value, types=True)
    return canonical(value, types=True) if "{" in text else text  # sets come in any order


def parse_quietly(source: str) -> ast.Module:
    """The syntax tree of somebody else's code, without the warnings that its escapes deserve. Raises SyntaxError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def number_of_tests(tests: Tests) -> int:
    """Pairs, inputs or cases; for assert-style tests 1 where there is any text."""
    if isinstance(tests, Asserts):
        return int(bool(tests.code.strip()))
    found = tests.cases if isinstance(tests, Stdin) else tests.pairs if isinstance(tests, Calls) else tests.inputs
    return len(found)


@dataclass(frozen=True)
class DataSource:
    """Where tasks were read, for the record beside every score."""

    name: str
    """Name of the benchmark."""
    location: str
    """File name, or hub repository and file."""
    sha256: str
    """Of the file's bytes as they are, packed or not."""
    release: str = ""
    """What is known of a file with this hash; empty for an unknown one."""


@dataclass(frozen=True)
class TaskSet(Sequence[Task]):
    """The tasks of one source, in its order, and what was left out. ValueError for no task or an id given twice."""

    tasks: tuple[Task, ...]
    """Those that can be judged."""
    data: DataSource
    """Where they come from."""
    split: str = ""
    """Which part of the data this is; empty for all of it."""
    excluded: dict[str, str] = field(default_factory=dict)
    """task_id -> why it cannot be judged here (it would need a checker of its own, say)."""
    read_hash: str = ""
    """The hash as it was when the data were read, where expected results were filled in since."""

    def __post_init__(self) -> None:
        counts: dict[str, int] = {}
        for task in self.tasks:
            counts[task.task_id] = counts.get(task.task_id, 0) + 1
        twice = [task_id for task_id, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"{self.data.location}: task_id {twice[0]!r} stands there {counts[twice[0]]} times")
        if not self.tasks:
            reasons = "; ".join(sorted(set(self.excluded.values()))[:3]) or "it holds none"
            raise ValueError(f"{self.data.location}: no task is left to judge: {reasons}")

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def __getitem__(self, index: Any) -> Any:
        return self.tasks[index]

    def with_tasks(self, tasks: Sequence[Task]) -> TaskSet:
        """The same set with other tasks, some of them, say."""
        return replace(self, tasks=tuple(tasks), read_hash="")

    @property
    def hash(self) -> str:
        """16 hex digits over all tasks as they were read, order included."""
        return self.read_hash or hashlib.sha256("".join(task.hash for task in self.tasks).encode()).hexdigest()[:16]


def cut_at_stops(completion: str, stops: Sequence[str]) -> str:
    """The text before the first of the stop strings.

    >>> cut_at_stops("    return x\\n\\ndef other():\\n    pass", ("\\ndef ", "\\nclass "))
    '    return x\\n'
    """
    places = [place for place in (completion.find(stop) for stop in stops) if place >= 0]
    return completion[: min(places)] if places else completion


_PYTHON = ("python", "python3", "py")


def code_block(text: str) -> str:
    """The code of an answer in prose; all of the text where there is no fence.

    Of several fenced blocks, closed or cut off, it is the last that defines a function or class, else the last that
    does anything (output and bare values do not), else the last; where some are tagged as Python, only those are looked
    at. An answer that is code up to a fence that nothing opened is the text before that fence. Indented fences are not
    seen.

    >>> code_block("Here you are:\\n```python\\nx = 1\\n```\\nOutput:\\n```\\n1\\n```")
    'x = 1\\n'
    >>> code_block("def f(x):\\n    return x\\n```\\n\\nThis returns x.")
    'def f(x):\\n    return x\\n'
    >>> code_block("x = 1")
    'x = 1'
    """
    lead, *pieces = ("\n" + text).split("\n```")
    blocks: list[tuple[bool, str]] = []  # (tagged as Python, content)
    opened = False
    for piece in pieces:
        tag, _, content = piece.partition("\n")
        tagged = tag.strip().lower() in _PYTHON
        opened = tagged or not opened  # a tag is never at the end of a block
        if opened:
            blocks.append((tagged, content + "\n"))
    if not blocks:
        return text
    before = 0 if blocks[0][0] else _substance(lead)
    python = [content for tagged, content in blocks if tagged] or [content for _, content in blocks]
    weights = [_substance(content) for content in python] if len(python) > 1 or before else [1]
    if before == 2 or before > max(weights):
        return lead[1:] + "\n"
    return max(zip(weights, range(len(python)), python, strict=True))[2]


def _substance(text: str) -> int:
    """2 for Python that defines a function or class, 1 for Python that does something, 0 for prose and bare values."""
    try:
        body = parse_quietly(text).body
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError):  # a model may write anything
        return 0
    if any(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for node in body):
        return 2
    return int(any(map(_acts, body)))


def _acts(node: ast.stmt) -> bool:
    """Whether a statement does more than words of prose that parse: `Answer`, `Output: x`."""
    if isinstance(node, ast.AnnAssign):
        return node.value is not None
    return not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call)
