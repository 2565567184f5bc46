"""RLVR with adapters and 4-bit weights: what moves, what is shared, and that the trained policy loads elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from test_rlvr_run import CONFIG, TASKS, judge

from ra3_lab.cli import main
from ra3_lab.models.adapters import prepare
from ra3_lab.models.load import load_model, save_model
from ra3_lab.models.quantize import disarm
from ra3_lab.models.variants import Variant
from ra3_lab.rlvr.loop import Standing, rlvr
from ra3_lab.runs import create_run, read_jsonl, resume_run

IDS = torch.arange(3, 40)[None]
VARIANTS = [
    Variant(adapter="dora", rank=4),
    Variant("nf4", adapter="lora", rank=4),
    Variant("nf4", adapter="pissa", rank=4),
]


@pytest.fixture(autouse=True)
def needs_4bit():
    pytest.importorskip("bitsandbytes", reason="4-bit weights need the extra qlora (bitsandbytes)")


def config_of(variant: Variant):
    return replace(CONFIG, updates=6, evaluate_every=6, kl_every=3, variant=variant)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: f"{v.quant} {v.adapter}")
def test_adapters_learn_and_the_initial_policy_shares_the_rest(variant, tiny_thinker, small_tokenizer):
    start = prepare(tiny_thinker, variant, CONFIG.seed)
    begun = {name: p.detach().clone() for name, p in start.named_parameters()}
    result = rlvr(config_of(variant), tiny_thinker, small_tokenizer, TASKS, (), judge)
    for name, parameter in result.model.named_parameters():
        assert torch.equal(parameter, begun[name]) != parameter.requires_grad, name
    rows = [row for row in result.history if row["stage"] == "rlvr"]
    assert rows[0]["mismatch_max"] < 1e-3, "what the decoder drew is not what the model scores"
    assert rows[2]["kl_to_initial"] > 0 and rows[5]["kl_to_initial"] > 0
    standing = Standing(config_of(variant), tiny_thinker, small_tokenizer, TASKS)
    own = {p.data_ptr() for p in standing.grpo.model.parameters()}
    for name, parameter in standing.grpo.reference.named_parameters():
        assert not parameter.requires_grad
        trained = dict(standing.grpo.model.named_parameters())[name].requires_grad
        assert (parameter.data_ptr() in own) != trained, f"{name}: shared only what is frozen"


def test_a_broken_off_run_with_adapters_goes_on_to_the_same_bits(tiny_thinker, small_tokenizer, tmp_path):
    config = config_of(VARIANTS[1])
    whole = rlvr(config, tiny_thinker, small_tokenizer, TASKS, (), judge)
    calls = []

    def breaks(jobs):
        calls.append(jobs)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return judge(jobs)

    with pytest.raises(KeyboardInterrupt), create_run(tmp_path / "run", "rlvr", {}, {}, 2) as run:
        rlvr(config, tiny_thinker, small_tokenizer, TASKS, (), breaks, keeper=run)
    with resume_run(tmp_path / "run", "rlvr", {}, {}, 2) as run:
        result = rlvr(config, tiny_thinker, small_tokenizer, TASKS, (), judge, keeper=run)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), result.model.parameters(), strict=True))
    kls = [[row.get("kl_to_initial") for row in r.history if row["stage"] == "rlvr"] for r in (whole, result)]
    assert kls[0] == kls[1], "the initial policy is not what it was"


def test_variants_that_cannot_be_trained_are_refused(tiny_thinker, small_tokenizer):
    with pytest.raises(ValueError, match=r"nothing to train.*--adapter lora"):
        rlvr(config_of(Variant("nf4")), tiny_thinker, small_tokenizer, TASKS, (), judge)
    with pytest.raises(ValueError, match=r"eva reads programs.*use lora"):
        rlvr(config_of(Variant(adapter="eva")), tiny_thinker, small_tokenizer, TASKS, (), judge)


@pytest.mark.parametrize("flags", [[], ["--quant", "nf4", "--adapter", "lora", "--rank", "4"]], ids=["all", "qlora"])
def test_an_exported_policy_loads_in_plain_transformers_and_peft(flags, tmp_path, tiny_thinker, small_tokenizer):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    start, out, tasks = tmp_path / "start", tmp_path / "run", tmp_path / "tasks.jsonl"
    save_model(tiny_thinker, small_tokenizer, start)
    row = {"schema_version": 1, "task_id": "a", "prompt": "def f(x):\n", "prefix": "def f(x):\n", "entry_point": "f"}
    tasks.write_text(json.dumps({**row, "pairs": [[[1], 1]]}) + "\n")
    size = ["--updates", "2", "--prompts", "2", "--group", "2", "--sampling.max-new", "8", "--threads", "1"]
    few = ["--init", str(start), "--tasks", str(tasks), "--validation", "None", *size, "--grpo.loss.beta", "0.1"]
    few += ["--grpo.loss.entropy", "0.5", "--grpo.learning-rate", "0.05", "--force"]  # a gradient without any reward
    assert main(["rlvr", "--out", str(out), *few, *flags]) == 0
    forms = ["merged", "adapter"] if flags else ["merged"]
    for form in forms:
        assert main(["export", str(out), "--out", str(tmp_path / form), "--form", form]) == 0
    trained, _ = load_model(out / "model", "cpu")
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").encode("x = 1") == small_tokenizer.hf.encode("x = 1")
    with torch.no_grad():
        expected = trained(input_ids=IDS).logits
        before = tiny_thinker(input_ids=IDS).logits
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(input_ids=IDS).logits
        assert float((expected - before).abs().max()) > 1e-2, "nothing was trained"
        torch.testing.assert_close(again, expected, atol=1e-4, rtol=1e-4)
        if "adapter" in forms:
            assert str(start) in (tmp_path / "adapter" / "README.md").read_text()
            stored = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
            base = AutoModelForCausalLM.from_pretrained(start, quantization_config=stored, dtype=torch.float32)
            adapted = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
            disarm(adapted)  # layers as narrow as these have no kernel of their own
            adapted = adapted(input_ids=IDS).logits
            torch.testing.assert_close(adapted, expected, atol=2e-2, rtol=2e-2)
    assert read_jsonl(out / "groups.jsonl")
