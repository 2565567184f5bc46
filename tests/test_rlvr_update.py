"""GRPO's update on a small model in float64: ratio, split into micro-batches, padding and order, bad numbers."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ra3_lab.models.generation import Completion, Sampling
from ra3_lab.models.scoring import answer_logps
from ra3_lab.rlvr.groups import Answer, Group, count_thoughts
from ra3_lab.rlvr.kl import kl_estimate
from ra3_lab.rlvr.losses import LOSSES, LossConfig
from ra3_lab.rlvr.update import GRPO, UpdateConfig, micro_batches, rows_of

VOCABULARY = 30
SAMPLING = Sampling(0.8, max_new=12)


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=2,
        intermediate_size=24,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config).double().eval()


def _groups(size: int = 4, seed: int = 0) -> list[Group]:
    """Three groups of answers of 1 to 12 tokens, drawn from nowhere; one answer has no verdict."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    groups = []
    for g in range(3):
        prompt = tuple(draw(1, VOCABULARY) for _ in range(draw(2, 9)))
        answers = []
        for i in range(size):
            ids = tuple(draw(1, VOCABULARY) for _ in range(draw(1, 13)))
            completion = Completion("", len(ids), True, "end", ids, tuple(-3.4 for _ in ids))
            reward = None if (g, i) == (1, 2) else float(draw(0, 2)) + 0.25 * i
            answers.append(Answer(completion, "passed", reward))
        groups.append(Group(f"task/{g}", "", prompt, tuple(answers)))
    return groups


def _gradient(model: Any, groups: list[Group], loss: LossConfig, tokens_at_once: int = 10_000, **more) -> torch.Tensor:
    """The gradient of the first iteration, as one vector."""
    policy = copy.deepcopy(model)
    reference = copy.deepcopy(model)
    for parameter in reference.parameters():
        parameter.data *= 1.1
    config = UpdateConfig(loss=loss, tokens_at_once=tokens_at_once, clip_norm=1e9, **more)
    grpo = GRPO(policy, config, SAMPLING, "fp32", reference)
    kept: list[torch.Tensor] = []

    def look(*_: object) -> None:
        kept.append(torch.cat([p.grad.flatten() for p in grpo.parameters if p.grad is not None]))

    grpo.optimizer.register_step_pre_hook(look)
    grpo.update(groups)
    return kept[0]


FULL = dict(beta=0.1, kl="k3", entropy=0.05, truncate=2.0)


@pytest.mark.parametrize("name", LOSSES)
def test_the_split_into_micro_batches_changes_no_loss_but_bnpo(model, name):
    """One micro-batch of all twelve answers, or one for each."""
    groups, loss = _groups(), LossConfig(name, **FULL)
    whole, single = _gradient(model, groups, loss), _gradient(model, groups, loss, tokens_at_once=1)
    assert whole.abs().max() > 1e-4
    apart = float((whole - single).abs().max() / whole.abs().max())
    assert apart < 1e-6 if name != "bnpo" else apart > 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_order_and_padding_change_nothing(model, name):
    """Groups and their members in another order; and beside an answer so long that all others are padded."""
    groups, loss = _groups(), LossConfig(name, **FULL)
    shuffled = [replace(group, answers=group.answers[::-1]) for group in (groups[2], groups[0], groups[1])]
    before, after = _gradient(model, groups, loss), _gradient(model, shuffled, loss)
    torch.testing.assert_close(after, before, atol=1e-9, rtol=1e-6)
    rows = rows_of(groups)
    wide = torch.nn.functional.pad(rows.ids, (0, 9), value=VOCABULARY - 1)
    plain, _ = answer_logps(model, rows.ids, rows.prompts, rows.lengths, 0.8)
    padded, _ = answer_logps(model, wide, rows.prompts, rows.lengths, 0.8)
    torch.testing.assert_close(padded, plain, atol=1e-12, rtol=1e-12)


def test_scores_are_those_of_the_plain_model_in_any_chunks(model, monkeypatch):
    """Log-probabilities, entropies and their gradients against logits of the whole module."""
    rows = rows_of(_groups())
    logits = model(input_ids=rows.ids).logits / 0.8
    every = logits.log_softmax(-1)
    logp, entropy = answer_logps(model, rows.ids, rows.prompts, rows.lengths, 0.8, entropy_gradient=True)
    wanted_logp, wanted_entropy = torch.zeros_like(logp), torch.zeros_like(entropy)
    for b in range(len(rows.ids)):
        for t in range(int(rows.lengths[b])):
            place = int(rows.prompts[b]) + t
            wanted_logp[b, t] = every[b, place - 1, rows.ids[b, place]]
            wanted_entropy[b, t] = -(every[b, place - 1].exp() * every[b, place - 1]).sum()
    torch.testing.assert_close(logp, wanted_logp)
    torch.testing.assert_close(entropy, wanted_entropy)
    weight = torch.randn(logp.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    parameters = list(model.parameters())

    def gradient(a: torch.Tensor, b: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(((a + 0.3 * b) * weight).sum(), parameters))

    wanted = gradient(wanted_logp, wanted_entropy)
    torch.testing.assert_close(gradient(logp, entropy), wanted)
    monkeypatch.setattr("ra3_lab.models.scoring._LOGITS_AT_ONCE", 5 * VOCABULARY)  # five tokens at a time
    torch.testing.assert_close(
        gradient(*answer_logps(model, rows.ids, rows.prompts, rows.lengths, 0.8, entropy_gradient=True)), wanted
    )


def test_the_ratio_is_exactly_one_before_the_first_update_and_not_after(model, monkeypatch):
    ratios = []

    def spy(config, tokens, weights):
        ratios.append((tokens.logp.detach() - tokens.old)[tokens.mask])
        return original(config, tokens, weights)

    from ra3_lab.rlvr import update

    original = update.loss_of
    monkeypatch.setattr(update, "loss_of", spy)
    config = UpdateConfig(iterations=2, warmup=0, learning_rate=1e-3, tokens_at_once=40)
    GRPO(copy.deepcopy(model), config, SAMPLING, "fp32").update(_groups())
    half = len(ratios) // 2
    assert half > 1
    assert all(bool((difference == 0).all()) for difference in ratios[:half])
    assert any(float(difference.abs().max()) > 1e-4 for difference in ratios[half:])


def test_answers_without_advantage_are_not_computed_and_change_nothing(model):
    """A group whose members earn the same adds to the counts only."""
    groups = _groups()
    flat = replace(groups[0], answers=tuple(replace(answer, reward=1.0) for answer in groups[0].answers))
    grpo = GRPO(copy.deepcopy(model), UpdateConfig(warmup=0), SAMPLING, "fp32")
    record = grpo.update([flat, *groups[1:]])
    assert record["zero_variance"] == pytest.approx(1 / 3) and record["rows_with_gradient"] == 7
    before = [p.detach().clone() for p in grpo.parameters]
    nothing = grpo.update([flat])  # Adam's momentum would move the weights
    assert nothing["rows_with_gradient"] == 0
    assert all(torch.equal(a, b) for a, b in zip(before, grpo.parameters, strict=True))


def test_the_kl_to_the_start_is_of_all_answers_that_count(model):
    """Also of groups without a gradient: the policy has moved for them, too."""
    groups = _groups()
    flat = replace(groups[0], answers=tuple(replace(answer, reward=1.0) for answer in groups[0].answers))
    for some in ([flat, *groups[1:]], [flat]):
        grpo = GRPO(copy.deepcopy(model), UpdateConfig(warmup=0), SAMPLING, "fp32", model)
        grpo.update(groups)
        found = grpo.update(some, measure_kl=True)["kl_to_initial"]
        rows = rows_of(some)
        counted = rows.exists & torch.tensor([a.reward is not None for g in some for a in g.answers])[:, None]
        distance = kl_estimate("k3", grpo.score(grpo.model, some), grpo.score(model, some))
        assert found == pytest.approx(float(distance[counted].mean()))


def test_kl_in_the_reward_and_truncated_answers(model):
    groups = _groups()
    plain = _gradient(model, groups, LossConfig("dr_grpo"))
    pulled = _gradient(model, groups, LossConfig("dr_grpo", beta=0.1, kl="k1", kl_in="reward"))
    assert not torch.allclose(plain, pulled)
    cut = replace(groups[0].answers[0], completion=replace(groups[0].answers[0].completion, reason="length"))
    some = [replace(groups[0], answers=(cut, *groups[0].answers[1:])), *groups[1:]]
    without = [replace(some[0], answers=(replace(cut, reward=None), *some[0].answers[1:])), *groups[1:]]
    masked = _gradient(model, some, LossConfig("dr_grpo"), mask_truncated=True)
    torch.testing.assert_close(masked, _gradient(model, without, LossConfig("dr_grpo")))


def test_what_is_not_finite_stops_before_the_weights(model):
    groups = _groups()
    policy = copy.deepcopy(model)
    grpo = GRPO(policy, UpdateConfig(), SAMPLING, "fp32")
    good = [p.detach().clone() for p in grpo.parameters]
    grpo.parameters[-1].register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(FloatingPointError, match=r"update 0: .*nan.*weights were not touched.*learning_rate"):
        grpo.update(groups)
    assert all(torch.equal(a, b) for a, b in zip(good, grpo.parameters, strict=True))
    assert all(p.grad is None for p in grpo.parameters)
    with pytest.raises(ValueError, match="needs a reference"):
        GRPO(policy, UpdateConfig(loss=LossConfig(beta=0.1)), SAMPLING, "fp32")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UpdateConfig(overlong=-3), "overlong=-3: 0 or more"),
        (lambda: UpdateConfig(weight_decay=-1.0), r"weight_decay=-1\.0"),
        (lambda: LossConfig(entropy=float("nan")), "entropy=nan: weights, finite numbers"),
        (lambda: LossConfig(clip_low=float("nan")), "clip_low=nan"),
    ],
)
def test_settings_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_micro_batches_hold_every_row_once():
    lengths = torch.tensor([5, 1, 9, 9, 2, 30])
    parts = micro_batches(lengths, 18)
    assert sorted(torch.cat(parts).tolist()) == list(range(6))
    assert all(len(part) == 1 or len(part) * int(lengths[part].max()) <= 18 for part in parts)


def test_thoughts_are_counted_as_in_midtraining():
    """Comment lines flush left; the code lines before the first belong to none."""
    found = count_thoughts(["    a = 1\n# b\n    c = 2\n    d = 3\n# e f g\n    return d\n", "", "# x\n"])
    assert (found.share, found.words, found.duration) == (3 / 4, 5 / 3, 1.0)
