"""The pipelines world: shipped splits are what the generator makes, disjoint, solvable, and every step matters."""

from __future__ import annotations

import json
import random
from itertools import combinations, islice

import pytest

from ra3_lab.evaluate.latents import true_trace
from ra3_lab.pretrain.corpus import CorpusConfig, pipeline_traces
from ra3_lab.resources import data_dir
from ra3_lab.sandbox import Calls, Program, judge_batch
from ra3_lab.tasks.pipelines import (
    ENTRY_POINT,
    SPLITS,
    WorldConfig,
    build_splits,
    draw_task,
    load_split,
    make_tasks,
    read_tasks,
    task_from_record,
    task_to_json,
)
from ra3_lab.tasks.skills import BY_NAME, RARE


@pytest.fixture(scope="module")
def splits():
    return {name: load_split(name) for name in SPLITS}


def test_the_generator_reproduces_the_shipped_splits(splits):
    for name, tasks in build_splits().items():
        text = "".join(task_to_json(task) + "\n" for task in tasks)
        assert (data_dir() / "pipelines" / f"{name}.jsonl").read_text() == text, name


def test_no_program_is_in_two_splits(splits):
    signatures = {name: {task.signature for task in tasks} for name, tasks in splits.items()}
    for a, b in combinations(signatures, 2):
        assert not signatures[a] & signatures[b], (a, b)
    for name, tasks in splits.items():
        assert len(signatures[name]) == len(tasks)


def test_held_out_pipelines_are_longer_than_any_training_data(splits):
    trained = max(len(t.steps) for name in ("expert", "rlvr") for t in splits[name])
    longest = max(trained, CorpusConfig().steps[1])
    assert all(len(t.steps) > longest for name in ("validation", "test") for t in splits[name])


def test_pretraining_leaves_excluded_programs_out():
    config = CorpusConfig(steps=(1, 1))
    everything = {text.code for text in islice(pipeline_traces(0, config, set()), 400)}
    banned = {(("return_sum", None),)}
    kept = {text.code for text in islice(pipeline_traces(0, config, banned), 400)}
    assert any("return result" in code for code in everything)
    assert not any("return result" in code for code in kept)


def test_expert_solutions_pass_and_programs_that_skip_a_step_fail(splits):
    tasks = splits["test"][:40] + splits["expert"][:40]
    good = [Program(t.prompt + "".join(t.lines), Calls(ENTRY_POINT, t.pairs)) for t in tasks]
    assert all(v.passed for v in judge_batch(good))
    bad = []
    for task in tasks:
        step = random.Random(task.task_id).randrange(len(task.steps) - 1)
        bounds = [*task.starts, len(task.lines)]
        kept = task.lines[: bounds[step]] + task.lines[bounds[step + 1] :]
        bad.append(Program(task.prompt + "".join(kept), Calls(ENTRY_POINT, task.pairs)))
    assert not any(v.passed for v in judge_batch(bad))


def test_true_thoughts_leave_the_program_as_it_is(splits):
    for task in splits["test"][:20]:
        trace = true_trace(task)
        assert trace.code == task.prompt + "".join(task.lines)
        assert trace.thought_lines == task.starts


def test_half_of_the_lists_are_in_order_and_say_so_and_letters_start_anywhere(splits):
    tasks = splits["expert"]
    listed = [[line.split()[0] for line in t.prompt.splitlines()[2:-1]] for t in tasks]
    said = [(task.in_order, labels == sorted(labels)) for task, labels in zip(tasks, listed, strict=True)]
    assert 0.45 < sum(claimed for claimed, _ in said) / len(said) < 0.55
    assert all(sorted_ for claimed, sorted_ in said if claimed)
    assert sum(sorted_ for claimed, sorted_ in said if not claimed) < 0.02 * len(said)
    assert len({min(labels) for labels in listed}) > 15


def test_rare_skills_are_rare_in_pretraining_and_common_in_expert_code(splits):
    rare = {skill.name for skill in RARE}
    rng = random.Random(0)
    world = WorldConfig(steps=(1, 4), rare_rate=0.01)
    drawn = [step.skill for _ in range(2000) for step in draw_task(rng, world).steps]
    expert = [step.skill for task in splits["expert"] for step in task.steps]
    assert 0 < sum(name in rare for name in drawn) / len(drawn) < 0.02
    assert sum(name in rare for name in expert) / len(expert) > 0.15


def test_task_records_survive_a_round_trip_and_newer_ones_are_refused(splits, tmp_path):
    task = splits["test"][0]
    once = task_from_record(json.loads(task_to_json(task)))
    assert once == task_from_record(json.loads(task_to_json(once)))
    with pytest.raises(ValueError, match="schema_version 99"):
        task_from_record(json.loads(task_to_json(task)) | {"schema_version": 99})
    path = tmp_path / "tasks.jsonl"
    path.write_text(task_to_json(task) + "\n{broken\n")
    with pytest.raises(ValueError, match=r"tasks\.jsonl:2"):
        list(read_tasks(path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": (0, 2)}, "steps"),
        ({"steps": (5, 3)}, "steps"),
        ({"rare_rate": 2.0}, "rare_rate"),
        ({"paraphrases": 3}, "paraphrases"),
    ],
)
def test_bad_knobs_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        WorldConfig(**arguments)


def test_asking_for_more_tasks_than_exist_is_an_error():
    with pytest.raises(ValueError, match="distinct tasks"):
        make_tasks(0, 50, WorldConfig(steps=(1, 1)), "few")


def test_unknown_split_names_the_known_ones():
    with pytest.raises(ValueError, match="validation"):
        load_split("nowhere")


def test_every_skill_starts_with_a_line_that_its_thought_can_predict():
    for skill in BY_NAME.values():
        value = skill.values[0] if skill.values else None
        assert skill.lines(value) and all(
            line.startswith("    ") and line.endswith("\n") for line in skill.lines(value)
        )
