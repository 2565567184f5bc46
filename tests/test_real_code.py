"""The run on the standard library: its record, its page, and the arithmetic between."""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
from collections import Counter

import pytest
import torch

from ra3_lab.explore.timeline import latent_timeline
from ra3_lab.records import load_record
from ra3_lab.resources import data_dir
from ra3_lab.runs import read_json

SMALL = [
    "--config.programs", "60", "--config.heldout-files", "0.3", "--config.heldout", "4", "--config.samples", "2",
    "--config.watched", "2", "--config.midtrain.rounds", "1", "--config.midtrain.estep.updates", "1",
    "--config.midtrain.estep.programs", "2", "--config.midtrain.estep.group", "2",
    "--config.midtrain.mstep.updates", "2", "--config.midtrain.mstep.programs", "2",
]  # fmt: skip


@pytest.fixture
def script(repo_root, monkeypatch):
    monkeypatch.syspath_prepend(repo_root / "benchmarks")
    return importlib.import_module("real_code")


@pytest.fixture
def page(repo_root, monkeypatch):
    monkeypatch.syspath_prepend(repo_root / "benchmarks")
    return importlib.import_module("real_code_page")


def test_a_bound_of_k_samples_averages_over_groups_of_k(script):
    drawn = torch.tensor([[-1.0, -3.0, -2.0, -2.0]], dtype=torch.float64)
    assert script.blockwise_bound(drawn, 1).item() == pytest.approx(-2.0)
    first = math.log((math.exp(-1) + math.exp(-3)) / 2)
    assert script.blockwise_bound(drawn, 2).item() == pytest.approx((first - 2.0) / 2)
    whole = script.blockwise_bound(drawn, 4).item()
    assert whole == pytest.approx(math.log(sum(map(math.exp, drawn[0].tolist())) / 4))
    assert script.spread(range(10), 4) == [0, 2, 5, 7] and script.spread([1, 2], 4) == [1, 2]


def test_thoughts_are_ranked_by_what_they_bought(script):
    program = {
        "task_id": "f", "lines": ["a = (1,\n  2)\n", "b = 2\n", "c = 3\n"], "latents": [" x", None, " x"],
        "gains": [-2.0, None, 0.5],
    }  # fmt: skip
    thoughts = script.thoughts_of([program])
    assert [(one["line"], one["code"], one["gain"]) for one in thoughts] == [(2, "c = 3", 0.5), (0, "a = (1,", -2.0)]
    found = script.summary_of(thoughts)
    assert (found["count"], found["distinct"], found["helpful"], found["mean_gain"]) == (2, 1, 1, -0.75)
    assert found["worst"][0]["gain"] == -2.0 and found["often"] == [{"thought": " x", "count": 2, "mean_gain": -0.75}]
    assert script.summary_of([])["mean_gain"] is None


def agrees(record: dict) -> None:
    """What holds of every record."""
    assert "Python Software Foundation" in record["notice"]
    own = json.dumps({name: value for name, value in record.items() if name not in ("programs", "looks", "thoughts")})
    assert not any(path in own for path in ("/home/", "/root/", "/tmp/", "/usr/")), "no path of the machine"
    assert list(record["nats_per_line"]) == ["before", "ntp", "ra3"]
    for nats in record["nats_per_line"].values():
        assert all(value < 0 for value in nats.values())
        bounds = [value for name, value in nats.items() if name != "no_thought"]
        assert bounds == sorted(bounds), "the bound rises with K"
    for found in record["thoughts"].values():
        assert found["count"] >= max(found["helpful"], found["distinct"], len(found["best"]))
        assert [one["gain"] for one in found["best"]] == sorted((one["gain"] for one in found["best"]), reverse=True)
    view = latent_timeline(record).view(program=0, look=len(record["looks"]) - 1)
    assert "true step" not in view.twin.title and record["programs"][0]["task_id"] in view.twin.title


@pytest.mark.slow
def test_a_run_end_to_end_and_again_from_what_it_left(repo_root, tmp_path):
    out, record = tmp_path / "out", tmp_path / "record.json"
    words = [sys.executable, "benchmarks/real_code.py", "--out", str(out), "--record", str(record), *SMALL]
    environment = {name: value for name, value in os.environ.items() if name != "RA3_BENCHMARKS"}
    subprocess.run(words, cwd=repo_root, env=environment, check=True, capture_output=True, text=True)
    agrees(read_json(record))
    assert read_json(record)["corpus"]["functions"] == 60
    first = record.read_bytes()
    (out / "look_ra3.json").unlink()  # as a kill before the last look leaves it
    again = subprocess.run(words, cwd=repo_root, env=environment, check=True, capture_output=True, text=True)
    assert "ra3 is finished already" in again.stdout and record.read_bytes() == first


def test_the_page_holds_the_recorded_figures(repo_root, page, tmp_path):
    text = (repo_root / "docs" / "real_code.md").read_text(encoding="utf-8")
    between = text.split(page.BEGIN)[1].split(page.END)[0].strip()
    if not (data_dir() / "records" / "real_code.json").exists():
        assert between == "No run has been recorded yet."
        return
    record = load_record("real_code")
    agrees(record)
    assert between == page.figures(record)


def test_figures_go_between_two_marks(page, tmp_path):
    (tmp_path / "page.md").write_text("no marks")
    with pytest.raises(ValueError, match="needs one line"):
        page.fill(tmp_path / "page.md", {})


def test_code_with_backticks_and_bars_stays_whole_in_a_table(page):
    assert page.code("a | `b`") == "`` a \\| `b` ``"
    assert Counter(page.table(("x", "y"), [("1", "2")]).split("\n")[0])["|"] == 3
