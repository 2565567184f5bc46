"""The mutator makes wrong programs, and the recorded comparison with evalplus leaves no question open."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def mutants(repo_root):
    spec = importlib.util.spec_from_file_location("mutate", repo_root / "benchmarks" / "mutate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.mutants


SOURCE = '''\
def helper(x):
    return x + 1


def f(xs, limit=3):
    """Count."""
    count = 0
    for i in range(len(xs)):
        if xs[i] < limit and not xs[i] == 0:
            count += 1
        else:
            continue
    return -count, xs[1:], "done", True
'''


def test_every_mutant_is_one_change_that_compiles_and_differs(mutants):
    found = list(mutants(SOURCE))
    texts = [mutant.source for mutant in found]
    assert len(set(texts)) == len(texts) >= 30
    original = ast.unparse(ast.parse(SOURCE)).splitlines()
    for mutant in found:
        compile(mutant.source, "mutant", "exec")
        changed = mutant.source.splitlines()
        assert changed != original
        if len(changed) == len(original):
            assert sum(a != b for a, b in zip(changed, original, strict=True)) == 1, mutant.change
    changes = " ".join(mutant.change for mutant in found)
    kinds = ("Lt -> LtE", "And -> Or", "Add -> Sub", "without Not", "3 -> 4", "range one", "Continue -> Break")
    for kind in (*kinds, "True -> False", "lower bound + 1", "index + 1", "return None", "negated condition"):
        assert kind in changes


def test_lines_above_the_first_are_left_alone(mutants):
    whole, below = list(mutants(SOURCE)), list(mutants(SOURCE, first_line=5))
    assert 0 < len(below) < len(whole)
    assert all(mutant.source.startswith("def helper(x):\n    return x + 1\n") for mutant in below)
    assert [mutant.change for mutant in mutants(SOURCE, first_line=13)]


def test_the_recorded_comparison_with_evalplus_is_complete(repo_root):
    record = json.loads((repo_root / "benchmarks/results/mutants.json").read_text())
    assert record["mutants"] == sum(record["agreement"].values()) >= 1000
    disagreeing = sum(n for name, n in record["agreement"].items() if len(set(name.replace(",", "").split()[1::2])) > 1)
    assert disagreeing == len(record["disagreements"])
    assert all(entry["reason"] for entry in record["disagreements"])
    assert len(record["survivors"]) == record["agreement"]["ours passed, evalplus passed"]


def test_the_recorded_reference_solutions_meet_the_promise(repo_root):
    runs = json.loads((repo_root / "benchmarks/results/canonical.json").read_text())["runs"]
    least = {"humaneval": 164, "humaneval+": 164, "mbpp": 970, "mbpp-sanitized": 426, "mbpp+": 398}
    for name, count in least.items():
        assert runs[name]["passed"] >= count
    for name, run in runs.items():
        assert run["unexplained"] == [], name
        assert run["layers"]["hostile_programs"], "judged as hostile programs are"


@pytest.mark.slow
def test_wrong_programs_get_evalplus_own_verdicts(repo_root, benchmarks_dir, tmp_path):
    """One mutant of every solution, judged here and by evalplus' harness in an environment of its own."""
    python = os.environ.get("RA3_EVALPLUS_PYTHON")
    if not python:
        pytest.skip("RA3_EVALPLUS_PYTHON names no Python of an environment with evalplus 0.3.1")
    data = benchmarks_dir / "humanevalplus" / "HumanEvalPlus-Mini-v0.1.10.jsonl.gz"
    out = tmp_path / "mutants.json"
    command = [sys.executable, "benchmarks/mutants.py", "--data", data, "--evalplus", python, "--out", out]
    done = subprocess.run([*command, "--per-task", "1", "--seed", "1"], cwd=repo_root, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr  # 1: a disagreement that nobody has looked at yet
    record = json.loads(out.read_text())
    assert record["versions"]["evalplus"] == "0.3.1" and record["mutants"] >= 160
    known = (
        "HumanEval/32 ",
        "HumanEval/39 ",
    )  # evalplus fails find_zero whatever it does; luck decides about prime_fib
    assert [entry["id"] for entry in record["disagreements"] if not entry["id"].startswith(known)] == []
    assert record["agreement"]["ours failed, evalplus failed"] > 140
