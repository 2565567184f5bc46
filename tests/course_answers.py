"""The course's right and wrong answers (tests/course/aN.py), and how a wrong one is made from a right one."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any


@cache
def answers(name: str) -> Any:
    """The module tests/course/NAME.py, with `RIGHT` and `WRONG`."""
    path = Path(__file__).resolve().parent / "course" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"course_answers_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def changed(source: str, *changes: tuple[str, str]) -> str:
    """The source with each (old, new) replaced once. ValueError where `old` does not stand in it exactly once.

    >>> changed("return a - b", ("a - b", "b - a"))
    'return b - a'
    """
    for old, new in changes:
        if source.count(old) != 1:
            raise ValueError(f"{old!r} stands {source.count(old)} times in the answer; it must be once:\n{source}")
        source = source.replace(old, new)
    return source
