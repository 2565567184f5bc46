"""`ra3-lab judge` and `ra3-lab eval` as a user types them."""

from __future__ import annotations

import json

import pytest

from ra3_lab.cli import main
from ra3_lab.evaluate import benchmark
from ra3_lab.sandbox import STATUSES, Verdict, layers
from ra3_lab.tasks.registry import load_tasks


@pytest.fixture(scope="module")
def shut_in():
    """`--isolation` only where the default does not hold."""
    try:
        layers()
        return []
    except ValueError:
        return ["--isolation", "process"]


def samples_file(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def own_solutions():
    return {task.task_id: task.canonical for task in load_tasks("own")}


def test_judge_writes_the_verdicts_in_the_documented_form(tmp_path, shut_in, capsys):
    solutions = own_solutions()
    rows = [{"task_id": task_id, "solution": text} for task_id, text in solutions.items()] * 2
    rows[0] = {"task_id": "own/runs", "completion": "    return 3\n"}
    rows[4] = {"task_id": "own/ledger", "completion": "    while True:\n        pass\n"}
    file, out = samples_file(tmp_path / "s.jsonl", *rows), tmp_path / "out.json"
    assert main(["judge", "--bench", "own", "--samples", file, "--k", "1", "2", "--json", str(out), *shut_in]) == 0
    found = json.loads(out.read_text())
    assert found["schema_version"] == 1
    summary = found["summary"]
    assert summary["pass@1"] == pytest.approx(8 / 9) and summary["pass@2"] == 1.0
    assert set(summary["ci95"]) == {"pass@1", "pass@2"}
    assert set(summary["counts"]) == set(STATUSES) and sum(summary["counts"].values()) == 18
    assert summary["self_test"]["passed"] == summary["self_test"]["of"] == 9
    assert {"data_hash", "harness_version", "layers", "data"} <= set(summary)
    assert [record["task_id"] for record in found["records"]] == [row["task_id"] for row in rows]
    assert set(found["records"][0]) == {"task_id", "sample", "passed", "status", "reward", "seconds", "detail"}
    first, loop = found["records"][0], found["records"][4]
    assert (first["status"], first["reward"], first["passed"]) == ("wrong_answer", 0.0, False)
    assert loop["status"] == "time_limit" and loop["seconds"] >= 1.9
    shown = capsys.readouterr().out
    assert "pass@1   88.89 %" in shown and "wrong_answer 1, time_limit 1" in shown.replace("  ", " ")


def test_json_alone_leaves_nothing_else_on_stdout(shut_in, capsys):
    assert main(["judge", "--bench", "own", "--canonical", "--json", *shut_in]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["summary"]["counts"]["passed"] == 9
    assert "9 of 9 reference solutions pass" in shown.err


def test_canonical_names_the_reference_solutions_that_fail(tmp_path, shut_in, capsys):
    good = {
        "schema_version": 1,
        "task_id": "a",
        "entry_point": "f",
        "pairs": [[[1], 2]],
        "solution": "def f(x): return 2",
    }
    bad = {**good, "task_id": "b", "solution": "def f(x): return 3"}
    known = {**bad, "task_id": "c", "known_failure": "it is a riddle"}
    path = samples_file(tmp_path / "tasks.jsonl", good, bad, known)
    assert main(["judge", "--bench", "own", "--path", path, "--canonical", *shut_in]) == 0
    shown = capsys.readouterr().out
    assert "1 of 3 reference solutions pass" in shown
    assert "b: wrong_answer" in shown and "[known: it is a riddle]" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bench", "own"], "give --samples FILE, or --canonical"),
        (["--bench", "own", "--canonical", "--samples", "s.jsonl"], "one of the two"),
        (["--bench", "evil", "--canonical"], "benchmark 'evil' is unknown: use one of pipelines, humaneval"),
        (["--bench", "own", "--samples", "nowhere.jsonl"], "nowhere.jsonl is no file"),
        (["--bench", "own", "--path", "nowhere.jsonl", "--canonical"], "nowhere.jsonl is no file"),
        (["--bench", "own", "--canonical", "--k", "2"], "pass@2 needs at least 2 samples a task, 'own/runs' has 1"),
        (["--bench", "own", "--canonical", "--k", "0"], "k is 0"),
        (["--bench", "own", "--canonical", "--k"], "--k without a number"),
        (["--bench", "own", "--canonical", "--json", "nowhere/out.json"], "in a folder that exists"),
        (["--bench", "own", "--canonical", "--workers", "0"], "workers is 0"),
        (["--bench", "own", "--canonical", "--isolation", "none"], "'none'"),
        (["--bench", "rlvr", "--canonical"], "give its data file"),
    ],
)
def test_bad_input_ends_in_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["judge", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "s.jsonl:2 is not JSON"),
        ('{"task_id": "own/unknown", "solution": "x"}', "s.jsonl:2: task_id 'own/unknown' is not in this benchmark"),
        ('{"task_id": "own/runs"}', "s.jsonl:2: neither completion nor solution"),
    ],
)
def test_a_bad_samples_line_is_named_before_anything_runs(line, message, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "judge_each", lambda *_: pytest.fail("nothing may run"))
    file = tmp_path / "s.jsonl"
    file.write_text('{"task_id": "own/runs", "solution": "x"}\n' + line + "\n")
    assert main(["judge", "--bench", "own", "--samples", str(file)]) == 2
    assert message in capsys.readouterr().err


def test_a_data_file_with_another_hash(tmp_path, capsys, shut_in):
    row = {"task_id": 1, "text": "Add.", "code": "def f(): return 1", "test_list": ["assert f() == 1"]}
    path = samples_file(tmp_path / "mbpp.jsonl", row)
    arguments = ["judge", "--bench", "mbpp", "--path", path, "--canonical", *shut_in]
    assert main(arguments) == 2
    assert "no release of 'mbpp' known here" in capsys.readouterr().err
    assert main([*arguments, "--sha256", "0123"]) == 2
    assert "not 0123" in capsys.readouterr().err
    assert main([*arguments, "--sha256", "any"]) == 0
    assert "no release that is known here" in capsys.readouterr().out


def test_a_failing_self_test_and_too_many_no_verdicts_stop_with_the_reason(tmp_path, capsys, monkeypatch):
    rows = [{"task_id": task_id, "solution": text} for task_id, text in own_solutions().items()]
    arguments = ["judge", "--bench", "own", "--samples", samples_file(tmp_path / "s.jsonl", *rows)]
    arguments += ["--json", str(tmp_path / "out.json"), "--isolation", "process"]

    def verdicts(status):
        return lambda jobs, *_: [Verdict(status == "passed", status, 0.0, "the kernel said no")] * len(jobs)

    monkeypatch.setattr(benchmark, "judge_each", verdicts("runtime_error"))
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "9 of 9 reference solutions fail here" in error and "the kernel said no" in error
    assert not (tmp_path / "out.json").exists()
    assert main([*arguments, "--skip-self-test"]) == 0
    assert json.loads((tmp_path / "out.json").read_text())["summary"]["self_test"] == "skipped"
    monkeypatch.setattr(benchmark, "judge_each", verdicts("no_verdict"))
    assert main([*arguments, "--skip-self-test"]) == 1
    assert "no verdict on 9 of 9 programs" in capsys.readouterr().err


def plus_row(task_id, body, value):
    fields = {"prompt": "def f(n):\n", "entry_point": "f", "base_input": [[value]], "plus_input": []}
    return {"task_id": task_id, "canonical_solution": body, **fields}


def test_samples_of_tasks_without_expected_results_are_dropped_counted_and_explained(tmp_path, shut_in, capsys):
    rows = [plus_row("HumanEval/0", "    return 2 * n\n", 4), plus_row("HumanEval/1", "    return 1 // n\n", 0)]
    path, out = samples_file(tmp_path / "he.jsonl", *rows), tmp_path / "out.json"
    answers = [{"task_id": row["task_id"], "completion": "    return 2 * n\n"} for row in rows]
    file = samples_file(tmp_path / "s.jsonl", *answers)
    judge = ["judge", "--bench", "humaneval+", "--path", path, "--sha256", "any", "--json", str(out), *shut_in]
    for chosen in (["--samples", file], ["--canonical"]):
        assert main([*judge, *chosen]) == 0
        summary = json.loads(out.read_text())["summary"]
        assert (summary["samples"], summary["samples_excluded"], summary["pass@1"]) == (1, 1, 1.0)
        assert list(summary["excluded"]) == ["HumanEval/1"]
        shown = capsys.readouterr().out
        assert "1 tasks, 1 samples of them" in shown and "HumanEval/1: the reference solution fails" in shown
    assert main([*judge, "--samples", samples_file(tmp_path / "one.jsonl", answers[1])]) == 2
    assert "none of the 1 samples can be judged here" in capsys.readouterr().err


def test_samples_of_all_problems_are_judged_where_some_are_left_out(tmp_path, shut_in, capsys):
    tests = [{"input": "3\n", "output": "6\n"}]
    rows = [{"id": name, "description": text, "official_tests": tests} for name, text in
            (("a", "Read n, print 2n."), ("b", "Print any answer."))]  # fmt: skip
    path, out = samples_file(tmp_path / "cf.jsonl", *rows), tmp_path / "out.json"
    program = "print(2 * int(input()))"
    answers = [{"task_id": name, "solution": program} for name in ("a", "a", "b")]
    arguments = ["judge", "--bench", "codeforces", "--path", path, "--skip-self-test", "--json", str(out), *shut_in]
    file = samples_file(tmp_path / "s.jsonl", *answers)
    assert main([*arguments, "--samples", file, "--k", "2"]) == 0, "b has one sample, and does not count"
    summary = json.loads(out.read_text())["summary"]
    assert (summary["samples"], summary["samples_excluded"], summary["tasks"]) == (2, 1, 1)
    assert "b: any valid answer counts" in capsys.readouterr().out
    unknown = samples_file(tmp_path / "u.jsonl", {"task_id": "c", "solution": program})
    assert main([*arguments, "--samples", unknown]) == 2
    assert "task_id 'c' is not in this benchmark" in capsys.readouterr().err


# --- eval ---------------------------------------------------------------------------------------------


def test_eval_of_the_embedded_model_on_pipelines(tmp_path, shut_in):
    out, kept = tmp_path / "out.json", tmp_path / "samples.jsonl"
    arguments = ["eval", "--model", "embedded", "--bench", "pipelines", "--split", "rlvr", "--tasks", "4", "--n", "2"]
    arguments += ["--k", "1", "2", "--max-new", "100", "--device", "cpu", "--threads", "1"]
    arguments += ["--json", str(out), *shut_in]
    assert main([*arguments, "--samples-out", str(kept)]) == 0
    found = json.loads(out.read_text())
    summary = found["summary"]
    assert (summary["tasks"], summary["samples"], summary["samples_per_task"]) == (4, 8, 2)
    assert 0 <= summary["pass@1"] <= summary["pass@2"] <= 1
    assert summary["self_test"]["passed"] == 4 and summary["sampling"]["prompts_too_long"] == 0
    assert summary["split"] == "rlvr" and summary["data"]["release"] == "shipped with ra3_lab"
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [(line["task_id"], line["sample"]) for line in lines] == [
        (record["task_id"], record["sample"]) for record in found["records"]
    ]
    again = ["judge", "--bench", "pipelines", "--split", "rlvr", "--samples", str(kept), "--k", "1", "2"]
    assert main([*again, "--skip-self-test", "--json", str(tmp_path / "again.json"), *shut_in]) == 0
    twin = json.loads((tmp_path / "again.json").read_text())
    assert [r["status"] for r in twin["records"]] == [r["status"] for r in found["records"]], "the same verdicts"
    assert twin["summary"]["pass@1"] == summary["pass@1"]


def test_eval_of_the_embedded_model_on_mbpp(benchmarks_dir, tmp_path, shut_in):
    out = tmp_path / "out.json"
    arguments = ["eval", "--bench", "mbpp", "--path", str(benchmarks_dir / "mbpp/mbpp.jsonl"), "--split", "test"]
    arguments += ["--tasks", "3", "--n", "1", "--k", "1", "--max-new", "20", "--device", "cpu", "--json", str(out)]
    assert main([*arguments, *shut_in]) == 0
    found = json.loads(out.read_text())
    assert [record["task_id"] for record in found["records"]] == ["11", "12", "13"]
    assert found["summary"]["data"]["release"] and found["summary"]["counts"]["no_verdict"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n", "5", "--k", "1", "10"], "pass@10 needs at least 10 samples a task"),
        (["--n", "0"], "n is 0"),
        (["--k"], "--k without a number"),
        (["--n", "10", "--temperature", "0"], "temperature 0 gives the same program 10 times"),
        (["--tasks", "0"], "tasks is 0"),
        (["--max-new", "0"], "max_new is 0"),
        (["--samples-out", "nowhere/s.jsonl"], "there is no folder nowhere: make it, or choose another --samples-out"),
        (["--model", "./nowhere", "--tasks", "1", "--isolation", "none"], "no model directory"),  # before any judging
    ],
)
def test_eval_with_bad_input(arguments, message, capsys):
    assert main(["eval", "--bench", "own", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
