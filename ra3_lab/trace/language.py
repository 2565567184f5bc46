"""What ra3_lab has to know of a programming language: where a line may be cut, how a comment begins.

A further language is one class with these members, added to `_MODULES` and `_SUFFIXES`. `python` needs nothing but the
standard library; `sql` needs the extra `languages`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol

_MODULES = {"python": "ra3_lab.trace.python:PYTHON", "sql": "ra3_lab.trace.sql:SQL"}
# The suffixes stand here too, so that a file's language is known before its parser is imported; a test compares.
_SUFFIXES = {".py": "python", ".pyw": "python", ".pyi": "python", ".sql": "sql"}


class Language(Protocol):
    """The rules of one language. All code is text whose last character is a newline, where nothing else is said."""

    @property
    def name(self) -> str:
        """Its name, lower case."""
        ...

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of its files, dot included."""
        ...

    @property
    def marker(self) -> str:
        """What begins a comment that runs to the end of its line; flush left it begins a thought."""
        ...

    def encoding(self, data: bytes) -> str:
        """The codec that a file's bytes are written in. Raises SyntaxError where they do not say it properly."""
        ...

    def check(self, code: str) -> None:
        """Raise SyntaxError, with its line, where this is no program."""
        ...

    def header(self, code: str) -> str:
        """The lines at the top that must stay first, so that no latent may stand before them; mostly ''."""
        ...

    def split_logical_lines(self, code: str) -> list[str]:
        """Cut code into pieces that end with a newline and add up to it, such that a comment line may stand before
        any piece without changing the program. Raises SyntaxError, with the line, where that cannot be told."""
        ...

    def same_program(self, one: str, other: str) -> bool:
        """Whether two texts differ in comments and layout only."""
        ...

    def describe(self, text: str, code: str = "") -> str:
        """A task's description as something that may stand above `code`: a docstring, a comment."""
        ...


def languages() -> tuple[str, ...]:
    """The languages there are."""
    return tuple(_MODULES)


def language_of(name: str | Path) -> Language:
    """A language by its name, or by a file's suffix.

    Raises ValueError for one that is not known, and ImportError, naming the extra, where its parser is not installed.

    >>> language_of("python").marker, language_of("query.sql").marker
    ('#', '--')
    """
    key = name if name in _MODULES else _SUFFIXES.get(Path(name).suffix)
    if not isinstance(key, str):
        raise ValueError(
            f"no language for {str(name)!r}: there are {', '.join(_MODULES)} (files {', '.join(_SUFFIXES)})."
        )
    module, attribute = _MODULES[key].split(":")
    return getattr(importlib.import_module(module), attribute)
