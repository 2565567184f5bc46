"""The demo's RLVR stage and its section in the report."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from test_rlvr_run import CONFIG, TASKS, judge

from ra3_lab.explore.stage import describe_rlvr, figure_rlvr, rlvr_section
from ra3_lab.rlvr.rollouts import seen_group
from ra3_lab.rlvr.stage import rlvr_stage, short_config


@pytest.fixture(scope="module")
def record(tiny_thinker, small_tokenizer):
    config = replace(CONFIG, updates=6, prompts=5, group=8, evaluate_every=6, groups_every=5)
    said: list[str] = []
    made = rlvr_stage(tiny_thinker, small_tokenizer, TASKS, TASKS[:2], config, judge, said.append, "ra3")
    assert len(said) == 6 and said[0].startswith("RLVR ra3: update 1 of 6, reward 0.")
    return json.loads(json.dumps(made))


def test_the_record_has_curve_looks_groups_and_times(record):
    assert [row["update"] for row in record["curve"]] == list(range(6))
    assert [update for update, _ in record["validation"]] == [0, 6]
    assert {seen_group(group).update for group in record["groups"]} == {0, 5}
    parts = record["seconds"]
    assert parts["training"] > 0 and {"sampling", "judging", "update"} <= set(parts)
    assert record["config"]["prompts"] == 5 and record["label"] == "ra3"


def run(label, rewards, validation=()):
    curve = [{"update": n, "reward": reward} for n, reward in enumerate(rewards)]
    config = {"prompts": 8, "group": 8}
    return {
        "label": label,
        "config": config,
        "curve": curve,
        "validation": list(validation),
        "seconds": {"training": 9},
    }


def test_the_finding_is_about_validation_where_there_is_one():
    better = run("ra3", [0.4, 0.5, 0.6], [[0, 0.40], [3, 0.60]])
    worse = run("ntp", [0.4, 0.3, 0.2], [[0, 0.45], [3, 0.30]])
    twin = describe_rlvr([worse, better])
    assert twin is not None and twin.title.startswith("3 updates of RLVR: RA3 ends at 60.0")
    assert "NTP at 30.0" in twin.title and "it raises the pass@1" in twin.text
    assert [row[0] for row in twin.rows] == ["NTP", "RA3"]
    alone = describe_rlvr([run("ntp", [0.4, 0.3, 0.2])])
    assert alone is not None and "20.0" in alone.title and "does not raise the mean reward" in alone.text


def test_runs_of_different_length_are_told_as_such():
    twin = describe_rlvr([run("ntp", [0.4]), run("ra3", [0.5, 0.6, 0.7])])
    assert twin is not None and twin.title.startswith("1 to 3 updates of RLVR: RA3")


def test_the_figure_has_dots_and_a_running_mean():
    figure = figure_rlvr([run("ra3", [0.0, 0.6, 0.6, 0.9])])
    assert figure is not None
    dots, line = figure.data
    assert list(dots.y) == pytest.approx([0, 60, 60, 90]) and list(line.y) == pytest.approx([0, 30, 40, 70])


def test_the_section_is_html_and_missing_without_runs(record):
    assert rlvr_section(None) == rlvr_section([]) == rlvr_section([run("ra3", [])]) == ""
    html = rlvr_section([record, run("<b>", [0.1, 0.2])], plotlyjs=False)
    assert 'id="rlvr"' in html and "<b>" not in html and "plotly.min" not in html
    assert html.count("<tr>") == 3


def test_the_short_stage_is_a_valid_run():
    config = short_config(seed=3, updates=12)
    assert (config.seed, config.updates, config.evaluate_every, config.groups_every) == (3, 12, 12, 11)
