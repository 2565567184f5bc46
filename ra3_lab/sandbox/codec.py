"""Plain data across a process border: values as JSON text with tags, and back. Never pickle, eval or marshal.

Plain data is None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, and Python's builtin types
themselves (`int`, `ValueError`). A subclass of one of these crosses as the base type, read with the base type's own
methods: a class that overrides `__eq__` arrives as the plain value it holds. Everything else raises NotPlain,
unless the caller gives `refer`, which may write something of its own (the stand-ins of test text, arrays).

Both directions are for hostile data. Depth and size are limited, so that a list that contains itself, 2**34
shared leaves or a string of 200 MB end in an error here and not in the judge. Text that is no such JSON raises
Malformed. Equal text means equal values, not the other way round: dicts keep their order.
"""

from __future__ import annotations

import builtins
import contextlib
import json
from collections.abc import Callable
from typing import Any

FAILURES = ("wrong_answer", "runtime_error", "memory_limit", "output_limit", "forbidden")
"""What a program may say of itself, as "!status text"; never that it passed."""
MAX_DEPTH = 150
MAX_SIZE = 1 << 30  # of judges' own data; what a program returns is held to its Limits
_CONTAINERS = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_SHORT = 2**63


class NotPlain(TypeError):
    """A value that is not plain data. It equals nothing."""


class TooLarge(ValueError):
    """Plain data of more than the allowed size."""


class Malformed(ValueError):
    """Text that `dumps` did not write."""


def dumps(value: Any, size: int = MAX_SIZE, refer: Callable[[Any], Any] | None = None) -> str:
    """Plain data as one line of ASCII text.

    Args:
        value: The value.
        size: TooLarge is raised beyond about this many items and characters.
        refer: Called with each value that is not plain data; returns JSON that stands for it, or raises NotPlain.

    >>> dumps((1, [True, 2.0]))
    '["tuple",[1,["list",[true,2.0]]]]'
    """
    return json.dumps(_Encoder(size, refer).encode(value, 0), separators=(",", ":"))


class _Encoder:
    def __init__(self, size: int, refer: Callable[[Any], Any] | None) -> None:
        self.left, self.refer = size, refer

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise TooLarge("the value is too large to be sent")

    def encode(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is int and -_SHORT < value < _SHORT:
            self.left -= 1
            return value
        if value is None or kind is bool or kind is float:
            self.left -= 1
            return value
        if kind is str:
            self.spend(len(value))
            return value
        if depth > MAX_DEPTH:
            raise NotPlain(f"the value is nested deeper than {MAX_DEPTH} levels")
        if kind is list or kind is tuple:
            return [kind.__name__, self.items(value, depth)]
        return self.rarer(value, depth)

    def items(self, values: Any, depth: int) -> list:
        self.spend(len(values))
        return [self.encode(item, depth + 1) for item in values]

    def rarer(self, value: Any, depth: int) -> Any:
        """All that is not decided by the exact type; `base.method(value)` asks the base type, not the value."""
        if isinstance(value, bool):
            return value
        if isinstance(value, int):
            number = int.__add__(value, 0)
            if -_SHORT < number < _SHORT:
                return number
            self.spend(number.bit_length() // 4)
            return ["int", hex(number)]  # decimal text is slow for huge ints and refused past 4,300 digits
        if isinstance(value, float):
            return float.__add__(value, 0.0)
        if isinstance(value, str):
            return self.encode(str.__getitem__(value, slice(None)), depth)
        if isinstance(value, dict):
            self.spend(2 * dict.__len__(value))
            pairs = [[self.encode(key, depth + 1), self.encode(item, depth + 1)] for key, item in dict.items(value)]
            return ["dict", pairs]  # in its own order, which a program may look at
        if isinstance(value, list):
            return ["list", self.items(list.__getitem__(value, slice(None)), depth)]
        if isinstance(value, tuple):
            return ["tuple", self.items(tuple.__getitem__(value, slice(None)), depth)]
        if isinstance(value, (set, frozenset)):
            items = set.__iter__(value) if isinstance(value, set) else frozenset.__iter__(value)
            kind = set if isinstance(value, set) else frozenset
            return [kind.__name__, sorted(self.items(list(items), depth), key=json.dumps)]
        if isinstance(value, (bytes, bytearray)):
            self.spend(2 * len(value))
            return ["bytes", bytes(value).hex()]
        if isinstance(value, complex):
            return ["complex", [value.real, value.imag]]
        if type(value) is type and getattr(builtins, value.__name__, None) is value:
            return ["type", value.__name__]
        if self.refer is not None:
            return self.refer(value)
        raise NotPlain(f"{type(value).__name__} is not plain data")


def loads(text: str | bytes, refer: Callable[[Any], Any] | None = None) -> Any:
    """The value that `dumps` was given (sets in sorted order). Malformed for any other text.

    >>> loads(dumps({"a": (1, {2}), "big": 2**70, "type": int}))
    {'a': (1, {2}), 'big': 1180591620717411303424, 'type': <class 'int'>}
    """
    try:
        return _decode(json.loads(text), refer, 0)
    except (ValueError, TypeError, LookupError, ArithmeticError, SyntaxError, RecursionError) as error:
        raise Malformed(f"{type(error).__name__}: {error}"[:200]) from None


def told(text: str, longest: int = 100) -> str:
    """Coded data as a person would write it, cut at `longest` characters; long text is not decoded for that.

    >>> told(dumps([4, (1, "a")]))
    "[4, (1, 'a')]"
    """
    if len(text) <= 20 * longest:
        with contextlib.suppress(Malformed):
            text = repr(loads(text))
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _decode(coded: Any, refer: Callable[[Any], Any] | None, depth: int) -> Any:
    if not isinstance(coded, list):
        if isinstance(coded, dict):
            raise Malformed("an object")
        return coded
    if depth > MAX_DEPTH + 1:
        raise Malformed("nested too deeply")
    tag, content = coded
    if tag == "list":
        return [_decode(item, refer, depth + 1) for item in content]
    if tag == "tuple":
        return tuple([_decode(item, refer, depth + 1) for item in content])
    # Comprehensions, not set(...) and dict(...): a timer can interrupt them when the hashes are made to collide.
    if tag == "set" or tag == "frozenset":
        return _CONTAINERS[tag]({_decode(item, refer, depth + 1) for item in content})
    if tag == "dict":
        return {_decode(key, refer, depth + 1): _decode(item, refer, depth + 1) for key, item in content}
    if tag == "int":
        return int(content, 16)
    if tag == "bytes":
        return bytes.fromhex(content)
    if tag == "complex":
        real, imaginary = content
        return complex(float(real), float(imaginary))
    if tag == "type":
        found = getattr(builtins, content, None)
        if type(found) is type:
            return found
    elif refer is not None:
        return refer(coded)
    raise Malformed(f"tag {tag!r:.40}")
