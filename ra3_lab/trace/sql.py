"""SQL's rules, by sqlglot's tokenizer and parser: `pip install "ra3-lab[languages]"`.

A logical line is a line of text that does not end inside brackets, a string, a quoted name or a block comment. So a
clause that stands on its own line is an action, and a bracketed subquery is part of one. The dialect is sqlglot's own
broad one; MySQL, where "--" begins a comment only if a space follows, needs thoughts that begin with one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

try:
    import sqlglot
    from sqlglot.errors import ParseError, SqlglotError
    from sqlglot.expressions import Semicolon
except ImportError as error:
    raise ImportError('SQL needs sqlglot: pip install "ra3-lab[languages]".') from error

_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")
_OUTSIDE = re.compile(r"/\*|\{#|--[^\n]*|\n")
_INSIDE = re.compile(r"/\*|\*/")
_LINE_OF = re.compile(r"Line (\d+)")


class _Sql:
    name, suffixes, marker = "sql", (".sql",), "--"

    def encoding(self, data: bytes) -> str:
        """UTF-8, with or without a byte-order mark."""
        return "utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "utf-8"

    def check(self, code: str) -> None:
        """Raises SyntaxError where sqlglot does not parse it."""
        _statements(code)

    def header(self, code: str) -> str:
        """Nothing has to stay first."""
        return ""

    def split_logical_lines(self, code: str) -> list[str]:
        """Cut SQL at the line ends outside brackets, strings and block comments.

        >>> SQL.split_logical_lines("SELECT a, -- c\\n  (1 +\\n   2)\\nFROM t;\\n")
        ['SELECT a, -- c\\n', '  (1 +\\n   2)\\n', 'FROM t;\\n']
        """
        if not code.endswith("\n"):
            raise ValueError("code must end with a newline: add one.")
        pieces, begin, depth, at = [], 0, 0, 0
        for token in [*_tokens(code), None]:
            gap = at, len(code) if token is None else token.start
            if depth == 0:
                for end in _line_ends(code, *gap):
                    pieces.append(code[begin:end])
                    begin = end
            if token is not None:
                if token.end == token.start:
                    depth += (token.text in _OPEN) - (token.text in _CLOSE)
                at = token.end + 1
        if begin < len(code):
            pieces.append(code[begin:])
        return pieces

    def same_program(self, one: str, other: str) -> bool:
        """Whether both parse to the same statements, comments left out."""
        return _statements(one) == _statements(other)

    def describe(self, text: str, code: str = "") -> str:
        """A block comment."""
        return "/* " + text.strip().replace("*/", "* /").replace("/*", "/ *") + " */\n"


SQL = _Sql()
"""SQL as a `Language`."""


def _line_ends(code: str, start: int, stop: int) -> Iterator[int]:
    """Places after the line ends between two tokens that are outside block comments (which nest)."""
    at = start
    while found := _OUTSIDE.search(code, at, stop):
        at = found.end()
        if found[0] == "\n":
            yield at
        elif found[0] == "{#":
            at = code.find("#}", at, stop) + 2
        elif found[0] == "/*":
            nested = 1
            while nested and (inner := _INSIDE.search(code, at, stop)):
                nested += 1 if inner[0] == "/*" else -1
                at = inner.end()


def _syntax_error(error: SqlglotError) -> SyntaxError:
    line = _LINE_OF.search(str(error))
    details = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
    refused = SyntaxError(details.get("description") or str(error).splitlines()[0])
    refused.lineno = details.get("line") or (int(line[1]) if line else None)
    return refused


def _tokens(code: str) -> list[Any]:
    try:
        return sqlglot.tokenize(code)
    except SqlglotError as error:
        raise _syntax_error(error) from error


def _statements(code: str) -> list[Any]:
    try:
        parsed = sqlglot.parse(code)
    except SqlglotError as error:
        raise _syntax_error(error) from error
    # An empty statement is None, or with a comment before it a Semicolon.
    return [statement for statement in parsed if statement is not None and not isinstance(statement, Semicolon)]
