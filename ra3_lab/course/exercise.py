"""What an exercise is, and how answers to it are judged: plain data in, a `Finding` out.

An exercise asks for one function. Its inputs are drawn from a seed as plain data; an oracle, written with the library
in float64, says what is right; named mistakes say what a wrong result probably comes from. Nothing here calls a
student's function: results come from the sandbox (grading) or from the notebook's own kernel (instant checks).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ra3_lab.course.plain import plain, revive

Arguments = Sequence[Any]
"""Arguments of one call, as plain data (`ra3_lab.course.plain`)."""


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    passed: bool
    """Whether everything is as it should be."""
    mistake: str = ""
    """Id of the recognised mistake; "different" where none was recognised, "error", "shape", "kind", "stub" ..."""
    hint: str = ""
    """One or two sentences for the student, without any input or expected value in it."""


@dataclass(frozen=True)
class Mistake:
    """A named mistake, recognised from results. Give `wrong` or `matches`."""

    id: str
    """A short word: "sign", "off_by_one"."""
    hint: str
    """What the student reads: names the mistake, not the answer. Must not depend on the inputs."""
    wrong: Callable[..., Any] | None = None
    """`wrong(*arguments)`: what this mistake gives; recognised where results agree with it in every failed case."""
    matches: Callable[[Arguments, Any, Any], bool] | None = None
    """`matches(arguments, expected, result)`: a test of one failed case instead; must hold in every failed case."""

    def __post_init__(self) -> None:
        if (self.wrong is None) == (self.matches is None):
            raise ValueError(f"mistake {self.id!r}: give `wrong` or `matches`, one of the two.")


@dataclass(frozen=True)
class Exercise:
    """One exercise of an assignment."""

    id: str
    """Assignment and name: "a1.regret"."""
    title: str
    """A few words."""
    objective: str
    """What one can do afterwards: one sentence."""
    minutes: int
    """How long a student takes."""
    difficulty: Literal[1, 2, 3]
    """1 a formula into code, 2 two ideas together, 3 needs thought."""
    points: int
    """What it is worth."""
    function: str
    """Name of the function that the notebook defines."""
    example: Arguments
    """Arguments of the visible example, plain data."""
    make_inputs: Callable[[int], list[Arguments]]
    """`make_inputs(seed)`: 4 to 20 lists of arguments, plain data; the same seed gives the same."""
    oracle: Callable[..., Any]
    """`oracle(*arguments)`: the right result, in float64; arguments arrive as the student's function gets them."""
    mistakes: tuple[Mistake, ...] = ()
    """Tried in order; the first that explains every failed case gives the hint."""
    compare: Callable[[Arguments, Any, Any], bool] | None = None
    """`compare(arguments, expected, result)`: whether a result is right; None: equal shapes, numbers within `rtol`,
    `atol`. For answers with several right forms, write a property here (and let `oracle` return what it needs)."""
    rtol: float = 1e-6
    """Relative tolerance."""
    atol: float = 1e-9
    """Absolute tolerance."""
    adapter: Callable[..., Any] | None = field(default=None, repr=False)
    """`adapter(function, *arguments)`, run in the sandbox by text (so: self-contained, imports inside) instead of
    `function(*arguments)`: calls the function and returns what is to be judged, gradients for example."""
    gives_away: tuple[str, ...] = ()
    """What in the library computes (nearly) this, as "module:name": calls and copies of it are flagged."""
    cpu_seconds: float = 10.0
    """CPU seconds for all its calls together, the notebook's other cells included."""
    memory_mb: int = 1024
    """Memory in MiB."""


@dataclass(frozen=True)
class Question:
    """A "why" question: answered in words, marked by a person."""

    id: str
    """"a1.why_prune"."""
    points: int
    """What it is worth."""


@dataclass(frozen=True)
class Assignment:
    """One master notebook's exercises; the module `ra3_lab/course/aN.py` has it as `ASSIGNMENT`."""

    id: str
    """"a1"."""
    title: str
    """A few words."""
    notebook: str
    """Name of the master in notebooks/assignments/src/, without .py: "a1_options"."""
    exercises: tuple[Exercise, ...]
    """In the order of the notebook."""
    questions: tuple[Question, ...] = ()
    """In the order of the notebook."""

    def __post_init__(self) -> None:
        for part in (*self.exercises, *self.questions):
            if not part.id.startswith(f"{self.id}."):
                raise ValueError(f"{part.id!r} in assignment {self.id!r}: ids begin with '{self.id}.'.")

    @property
    def points(self) -> int:
        """Points of all exercises; questions come on top."""
        return sum(exercise.points for exercise in self.exercises)


def close(expected: Any, result: Any, rtol: float = 1e-6, atol: float = 1e-9) -> bool:
    """Whether two pieces of plain data have one shape and agree: numbers within tolerance, the rest exactly.

    A nan equals nothing, infinities equal themselves; True is not 1.

    >>> close([[1.0, 2.0]], [[1.0, 2.0 + 1e-8]]), close([1.0], 1.0), close(float("nan"), float("nan"))
    (True, False, False)
    """
    if isinstance(expected, (list, tuple)):
        if not isinstance(result, (list, tuple)) or len(expected) != len(result):
            return False
        return all(close(one, other, rtol, atol) for one, other in zip(expected, result, strict=True))
    if isinstance(expected, dict):
        if not isinstance(result, dict) or expected.keys() != result.keys():
            return False
        return all(close(expected[key], result[key], rtol, atol) for key in expected)
    if _number(expected) and _number(result):
        if expected == result:
            return True
        try:
            return math.isfinite(expected) and abs(expected - result) <= atol + rtol * abs(expected)
        except OverflowError:
            return False
    return type(expected) is type(result) and expected == result


def shape_of(value: Any) -> tuple[int, ...]:
    """Lengths of nested lists, by their first items.

    >>> shape_of([[1, 2, 3], [4, 5, 6]]), shape_of(1.0)
    ((2, 3), ())
    """
    shape: list[int] = []
    while isinstance(value, (list, tuple)):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def right(exercise: Exercise, arguments: Arguments) -> Any:
    """What the oracle says, as plain data."""
    return plain(exercise.oracle(*revive(list(arguments))))


def accepts(exercise: Exercise, arguments: Arguments, expected: Any, result: Any) -> bool:
    """Whether one result is right. A comparison that fails on odd data means no."""
    if exercise.compare is None:
        return close(expected, result, exercise.rtol, exercise.atol)
    try:
        return is_plain(result) and bool(exercise.compare(revive(list(arguments)), expected, result))
    except Exception:  # a result may be anything
        return False


def judge(
    exercise: Exercise, inputs: Sequence[Arguments], results: Sequence[Any], expected: Sequence[Any] | None = None
) -> Finding:
    """Whether results (plain data, one a call, in order) are right, and if not, which mistake they look like.

    Fewer results than inputs mean that the function did not return in the others: never passed. `expected`: what
    `right` gives for the inputs, where it is known already.
    """
    if expected is None:
        expected = [right(exercise, arguments) for arguments in inputs]
    triples = list(zip(inputs, expected, results, strict=False))
    failed = [triple for triple in triples if not accepts(exercise, *triple)]
    if not failed:
        if len(triples) == len(inputs) > 0:
            return Finding(True)
        return Finding(False, "missing", "The function did not return for every input.")
    for mistake in exercise.mistakes:
        if all(_explains(exercise, mistake, *triple) for triple in failed):
            return Finding(False, mistake.id, mistake.hint)
    return _general(failed, len(inputs))


def _explains(exercise: Exercise, mistake: Mistake, arguments: Arguments, expected: Any, result: Any) -> bool:
    try:
        if mistake.wrong is not None:
            value = plain(mistake.wrong(*revive(list(arguments))))
            return close(value, result, max(exercise.rtol, 1e-5), max(exercise.atol, 1e-8))
        assert mistake.matches is not None
        return is_plain(result) and bool(mistake.matches(revive(list(arguments)), expected, result))
    except Exception:
        return False


def _general(failed: list[tuple[Arguments, Any, Any]], of: int) -> Finding:
    """A hint where no named mistake fits."""
    how_many = f"in {len(failed)} of {of} cases" if len(failed) < of else "in every case"
    if all(result is None for _, _, result in failed):
        return Finding(False, "none", "Your function returns None: is a `return` missing?")
    if all(_odd(result) for _, _, result in failed):
        return Finding(False, "nan", f"The result holds nan or infinity {how_many}: look for log(0), 0/0, overflow.")
    if all(shape_of(result) != shape_of(expected) for _, expected, result in failed):
        return Finding(False, "shape", f"The result has another shape than asked for, {how_many}.")
    return Finding(False, "different", f"The result differs from the right one {how_many}.")


def is_plain(value: Any) -> bool:
    """Whether a value consists of None, bools, numbers, text, lists, and dicts with text as keys."""
    if isinstance(value, list):
        return all(is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, (bool, int, float, str))


def _odd(value: Any) -> bool:
    """Whether a nan or an infinity is anywhere in it."""
    if isinstance(value, (list, tuple)):
        return any(_odd(item) for item in value)
    if isinstance(value, dict):
        return any(_odd(item) for item in value.values())
    return isinstance(value, float) and not math.isfinite(value)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
