"""Theorem 2 on the program world: failure rates, the count of tasks, broken assumptions, top choices on the
pipelines."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from ra3_lab.explore.labs import pruning_explorer
from ra3_lab.theory.choices import choices_lab, corpus, ranks
from ra3_lab.theory.closed_forms import expert_tasks_bound, expert_tasks_sharp
from ra3_lab.theory.mdp import option_model, primitive_options
from ra3_lab.theory.programs import SKILLS, line_world, programs, skill_model
from ra3_lab.theory.pruning import (
    MOST_USED,
    delta_table,
    first_draws,
    line_problem,
    program_problems,
    pruning_lab,
    rare_usage,
    skill_problem,
    survival_times,
    task_weights,
    union_bound,
)
from ra3_lab.theory.records import fit_line
from ra3_lab.theory.solve import all_masks, solve, subset_values
from ra3_lab.theory.violations import spread_out, violations_lab

REPEATS = 3000


def first_positions(drawn: np.ndarray, kinds: int) -> np.ndarray:
    """(R, kinds) position, from 1, of the first of each kind in each row; inf if there is none."""
    found = [[(list(row).index(kind) + 1 if kind in row else math.inf) for kind in range(kinds)] for row in drawn]
    return np.array(found, float)


@pytest.fixture(scope="module")
def measured():
    """Failure rates of 90 settings: skills and lines, 2 to 4 used skills, 5 sigmas, 3 deltas; all bad subsets exact."""
    rng, rows = np.random.default_rng(0), []
    for used in (2, 3, 4):
        problems = program_problems(rare_usage(used, 0.1), 0.02, 0.97)
        for sigma in (0.03, 0.05, 0.1, 0.2, 0.3):
            weights = task_weights(rare_usage(used, sigma))
            first = first_draws(weights, REPEATS, rng)
            for problem in (replace(problem, weights=weights) for problem in problems):
                times = survival_times(problem.exceeds[problem.bad(sigma)], first)
                assert problem.bad(sigma).any()
                for delta in (0.02, 0.1, 0.3):
                    rows.append((problem, sigma, delta, times))
    return rows


def test_failure_is_at_most_delta_at_the_theorem_s_n_in_90_settings(measured):
    assert len(measured) == 90
    for problem, sigma, delta, times in measured:
        allowed = delta + 3 * math.sqrt(delta * (1 - delta) / REPEATS)
        for bound in (expert_tasks_bound, expert_tasks_sharp):
            tasks = math.ceil(bound(problem.k, problem.options, sigma, delta))
            failure = (times > tasks).mean()
            assert failure <= allowed
            assert failure <= min(1, union_bound(problem, sigma, [tasks])[0]) + 4 / math.sqrt(REPEATS)


def test_far_fewer_tasks_would_not_do(measured):
    """The test above can fail: with a tenth of the theorem's N most settings break delta."""
    broken = [
        (times > expert_tasks_bound(problem.k, problem.options, sigma, delta) / 10).mean() > delta
        for problem, sigma, delta, times in measured
    ]
    assert np.mean(broken) > 0.5


def test_measured_n_follows_the_predicted_n(measured):
    for name in ("skills", "lines"):
        rows = [row for row in measured if row[0].name == name]
        predicted = [expert_tasks_bound(p.k, p.options, sigma, delta) for p, sigma, delta, _ in rows]
        needed = [np.quantile(times, 1 - delta) for _, _, delta, times in rows]
        fit = fit_line(predicted, needed)
        assert fit.r_squared > 0.7 and 0 < fit.slope < 1


def test_first_draws_are_those_of_drawing_one_by_one():
    weights, rng = np.array([0.6, 0.3, 0.1]), np.random.default_rng(0)
    quick = first_draws(weights, 20_000, rng)
    drawn = (rng.random((4_000, 100))[..., None] > weights.cumsum()[:-1]).sum(-1)
    slow = first_positions(drawn, 3)
    for draws in (quick, slow):
        for m in range(3):
            assert draws[:, m].mean() == pytest.approx(1 / weights[m], rel=0.08)
            assert (draws[:, m] > 5).mean() == pytest.approx((1 - weights[m]) ** 5, abs=0.03)
    assert quick.max(1).mean() == pytest.approx(slow.max(1).mean(), rel=0.08)


def test_survival_is_what_checking_each_subset_after_each_task_says():
    rng = np.random.default_rng(1)
    reveals = rng.random((5, 4)) < 0.4
    reveals[:, 0] = True
    drawn = rng.integers(0, 4, (50, 30))
    times = survival_times(reveals, first_positions(drawn, 4))
    for row, time in zip(drawn, times, strict=True):
        alive, after = np.ones(5, bool), math.inf
        for n, task in enumerate(row, 1):
            alive &= ~reveals[:, task]
            if not alive.any():
                after = n
                break
        assert time == after


def test_z_eps_is_the_smallest_set_that_works():
    model = skill_model(programs(SKILLS, rare_usage(4, 0.1), (1, 1)))
    problem = skill_problem(model, 0.02)
    best = solve(model).start_values
    fewer = best - subset_values(model, all_masks(7, problem.k - 1))
    same = best - subset_values(model, all_masks(7, problem.k))
    assert not (fewer <= 0.02).all(1).any() and (same <= 0.02).all(1).any()
    assert problem.k == 5  # the four used skills and `return_list`
    # A larger epsilon accepts detours, for example one rotation made of others.
    assert skill_problem(model, 0.3).k < 5


def test_pruned_lines_are_worth_the_blocks_they_can_write():
    world = programs(("sort", "skip:1", "rotate:1"), (0.5, 0.3, 0.2), (1, 1))
    family, _ = line_world(world)
    over_lines = option_model(family, primitive_options(family))
    full = solve(over_lines).start_values
    problem = line_problem(world, skill_model(world), 0.02)
    masks = all_masks(len(family.actions), problem.k)
    errors = full - subset_values(over_lines, masks)
    found = np.unique(errors.round(9), axis=0)
    np.testing.assert_allclose(found, np.unique(problem.errors.round(9), axis=0), atol=1e-8)


def test_more_options_never_raise_the_pruning_error():
    masks, errors = delta_table(skill_model(programs()))
    assert (errors > -1e-12).all() and errors[-1] == pytest.approx(0, abs=1e-12)
    for a, b in itertools.product(range(0, 127, 9), range(127)):
        if (masks[a] <= masks[b]).all():
            assert (errors[b] <= errors[a] + 1e-12).all()


def test_pruning_lab_measures_what_it_says():
    record = pruning_lab()
    skills, lines = record.curves
    assert skills.needed < skills.predicted < lines.predicted
    assert len(record.settings) == 96
    assert all(row.failure <= row.delta + 3 * row.standard_error for row in record.settings)
    assert all(
        m <= u + 0.08 and u <= b + 1e-9 for m, u, b in zip(skills.failure, skills.union, skills.bound, strict=True)
    )
    assert record == pruning_lab()


def test_broken_assumptions_break_the_theorem_the_way_they_should():
    record = violations_lab()
    for kind in ("correlated", "failing experts"):
        rows = record.of(kind)
        assert rows[0].failure <= record.delta and rows[-1].failure > 0.5
        assert all(a.needed <= b.needed for a, b in itertools.pairwise(rows))
    misled = record.of("misleading experts")
    assert misled[0].nothing_left == 0 and misled[-1].nothing_left > 0.95 and misled[-1].failure <= record.delta
    copies = record.of("overlapping options")
    assert copies[-1].predicted > 1.3 * copies[0].predicted
    assert copies[-1].needed == pytest.approx(copies[0].needed, rel=0.25)


def test_every_allowed_number_of_used_skills_is_used():
    every = programs(SKILLS, None, (1, 1))
    assert np.count_nonzero(every.weights) == MOST_USED
    for used in range(1, MOST_USED + 1):
        assert len(task_weights(rare_usage(used, 0.1))) == used
    for used in range(1, MOST_USED):
        record = violations_lab(used=used, repeats=200)
        assert record.k == used + 1 and record.of("misleading experts")[-1].nothing_left > 0.95
    (control,) = [control for control in pruning_explorer().controls if control.name == "used"]
    assert set(control.values) <= set(range(1, MOST_USED + 1))


def test_repeats_spread_fresh_demonstrations_out():
    rng = np.random.default_rng(0)
    times = spread_out(np.full(20_000, 11.0), 0.75, rng)
    assert times.min() >= 11 and times.mean() == pytest.approx(1 + 10 / 0.25, rel=0.02)


def test_ranks_by_hand():
    counts, contexts = np.array([4, 4, 1, 0, 2]), np.array([0, 0, 0, 0, 1])
    assert ranks(counts, contexts).tolist() == [2, 2, 3, math.inf, 1]


def test_choices_of_the_pipelines():
    skills = corpus("thoughts")
    assert skills.choices == 24 and len(skills.pair_context) == 24
    tokens = corpus("tokens")
    # Every step takes at least as many tokens as lines and at least as many lines as thoughts.
    assert len(tokens.held_out.step) > len(corpus("lines").held_out.step) > len(skills.held_out.step)
    record = choices_lab()
    thoughts, with_values, lines, token = record.curves
    assert thoughts.needed is not None and token.needed is not None and 10 * thoughts.needed < token.needed
    assert with_values.needed is None and lines.needed is None  # more than 24 choices are open at a step's start
    assert thoughts.available[-1] == 1 and thoughts.per_step == 1
    # Whole programs are harder than their steps.
    assert all(w <= s + 1e-12 for curve in record.curves for w, s in zip(curve.whole, curve.available, strict=True))
    # Without a limit on the choices, what has been seen stays seen.
    unlimited = choices_lab(k=10_000)
    for curve in unlimited.curves:
        assert all(a <= b + 1e-12 for a, b in itertools.pairwise(curve.available))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: pruning_lab(sigma=0.0), r"sigma=0\.0: needs 0 < sigma < 1"),
        (lambda: pruning_lab(sigma=0.5), r"sigma=0\.5: 3 rare skills.*choose sigma < 0\.333"),
        (lambda: pruning_lab(delta=1.0), r"delta=1\.0: needs 0 < delta < 1"),
        (lambda: pruning_lab(epsilon=0.0), r"epsilon=0\.0: needs a finite number above 0"),
        (lambda: pruning_lab(gamma=1.0), r"gamma=1\.0: needs 0 < gamma < 1"),
        (lambda: pruning_lab(used=6), "used=6: needs a whole number, 1 to 5; take:4 leaves the start"),
        (lambda: pruning_lab(used=0), "used=0: needs a whole number, 1 to 5"),
        (lambda: pruning_lab(used=math.nan), "used=nan: needs a whole number, 1 to 5"),
        (lambda: violations_lab(used=5), "used=5: needs a whole number, 1 to 4; misleading experts need a task"),
        (lambda: violations_lab(used=6), "used=6: needs a whole number, 1 to 4"),
        (lambda: violations_lab(repeats=1), "repeats=1"),
        (lambda: spread_out(np.ones(1), 1.0, np.random.default_rng(0)), r"repeat=1\.0: needs less than 1"),
        (lambda: choices_lab(k=0), "k=0: needs a whole number, 1 or more"),
        (lambda: corpus("letters"), "alphabet='letters': choose one of"),
        (
            lambda: delta_table(
                skill_model(programs(tuple(f"take:{k}" for k in (4, 5, 6, 7, 8)) + SKILLS[:5] + ("unique", "skip:2")))
            ),
            r"\|Z\|=13",
        ),
    ],
)
def test_bad_parameters_name_the_value_and_the_range(call, said):
    with pytest.raises(ValueError, match=said):
        call()
