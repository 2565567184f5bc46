"""Samples are kept as they are drawn: a stopped `ra3-lab eval` goes on, and what was drawn otherwise is left alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ra3_lab.cli import main
from ra3_lab.evaluate import sampling
from ra3_lab.evaluate.drawn import DrawnSamples
from ra3_lab.evaluate.samples import read_samples
from ra3_lab.evaluate.sampling import sample_completions
from ra3_lab.tasks.protocol import DataSource, TaskSet
from ra3_lab.tasks.registry import load_tasks

EVAL = ["eval", "--bench", "pipelines", "--split", "rlvr", "--tasks", "5", "--n", "2", "--k", "1", "--max-new", "20"]
EVAL += ["--device", "cpu", "--threads", "1", "--skip-self-test", "--isolation", "process"]


@pytest.fixture
def small_batches(monkeypatch):
    """Two tasks of two samples in a batch; returns the number of tasks in every batch drawn."""
    monkeypatch.setattr(sampling, "ROWS_AT_ONCE", 4)
    drawn, usual = [], sampling.sample_groups

    def counted(decoder, tokenizer, prompts, *rest, **settings):
        drawn.append(len(prompts))
        return usual(decoder, tokenizer, prompts, *rest, **settings)

    monkeypatch.setattr(sampling, "sample_groups", counted)
    return drawn


@pytest.fixture
def whole(small_batches, tmp_path):
    """The file of an eval that nothing stopped."""
    path = tmp_path / "whole.jsonl"
    assert main([*EVAL, "--samples-out", str(path)]) == 0
    assert small_batches == [2, 2, 1]
    small_batches.clear()
    return path


def test_a_stopped_eval_goes_on_to_the_same_file(whole, small_batches, tmp_path, monkeypatch, capsys):
    path, counted = tmp_path / "s.jsonl", sampling.sample_groups

    def stopped(*given, **settings):
        if len(small_batches) == 1:
            raise KeyboardInterrupt
        return counted(*given, **settings)

    with monkeypatch.context() as changed:
        changed.setattr(sampling, "sample_groups", stopped)
        assert main([*EVAL, "--samples-out", str(path)]) == 130
    assert f"what was sampled is in {path}. Give the same command again to go on" in capsys.readouterr().err
    assert whole.read_text().startswith(path.read_text()) and len(path.read_text().splitlines()) == 4
    assert main([*EVAL, "--samples-out", str(path), "--json", str(tmp_path / "found.json")]) == 0
    assert small_batches == [2, 2, 1] and path.read_bytes() == whole.read_bytes()
    summary = json.loads((tmp_path / "found.json").read_text())["summary"]
    assert summary["samples"] == 10 and summary["sampling"]["tokens"] == sum(
        json.loads(line)["tokens"] for line in whole.read_text().splitlines()
    )
    assert main([*EVAL, "--samples-out", str(path)]) == 0
    assert small_batches == [2, 2, 1], "nothing is drawn twice"


@pytest.mark.parametrize(("lines", "batches"), [(1, [2, 2, 1]), (4, [2, 1]), (7, [2, 1]), (9, [1])])
def test_a_batch_that_a_kill_tore_is_drawn_again(whole, small_batches, tmp_path, lines, batches):
    written, path = whole.read_text().splitlines(keepends=True), tmp_path / "torn.jsonl"
    path.write_text("".join(written[:lines]) + written[lines][:10])
    assert main([*EVAL, "--samples-out", str(path)]) == 0
    assert path.read_bytes() == whole.read_bytes() and small_batches == batches


@pytest.mark.parametrize(
    "other", [["--seed", "1"], ["--temperature", "0.5"], ["--tasks", "4"], ["--precision", "bf16"]]
)
def test_nothing_is_added_to_what_was_drawn_otherwise(whole, small_batches, other, capsys):
    before = whole.read_bytes()
    assert main([*EVAL, *other, "--samples-out", str(whole)]) == 2
    assert "drawn with other settings, of other tasks or from another model: choose" in capsys.readouterr().err
    assert whole.read_bytes() == before and small_batches == []


@pytest.mark.parametrize("text", ["mine, without a line's end", '{"task_id": "a", "completion": "x"}\n', "[1]\n", "\n"])
def test_a_file_of_another_kind_is_left_alone(text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ra3_lab.models.trained.load_to_read", lambda *_: pytest.fail("the work has begun"))
    path = tmp_path / "mine.jsonl"
    path.write_text(text)
    assert main([*EVAL, "--samples-out", str(path)]) == 2
    assert "holds no samples of ra3-lab eval to go on from: choose another" in capsys.readouterr().err
    assert path.read_text() == text


def test_prompts_without_room_are_in_the_file_too(tiny_thinker, small_tokenizer, tmp_path):
    task = load_tasks("own")[0]
    long = replace(task, task_id="long", prompt="x = 1\n" * 2000)
    tasks = TaskSet((long, replace(task, prompt="x = 1\n")), DataSource("own", "here.jsonl", "0" * 64))
    keep = DrawnSamples(tmp_path / "s.jsonl")
    keep.claim({})
    samples, found = sample_completions(tiny_thinker, small_tokenizer, tasks, 2, max_new=4, keep=keep)
    assert found["prompts_too_long"] == 1 and [sample.text for sample in samples[:2]] == ["", ""]
    assert read_samples(tmp_path / "s.jsonl", ["long", task.task_id]) == samples
    again = DrawnSamples(tmp_path / "s.jsonl")
    again.claim({})
    assert sample_completions(tiny_thinker, small_tokenizer, tasks, 2, max_new=4, keep=again) == (samples, found)
