"""Own tasks as JSONL: one task a line, the format described in docs/benchmarks.md.

    {"schema_version": 1, "task_id": "own/total", "prompt": "def total(xs):\\n    ...", "prefix": "def total(xs):\\n",
     "entry_point": "total", "pairs": [[[[1, 2]], 3]], "checker": "equal", "solution": "def total(xs):\\n    ..."}

Exactly one of `pairs` (function, results compared), `tests` (function, assert text) and `stdin` (whole program,
output compared) says how a program is judged. Values that JSON has no form for are objects with one key: {"$tuple":
[...]}, {"$set": [...]}, {"$dict": [[key, value], ...]}, {"$bytes": "hex"}, {"$complex": [re, im]}, {"$float": "nan"}.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ra3_lab.jsonl import numbered_rows
from ra3_lab.sandbox import Asserts, Calls, Limits, Stdin
from ra3_lab.tasks.protocol import Inputs, Task

SCHEMA_VERSION = 1
_FORMS = ("pairs", "tests", "stdin")
_TEXT = ("prompt", "prefix", "preamble", "suffix", "source", "known_failure", "entry_point")
_FIELDS = {"schema_version", "task_id", "checker", "solution", "stops", "limits", *_TEXT, *_FORMS}
_LIMITS = ("cpu_seconds", "memory_mb", "output_bytes", "scratch_mb", "wall_seconds")


def to_json_value(value: Any) -> Any:
    """Plain data in JSON's own types, see above. TypeError for what is not plain data.

    >>> to_json_value((1, {2})), to_json_value({1: "a"})
    ({'$tuple': [1, {'$set': [2]}]}, {'$dict': [[1, 'a']]})
    """
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if kind is list:
        return [to_json_value(item) for item in value]
    if kind is tuple:
        return {"$tuple": [to_json_value(item) for item in value]}
    if kind in (set, frozenset):
        return {"$set": sorted((to_json_value(item) for item in value), key=json.dumps)}
    if kind is dict:
        if all(type(key) is str for key in value) and not (len(value) == 1 and next(iter(value)).startswith("$")):
            return {key: to_json_value(item) for key, item in value.items()}
        return {"$dict": [[to_json_value(key), to_json_value(item)] for key, item in value.items()]}
    if kind is bytes:
        return {"$bytes": value.hex()}
    if kind is complex:
        return {"$complex": [to_json_value(value.real), to_json_value(value.imag)]}
    raise TypeError(f"{kind.__name__} is not plain data")


def from_json_value(value: Any) -> Any:
    """Inverse of `to_json_value`. ValueError for a $-key that is none of its.

    >>> from_json_value({"$tuple": [1, {"$set": [2]}]})
    (1, {2})
    """
    if isinstance(value, list):
        return [from_json_value(item) for item in value]
    if not isinstance(value, dict):
        return value
    key, content = next(iter(value.items())) if len(value) == 1 else ("", None)
    if not key.startswith("$"):
        return {key: from_json_value(item) for key, item in value.items()}
    try:
        return _TAGS[key](content)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{json.dumps(value):.80} is no value: after $ stands one of {', '.join(_TAGS)}") from error


_TAGS = {
    "$tuple": lambda content: tuple(from_json_value(list(content))),
    "$set": lambda content: set(from_json_value(list(content))),
    "$dict": lambda content: {from_json_value(key): from_json_value(item) for key, item in content},
    "$bytes": bytes.fromhex,
    "$complex": lambda content: complex(*from_json_value(content)),
    "$float": lambda content: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[content],
}


def task_from_record(record: Any) -> Task:
    """The task of one record. ValueError says which field is wrong."""
    if not isinstance(record, dict):
        raise ValueError(f"a task is an object with fields, not {json.dumps(record):.60}")
    version = record.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise ValueError(f"schema_version is {version!r}; write {SCHEMA_VERSION}")
    if version > SCHEMA_VERSION:
        raise ValueError(f"schema_version is {version}, this ra3_lab reads up to {SCHEMA_VERSION}: update ra3_lab")
    unknown = sorted(set(record) - _FIELDS)
    if unknown:
        raise ValueError(f"field {unknown[0]!r} is unknown; there are {', '.join(sorted(_FIELDS))}")
    for name in (*_TEXT, "solution", "checker", "task_id"):
        if not isinstance(record.get(name, ""), str):
            raise ValueError(f"{name} is {json.dumps(record[name]):.60}; it must be text")
    given = [name for name in _FORMS if record.get(name) is not None]
    if len(given) != 1:
        raise ValueError(f"exactly one of pairs, tests and stdin is needed; {' and '.join(given) or 'none'} is there")
    stops = record.get("stops", [])
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise ValueError(f"stops is {json.dumps(stops):.60}; it must be a list of text")
    return Task(
        task_id=record.get("task_id", ""),
        tests=_tests(given[0], record),
        canonical=record.get("solution", ""),
        stops=tuple(stops),
        limits=_limits(record.get("limits", {})),
        **{name: record.get(name, "") for name in _TEXT if name != "entry_point"},
    )


def _tests(form: str, record: dict[str, Any]) -> Calls | Asserts | Stdin:
    entry_point, content = record.get("entry_point", ""), record[form]
    if form != "stdin" and not entry_point:
        raise ValueError(f"entry_point is missing: {form} need the name of the function under test")
    if form == "tests":
        if not isinstance(content, str):
            raise ValueError(f"tests is {json.dumps(content):.60}; it must be text with asserts")
        try:
            compile(content, "tests", "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            raise ValueError(f"tests is not Python ({error})") from error
        return Asserts(content, entry_point)
    if not isinstance(content, list):
        raise ValueError(f"{form} is {json.dumps(content):.60}; it must be a list of [input, expected]")
    try:
        if form == "stdin":
            return Stdin(tuple(map(tuple, content)), record.get("checker", "tokens"))
        pairs = tuple(tuple(from_json_value(pair)) for pair in content)
        return Calls(entry_point, pairs, record.get("checker", "equal"))
    except TypeError as error:
        raise ValueError(f"{form} must be a list of [input, expected] ({error})") from error


def _limits(values: Any) -> Limits:
    if not isinstance(values, dict) or set(values) - set(_LIMITS):
        raise ValueError(f"limits is {json.dumps(values):.60}; it may hold {', '.join(_LIMITS)}")
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
            raise ValueError(f"limits.{name} is {json.dumps(value):.60}; it must be a number")
    return Limits(**values)


def task_to_record(task: Task) -> dict[str, Any]:
    """The record of one task; fields that hold their default are left out."""
    record: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "task_id": task.task_id}
    record |= {name: getattr(task, name) for name in _TEXT if getattr(task, name)}
    tests = task.tests
    if isinstance(tests, Inputs):
        raise ValueError(f"task {task.task_id!r} has no expected outputs yet: write it after with_expected(tasks)")
    if isinstance(tests, Calls):
        record |= {"pairs": to_json_value([list(pair) for pair in tests.pairs]), "checker": tests.checker}
    elif isinstance(tests, Asserts):
        record["tests"] = tests.code
    else:
        record |= {"stdin": [list(case) for case in tests.cases], "checker": tests.checker}
    limits = {name: value for name, value in vars(task.limits).items() if value != getattr(Limits(), name)}
    extra = {"solution": task.canonical, "stops": list(task.stops), "limits": limits}
    return record | {name: value for name, value in extra.items() if value}


def read_records(path: Path) -> Iterator[Task]:
    """Tasks of a JSONL file. ValueError names file, line and what is wrong."""
    seen: dict[str, int] = {}
    for number, row in numbered_rows(path):
        try:
            task = task_from_record(row)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{number}: {error}.") from error
        if task.task_id in seen:
            raise ValueError(f"{path}:{number}: task_id {task.task_id!r} stands in line {seen[task.task_id]} too.")
        seen[task.task_id] = number
        yield task
