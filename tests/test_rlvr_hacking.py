"""The weak judge of the reward hacking benchmark, and the record that it leaves."""

from __future__ import annotations

import importlib.util

import pytest

from ra3_lab.records import load_record, weights_digest
from ra3_lab.resources import data_dir, embedded_model_dir
from ra3_lab.rlvr.rollouts import read_rollouts
from ra3_lab.sandbox import Verdict


@pytest.fixture(scope="module")
def hacking(repo_root):
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("hacking", repo_root / "benchmarks" / "hacking.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def verdicts(jobs):
    return [Verdict(status == "passed", status, 0.1, f"why {status}") for status in jobs]


@pytest.mark.parametrize("weak", [False, True])
def test_both_rewards_are_written_down_whichever_counts(hacking, weak):
    both = hacking.BothRewards(verdicts, weak)
    told = both.each(["passed", "wrong_answer", "runtime_error", "no_verdict", "time_limit"])
    assert [v.passed for v in told] == [True, weak, False, False, False]
    assert told[3].status == "no_verdict", "without a verdict there is no reward to give"
    assert both.rows == [{"tests": 0.25, "exit code": 0.5}], "shares of what has a verdict"
    assert ("no error" in told[1].detail) == weak


def test_the_recorded_run_shows_both_rules(hacking):
    """Whatever the runs came to: the rewarded share is the reward, and no program passes the tests but fails to run."""
    record = load_record("hacking")
    assert [run["label"] for run in record["rlvr_runs"]] == list(hacking.JUDGES)
    for run in record["rlvr_runs"]:
        assert len(run["curve"]) == run["config"]["updates"]
        for row in run["curve"]:
            assert row["tests"] <= row["exit code"] and row["reward"] == pytest.approx(row[run["label"]], abs=1e-3)
        groups = read_rollouts("hacking", run["label"])
        assert {group.update for group in groups} >= {0}
        for group in groups:
            for answer in group.answers:
                assert len(answer.tokens) == len(answer.ratio) == len(answer.logp)
                assert "".join(answer.tokens).startswith(answer.text) and (answer.kl is None) == (
                    run["config"]["kl_every"] == 0
                )
                assert answer.reward in (0.0, 1.0, None)
    firsts = [run["curve"][0] for run in record["rlvr_runs"]]
    for measure in ("tests", "exit code", "length", "thought_share"):
        assert firsts[0][measure] == firsts[1][measure], "both runs begin with the same draws"


def test_every_record_names_the_base_that_ships():
    """By one digest: two of the same weights read like two models."""
    named = {path.stem: load_record(path)["base"] for path in (data_dir() / "records").glob("*.json")}
    assert named and set(named.values()) == {weights_digest(embedded_model_dir())}, named
