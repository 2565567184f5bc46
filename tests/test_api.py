"""The seven functions of the package: what they promise, and the README's example as it stands there."""

from __future__ import annotations

import copy
import importlib
import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import ra3_lab
from ra3_lab.midtrain.em import MidtrainConfig
from ra3_lab.midtrain.estep import EStepConfig
from ra3_lab.midtrain.mstep import MStepConfig
from ra3_lab.trace import Trace

TRACES = [
    Trace("def f(a):\n", ("    b = a\n", "    c = b\n", "    return b\n"), trace_id="f"),
    Trace("def g():\n", tuple(f"    x{i} = {i}\n" for i in range(5)), trace_id="g"),
    Trace("x = 1\n", ("y = x\n", "x = y + 1\n"), trace_id="x"),
]
ESTEP = EStepConfig(updates=2, programs=2, group=2, longest_thought=3, learning_rate=1e-3)
MSTEP = MStepConfig(updates=3, programs=2)
CONFIG = MidtrainConfig(seed=5, rounds=1, precision="fp32", estep=ESTEP, mstep=MSTEP)


def weights(model) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_readme_example_runs_as_it_stands(repo_root, tmp_path):
    text = (repo_root / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
    assert len(example.strip().splitlines()) <= 10
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(ntp|ra3) \{'lines'", done.stdout, re.M) == ["ntp", "ra3"]


def test_one_round_of_em_is_an_mstep_on_the_q_of_an_estep(tiny_thinker, small_tokenizer):
    before = weights(tiny_thinker)
    whole = ra3_lab.em(tiny_thinker, small_tokenizer, TRACES, CONFIG)
    found = ra3_lab.estep(tiny_thinker, small_tokenizer, TRACES, ESTEP, seed=5, precision="fp32")
    trained = ra3_lab.mstep(
        tiny_thinker, small_tokenizer, TRACES, MSTEP, q=found.q, longest_thought=3, seed=5, precision="fp32"
    )
    assert torch.equal(weights(found.q), weights(whole.q))
    assert torch.equal(weights(trained.model), weights(whole.model))
    assert trained.tokens + found.tokens == whole.tokens
    assert any(trace.thought_lines for trace in trained.traces)
    assert torch.equal(weights(tiny_thinker), before), "the given model is left alone"


def test_ntp_is_em_without_latents_at_as_many_updates(tiny_thinker, small_tokenizer):
    reports: list[dict] = []
    ntp = ra3_lab.ntp(tiny_thinker, small_tokenizer, TRACES, CONFIG, report=reports.append)
    assert [record["stage"] for record in reports] == ["mstep"] * 5 and reports == ntp.history
    plain = ra3_lab.mstep(tiny_thinker, small_tokenizer, TRACES, replace(MSTEP, updates=5), seed=5, precision="fp32")
    assert torch.equal(weights(plain.model), weights(ntp.model))


def test_a_kept_run_goes_on_and_a_finished_one_comes_back(tiny_thinker, small_tokenizer, tmp_path):
    class Enough(Exception):
        pass

    def stop(record):
        if record["stage"] == "mstep" and record["update"] == 2:
            raise Enough

    plain = ra3_lab.em(tiny_thinker, small_tokenizer, TRACES, CONFIG)
    settings = {"out": tmp_path / "run", "resume": True, "checkpoint_every": 1}
    with pytest.raises(Enough):
        ra3_lab.em(tiny_thinker, small_tokenizer, TRACES, CONFIG, report=stop, **settings)
    assert ra3_lab.load_run(tmp_path / "run")["state"] == "stopped"
    with pytest.raises(FileExistsError, match="not finished"):
        ra3_lab.em(tiny_thinker, small_tokenizer, TRACES, CONFIG, out=tmp_path / "run")
    with pytest.raises(ValueError, match=r"setting mstep\.updates was 3 and is now 4"):
        other = replace(CONFIG, mstep=replace(MSTEP, updates=4))
        ra3_lab.em(tiny_thinker, small_tokenizer, TRACES, other, **settings)
    with pytest.raises(ValueError, match="input data_sha256 was"):
        ra3_lab.em(tiny_thinker, small_tokenizer, [*TRACES[:2], Trace("", ("z = 1\n",))], CONFIG, **settings)
    again = ra3_lab.em(tiny_thinker, small_tokenizer, TRACES, CONFIG, **settings)
    assert torch.equal(weights(again.model), weights(plain.model))
    back = ra3_lab.em(tiny_thinker, small_tokenizer, TRACES, CONFIG, **settings)
    assert torch.equal(weights(back.model), weights(plain.model)) and len(back.history) == 5
    record = ra3_lab.load_run(tmp_path / "run")
    assert record["state"] == "finished" and record["summary"]["updates"] == 5
    sampled = ra3_lab.load_traces(tmp_path / "run")
    assert len(sampled) == 6 and {trace.trace_id for trace in sampled} <= {"f", "g", "x"}
    model, _ = ra3_lab.load_model(tmp_path / "run", "cpu")
    assert torch.equal(weights(model), weights(plain.model))


def test_evaluate_gives_nats_per_line_and_rises_with_k(tiny_thinker, small_tokenizer):
    reader = copy.deepcopy(tiny_thinker)
    for (
        weight
    ) in reader.model.layers.parameters():  # in the fixture thoughts change the code's likelihood hardly at all
        weight.data *= 5 if weight.ndim > 1 else 1

    def evaluated(seed: int) -> dict:
        return ra3_lab.evaluate(reader, small_tokenizer, TRACES, k=(1, 16), seed=seed, precision="fp32")

    found = [evaluated(seed) for seed in range(4)]
    assert found[0]["lines"] == 10 and -100 < found[0]["no_thought"] < 0
    assert sum(one["k16"] - one["k1"] for one in found) > 0, "on average"
    importlib.import_module("ra3_lab.evaluate.passk")  # importing the package's modules changes nothing
    assert evaluated(0) == found[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, t: ra3_lab.estep(m, t, []), "no traces"),
        (lambda m, t: ra3_lab.mstep(m, t, []), "no traces"),
        (lambda m, t: ra3_lab.em(m, t, []), "empty"),
        (lambda m, t: ra3_lab.evaluate(m, t, []), "nothing to evaluate"),
        (lambda m, t: ra3_lab.evaluate(m, t, TRACES, k=(0,)), "k=0"),
        (lambda m, t: ra3_lab.estep(m, t, [Trace("", ("x = 1\n",) * 90, trace_id="long")]), "trace long has"),
        (lambda m, t: ra3_lab.em(m, t, TRACES, CONFIG, out="x", checkpoint_every=0), "checkpoint_every=0"),
    ],
)
def test_wrong_calls_are_refused(call, message, tiny_thinker, small_tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        call(tiny_thinker, small_tokenizer)


def test_traces_from_files(tmp_path):
    rows = [{"prompt": "p\n", "lines": ["x = 1\n"], "latents": [" one"], "stage": "final"}]
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (trace,) = ra3_lab.load_traces(path)
    assert trace.text == "p\n# one\nx = 1\n"
    path.write_text('{"lines": ["x"]}\n')
    with pytest.raises(ValueError, match=r"traces\.jsonl:1 is no trace"):
        ra3_lab.load_traces(path)
    path.write_text('{"prompt": "", "lines": ["x = 1"]}\n')
    with pytest.raises(ValueError, match=r"traces\.jsonl:1 is no trace \(.*'x = 1' does not end with a newline"):
        ra3_lab.load_traces(path)
    path.write_text('{"schema_version": 5, "lines": ["x"]}\n')
    with pytest.raises(ValueError, match="schema_version 5"):
        ra3_lab.load_traces(path)
    path.write_text('{"code": "x = 1"}\n{"code": "x = ("}\n')
    from collections import Counter

    left_out: Counter[str] = Counter()
    (trace,) = ra3_lab.load_traces(path, report=left_out)
    assert trace.lines == ("x = 1\n",) and sum(left_out.values()) == 1


# --- settings files -----------------------------------------------------------------------------------


def test_one_set_of_fields_for_python_and_files(tmp_path):
    (tmp_path / "a.toml").write_text(
        'method = "prior"\nrounds = 2\n[estep]\ncost = inf\nlearning-rate = 1\nfloor = "none"\n'
        '[variant]\nadapter = "lora"\nrank = 4\n'
    )
    config = ra3_lab.load_config(MidtrainConfig, tmp_path / "a.toml")
    assert config.method == "prior" and config.variant.rank == 4 and config.mstep == MStepConfig()
    assert config.estep == EStepConfig(cost=float("inf"), learning_rate=1.0, floor=None)
    (tmp_path / "b.toml").write_text('adapter = "lora"\nrank = 4\n')  # as the flags --adapter and --rank
    assert ra3_lab.load_config(MidtrainConfig, tmp_path / "b.toml").variant == config.variant
    (tmp_path / "a.json").write_text('{"rounds": 2, "estep": {"cost": "inf", "horizon": null}}')
    assert ra3_lab.load_config(MidtrainConfig, tmp_path / "a.json").estep.cost == float("inf")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("round = 2", r"a\.toml: there is no 'round'; did you mean 'rounds'\?"),
        ("[estep]\ncots = 1", r"there is no 'estep\.cots'; did you mean 'estep\.cost'\?"),
        ("zzz = 1", "there is no 'zzz'; there are method, seed, rounds"),
        ("rounds = 2.5", r"rounds = 2\.5: a whole number is wanted"),
        ("seed = true", "seed = True: a whole number is wanted"),
        ('method = "sft"', "method = 'sft': one of 'ntp', 'prior', 'ra3', 'annotator', 'resampled' is wanted"),
        ("estep = 3", "estep = 3: a table of settings is wanted"),
        ('[estep]\nfloor = "low"', r"estep\.floor = 'low': a number or none is wanted"),
        ("[estep]\ngroup = 1", r"a\.toml: group=1: the leave-one-out"),
        ("rounds = ", "cannot be read as settings"),
    ],
)
def test_wrong_settings_in_a_file_are_named(text, message, tmp_path):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        ra3_lab.load_config(MidtrainConfig, tmp_path / "a.toml")


def test_files_that_hold_no_settings(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        ra3_lab.load_config(MidtrainConfig, tmp_path / "none.toml")
    for name, text in (("a.yaml", "x: 1"), ("b.json", "[1]"), ("c.json", "{")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match="cannot be read as settings"):
            ra3_lab.load_config(MidtrainConfig, tmp_path / name)
