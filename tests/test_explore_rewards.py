"""Curves of recorded RLVR runs, and the rules and texts that the recorded failures are made with."""

import importlib.util
import json
from pathlib import Path

import pytest

from ra3_lab.explore.rewards import draw_curves, rlvr_curves
from ra3_lab.records import load_record
from ra3_lab.sandbox import Calls, Limits, Program, Verdict
from ra3_lab.tasks.pipelines import load_split


def run(label, rewards, validation=()):
    curve = [{"update": i, "reward": reward, "length": 10 * i} for i, reward in enumerate(rewards)]
    return {"label": label, "curve": curve, "validation": [list(pair) for pair in validation], "groups": []}


def test_each_run_is_told_from_first_to_last():
    view = draw_curves([run("a", [0.0, 0.1, 0.2, 0.9]), run("b", [0.5])], "reward")
    assert view.twin.title == "Reward of the batch: a 0.00 to 0.90; b 0.50 to 0.50"
    assert view.twin.rows[0] == ("a", "1", "4", "0.000", "0.900", "+0.900", "0.900")
    assert [trace.name for trace in view.figure.data] == ["a", "b"]


def test_only_measures_that_a_run_kept_can_be_chosen():
    browser = rlvr_curves({"title": "T", "rlvr_runs": [run("a", [0.0, 1.0], [(0, 0.1), (2, 0.3)])]})
    assert browser.controls[0].values == ("reward", "validation", "length")
    with pytest.raises(ValueError, match="no run has it"):
        draw_curves([run("a", [0.0])], "tests")
    with pytest.raises(ValueError, match="no RLVR runs"):
        rlvr_curves({"title": "T"})


def test_a_run_without_the_measure_is_named():
    runs = [run("a", [0.0, 1.0], [(0, 0.1), (2, 0.3)]), run("b", [0.0, 1.0])]
    assert draw_curves(runs, "validation").twin.text.endswith("Without such values: b.")
    assert "Without" not in draw_curves(runs, "reward").twin.text


def test_a_few_updates_are_marked_one_by_one():
    assert draw_curves([run("a", [0.0, 0.1, 0.2])], "reward").figure.layout.xaxis.dtick == 1
    assert draw_curves([run("a", [0.0] * 40)], "reward").figure.layout.xaxis.dtick is None


def test_runs_of_one_update_are_drawn_and_of_none_refused():
    browser = rlvr_curves({"title": "T", "rlvr_runs": [run("a", [0.25])]})
    assert browser.controls[0].values == ("reward", "length") and "a 0.25 to 0.25" in browser.to_text()
    with pytest.raises(ValueError, match="made no update"):
        rlvr_curves({"title": "T", "rlvr_runs": [run("a", [])]})


@pytest.mark.parametrize("name", ["starts", "failures", "hacking"])
def test_recorded_runs_can_be_drawn(name):
    browser = rlvr_curves(load_record(name))
    for value in browser.controls[0].values:
        assert browser.view(measure=value).to_text()


def benchmark(name):
    path = Path(__file__).resolve().parent.parent / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def failures():
    return benchmark("failures")


def test_runs_of_one_label_are_seeds():
    view = draw_curves([run("a", [0.0, 0.2]), run("b", [0.5, 0.5]), run("a", [0.2, 0.6])], "reward")
    assert view.twin.title == "Reward of the batch: a 0.10 to 0.40; b 0.50 to 0.50"
    assert view.twin.rows[0][1] == "2" and "means over 2 seeds" in view.twin.text
    assert [trace.name for trace in view.figure.data if trace.showlegend is None] == ["a", "b"]
    assert len(view.figure.data) == 4, "two thin lines for the seeds of a"


def test_a_study_of_starts_becomes_the_record_that_the_notebook_reads(tmp_path):
    for label in ("ra3", "base"):
        for seed in (1, 0):
            more = {"config": {"seed": seed}, "groups": [seed], "tokens": 1, "seconds": {}, "weights": "w"}
            what = {"what": {"start": f"/home/me/{label}-{{seed}}"}, "versions": {"torch": "2"}}
            path = tmp_path / f"run-{label}-{seed}.json"
            path.write_text(json.dumps({"schema_version": 1} | run(label, [0.0, 0.1], [(0, 0.1)]) | more | what))
    (tmp_path / "trial-ra3-0.001.json").write_text("{}")
    record = benchmark("starts").from_learning(tmp_path)
    assert [(one["label"], one["config"]["seed"]) for one in record["rlvr_runs"]] == [
        ("base", 0),
        ("base", 1),
        ("ra3", 0),
        ("ra3", 1),
    ]
    assert [one["groups"] for one in record["rlvr_runs"]] == [[0], [], [0], []]
    assert record["starts"] == {"base": "base-{seed}", "ra3": "ra3-{seed}"}, "no folders of ours"
    assert rlvr_curves(record).view(measure="reward").twin.rows[0][1] == "2"
    with pytest.raises(FileNotFoundError, match="no run-START-SEED"):
        benchmark("starts").from_learning(tmp_path / "nothing")


def test_what_failing_models_are_brought_up_on(failures):
    task = load_split("expert")[0]
    every = failures.every_line(task)
    assert None not in every.latents and every.latents[0] == task.steps[0].thought
    copied = failures.copied_line(task)
    assert [t for t, thought in enumerate(copied.latents) if thought is not None] == list(task.starts)
    assert copied.latents[task.starts[0]].strip() == task.lines[task.starts[0]].strip()
    assert every.lines == copied.lines == tuple(task.lines), "the code is the expert's"


def test_the_rule_that_pays_for_length_does_not_look_at_what_a_program_does(failures):
    tests = Calls("f", [[[1], 1]])
    jobs = [(Program("x" * size, tests), Limits()) for size in (failures.LONG, failures.LONG - 1)]
    judge = lambda jobs: [Verdict(False, "wrong_answer", 0.0, ""), Verdict(True, "passed", 0.0, "")]  # noqa: E731
    long, short = failures.pays_for_length(judge)(jobs)
    assert long.passed and long.detail == f"{failures.LONG} characters; the tests say wrong answer"
    assert not short.passed and short.detail == f"{failures.LONG - 1} characters; the tests say passed"
