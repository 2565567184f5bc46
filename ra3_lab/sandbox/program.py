"""What is judged and what comes back: programs, their three kinds of tests, limits, verdicts. Plain data, no machinery.

- `Calls`: inputs are sent into the program's process, returned values are compared outside, by a checker.
- `Asserts`: test text (HumanEval's `check(candidate)`, MBPP's asserts) runs in a process of its own; the functions of
  the program that it calls are stand-ins there, which pass plain data to the program's process and back.
- `Stdin`: a whole program with real descriptors, one fresh process a case; its standard output is compared outside.

In none of them does anything that decides about the verdict live in the program's own process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

STATUSES = (
    "passed",
    "wrong_answer",
    "runtime_error",
    "time_limit",
    "memory_limit",
    "output_limit",
    "forbidden",
    "no_verdict",
)

MOST = 1_000_000_000
"""The largest limit of any kind: timers, and the kernel's counts of bytes, hold what it comes to."""


@dataclass(frozen=True)
class Calls:
    """Input and output pairs of one function. Zero pairs raise ValueError."""

    entry_point: str
    """Name of the function to call."""
    pairs: Sequence[Sequence[Any]] = field(repr=False)
    """`[[arguments, expected], ...]`, plain data: called with `*arguments`, it must return `expected`."""
    checker: str = "exact"
    """How returned and expected values are compared; the names are those of `ra3_lab.sandbox.checkers.compare`."""

    def __post_init__(self) -> None:
        if not self.pairs:
            raise ValueError(f"program for {self.entry_point!r} has no pairs; zero tests is an error, not a pass")
        for number, pair in enumerate(self.pairs):
            if len(pair) != 2 or not isinstance(pair[0], (list, tuple)):
                raise ValueError(f"pair {number} of {self.entry_point!r} is {pair!r:.80}, not [arguments, expected]")


@dataclass(frozen=True)
class Asserts:
    """Test text that raises when the program is wrong. Empty text raises ValueError.

    Names that the text neither defines nor finds among Python's builtins are looked up in the program: functions
    and classes become stand-ins, plain data is copied, a module of the standard library is imported afresh. So a
    helper that the *tests* rely on belongs into `code`, where the program cannot replace it.
    """

    code: str = field(repr=False)
    """The test text, run from top to bottom: it passes when it ends without an exception."""
    entry_point: str = ""
    """The function under test: always the program's own, even where a builtin has the same name."""

    def __post_init__(self) -> None:
        if not self.code.strip():
            raise ValueError(f"the test text for {self.entry_point!r} is empty; zero tests is an error, not a pass")


@dataclass(frozen=True)
class Stdin:
    """Standard input and expected standard output of a whole program. Zero cases raise ValueError."""

    cases: Sequence[Sequence[str]] = field(repr=False)
    """`[(input, expected_output), ...]`; every case runs in a fresh process, with the limits to itself."""
    checker: str = "tokens"
    """How outputs are compared; "tokens" looks at the words between white space only."""

    def __post_init__(self) -> None:
        if not self.cases:
            raise ValueError("a program that reads standard input has no cases; zero tests is an error, not a pass")
        for number, case in enumerate(self.cases):
            if len(case) != 2 or not all(isinstance(text, str) for text in case):
                raise ValueError(f"case {number} is {case!r:.80}, not (input, expected output) as text")


@dataclass(frozen=True)
class Program:
    """One candidate program and what decides about it."""

    source: str
    """Python source text."""
    tests: Calls | Asserts | Stdin
    """Calls, Asserts or Stdin."""

    def __post_init__(self) -> None:
        if not isinstance(self.tests, (Calls, Asserts, Stdin)):
            raise ValueError(f"tests is {self.tests!r:.80}; give Calls(...), Asserts(...) or Stdin(...)")


@dataclass(frozen=True)
class Limits:
    """What one program may use: over all its calls or asserts, and for each case of Stdin."""

    cpu_seconds: float = 2.0
    """CPU seconds; these decide, so that a busy machine changes no verdict."""
    memory_mb: float = 512
    """Memory of the program in MiB, beyond what the interpreter itself takes."""
    output_bytes: int = 1_000_000
    """Bytes of standard output, or of all returned values together, as JSON."""
    scratch_mb: float = 64
    """MiB of files the program may hold in its scratch folder."""
    wall_seconds: float | None = None
    """The backstop for programs that sleep; None: 3 x CPU + 1 s."""

    def __post_init__(self) -> None:
        allowed = f"it must be above 0 and at most {MOST:,}"
        for name in ("cpu_seconds", "memory_mb", "output_bytes", "scratch_mb"):
            if not 0 < getattr(self, name) <= MOST:
                raise ValueError(f"{name} is {getattr(self, name)!r}; {allowed}")
        if self.wall_seconds is not None and not 0 < self.wall_seconds <= MOST:
            raise ValueError(f"wall_seconds is {self.wall_seconds!r}; {allowed}, or None for 3 x CPU + 1 s")

    @property
    def backstop(self) -> float:
        """Wall seconds after which the program is killed whatever it used.

        >>> Limits().backstop, Limits(wall_seconds=1.5).backstop
        (7.0, 1.5)
        """
        return 3 * self.cpu_seconds + 1 if self.wall_seconds is None else self.wall_seconds


@dataclass(frozen=True)
class Verdict:
    """What the judge found. `no_verdict` says nothing about the program: keep it out of rewards and rates."""

    passed: bool
    """True when everything that was tested is as expected."""
    status: str
    """passed, wrong_answer, runtime_error, time_limit, memory_limit, output_limit, forbidden, no_verdict."""
    seconds: float
    """CPU seconds used (0.0 where the platform does not tell)."""
    detail: str
    """One line for a reader: the failing test, the exception, or the sandbox's own trouble."""


class NoVerdict(RuntimeError):
    """The sandbox, not the program, went wrong, and again when it was tried afresh."""


MOST_NO_VERDICTS = 0.01
"""Share of programs without a verdict above which nothing more is concluded from the others."""


def verdict_trouble(without: int, of: int, detail: str, share: float = MOST_NO_VERDICTS, spared: int = 0) -> str | None:
    """What to stop with where more than `share` of the programs, and more than `spared` of them, have no verdict; None
    where so few have none that they are left out and the rest counts. `detail` is what the judge said of one.

    >>> verdict_trouble(1, 100, "gone"), verdict_trouble(1, 8, "gone", spared=1)
    (None, None)
    """
    if without <= max(spared, share * of):
        return None
    return (
        f"the judge gave no verdict on {without} of {of} programs, more than {share:.0%}; "
        f"{detail or 'it did not say why'}. The programs are not at fault: mend the task's tests where it names them, "
        "else see what `ra3-lab doctor` says of the sandbox."
    )
