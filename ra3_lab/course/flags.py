"""What a person should look at: submissions that use or copy what the library has, or each other.

A flag is no verdict and takes no points. The library cannot be imported where submissions run, so that a call of it
fails there; the flag says why.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module

from ra3_lab.course import masters
from ra3_lab.course.exercise import Exercise
from ra3_lab.course.registry import assignment
from ra3_lab.course.submissions import Submission

SMALLEST = 40
"""Syntax nodes below which two functions may well be the same by chance."""


def flags(submission: Submission) -> list[str]:
    """What is odd about one submission, in words for the teacher."""
    try:
        return _flags(submission)
    except RecursionError:  # an expression of a thousand operators parses, and cannot be walked
        return ["could not be compared with anything: its expressions are nested too deeply"]


def _flags(submission: Submission) -> list[str]:
    found = sorted(_imports(cell.source for cell in submission.cells))
    said = [f"imports {name} of the library, which has answers" for name in found]
    for exercise in assignment(submission.assignment).exercises:
        node = _function(submission, exercise)
        if node is None:
            continue
        shape, size = fingerprint(node), _size(node)
        for place, known in _given_away(exercise.id):
            if size >= SMALLEST and shape == known:
                said.append(f"{exercise.id}: {exercise.function} is {place}, names aside")
    return said


def signature(submission: Submission) -> str:
    """A digest of the answers, names included: equal in two submissions that are copies; "" where little is there."""
    nodes = [_function(submission, exercise) for exercise in assignment(submission.assignment).exercises]
    there = [node for node in nodes if node is not None and not _is_stub(node)]
    if sum(_size(node) for node in there) < 3 * SMALLEST:
        return ""
    try:
        text = "\n".join(ast.dump(_without_docstring(node)) for node in there)
    except RecursionError:
        return ""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint(node: ast.FunctionDef) -> str:
    """A function's structure, without its names, docstring and annotations.

    >>> one, other = (ast.parse(text).body[0] for text in ("def f(a): return a + 1", "def g(b: int): return b + 1"))
    >>> fingerprint(one) == fingerprint(other)
    True
    """
    names: dict[str, str] = {}

    def numbered(match: re.Match) -> str:
        return f"{match[1]}='{names.setdefault(match[2], f'n{len(names)}')}'"

    copied = _without_docstring(ast.parse(ast.unparse(node)).body[0])
    for inner in ast.walk(copied):
        if isinstance(inner, ast.arg):
            inner.annotation = None
        elif isinstance(inner, ast.FunctionDef):
            inner.returns = None
    return re.sub(r"\b(id|arg|name)='(\w+)'", numbered, ast.dump(copied))


def _imports(sources: Iterable[str]) -> set[str]:
    """Modules of the library, other than the notebook's own `ra3_lab.course`, that are imported by name."""
    found = set()
    for source in sources:
        for node in ast.walk(_parsed(source)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"^ra3_lab(?:\.\w+)+$", node.value))
    allowed = {"ra3_lab.course"} | {f"ra3_lab.course.{name}" for name in ("begin", "check", "provided")}
    return {name for name in found if name.startswith("ra3_lab.") and name not in allowed}


@cache
def _given_away(name: str) -> tuple[tuple[str, str], ...]:
    """(what it is, fingerprint) of the functions that compute an exercise's answer in the project."""
    found = assignment(name.partition(".")[0])
    exercise = next(one for one in found.exercises if one.id == name)
    known = [(f"`{place}` of the library", _node_of(_resolve(place))) for place in exercise.gives_away]
    known.append(("the oracle of the check", _node_of(exercise.oracle)))
    source = next(c.source for c in masters.read_master(found.id) if (c.mark, c.about) == ("exercise", name))
    known.append(("the published solution", _defined(masters.without_markers(source, name), exercise.function)))
    return tuple((what, fingerprint(node)) for what, node in known if node is not None)


def _resolve(place: str) -> Callable | None:
    module, _, path = place.partition(":")
    value = import_module(module)
    for part in path.split("."):
        value = getattr(value, part, None)
    return value  # type: ignore[return-value]


def _node_of(function: Callable | None) -> ast.FunctionDef | None:
    try:
        source = textwrap.dedent(inspect.getsource(function))  # type: ignore[arg-type]
    except (OSError, TypeError):
        return None
    found = _parsed(source).body
    return found[0] if found and isinstance(found[0], ast.FunctionDef) else None


def _function(submission: Submission, exercise: Exercise) -> ast.FunctionDef | None:
    """The last definition of the function that is asked for."""
    found = [_defined(cell.source, exercise.function) for cell in submission.cells]
    return next((node for node in reversed(found) if node is not None), None)


def _defined(source: str, name: str) -> ast.FunctionDef | None:
    nodes = [node for node in _parsed(source).body if isinstance(node, ast.FunctionDef) and node.name == name]
    return nodes[-1] if nodes else None


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


def _without_docstring(node: ast.stmt) -> ast.FunctionDef:
    assert isinstance(node, ast.FunctionDef)
    if ast.get_docstring(node) is not None:
        node = copy.copy(node)
        node.body = node.body[1:] or [ast.Pass()]
    return node


def _size(node: ast.FunctionDef) -> int:
    return sum(1 for _ in ast.walk(_without_docstring(node)))


def _is_stub(node: ast.FunctionDef) -> bool:
    body = _without_docstring(node).body
    return len(body) == 1 and isinstance(body[0], (ast.Raise, ast.Pass))
