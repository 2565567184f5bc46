"""Checkers: what each calls right, and that nothing a program returns makes them raise or dawdle."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ra3_lab.sandbox.checkers import canonical, compare, digest, parse_checker

NAN = math.nan

RIGHT = [
    ("exact", [1, (2, {3})], [1, (2, {3})]),
    ("exact", {"a": 1, "b": NAN}, {"b": NAN, "a": 1}),
    ("exact", -0.0, 0.0),
    ("equal", [1, 2.0, True], [1.0, 2, 1]),
    ("equal", {1: {2: [3]}}, {1: {2: [3.0]}}),
    ("equal", {1.5, NAN}, {NAN, 1.5}),
    ("equal", {NAN: 1, 2: 3}, {2: 3.0, float("nan"): 1}),
    ("equal", {(1, NAN): [NAN]}, {(1.0, float("nan")): [NAN]}),
    ("equal", {NAN: 1, float("nan"): 2}, {NAN: 2, float("nan"): 1}),
    ("equal", 10**5000, 10**5000),
    ("equal", 2 + 0j, 2),
    ("equal", None, None),
    ("approx:1e-6", [0.1 + 0.2, (1,)], [0.3, (1.0000001,)]),
    ("approx:0:1e-3", 1000.0, 1000.9),
    ("approx:1e-6:1e-7", [2, 10**8, 10**8], [2.0, 10.0**8, 10**8 + 0.5]),
    ("approx:1e-6:1e-7", 2.0, 2),
    ("approx:1e-6", {NAN: 0.1 + 0.2}, {float("nan"): 0.3}),
    ("approx:1e-6", math.inf, math.inf),
    ("unordered", [3, 1, 2, 2], (2, 1, 2, 3)),
    ("unordered", [[1, 2], [3]], [[3], [1.0, 2]]),
    ("set", (4, 5), [5, 4, 4]),
    ("one_of", [3, "three"], "three"),
    ("json", [[1, 2], {"a": [3]}], ((1.0, 2), {"a": (3,)})),
    ("json", {NAN: [1, NAN]}, {float("nan"): (1, NAN)}),
    ("json_one_of", [[3], 3], 3),
    ("digest", digest([1, {2.5}, 10**5000]), [1.0, {2.5}, 10**5000]),
    ("digest", digest("x" * 10**6), "x" * 10**6),
    ("root:1e-4", [-6, 11, -6, 1], 2.0000001),
    ("tokens", "1 2\n3\n", "1\n2 3"),
    ("tokens_approx:1e-4", "0.33333 yes", "0.3333 yes\n"),
    ("tokens_approx:1e-6", "100000000", "100000001"),  # a real number, printed without its point
    ("tokens_approx:1e-6", "inf -INF nan", "Infinity -inf NaN"),
    ("tokens_approx:1e-6", "9" * 400, "9" * 400),
    ("lines", "a b\nc\n", "a b  \nc\n\n\n"),
    ("text", "a\n", "a\n"),
]
WRONG = [
    ("exact", 1, True),
    ("exact", 1, 1.0),
    ("exact", [1], (1,)),
    ("equal", [1, 2], (1, 2)),
    ("equal", [1, 2], [1, 2, 3]),
    ("equal", {NAN: 1}, {float("nan"): 2}),
    ("equal", {NAN: 1}, {float("nan"): 1, float("nan"): 1}),
    ("equal", {NAN: 1}, {"nan": 1}),
    ("equal", {1: 2}, {2: 2}),
    ("equal", "1", 1),
    ("equal", 2**63, float(2**63) * 2),
    ("approx:1e-6", 1.0, 1.1),
    ("approx:1e-6:1e-7", 10**8, 10**8 + 9),
    ("approx:1e-6:1e-7", {"a": (10**12,)}, {"a": (10**12 + 1,)}),
    ("approx:1", 1, 2),
    ("approx:1e-6", 1.0, NAN),
    ("approx:1e-6", math.inf, 1.0),
    ("approx:1e-6", 1.0, math.inf),
    ("approx:1e-6", [1.0], (1.0,)),
    ("approx:1e-6", True, 0.9999999),
    ("approx:1e-6", 1.0, "1.0"),
    ("approx:1e-6", 1.5, 10**400),
    ("unordered", [1, 1, 2], [1, 2, 2]),
    ("unordered", "ab", "ba"),
    ("set", [1], 1),
    ("one_of", [3, 4], [3, 4]),
    ("json", [1, 2], {1, 2}),
    ("json_one_of", [[3], 3], [[3], 3]),
    ("digest", digest([1, 2]), [1, 3]),
    ("digest", digest([10**5000]), [10**5000 + 1]),
    ("root:1e-4", [-6, 11, -6, 1], 2.1),
    ("root:1e-4", [-6, 1], "6"),
    ("root:1e-4", [-6, 1], NAN),
    ("root:1e-4", [-6, 1], 10**400),
    ("tokens", "1 2", "1 2 3"),
    ("tokens", "12", "1"),
    ("tokens", "1", ["1"]),
    ("tokens_approx:1e-4", "10", "1_0"),
    ("tokens_approx:1e-4", "0.5 yes", "0.5 no"),
    ("tokens_approx:1e-4", "0.5", "nan"),
    ("tokens_approx:1e-4", "nan", "0.5"),
    ("tokens_approx:1e-4", "INF", "0"),
    ("tokens_approx:1e-4", "inf 3", "-7 3"),
    ("tokens_approx:1e-4", "inf", "-inf"),
    ("tokens_approx:1e-4", "1e999", "12"),
    ("tokens_approx:1e-4", "9" * 400, "8" * 400),
    ("tokens_approx:1e-4", "9" * 400, "inf"),
    ("lines", "a\nb\n", "a b\n"),
    ("text", "a\n", "a"),
]


@pytest.mark.parametrize(("name", "expected", "got"), RIGHT, ids=range(len(RIGHT)))
def test_right(name, expected, got):
    assert compare(name, expected, got) is True


@pytest.mark.parametrize(("name", "expected", "got"), WRONG, ids=range(len(WRONG)))
def test_wrong(name, expected, got):
    assert compare(name, expected, got) is False


@pytest.mark.parametrize("name", ["", "eqaul", "approx", "approx:", "approx:-1", "approx:nan", "approx:1:2:3", "set:1"])
def test_a_name_that_is_none(name):
    with pytest.raises(ValueError, match="use one of exact, equal"):
        compare(name, 1, 1)
    with pytest.raises(ValueError):
        parse_checker(None)  # type: ignore[arg-type]


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
        | st.sets(st.integers() | st.text(max_size=3), max_size=4)
    ),
    max_leaves=12,
)
NAMES = [
    "exact",
    "equal",
    "approx:1e-6",
    "unordered",
    "set",
    "one_of",
    "json",
    "digest",
    "root:1",
    "tokens",
    "lines",
    "text",
]


@given(values, values)
@settings(max_examples=60, deadline=None)
def test_any_two_values_compare_without_error_and_every_value_equals_itself(one, other):
    for name in NAMES:
        assert compare(name, one, other) in (True, False)
    for name in ("exact", "equal", "approx:1e-6"):
        assert compare(name, one, one)
        assert compare(name, one, other) == compare(name, other, one) or name == "approx:1e-6"
    if compare("exact", one, other):
        assert compare("equal", one, other)


@given(values, values)
@settings(max_examples=60, deadline=None)
def test_equal_is_pythons_equality_but_for_nan(one, other):
    if "nan" not in repr((one, other)):
        assert compare("equal", one, other) == (one == other) == (canonical(one) == canonical(other))


def test_numbers_chosen_to_collide_do_not_make_it_slow():
    # Python hashes whole numbers modulo 2**61 - 1: as members of a set these would take minutes.
    colliding = [number * (2**61 - 1) for number in range(1, 30_001)]
    start = time.process_time()
    assert compare("unordered", colliding, colliding[::-1])
    assert compare("set", colliding, colliding[::-1])
    assert time.process_time() - start < 10


def test_deep_values_are_not_right_rather_than_fatal():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert compare("equal", [1], deep) is False
    assert compare("exact", [1], deep) is False
