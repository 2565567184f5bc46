"""Python's rules: logical lines by its tokenizer, sameness by its syntax tree, encodings by cookie.

A line break is "\\n", "\\r\\n" or, as for Python itself, a bare "\\r"; form feeds and the like break no line. A piece
never ends at a bare "\\r", because traces are made of lines that end in "\\n": such a line stays with the next one.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_COOKIE = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*[-\w.]+", re.ASCII)
_BLANK = re.compile(r"^[ \t\f]*(?:#[^\r\n]*)?[\r\n]*$")
_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")
_COOKIE_WORD = re.compile(r"coding([:=])")
_COMMENTED = {"\0": "\\x00", "\r": "\\r"}
_WORDS = {"\\": "\\\\", '"': '\\"', "\0": "\\x00", "\r": "\\r"}


class _Python:
    name, suffixes, marker = "python", (".py", ".pyw", ".pyi"), "#"

    def encoding(self, data: bytes) -> str:
        """By byte-order mark or coding cookie (PEP 263); 'utf-8-sig' where there is a mark."""
        return tokenize.detect_encoding(io.BytesIO(data).readline)[0]

    def check(self, code: str) -> None:
        """Raises SyntaxError where `ast.parse` does not take it, whatever way it says so."""
        syntax_tree(code)

    def header(self, code: str) -> str:
        """Shebang and coding cookie, and a line before the cookie.

        >>> PYTHON.header("\\n# -*- coding: utf-8 -*-\\nx = 1\\n")
        '\\n# -*- coding: utf-8 -*-\\n'
        """
        first, second = [*physical_lines(code[:2000]), "", ""][:2]
        if _COOKIE.match(second) and _BLANK.match(first) and not _COOKIE.match(first):
            header = first + second
        else:
            header = first if first.startswith("#!") or _COOKIE.match(first) else ""
        # A line cut off at 2,000 characters, or ended by a bare "\r", can be no prompt.
        return header if header.endswith("\n") else ""

    def split_logical_lines(self, code: str) -> list[str]:
        """Cut Python source into logical lines: a triple-quoted string, a bracketed or a backslash continuation stays
        in one piece.

        Blank lines and comments outside brackets belong to no statement and are pieces of their own; the pieces add
        up to the code. Raises SyntaxError, with the line, where Python cannot tokenize it.

        >>> PYTHON.split_logical_lines("x = (1,\\n\\n# no\\n     2)\\n# c\\ny = 3\\n")
        ['x = (1,\\n\\n# no\\n     2)\\n', '# c\\n', 'y = 3\\n']
        """
        if not code.endswith("\n"):
            raise ValueError("code must end with a newline: add one.")
        physical = physical_lines(code)
        # Python's own parser reads every line end as "\n"; its tokenizer in the library does not.
        plain = code if "\r" not in code else "".join(line.rstrip("\r\n") + "\n" for line in physical)
        ends: set[int] = set()
        depth = 0
        try:
            for kind, string, start, _, _ in tokenize.generate_tokens(io.StringIO(plain).readline):
                if kind == tokenize.OP:
                    depth += (string in _OPEN) - (string in _CLOSE)
                elif kind == tokenize.NEWLINE or (kind == tokenize.NL and depth == 0):
                    ends.add(start[0])
        except tokenize.TokenError as error:
            raise _syntax_error(f"not Python: {error.args[0]}", error.args[1][0]) from error
        pieces, current = [], ""
        for number, line in enumerate(physical, 1):
            current += line
            if number in ends and line.endswith("\n"):
                pieces.append(current)
                current = ""
        if current:
            pieces.append(current)
        return pieces

    def same_program(self, one: str, other: str) -> bool:
        """Whether the syntax trees are equal, positions left out."""
        return same_tree(syntax_tree(one), syntax_tree(other))

    def describe(self, text: str, code: str = "") -> str:
        """A docstring that holds the text, escaped only where a plain one would not be valid; a comment where the code
        has a docstring that imports from __future__ follow, which may stand after one docstring only.

        >>> PYTHON.describe("Say.\\ncoding: x", "'''Mine.'''\\nfrom __future__ import annotations\\n")
        '# Say.\\n# coding : x\\n'
        """
        text = text.strip()
        if "__future__" in code and _docstring_before_future(syntax_tree(code)):
            text = _COOKIE_WORD.sub(r"coding \1", "".join(_COMMENTED.get(letter, letter) for letter in text))
            return "".join(f"# {line}".rstrip() + "\n" for line in text.split("\n"))
        plain = '"""' + text.replace('"""', "'''") + '"""\n'
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.literal_eval(plain)
        except (SyntaxError, ValueError):
            return '"""' + "".join(_WORDS.get(letter, letter) for letter in text) + '"""\n'
        return plain


PYTHON = _Python()
"""Python as a `Language`."""


def physical_lines(code: str) -> list[str]:
    """The lines as Python counts them: broken at "\\n", "\\r\\n" and "\\r" only, ends kept.

    >>> physical_lines("a\\f\\u2028b\\r\\nc")
    ['a\\x0c\\u2028b\\r\\n', 'c']
    """
    return _LINE.findall(code)


def _syntax_error(message: str, line: int) -> SyntaxError:
    error = SyntaxError(message)
    error.lineno = line
    return error


def syntax_tree(code: str | bytes) -> ast.Module:
    """`ast.parse` without its warnings, every refusal a SyntaxError: null bytes, too deep a nesting."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except SyntaxError:
        raise
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise _syntax_error(str(error) or f"too deeply nested ({type(error).__name__})", 0) from error


def _docstring_before_future(tree: ast.Module) -> bool:
    second = tree.body[1] if len(tree.body) > 1 else None
    return isinstance(second, ast.ImportFrom) and second.module == "__future__" and ast.get_docstring(tree) is not None


def same_tree(one: ast.AST, other: ast.AST) -> bool:
    """Whether two syntax trees are equal in everything but positions; iterative, so that depth does not matter."""
    stack: list[tuple[object, object]] = [(one, other)]
    while stack:
        a, b = stack.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, ast.AST):
            stack += [(getattr(a, field, None), getattr(b, field, None)) for field in a._fields]
        elif isinstance(a, list):
            if len(a) != len(b):  # type: ignore[arg-type]
                return False
            stack += zip(a, b, strict=True)  # type: ignore[call-overload]
        # repr tells 0.0 from -0.0 and finds nan equal to itself
        elif a is not b and a != b and repr(a) != repr(b):
            return False
    return True
