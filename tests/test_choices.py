"""The effective action set: counted right, and pruned by a thought."""

from __future__ import annotations

from collections import Counter

import pytest

from ra3_lab.evaluate.choices import Choices, _choices, choices_at, effective_number, prefix
from ra3_lab.evaluate.latents import trace_of, true_trace
from ra3_lab.models.load import load_model
from ra3_lab.tasks.pipelines import load_split
from ra3_lab.trace import Trace


def test_effective_number_counts_the_likeliest_outcomes_up_to_the_mass():
    assert effective_number({"only": 3}) == 1
    assert effective_number(dict.fromkeys(range(20), 1)) == 19
    assert effective_number(dict.fromkeys(range(20), 1), mass=0.5) == 10
    assert effective_number({"a": 95, "b": 5}) == 1


def test_a_prefix_ends_before_the_line_and_its_thought():
    trace = Trace("def f():\n", ("    a\n", "    b\n", "    c\n"), (" first", None, " last"))
    assert prefix(trace, 0) == "def f():\n"
    assert prefix(trace, 2) == "def f():\n# first\n    a\n    b\n"


def test_choices_are_weighed_by_how_often_their_thought_came():
    first = {"# a": 6, "# b": 2, "    x": 2}
    found = _choices(Counter(first), {"# a": ["    x", "    x"], "# b": ["    y", "    z"]})
    assert found == Choices(lines=3, thoughts=3, lines_after_thought=1, thinks=0.8)
    unthought = _choices(Counter({"    x": 90, "    y": 10}), {})
    assert unthought == Choices(lines=2, thoughts=1, lines_after_thought=2, thinks=0.0)


def test_thoughts_prune_the_base_model_s_choices():
    model, tokenizer = load_model("embedded", "cpu")
    tasks = load_split("expert")[:4]
    states = [prefix(true_trace(task), start) for task in tasks for start in task.starts]
    thought = [
        state + f"#{step.thought}\n"
        for state, step in zip(states, (step for task in tasks for step in task.steps), strict=True)
    ]
    before, after = (choices_at(model, tokenizer, texts, 16, precision="fp32") for texts in (states, thought))

    def mean(found):
        return sum(each.lines for each in found) / len(found)

    assert mean(after) < mean(before)
    assert all(1 <= each.lines_after_thought <= 16 for each in before)
    assert before == choices_at(model, tokenizer, states, 16, precision="fp32")


def test_a_prompt_without_room_is_refused():
    model, tokenizer = load_model("embedded", "cpu")
    with pytest.raises(ValueError, match="shorten it"):
        choices_at(model, tokenizer, [prefix(trace_of(load_split("expert")[0]), 1) + "    x = 1\n" * 500], 2)
