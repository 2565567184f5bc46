"""The many ways in which problem sets write input/output tests, read into the judge's three forms.

All of these are in use (LiveCodeBench, APPS and TACO and what DeepCoder took from them, PrimeIntellect's set, AReaL's,
code_contests, Codeforces dumps):

    {"inputs": [...], "outputs": [...], "fn_name": "f"}       columns; fn_name only for functions
    [{"input": ..., "output": ..., "type": "function_call", "fn_name": "f"}, ...]
    [{"input": {"stdin": ...}, "output": {"stdout": ...}}, ...]
    {"input": [...], "output": [...]}

Function tests written as text hold one JSON value a line for each argument; written as lists, an argument list. APPS
wraps a result in a list of one: `one_of` accepts it with and without the wrapping. JSON knows no tuples, so they count
as lists (`json`).

A problem whose right answer is not one text needs a checker of its own. `checker_for` looks for the sentences that say
so: a tolerance gives `tokens_approx`; "print any" and interactive problems are excluded. It misses problems that do
not say it, which shows as a reference solution that fails.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ra3_lab.sandbox import Calls, Stdin

PRELUDE = """\
import bisect, collections, copy, functools, heapq, itertools, json, math, operator, random, re, statistics, string, sys
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import ceil, comb, factorial, floor, gcd, inf, isqrt, lcm, log, log2, pi, sqrt
from typing import *
sys.setrecursionlimit(50_000)

"""
"""What the judges of such sites import before a solution, and the depth of recursion they allow."""

_ANY = re.compile(
    r"(print|output|find|give|choose|return|report|display)\s+(any|either)\b(?!\s+(other|extra|additional|text))"
    r"|any\s+(of\s+(them|these|the)|valid|correct|such|possible|optimal)\s*(answer|solution|one|of|\.|,)"
    r"|(can|may)\s+(print|output)\s+any|answers?\s+(is|are)\s+accepted|in\s+any\s+order",
    re.I,
)
_INTERACTIVE = re.compile(r"\binteractive\s+(problem|task)\b|\binteractor\b|\bflush\b[^.]*\b(output|response)", re.I)
_ERROR = re.compile(r"(absolute|relative)[^.]{0,60}\berror\b.{0,80}", re.I | re.S)
_POWER = re.compile(r"10\s*\^?\s*\{?\s*[-−–]\s*\{?\s*(\d+)|1e-(\d+)|0\.(0*)1\b")


def checker_for(statement: str) -> tuple[str, str]:
    """(checker, reason to leave the problem out or '') for a problem that is judged by its output text.

    >>> checker_for("The absolute or relative error must not exceed 10^{-4}.")
    ('tokens_approx:0.0001', '')
    >>> checker_for("If there are several answers, print any of them.")[1]
    'any valid answer counts, which needs a checker of its own'
    """
    if _INTERACTIVE.search(statement):
        return "tokens", "the problem is interactive"
    if _ANY.search(statement):
        return "tokens", "any valid answer counts, which needs a checker of its own"
    found = _ERROR.search(statement)
    if found:
        power = _POWER.search(found.group(0))
        exponent = int(power[1] or power[2] or len(power[3] or "") + 1) if power else 6
        return f"tokens_approx:{10.0**-exponent:g}", ""
    return "tokens", ""


def read_tests(value: Any) -> tuple[list[tuple[Any, Any]], str]:
    """(input, output) pairs and the function's name, '' for programs. ValueError for a form that is none of these."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"tests are not JSON ({error.msg} at character {error.pos})") from error
    if isinstance(value, dict):
        name = value.get("fn_name") or ""
        inputs, outputs = (value.get(key, value.get(key + "s")) for key in ("input", "output"))
        if not isinstance(inputs, list) or not isinstance(outputs, list):
            raise ValueError(f"tests hold {', '.join(map(str, value))}; needed are the lists inputs and outputs")
        if len(inputs) != len(outputs):
            raise ValueError(f"{len(inputs)} inputs stand beside {len(outputs)} outputs")
        return list(zip(inputs, outputs, strict=True)), name
    if not isinstance(value, list):
        raise ValueError(f"tests are {type(value).__name__}; a list or an object is needed")
    pairs, names = [], set()
    for number, case in enumerate(value):
        if not isinstance(case, dict) or "input" not in case or "output" not in case:
            raise ValueError(f"test {number} is {json.dumps(case):.60}; it needs input and output")
        given, wanted = case["input"], case["output"]
        given = given.get("stdin", "") if isinstance(given, dict) and "stdin" in given else given
        wanted = wanted.get("stdout", "") if isinstance(wanted, dict) and "stdout" in wanted else wanted
        pairs.append((given, wanted))
        names.add(_function_of(case))
    if len(names) > 1:
        raise ValueError(
            f"tests of several kinds in one problem: {', '.join(sorted(name or 'stdin' for name in names))}"
        )
    return pairs, next(iter(names), "")


def _function_of(case: dict[str, Any]) -> str:
    kind = case.get("testtype") or case.get("type") or ""
    extra = case.get("metadata") if isinstance(case.get("metadata"), dict) else {}
    name = case.get("fn_name") or (extra or {}).get("func_name") or ""
    if name:
        return name
    return "?" if kind in ("functional", "function_call") else ""


def stdin_tests(pairs: list[tuple[Any, Any]], checker: str = "tokens") -> Stdin:
    """Tests of a program that reads standard input; a list of lines counts as these lines."""
    return Stdin(tuple((_as_text(given), _as_text(wanted)) for given, wanted in pairs), checker)


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(_as_text, value))
    return value if isinstance(value, str) else json.dumps(value)


def function_tests(pairs: list[tuple[Any, Any]], name: str) -> tuple[Calls, str]:
    """Tests of a function or of a method of `Solution`, and the text after a program through which both are called."""
    calls, wrapped = [], False
    for given, wanted in pairs:
        if isinstance(given, str):
            arguments = [_json(line) for line in given.split("\n") if line.strip()]
            expected = _json(wanted) if isinstance(wanted, str) else wanted
        else:
            arguments, expected = list(given) if isinstance(given, list) else [given], wanted
            wrapped = wrapped or (isinstance(wanted, list) and len(wanted) == 1)
        calls.append((arguments, expected))
    if wrapped:
        calls = [(a, [e, e[0]] if isinstance(e, list) and len(e) == 1 else [e]) for a, e in calls]
    suffix = (
        f"\n\ndef ra3_entry_point(*arguments):\n"
        f"    scope = globals()\n"
        f"    if {name!r} in scope:\n"
        f"        return scope[{name!r}](*arguments)\n"
        f"    return getattr(scope['Solution'](), {name!r})(*arguments)\n"
    )
    return Calls("ra3_entry_point", tuple(calls), "json_one_of" if wrapped else "json"), suffix


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{text[:40]!r} in a function test is not JSON ({error.msg})") from error
