"""Theorem 3's lab: options by the law of tau, sweeps against the bound, the two other learners."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ra3_lab.theory import closed_forms as forms
from ra3_lab.theory.durations import LAWS, duration_law, timed_options
from ra3_lab.theory.horizon import horizon_lab, random_family
from ra3_lab.theory.learners import optimal_values, policy_gradient_steps, q_learning_updates
from ra3_lab.theory.mdp import MarkovOption, option_model, two_state_family
from ra3_lab.theory.solve import solve, value_iteration


def timed(law: np.ndarray, gamma=0.9, seed=0):
    family = random_family(5, 3, gamma, seed)
    policies = np.random.default_rng(seed).dirichlet(np.ones(3), (2, 5))
    return family, policies, timed_options(family, policies, [law])[0]


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("mean", [1, 3])
def test_laws_have_their_mean_and_their_discount(name, mean):
    law = duration_law(name, mean)
    taus = np.arange(1, len(law) + 1)
    assert law.sum() == pytest.approx(1) and law @ taus == pytest.approx(mean, rel=1e-3)
    _, _, model = timed(law)
    assert model.gbar == pytest.approx(forms.duration_discount(0.9, taus.tolist(), law.tolist()))
    assert model.gbar >= 0.9**mean - 1e-4  # Jensen


def test_a_geometric_law_is_a_stopping_rule_that_does_not_look():
    family, policies, model = timed(duration_law("geometric", 4))
    options = [MarkovOption(str(i), policy, np.full(5, 1 / 4)) for i, policy in enumerate(policies)]
    exact = option_model(family, options)
    np.testing.assert_allclose(model.kernel, exact.kernel, atol=1e-4)
    np.testing.assert_allclose(model.reward, exact.reward, atol=1e-3)


def test_a_fixed_law_is_the_sum_over_its_steps():
    family, policies, model = timed(duration_law("fixed", 3))
    chain = np.einsum("zsa,ast->zst", policies, family.transition)[1]
    gain = (policies[1] * family.reward[0]).sum(-1)
    np.testing.assert_allclose(model.kernel[:, 1], 0.9**3 * np.linalg.matrix_power(chain, 3), atol=1e-12)
    np.testing.assert_allclose(
        model.reward[0, :, 1], gain + 0.9 * chain @ gain + 0.81 * chain @ chain @ gain, atol=1e-12
    )


def test_longer_options_need_fewer_sweeps_and_never_more_than_the_bound():
    for law, gamma in itertools.product(LAWS, (0.8, 0.95)):
        record = horizon_lab(law, gamma)
        assert all(row.measured <= row.bound for row in record.settings)
        for kept in (False, True):
            sweeps = [row.measured for row in record.curve(kept)]
            assert sweeps == sorted(sweeps, reverse=True) and sweeps[0] > sweeps[-1]
        assert record.fit_long.r_squared > 0.99 and 0.85 < record.fit_long.slope <= 1.02
        assert record.fit_long.r_squared > record.fit_kept.r_squared
        assert all(row.gbar == pytest.approx(gamma) for row in record.curve(True))


def test_the_lab_s_sweeps_are_those_of_value_iteration():
    record = horizon_lab("fixed", 0.9, 0.01, states=5, options=2, seed=3)
    family = random_family(5, 2, 0.9, 3)
    choice = np.random.default_rng(3).integers(0, 2, (2, 5))
    model = timed_options(family, np.eye(2)[choice], [duration_law("fixed", 4)])[0]
    row = next(row for row in record.curve(False) if row.mean == 4)
    assert value_iteration(model, row.bound).needed(0.01) == row.measured
    assert row.r_max == pytest.approx(model.r_max) and row.gbar == pytest.approx(model.gbar)


def test_learners_reach_the_optimum_they_are_timed_on():
    models = [timed(duration_law("fixed", mean), seed=mean)[2] for mean in (1, 2, 4)]
    kernel, reward = np.stack([m.kernel for m in models]), np.stack([m.reward[0] for m in models])
    best = optimal_values(kernel, reward)
    np.testing.assert_allclose(best, [solve(m).values[0] for m in models], atol=1e-9)
    steps = policy_gradient_steps(kernel, reward, best, 0.05, 2.0, 500)
    assert np.isfinite(steps).all() and (steps > 0).all()
    assert (policy_gradient_steps(kernel, reward, best, 0.01, 2.0, 2000) > steps).all()
    updates = q_learning_updates(kernel, reward, best, 0.1, 500, np.random.default_rng(0))
    assert np.isfinite(updates).all() and updates[0] > updates[-1]
    assert np.isnan(q_learning_updates(kernel, reward, best, 0.1, 1, np.random.default_rng(0))[0])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: horizon_lab(gamma=1.0), r"gamma=1\.0: needs 0 < gamma < 1"),
        (lambda: horizon_lab(law="normal"), "law='normal': choose one of"),
        (lambda: horizon_lab(epsilon=0.0), r"epsilon=0\.0"),
        (lambda: horizon_lab(states=1), "states=1: needs a whole number, 2 or more"),
        (lambda: duration_law("fixed", 0), r"tau \(the mean\)=0: needs a whole number, 1 or more"),
        (lambda: timed_options(two_state_family(), np.zeros((0, 2, 2)), []), "needs \\(Z, 2, 2\\) with Z >= 1"),
        (lambda: timed_options(two_state_family(), np.full((1, 2, 2), 0.5), [np.array([0.5])]), "sum to 0.5"),
    ],
)
def test_bad_parameters_name_the_value_and_the_range(call, said):
    with pytest.raises(ValueError, match=said):
        call()
