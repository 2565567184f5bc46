"""Where no hard isolation holds, programs of the embedded model run all the same, with a warning; no other model's."""

import copy
import warnings

import pytest

from ra3_lab import EStepConfig, MidtrainConfig, MStepConfig, api
from ra3_lab.evaluate import programs
from ra3_lab.evaluate.programs import evaluate_programs, is_embedded
from ra3_lab.models.load import load_model
from ra3_lab.sandbox import Verdict, isolation
from ra3_lab.sandbox.isolation import Unavailable
from ra3_lab.tasks.pipelines import load_split


@pytest.fixture(scope="module")
def embedded():
    return load_model("embedded", "cpu")


@pytest.fixture(params=["with fork", "without"])
def nothing_holds(request, monkeypatch):
    """As on a system without any isolation; without fork, as on Windows."""
    monkeypatch.setattr(isolation, "HARD", {})
    if request.param == "without":
        build = isolation.build
        monkeypatch.setattr(isolation, "build", lambda *given: build(*given) | {"forks": False})


def test_the_embedded_model_is_known_also_after_training_and_no_other_is(embedded, tiny_thinker, tmp_path):
    model, tokenizer = embedded
    trained = copy.deepcopy(model)
    trained.get_input_embeddings().weight.data[0] += 1.0
    assert is_embedded(model) and is_embedded(trained)
    model.save_pretrained(tmp_path)
    tokenizer.hf.save_pretrained(tmp_path)
    assert not is_embedded(load_model(str(tmp_path), "cpu")[0])
    assert not is_embedded(tiny_thinker) and not is_embedded(object())


def test_midtraining_in_this_process_keeps_the_mark(embedded):
    model, tokenizer = embedded
    config = MidtrainConfig(rounds=1, estep=EStepConfig(updates=1), mstep=MStepConfig(updates=1, programs=2))
    result = api.ntp(model, tokenizer, api.load_traces("pipelines:validation")[:4], config)
    assert is_embedded(result.model)


def test_where_nothing_holds_only_our_own_model_goes_on(embedded, tiny_thinker, small_tokenizer, nothing_holds):
    tasks = load_split("validation")[:2]
    with pytest.warns(UserWarning, match="Going on with isolation='process'"):
        scores = evaluate_programs(*embedded, tasks, 1, max_new=8)
    assert sum(scores.statuses.values()) == 2
    with pytest.raises(Unavailable, match="choose isolation='process'"):
        evaluate_programs(tiny_thinker, small_tokenizer, tasks, 1, max_new=8)
    with pytest.raises(Unavailable, match="choose isolation='process'"):
        api.evaluate(tiny_thinker, small_tokenizer, tasks, samples=1)


def test_who_asks_for_it_by_name_is_not_warned(embedded, nothing_holds):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        scores = evaluate_programs(*embedded, load_split("validation")[:1], 1, max_new=8, isolation="process")
    assert sum(scores.statuses.values()) == 1


def test_a_program_without_a_verdict_is_judged_again_and_never_counts_as_failed(embedded, monkeypatch):
    """A sandbox that fails lowers no score: one failure in a hundred would have been a point of pass@1."""
    asked, fails = [], [1]

    def judge(jobs, *_, **__):
        asked.append(len(jobs))
        told = [Verdict(True, "passed", 0.0, "")] * len(jobs)
        return [Verdict(False, "no_verdict", 0.0, "the worker ended"), *told[1:]] if len(asked) in fails else told

    monkeypatch.setattr(programs, "judge_batch", judge)
    tasks = load_split("validation")[:2]
    scores = evaluate_programs(*embedded, tasks, 2, max_new=4)
    assert asked == [4, 1] and scores.correct.all() and scores.statuses == {"passed": 4}
    fails += [3, 4]
    with pytest.raises(OSError, match=r"no verdict on 1 of 4 programs.*the worker ended.*doctor"):
        evaluate_programs(*embedded, tasks, 2, max_new=4)
