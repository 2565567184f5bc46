"""The memory plan's arithmetic against what autograd and bitsandbytes really keep."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ra3_lab import cli
from ra3_lab.models.adapters import prepare
from ra3_lab.models.plan import Job, peak, shape_of, stages, weight_bytes
from ra3_lab.models.variants import Variant
from ra3_lab.resources import embedded_model_dir

CONFIG = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 96,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


def made(kind: str = "llama", **changed):
    torch.manual_seed(0)
    config = {**CONFIG, **changed}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **config)), shape_of(
        {"model_type": kind, **config}
    )


def kept_per_token(model, tokens: int = 24) -> float:
    """Numbers per token that are alive for the backward pass after a forward one."""
    import gc

    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    alive: dict[int, tuple[int, torch.UntypedStorage]] = {}

    class Held:
        def __init__(self, tensor):
            self.tensor = tensor
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                counts[storage.data_ptr()] = counts.get(storage.data_ptr(), 0) + 1
                alive[storage.data_ptr()] = storage.nbytes(), storage

        def __del__(self):
            counts[self.tensor.untyped_storage().data_ptr()] = (
                counts.get(self.tensor.untyped_storage().data_ptr(), 1) - 1
            )

    counts: dict[int, int] = {}
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        out = causal.model(input_ids=torch.arange(tokens)[None], use_cache=False).last_hidden_state
    gc.collect()
    total = sum(size for pointer, (size, _) in alive.items() if counts[pointer] > 0) / 4 / tokens
    del out
    return total


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize(
    "variant",
    [Variant(), Variant(adapter="lora", rank=4), Variant(adapter="dora", rank=4)],
    ids=["full", "lora", "dora"],
)
def test_activations_are_those_that_autograd_keeps(kind, variant):
    one, _ = made(kind, num_hidden_layers=1)
    two, shape = made(kind)
    per_layer = kept_per_token(prepare(two, variant).train()) - kept_per_token(prepare(one, variant).train())
    assert shape.kept(variant) == pytest.approx(per_layer, rel=0.05)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_parameters_and_adapters_are_counted_exactly(kind):
    model, shape = made(kind, tie_word_embeddings=False)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    for variant in (Variant(adapter="lora", rank=4), Variant(adapter="dora", rank=4)):
        adapted = prepare(model, variant)
        assert shape.adapters(variant) == sum(p.numel() for p in adapted.parameters() if p.requires_grad)


@pytest.mark.parametrize("double", [True, False])
def test_4bit_weights_take_the_planned_bytes(double):
    pytest.importorskip("bitsandbytes", reason="4-bit weights need the extra qlora (bitsandbytes)")
    model, shape = made(hidden_size=256, intermediate_size=512)
    variant = Variant(quant="nf4", double_quant=double)
    found = 0.0
    for parameter in prepare(model, variant).parameters():
        found += parameter.numel() * parameter.element_size()
        if (state := getattr(parameter, "quant_state", None)) is not None:
            scales = [state.absmax] + ([state.state2.absmax] if double else [])
            found += sum(t.numel() * t.element_size() for t in scales)
    assert weight_bytes(shape, variant, 4) == pytest.approx(found, rel=0.005)


def test_a_plan_grows_with_what_makes_a_run_larger_and_shrinks_with_what_saves():
    _, shape = made()

    def total(variant: Variant, job: Job) -> float:
        return peak(stages(shape, variant, job)).total

    lora, small = Variant(adapter="lora", rank=4), Job(512, 64, 8)
    assert total(lora, Job(1_024, 64, 8)) > total(lora, small)
    assert total(lora, Job(512, 64, 4_096)) > total(lora, small)
    assert total(Variant(adapter="lora", rank=4, checkpointing=True), small) < total(lora, small)
    assert total(Variant(), small) > total(Variant(), Job(512, 64, 8, rl=False))
    assert [stage.name for stage in stages(shape, lora, small)] == ["load", "rollout", "score", "update"]


def test_the_command_plans_without_loading_anything(capsys, tmp_path):
    assert cli.main(["plan", "--model", "qwen2.5-1.5b", "--preset", "12gb", "--json", str(tmp_path / "plan.json")]) == 0
    text = capsys.readouterr().out
    assert "--quant nf4 --adapter lora" in text and "<- peak" in text and "Qwen/Qwen2.5-1.5B" in text
    record = json.loads((tmp_path / "plan.json").read_text())
    assert max(stage["bytes"] for stage in record["stages"]) < 0.9 * 12e9
    assert record["minutes"]["together"] > 0
    assert cli.main(["plan", "--model", "llama-3.1-8b", "--preset", "8gb"]) == 2
    assert "use 80gb" in capsys.readouterr().err


def test_a_finished_run_is_planned_for_by_its_folder(capsys, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    assert cli.main(["plan", "--model", str(tmp_path)]) == 2
    assert "is a run that has no model yet: finish it first" in capsys.readouterr().err
    (tmp_path / "model").mkdir()
    shutil.copy(embedded_model_dir() / "config.json", tmp_path / "model")
    assert cli.main(["plan", "--model", str(tmp_path)]) == 0
    assert "4 layers" in capsys.readouterr().out
