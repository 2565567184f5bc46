"""GRPO's arithmetic on a policy small enough to enumerate, in float64.

The policy writes up to two of three tokens, one of which ends the answer: seven answers, 49 or 343 groups. Expected
gradients are sums over all groups, weighed by their probability. What they are compared with is written out here from
the papers' formulas with the softmax's own score, one-hot minus probabilities: no autograd, nothing of the package.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from ra3_lab.rlvr.advantages import group_advantages, overlong_penalty
from ra3_lab.rlvr.kl import kl_estimate
from ra3_lab.rlvr.losses import LOSSES, SCALE, LossConfig, Tokens, loss_of, token_weights

A, B, END = range(3)
LONGEST = 2
ANSWERS = [(END,), *itertools.product((A, B), (A, B, END))]
REWARDS = [0.1, 1.0, 0.0, 0.4, 0.0, 0.7, 0.2]  # of each answer
STATE = {(): 0, (A,): 1, (B,): 2}


def _parameters(seed: int, spread: float = 1.0) -> np.ndarray:
    """(3 states, 3 tokens) logits."""
    return np.random.default_rng(seed).normal(size=(3, 3)) * spread


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def _token_logps(logits: np.ndarray, answer: tuple[int, ...]) -> list[float]:
    table = _log_softmax(logits)
    return [table[STATE[answer[:t]], token] for t, token in enumerate(answer)]


def _probability(logits: np.ndarray, answer: tuple[int, ...]) -> float:
    return math.exp(sum(_token_logps(logits, answer)))


def _score(logits: np.ndarray, answer: tuple[int, ...], t: int) -> np.ndarray:
    """(3, 3) gradient of log pi(answer[t] | answer[:t])."""
    state, gradient = STATE[answer[:t]], np.zeros((3, 3))
    gradient[state] = -np.exp(_log_softmax(logits)[state])
    gradient[state, answer[t]] += 1
    return gradient


def _tensors(theta: torch.Tensor, answers: list[tuple[int, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, 2) log-probabilities with gradient, rubbish where there is no token, and the mask."""
    table = torch.log_softmax(theta, -1)
    rows, mask = [], torch.zeros((len(answers), LONGEST), dtype=torch.bool)
    for i, answer in enumerate(answers):
        row = [table[STATE[answer[:t]], token] for t, token in enumerate(answer)]
        mask[i, : len(row)] = True
        rows.append(torch.stack(row + [theta.sum() * 1e3] * (LONGEST - len(row))))
    return torch.stack(rows), mask


def _gradient_of_group(
    config: LossConfig, theta: np.ndarray, old: np.ndarray, group: list[int], reference: np.ndarray | None = None
) -> np.ndarray:
    """The package's gradient for one group of answers."""
    parameters = torch.tensor(theta, requires_grad=True)
    answers = [ANSWERS[i] for i in group]
    logp, mask = _tensors(parameters, answers)
    rewards = torch.tensor([[REWARDS[i] for i in group]], dtype=torch.float64)
    advantage = group_advantages(rewards, torch.ones_like(rewards, dtype=torch.bool), SCALE[config.name])[0]
    other = None if reference is None else _tensors(torch.tensor(reference), answers)[0]
    tokens = Tokens(logp, _tensors(torch.tensor(old), answers)[0], mask, advantage, other)
    loss, _ = loss_of(config, tokens, token_weights(config.name, mask, LONGEST))
    (gradient,) = torch.autograd.grad(loss, parameters)
    return gradient.numpy()


def _expected(theta: np.ndarray, group: int, one) -> np.ndarray:
    """Sum over all groups sampled from `theta` of probability times `one(group)`; each order of a group counts."""
    probabilities = [_probability(theta, answer) for answer in ANSWERS]
    return sum(
        _orders(members) * math.prod(probabilities[i] for i in members) * one(list(members))
        for members in itertools.combinations_with_replacement(range(len(ANSWERS)), group)
    )


def _orders(members: tuple[int, ...]) -> int:
    """In how many orders a group can be drawn."""
    return math.factorial(len(members)) // math.prod(math.factorial(members.count(i)) for i in set(members))


def _by_hand(name: str, theta: np.ndarray, old: np.ndarray, group: list[int]) -> np.ndarray:
    """The gradient of one group as the papers write it."""
    low, high = {"dapo": (0.2, 0.28), "gspo": (3e-4, 4e-4), "cispo": (1.0, 4.0)}.get(name, (0.2, 0.2))
    rewards = np.array([REWARDS[i] for i in group])
    advantages = rewards - rewards.mean()
    if name != "dr_grpo":
        advantages = advantages / (rewards.std(ddof=1) + 1e-4)
    answers = [ANSWERS[i] for i in group]
    total = sum(len(answer) for answer in answers)
    gradient = np.zeros((3, 3))
    for answer, advantage in zip(answers, advantages, strict=True):
        log_ratios = np.array(_token_logps(theta, answer)) - np.array(_token_logps(old, answer))
        norm = {
            "grpo": len(group) * len(answer),
            "gspo": len(group) * len(answer),
            "dr_grpo": len(group) * LONGEST,
        }.get(name, total)
        for t in range(len(answer)):
            ratio = math.exp(log_ratios.mean()) if name == "gspo" else math.exp(log_ratios[t])
            if name == "cispo":
                weight = min(ratio, 1 + high)
            else:
                idle = (ratio > 1 + high and advantage > 0) or (ratio < 1 - low and advantage < 0)
                weight = 0.0 if idle else ratio
            gradient -= weight * advantage / norm * _score(theta, answer, t)
    return gradient


@pytest.mark.parametrize("group", [2, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_expected_gradient_of_every_loss(name, group):
    """Before the first update, and after a step that takes some ratios beyond the clip."""
    old = _parameters(0)
    config = LossConfig(name)
    for theta in (old, old + _parameters(1, 0.3)):
        found = _expected(old, group, lambda members, theta=theta: _gradient_of_group(config, theta, old, members))
        wanted = _expected(old, group, lambda members, theta=theta: _by_hand(name, theta, old, members))
        np.testing.assert_allclose(found, wanted, atol=1e-12)
        assert np.abs(wanted).max() > 1e-3


@pytest.mark.parametrize("name", [n for n in LOSSES if n != "cispo"])
def test_the_step_of_the_test_above_meets_the_clip(name):
    """Otherwise it would say nothing about clipping; cispo's cap of 5 is met by a longer step."""
    old = _parameters(0)
    theta = old + _parameters(1, 0.3)
    clipped, mask = [], []
    for sign in (1.0, -1.0):
        logp, counted = _tensors(torch.tensor(theta), ANSWERS)
        advantage = torch.full((len(ANSWERS),), sign, dtype=torch.float64)
        tokens = Tokens(logp, _tensors(torch.tensor(old), ANSWERS)[0], counted, advantage)
        clipped.append(loss_of(LossConfig(name), tokens, token_weights(name, counted, LONGEST))[1]["clipped"])
        mask.append(float(counted.sum()))
    assert min(clipped) > 0 and max(clipped) < max(mask)


def test_cispo_keeps_the_gradient_of_capped_tokens():
    old, theta = _parameters(0), _parameters(0) + _parameters(2, 2.0)
    config = LossConfig("cispo", clip_high=0.5)
    members = [1, 5]
    assert max(_token_logps(theta, ANSWERS[5])[1] - _token_logps(old, ANSWERS[5])[1], 0) > math.log(1.5)
    wanted = np.zeros((3, 3))
    for i, advantage in zip(members, [1.0, -1.0], strict=True):
        scaled = advantage * 0.15 / (np.std([1.0, 0.7], ddof=1) + 1e-4)
        for t in range(2):
            ratio = math.exp(_token_logps(theta, ANSWERS[i])[t] - _token_logps(old, ANSWERS[i])[t])
            wanted -= min(ratio, 1.5) * scaled / 4 * _score(theta, ANSWERS[i], t)
    np.testing.assert_allclose(_gradient_of_group(config, theta, old, members), wanted, atol=1e-12)


def _exact_policy_gradient(theta: np.ndarray, values: list[float]) -> np.ndarray:
    """grad of E[value] by the definition: sum over answers of p(o) value(o) grad log p(o)."""
    return sum(
        _probability(theta, answer) * value * sum(_score(theta, answer, t) for t in range(len(answer)))
        for answer, value in zip(ANSWERS, values, strict=True)
    )


@pytest.mark.parametrize("group", [2, 3])
def test_dr_grpo_is_the_policy_gradient_up_to_its_constant(group):
    """-(G - 1) / (G longest) grad E[R]; with the mean of the others as baseline the (G - 1) / G is gone."""
    theta = _parameters(3)
    found = _expected(theta, group, lambda members: _gradient_of_group(LossConfig("dr_grpo"), theta, theta, members))
    exact = _exact_policy_gradient(theta, REWARDS)
    np.testing.assert_allclose(found, -(group - 1) / (group * LONGEST) * exact, atol=1e-12)
    rewards = torch.tensor([[1.0, 0.0, 0.5]], dtype=torch.float64)
    valid = torch.ones_like(rewards, dtype=torch.bool)
    mean, others = (group_advantages(rewards, valid, "none", baseline) for baseline in ("mean", "others"))
    torch.testing.assert_close(others, mean * 3 / 2)
    torch.testing.assert_close(others[0, 0], torch.tensor(0.75, dtype=torch.float64))


def test_grpo_is_not_the_policy_gradient():
    """Its own length and the group's deviation bend it: the reason why dr_grpo is the default."""
    theta = _parameters(3)
    found = _expected(theta, 3, lambda members: _gradient_of_group(LossConfig("grpo"), theta, theta, members)).ravel()
    exact = _exact_policy_gradient(theta, REWARDS).ravel()
    assert -found @ exact / np.linalg.norm(found) / np.linalg.norm(exact) < 0.99


# --- KL -----------------------------------------------------------------------------------------------


def _kl_gradient_in_loss(name: str, theta: np.ndarray, old: np.ndarray, ref: np.ndarray, answers, importance=False):
    """Expected gradient of the estimate summed over an answer's tokens, answers drawn from `old`."""
    gradient = np.zeros((3, 3))
    for answer in answers:
        parameters = torch.tensor(theta, requires_grad=True)
        logp = torch.stack([torch.log_softmax(parameters, -1)[STATE[answer[:t]], a] for t, a in enumerate(answer)])
        value = kl_estimate(name, logp, torch.tensor(_token_logps(ref, answer)))
        if importance:
            value = value * (logp - torch.tensor(_token_logps(old, answer))).exp()
        gradient += _probability(old, answer) * torch.autograd.grad(value.sum(), parameters)[0].numpy()
    return gradient


def _kl(p: np.ndarray, q: np.ndarray, state: int) -> float:
    p, q = _log_softmax(p)[state], _log_softmax(q)[state]
    return float((np.exp(p) * (p - q)).sum())


def _numeric(function, theta: np.ndarray) -> np.ndarray:
    """Gradient by central differences."""
    gradient, step = np.zeros_like(theta), 1e-6
    for index in np.ndindex(*theta.shape):
        up, down = theta.copy(), theta.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (function(up) - function(down)) / (2 * step)
    return gradient


SINGLE = [(A,), (B,), (END,)]


def test_kl_gradients_of_a_single_step():
    """k1 in the loss: 0. k2: grad KL(pi || ref). k3: grad KL(ref || pi)."""
    theta, ref = _parameters(4), _parameters(5)
    zero = _kl_gradient_in_loss("k1", theta, theta, ref, SINGLE)
    np.testing.assert_allclose(zero, 0, atol=1e-14)
    forward = _kl_gradient_in_loss("k2", theta, theta, ref, SINGLE)
    np.testing.assert_allclose(forward, _numeric(lambda x: _kl(x, ref, 0), theta), atol=1e-8)
    backward = _kl_gradient_in_loss("k3", theta, theta, ref, SINGLE)
    np.testing.assert_allclose(backward, _numeric(lambda x: _kl(ref, x, 0), theta), atol=1e-8)
    assert np.abs(forward - backward).max() > 0.05


def _answer_kl(theta: np.ndarray, ref: np.ndarray) -> float:
    """KL of whole answers."""
    return sum(_probability(theta, o) * (sum(_token_logps(theta, o)) - sum(_token_logps(ref, o))) for o in ANSWERS)


def test_k1_in_the_reward_is_the_gradient_of_the_answers_kl():
    """For answers of several tokens too, through the group's baseline with its (G - 1) / G."""
    theta, ref, beta, group = _parameters(4), _parameters(5), 0.3, 2
    penalties = [-beta * (sum(_token_logps(theta, o)) - sum(_token_logps(ref, o))) for o in ANSWERS]

    def one(members: list[int]) -> np.ndarray:
        rewards = torch.tensor([[penalties[i] for i in members]], dtype=torch.float64)
        advantage = group_advantages(rewards, torch.ones_like(rewards, dtype=torch.bool), "none")[0]
        parameters = torch.tensor(theta, requires_grad=True)
        logp, mask = _tensors(parameters, [ANSWERS[i] for i in members])
        tokens = Tokens(logp, logp.detach(), mask, advantage)
        loss, _ = loss_of(LossConfig("dr_grpo"), tokens, token_weights("dr_grpo", mask, LONGEST))
        return torch.autograd.grad(loss, parameters)[0].numpy()

    wanted = beta * _numeric(lambda x: _answer_kl(x, ref), theta) * (group - 1) / (group * LONGEST)
    np.testing.assert_allclose(_expected(theta, group, one), wanted, atol=1e-8)


def test_kl_in_the_loss_over_several_tokens_stops_at_the_states():
    """k2 and k3 sum the tokens' own gradients at the states pi visits; the answer's KL has one term more."""
    theta, ref = _parameters(4), _parameters(5)
    visits = [1.0, *np.exp(_log_softmax(theta)[0, :2])]  # of the empty answer, of "a", of "b"
    for name, sides in (("k2", lambda x, s: _kl(x, ref, s)), ("k3", lambda x, s: _kl(ref, x, s))):
        found = _kl_gradient_in_loss(name, theta, theta, ref, ANSWERS)
        wanted = sum(visit * _numeric(lambda x, s=s, sides=sides: sides(x, s), theta) for s, visit in enumerate(visits))
        np.testing.assert_allclose(found, wanted, atol=1e-8)
        assert np.abs(found - _numeric(lambda x: _answer_kl(x, ref), theta)).max() > 0.01
    np.testing.assert_allclose(_kl_gradient_in_loss("k1", theta, theta, ref, ANSWERS), 0, atol=1e-13)


def test_kl_after_the_first_of_several_updates():
    """Samples are the old policy's: only with the ratio does the gradient stay that of KL(pi || ref)."""
    old, theta, ref = _parameters(6), _parameters(4), _parameters(5)
    exact = _numeric(lambda x: _kl(x, ref, 0), theta)
    for name in ("k1", "k3"):
        plain = _kl_gradient_in_loss(name, theta, old, ref, SINGLE)
        weighed = _kl_gradient_in_loss(name, theta, old, ref, SINGLE, importance=True)
        np.testing.assert_allclose(weighed, exact, atol=1e-8)
        assert np.abs(plain - exact).max() > 0.01
        at_first = _kl_gradient_in_loss(name, old, old, ref, SINGLE, importance=True)
        np.testing.assert_allclose(at_first, _numeric(lambda x: _kl(x, ref, 0), old), atol=1e-8)


def test_kl_and_entropy_enter_the_loss_with_its_weights():
    theta, ref = _parameters(4), _parameters(5)
    logp, mask = _tensors(torch.tensor(theta), ANSWERS)
    other, _ = _tensors(torch.tensor(ref), ANSWERS)
    entropy, flat = torch.full(logp.shape, 0.5, dtype=torch.float64), torch.zeros(len(ANSWERS), dtype=torch.float64)
    for name in LOSSES:
        weights = token_weights(name, mask, LONGEST)
        config = LossConfig(name, beta=0.1, kl="k3", entropy=0.2)
        loss, record = loss_of(config, Tokens(logp, logp, mask, flat, other, None, entropy), weights)
        kl = kl_estimate("k3", logp, other)
        wanted = (torch.where(mask, 0.1 * kl - 0.2 * 0.5, 0.0) * weights).sum()
        torch.testing.assert_close(loss, wanted)
        assert record["kl"] == pytest.approx(float(kl[mask].sum()))


# --- the rest -----------------------------------------------------------------------------------------


def test_truncated_importance_multiplies_the_surrogate_only():
    logp = torch.log(torch.tensor([[0.5, 0.2]], dtype=torch.float64)).requires_grad_()
    sampler = torch.log(torch.tensor([[0.4, 0.05]], dtype=torch.float64))
    mask, advantage = torch.ones((1, 2), dtype=torch.bool), torch.ones(1, dtype=torch.float64)
    tokens = Tokens(logp, logp.detach(), mask, advantage, sampler=sampler)
    loss, _ = loss_of(LossConfig("dapo", truncate=2.0), tokens, token_weights("dapo", mask, 2))
    (gradient,) = torch.autograd.grad(loss, logp)
    torch.testing.assert_close(gradient, torch.tensor([[-1.25, -2.0]], dtype=torch.float64) / 2)


def test_answers_without_verdict_count_nowhere():
    """A group with a masked member gives the loss of the group without it, and its reward is in no baseline."""
    rewards = torch.tensor([[1.0, 0.0, 77.0]], dtype=torch.float64)
    valid = torch.tensor([[True, True, False]])
    for scale in ("group", "batch", "none"):
        some = group_advantages(rewards, valid, scale)
        both = group_advantages(rewards[:, :2], valid[:, :2], scale)
        torch.testing.assert_close(some[:, :2], both)
        assert float(some[0, 2]) == 0
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    for name in LOSSES:
        torch.testing.assert_close(token_weights(name, mask, 4)[:2], token_weights(name, mask[:2], 4))


def test_groups_without_variance_have_no_advantage_at_all():
    """0.1 summed eight times is not eight times 0.1: rounding must not become an advantage."""
    rewards = torch.full((1, 8), 0.1)
    assert group_advantages(rewards, torch.ones(1, 8, dtype=torch.bool)).abs().max() == 0


def test_only_bnpo_depends_on_the_split():
    mask = torch.tensor([[True, True, True], [True, False, False], [True, True, False], [True, False, False]])
    split = [torch.tensor([0, 1]), torch.tensor([2, 3])]
    for name in LOSSES:
        same = torch.equal(token_weights(name, mask, 4, split), token_weights(name, mask, 4))
        assert same == (name != "bnpo")


def test_overlong_answers_pay_step_by_step():
    assert overlong_penalty(torch.tensor([80, 81, 100, 130]), 100, 20).tolist() == pytest.approx([0, -0.05, -1, -1])
    assert overlong_penalty(torch.tensor([100]), 100, 0).tolist() == [0]
    with pytest.raises(ValueError, match="buffer=101"):
        overlong_penalty(torch.tensor([1]), 100, 101)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match=r"'ppo'.*grpo, dr_grpo, dapo, bnpo, gspo, cispo"):
        LossConfig("ppo")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="groups of 1"):
        group_advantages(torch.zeros(4, 1), torch.ones(4, 1, dtype=torch.bool))
    with pytest.warns(UserWarning, match="gradient 0 on average"):
        LossConfig(beta=0.1, kl="k1")
    with pytest.raises(ValueError, match="beta=-1"):
        LossConfig(beta=-1.0)
