"""Export: what is written loads in plain transformers and peft, and says what merging cost. And clear refusals."""

from __future__ import annotations

import builtins
import json

import pytest
import torch
from four_bits import mend_down_proj

from ra3_lab.models import quantize
from ra3_lab.models.adapters import prepare, target_layers
from ra3_lab.models.export import export, load_adapter, merge_error, save_adapter
from ra3_lab.models.load import load_model, save_model
from ra3_lab.models.variants import ADAPTERS, OPTIMIZERS, Variant, check, table

bnb = pytest.importorskip("bitsandbytes", reason="4-bit weights need the extra qlora (bitsandbytes)")
IDS = torch.arange(3, 60)[None]


@pytest.fixture(scope="module")
def embedded():
    return load_model("embedded", "cpu")


def nudged(model, variant: Variant):
    """A prepared model whose adapters have moved."""
    adapted = prepare(model, variant, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return adapted


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits


@pytest.mark.parametrize("name", ["dora", "pissa"])
def test_exported_adapters_load_with_plain_peft(embedded, name, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from ra3_lab.resources import embedded_model_dir

    model, tokenizer = embedded
    variant = Variant(quant="nf4", adapter=name, rank=4, compute="fp32")
    adapted = nudged(model, variant)
    export(adapted, tokenizer, tmp_path / "out", "adapter", "embedded", [])
    stored = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    if name == "pissa":
        base = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "base")
        assert "residual" in (tmp_path / "out" / "README.md").read_text()
    else:
        base = AutoModelForCausalLM.from_pretrained(
            embedded_model_dir(), quantization_config=stored, dtype=torch.float32
        )
        mend_down_proj(base, model)
    again = PeftModel.from_pretrained(base, tmp_path / "out").eval()
    quantize.disarm(again)
    torch.testing.assert_close(logits(again), logits(adapted), atol=1e-4, rtol=1e-4)


def test_merged_weights_load_anywhere_and_the_merge_error_is_stated(embedded, tmp_path):
    from transformers import AutoModelForCausalLM

    model, tokenizer = embedded
    adapted = nudged(model, Variant(quant="nf4", adapter="lora", rank=4, compute="fp32"))
    sequences = [IDS[0].tolist()]
    assert merge_error(adapted, adapted, []) == {"mean": 0.0, "largest": 0.0, "tokens": 0}
    exact = export(adapted, tokenizer, tmp_path / "float", "merged", "embedded", sequences)
    rounded = export(adapted, tokenizer, tmp_path / "bf16", "merged", "embedded", sequences, dtype=torch.bfloat16)
    assert exact["largest"] < 1e-4 < rounded["mean"] < rounded["largest"]
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "bf16", dtype=torch.bfloat16)
    assert merge_error(adapted, plain, sequences)["largest"] == pytest.approx(rounded["largest"], rel=1e-3)
    assert f"{rounded['mean']:.2g} nats a token" in (tmp_path / "bf16" / "README.md").read_text()
    again, _ = load_model(tmp_path / "float", "cpu")
    torch.testing.assert_close(logits(again), logits(adapted), atol=1e-3, rtol=1e-3)
    with pytest.raises(FileExistsError, match="exists already"):
        export(adapted, tokenizer, tmp_path / "bf16", "merged", "embedded", sequences)


def test_saved_adapters_come_back_bit_for_bit_and_only_onto_their_own_base(embedded, tmp_path):
    model, tokenizer = embedded
    variant = Variant(quant="nf4", adapter="lora", rank=4, compute="fp32")
    adapted = nudged(model, variant)
    save_model(adapted, tokenizer, tmp_path / "model")
    again = prepare(model, variant, seed=9)
    load_adapter(again, tmp_path / "model" / "adapter")
    assert torch.equal(logits(again), logits(adapted))
    assert json.loads((tmp_path / "model" / "adapter" / "variant.json").read_text())["quant"] == "nf4"
    with pytest.raises(ValueError, match=r"of another base or variant: .* is \(4, 416\), the model's is \(8, 416\)"):
        load_adapter(prepare(model, Variant(quant="nf4", adapter="lora", rank=8)), tmp_path / "model" / "adapter")
    with pytest.raises(FileNotFoundError, match="holds no adapters"):
        load_adapter(again, tmp_path)
    with pytest.raises(ValueError, match="no adapters: export it with --form merged"):
        save_adapter(model, tmp_path / "none")


def test_a_4bit_directory_comes_back_bit_for_bit_and_is_not_quantised_again(embedded, tmp_path):
    model, tokenizer = embedded
    stored = prepare(model, Variant(quant="nf4"))
    stored.save_pretrained(tmp_path / "four")
    tokenizer.hf.save_pretrained(tmp_path / "four")
    again, _ = load_model(tmp_path / "four", "cpu")
    assert quantize.is_quantized(again) and torch.equal(logits(again), logits(stored))
    assert all(not m.support_avx512bf16_for_cpu for m in again.modules() if quantize.is_4bit(m))
    with pytest.raises(ValueError, match="quantised already and cannot be quantised to fp4: leave out --quant"):
        load_model(tmp_path / "four", "cpu", Variant(quant="fp4", adapter="lora"))
    with pytest.raises(ValueError, match="adapter pissa is computed from float weights"):
        prepare(again, Variant(adapter="pissa"))
    assert any(p.requires_grad for p in prepare(again, Variant(adapter="lora", rank=2)).parameters())


# --- refusals -----------------------------------------------------------------------------------------


def test_what_does_not_work_is_refused_with_the_next_step(embedded, monkeypatch):
    model, _ = embedded
    cpu = torch.device("cpu")
    for name, verdict in {**ADAPTERS, **OPTIMIZERS}.items():
        if verdict.cpu == "refused":
            kind = "adapter" if name in ADAPTERS else "optimizer"
            with pytest.raises(ValueError, match=f"{kind}={name} is refused on a CPU: .*use "):
                check(Variant(**{kind: name}), cpu)
    with pytest.raises(ValueError, match=r"leaves nothing to train.*--adapter lora"):
        check(Variant(quant="nf4"), cpu)
    with pytest.raises(ValueError, match=r"target='qproj' matches no linear layer.*q_proj"):
        target_layers(model, "qproj,v_proj")
    with pytest.raises(ValueError, match="reads programs before training"):
        prepare(model, Variant(adapter="eva"))
    with pytest.raises(ValueError, match=r"rank=200 with adapter pissa: .* choose at most 128"):
        prepare(model, Variant(adapter="pissa", rank=200))
    with pytest.raises(ValueError, match="prepared as --quant none --adapter lora and is now asked for"):
        prepare(prepare(model, Variant(adapter="lora", rank=2)), Variant(adapter="dora", rank=2))
    monkeypatch.setattr("ra3_lab.models.load.best_precision", lambda device: "fp32")
    with pytest.raises(ValueError, match=r"no bf16 instructions.*--compute auto"):
        check(Variant(quant="nf4", adapter="lora", compute="bf16"), cpu)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quant": "int8"}, "quant='int8': one of none, nf4, fp4"),
        ({"adapter": "lorra"}, "adapter='lorra': one of none, lora"),
        ({"double_quant": True}, "does nothing without 4-bit weights"),
        ({"compute": "bf16"}, "compute does nothing without"),
        ({"rank": 4}, "rank=4 does nothing without adapters"),
        ({"adapter": "lora", "rank": 0}, "rank=0: 1 or more"),
        ({"adapter": "orthogonal", "rank": 3}, "must be even"),
        ({"adapter": "loftq"}, "there is none: add --quant nf4"),
    ],
)
def test_settings_that_do_nothing_or_do_not_exist_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Variant(**settings)


def test_without_bitsandbytes_or_its_instructions_the_error_says_what_to_install(embedded, monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **named):
        if name == "bitsandbytes":
            raise ImportError("no such module")
        return real(name, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", absent)
        with pytest.raises(quantize.NeedsExtra, match=r"not installed: pip install 'ra3-lab\[qlora\]'"):
            prepare(embedded[0], Variant(quant="nf4", adapter="lora"))
    monkeypatch.setattr(quantize.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    if not torch.cuda.is_available():
        with pytest.raises(quantize.NeedsExtra, match=r"need AVX2 or AVX-512.*offers DEFAULT: use a GPU"):
            quantize.bitsandbytes()


def test_the_documented_table_is_the_one_in_code(repo_root):
    page = (repo_root / "docs" / "variants.md").read_text(encoding="utf-8")
    assert table() in page, "docs/variants.md is behind: paste the output of ra3_lab.models.variants.table()"
