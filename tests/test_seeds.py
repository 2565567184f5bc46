"""The table over seeds, on made-up records whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ra3_lab.commands.study import render
from ra3_lab.evaluate.passk import paired_difference_ci
from ra3_lab.evaluate.seeds import ARM_MEANS, LATENT_MEANS, PAIRS, summarise_seeds

TASKS, SAMPLES = 40, 4


def made_up(seed: int, rates: dict[str, float], draw: np.random.Generator) -> dict:
    """A record as the study writes it; `rates` is each arm's chance that a sample passes."""
    correct = {arm: (draw.random((TASKS, SAMPLES)) < rate).tolist() for arm, rate in rates.items()}
    row = {
        "pass@4": 0.5 + seed / 10,
        "by_length": {"6": 0.4 + seed / 10, "7": 0.2},
        "by_listing": {},
        **dict.fromkeys(ARM_MEANS, seed),
    }
    return {
        "seed": seed,
        "versions": {"python": "3.11"},
        "correct": correct,
        "summary": {"arms": dict.fromkeys(rates, row)},
        "segmentation": {"ra3": dict.fromkeys(LATENT_MEANS, seed / 2)},
    }


@pytest.fixture
def records():
    draw = np.random.default_rng(0)
    rates = {"base": 0.2, "ntp": 0.5, "prior": 0.5, "ra3": 0.8}
    return [made_up(seed, rates, draw) for seed in range(3)]


def test_an_arm_is_the_mean_of_its_seeds(records):
    table = summarise_seeds(records)
    assert table["seeds"] == [0, 1, 2] and list(table["arms"]) == ["base", "ntp", "prior", "ra3"]
    for arm, row in table["arms"].items():
        by_hand = [sum(map(sum, r["correct"][arm])) / (TASKS * SAMPLES) for r in records]
        assert row["by_seed"] == pytest.approx(by_hand)
        assert row["pass@1"] == pytest.approx(sum(by_hand) / 3)
        assert row["ci95"][0] < row["pass@1"] < row["ci95"][1]
        assert row["pass@4"] == pytest.approx(0.6)
        assert row["by_length"] == pytest.approx({"6": 0.5, "7": 0.2})
        assert all(row[key] == 1 for key in ARM_MEANS)
    assert table["segmentation"] == {"ra3": dict.fromkeys(LATENT_MEANS, 0.5)}


def test_differences_are_paired_by_task_and_seed(records):
    table = summarise_seeds(records)
    assert [(d["a"], d["b"]) for d in table["differences"]] == list(PAIRS)
    passed = {arm: [np.mean(r["correct"][arm], axis=1) for r in records] for arm in ("ra3", "prior")}
    assert table["differences"][0] == {
        "a": "ra3",
        "b": "prior",
        **paired_difference_ci(passed["ra3"], passed["prior"])._asdict(),
    }
    for record in records:  # an arm that is the other plus a constant differs by it with certainty
        record["correct"]["ntp"] = [[True, False]] * TASKS
        record["correct"]["base"] = [[False, False]] * TASKS
    last = summarise_seeds(records)["differences"][-1]
    assert (last["mean"], last["low"], last["high"]) == (0.5, 0.5, 0.5)


def test_a_pair_needs_both_arms(records):
    for record in records:
        del record["correct"]["prior"]
    pairs = [(d["a"], d["b"]) for d in summarise_seeds(records)["differences"]]
    assert pairs == [("ra3", "ntp"), ("ra3", "base"), ("ntp", "base")]


def test_the_table_is_plain_json_and_the_doubtful_difference_is_printed_first(records):
    table = summarise_seeds(records)
    assert json.loads(json.dumps(table)) == table
    lines = render(table).splitlines()
    assert lines[0].startswith("prior - ntp") and lines[0].endswith("the interval holds 0")
    assert lines[1].startswith("ra3 - prior: +") and "holds 0" not in "".join(lines[1:])
    assert [line.split()[0] for line in lines[len(PAIRS) : len(PAIRS) + 4]] == ["base", "ntp", "prior", "ra3"]
    assert lines[len(PAIRS) + 4].startswith("latents of ra3: precision 0.50")


def test_no_records_and_different_tasks_are_refused(records):
    with pytest.raises(ValueError, match="one per seed"):
        summarise_seeds([])
    records[0]["correct"]["ra3"] = records[0]["correct"]["ra3"][:-1]
    with pytest.raises(ValueError):
        summarise_seeds(records)
