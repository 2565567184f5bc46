"""Latents against truth, against counts by hand, simulation and direct sums."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ra3_lab.evaluate import (
    LatentPlacement,
    mean_duration,
    mean_tokens,
    normalized_mutual_information,
    random_placement_f1,
    segmentation_score,
    shuffled_mutual_information,
    think_share,
    thought_durations,
)


@st.composite
def placements(draw):
    lines = draw(st.integers(1, 12))
    some_lines = st.frozensets(st.integers(0, lines - 1))
    return LatentPlacement(draw(some_lines), draw(some_lines), lines)


@given(st.lists(placements(), max_size=6))
def test_scores_equal_those_of_a_line_by_line_count(programs):
    true_positive = false_positive = false_negative = 0
    for program in programs:
        for line in range(1, program.lines):
            thought, start = line in program.thoughts, line in program.starts
            true_positive += thought and start
            false_positive += thought and not start
            false_negative += start and not thought
    score = segmentation_score(programs)
    if true_positive:
        assert score.precision == true_positive / (true_positive + false_positive)
        assert score.recall == true_positive / (true_positive + false_negative)
        assert score.f1 == pytest.approx(2 / (1 / score.precision + 1 / score.recall))
    else:
        assert score == (0.0, 0.0, 0.0)


def test_the_first_line_is_no_free_hit():
    assert segmentation_score([LatentPlacement({0}, {0, 3}, 6)]) == (0.0, 0.0, 0.0)
    assert segmentation_score([LatentPlacement({3}, {0, 3}, 6)]) == (1.0, 1.0, 1.0)
    assert segmentation_score([LatentPlacement({2}, {0, 3}, 6)]).f1 == 0.0  # one line off is a miss


def test_long_programs_weigh_more():
    short, long = LatentPlacement({1}, {1}, 3), LatentPlacement(range(1, 10), {20}, 30)
    assert segmentation_score([short, long]).precision == 0.1


def test_random_placement_agrees_with_simulation():
    programs = [LatentPlacement({0, 2, 3}, {0, 3, 5}, 8), LatentPlacement({1}, {0, 2}, 4)]
    countable = [(number, line) for number, p in enumerate(programs) for line in range(1, p.lines)]
    rng, found = np.random.default_rng(0), []
    for _ in range(4000):
        chosen = {countable[place] for place in rng.choice(len(countable), size=3, replace=False)}
        placed = [{line for number, line in chosen if number == which} for which in range(2)]
        random = [LatentPlacement(t, p.starts, p.lines) for t, p in zip(placed, programs, strict=True)]
        found.append(segmentation_score(random).f1)
    assert random_placement_f1(programs) == pytest.approx(np.mean(found), abs=0.01)
    assert random_placement_f1([]) == random_placement_f1([LatentPlacement({0}, {0}, 1)]) == 0.0
    everywhere = [LatentPlacement(range(10), {0, 4, 7}, 10)]  # a thought at every line leaves nothing to chance
    assert random_placement_f1(everywhere) == pytest.approx(segmentation_score(everywhere).f1)


@given(placements())
def test_durations_cover_the_lines_from_the_first_thought_on(program):
    durations = thought_durations(program.thoughts, program.lines)
    assert len(durations) == len(program.thoughts) and all(tau >= 1 for tau in durations)
    assert sum(durations) == (program.lines - min(program.thoughts) if program.thoughts else 0)


def test_durations_shares_and_tokens_by_hand():
    programs = [LatentPlacement({1, 4}, {0}, 6), LatentPlacement((), {0}, 4)]
    assert thought_durations([4, 1], 6) == [3, 2]
    assert mean_duration(programs) == 2.5
    assert think_share(programs) == 0.2
    assert mean_tokens([2, 4, 6]) == 4.0
    assert think_share([]) == 0.0
    assert json.dumps([mean_duration(programs[1:]), mean_tokens([])]) == "[null, null]"


@pytest.mark.parametrize(("thoughts", "starts", "lines"), [({6}, {0}, 6), ({-1}, {0}, 6), ({0}, {9}, 6), ((), (), 0)])
def test_lines_outside_the_body_are_refused(thoughts, starts, lines):
    with pytest.raises(ValueError, match="line"):
        LatentPlacement(thoughts, starts, lines)


def direct_information(labels_a, labels_b):
    """I(A; B) as the double sum over p(a, b) log p(a, b) / (p(a) p(b)), in nats."""
    n, total = len(labels_a), 0.0
    for a in set(labels_a):
        for b in set(labels_b):
            both = sum(x == a and y == b for x, y in zip(labels_a, labels_b, strict=True)) / n
            if both:
                total += both * math.log(both / (labels_a.count(a) / n * labels_b.count(b) / n))
    return total


pairs_of_labels = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("uvw")), min_size=1, max_size=30)


def _shares(labels):
    return [list(labels).count(value) / len(labels) for value in set(labels)]


@given(pairs_of_labels)
def test_nmi_equals_the_double_sum(pairs):
    labels_a, labels_b = [a for a, _ in pairs], [b for _, b in pairs]
    entropies = [-sum(share * math.log(share) for share in _shares(ls)) for ls in (labels_a, labels_b)]
    found = normalized_mutual_information(labels_a, labels_b)
    if sum(entropies) == 0:
        assert found == 1.0
    else:
        assert found == pytest.approx(direct_information(labels_a, labels_b) / np.mean(entropies), abs=1e-9)
    assert 0.0 <= found <= 1.0
    assert found == pytest.approx(normalized_mutual_information(labels_b, labels_a), abs=1e-12)
    renamed = [f"skill {b}" for b in labels_b]
    assert found == pytest.approx(normalized_mutual_information(labels_a, renamed), abs=1e-12)


def test_nmi_edge_cases():
    assert normalized_mutual_information(["a"], ["b"]) == 1.0
    assert normalized_mutual_information(["a", "a"], [1, 1]) == 1.0
    assert normalized_mutual_information(["a", "a"], [1, 2]) == 0.0
    assert normalized_mutual_information(list("aabb"), [1, 1, 2, 3]) == pytest.approx(2 / 2.5)
    for labels in (([], []), (["a"], ["a", "b"])):
        with pytest.raises(ValueError, match="labels"):
            normalized_mutual_information(*labels)


def test_shuffling_shows_what_rich_labels_earn_by_chance():
    rng = np.random.default_rng(0)
    skills = rng.integers(4, size=200).tolist()
    all_different, few = list(range(200)), rng.integers(4, size=200).tolist()
    assert shuffled_mutual_information(few, skills) < 0.05
    by_chance = shuffled_mutual_information(all_different, skills, draws=5)
    assert by_chance > 0.3
    assert by_chance == pytest.approx(normalized_mutual_information(all_different, skills))
