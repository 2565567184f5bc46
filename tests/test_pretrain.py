"""The shipped base model is what the pre-training command makes: same tokenizer, same first losses."""

from __future__ import annotations

import hashlib
import json

import pytest

from ra3_lab.models.load import best_precision, load_model
from ra3_lab.pretrain.corpus import CorpusConfig, stdlib_functions
from ra3_lab.pretrain.train import PretrainConfig, pretrain
from ra3_lab.resources import embedded_model_dir
from ra3_lab.tasks.pipelines import SPLITS, load_split


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


def test_retraining_gives_the_shipped_log(shipped, tmp_path):
    config = PretrainConfig(**{**shipped["config"], "corpus": CorpusConfig(**_tuples(shipped["config"]["corpus"]))})
    if stdlib_functions()[1] != shipped["stdlib_sha256"]:
        pytest.skip("this Python's standard library is not the one the base was trained on")
    exclude = {task.signature for name in SPLITS for task in load_split(name)}
    pretrain(config, tmp_path / "again", exclude, stop_after=20)
    again = json.loads((tmp_path / "again" / "pretrain_config.json").read_text())
    assert again["tokenizer_sha256"] == shipped["tokenizer_sha256"]
    rows = [
        json.loads((folder / "pretrain_log.jsonl").read_text().splitlines()[0])
        for folder in (embedded_model_dir(), tmp_path / "again")
    ]
    assert rows[0]["tokens"] == rows[1]["tokens"]
    tolerance = 0.02 if best_precision() == "bf16" else 0.05
    assert rows[1]["loss"] == pytest.approx(rows[0]["loss"], rel=tolerance)
    with pytest.raises(FileExistsError, match="already holds a model"):
        pretrain(config, tmp_path / "again", exclude, stop_after=1)


def _tuples(values: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
