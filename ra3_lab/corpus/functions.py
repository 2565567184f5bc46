"""Functions cut out of a file and moved to the left margin, their strings left as they are.

A function begins at its first decorator. Functions inside functions are part of the outer one; methods stand alone.
Moving left must not touch what is inside a string, nor trip over lines that begin left of the function (comments,
continued lines, a docstring at column 0), so it goes by tokens where a string may span lines. Only a docstring moves
with the code, as `inspect.cleandoc` would move it.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ra3_lab.trace.python import physical_lines

_MARGIN = re.compile(r"[ \t\f]*")
_BLOCKS = (ast.If, ast.Try, ast.With, ast.For, ast.While, ast.ExceptHandler, ast.Match, ast.match_case)
_BLOCKS += (getattr(ast, "TryStar", ast.Try),)  # Python 3.11 on
# Without any of these no string token can span lines.
_LONG_STRING = re.compile(r"'''|\"\"\"|\\\n" + (r"|\b\w?[fFtT]\w?['\"]" if sys.version_info >= (3, 12) else ""))


@dataclass(frozen=True)
class Function:
    """One function of a file."""

    name: str
    """Its name with those of the classes around it: 'Trace.text'."""
    line: int
    """Line in the file at which it begins, decorators included; counted from 1."""
    docstring: str
    """Its docstring, cleaned as by `inspect.cleandoc` and stripped; '' for none."""
    code: str
    """Its source at the left margin, line ends plain newlines, the last one included."""
    stub: bool
    """Whether nothing is left without the docstring but pass, ..., or raise NotImplementedError."""


def functions(code: str, tree: ast.Module, docstrings: bool = True) -> Iterator[Function]:
    """The functions of a program, in the order of the file; `docstrings=False` takes the docstrings out of the code.

    `tree` is the syntax tree of `code`. A docstring that shares its line with other code stays. Raises SyntaxError
    where Python parses what its tokenizer does not take.

    >>> text = "class A:\\n    def f(self):\\n        '''Say\\n        why.'''\\n        return 1\\n"
    >>> (found,) = functions(text, ast.parse(text), docstrings=False)
    >>> found.name, found.docstring, found.code
    ('A.f', 'Say\\nwhy.', 'def f(self):\\n    return 1\\n')
    """
    rows = [row.rstrip("\r\n") + "\n" for row in physical_lines(code)]
    for name, node in _definitions(tree, ""):
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        last = node.end_lineno or node.lineno
        part = rows[first - 1 : last]
        documented, docstring = _docstring(node)
        body = node.body[1:] if documented else node.body
        if documented is not None and not docstrings and body:
            begin, end = documented.lineno - first, (documented.end_lineno or documented.lineno) - first
            alone = not part[begin][: documented.col_offset].strip() and body[0].lineno - first > end
            if alone:
                while end + 1 < len(part) and not part[end + 1].strip():
                    end += 1
                del part[begin : end + 1]
                documented = None
        inside = range(0)
        if documented is not None:
            inside = range(documented.lineno - first + 1, (documented.end_lineno or documented.lineno) - first + 1)
        yield Function(name, first, docstring, _to_the_margin(part, inside), all(map(_is_stub, body)))


def _definitions(node: ast.AST, outer: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield outer + child.name, child
        elif isinstance(child, ast.ClassDef):
            yield from _definitions(child, f"{outer}{child.name}.")
        elif isinstance(child, _BLOCKS):
            yield from _definitions(child, outer)


def _docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[ast.Expr | None, str]:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first, inspect.cleandoc(first.value.value).strip()
    return None, ""


def _is_stub(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Raise):
        raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
        return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _to_the_margin(rows: Sequence[str], docstring: range) -> str:
    """The rows with the first one's margin taken off, but for those that go on inside a string."""
    found = _MARGIN.match(rows[0])
    margin = found[0] if found else ""
    if not margin:
        return "".join(rows)
    text = "".join(rows)
    strings = _rows_inside_strings(text) if _LONG_STRING.search(text) else frozenset()
    moved = []
    for number, row in enumerate(rows):
        if row.startswith(margin) and (number not in strings or number in docstring):
            moved.append(row[len(margin) :])
        elif number in strings:
            moved.append(row)
        else:  # left of the function: a comment, a continued line, a blank one
            moved.append(row.lstrip(" \t\f"))
    return "".join(moved)


def _rows_inside_strings(text: str) -> frozenset[int]:
    """Numbers (from 0) of the rows that begin inside a string."""
    rows: set[int] = set()
    begins: list[int] = []
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except tokenize.TokenError as error:
        raise SyntaxError(str(error)) from error
    for token in tokens:
        kind = tokenize.tok_name[token.type]
        if kind == "STRING":
            rows.update(range(token.start[0], token.end[0]))
        elif kind.endswith("STRING_START"):  # f-strings from Python 3.12 on, which nest
            begins.append(token.start[0])
        elif kind.endswith("STRING_END"):
            rows.update(range(begins.pop(), token.end[0]))
    return frozenset(rows)
