"""Closed forms against sums over the definition, against Monte Carlo, and against the torch versions of training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ra3_lab.midtrain import elbo
from ra3_lab.theory import closed_forms as forms

NAN = math.nan
unit = st.floats(0.01, 0.99)
some = settings(max_examples=60, deadline=None)


@st.composite
def posteriors(draw):
    """(q(renew), q(z | renew), alpha, previous z)."""
    size = draw(st.integers(1, 6))
    weights = np.array(draw(st.lists(st.floats(0, 1), min_size=size, max_size=size))) + 1e-6
    return draw(st.floats(0, 1)), weights / weights.sum(), draw(unit), draw(st.integers(0, size - 1))


@some
@given(posteriors())
def test_the_prior_s_kl_is_the_sum_over_pairs_and_bounds_the_marginal(case):
    renew, choice, alpha, previous = case
    size = len(choice)
    pairs = [(1 - renew, alpha)] + [(renew * q, (1 - alpha) / size) for q in choice]
    summed = sum(q * math.log(q / p) for q, p in pairs if q > 0)
    assert forms.pair_kl(renew, choice, alpha) == pytest.approx(summed, abs=1e-12)
    q = renew * choice
    q[previous] += 1 - renew
    prior = forms.sticky_prior(alpha, size, previous)
    marginal = sum(a * math.log(a / b) for a, b in zip(q, prior, strict=True) if a > 0)
    assert forms.marginal_kl(renew, choice, alpha, previous) == pytest.approx(marginal, abs=1e-12)
    assert marginal <= summed + 1e-12


@some
@given(posteriors())
def test_training_and_theory_compute_the_same_prior(case):
    renew, choice, alpha, previous = case
    chosen = torch.tensor(choice)
    assert forms.pair_kl(renew, choice, alpha) == pytest.approx(elbo.pair_kl(renew, chosen, alpha), abs=1e-12)
    theirs = elbo.marginal_kl(renew, chosen, alpha, previous)
    assert forms.marginal_kl(renew, choice, alpha, previous) == pytest.approx(theirs, abs=1e-12)
    assert forms.sticky_prior(alpha, len(choice), previous) == pytest.approx(
        elbo.sticky_prior(alpha, len(choice), previous).numpy(), abs=1e-15
    )
    assert forms.renewal_cost(alpha, len(choice)) == pytest.approx(elbo.renewal_cost(alpha, len(choice)), abs=1e-12)


def test_renewal_cost_is_the_gap_between_two_log_priors():
    alpha, size = 0.8, 7
    assert forms.renewal_cost(alpha, size) == pytest.approx(math.log(alpha) - math.log((1 - alpha) / size))


@some
@given(gamma=unit, mean=st.floats(1, 30))
def test_geometric_durations_discount_as_their_sum_says(gamma, mean):
    taus = np.arange(1, 4_000)
    stop = 1 / mean
    law = stop * (1 - stop) ** (taus - 1)
    assert forms.geometric_discount(gamma, mean) == pytest.approx(float(law @ gamma**taus), abs=1e-6)
    assert forms.geometric_discount(gamma, mean) >= gamma**mean - 1e-12  # Jensen


@some
@given(gamma=unit, tau=st.integers(1, 50))
def test_the_cap_on_an_option_s_reward_is_the_sum_of_its_discounts(gamma, tau):
    assert forms.option_reward_cap(gamma, tau) == pytest.approx(sum(gamma**i for i in range(tau)))


@some
@given(gbar=unit, epsilon=st.floats(1e-4, 10), r_max=st.floats(0, 100))
def test_the_iteration_bound_is_enough_by_arithmetic(gbar, epsilon, r_max):
    n = forms.value_iteration_bound(gbar, r_max, epsilon)
    assert gbar**n * r_max / (1 - gbar) <= epsilon * (1 + 1e-9)


@some
@given(k=st.integers(1, 8), extra=st.integers(0, 10), sigma=unit, delta=unit)
def test_numbers_of_expert_tasks_are_ordered(k, extra, sigma, delta):
    setting = (k, k + extra, sigma, delta)
    sharp, ours, paper = (
        function(*setting)
        for function in (forms.expert_tasks_sharp, forms.expert_tasks_bound, forms.expert_tasks_paper)
    )
    assert sharp <= ours + 1e-9 and ours <= paper + 1e-9
    assert forms.failure_bound(ours, k, k + extra, sigma) <= delta + 1e-9


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: forms.effective_horizon(1.0), r"gbar=1\.0: needs 0 < gbar < 1"),
        (lambda: forms.duration_discount(1.0, [1], [1]), "gamma=1.0: needs 0 < gamma < 1"),
        (lambda: forms.duration_discount(0.9, [0.5], [1.0]), "tau=0.5: needs tau >= 1"),
        (lambda: forms.duration_discount(0.9, [1, 2], [0.5, 0.4]), "sum to 0.9"),
        (lambda: forms.geometric_discount(0.9, 0.5), "needs tau >= 1"),
        (lambda: forms.option_reward_cap(0.9, 0), "needs tau >= 1"),
        (lambda: forms.value_iteration_bound(0.9, 1.0, 0.0), "epsilon=0.0: needs a finite number above 0"),
        (lambda: forms.value_iteration_bound(0.9, -1.0, 0.1), "r_max=-1.0"),
        (lambda: forms.expert_tasks_bound(3, 8, 0.0, 0.1), "sigma=0.0: needs 0 < sigma < 1"),
        (lambda: forms.expert_tasks_bound(3, 8, 0.1, 1.0), "delta=1.0: needs 0 < delta < 1"),
        (lambda: forms.expert_tasks_bound(0, 8, 0.1, 0.1), "k=0: needs a whole number, 1 to 8"),
        (lambda: forms.expert_tasks_bound(9, 8, 0.1, 0.1), "k=9: needs a whole number, 1 to 8"),
        (lambda: forms.renewal_cost(1.0, 3), "alpha=1.0: needs 0 < alpha < 1"),
        (lambda: forms.pair_kl(0.5, [0.5, 0.6], 0.5), "sum to 1"),
        (lambda: forms.marginal_kl(1.5, [1.0], 0.5, 0), r"renew=1\.5: a probability"),
        (lambda: forms.pair_kl(1.0, [NAN, NAN], 0.5), "choice=.*nan.*sum to 1"),
        (lambda: forms.pair_kl(NAN, [0.5, 0.5], 0.5), "a=nan: a probability"),
        (lambda: forms.sticky_prior(NAN, 2, 0), "alpha=nan: needs 0 < alpha < 1"),
        (lambda: forms.sticky_prior(0.5, NAN, 0), r"\|Z\|=nan: needs a whole number, 1 or more"),
        (lambda: forms.duration_discount(0.9, [1, 2], [NAN, NAN]), "sum to nan"),
        (lambda: forms.duration_discount(0.9, [1, NAN], [0.5, 0.5]), "tau=nan: needs tau >= 1, finite"),
        (lambda: forms.duration_discount(0.9, [1, math.inf], [0.5, 0.5]), "tau=inf: needs tau >= 1, finite"),
        (lambda: forms.geometric_discount(0.9, math.inf), "mean=inf: needs tau >= 1, finite"),
        (lambda: forms.value_iteration_bound(0.5, NAN, 0.1), "r_max=nan: .* finite number of 0 or more"),
        (lambda: forms.value_iteration_bound(0.5, math.inf, 0.1), "r_max=inf: .* finite number of 0 or more"),
        (lambda: forms.value_iteration_bound(0.5, 1.0, NAN), "epsilon=nan: needs a finite number above 0"),
        (lambda: forms.expert_tasks_bound(math.inf, 8, 0.1, 0.05), "k=inf: needs a whole number, 1 to 8"),
        (lambda: forms.expert_tasks_bound(3, math.inf, 0.1, 0.05), "options=inf: needs a whole number, 1 or more"),
        (lambda: forms.expert_tasks_bound(3, 8, NAN, 0.05), "sigma=nan: needs 0 < sigma < 1"),
        (lambda: forms.failure_bound(NAN, 3, 8, 0.1), "tasks=nan: a number of expert tasks"),
    ],
)
def test_bad_parameters_name_the_value_and_the_range(call, said):
    with pytest.raises(ValueError, match=said):
        call()
