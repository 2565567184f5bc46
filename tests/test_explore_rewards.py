"""Curves of recorded RLVR runs, and the rules and texts that the recorded failures are made with."""

import importlib.util
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
    assert view.twin.rows[0] == ("a", "4", "0.000", "0.900", "+0.900", "0.900")
    assert [trace.name for trace in view.figure.data] == ["a", "b"]


def test_only_measures_that_a_run_kept_can_be_chosen():
    browser = rlvr_curves({"title": "T", "rlvr_runs": [run("a", [0.0, 1.0], [(0, 0.1), (2, 0.3)])]})
    assert browser.controls[0].values == ("reward", "validation", "length")
    with pytest.raises(ValueError, match="no run has it"):
        draw_curves([run("a", [0.0])], "tests")
    with pytest.raises(ValueError, match="no RLVR runs"):
        rlvr_curves({"title": "T"})


@pytest.mark.parametrize("name", ["starts", "failures", "hacking"])
def test_recorded_runs_can_be_drawn(name):
    browser = rlvr_curves(load_record(name))
    for value in browser.controls[0].values:
        assert browser.view(measure=value).to_text()


@pytest.fixture(scope="module")
def failures():
    path = Path(__file__).resolve().parent.parent / "benchmarks" / "failures.py"
    spec = importlib.util.spec_from_file_location("failures", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
