"""The exact oracle for the temporal ELBO against enumeration, finite differences, training's arithmetic, and itself."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ra3_lab.explore.theory import describe
from ra3_lab.midtrain import elbo
from ra3_lab.theory import estep, oracle
from ra3_lab.theory.closed_forms import bernoulli_kl, pair_kl, renewal_cost
from ra3_lab.theory.enumeration import brute_force, sequences, walk
from ra3_lab.theory.oracle_labs import em_lab, expert_weights, gradient_lab, posterior_lab, price_lab

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def random_world(rng: np.random.Generator, thoughts=2, lines=3) -> oracle.HiddenWorld:
    emission = rng.dirichlet(np.ones(lines), (2, thoughts + 1, lines + 1))
    return oracle.HiddenWorld(float(rng.uniform(0.1, 0.9)), emission)


def random_posterior(rng: np.random.Generator, world: oracle.HiddenWorld, lines: np.ndarray) -> np.ndarray:
    latents = world.thoughts + 1
    return rng.dirichlet(np.ones(latents), (*lines.shape, latents))


@few
@given(seed=seeds, thoughts=st.integers(1, 3), length=st.integers(1, 4))
def test_forward_backward_equals_brute_force_for_any_q(seed, thoughts, length):
    rng = np.random.default_rng(seed)
    world = random_world(rng, thoughts)
    lines = rng.integers(0, 3, (2, length))
    q = random_posterior(rng, world, lines)
    terms, log_evidence = oracle.bound(world, lines, q), oracle.evidence(world, lines)
    for n in range(2):
        summed = brute_force(world, lines[n], q[n])
        assert log_evidence[n] == pytest.approx(summed["evidence"], abs=1e-9)
        assert terms.likelihood[n] == pytest.approx(summed["likelihood"], abs=1e-9)
        assert terms.divergence[n] == pytest.approx(summed["divergence"], abs=1e-9)
        assert terms.thoughts[n] == pytest.approx(summed["thoughts"], abs=1e-9)
        # The identity: log-evidence = ELBO + KL(q || posterior), and so the bound.
        assert log_evidence[n] == pytest.approx(terms.elbo[n] + summed["posterior_kl"], abs=1e-9)
        assert summed["posterior_kl"] >= -1e-12


@few
@given(seed=seeds)
def test_the_posterior_equals_brute_force_and_closes_the_gap(seed):
    rng = np.random.default_rng(seed)
    world = random_world(rng)
    lines = rng.integers(0, 3, (2, 4))
    q = oracle.posterior(world, lines)
    np.testing.assert_allclose(oracle.bound(world, lines, q).elbo, oracle.evidence(world, lines), atol=1e-9)
    listed = sequences(world, 4)
    terms = np.array([walk(world, lines[0], choices, q[0]) for choices in listed])
    joint = terms[:, 0] + terms[:, 1]
    np.testing.assert_allclose(terms[:, 2], joint - np.log(np.exp(joint).sum()), atol=1e-9)


def test_probabilities_of_all_programs_sum_to_one_and_match_sampling():
    world = oracle.skill_world(thoughts=2, lines=2, fade=0.2)
    population = oracle.all_programs(2, 5)
    exact = np.exp(oracle.evidence(world, population))
    assert exact.sum() == pytest.approx(1, abs=1e-12)
    drawn, choices = oracle.sample_programs(world, 20_000, 5, np.random.default_rng(0))
    rate = np.bincount(drawn @ 2 ** np.arange(4, -1, -1), minlength=32) / 20_000
    assert (np.abs(rate - exact) < 5 * np.sqrt(exact / 20_000)).all()
    assert (choices > 0).mean() == pytest.approx(1 - world.alpha, abs=0.01)


def test_the_divergence_is_the_closed_form_of_the_pair():
    world = oracle.skill_world(thoughts=3, alpha=0.8)
    lines = np.array([[0]])
    renew, choice = 0.3, np.array([0.5, 0.25, 0.25])
    q = np.full((1, 1, 4, 4), 0.25)
    q[0, 0, 0] = [1 - renew, *renew * choice]
    assert oracle.bound(world, lines, q).divergence[0] == pytest.approx(pair_kl(renew, choice, 0.8), abs=1e-12)
    assert world.log_prior[0] - world.log_prior[1] == pytest.approx(renewal_cost(0.8, 3), abs=1e-12)


@few
@given(seed=seeds)
def test_exact_em_never_lowers_the_evidence(seed):
    rng = np.random.default_rng(seed)
    lines, weights = rng.integers(0, 3, (30, 6)), rng.dirichlet(np.ones(30))
    world, before = random_world(rng), -np.inf
    for _ in range(12):
        now = float(weights @ oracle.evidence(world, lines))
        assert now >= before - 1e-10
        world, before = oracle.em_step(world, lines, weights), now


def test_em_ends_where_the_evidence_has_no_slope_and_not_always_at_the_best_place():
    truth = oracle.skill_world()
    lines, _ = oracle.sample_programs(truth, 20, 5, np.random.default_rng(0))
    weights = np.full(20, 1 / 20)
    ends = []
    for seed in range(3):
        world, slopes = random_world(np.random.default_rng(seed), 3), []
        for _ in range(300):
            counts = oracle.expected_counts(world, lines, weights, oracle.posterior(world, lines))
            slopes.append(np.abs(counts - counts.sum(-1, keepdims=True) * world.emission).max())
            world = oracle.with_counts(world, counts)
        ends.append(float(weights @ oracle.evidence(world, lines)))
        assert slopes[-1] < 2e-3 < slopes[0] / 10  # with respect to log-emissions, rows normalised
    assert max(ends) - min(ends) > 1e-2


@pytest.mark.parametrize("smoothing", [0.0, 1e-4])
def test_a_row_without_any_count_stays_as_it_is(smoothing):
    rng = np.random.default_rng(0)
    world = random_world(rng)
    counts = rng.random(world.emission.shape)
    counts[1, 2] = 0.0
    counts[0, 1, 2] = [0.0, 2.0, 0.0]
    moved = oracle.with_counts(world, counts, smoothing).emission
    np.testing.assert_array_equal(moved[1, 2], world.emission[1, 2])
    np.testing.assert_allclose(moved[0, 1, 2], np.array([smoothing, 2.0 + smoothing, smoothing]) / (2 + 3 * smoothing))


def test_the_gradient_of_the_evidence_is_that_of_finite_differences():
    rng = np.random.default_rng(0)
    world = random_world(rng)
    lines, weights = rng.integers(0, 3, (4, 4)), np.full(4, 0.25)
    counts = oracle.expected_counts(world, lines, weights, oracle.posterior(world, lines))
    slope = counts - counts.sum(-1, keepdims=True) * world.emission
    for cell in [(0, 0, 3, 1), (1, 1, 0, 2), (0, 2, 1, 0)]:
        found = []
        for step in (1e-5, -1e-5):
            logits = np.log(world.emission)
            logits[cell] += step
            moved = replace(world, emission=estep.softmax(logits))
            found.append(weights @ oracle.evidence(moved, lines))
        assert slope[cell] == pytest.approx((found[0] - found[1]) / 2e-5, abs=1e-8)


@few
@given(seed=seeds, cost=st.one_of(st.none(), st.floats(0, 3)))
def test_the_best_causal_posterior_beats_every_other_causal_one(seed, cost):
    rng = np.random.default_rng(seed)
    world = random_world(rng, lines=2)
    population = oracle.all_programs(2, 4)
    weights = rng.dirichlet(np.ones(len(population)))

    def worth(q):
        terms = oracle.bound(world, population, q)
        return float(weights @ (terms.elbo if cost is None else terms.priced(cost)))

    best = worth(estep.best_causal(world, population, weights, cost))
    ahead = worth(estep.best_with_hindsight(world, population, weights, cost))
    assert best <= ahead + 1e-9
    for memory in (0, 1, 3):
        where = estep.contexts(population, 2, memory)
        q = estep.tabular(rng.normal(size=(where.count, 3, 3)) * 2, where)
        assert worth(q) <= best + 1e-9
    if cost is None:
        np.testing.assert_allclose(ahead, weights @ oracle.evidence(world, population), atol=1e-9)


def test_the_best_causal_posterior_is_the_best_of_all_deterministic_ones():
    rng = np.random.default_rng(5)
    world = random_world(rng, thoughts=1, lines=2)
    population = oracle.all_programs(2, 2)
    weights = rng.dirichlet(np.ones(4))
    best = weights @ oracle.bound(world, population, estep.best_causal(world, population, weights, 0.1)).priced(0.1)
    found = []
    # A choice at the start, and one for each (first line, z): 2 * 2^4 causal policies in all.
    for first, *second in itertools.product((0, 1), repeat=5):
        q = np.zeros((4, 2, 2, 2))
        q[:, 0, :, first] = 1
        for n, program in enumerate(population):
            for z in (0, 1):
                q[n, 1, z, second[2 * program[0] + z]] = 1
        found.append(weights @ oracle.bound(world, population, q).priced(0.1))
    assert best == pytest.approx(max(found), abs=1e-12)


@pytest.mark.parametrize("cost", [None, 0.3])
def test_the_exact_gradient_is_that_of_finite_differences(cost):
    rng = np.random.default_rng(1)
    world = random_world(rng)
    lines, weights = rng.integers(0, 3, (5, 4)), rng.dirichlet(np.ones(5))
    where = estep.contexts(lines, 3, 1)
    logits = rng.normal(size=(where.count, 3, 3))

    def objective(table):
        terms = oracle.bound(world, lines, estep.tabular(table, where))
        return weights @ (terms.elbo if cost is None else terms.priced(cost))

    exact = estep.exact_gradient(world, lines, weights, logits, where, cost)
    for cell in itertools.product((0, 3), (0, 2), (0, 1)):
        step = np.zeros_like(logits)
        step[cell] = 1e-5
        slope = (objective(logits + step) - objective(logits - step)) / 2e-5
        assert exact[cell] == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("cost", [None, 0.3])
def test_reinforce_is_unbiased_with_a_leave_one_out_baseline_and_short_by_1_in_g_with_the_group_mean(cost):
    rng = np.random.default_rng(2)
    world = random_world(rng)
    lines = rng.integers(0, 3, (3, 4))
    weights = np.full(3, 1 / 3)
    where = estep.contexts(lines, 3, 1)
    logits = rng.normal(size=(where.count, 3, 3))
    exact = estep.exact_gradient(world, lines, weights, logits, where, cost)
    logp, each = oracle.line_logp(world, lines), np.repeat(np.arange(3), 400)
    rolls = [estep.roll_out(world, logp, logits, where, each, cost, rng) for _ in range(100)]
    for kind, expected in (("none", 1.0), ("leave-one-out", 1.0), ("group mean", 0.75)):
        found = np.array([estep.sampled_gradient(roll, logits, where, 4, kind) for roll in rolls])
        error = found.mean(0) - expected * exact
        allowed = found.std(0, ddof=1) / 10
        assert (np.abs(error) <= 5 * allowed + 1e-12).all()
        along = (found * exact).sum((1, 2, 3)) / (exact**2).sum()
        assert abs(along.mean() - expected) < 4 * along.std(ddof=1) / 10
        assert along.std(ddof=1) / 10 < 0.02  # sharp enough to tell 0.75 from 1


def test_returns_and_baseline_are_those_of_training():
    reward = np.random.default_rng(0).normal(size=(6, 5))
    returns = estep.returns_to_go(reward)
    theirs = elbo.reward_to_go(torch.tensor(reward))
    np.testing.assert_allclose(returns, theirs.numpy(), atol=1e-12)
    np.testing.assert_allclose(
        estep.baseline(returns, 3, "leave-one-out"), elbo.leave_one_out(theirs, 3).numpy(), atol=1e-12
    )


def test_rewards_of_a_rollout_are_those_of_training():
    world = oracle.skill_world(fade=0.3)
    lines, _ = oracle.sample_programs(world, 4, 5, np.random.default_rng(0))
    where = estep.contexts(lines, 3, 1)
    logp, logits = oracle.line_logp(world, lines), estep.prior_logits(world, where.count)
    rolls = estep.roll_out(world, logp, logits, where, np.arange(4), 0.5, np.random.default_rng(1))
    scored = logp[np.arange(4)[:, None], np.arange(5), rolls.latent, rolls.choice]
    thoughts = torch.tensor(rolls.choice > 0)
    theirs = elbo.rewards(torch.tensor(scored), thoughts, torch.zeros_like(thoughts), 0.5)
    np.testing.assert_allclose(rolls.reward, theirs.numpy(), atol=1e-12)


def test_training_climbs_to_near_the_best_causal_posterior():
    world = oracle.skill_world(fade=0.3)
    lines = oracle.all_programs(3, 5)
    weights = np.exp(oracle.evidence(oracle.skill_world(), lines))
    where = estep.contexts(lines, 3, 2)

    def worth(q):
        return float(weights @ oracle.bound(world, lines, q).priced(0.2))

    start = worth(estep.tabular(estep.prior_logits(world, where.count), where))
    best = worth(estep.best_causal(world, lines, weights, 0.2))
    logits = estep.train(world, lines, weights, where, 150, np.random.default_rng(0), cost=0.2)
    trained = worth(estep.tabular(logits, where))
    assert start < trained <= best + 1e-9 and (trained - start) > 0.7 * (best - start)


def test_price_limits():
    """With a high enough price nobody thinks; the share of thoughts never rises with the price."""
    world = oracle.skill_world(fade=0.5)
    lines = oracle.all_programs(3, 5)
    weights = expert_weights(oracle.skill_world(alpha=0.95), lines)
    share = [
        float(weights @ oracle.bound(world, lines, estep.best_causal(world, lines, weights, c)).thoughts)
        for c in (0.0, 0.05, 0.2, 0.5, 1.0, 5.0)
    ]
    assert share[-1] == 0 and share[0] > 3
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(share))


def test_kl_of_keeping_always():
    world = oracle.skill_world(alpha=0.6)
    lines = oracle.all_programs(3, 3)
    q = np.zeros((len(lines), 3, 4, 4))
    q[..., 0] = 1
    terms = oracle.bound(world, lines, q)
    np.testing.assert_allclose(terms.divergence, 3 * bernoulli_kl(0.0, 0.4), atol=1e-12)
    np.testing.assert_allclose(terms.likelihood, -3 * np.log(3), atol=1e-12)


def test_posterior_lab_orders_the_posteriors():
    record = posterior_lab()
    exact, causal, trained, prior, never = record.rows
    assert exact.gap == pytest.approx(0, abs=1e-9)
    assert 0.5 < causal.gap < trained.gap < min(prior.gap, never.gap)
    assert never.share == 0 and prior.divergence == pytest.approx(0, abs=1e-9)
    for row in record.rows:
        assert row.elbo == pytest.approx(row.likelihood - row.divergence, abs=1e-9)


def test_price_lab_shows_thinking_everywhere_sometimes_and_never():
    record = price_lab()
    hindsight, causal, trained = record.curves
    assert hindsight.share[0] == pytest.approx(1) and causal.share[0] > 0.6
    assert 0.1 < causal.share[causal.costs.index(0.8)] < 0.3
    assert causal.share[-1] == 0 and trained.share[-1] < 0.02
    assert causal.likelihood[-1] == pytest.approx(record.silent)
    assert trained.share[1] > trained.share[3] > trained.share[-1]


@pytest.mark.parametrize("fade", [0.1, 0.3, 0.5, 0.9])
def test_from_the_worth_of_a_repeat_on_the_best_causal_q_repeats_no_thought(fade):
    record = price_lab(fade=fade, updates=1)
    world = oracle.skill_world(alpha=0.75, fade=fade)
    lines = oracle.all_programs(3, 5)
    weights = expert_weights(oracle.skill_world(alpha=0.95), lines)

    def repeats(cost):
        q = estep.best_causal(world, lines, weights, cost)
        return float(weights @ np.einsum("ntz,ntzz->n", oracle.visits(q)[..., 1:], q[..., 1:, 1:]))

    assert repeats(max(record.repeat, 0) + 1e-3) == 0
    if record.repeat > 0:
        assert repeats(0.8 * record.repeat) > 1
    else:
        assert repeats(0.0) == 0 and "pays a causal q at no price" in describe(record).text


def test_gradient_lab_tells_the_biased_baseline():
    record = gradient_lab()
    for row in record.rows:
        expected = 1 - 1 / row.group if row.baseline == "group mean" else 1
        assert abs(row.projection - expected) < 4 * row.standard_error
    noise = {(row.baseline, row.group): row.noise for row in record.rows}
    assert all(noise["leave-one-out", g] < noise["none", g] / 2 for g in (2, 4, 8, 16))


def test_em_lab_exact_em_never_falls_and_beats_the_others():
    record = em_lab()
    exact, causal, ra3, prior = record.curves
    assert exact.falls == 0
    assert exact.evidence[-1] > max(causal.evidence[-1], ra3.evidence[-1]) > prior.evidence[-1]
    assert all(curve.evidence[0] == exact.evidence[0] for curve in record.curves)
    # The exact causal arm climbs its own objective in every round, even where the evidence falls.
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(causal.objective))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: oracle.skill_world(alpha=1.0), r"alpha=1\.0: needs 0 < alpha < 1"),
        (lambda: oracle.skill_world(noise=0.0), "noise=0.0: needs 0 < noise < 1"),
        (lambda: oracle.skill_world(fade=1.5), "fade=1.5: a probability"),
        (lambda: oracle.skill_world(thoughts=0), "thoughts=0: needs a whole number, 1 or more"),
        (lambda: oracle.all_programs(10, 9), "number of programs"),
        (lambda: sequences(oracle.skill_world(), 12), "number of sequences"),
        (lambda: estep.best_causal(oracle.skill_world(), np.zeros((1, 2), int), np.ones(1), -1.0), "cost=-1.0"),
        (lambda: estep.baseline(np.zeros((3, 1)), 2, "leave-one-out"), "group=2 for 3 rows"),
        (lambda: estep.baseline(np.zeros((2, 1)), 2, "mean"), "baseline='mean': choose"),
        (lambda: oracle.HiddenWorld(0.5, np.ones((2, 2, 3, 2))), "needs to be a distribution"),
        (lambda: oracle.HiddenWorld(0.5, np.ones((2, 2, 2))), "needs \\(2, K"),
        (lambda: oracle.HiddenWorld(0.5, np.full((2, 2, 3, 2), np.nan)), "needs to be a distribution"),
        (
            lambda: oracle.bound(oracle.skill_world(), np.zeros((1, 2), int), np.full((1, 2, 4, 4), np.nan)),
            "distribution",
        ),
        (lambda: oracle.bound(oracle.skill_world(), np.zeros((1, 2), int), np.ones((1, 2, 4, 4))), "distribution"),
    ],
)
def test_bad_parameters_name_the_value_and_the_range(call, said):
    with pytest.raises(ValueError, match=said):
        call()
