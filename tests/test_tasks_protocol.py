"""The form of a task, its JSONL, tests in other people's forms, and packed tests that are never unpickled."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ra3_lab.sandbox import Asserts, Calls, Limits, Stdin
from ra3_lab.sandbox.checkers import compare
from ra3_lab.tasks.packed import plain_pickle, unpack_tests
from ra3_lab.tasks.protocol import DataSource, Inputs, Task, TaskSet, code_block, cut_at_stops
from ra3_lab.tasks.records import from_json_value, read_records, task_from_record, task_to_record, to_json_value
from ra3_lab.tasks.registry import load_tasks
from ra3_lab.tasks.testcases import checker_for, function_tests, read_tests, stdin_tests

PAIRS = (([1], 2), ([2], 3))


def task(**changes) -> Task:
    return replace(Task("t/0", "def f(x):\n", Calls("f", PAIRS), prefix="def f(x):\n"), **changes)


# --- the task -----------------------------------------------------------------------------------------


def test_a_completion_becomes_a_program_between_prefix_and_suffix():
    made = task(preamble="import math\n", suffix="\n# end\n")
    assert made.program("    return x + 1\n").source == "import math\ndef f(x):\n    return x + 1\n\n# end\n"
    assert made.program_of_solution("f = abs").source == "import math\nf = abs\n# end\n"
    future = "from __future__ import annotations\n"
    assert made.program_of_solution(future).source.startswith(future), "it must stay the first statement"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Task("", "p", Calls("f", PAIRS)), "task_id is ''"),
        (lambda: Task("t", "p", Inputs("f", ())), "'t' has no tests; zero tests is an error"),
        (lambda: Task("t", "p", Calls("f", PAIRS, "eqaul")), "checker 'eqaul' is unknown"),
        (lambda: Task("t", "p", Calls("f", PAIRS, "tokens")), "'tokens' compares text"),
        (lambda: Task("t", "p", Stdin((("", ""),), "equal")), "'equal' compares returned values"),
        (lambda: Task("t", "p", Inputs("f", ((1,),))).program(""), "no expected outputs yet: call"),
        (lambda: TaskSet((task(), task()), DataSource("b", "file", "")), "file: task_id 't/0' stands there 2 times"),
        (lambda: TaskSet((), DataSource("b", "file", "")), "file: no task is left to judge"),
    ],
)
def test_tasks_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_hash_changes_with_all_that_a_score_depends_on_and_with_nothing_else():
    changes = {
        "task_id": "t/1",
        "prompt": "other",
        "prefix": "other",
        "preamble": "import os",
        "suffix": "x",
        "tests": Calls("f", PAIRS, "exact" if PAIRS else ""),
        "limits": Limits(cpu_seconds=3),
    }
    changes["tests"] = Calls("f", PAIRS[:1])
    hashes = [task().hash, *(task(**{name: value}).hash for name, value in changes.items())]
    hashes += [task(tests=Calls("f", PAIRS, "equal")).hash, task(tests=Inputs("f", ([1], [2]))).hash]
    hashes += [task(tests=Calls("f", (([1], 2.0), ([2], 3)))).hash, task(tests=Asserts("assert f(1) == 2", "f")).hash]
    assert len(set(hashes)) == len(hashes)
    assert task(canonical="def f(x): return x + 1", source="elsewhere", stops=("\n",)).hash == task().hash


def test_completions_are_cut_at_the_first_stop_and_code_is_found_in_prose():
    assert cut_at_stops("    return 1\nprint(2)\nclass A", ("\nclass ", "\nprint(")) == "    return 1"
    assert cut_at_stops("    return 1\n# note\n", ("\ndef ",)) == "    return 1\n# note\n", "thoughts are no stops"
    assert code_block("First:\n```\na = 1\n```\nbetter:\n```python\nb = 2\n```\n") == "b = 2\n"
    assert code_block("```python\ncut = off") == "cut = off\n"
    assert code_block("a = '```'\n") == "a = '```'\n"


DOUBLE = "def f(x):\n    return 2 * x\n"
PRINT = "print(2 * int(input()))\n"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (DOUBLE + "```\n\nThis doubles the number.\n", DOUBLE),
        (DOUBLE + "```\n\nUsage:\n```python\nf(3)\n```\n", DOUBLE),
        (DOUBLE + "```\nOutput:\n```\n6\n```\n", DOUBLE),
        (PRINT + "```\n\nThis prints it.\n", PRINT),
        (f"```python\n{DOUBLE}```\nOutput:\n```\n6\n```\n", DOUBLE),
        (f"```\n{DOUBLE}```\nOutput:\n```\n6\n```\n", DOUBLE),
        (f"```\n{PRINT}```\nIt prints\n```text\n6\n```\n", PRINT),
        (f"```python\n{DOUBLE}```\nUsage:\n```python\nprint(f(3))\n```\n", DOUBLE),
        (f"```python\n{DOUBLE}```\nShell:\n```bash\nclass = python f.py\n```\n", DOUBLE),
        (f"```python\n{DOUBLE}```\nor\n```python\ndef f(x):\n    return (2", DOUBLE),
        (f"Answer\n```\n{PRINT}```\n", PRINT),
        (f"Solution (Python)\n```\n{PRINT}```\n", PRINT),
        (f"Output: x\n```\n{DOUBLE}```\n", DOUBLE),
        (f"Here:\n``` Python\r\n{DOUBLE}```\n", DOUBLE),
        ("Two of them:\n```\nno\n```\nand\n```\nnot either\n```\n", "not either\n"),
        ("Too deep:\n```\n" + "(" * 5000 + "\n```\n```\n\0\n```\n", "\0\n"),
    ],
    ids=range(16),
)
def test_the_code_of_an_answer_is_neither_its_output_nor_its_usage_nor_its_prose(answer, code):
    assert code_block(answer) == code


# --- JSONL --------------------------------------------------------------------------------------------

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.tuples(st.integers()), inner, max_size=3)
        | st.sets(st.integers() | st.text(max_size=2), max_size=3)
    ),
    max_leaves=10,
)


@given(plain)
@settings(max_examples=60, deadline=None)
def test_plain_data_survives_json(value):
    assert compare("exact", value, from_json_value(json.loads(json.dumps(to_json_value(value), allow_nan=False))))


def test_the_shipped_examples_survive_a_round_trip():
    for example in load_tasks("own"):
        again = task_from_record(json.loads(json.dumps(task_to_record(example))))
        assert again == example and again.hash == example.hash


GOOD = {"schema_version": 1, "task_id": "a", "entry_point": "f", "pairs": [[[1], 2]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version is 2, this ra3_lab reads up to 1: update ra3_lab"),
        ({"schema_version": None}, "schema_version is None; write 1"),
        ({"pears": []}, "field 'pears' is unknown; there are .*pairs"),
        ({"pairs": None}, "exactly one of pairs, tests and stdin is needed; none is there"),
        ({"tests": "assert f(1) == 2"}, "needed; pairs and tests is there"),
        ({"pairs": []}, "zero tests is an error"),
        ({"pairs": [[1, 2]]}, r"not \[arguments, expected\]"),
        ({"pairs": [3]}, r"must be a list of \[input, expected\]"),
        ({"pairs": [[[{"$tupel": []}], 2]]}, "is no value: after \\$ stands one of \\$tuple"),
        ({"pairs": "x"}, 'pairs is "x"; it must be a list'),
        ({"entry_point": ""}, "entry_point is missing"),
        ({"task_id": 3}, "task_id is 3; it must be text"),
        ({"task_id": ""}, "task_id is ''"),
        ({"checker": "same"}, "checker 'same' is unknown: use one of exact"),
        ({"limits": {"cpu": 1}}, "it may hold cpu_seconds"),
        ({"limits": {"cpu_seconds": "1"}}, 'limits.cpu_seconds is "1"; it must be a number'),
        ({"limits": {"cpu_seconds": 0}}, "cpu_seconds is 0; it must be above 0"),
        ({"stops": "\n"}, "it must be a list of text"),
        ({"pairs": None, "tests": "assert f(1) =="}, "tests is not Python"),
        ({"pairs": None, "stdin": [["1"]]}, r"not \(input, expected output\)"),
    ],
)
def test_a_bad_record_is_named_with_file_line_and_field(change, message, tmp_path):
    file = tmp_path / "mine.jsonl"
    bad = {key: value for key, value in {**GOOD, "task_id": "b", **change}.items() if value is not None}
    file.write_text(json.dumps(GOOD) + "\n\n" + json.dumps(bad) + "\n")
    with pytest.raises(ValueError, match=message) as error:
        list(read_records(file))
    assert str(error.value).startswith(f"{file}:3: ")


def test_lines_that_are_no_records(tmp_path):
    file = tmp_path / "mine.jsonl"
    for text, message in [("{", "mine.jsonl:1 is not JSON"), ("[1]", "mine.jsonl:1: a task is an object")]:
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            list(read_records(file))
    file.write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD))
    with pytest.raises(ValueError, match=r"mine\.jsonl:2: task_id 'a' stands in line 1 too"):
        list(read_records(file))


# --- tests in other people's forms --------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        {"inputs": ["1\n", "2\n"], "outputs": ["2\n", "4\n"]},
        {"input": ["1\n", "2\n"], "output": ["2\n", "4\n"], "fn_name": None},
        [{"input": "1\n", "output": "2\n", "testtype": "stdin"}, {"input": "2\n", "output": "4\n"}],
        [{"input": {"stdin": "1\n"}, "output": {"stdout": "2\n"}}, {"input": {"stdin": "2\n"}, "output": "4\n"}],
    ],
)
def test_every_form_of_stdin_tests_gives_the_same_cases(value):
    for given_as in (value, json.dumps(value)):
        pairs, name = read_tests(given_as)
        assert name == "" and stdin_tests(pairs) == Stdin((("1\n", "2\n"), ("2\n", "4\n")))


def test_function_tests_in_text_and_in_lists():
    text, suffix = function_tests([('[1, 2]\n"x"', "[3]")], "f")
    assert text == Calls("ra3_entry_point", (([[1, 2], "x"], [3]),), "json")
    scope: dict = {}
    exec("class Solution:\n    def f(self, a, b):\n        return [len(a), b]\n" + suffix, scope)
    assert scope["ra3_entry_point"]([1], 2) == [1, 2]
    exec("def f(a, b):\n    return a\n" + suffix, scope)
    assert scope["ra3_entry_point"]([1], 2) == [1]
    lists, _ = function_tests([([[1, 2], 3], [4]), ([[1], 1], [5])], "f")
    assert lists == Calls("ra3_entry_point", (([[1, 2], 3], [[4], 4]), ([[1], 1], [[5], 5])), "json_one_of")
    pairs, name = read_tests([{"type": "function_call", "fn_name": "g", "input": [1], "output": 2}])
    assert (pairs, name) == ([([1], 2)], "g")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "tests are not JSON"),
        ({"inputs": ["1"]}, "needed are the lists inputs and outputs"),
        ({"inputs": ["1"], "outputs": []}, "1 inputs stand beside 0 outputs"),
        ([{"input": "1"}], "test 0 is .*; it needs input and output"),
        (3, "a list or an object is needed"),
        ([{"input": 1, "output": 2, "fn_name": "f"}, {"input": "1", "output": "2"}], "several kinds .*f, stdin"),
    ],
)
def test_tests_that_cannot_be_read(value, message):
    with pytest.raises(ValueError, match=message):
        read_tests(value)


@pytest.mark.parametrize(
    ("statement", "checker", "reason"),
    [
        ("Print the sum.", "tokens", ""),
        ("If there are multiple possible answers, output any; otherwise -1.", "tokens", "any valid"),
        ("If there are several optimal solutions, output any of them.", "tokens", "any valid"),
        ("You can print any.", "tokens", "any valid"),
        ("Print the edges in any order.", "tokens", "any valid"),
        ("if and only if any two planets can reach each other", "tokens", ""),
        ("she can choose arbitrary position in any word", "tokens", ""),
        ("absolute or relative error does not exceed 10^{-4}", "tokens_approx:0.0001", ""),
        ("if its absolute error is at most 1e-9.", "tokens_approx:1e-09", ""),
        ("with relative error of no more than 0.001", "tokens_approx:0.001", ""),
        ("This is an interactive problem.", "tokens", "interactive"),
    ],
)
def test_the_statement_says_how_output_is_to_be_compared(statement, checker, reason):
    found, why = checker_for(statement)
    assert found == checker and bool(why) == bool(reason) and reason in why


# --- packed tests -------------------------------------------------------------------------------------

picklable = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.lists(inner, max_size=4).map(tuple),
    max_leaves=12,
)


def holds_bytes(value) -> bool:
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else []
    return isinstance(value, bytes) or any(map(holds_bytes, inner))


@given(picklable, st.integers(0, pickle.HIGHEST_PROTOCOL))
@settings(max_examples=60, deadline=None)
def test_plain_pickles_of_every_protocol_are_read_without_running_them(value, protocol):
    if protocol < 3 and holds_bytes(value):  # old protocols call a function for them
        with pytest.raises(ValueError, match="refused"):
            plain_pickle(pickle.dumps(value, protocol))
    else:
        assert plain_pickle(pickle.dumps(value, protocol)) == value


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_something_is_refused_and_does_not_run(protocol, tmp_path):
    trace = tmp_path / "ran"
    data = pickle.dumps([Bomb(str(trace))], protocol)
    with pytest.raises(ValueError, match=r"more than plain data \((GLOBAL|STACK_GLOBAL) at byte \d+\): refused"):
        plain_pickle(data)
    packed = base64.b64encode(zlib.compress(data)).decode()
    with pytest.raises(ValueError, match="refused"):
        unpack_tests(packed)
    assert not trace.exists()
    pickle.loads(data)
    assert trace.exists(), "the pickle was a live one"


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x04", b"N", b"garbage", pickle.dumps([1])[:-1], b"(.", b"](a.", b"l.", b"N\x94h\x05."]
)
def test_a_broken_pickle(data):
    with pytest.raises(ValueError, match="pickle"):
        plain_pickle(data)


def test_packed_tests():
    cases = [{"input": "1", "output": "2", "testtype": "stdin"}]
    for content in (json.dumps(cases), {"input_output": json.dumps(cases)}, cases):
        assert unpack_tests(base64.b64encode(zlib.compress(pickle.dumps(content))).decode()) == cases
    for broken in ("!!", base64.b64encode(b"no zlib").decode()):
        with pytest.raises(ValueError, match="neither JSON nor base64 of zlib"):
            unpack_tests(broken)


def test_packed_tests_that_unpack_to_too_much(monkeypatch):
    monkeypatch.setattr("ra3_lab.tasks.packed.LARGEST", 1000)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        unpack_tests(base64.b64encode(zlib.compress(b"0" * 100_000)).decode())
