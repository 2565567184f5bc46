"""The shipped base model is what its command makes: same tokenizer, same first losses. A run that was killed goes on to
the same weights."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ra3_lab.cli import main
from ra3_lab.models.load import best_precision, load_model
from ra3_lab.pretrain.corpus import CorpusConfig, stdlib_functions
from ra3_lab.pretrain.stream import Stream
from ra3_lab.pretrain.train import PretrainConfig, log_rows, pretrain
from ra3_lab.resources import embedded_model_dir
from ra3_lab.runs import read_json, read_jsonl, view_run
from ra3_lab.tasks.pipelines import SPLITS, load_split

TINY = [
    "--tokens", "16000", "--batch-tokens", "256", "--width", "16", "--layers", "1", "--heads", "2", "--hidden", "16",
    "--corpus.stdlib", "0", "--corpus.lists-first", "2000", "--vocab-size", "300", "--save-every", "10",
    "--precision", "fp32", "--threads", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def shipped():
    return json.loads((embedded_model_dir() / "pretrain_config.json").read_text())


def test_shipped_tokenizer_belongs_to_the_shipped_weights(shipped):
    model, tokenizer = load_model("embedded", "cpu")
    digest = hashlib.sha256(tokenizer.hf.backend_tokenizer.to_str().encode()).hexdigest()
    assert digest == shipped["tokenizer_sha256"]
    assert 1e6 <= shipped["parameters"] == sum(p.numel() for p in model.parameters()) <= 5e6
    assert model.config.model_type in ("llama", "qwen2")


def test_any_text_can_be_written():
    _, tokenizer = load_model("embedded", "cpu")
    for text in ("def f():\n    return '\u00e9\u4e2d'  # \U0001f40d\n", "a\tb\r\n", "\n\n#!#\n"):
        assert tokenizer.decode(tokenizer.encode_line(text)) == text


def test_retraining_gives_the_shipped_log(shipped):
    config = PretrainConfig(**{**shipped["config"], "corpus": CorpusConfig(**_tuples(shipped["config"]["corpus"]))})
    functions, digest = stdlib_functions()
    if digest != shipped["stdlib_sha256"]:
        pytest.skip("this Python's standard library is not the one the base was trained on")
    exclude = {task.signature for name in SPLITS for task in load_split(name)}
    result = pretrain(config, exclude, functions, stop_after=20)
    digest = hashlib.sha256(result.tokenizer.hf.backend_tokenizer.to_str().encode()).hexdigest()
    assert digest == shipped["tokenizer_sha256"]
    (again,) = log_rows(result.history)
    first = read_jsonl(embedded_model_dir() / "pretrain_log.jsonl")[0]
    assert again["tokens"] == first["tokens"]
    tolerance = 0.02 if best_precision() == "bf16" else 0.05
    assert again["loss"] == pytest.approx(first["loss"], rel=tolerance)


def _tuples(values: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


# --- runs ---------------------------------------------------------------------------------------------


def test_a_position_brings_the_rest_of_the_stream(small_tokenizer):
    config = PretrainConfig(batch_tokens=4_000, context=1_024, corpus=CorpusConfig(lists_first=40_000))

    def stream() -> Stream:
        return Stream(small_tokenizer, ["def f(a):\n    return a\n"] * 3, config, set())

    whole, pools, rng = stream(), 0, random.Random(0)
    for _ in range(200):
        position = json.loads(json.dumps(whole.position()))
        batch = next(whole)
        pools += whole.taken == 1
        if rng.random() < 0.05 or whole.taken == 1:  # right before a new pool, too
            again = stream()
            again.seek(position)
            for one, other in zip(next(again), batch, strict=True):
                assert all(map(np.array_equal, one, other))
    assert pools >= 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("pretrain") / "whole"
    assert main(["pretrain", "--out", str(out), *TINY]) == 0
    return out


def same(out: Path, whole: Path) -> bool:
    times = ("seconds", "cpu_seconds")
    rows = [
        [{k: v for k, v in row.items() if k not in times} for row in read_jsonl(folder / "metrics.jsonl")]
        for folder in (out, whole)
    ]
    models = [(folder / "model" / "model.safetensors").read_bytes() for folder in (out, whole)]
    return rows[0] == rows[1] and models[0] == models[1]


def test_a_run_leaves_a_model_that_says_where_it_comes_from(whole, capsys):
    assert view_run(whole).state == "finished" and not (whole / "checkpoints").exists()
    model, _ = load_model(whole / "model", "cpu")
    record, rows = read_json(whole / "model" / "pretrain_config.json"), read_jsonl(whole / "metrics.jsonl")
    assert record["config"]["tokens"] == 16_000
    assert record["parameters"] == sum(p.numel() for p in model.parameters())
    log = read_jsonl(whole / "model" / "pretrain_log.jsonl")
    assert [row["update"] for row in log][:2] == [20, 40] and log[-1]["tokens"] == rows[-1]["tokens"] >= 16_000
    assert log[0]["loss"] == pytest.approx(sum(row["loss"] for row in rows[:20]) / 20, abs=1e-5)
    assert main(["pretrain", "--out", str(whole), *TINY]) == 2
    assert "exists and is not empty" in capsys.readouterr().err
    assert main(["pretrain", "--resume", str(whole)]) == 0
    assert "is finished already" in capsys.readouterr().out


def killed_and_resumed(out: Path, whole: Path, moments: list[float]) -> int:
    """Kill a run (SIGKILL) as soon as each of these shares of its updates is seen, then let it end; the hits."""
    updates, hits = len(read_jsonl(whole / "metrics.jsonl")), 0
    for moment in moments:
        words = ["--resume", str(out)] if (out / "run.json").exists() else ["--out", str(out), *TINY]
        child = subprocess.Popen([sys.executable, "-m", "ra3_lab", "pretrain", *words], stdout=subprocess.DEVNULL)
        while child.poll() is None:
            done = len(read_jsonl(out / "metrics.jsonl")) if (out / "metrics.jsonl").exists() else 0
            if done >= moment * updates:
                break
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        hits += child.wait() == -signal.SIGKILL
    assert main(["pretrain", "--resume", str(out)]) == 0
    return hits


@pytest.mark.skipif(os.name == "nt", reason="kills by SIGKILL")
def test_a_killed_run_goes_on_to_the_same_weights(whole, tmp_path):
    assert killed_and_resumed(tmp_path / "run", whole, [0.6]) == 1
    assert same(tmp_path / "run", whole)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kills by SIGKILL")
def test_a_run_killed_again_and_again_goes_on_to_the_same_weights(whole, tmp_path):
    assert killed_and_resumed(tmp_path / "run", whole, [0.05, 0.2, 0.21, 0.4, 0.6, 0.8, 0.95]) == 7
    assert same(tmp_path / "run", whole)


def test_other_settings_are_refused(whole, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_bytes((whole / "run.json").read_bytes())
    assert main(["pretrain", "--resume", str(tmp_path / "run"), "--width", "32"]) == 2
    assert "setting width was 16 and is now 32" in capsys.readouterr().err
