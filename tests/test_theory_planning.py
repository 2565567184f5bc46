"""Option models and exact planning against brute force, simulation and theorem 3's bound. All in float64."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ra3_lab.theory import closed_forms as forms
from ra3_lab.theory.mdp import Family, MarkovOption, OptionModel, option_model, primitive_options, two_state_family
from ra3_lab.theory.programs import SKILLS, line_world, programs, skill_model
from ra3_lab.theory.regret import decompose, regret_lab
from ra3_lab.theory.solve import (
    all_masks,
    bellman,
    evaluate,
    greedy,
    solve,
    subset_values,
    value_iteration,
)
from ra3_lab.theory.worlds import rooms_family, walks


def random_family(rng: np.random.Generator, states=5, actions=3, tasks=2, gamma=0.9, ends=0.1) -> Family:
    transition = rng.dirichlet(np.ones(states), (actions, states)) * (1 - ends * rng.random((actions, states, 1)))
    return Family(
        transition=transition,
        reward=rng.normal(size=(tasks, states, actions)),
        weights=rng.dirichlet(np.ones(tasks)),
        start=rng.dirichlet(np.ones(states)),
        gamma=gamma,
        actions=tuple("abcdefgh"[:actions]),
        states=tuple(map(str, range(states))),
        tasks=tuple(f"task {m}" for m in range(tasks)),
    )


def random_option(rng: np.random.Generator, family: Family, name="z") -> MarkovOption:
    policy = rng.dirichlet(np.ones(len(family.actions)), len(family.states))
    return MarkovOption(name, policy, rng.uniform(0.1, 1.0, len(family.states)))


def random_model(rng: np.random.Generator, options=4, **shape) -> OptionModel:
    family = random_family(rng, **shape)
    return option_model(family, [random_option(rng, family, f"z{i}") for i in range(options)])


def step_by_step(family: Family, option: MarkovOption, steps: int):
    """The definition: sum over tau of gamma^tau P(tau, s_tau), one primitive step after the other."""
    states = len(family.states)
    chain = np.einsum("sa,ast->st", option.policy, family.transition)
    within = np.einsum("sa,msa->ms", option.policy, family.reward)
    running = np.eye(states)  # P(still running at step i, s_i)
    kernel, reward = np.zeros((states, states)), np.zeros((len(within), states))
    discount, duration = np.zeros(states), np.zeros(states)
    for i in range(steps):
        reward += family.gamma**i * (within @ running.T)
        duration += running.sum(1)
        arrived = running @ chain
        kernel += family.gamma ** (i + 1) * arrived * option.stop
        discount += family.gamma ** (i + 1) * (running.sum(1) - arrived.sum(1) + (arrived * option.stop).sum(1))
        running = arrived * (1 - option.stop)
    return kernel, reward, discount, duration


@pytest.mark.parametrize("seed", range(5))
def test_an_option_model_is_the_sum_over_durations(seed):
    rng = np.random.default_rng(seed)
    family = random_family(rng)
    option = random_option(rng, family)
    model = option_model(family, [option])
    kernel, reward, discount, duration = step_by_step(family, option, 500)
    np.testing.assert_allclose(model.kernel[:, 0], kernel, atol=1e-12)
    np.testing.assert_allclose(model.reward[:, :, 0], reward, atol=1e-12)
    np.testing.assert_allclose(model.discount[:, 0], discount, atol=1e-12)
    np.testing.assert_allclose(model.duration[:, 0], duration, atol=1e-9)
    assert model.modulus <= model.gbar <= family.gamma + 1e-12


def test_a_primitive_action_is_an_option_of_one_step():
    family = random_family(np.random.default_rng(0))
    model = option_model(family, primitive_options(family))
    np.testing.assert_allclose(model.kernel, family.gamma * family.transition.transpose(1, 0, 2), atol=1e-14)
    np.testing.assert_allclose(model.duration, 1.0)
    assert model.gbar == pytest.approx(family.gamma, abs=1e-14)


def test_an_option_that_may_never_stop_is_refused():
    family = two_state_family()
    with pytest.raises(ValueError, match="may run for ever"):
        option_model(family, [MarkovOption("stay", np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0.0, 1.0]))])


@pytest.mark.parametrize("seed", range(20))
def test_policy_iteration_finds_the_best_of_all_policies(seed):
    rng = np.random.default_rng(seed)
    model = random_model(rng, options=3, states=4, tasks=2)
    solution = solve(model)
    grid = np.array(np.meshgrid(*[range(3)] * 4)).reshape(4, -1).T  # every deterministic policy
    values = np.stack([evaluate(model, np.tile(policy, (2, 1))) for policy in grid])
    np.testing.assert_allclose(solution.values, values.max(0), atol=1e-9)
    np.testing.assert_allclose(bellman(model, solution.values), solution.values, atol=1e-9)
    np.testing.assert_allclose(evaluate(model, solution.policy), solution.values, atol=1e-9)
    np.testing.assert_allclose(evaluate(model, greedy(model, solution.values)), solution.values, atol=1e-9)


def test_subset_values_are_those_of_the_restricted_models():
    model = random_model(np.random.default_rng(3), options=5)
    for size in (1, 2, 4):
        masks = all_masks(5, size)
        each = [solve(model.restrict(np.flatnonzero(mask))).start_values for mask in masks]
        np.testing.assert_allclose(subset_values(model, masks), each, atol=1e-10)


def test_adding_options_never_lowers_the_value():
    model = random_model(np.random.default_rng(4), options=6)
    few, many = all_masks(6, 2), all_masks(6, 3)
    small, large = subset_values(model, few), subset_values(model, many)
    for mask, value in zip(few, small, strict=True):
        above = (many & mask).sum(1) == 2
        assert (large[above] >= value - 1e-9).all()


def test_the_bound_on_value_iteration_holds_in_2500_random_instances():
    """Theorem 3 with R_max as defined: the largest expected discounted reward within one option."""
    rng = np.random.default_rng(0)
    count, states, options = 2500, 5, 3
    kernel = rng.dirichlet(np.full(states, 0.3), (count, states, options))
    kernel *= (
        rng.uniform(0.05, 1, (count, states, options, 1)) * rng.choice([0.5, 0.9, 0.97], count)[:, None, None, None]
    )
    reward = rng.normal(size=(count, states, options)) * rng.choice([0.01, 1, 100], count)[:, None, None]
    one_sided = rng.random(count) < 0.5
    reward[one_sided] = np.abs(reward[one_sided])
    epsilon = rng.choice([1e-3, 0.1, 1.0], count)
    gbar, r_max = kernel.sum(3).max((1, 2)), np.abs(reward).max((1, 2))
    bound = np.array([forms.value_iteration_bound(g, r, e) for g, r, e in zip(gbar, r_max, epsilon, strict=True)])
    by_target = [np.ascontiguousarray(kernel[..., t]) for t in range(states)]
    values = at_bound = np.zeros((count, states))
    moved = np.inf
    for n in range(1, 10_000):
        at_bound = np.where((bound == n - 1)[:, None], values, at_bound)
        updated = sum((k * values[:, t, None, None] for t, k in enumerate(by_target)), start=reward).max(2)
        moved, values = np.abs(updated - values).max(1), updated
        if n > bound.max() and moved.max() < 1e-8:
            break
    off = moved / (1 - gbar)  # how far the last sweep may still be from V*
    error = np.abs(at_bound - values).max(1)
    assert bound.max() > 300 and off.max() < 1e-5
    assert (error + off <= epsilon).all()
    # The bound is not idle: many instances are not converged to rounding there.
    assert (error > epsilon * 1e-6).mean() > 0.3


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    gamma=st.floats(0.1, 0.98),
    epsilon=st.floats(1e-6, 1.0),
    options=st.integers(1, 4),
)
def test_the_bound_on_value_iteration_holds_for_markov_options(seed, gamma, epsilon, options):
    model = random_model(np.random.default_rng(seed), options=options, gamma=gamma)
    bound = forms.value_iteration_bound(model.gbar, model.r_max, epsilon)
    assert value_iteration(model, bound).errors[-1] <= epsilon + 1e-9
    sharper = forms.value_iteration_bound(model.modulus, model.r_max, epsilon)
    assert sharper <= bound
    assert value_iteration(model, sharper).errors[-1] <= epsilon + 1e-9


def test_a_kept_primitive_action_sets_gbar_to_gamma():
    rng = np.random.default_rng(1)
    family = random_family(rng, ends=0.0)
    long = MarkovOption("long", np.full((5, 3), 1 / 3), np.full(5, 0.1))
    alone, mixed = option_model(family, [long]), option_model(family, [long, *primitive_options(family)])
    assert alone.gbar == pytest.approx(forms.geometric_discount(0.9, 10))
    assert mixed.gbar == pytest.approx(0.9)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_regret_is_pruning_error_plus_learning_error(seed):
    rng = np.random.default_rng(seed)
    model = random_model(rng, options=4)
    subset = rng.choice(4, rng.integers(1, 4), replace=False)
    policy = rng.dirichlet(np.ones(len(subset)), (2, 5))
    split = decompose(model, subset, policy)
    assert split.pruning >= -1e-9 and split.learning >= -1e-9
    # The regret once more, with V^pi written as a policy over all of Z and V* as the fixed point of value iteration.
    over_all = np.zeros((2, 5, 4))
    over_all[:, :, np.sort(subset)] = policy
    best = value_iteration(model, 300).values[-1] @ model.start @ model.weights
    value = evaluate(model, over_all) @ model.start @ model.weights
    assert split.regret == pytest.approx(best - value, abs=1e-9)
    assert split.pruning + split.learning == pytest.approx(best - value, abs=1e-9)


def test_regret_against_simulated_episodes():
    """V^pi of decompose is the mean return of really running the options, primitive step by primitive step."""
    rng = np.random.default_rng(0)
    family = random_family(rng, tasks=1, gamma=0.6)
    options = [random_option(rng, family, f"z{i}") for i in range(3)]
    model = option_model(family, options)
    policy = rng.dirichlet(np.ones(3), (1, 5))
    returns = []
    for _ in range(1000):
        state, total, scale = rng.choice(5, p=family.start), 0.0, 1.0
        while scale > 1e-3 and state >= 0:
            option = options[rng.choice(3, p=policy[0, state])]
            while True:
                action = rng.choice(3, p=option.policy[state])
                total += scale * family.reward[0, state, action]
                scale *= family.gamma
                row = family.transition[action, state]
                state = int((row.cumsum() < rng.random()).sum())
                state = -1 if state == 5 else state
                if state < 0 or rng.random() < option.stop[state]:
                    break
        returns.append(total)
    exact = decompose(model, [0, 1, 2], policy)
    value = solve(model).start_values[0] - exact.regret
    assert abs(np.mean(returns) - value) < 4 * np.std(returns) / math.sqrt(len(returns))


def test_programs_over_lines_and_over_skills_are_the_same_world():
    """Writing whole blocks is optimal and an unfinished block is worth nothing."""
    world = programs(("reverse", "sort", "rotate:1"), steps=(1, 2))
    family, options = line_world(world)
    skills = skill_model(world)
    from_lines = option_model(family, options)
    roots = [i for i, name in enumerate(family.states) if name.endswith(" 0 lines")]
    np.testing.assert_allclose(from_lines.kernel[np.ix_(roots, range(4), roots)], skills.kernel, atol=1e-12)
    np.testing.assert_allclose(from_lines.reward[:, roots], skills.reward, atol=1e-12)
    np.testing.assert_allclose(from_lines.duration[roots], skills.duration, atol=1e-9)
    np.testing.assert_allclose(from_lines.discount[roots], skills.discount, atol=1e-12)
    lines = solve(option_model(family, primitive_options(family)))
    np.testing.assert_allclose(lines.start_values, solve(skills).start_values, atol=1e-9)
    np.testing.assert_allclose(solve(from_lines.decision_states()).start_values, lines.start_values, atol=1e-9)


def test_the_code_of_the_skills_makes_the_values():
    world = programs(("reverse", "rotate:1"), start=(1, 3, 2))
    assert world.values[world.after[0, 0]] == (2, 3, 1)
    assert world.values[world.after[1, 0]] == (3, 2, 1)
    assert world.blocks[0][0] == "    back = []\n" and world.options[-1] == "return_list"
    assert len(programs(SKILLS).values) > 10


def test_walks_take_the_time_of_the_shortest_path():
    family = rooms_family(slip=0.0)
    model = option_model(family, walks(family))
    start = int(family.start.argmax())
    assert model.duration[start, 0] == pytest.approx(2)  # the doorway A is two steps east
    slow = option_model(rooms_family(slip=0.5), walks(family))
    assert slow.duration[start, 0] == pytest.approx(4)
    assert model.duration.min() >= 1 and model.modulus <= family.gamma


def test_regret_lab_adds_up_and_shows_both_sides():
    record = regret_lab()
    single, few, every = record.curves
    assert record.largest_gap <= 1e-9
    assert single.pruning == pytest.approx(0, abs=1e-9) and few.pruning > 0.01
    assert every.pruning == pytest.approx(0, abs=1e-9)
    assert single.learning[3] > 0.1 > every.learning[3]
    for curve in record.curves:
        assert curve.learning[-1] == pytest.approx(0, abs=1e-6) and curve.learning[0] > 0.1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: rooms_family(gamma=1.0), r"gamma=1\.0: needs 0 < gamma < 1"),
        (lambda: skill_model(programs(), gamma=1.5), "gamma=1.5: needs 0 < gamma < 1"),
        (lambda: option_model(two_state_family(), []), "empty set of options"),
        (lambda: random_model(np.random.default_rng(0)).restrict([]), "empty subset.*keep at least one of the 4"),
        (lambda: random_model(np.random.default_rng(0)).restrict([4]), "needs indices from 0 to 3"),
        (lambda: subset_values(random_model(np.random.default_rng(0)), np.zeros((1, 4))), "empty subset"),
        (lambda: regret_lab(sweeps=0), "sweeps=0: needs a whole number, 1 to 200"),
        (lambda: programs(("reverse", "fly")), "no skill named 'fly'"),
        (lambda: programs(("take",)), "needs parameter"),
        (lambda: rooms_family(slip=1.0), "slip=1.0: needs less than 1"),
        (lambda: programs(("reverse",), (math.nan,)), "usage=.*nan.*summing to 1"),
        (lambda: replace(two_state_family(), weights=np.array([math.nan])), "weights sums to nan"),
        (lambda: replace(two_state_family(), transition=np.full((2, 2, 2), math.nan)), "transition: needs prob"),
        (
            lambda: option_model(two_state_family(), [MarkovOption("z", np.full((2, 2), 0.5), np.full(2, math.nan))]),
            "stop holds probabilities",
        ),
        (
            lambda: option_model(two_state_family(), [MarkovOption("z", np.full((2, 2), math.nan), np.ones(2))]),
            "needs to be a distribution over actions",
        ),
        (
            lambda: evaluate(random_model(np.random.default_rng(0)), np.full((2, 5, 4), math.nan)),
            "needs a distribution over options",
        ),
    ],
)
def test_bad_parameters_name_the_value_and_the_range(call, said):
    with pytest.raises(ValueError, match=said):
        call()
