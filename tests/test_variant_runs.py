"""`--quant` and `--adapter` from the command line to the exported folder, on the embedded model: midtrain, export, eval
and annotate with the same flags."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from four_bits import mend_down_proj

from ra3_lab.cli import main
from ra3_lab.evaluate.latents import trace_of
from ra3_lab.models.export import card
from ra3_lab.models.load import load_model, save_model
from ra3_lab.models.quantize import disarm, is_4bit
from ra3_lab.models.trained import load_to_read, trained_model
from ra3_lab.models.variants import ADAPTERS, Reading, Variant
from ra3_lab.runs import read_run, write_json
from ra3_lab.tasks.pipelines import load_split

pytest.importorskip("bitsandbytes", reason="4-bit weights need the extra qlora (bitsandbytes)")

IDS = torch.arange(3, 60)[None]
WORKING = [name for name, verdict in ADAPTERS.items() if verdict.cpu == "works" and name != "none"]
FAST = ("lora", "eva")
SIZE = ["--rounds", "1", "--estep.updates", "1", "--estep.programs", "2", "--estep.group", "2", "--mstep.updates", "2"]
SIZE += ["--mstep.programs", "2", "--heldout-samples", "1", "--threads", "1", "--estep.longest-thought", "4"]


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A JSONL file of four short expert programs."""
    path = tmp_path_factory.mktemp("data") / "programs.jsonl"
    traces = sorted((trace_of(task) for task in load_split("expert")[:40]), key=lambda trace: len(trace.lines))[:4]
    rows = [{"task_id": str(i), "prompt": t.prompt, "lines": t.lines} for i, t in enumerate(traces)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def run_of(programs, tmp_path_factory):
    """The run of a short mid-training with these flags, each made once."""
    made = {}

    def make(*flags: str):
        if flags not in made:
            made[flags] = tmp_path_factory.mktemp("runs") / "run"
            given = ["--data", str(programs), "--heldout", str(programs), "--out", str(made[flags])]
            assert main(["midtrain", *given, *SIZE, *flags]) == 0
        return made[flags]

    return make


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS, use_cache=False).logits


def loaded_by(folder):
    """The model that the code on an export's card gives."""
    names: dict = {}
    (code,) = re.findall(r"^```python\n(.*?)^```", (folder / "README.md").read_text(), re.S | re.M)
    exec(code.replace("THIS_FOLDER", str(folder)), names)
    return names["model"]


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in WORKING])
def test_a_run_is_exported_as_it_was_trained(name, run_of, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from ra3_lab.resources import embedded_model_dir

    run = run_of("--quant", "nf4", "--adapter", name, "--rank", "4", "--compute", "fp32")
    for form in ("adapter", "merged"):
        assert main(["export", str(run), "--out", str(tmp_path / form), "--form", form]) == 0
    trained = logits(AutoModelForCausalLM.from_pretrained(run / "model"))
    start = logits(load_model("embedded", "cpu", Variant("nf4"))[0])
    assert float((trained - start).abs().max()) > 1e-2, "nothing was trained"
    apart, _, base = trained_model(run)
    assert base == "embedded" and sum(map(is_4bit, apart.modules())) == 28
    assert any(parameter.requires_grad for parameter in apart.parameters())
    torch.testing.assert_close(logits(apart), trained, atol=2e-3, rtol=2e-3)
    merged = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged"))
    torch.testing.assert_close(merged, trained, atol=1e-3, rtol=1e-3)
    if (tmp_path / "adapter" / "base").exists():
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "adapter" / "base")
    else:
        stored = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
        plain = AutoModelForCausalLM.from_pretrained(
            embedded_model_dir(), quantization_config=stored, dtype=torch.float32
        )
        mend_down_proj(plain, load_model("embedded", "cpu")[0])
    loaded = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    disarm(loaded)
    torch.testing.assert_close(logits(loaded), trained, atol=2e-3, rtol=2e-3)
    text = (tmp_path / "adapter" / "README.md").read_text()
    assert "nats_per_line" in text and "support_avx512bf16_for_cpu = False" in text


def test_a_card_names_the_base_as_plain_transformers_knows_it(run_of, programs, tmp_path):
    """The embedded one; and that of a run which began with another run: its adapters belong on that one's model."""
    flags = ["--adapter", "lora", "--rank", "4"]
    first, second = run_of(*flags), tmp_path / "second"
    given = ["--data", str(programs), "--heldout", str(programs), "--model", str(first)]
    assert main(["midtrain", *given, *SIZE, *flags, "--out", str(second)]) == 0
    for run in (first, second):
        out = tmp_path / f"{run.name} exported"
        assert main(["export", str(run), "--out", str(out), "--form", "adapter"]) == 0
        trained = load_model(run / "model", "cpu")[0]
        torch.testing.assert_close(logits(loaded_by(out)), logits(trained), atol=1e-4, rtol=1e-4)
    shown = card("Qwen/Qwen2.5-1.5B", Variant(adapter="lora"), "adapter", {"tokens": 0}, {}, "float32")
    assert 'from_pretrained("Qwen/Qwen2.5-1.5B")' in shown


def test_adapters_are_refused_on_another_base_of_the_same_shape(run_of, tmp_path, capsys):
    run = run_of("--quant", "nf4", "--adapter", "lora", "--rank", "4", "--compute", "fp32")
    base, tokenizer = load_model("embedded", "cpu")
    with torch.no_grad():
        base.model.norm.weight *= 1.01
    save_model(base, tokenizer, tmp_path / "base")
    moved = shutil.copytree(run, tmp_path / "run")
    record = read_run(moved)
    write_json(moved / "run.json", {**record, "settings": {**record["settings"], "model": str(tmp_path / "base")}})
    assert main(["export", str(moved), "--out", str(tmp_path / "out"), "--form", "adapter"]) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path / 'base'} is not what the run {moved} began with" in told and "with that base" in told
    assert not (tmp_path / "out").exists()


def test_eval_and_annotate_take_the_flags_of_the_run(run_of, programs, tmp_path, capsys):
    flags = ["--quant", "nf4", "--adapter", "lora"]
    run = run_of(*flags, "--rank", "4", "--compute", "fp32")
    small = ["--bench", "pipelines", "--tasks", "1", "--n", "1", "--k", "1", "--max-new", "8", "--threads", "1"]
    record = tmp_path / "eval.json"
    assert main(["eval", "--model", str(run), *small, *flags, "--json", str(record)]) == 0
    assert json.loads(record.read_text())["summary"]["reading"]["adapter"] == "lora"
    assert main(["annotate", str(programs), "--model", str(run), "--limit", "1", *flags]) == 0
    assert main(["annotate", str(programs), "--model", "embedded", "--limit", "1", "--quant", "fp4"]) == 0
    capsys.readouterr()
    assert main(["eval", "--model", str(run), *small, "--quant", "nf4", "--adapter", "dora"]) == 2
    assert "was trained with --quant nf4 --adapter lora: read it with the same flags" in capsys.readouterr().err
    assert main(["annotate", str(programs), "--model", "embedded", "--adapter", "lora"]) == 2
    assert "embedded is no run, and adapters that nobody trained change nothing" in capsys.readouterr().err


def test_a_run_is_read_as_trained_or_merged(run_of):
    run = run_of("--quant", "nf4", "--adapter", "lora", "--rank", "4", "--compute", "fp32")
    apart, _ = load_to_read(run, "cpu", Reading("nf4", adapter="lora"))
    together, _ = load_to_read(run, "cpu", Reading())
    assert sum(map(is_4bit, apart.modules())) == 28 and not any(map(is_4bit, together.modules()))
    torch.testing.assert_close(logits(apart), logits(together), atol=2e-3, rtol=2e-3)
    assert read_run(run)["settings"]["variant"]["adapter"] == "lora"
    with pytest.raises(ValueError, match="adapter='lorra': one of none, lora"):
        Reading(adapter="lorra")
