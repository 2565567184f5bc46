"""Comparable numbers for code and text: tokens, an exact key, n-grams, a minhash signature and its bands.

Code is read as tokens without comments, blank space and line ends, so that two functions that differ only in these are
equal. Near-duplicates are found by minhash (Broder 1997): the share of equal entries of two signatures estimates the
Jaccard similarity of their sets of 5-grams, and locality-sensitive banding finds the candidates. All hashes are fixed:
the same text gives the same numbers in every process.
"""

from __future__ import annotations

import re
from hashlib import blake2b

import numpy as np

SHINGLE = 5
BANDS, ROWS = 12, 5
"""Two sets of similarity s share a band with probability 1 - (1 - s^5)^12: 0.999 at 0.85, 0.32 at 0.5."""

_CODE = re.compile(
    r"""\#[^\n]*|[rbufRBUF]{0,2}(?:'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'(?:[^\\\n']|\\.)*'|"(?:[^\\\n"]|\\.)*")"""
    r"""|\w+|[^\w\s\\]""",
    re.DOTALL,
)
# Fields of f-strings, and of t-strings, may hold the quotes around them and comments (Python 3.12 on).
_F_STRING = re.compile(r"""(?:[rR]?[fFtT]|[fFtT][rR])('''|\"\"\"|'|")""")
_MAYBE_F_STRING = re.compile(r"(?<![^\WrR])[fFtT][rR]?['\"]")
_CLOSES = {"(": ")", "[": "]", "{": "}"}
_WORD = re.compile(r"\w+")
_PRIMES = np.random.Generator(np.random.PCG64(20251)).integers(1, 2**63, (2, BANDS * ROWS), dtype=np.uint64)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_known: dict[str, int] = {}


def code_tokens(code: str) -> list[str]:
    """Python's tokens, near enough: names, numbers, strings and signs, without comments and layout.

    >>> code_tokens("if x:  # why\\n    y = 'a # b'\\n")
    ['if', 'x', ':', 'y', '=', "'a # b'"]
    """
    if not _MAYBE_F_STRING.search(code):
        return [token for token in _CODE.findall(code) if not token.startswith("#")]
    tokens, at = [], 0
    while found := _CODE.search(code, at):
        opening, at = _F_STRING.match(code, found.start()), found.end()
        at = (_f_string_end(code, opening.end(), opening[1]) if opening else 0) or at
        if not found[0].startswith("#"):
            tokens.append(code[found.start() : at])
    return tokens


def _f_string_end(code: str, at: int, quote: str) -> int:
    """Where the f-string is over whose text begins at `at`; 0 where it has no end."""
    closing = [quote]  # of what is open, the innermost last: a quote, "field", ":" for a field's format, a bracket
    while closing and at < len(code):
        inner = closing[-1]
        if inner == "field" or inner in _CLOSES.values():
            if (found := _CODE.search(code, at)) is None:
                return 0
            opening, token, at = _F_STRING.match(code, found.start()), found[0], found.end()
            if opening:
                closing.append(opening[1])
                at = opening.end()
            elif token in _CLOSES:
                closing.append(_CLOSES[token])
            elif token == ":" and inner == "field":
                closing.append(":")
            elif token in _CLOSES.values():
                if token != inner.replace("field", "}"):
                    return 0
                closing.pop()
        elif inner == ":" and code[at] == "}":
            del closing[-2:]
            at += 1
        elif inner != ":" and code.startswith(inner, at):
            closing.pop()
            at += len(inner)
        elif code[at] == "{" and (inner == ":" or code[at + 1 : at + 2] != "{"):
            closing.append("field")
            at += 1
        elif code[at] == "\n" and inner in ("'", '"'):
            return 0
        else:  # an escaped character or doubled brace is one, but a backslash escapes no brace
            escaped = code[at] == "\\" and code[at + 1 : at + 2] not in ("{", "}")
            at += 2 if escaped or code.startswith("{{", at) else 1
    return 0 if closing else at


def word_tokens(text: str) -> list[str]:
    """Lower-case words and numbers of a description."""
    return _WORD.findall(text.lower())


def exact_key(tokens: list[str]) -> bytes:
    """16 bytes that are equal for equal token lists."""
    return blake2b("\0".join(tokens).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _hash(token: str) -> int:
    if len(_known) > 100_000:
        _known.clear()
    digest = blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    value = _known[token] = int.from_bytes(digest, "little")
    return value


def hashes(tokens: list[str]) -> np.ndarray:
    """Each token as 64 bits, (T,) uint64."""
    known = _known.get
    return np.array([known(token) or _hash(token) for token in tokens], np.uint64)


def ngrams(tokens: np.ndarray, n: int) -> np.ndarray:
    """The different n-grams of hashed tokens as sorted 64-bit hashes; empty where there are fewer than n tokens.

    >>> len(ngrams(hashes(["a", "b", "a", "b", "a"]), 2)), len(ngrams(hashes(["a"]), 2))
    (2, 0)
    """
    if len(tokens) < n:
        return np.empty(0, np.uint64)
    windows = len(tokens) - n + 1
    total = np.zeros(windows, np.uint64)
    for offset in range(n):
        total = (total ^ tokens[offset : offset + windows]) * _FACTOR
        total ^= total >> np.uint64(29)
    return np.unique(total)


def signature(grams: np.ndarray) -> np.ndarray:
    """Minhash signature, (BANDS * ROWS,) uint32: the least value of each of 60 hashes over the set (not empty)."""
    factors, offsets = _PRIMES
    return ((grams[:, None] * (factors | np.uint64(1)) + offsets) >> np.uint64(32)).min(0).astype(np.uint32)


def bands(signed: np.ndarray) -> list[int]:
    """One key for each band of a signature, as signed 64-bit integers; likely candidates share one."""
    rows = signed.reshape(BANDS, ROWS).astype("<u4")
    return [
        int.from_bytes(blake2b(bytes([band]) + row.tobytes(), digest_size=8).digest(), "little", signed=True)
        for band, row in enumerate(rows)
    ]


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Estimated Jaccard similarity of two signed sets, 0 to 1; standard error at most 0.065.

    >>> a, b = (ngrams(hashes([str(i) for i in range(first, first + 1000)]), 5) for first in (0, 500))
    >>> abs(similarity(signature(a), signature(b)) - 1 / 3) < 0.2
    True
    """
    return float((one == other).mean())
