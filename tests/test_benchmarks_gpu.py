"""The GPU check at a small shape: it runs every stage and its peer on a CPU, and knows what it would need on a GPU."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys

import pytest


@pytest.fixture(scope="module")
def gpu(repo_root):
    pytest.importorskip("bitsandbytes", reason="4-bit weights need the extra qlora (bitsandbytes)")
    specification = importlib.util.spec_from_file_location("gpu", repo_root / "benchmarks" / "gpu.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules["gpu"] = module
    specification.loader.exec_module(module)
    return module


def test_the_real_setting_is_nf4_twice_quantised_and_planned_under_12_gb(gpu):
    from ra3_lab.models.plan import GB, peak, stages

    arguments = argparse.Namespace(shape="qwen2.5-1.5b", preset="12gb", length=512, programs=8, group=8)
    shape, variant, job = gpu.setting(arguments)
    assert (variant.quant, variant.nested, variant.adapter) == ("nf4", True, "lora")
    assert (job.rows, job.length, shape.vocabulary) == (64, 512, 151_936)
    assert peak(stages(shape, variant, job, 2)).total < 12 * GB


def test_every_stage_runs_beside_its_peer(gpu, tmp_path, capsys):
    out = tmp_path / "gpu.json"
    few = ["--shape", "tiny", "--length", "40", "--programs", "2", "--group", "2", "--device", "cpu"]
    assert gpu.main([*few, "--json", str(out)]) == 0
    record = json.loads(out.read_text())
    assert set(record["times_the_peer"]) == {"sampling", "scoring", "update"}
    assert all(row["tokens_per_second"] > 0 for row in record["stages"].values())
    assert all(0 < row["share"] < 1 for row in record["stages"].values() if "share" in row)
    assert record["stages"]["GRPO: sampling"]["tokens"] == record["stages"]["peer: generate"]["tokens"]
    assert record["variant"]["quant"] == "nf4" and record["device"] == "cpu"
    assert "of the roof" in capsys.readouterr().out
