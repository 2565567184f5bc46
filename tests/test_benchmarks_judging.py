"""Samples and scores: what a samples file may hold, what stops a run, and reference solutions that pass."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import replace

import pytest

from ra3_lab.evaluate import benchmark, sampling
from ra3_lab.evaluate.benchmark import (
    Record,
    RunStopped,
    SelfTestFailed,
    check_ks,
    judge_samples,
    self_test,
    summarise,
)
from ra3_lab.evaluate.samples import Sample, canonical_samples, read_samples
from ra3_lab.models.generation import Completion
from ra3_lab.sandbox import Calls, Verdict, layers
from ra3_lab.tasks.expected import with_expected
from ra3_lab.tasks.humaneval import humaneval_plus_task
from ra3_lab.tasks.protocol import DataSource, Inputs, Task, TaskSet
from ra3_lab.tasks.registry import load_tasks


@pytest.fixture(scope="module")
def isolation():
    """The hardest isolation that holds here; programs of these tests are harmless, so any will do."""
    try:
        return layers()["isolation"]
    except ValueError:
        return "process"


def double(task_id: str, canonical: str = "def f(x):\n    return 2 * x\n", **changes) -> Task:
    task = Task(task_id, "def f(x):\n", Calls("f", (([1], 2), ([3], 6))), prefix="def f(x):\n", canonical=canonical)
    return replace(task, **changes)


def task_set(*tasks: Task) -> TaskSet:
    return TaskSet(tasks or (double("a"), double("b")), DataSource("own", "here.jsonl", "0" * 64))


# --- samples files ------------------------------------------------------------------------------------


def write(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_both_forms_of_samples_and_several_of_a_task(tmp_path):
    rows = [
        {"task_id": "a", "completion": "    return 2 * x\n"},
        {"task_id": "b", "solution": "f = abs", "_identifier": "b (line 2)"},
        {"task_id": "a", "completion": "    return 2 * x\n"},
    ]
    samples = read_samples(write(tmp_path / "s.jsonl", *rows[:2], "", rows[2]), ["a", "b"])
    assert [(s.task_id, s.number, s.whole) for s in samples] == [("a", 0, False), ("b", 0, True), ("a", 1, False)]
    assert samples[0].program(double("a")).source == "def f(x):\n    return 2 * x\n"
    assert samples[1].program(double("b")).source == "f = abs"
    (tmp_path / "s.jsonl.gz").write_bytes(gzip.compress((tmp_path / "s.jsonl").read_bytes()))
    assert read_samples(tmp_path / "s.jsonl.gz", ["a", "b"]) == samples
    numbers = [{"task_id": 11, "solution": "x"}]
    assert read_samples(write(tmp_path / "n.jsonl", *numbers), ["11"])[0].task_id == "11", "MBPP numbers its tasks"
    both = {"task_id": "a", "completion": "c", "solution": "s"}
    assert read_samples(write(tmp_path / "e.jsonl", both), ["a"])[0].text == "s", "as evalplus does"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not JSON"),
        ('["a"]', "holds list; an object with task_id is needed"),
        ({"completion": "x"}, "task_id is null"),
        ({"task_id": True, "completion": "x"}, "task_id is true"),
        ({"task_id": "c", "completion": "x"}, r"task_id 'c' is not in this benchmark \(2: a, b"),
        ({"task_id": "a"}, "neither completion nor solution"),
        ({"task_id": "a", "completion": ["x"]}, r'completion is \["x"\]; it must be text. Several samples are several'),
        ({"task_id": "a", "completion": "x", "sample": "0"}, 'sample is "0"; it must be a whole number'),
        ({"task_id": "b", "completion": "x", "sample": 0}, r"sample 0 of 'b' stands in line 1 too"),
    ],
)
def test_a_line_that_is_no_sample_is_named(line, message, tmp_path):
    path = write(tmp_path / "s.jsonl", {"task_id": "b", "completion": "", "sample": 0}, line)
    with pytest.raises(ValueError, match=message) as error:
        read_samples(path, ["a", "b"])
    assert str(error.value).startswith(f"{path}:2")


def test_files_that_hold_no_samples(tmp_path):
    with pytest.raises(ValueError, match="holds no sample"):
        read_samples(write(tmp_path / "s.jsonl", ""), ["a"])
    with pytest.raises(FileNotFoundError, match=r"is no file: give a \.jsonl file of samples"):
        read_samples(tmp_path / "nowhere.jsonl", ["a"])
    (tmp_path / "s.jsonl").write_bytes(b'{"task_id": "\xff"}')
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        read_samples(tmp_path / "s.jsonl", ["a"])
    (tmp_path / "s.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="cannot be unpacked"):
        read_samples(tmp_path / "s.jsonl.gz", ["a"])


# --- scores -------------------------------------------------------------------------------------------


def records(**passed: list[bool | None]) -> list[Record]:
    words = {True: ("passed", 1.0), False: ("wrong_answer", 0.0), None: ("no_verdict", None)}
    return [
        Record(task_id, number, bool(found), *words[found], 0.01, "")
        for task_id, row in passed.items()
        for number, found in enumerate(row)
    ]


@pytest.fixture
def no_layers(monkeypatch):
    monkeypatch.setattr(benchmark, "layers", lambda isolation: {"isolation": isolation})


def test_pass_at_k_over_tasks_with_unlike_numbers_of_samples(no_layers):
    summary = summarise(task_set(), records(a=[True, False, False, False], b=[True, True]), (2, 1))
    assert summary["pass@1"] == pytest.approx((1 / 4 + 1) / 2)
    assert summary["pass@2"] == pytest.approx((1 / 2 + 1) / 2)
    low, high = summary["ci95"]["pass@1"]
    assert low == pytest.approx(0.25) and high == pytest.approx(1.0)
    assert summary["counts"]["passed"] == 3 and summary["counts"]["wrong_answer"] == 3
    assert summary["samples_per_task"] == [2, 4]
    assert summary["data"]["sha256"] == "0" * 64 and summary["data_hash"] == task_set().hash
    assert summary["harness_version"] and summary["layers"] == {"isolation": None}


def test_tasks_without_samples_are_counted_not_scored(no_layers):
    summary = summarise(task_set(), records(a=[True]))
    assert (summary["pass@1"], summary["tasks"], summary["tasks_without_samples"]) == (1.0, 1, 1)


def test_samples_without_a_verdict_are_left_out(no_layers):
    summary = summarise(task_set(), records(a=[True, None, None], b=[False, True, False]), (1, 3))
    assert summary["pass@1"] == pytest.approx((1 + 1 / 3) / 2)
    assert summary["pass@3"] == 1.0, "of a alone nothing can be said"
    assert summary["counts"]["no_verdict"] == 2
    with pytest.raises(RunStopped, match="pass@1: no task has 1 samples with a verdict"):
        summarise(task_set(), records(a=[None]))


def test_k_above_n():
    with pytest.raises(ValueError, match=r"pass@5 needs at least 5 samples a task, 'b' has 2 \(2 of 2 tasks"):
        summarise(task_set(), records(a=[True] * 3, b=[True] * 2), (1, 5))
    with pytest.raises(ValueError, match="k is 0"):
        check_ks((0,), {"a": 1})


def fake_judge(monkeypatch, statuses):
    found = [Verdict(status == "passed", status, 0.0, "the worker died") for status in statuses]
    monkeypatch.setattr(benchmark, "judge_each", lambda jobs, *rest: found[: len(jobs)])


def test_more_than_one_in_a_hundred_without_a_verdict_stop_the_run(monkeypatch):
    samples = [Sample("a", "", False, number) for number in range(200)]
    fake_judge(monkeypatch, ["passed"] * 198 + ["no_verdict"] * 2)
    assert [r.reward for r in judge_samples(task_set(), samples)][-3:] == [1.0, None, None]
    fake_judge(monkeypatch, ["passed"] * 197 + ["no_verdict"] * 3)
    with pytest.raises(RunStopped, match="on 3 of 200 programs, more than 1%; the first, a: the worker died"):
        judge_samples(task_set(), samples)


def test_every_task_is_judged_under_its_own_limits(monkeypatch):
    seen = []
    monkeypatch.setattr(
        benchmark, "judge_each", lambda jobs, *rest: seen.extend(jobs) or [Verdict(True, "passed", 0.0, "")] * len(jobs)
    )
    slow = double("b", limits=replace(double("b").limits, cpu_seconds=9.0))
    judge_samples(task_set(double("a"), slow), [Sample("b", "", False), Sample("a", "", False)])
    assert [limits.cpu_seconds for _, limits in seen] == [9.0, 2.0]


# --- the self-test ------------------------------------------------------------------------------------


def test_the_self_test_stops_a_run_where_reference_solutions_fail(isolation):
    wrong = double("b", canonical="def f(x):\n    return x\n")
    with pytest.raises(SelfTestFailed, match=r"1 of 2 reference solutions fail.*b: wrong_answer.*--skip-self-test"):
        self_test(task_set(double("a"), wrong), 1, isolation)
    known = replace(wrong, known_failure="it cannot")
    found = self_test(task_set(double("a"), known), 1, isolation)
    assert (found["passed"], found["of"], found["known_failures"]) == (1, 2, ["b"])


def test_data_without_reference_solutions_are_stood_in_for(isolation):
    found = self_test(task_set(double("a", canonical="")), 1, isolation)
    assert found["passed"] == found["of"] == 9 and "ra3_lab's own examples" in found["judged"]


def test_a_judge_that_fails_right_programs_is_noticed(monkeypatch):
    fake_judge(monkeypatch, ["runtime_error", "passed"])
    with pytest.raises(SelfTestFailed, match="a: runtime_error"):
        self_test(task_set())


# --- expected results from the reference --------------------------------------------------------------


def test_expected_results_are_what_the_reference_returns(isolation):
    def plus(task_id, canonical, inputs, checker="equal"):
        return double(task_id, canonical, tests=Inputs("f", inputs, checker))

    tasks = task_set(
        plus("a", "def f(x):\n    return (x, {x})\n", ([1], ["z"])),
        double("b"),
        plus("c", "def f(x):\n    return 1 / x\n", ([1], [0])),
        plus("root", "def f(xs):\n    return -xs[0] / xs[1]\n", ([[2.0, 4.0]],), "root:1e-6"),
        replace(plus("suffix", "def f(x):\n    return 1\n", ([""],)), suffix="def f(x):\n    return 2\n"),
    )
    filled = with_expected(tasks, 1, isolation)
    by_id = {task.task_id: task for task in filled}
    assert by_id["a"].tests == Calls("f", (([1], (1, {1})), (["z"], ("z", {"z"}))), "equal")
    assert by_id["b"] == tasks[1]
    assert list(filled.excluded) == ["c"] and "runtime_error" in filled.excluded["c"]
    assert by_id["root"].tests.pairs == (([[2.0, 4.0]], [2.0, 4.0]),)
    assert by_id["suffix"].tests.pairs == (([""], 2),), "the reference is run as other programs are"
    assert filled.hash == tasks.hash, "what was computed here is no part of the data"
    found = judge_samples(filled, [*canonical_samples(filled), Sample("a", "f = abs", True)], 1, isolation)
    assert [record.passed for record in found] == [True] * 4 + [False]
    done = filled
    assert with_expected(done) is done


def test_a_whole_number_that_is_a_little_off_fails_humaneval_plus(isolation):
    body = "    f = r = 1\n    for i in range(1, n + 1):\n        f *= i\n        r *= f\n    return r\n"
    row = {
        "task_id": "HumanEval/139",
        "prompt": "def special_factorial(n):\n",
        "canonical_solution": body,
        "entry_point": "special_factorial",
        "base_input": [[4], [12]],
        "plus_input": [],
        "atol": 0,
    }
    tasks = with_expected(task_set(humaneval_plus_task(row)), 1, isolation)
    off, as_float = body.replace("return r", "return r + (n > 5)"), body.replace("f = r = 1", "f = r = 1.0")
    found = judge_samples(tasks, [Sample("HumanEval/139", text, False) for text in (off, as_float)], 1, isolation)
    assert [record.status for record in found] == ["wrong_answer", "passed"]


# --- the real benchmarks ------------------------------------------------------------------------------


def passes(name, path, isolation, only=None):
    tasks = load_tasks(name, path)
    tasks = with_expected(tasks.with_tasks(tasks[:only] if only else tasks.tasks), None, isolation)
    found = judge_samples(tasks, canonical_samples(tasks), None, isolation)
    return Counter(record.status for record in found), [r.task_id for r in found if not r.passed]


def test_reference_solutions_of_humaneval_pass(benchmarks_dir, isolation):
    counts, failed = passes("humaneval", benchmarks_dir / "humaneval/HumanEval.jsonl.gz", isolation)
    assert counts == {"passed": 164} and not failed


def test_a_helper_of_the_prompt_cannot_be_replaced_by_the_program(benchmarks_dir, isolation):
    tasks = load_tasks("humaneval", benchmarks_dir / "humaneval/HumanEval.jsonl.gz")
    task = next(task for task in tasks if task.task_id == "HumanEval/32")
    cheat = task.prefix + "    return 0.0\n\n\ndef poly(xs, x):\n    return 0.0\n"
    (record,) = judge_samples(tasks, [Sample(task.task_id, cheat, True)], 1, isolation)
    assert record.status == "wrong_answer"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file", "least"),
    [
        ("humaneval+", "humanevalplus/HumanEvalPlus-v0.1.10.jsonl.gz", 164),
        ("mbpp", "mbpp/mbpp.jsonl", 970),
        ("mbpp-sanitized", "mbpp/sanitized-mbpp.json", 426),
        ("mbpp+", "mbppplus_dev2023/MbppPlus-767efcc.jsonl.gz", 390),
    ],
)
def test_reference_solutions_pass(name, file, least, benchmarks_dir, isolation):
    counts, failed = passes(name, benchmarks_dir / file, isolation)
    assert counts["passed"] >= least, (counts, failed)
    assert counts["no_verdict"] == 0


def test_wrong_solutions_of_humaneval_plus_fail(benchmarks_dir, isolation):
    tasks = load_tasks("humaneval+", benchmarks_dir / "humanevalplus/HumanEvalPlus-Mini-v0.1.10.jsonl.gz")
    tasks = with_expected(tasks.with_tasks(tasks[:10]), None, isolation)
    wrong = [Sample(task.task_id, "    return None\n", False) for task in tasks]
    right = canonical_samples(tasks)
    found = judge_samples(tasks, [*wrong, *right], None, isolation)
    assert [record.status for record in found] == ["wrong_answer"] * 10 + ["passed"] * 10


def test_ended_are_answers_that_came_to_an_end_or_a_stop(monkeypatch, small_tokenizer, tiny_thinker):
    """A fenced block that max_new cut off is shorter than the answer, and did not end."""
    answers = {
        "Here:\n```python\nx = 1\nfor i in ra": ("length", False),
        "Here:\n```python\nx = 1\n\nprint(x": ("length", True),
        "x = 1\n": ("end", True),
    }
    row = [Completion(text, 5, reason == "end", reason) for text, (reason, _) in answers.items()]
    monkeypatch.setattr(sampling, "sample_groups", lambda *_, **__: [row])
    task = replace(double("a"), prefix="", stops=("\nprint",))
    tasks = TaskSet((task,), DataSource("own", "here.jsonl", "0" * 64))
    samples, found = sampling.sample_completions(tiny_thinker, small_tokenizer, tasks, 3)
    assert found["ended"] == pytest.approx(sum(ended for _, ended in answers.values()) / 3)
    assert [sample.text for sample in samples][1:] == ["x = 1\n", "x = 1\n"]
