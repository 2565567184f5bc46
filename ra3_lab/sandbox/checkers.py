"""When is an output right? Named ways to compare what came back from a program with what was expected.

The judge calls `compare` on its own side, on plain data that has crossed the pipe, so nothing here meets an object
of the program's making. A name is text, so that it can stand in a task file; a number after a colon is its tolerance:

| name | the output is right when |
|---|---|
| `exact` | type and content are equal: `True`, `1` and `1.0` are three values |
| `equal` | Python's `==` says so: `1 == 1.0 == True`, but a list is no tuple |
| `approx:ATOL[:RTOL]` | as `equal`, but numbers, unless both are `int`, may differ by ATOL + RTOL * abs(expected) |
| `unordered` | the same items as often, in any order, at the outermost level |
| `set` | the same items, however often |
| `one_of` | it is `equal` to one of the items of `expected` |
| `json` | it is `equal`, tuples counting as lists: expected values that come from JSON know no tuples |
| `json_one_of` | the same as one of the items of `expected` |
| `digest` | its `digest` is the one that stands in `expected`, for results too large to be kept; `equal` counts |
| `root:TOL` | it is an x with abs(p(x)) <= TOL, `expected` being p's coefficients, lowest first |
| `tokens` | the words of the text are equal, whatever white space stands between them |
| `tokens_approx:TOL` | the same, words that are numbers within TOL, absolute or relative |
| `lines` | the lines are equal after white space at their ends and empty last lines are dropped |
| `text` | the text is equal, character by character |

NaN equals NaN in all of them: a reference solution must pass on its own outputs. What a checker cannot make sense of
(a value that is no number, no sequence) is not right; it never raises because of what a program returned.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

_WITHOUT_NUMBER = (
    *("exact", "equal", "unordered", "set", "one_of", "json", "json_one_of", "digest"),
    *("tokens", "lines", "text"),
)
_WITH_NUMBER = {"approx": (1, 2), "root": (1, 1), "tokens_approx": (1, 1)}
TEXT_CHECKERS = ("tokens", "tokens_approx", "lines", "text")
"""Those that compare text, for programs that read and print."""


def parse_checker(name: str) -> tuple[str, list[float]]:
    """A checker's word and its numbers. ValueError for a name that is none.

    >>> parse_checker("approx:1e-6:1e-7"), parse_checker("tokens")
    (('approx', [1e-06, 1e-07]), ('tokens', []))
    """
    word, *numbers = name.split(":") if isinstance(name, str) else ("",)
    known = ", ".join([*_WITHOUT_NUMBER, *(f"{word}:TOLERANCE" for word in _WITH_NUMBER)])
    low, high = _WITH_NUMBER.get(word, (0, 0))
    if word not in _WITHOUT_NUMBER and word not in _WITH_NUMBER:
        raise ValueError(f"checker {name!r} is unknown: use one of {known}.")
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = [math.nan]
    if not low <= len(values) <= high or not all(0 <= value < math.inf for value in values):
        raise ValueError(f"checker {name!r} needs {low} to {high} tolerances of 0 or more: use one of {known}.")
    return word, values


def compare(name: str, expected: Any, got: Any) -> bool:
    """Whether `got` is right by the checker `name`; both are plain data. ValueError for an unknown name.

    >>> compare("equal", [1, 2], [1.0, 2.0]), compare("exact", [1, 2], [1.0, 2.0])
    (True, False)
    >>> compare("approx:1e-3", {"a": (0.5,)}, {"a": (0.5004,)}), compare("tokens", "1 2\\n", "1\\n2")
    (True, True)
    """
    word, numbers = parse_checker(name)
    try:
        return bool(_CHECKERS[word](expected, got, *numbers))
    except (TypeError, ValueError, ArithmeticError, LookupError, RecursionError, AttributeError):
        return False


def canonical(value: Any, types: bool = False) -> str:
    """Plain data as text that is equal exactly when the values are, sets and dicts in any order.

    With `types`, 1, 1.0 and True give three texts; otherwise one, as in Python's `==`. Sorting such texts compares
    unordered collections in n log n steps, whatever a program returned: hashing its numbers could be made slow.

    >>> canonical({2, 1}) == canonical({1.0, 2}), canonical(1, types=True) == canonical(True, types=True)
    (True, False)
    """
    kind = type(value).__name__
    if isinstance(value, (list, tuple)):
        return kind + "[" + ",".join(canonical(item, types) for item in value) + "]"
    if isinstance(value, (set, frozenset)):
        return ("" if not types else kind) + "{" + ",".join(sorted(canonical(item, types) for item in value)) + "}"
    if isinstance(value, dict):
        items = (canonical(key, types) + ":" + canonical(item, types) for key, item in value.items())
        return "dict{" + ",".join(sorted(items)) + "}"
    if isinstance(value, (str, bytes)):
        return repr(value)
    if types:
        return kind + "(" + _number(value) + ")"
    return _number(value)


def digest(value: Any) -> list[str]:
    """What `digest` expects of a value: hashes of its `repr`, which is quick to compare, and of its `canonical` text.

    >>> compare("digest", digest([1, 2]), [1.0, 2.0]), compare("digest", digest([1, 2]), [2, 1])
    (True, False)
    """
    return [_hash(_repr(value)), _hash(canonical(value))]


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # whole numbers of more than 4,300 digits
        return ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if text else ""


def _number(value: Any) -> str:
    """Numbers that are equal give equal text; whole numbers in hex, which is not limited to 4,300 digits."""
    if isinstance(value, complex):
        if value.imag == 0:
            return _number(value.real)
        return f"({_number(value.real)},{_number(value.imag)}j)"
    if isinstance(value, float) and not value.is_integer():
        return repr(value)  # inf and nan too
    if isinstance(value, (bool, int, float)):
        return hex(int(value))
    return repr(value)  # None, types, Ellipsis


def _same(expected: Any, got: Any, atol: float = 0.0, rtol: float = 0.0) -> bool:
    """Equal, numbers within the tolerance; containers must be of one kind and are compared item by item."""
    if type(expected) is type(got) and expected == got:
        return True  # the common case, and a hundred times as fast for a long list
    if isinstance(expected, (bool, int, float, complex)) and isinstance(got, (bool, int, float, complex)):
        if expected == got or (expected != expected and got != got):
            return True
        if not (atol or rtol) or isinstance(expected, bool) or isinstance(got, bool):
            return False
        if isinstance(expected, int) and isinstance(got, int):
            return False  # nothing was rounded: a count that is off by one is wrong, however large
        return abs(got - expected) <= atol + rtol * abs(expected) and abs(expected) != math.inf
    if isinstance(expected, (list, tuple)):
        return (
            type(expected) is type(got)
            and len(expected) == len(got)
            and all(_same(a, b, atol, rtol) for a, b in zip(expected, got, strict=True))
        )
    if isinstance(expected, dict):
        return isinstance(got, dict) and _same_dicts(expected, got, atol, rtol)
    return expected == got or canonical(expected) == canonical(got)


def _same_dicts(expected: dict[Any, Any], got: dict[Any, Any], atol: float, rtol: float) -> bool:
    if expected.keys() == got.keys():
        return all(_same(value, got[key], atol, rtol) for key, value in expected.items())
    wanted, found = map(_by_key, (expected, got))  # a key that holds NaN equals no other in Python
    return [key for key, _ in wanted] == [key for key, _ in found] and all(
        _same(a, b, atol, rtol) for (_, a), (_, b) in zip(wanted, found, strict=True)
    )


def _by_key(value: dict[Any, Any]) -> list[tuple[str, Any]]:
    """(canonical key, item) in order of the keys, items of equal keys (NaN may come twice) in order of their text."""
    keyed = [(canonical(key), item) for key, item in value.items()]
    twice = len({key for key, _ in keyed}) < len(keyed)
    return sorted(keyed, key=lambda pair: (pair[0], canonical(pair[1]) if twice else ""))


def _lists(value: Any) -> Any:
    """The value with lists for tuples; keys of dicts stay."""
    if isinstance(value, (list, tuple)):
        return [_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return value


def _items(value: Any) -> list[str]:
    """The items of a collection as sorted text; TypeError for what is none (a string is no collection here)."""
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise TypeError(type(value).__name__)
    return sorted(map(canonical, value))


def _root(coefficients: Sequence[float], x: Any, tolerance: float) -> bool:
    if isinstance(x, bool) or not isinstance(x, (int, float)):
        return False
    return abs(sum(c * math.pow(x, i) for i, c in enumerate(coefficients))) <= tolerance


def _near(expected: str, got: str, tolerance: float) -> bool:
    if expected == got:
        return True
    if len(got) > 400 or "_" in got:  # float("1_0") is 10 in Python, not in a contest
        return False
    a, b = float(expected), float(got)  # a word that is no number: ValueError, not right
    if not (math.isfinite(a) and math.isfinite(b)):
        spelled = not any(map(str.isdigit, expected + got))  # 10**400 is infinite as a float only
        return spelled and (a == b or (a != a and b != b))
    return abs(a - b) <= tolerance * max(1.0, abs(a))


def _tokens_approx(expected: str, got: str, tolerance: float) -> bool:
    wanted, found = expected.split(), got.split()
    return len(wanted) == len(found) and all(_near(a, b, tolerance) for a, b in zip(wanted, found, strict=True))


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


_CHECKERS: dict[str, Callable[..., bool]] = {
    "exact": lambda expected, got: canonical(expected, types=True) == canonical(got, types=True),
    "equal": _same,
    "approx": _same,
    "unordered": lambda expected, got: _items(expected) == _items(got),
    "set": lambda expected, got: set(_items(expected)) == set(_items(got)),
    "one_of": lambda expected, got: any(_same(choice, got) for choice in expected),
    "json": lambda expected, got: _same(_lists(expected), _lists(got)),
    "json_one_of": lambda expected, got: any(_same(_lists(choice), _lists(got)) for choice in expected),
    "digest": lambda expected, got: _hash(_repr(got)) == expected[0] != "" or _hash(canonical(got)) == expected[1],
    "root": _root,
    "tokens": lambda expected, got: expected.split() == got.split(),
    "tokens_approx": _tokens_approx,
    "lines": lambda expected, got: _lines(expected) == _lines(got),
    "text": lambda expected, got: isinstance(got, str) and expected == got,
}
