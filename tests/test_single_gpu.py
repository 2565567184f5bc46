"""docs/single_gpu.md: every command is one that there is; all of them run in their order with stand-ins, tiny."""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ra3_lab.cli import COMMANDS, main
from ra3_lab.models.load import save_model
from ra3_lab.models.presets import choose, memory_preset, shape_by_name
from ra3_lab.models.variants import Variant, flags
from ra3_lab.runs import read_json

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the page is for a Unix shell")

MODELS = ("base", "ntp", "ra3", "base-rlvr", "ntp-rlvr", "ra3-rlvr")
BENCHES = ("humaneval", "humanevalplus", "mbpp", "mbppplus")
LOGGED = 'ra3-lab() { printf "%s\\0" "$@" END >> "$LOG"; }\n'


def page_of(repo_root: Path) -> str:
    return (repo_root / "docs" / "single_gpu.md").read_text(encoding="utf-8")


def commands(repo_root: Path, folder: Path, names: dict[str, str]) -> list[list[str]]:
    """The page's ra3-lab commands in order, as the shell passes them on with `names` for the page's own; what else
    the page does (files of settings, heads and tails) is done in `folder`."""
    install, given, *rest = re.findall(r"^```sh\n(.*?)^```", page_of(repo_root), re.S | re.M)
    assert "pip install" in install and all(f"{name}=" in given for name in names)
    for name, value in names.items():
        given = re.sub(rf'^{name}=("[^"]*"|\S+)', f"{name}={value}", given, flags=re.M)
    script = LOGGED + "\n".join([given, *rest])
    log = folder / "log"
    subprocess.run(["bash", "-eu", "-c", script], cwd=folder, env={**os.environ, "LOG": str(log)}, check=True)
    text = log.read_text()
    return [words.rstrip("\0").split("\0") for words in text.split("END\0")[:-1]]


@pytest.fixture
def problems(tmp_path):
    tests = json.dumps([{"input": "1\n", "output": "2\n"}])
    path = tmp_path / "problems.jsonl"
    path.write_text((json.dumps({"problem": "Double it.", "tests": tests}) + "\n") * 104)
    return path


def test_every_command_of_the_page_is_understood(repo_root, tmp_path, problems, monkeypatch):
    monkeypatch.chdir(tmp_path)
    called: list[tuple[str, dict]] = []
    for name in ("corpus", "midtrain", "rlvr", "eval", "annotate", "runs", "compare", "export"):
        module, function = COMMANDS[name][0].split(":")
        module = importlib.import_module(f"ra3_lab.{module}")

        def stub(*words, _name=name, **settings):
            called.append((_name, settings))
            return 0

        monkeypatch.setattr(module, function, functools.wraps(getattr(module, function))(stub))
    asked = commands(repo_root, tmp_path, {"PROBLEMS": str(problems)})
    for words in asked:
        assert main(words) == 0, words
    assert [name for name, _ in called] == [words[0] for words in asked if words[0] != "plan"]
    scores = [settings for name, settings in called if name == "eval"]
    assert [str(settings["json"]) for settings in scores] == [f"runs/{m}-{b}.json" for m in MODELS for b in BENCHES]
    chosen = choose(shape_by_name("qwen2.5-1.5b"), memory_preset("12gb")).variant
    assert chosen == Variant("nf4", adapter="lora", checkpointing=True)
    trained = [settings["config"] for name, settings in called if name in ("midtrain", "rlvr")]
    assert [config.variant for config in trained] == [chosen] * 5, "the page's FLAGS are what the plan says"
    assert [config.method for config in trained[:2]] == ["ntp", "ra3"] and trained[1].estep.cost == 0.05
    assert len((tmp_path / "runs" / "validation.jsonl").read_text().splitlines()) == 100
    assert len((tmp_path / "runs" / "train.jsonl").read_text().splitlines()) == 4
    assert f'FLAGS="{flags(chosen)}"' in page_of(repo_root)


def test_the_plan_on_the_page_is_what_the_command_prints(repo_root, capsys):
    ((command, shown),) = re.findall(r"^```\n\$ ra3-lab (.*?)\n(.*?)^```", page_of(repo_root), re.S | re.M)
    assert main(command.split()) == 0
    assert capsys.readouterr().out.rstrip() == shown.rstrip(), f"run ra3-lab {command} and paste its output"


SMALL = {
    "corpus": ["--programs", "12", "--longest", "400", "--workers", "1"],
    "midtrain": [
        "--estep.updates", "2", "--estep.programs", "2", "--estep.group", "2", "--mstep.updates", "2",
        "--mstep.programs", "2", "--heldout-samples", "1", "--max-tokens", "400", "--threads", "1",
    ],
    "rlvr": [
        "--updates", "2", "--prompts", "2", "--group", "2", "--sampling.max-new", "8", "--validation-tasks", "2",
        "--evaluate-every", "1", "--threads", "1", "--force",
    ],
    "eval": ["--n", "5", "--tasks", "1", "--max-new", "8", "--threads", "1", "--workers", "1"],
    "annotate": ["--limit", "1"],
}  # fmt: skip


@pytest.mark.slow
def test_the_page_runs_in_its_order_with_stand_ins(
    repo_root, tmp_path, problems, small_tokenizer, benchmarks_dir, monkeypatch, capsys
):
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    pytest.importorskip("bitsandbytes", reason="4-bit weights need the extra qlora (bitsandbytes)")
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = Qwen2Config(
        vocab_size=len(small_tokenizer.hf), num_hidden_layers=1, max_position_embeddings=2_048, **shape
    )
    save_model(Qwen2ForCausalLM(config).eval(), small_tokenizer, tmp_path / "qwen2")
    bench = tmp_path / "bench"
    bench.mkdir()
    for name, source in (
        ("HumanEval.jsonl.gz", "humaneval/HumanEval.jsonl.gz"),
        ("HumanEvalPlus.jsonl.gz", "humanevalplus/HumanEvalPlus-Mini-v0.1.10.jsonl.gz"),
        ("mbpp.jsonl", "mbpp/mbpp.jsonl"),
        ("MbppPlus.jsonl.gz", "mbppplus_dev2023/MbppPlus-767efcc.jsonl.gz"),
    ):
        shutil.copy(benchmarks_dir / source, bench / name)
    names = {"MODEL": str(tmp_path / "qwen2"), "CODE": str(Path(json.__file__).parent), "BENCH": str(bench)}
    monkeypatch.chdir(tmp_path)
    for words in commands(repo_root, tmp_path, {**names, "PROBLEMS": str(problems)}):
        assert main([*words, *SMALL.get(words[0], [])]) == 0, f"{words}: {capsys.readouterr().err}"
    for name in MODELS:
        for bench_name in BENCHES:
            assert 0 <= read_json(tmp_path / "runs" / f"{name}-{bench_name}.json")["summary"]["pass@5"] <= 1
    for name in MODELS[1:]:
        assert read_json(tmp_path / "runs" / name / "summary.json")["updates"] == (4 if "rlvr" not in name else 2)
    assert (tmp_path / "runs" / "exported" / "adapter_config.json").exists()
    assert (tmp_path / "runs" / "curves.html").stat().st_size > 1_000_000
