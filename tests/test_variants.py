"""Every variant that is said to work takes real steps on the embedded model, on a CPU: E-step and M-step move every
adapter tensor and nothing else, and a rollout in between changes no gradient."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace

import pytest
import torch

from ra3_lab.evaluate.latents import trace_of
from ra3_lab.midtrain.estep import EStep, EStepConfig
from ra3_lab.midtrain.mstep import FineTuner, MStepConfig
from ra3_lab.models import quantize
from ra3_lab.models.adapters import make_optimizer, merged, prepare, target_layers, twin, variant_of
from ra3_lab.models.decoder import Cache, Decoder
from ra3_lab.models.load import load_model
from ra3_lab.models.rollout import LatentSampling, sample_latents
from ra3_lab.models.scoring import collate, score_batch
from ra3_lab.models.variants import ADAPTERS, Variant
from ra3_lab.tasks.pipelines import load_split
from ra3_lab.trace import Trace

bnb = pytest.importorskip("bitsandbytes", reason="4-bit weights need the extra qlora (bitsandbytes)")

WORKING = [name for name, verdict in ADAPTERS.items() if verdict.cpu == "works" and name != "none"]
VARIANTS = [
    *(Variant(quant="nf4", adapter=name, rank=4, compute="fp32") for name in WORKING),
    Variant(quant="nf4", double_quant=False, adapter="lora", rank=4, compute="fp32"),
    Variant(quant="fp4", adapter="lora", rank=4, compute="fp32"),
    Variant(quant="nf4", adapter="lora", rank=4, checkpointing=True, compute="fp32"),
    Variant(adapter="pissa", rank=4),
    Variant(adapter="dora", rank=4),
]
ESTEP = EStepConfig(updates=2, programs=4, group=4, temperature=1.5, learning_rate=1e-3, longest_thought=4)
MSTEP = MStepConfig(updates=2, programs=2)


def label(variant: Variant) -> str:
    plain = "" if variant.double_quant is None else "-single"
    return f"{variant.quant}{plain}-{variant.adapter}" + ("-checkpointed" if variant.checkpointing else "")


@pytest.fixture(scope="module")
def embedded():
    return load_model("embedded", "cpu")


@pytest.fixture(scope="module")
def programs():
    whole = [trace_of(task) for task in load_split("expert")[:2]]
    return [Trace(trace.prompt, trace.lines[:5]) for trace in whole]


@pytest.fixture(scope="module")
def ready(embedded, programs):
    """Prepared models by variant, each made once."""
    model, tokenizer = embedded
    examples = [tokenizer.encode_trace(trace).ids.tolist() for trace in programs]
    made: dict[Variant, torch.nn.Module] = {}

    def make(variant: Variant):
        if variant not in made:
            made[variant] = prepare(model, variant, seed=1, examples=examples)
        return twin(made[variant])

    return make


def test_checkpointing_is_switched_on_and_nobody_is_warned_of_a_name_that_we_chose(embedded):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = prepare(embedded[0], Variant(adapter="lora", rank=4, checkpointing=True))
    assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def trained(model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def frozen(model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}


def nudge(model) -> None:
    """Move every trainable tensor a little, so that no gradient is zero just because B is."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)


def gradient(model, batch, tokenizer) -> torch.Tensor:
    """Gradient of the mean log-probability of the batch's tokens, in training mode."""
    model.train()
    model.zero_grad()
    score_batch(model, batch, tokenizer).token.mean().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


@pytest.mark.parametrize("variant", VARIANTS, ids=label)
def test_a_rollout_changes_no_gradient_and_no_log_probability(embedded, ready, programs, variant):
    tokenizer, model = embedded[1], ready(variant)
    nudge(model)
    batch = collate([tokenizer.encode_trace(trace) for trace in programs], tokenizer.pad)
    before = gradient(model, batch, tokenizer)
    model.eval()
    with torch.no_grad():
        sample_latents(Decoder(model), tokenizer, programs, LatentSampling(), 0, 0)
        in_eval = score_batch(model, batch, tokenizer).token
    after = gradient(model, batch, tokenizer)
    assert torch.equal(before, after) and float(before.norm()) > 0
    with torch.no_grad():
        in_train = score_batch(model.train(), batch, tokenizer).token
    assert torch.equal(in_train, in_eval)


@pytest.mark.parametrize("variant", VARIANTS, ids=label)
def test_both_steps_move_every_adapter_and_nothing_else(embedded, ready, programs, variant):
    tokenizer, pi = embedded[1], ready(variant)
    q = twin(pi)
    start, base = trained(pi), frozen(pi)
    estep = EStep(q, pi, tokenizer, ESTEP, seed=0, precision="fp32")
    for number in range(ESTEP.updates):  # B moves in the first update, A in the second
        record = estep.update(programs, number)
        assert record["gradient_norm"] > 0
    assert all(torch.equal(value, start[name]) for name, value in trained(pi).items()), "the E-step moved pi"
    tuner = FineTuner(pi, tokenizer, MSTEP, precision="fp32")
    for _ in range(MSTEP.updates):
        tuner.update([tokenizer.encode_trace(trace) for trace in programs])
    for model in (q, pi):
        still = [name for name, value in trained(model).items() if torch.equal(value, start[name])]
        assert not still, "these adapter tensors did not move"
        assert all(torch.equal(value, base[name]) for name, value in frozen(model).items())


@pytest.mark.parametrize("variant", VARIANTS, ids=label)
def test_decoder_and_merged_model_compute_what_the_adapted_model_does(embedded, ready, programs, variant):
    tokenizer, model = embedded[1], ready(variant)
    nudge(model)
    ids = collate([tokenizer.encode_trace(trace) for trace in programs], tokenizer.pad).ids[:, :40]
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        plain = merged(model)
        torch.testing.assert_close(plain(input_ids=ids).logits, expected, atol=2e-3, rtol=1e-3)
    decoder = Decoder(model)
    logits = decoder.logits(decoder.forward(ids, torch.zeros(len(ids), dtype=torch.long), Cache(decoder, len(ids), 40)))
    torch.testing.assert_close(logits, expected, atol=2e-3, rtol=1e-3)
    assert not any(hasattr(module, "lora_A") or quantize.is_4bit(module) for module in plain.modules())
    assert getattr(plain.config, "quantization_config", None) is None


def test_four_bit_weights_are_never_repacked_for_inference(embedded, programs, monkeypatch):
    """The trap: on AVX512-BF16 an eval forward repacks the weights for a kernel without autograd."""
    from bitsandbytes.nn import modules

    repacked = []

    def noting(weight, state, *rest):
        repacked.append(state)
        return weight, state

    monkeypatch.setattr(modules, "has_avx512bf16", lambda: True)  # what such a CPU reports when a layer is made
    monkeypatch.setattr(modules, "_convert_weight_packed_for_cpu", noting)
    model, tokenizer = embedded
    ids = torch.tensor([tokenizer.encode_line(programs[0].lines[0])])
    adapted = prepare(model, Variant(quant="nf4", adapter="lora", rank=2), seed=0)
    with torch.no_grad():
        adapted.eval()(input_ids=ids)
    assert not repacked
    for module in adapted.modules():
        if quantize.is_4bit(module):
            module.support_avx512bf16_for_cpu = True  # as bitsandbytes leaves it
    with torch.no_grad():
        adapted(input_ids=ids)
    assert repacked, "the control did not repack: this test proves nothing any more"
    assert quantize.disarm(adapted) == len(target_layers(model, "all-linear"))


def test_disarm_refuses_a_model_that_was_repacked_already(ready):
    model = ready(VARIANTS[0])
    layer = next(module for module in model.modules() if quantize.is_4bit(module))
    layer.weight.quant_state = copy.copy(layer.weight.quant_state)
    layer.weight.quant_state.packing_format_for_cpu = True
    with pytest.raises(RuntimeError, match=r"proj.* was repacked for inference: load the model again"):
        quantize.disarm(model)


def test_a_twin_shares_what_is_frozen_and_owns_what_is_trained(ready):
    one = ready(VARIANTS[0])
    two = twin(one)
    for (name, a), (_, b) in zip(one.named_parameters(), two.named_parameters(), strict=True):
        assert (a is b) == (not a.requires_grad), name
        if a.requires_grad:
            assert a.data_ptr() != b.data_ptr()
    scales = [m.weight.quant_state for m in one.modules() if quantize.is_4bit(m)]
    assert all(s is m.weight.quant_state for s, m in zip(scales, filter(quantize.is_4bit, two.modules()), strict=True))


def test_preparing_leaves_the_given_model_alone_and_shares_its_memory(embedded):
    model, _ = embedded
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    flags = [p.requires_grad for p in model.parameters()]
    for variant in (Variant(adapter="pissa", rank=2), Variant(quant="nf4", adapter="pissa", rank=2)):
        adapted = prepare(model, variant, seed=0)
        embedding = adapted.get_input_embeddings().weight
        assert embedding.data_ptr() == model.get_input_embeddings().weight.data_ptr()
        assert not embedding.requires_grad
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter += 1
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert not quantize.is_quantized(model) and variant_of(model) is None


@pytest.mark.parametrize("variant", [Variant(), Variant(adapter="lora", rank=2)])
def test_a_prepared_model_is_in_eval_mode_whatever_was_given(embedded, variant):
    """Dropout would spoil what a snapshot samples and what a frozen reference scores."""
    given = copy.deepcopy(embedded[0]).train()
    first = prepare(given, variant)
    again = prepare(first.train(), variant)  # a twin
    assert given.training and not any(
        module.training for m in (again, prepare(given, variant)) for module in m.modules()
    )


def test_equal_seeds_give_equal_models_and_do_not_touch_torchs_generator(embedded):
    model, _ = embedded
    variant = Variant(quant="nf4", adapter="lora", rank=4)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, two = prepare(model, variant, seed=7), prepare(model, variant, seed=7)
    other = prepare(model, variant, seed=8)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", ["pissa", "olora", "orthogonal", "lora", "dora"])
def test_on_float_weights_a_variant_begins_as_the_base_model(embedded, name):
    model, _ = embedded
    ids = torch.arange(3, 60)[None]
    with torch.no_grad():
        base, begun = model(input_ids=ids).logits, prepare(model, Variant(adapter=name, rank=4))(input_ids=ids).logits
    torch.testing.assert_close(begun, base, atol=2e-3, rtol=1e-3)


def test_an_8bit_optimiser_steps_and_is_refused_where_it_would_change_nothing(embedded, ready):
    small = prepare(embedded[0], Variant(quant="nf4", adapter="lora", rank=4, optimizer="adamw8bit"))
    with pytest.raises(ValueError, match=r"tensors under 4096 .* 32 bits, and the largest here has 1664.*use adamw"):
        make_optimizer(small, 1e-3)
    model = prepare(embedded[0], Variant(quant="nf4", adapter="lora", rank=64, optimizer="adamw8bit"))
    optimizer = make_optimizer(model, 1e-3)
    start = trained(model)
    model(input_ids=torch.arange(3, 40)[None], labels=torch.arange(3, 40)[None]).loss.backward()
    optimizer.step()
    assert sum(not torch.equal(v, start[k]) for k, v in trained(model).items()) >= len(start) // 2
    kinds = {value.dtype for slots in optimizer.state.values() for value in slots.values() if torch.is_tensor(value)}
    assert torch.uint8 in kinds
    assert isinstance(make_optimizer(ready(VARIANTS[0]), 1e-3), torch.optim.AdamW)


def test_adapters_go_where_target_says(embedded):
    model, _ = embedded
    some = prepare(model, Variant(adapter="lora", rank=2, target="q_proj, v_proj"))
    named = {name.rsplit(".lora_", 1)[0] for name, p in some.named_parameters() if p.requires_grad}
    assert len(named) == 8 and all(name.endswith(("q_proj", "v_proj")) for name in named)
    everywhere = prepare(model, replace(VARIANTS[-1], adapter="lora"))
    found = [name for name, m in everywhere.get_base_model().named_modules() if hasattr(m, "lora_A")]
    assert found == target_layers(model, "all-linear")
