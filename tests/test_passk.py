"""pass@k and its intervals, against enumeration and closed forms."""

from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ra3_lab.evaluate import bootstrap_ci, paired_difference_ci, pass_at_k, pass_at_k_tasks


@given(st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(data):
    n = data.draw(st.integers(1, 8))
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == float(Fraction(sum(any(s) for s in subsets), len(subsets)))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_pass_at_k_is_unbiased_and_the_plug_in_is_not(k):
    p, n = 0.3, 4
    truth = 1 - (1 - p) ** k
    unbiased = plug_in = 0.0
    for outcome in product([0, 1], repeat=n):
        c = sum(outcome)
        weight = p**c * (1 - p) ** (n - c)
        unbiased += weight * pass_at_k(n, c, k)
        plug_in += weight * (1 - (1 - c / n) ** k)
    assert unbiased == pytest.approx(truth, abs=1e-12)
    assert k == 1 or plug_in < truth - 0.01


def test_pass_at_k_stays_exact_for_large_n():
    assert pass_at_k(10_000, 1, 1) == 1e-4
    assert pass_at_k(100_000, 1, 50_000) == 0.5
    assert pass_at_k(1000, 0, 1000) == 0.0
    assert pass_at_k(1000, 1, 1000) == 1.0


@pytest.mark.parametrize(
    ("n", "c", "k"), [(4, 5, 1), (4, 1, 5), (4, -1, 1), (4, 1, 0), (4, 1, -1), (-1, 0, 1), (0, 0, 1)]
)
def test_impossible_counts_are_refused(n, c, k):
    with pytest.raises(ValueError):
        pass_at_k(n, c, k)


def test_tasks_are_scored_row_by_row():
    rng = np.random.default_rng(0)
    correct = rng.random((20, 6)) < rng.random((20, 1))
    for k in (1, 4, 6):
        expected = [pass_at_k(6, int(row.sum()), k) for row in correct]
        assert pass_at_k_tasks(correct, k).tolist() == expected
    assert pass_at_k_tasks(correct, 1).mean() == pytest.approx(correct.mean())
    with pytest.raises(ValueError, match="k is 7"):
        pass_at_k_tasks(correct, 7)
    with pytest.raises(ValueError, match="shape"):
        pass_at_k_tasks(correct[0], 1)
    with pytest.raises(ValueError, match="shape"):
        pass_at_k_tasks(np.zeros((0, 4), bool), 1)
    with pytest.raises(ValueError, match="verdict"):
        pass_at_k_tasks([[1.0, float("nan")]], 1)


def test_the_interval_has_the_width_of_the_central_limit():
    values = np.random.default_rng(1).random(400)
    mean, low, high = bootstrap_ci(values, draws=4000, seed=2)
    half = 1.96 * values.std() / np.sqrt(values.size)
    assert mean == values.mean() and low < mean < high
    assert (high - low) / 2 == pytest.approx(half, rel=0.06)
    wide = bootstrap_ci(values, level=0.99, draws=4000, seed=2)
    assert wide.low < low and wide.high > high
    assert bootstrap_ci(values, seed=3) == bootstrap_ci(values, seed=3) != bootstrap_ci(values, seed=4)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(5), 0
    for trial in range(200):
        _, low, high = bootstrap_ci(rng.random(60) < 0.4, draws=300, seed=trial)
        covered += low <= 0.4 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_a_paired_difference_over_one_seed_is_the_interval_over_its_tasks():
    rng = np.random.default_rng(6)
    a, b = rng.random((1, 200)), rng.random((1, 200))
    paired, plain = paired_difference_ci(a, b), bootstrap_ci((a - b)[0], draws=4000)
    assert paired.mean == pytest.approx(plain.mean)
    assert paired.low == pytest.approx(plain.low, abs=0.01) and paired.high == pytest.approx(plain.high, abs=0.01)


def test_the_paired_interval_by_hand():
    """d = [[0, 1], [2, 5]]: seeds' means 0.5 and 3.5, MS 9; tasks' 1 and 3, MS 4; the rest +-0.5, MS 1."""
    mean, low, high = paired_difference_ci([[0.0, 1.0], [2.0, 5.0]], np.zeros((2, 2)))
    assert mean == 2.0 and high - mean == pytest.approx(mean - low)
    assert high - mean == pytest.approx(12.7062 * np.sqrt((9 + (4 - 1)) / 4), rel=1e-5)


def _crossed_bootstrap(difference, rng, draws=300):
    seeds, tasks = difference.shape
    rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), draws)
    columns = rng.multinomial(tasks, np.full(tasks, 1 / tasks), draws)
    return np.quantile(((rows @ difference) * columns).sum(1) / difference.size, [0.025, 0.975])


@pytest.mark.parametrize("of_seeds", [0.17, 0.05, 0.0])
def test_the_paired_interval_covers_the_truth_with_three_seeds_where_a_bootstrap_does_not(of_seeds):
    rng, ours, theirs = np.random.default_rng(9), 0, 0
    for _ in range(300):
        d = 0.4 + of_seeds * rng.normal(size=(3, 1)) + 0.2 * rng.normal(size=100) + 0.25 * rng.normal(size=(3, 100))
        interval, (low, high) = paired_difference_ci(d, np.zeros_like(d)), _crossed_bootstrap(d, rng)
        ours += interval.low <= 0.4 <= interval.high
        theirs += low <= 0.4 <= high
    assert ours / 300 >= 0.93
    assert of_seeds < 0.1 or theirs / 300 <= 0.85


def test_what_both_arms_share_cancels():
    shared = np.random.default_rng(8).random((3, 40))
    assert paired_difference_ci(shared + 0.25, shared) == pytest.approx((0.25, 0.25, 0.25))


def test_bad_intervals_are_refused():
    with pytest.raises(ValueError, match="same"):
        paired_difference_ci(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="same"):
        paired_difference_ci(np.zeros(3), np.zeros(3))
    for values, level in (([], 0.95), ([float("nan")], 0.95), ([1.0], 1.0), ([1.0], 0.0), ([[1.0]], 0.95)):
        with pytest.raises(ValueError):
            bootstrap_ci(values, level=level)
    with pytest.raises(ValueError, match="draws"):
        bootstrap_ci([1.0], draws=0)
