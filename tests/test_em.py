"""The EM loop by invariance: settings that must give the same run do, to the last bit where the text says so."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ra3_lab.evaluate import programs
from ra3_lab.evaluate.annotation import annotate_traces
from ra3_lab.evaluate.likelihood import k_sample_bound
from ra3_lab.midtrain import em
from ra3_lab.midtrain.em import MidtrainConfig, midtrain
from ra3_lab.midtrain.estep import EStep, EStepConfig
from ra3_lab.midtrain.mstep import FineTuner, MStepConfig, program_order
from ra3_lab.models import generation, rollout
from ra3_lab.models.decoder import Decoder
from ra3_lab.models.rollout import LatentSampling, sample_latents
from ra3_lab.models.sampling import INFUSING, LOOKING_BEFORE, MEASURING, VALIDATING, WATCHING, keyed_uniforms
from ra3_lab.models.tokenizer import FORCED, MARK, THOUGHT
from ra3_lab.models.variants import Variant
from ra3_lab.sandbox import Verdict
from ra3_lab.trace import Trace, annotate

CORPUS = [
    Trace("def f(a):\n", ("    b = a\n", "# expert's own comment\n", "    return b\n"), trace_id="f"),
    Trace("def g():\n", tuple(f"    x{i} = {i}\n" for i in range(6)), trace_id="g"),
    Trace("", ("y = 2\n",), trace_id="y"),
    Trace("a = 1\n", ("b = a + 1\n", "print(b)\n"), trace_id="b"),
    Trace("x = 1\n", ("y = x\n" * 2, "x = y + 1\n"), trace_id="x"),
]
ESTEP = EStepConfig(updates=4, programs=2, group=3, longest_thought=4, learning_rate=1e-3)
MSTEP = MStepConfig(updates=6, programs=3)
CONFIG = MidtrainConfig(seed=3, rounds=2, precision="fp32", estep=ESTEP, mstep=MSTEP)


def weights(model) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def recorded(monkeypatch) -> list[list[tuple[int, ...]]]:
    """From now on every M-step batch is noted, as token ids, in the list that comes back."""
    batches: list[list[tuple[int, ...]]] = []
    update = FineTuner.update

    def noting(self, encoded):
        batches.append([tuple(e.ids.tolist()) for e in encoded])
        return update(self, encoded)

    monkeypatch.setattr(FineTuner, "update", noting)
    return batches


@pytest.mark.parametrize("method", ["ntp", "annotator"])
def test_thoughts_that_the_context_has_no_room_for_keep_no_program_out(method, thinker, small_tokenizer):
    short = Trace("def f(a):\n", ("    return a\n",), (" keep it" * 400,), "f")
    config = replace(CONFIG, method=method, rounds=1, mstep=replace(MSTEP, updates=1))
    with pytest.warns(UserWarning, match="no room for all their thoughts") if method == "annotator" else nullcontext():
        result = midtrain(config, thinker, small_tokenizer, [short])
    assert result.updates == 5


def test_an_update_whose_gradient_is_not_finite_changes_nothing(thinker, small_tokenizer):
    model = copy.deepcopy(thinker)
    tuner = FineTuner(model, small_tokenizer, MSTEP, "fp32")
    before = weights(model)
    hook = model.model.norm.weight.register_hook(lambda gradient: gradient * float("inf"))
    encoded = [small_tokenizer.encode_trace(CORPUS[0])]
    with pytest.raises(FloatingPointError, match=r"update 0: the gradient's norm is (inf|nan); lower learning_rate"):
        tuner.update(encoded)
    hook.remove()
    assert torch.equal(weights(model), before) and tuner.updates == 0
    other = FineTuner(copy.deepcopy(thinker), small_tokenizer, MSTEP, "fp32")
    assert tuner.update(encoded) == other.update(encoded) and torch.equal(weights(model), weights(other.model))


def test_masked_thinking_gives_next_token_prediction_bit_for_bit(thinker, small_tokenizer, monkeypatch):
    batches = recorded(monkeypatch)
    masked = replace(CONFIG, method="ra3", estep=replace(ESTEP, cost=float("inf")))
    ra3 = midtrain(masked, thinker, small_tokenizer, CORPUS)
    of_ra3 = batches[:]
    batches.clear()
    ntp = midtrain(replace(CONFIG, method="ntp", estep=replace(ESTEP, updates=0)), thinker, small_tokenizer, CORPUS)
    assert of_ra3 == batches and len(batches) == MSTEP.updates
    assert torch.equal(weights(ra3.model), weights(ntp.model))
    assert ra3.updates == ntp.updates
    assert not torch.equal(weights(ntp.model), weights(thinker))


def test_every_arm_spends_the_same_updates_and_sees_the_same_programs(thinker, small_tokenizer, monkeypatch):
    seen: list[list[tuple[tuple[int, ...], int]]] = []  # per M-step batch the programs' ids and their thoughts
    update = FineTuner.update

    def noting(self, encoded):
        code = [e.ids[~np.isin(e.roles, (MARK, THOUGHT, FORCED))] for e in encoded]
        seen.append([(tuple(c), int((e.roles == MARK).sum())) for c, e in zip(code, encoded, strict=True)])
        return update(self, encoded)

    monkeypatch.setattr(FineTuner, "update", noting)
    programs, thoughts = {}, {}
    for method in ("ntp", "prior", "ra3"):
        seen.clear()
        result = midtrain(replace(CONFIG, method=method), thinker, small_tokenizer, CORPUS)
        assert result.updates == ESTEP.updates + MSTEP.updates
        assert len(seen) == (MSTEP.updates if method == "ra3" else result.updates)
        programs[method] = [[code for code, _ in batch] for batch in seen[: MSTEP.updates]]
        thoughts[method] = sum(count for batch in seen for _, count in batch)
    assert programs["ra3"] == programs["prior"] == programs["ntp"]
    assert thoughts["ntp"] == 0 < min(thoughts["prior"], thoughts["ra3"])


@pytest.mark.parametrize("method", [m for m in em.METHODS if m != "annotator"])
def test_equal_seeds_give_equal_weights(thinker, small_tokenizer, method):
    config = replace(CONFIG, method=method, seed=5)
    one = midtrain(config, thinker, small_tokenizer, CORPUS)
    torch.manual_seed(99)  # nothing hangs on global state
    two = midtrain(config, thinker, small_tokenizer, CORPUS)
    other = midtrain(replace(config, seed=6), thinker, small_tokenizer, CORPUS)
    assert torch.equal(weights(one.model), weights(two.model))
    assert not torch.equal(weights(one.model), weights(other.model))


@pytest.mark.parametrize(("seen", "kept"), [((0.2, 0.9, 0.4), 1), ((0.0, 0.0, 0.0), 2)])
def test_midtraining_leaves_the_given_model_alone_and_keeps_the_best_checkpoint(thinker, small_tokenizer, seen, kept):
    before, looks = weights(thinker), []
    scores = iter(seen)

    def validate(model):
        looks.append(weights(model))
        return next(scores)

    config = replace(CONFIG, method="ntp", estep=replace(ESTEP, updates=0), evaluate_every=2)
    result = midtrain(config, thinker, small_tokenizer, CORPUS, validate=validate)
    assert torch.equal(weights(thinker), before)
    assert result.validation == seen[kept]
    assert torch.equal(weights(result.model), looks[kept])


def test_lora_moves_the_adapters_and_nothing_else(thinker, small_tokenizer):
    config = replace(CONFIG, method="ra3", variant=Variant(adapter="lora", rank=2, alpha=4))
    result = midtrain(config, thinker, small_tokenizer, CORPUS)
    original = dict(thinker.named_parameters())
    for adapted in (result.model, result.q):
        moved = []
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                if "lora_B" in name:  # starts at zero
                    moved.append(bool(parameter.abs().sum() > 0))
                continue
            plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
            assert torch.equal(parameter, original[plain]), name
        assert moved and all(moved)


def estep_gradient(model, tokenizer, at_once: int, extra: bool = False) -> torch.Tensor:
    """Gradient of one E-step; `extra` adds longer programs that have no advantage, which only pad the others."""
    q, pi = copy.deepcopy(model).double(), copy.deepcopy(model).double()
    step = EStep(q, pi, tokenizer, replace(ESTEP, tokens_at_once=at_once), seed=0, precision="fp32")
    traces = [trace for trace in CORPUS for _ in range(ESTEP.group)]
    rollouts = sample_latents(Decoder(model), tokenizer, traces, step.how, 0, 0)
    encoded, advantage, _ = step.credit(rollouts)
    assert any(r.trace.thought_lines for r in rollouts)
    count = len(encoded)
    if extra:
        long = tokenizer.encode_trace(Trace("z\n" * 9, ("z = 3\n",) * 12))
        encoded = [*encoded, long]
        advantage = torch.nn.functional.pad(advantage, (0, 12 - advantage.shape[1], 0, 1))
    step.accumulate(encoded, advantage)
    return torch.cat([p.grad.flatten() for p in step.parameters]) * len(encoded) / count


def test_estep_gradient_does_not_depend_on_micro_batches_or_padding(thinker, small_tokenizer):
    whole = estep_gradient(thinker, small_tokenizer, 100_000)
    assert float(whole.norm()) > 1e-3
    for other in (
        estep_gradient(thinker, small_tokenizer, 60),
        estep_gradient(thinker, small_tokenizer, 100_000, extra=True),
    ):
        torch.testing.assert_close(other, whole, rtol=1e-6, atol=1e-6 * float(whole.abs().max()))


def test_mstep_does_not_depend_on_micro_batches(thinker, small_tokenizer):
    encoded = [small_tokenizer.encode_trace(trace) for trace in CORPUS]
    gradients, losses = [], []
    for at_once in (100_000, 60):
        model = copy.deepcopy(thinker).double()
        tuner = FineTuner(model, small_tokenizer, replace(MSTEP, tokens_at_once=at_once, clip=1e9), "fp32")
        tuner.optimizer = torch.optim.SGD(tuner.parameters, lr=1.0)  # the step is the gradient
        losses.append(tuner.update(encoded))
        gradients.append((weights(thinker).double() - weights(model)) / tuner._rate())
    assert losses[0] == pytest.approx(losses[1], rel=1e-7)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-6 * float(gradients[0].abs().max()))


def test_a_large_cost_drives_thoughts_away(thinker, small_tokenizer):
    config = replace(ESTEP, cost=20.0, programs=5, group=8, learning_rate=3e-3, penalty=0.0)
    step = EStep(copy.deepcopy(thinker), thinker, small_tokenizer, config, seed=0, precision="fp32")
    shares = [step.update(CORPUS, number)["think_share"] for number in range(30)]
    assert np.mean(shares[:3]) > 0.05
    assert np.mean(shares[-3:]) < 0.25 * np.mean(shares[:3])


@pytest.mark.parametrize("method", ["ra3", "prior", "annotator", "resampled"])
def test_a_program_that_just_fits_is_trained_on_with_the_thoughts_that_fit(
    method, thinker, small_tokenizer, monkeypatch
):
    """The E-step samples, the M-step inserts and an annotator knows no context: none of them passes it."""
    lines, context = ["    y = 1\n"] * 6, thinker.config.max_position_embeddings
    while len(small_tokenizer.encode_trace(Trace("def f():\n", (*lines, lines[0]))).ids) <= context - 8:
        lines.append(lines[0])
    corpus = [Trace("def f():\n", tuple(lines), trace_id="f")]
    config = replace(CONFIG, method=method, rounds=1, estep=replace(ESTEP, updates=2, programs=1, longest_thought=3))
    seen = []
    usual = FineTuner.update
    monkeypatch.setattr(FineTuner, "update", lambda self, encoded: seen.extend(encoded) or usual(self, encoded))
    all_thoughts = {"f": annotate(corpus[0], [" why"] * len(lines))}
    if method == "annotator":
        with pytest.warns(UserWarning, match="no room for all their thoughts in a context of 128"):
            midtrain(config, thinker, small_tokenizer, corpus, annotations=all_thoughts)
    else:
        midtrain(config, thinker, small_tokenizer, corpus)
    lengths = [len(encoded.ids) for encoded in seen]
    bare = len(small_tokenizer.encode_trace(corpus[0]).ids)
    assert len(seen) and max(lengths) <= context and max(lengths) > bare, "some thoughts fit"


def test_what_is_chosen_or_measured_is_drawn_by_keys_of_its_own(thinker, small_tokenizer, monkeypatch):
    """Not by those of an update, and not by those of the scores in the end, which stay what they were."""
    used: set[int] = set()

    def noting(seed, update, sample, position):
        used.add(update)
        return keyed_uniforms(seed, update, sample, position)

    for module in (rollout, generation):
        monkeypatch.setattr(module, "keyed_uniforms", noting)
    monkeypatch.setattr(programs, "judge_batch", lambda jobs, *_, **__: [Verdict(True, "passed", 0.0, "")] * len(jobs))

    def keys(draw) -> set[int]:
        used.clear()
        draw()
        return set(used)

    def scored(**more):
        task: Any = SimpleNamespace(prompt="def f(a):\n", pairs=[[[1], 1]], steps=(), in_order=True)
        programs.evaluate_programs(thinker, small_tokenizer, [task], 1, 1.0, 0, "fp32", 8, isolation="process", **more)

    trained = keys(lambda: midtrain(CONFIG, thinker, small_tokenizer, CORPUS))
    tested = keys(scored)
    apart = [
        keys(lambda: scored(update=VALIDATING)),
        keys(lambda: k_sample_bound(thinker, small_tokenizer, CORPUS, 2, precision="fp32")),
        keys(lambda: annotate_traces(thinker, small_tokenizer, CORPUS, precision="fp32")),
    ]
    assert trained == {0, 1, 2, 3, INFUSING, INFUSING + 1} and tested == {0}
    assert apart == [{VALIDATING}, {MEASURING}, {MEASURING}]
    assert len({INFUSING, WATCHING, MEASURING, VALIDATING, LOOKING_BEFORE}) == 5


def test_program_order_is_a_shuffle_of_epochs_and_a_prefix_of_longer_orders():
    order = program_order(seed=1, corpus=7, updates=5, programs=4)
    assert sorted(order.ravel()[:7]) == sorted(order.ravel()[7:14]) == list(range(7))
    assert (program_order(1, 7, 9, 4)[:5] == order).all()
    assert (program_order(2, 7, 5, 4) != order).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MidtrainConfig(method="sft"), "method=.sft.*ntp, prior, ra3"),
        (lambda: MidtrainConfig(rounds=0), "rounds=0"),
        (lambda: MidtrainConfig(rounds=7, mstep=MSTEP), "rounds=7.*6"),
        (lambda: MidtrainConfig(rounds=5, estep=ESTEP, mstep=MSTEP), "updates=4 for rounds=5.*prior"),
        (lambda: MidtrainConfig(infuse_temperature=-1), "infuse_temperature=-1"),
        (lambda: EStepConfig(group=1), "group=1.*at least 2"),
        (lambda: EStepConfig(cost=-0.1), "cost=-0.1"),
        (lambda: EStepConfig(cost=float("nan")), "cost=nan"),
        (lambda: EStepConfig(programs=0), "programs=0"),
        (lambda: EStepConfig(longest_thought=-1), "longest_thought=-1"),
        (lambda: EStepConfig(longest_thought=0), "longest_thought=0"),
        (lambda: EStepConfig(horizon=0), "horizon=0"),
        (lambda: EStepConfig(floor=1.0), "floor=1.0"),
        (lambda: EStepConfig(floor=float("nan")), "floor=nan"),
        (lambda: EStepConfig(discount=2.0), "discount=2.0"),
        (lambda: EStepConfig(penalty=-1.0), "penalty=-1.0"),
        (lambda: EStepConfig(learning_rate=0.0), "learning_rate=0.0"),
        (lambda: EStepConfig(clip=0.0), "clip=0.0"),
        (lambda: EStepConfig(kl=-0.1), "kl=-0.1"),
        (lambda: EStepConfig(tokens_at_once=0), "tokens_at_once=0"),
        (lambda: MidtrainConfig(evaluate_every=0), "evaluate_every=0"),
        (lambda: LatentSampling(longest_thought=-1), "longest_thought=-1"),
        (lambda: MStepConfig(clip=-1.0), "clip=-1.0"),
        (lambda: MStepConfig(tokens_at_once=0), "tokens_at_once=0"),
        (lambda: MStepConfig(updates=0), "updates=0"),
        (lambda: MStepConfig(learning_rate=0.0), "learning_rate=0.0"),
    ],
)
def test_wrong_settings_are_refused_with_their_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()
