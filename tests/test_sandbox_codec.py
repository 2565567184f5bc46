"""Plain data across the process border, whatever comes: honest values return, hostile ones end in an error."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ra3_lab.sandbox.checkers import compare
from ra3_lab.sandbox.codec import Malformed, NotPlain, TooLarge, dumps, loads, told
from ra3_lab.sandbox.program import Limits

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary()
HASHABLE = st.recursive(LEAVES, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)
VALUES = st.recursive(
    LEAVES | st.sets(HASHABLE, max_size=4) | st.sampled_from([int, str, ValueError]),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(HASHABLE, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_what_goes_in_comes_out(value):
    text = dumps(value)
    assert "\n" not in text and text.isascii()
    again = loads(text)
    assert type(again) is type(value) and compare("exact", value, again)


@settings(max_examples=150, deadline=None)
@given(st.recursive(LEAVES.map(str) | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=4)))
def test_any_json_is_a_value_or_malformed(tree):
    with contextlib.suppress(Malformed):
        loads(json.dumps(tree))


@pytest.mark.parametrize(
    "text",
    [
        b"\xff",
        "",
        "{}",
        '["list"]',
        '["list",5]',
        '["set",[["list",[]]]]',
        '["type","__import__"]',
        '["type","eval"]',
        '["object",0]',
        '["int","zz"]',
        '["bytes","zz"]',
        '["dict",[[1]]]',
        '["complex",["a",1]]',
        "[" * 100_000,
        '["list",[' * 2000 + "]]" * 2000,
        '["tuple",[' * 200 + "]]" * 200,
        '["unknown",1]',
    ],
)
def test_malformed_text_is_refused(text):
    with pytest.raises(Malformed):
        loads(text)


def test_hostile_values_are_refused_in_time_and_space():
    cyclic: list = []
    cyclic.append(cyclic)
    deep: object = 6
    for _ in range(1000):
        deep = [deep]
    shared: list = [1]
    for _ in range(34):
        shared = [shared, shared]
    for value in (cyclic, deep, object(), range(3), iter([]), NotPlain):
        with pytest.raises(NotPlain):
            dumps(value)
    for value in (shared, "a" * 200_001, [0] * 200_001, 1 << 4_000_000, b"a" * 100_001):
        with pytest.raises(TooLarge):
            dumps(value, size=200_000)


def test_subclasses_cross_as_the_plain_value_they_hold():
    class Liar(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

        def __add__(self, other):
            return 6

    class Text(str):
        def __str__(self):
            return "6"

    class Items(list):
        def __iter__(self):
            return iter([6])

    class Keys(dict):
        def items(self):
            return [(6, 6)]

    again = loads(dumps([Liar(1), Text("a"), Items([1]), Keys(a=1)]))
    assert again == [1, "a", [1], {"a": 1}] and [type(item) for item in again] == [int, str, list, dict]


def test_the_backstop_follows_the_cpu_limit():
    assert Limits(cpu_seconds=4.0).backstop == 13.0 and Limits(cpu_seconds=4.0, wall_seconds=2.0).backstop == 2.0


def test_a_reason_shows_values_as_a_person_writes_them():
    assert told(dumps({"a": [1, (2.5, None)]})) == "{'a': [1, (2.5, None)]}"
    assert told(dumps("x" * 300)) == "'" + "x" * 96 + "..."
    for text in ("[" * 300, '["list",' + "[" * 5000, "no JSON"):
        assert len(told(text)) <= 100 and told(text)[:3] == text[:3]
