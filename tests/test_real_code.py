"""The runs on the standard library and on MBPP: their records, their page, and the arithmetic between."""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from ra3_lab.api import load_traces
from ra3_lab.explore.timeline import latent_timeline
from ra3_lab.runs import read_json, read_jsonl

SHORT = [
    "--config.seeds", "1", "--config.samples", "2",
    "--config.midtrain.rounds", "1", "--config.midtrain.estep.updates", "1",
    "--config.midtrain.estep.programs", "2", "--config.midtrain.estep.group", "2",
    "--config.midtrain.mstep.updates", "2", "--config.midtrain.mstep.programs", "2",
]  # fmt: skip
SMALL = [
    *SHORT, "--config.programs", "60", "--config.heldout-files", "0.3", "--config.heldout", "4", "--config.watched", "2"
]  # fmt: skip


@pytest.fixture
def scripts(repo_root, monkeypatch):
    """Imports a program of benchmarks/ by name."""
    monkeypatch.syspath_prepend(repo_root / "benchmarks")
    return importlib.import_module


@pytest.fixture
def script(scripts):
    return scripts("real_code")


@pytest.fixture
def recording(scripts):
    return scripts("real_code_record")


@pytest.fixture
def page(scripts):
    return scripts("real_code_page")


@pytest.fixture
def run(repo_root):
    """Run real_code.py with these words; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "RA3_BENCHMARKS"}

    def run(*words: object) -> str:
        command = [sys.executable, "benchmarks/real_code.py", *map(str, words)]
        told = subprocess.run(command, cwd=repo_root, env=environment, check=True, capture_output=True, text=True)
        return told.stdout

    return run


@pytest.fixture
def mbpp(benchmarks_dir):
    file = benchmarks_dir / "mbpp" / "mbpp.jsonl"
    if not file.exists():
        pytest.skip(f"no {file}")
    return file


def test_a_bound_of_k_samples_averages_over_groups_of_k(script):
    drawn = torch.tensor([[-1.0, -3.0, -2.0, -2.0]], dtype=torch.float64)
    assert script.blockwise_bound(drawn, 1).item() == pytest.approx(-2.0)
    first = math.log((math.exp(-1) + math.exp(-3)) / 2)
    assert script.blockwise_bound(drawn, 2).item() == pytest.approx((first - 2.0) / 2)
    whole = script.blockwise_bound(drawn, 4).item()
    assert whole == pytest.approx(math.log(sum(map(math.exp, drawn[0].tolist())) / 4))
    assert script.spread(range(10), 4) == [0, 2, 5, 7] and script.spread([1, 2], 4) == [1, 2]


def test_thoughts_are_ranked_by_what_they_bought(recording):
    program = {
        "task_id": "f", "lines": ["a = (1,\n  2)\n", "b = 2\n", "c = 3\n"], "latents": [" x", None, " x"],
        "gains": [-2.0, None, 0.5],
    }  # fmt: skip
    thoughts = recording.thoughts_of([program])
    assert [(one["line"], one["code"], one["gain"]) for one in thoughts] == [(2, "c = 3", 0.5), (0, "a = (1,", -2.0)]
    found = recording.summary_of(thoughts)
    assert (found["count"], found["distinct"], found["helpful"], found["mean_gain"]) == (2, 1, 1, -0.75)
    assert found["worst"][0]["gain"] == -2.0 and found["often"] == [{"thought": " x", "count": 2, "mean_gain": -0.75}]
    assert recording.summary_of([])["mean_gain"] is None


def looked(nats: list[float]) -> dict:
    """A look at programs of two lines that gained nothing by a thought before the second."""
    program = {"lines": ["a\n", "b\n"], "latents": [None, " c"], "gains": [None, 0.0], "line_gain": [0.0, 0.0]}
    bounds = {"no_thought": nats, "k2": [x + 1 for x in nats]}
    return {"bounds": bounds, "programs": [{**program, "line_logp": [x / 2, x / 2]} for x in nats]}


def test_differences_are_paired_over_seeds_and_programs(recording):
    looks = {
        0: {"ntp": looked([-4.0, -8.0]), "ra3": looked([-3.0, -9.0])},
        1: {"ntp": looked([-4.0, -8.0]), "ra3": looked([-2.0, -6.0])},
    }
    best, _, plain = recording.differences(looks, 4)
    assert (best["ra3"], best["ntp"]) == ("k2", "no_thought") and (plain["ra3"], plain["ntp"]) == ("no_thought",) * 2
    assert plain["by_seed"] == [0.0, 1.0] and plain["mean"] == 0.5, "nats of all programs by their four lines"
    assert plain["low"] < plain["mean"] < plain["high"] and best["mean"] == 1.0
    assert recording.under_floor({0: {"ra3": looked([-30.0, -10.0, -2.0, -22.0])}}, "ra3") == 0.5
    assert recording.FLOOR == -10.0
    rows = [[{"stage": "mstep", "update": 3, "loss": value, "seconds": 1.0}] for value in (2.0, 4.0)]
    assert recording.curve(rows, "mstep", ("loss",)) == [{"update": 3, "loss": 3.0}]
    assert recording.curve(rows, "estep", ("return",)) == []


def texts_of(record: object) -> list[str]:
    """Every text inside a record."""
    if isinstance(record, dict):
        return [text for value in record.values() for text in texts_of(value)]
    if isinstance(record, list):
        return [text for value in record for text in texts_of(value)]
    return [record] if isinstance(record, str) else []


def holds_no_task(text: str, mbpp: Path) -> None:
    """No sentence and no longer line of a program of MBPP stands in the text."""
    rows = read_jsonl(mbpp)
    assert len(rows) == 974
    for row in rows:
        lines = [line.strip() for line in row["code"].splitlines()]
        found = [part for part in (row["text"], *lines) if len(part) >= 16 and part in text]
        assert not found, f"of task {row['task_id']}"


def agrees(record: dict) -> None:
    """What holds of every record."""
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


def library_agrees(record: dict) -> None:
    """What holds of the library's records: explorers read them, and the licence stands beside the excerpts."""
    agrees(record)
    assert "Python Software Foundation" in record["notice"]
    view = latent_timeline(record).view(program=0, look=len(record["looks"]) - 1)
    assert "true step" not in view.twin.title and record["programs"][0]["task_id"] in view.twin.title


@pytest.mark.slow
def test_a_run_end_to_end_and_again_from_what_it_left(run, tmp_path):
    out, record = tmp_path / "out", tmp_path / "record.json"
    words = ["--out", out, "--record", record, *SMALL]
    run(*words)
    library_agrees(read_json(record))
    assert read_json(record)["corpus"]["functions"] == 60
    first = record.read_bytes()
    (out / "look_ra3-0.json").unlink()  # as a kill before the last look leaves it
    assert "ra3-0 is finished already" in run(*words) and record.read_bytes() == first


@pytest.mark.slow
def test_mbpp_end_to_end_again_and_with_one_more_seed(run, page, mbpp, tmp_path):
    out, record = tmp_path / "out", tmp_path / "record.json"
    words = ["--mbpp", mbpp, "--out", out, "--record", record, *SHORT, "--config.programs", "6"]
    run(*words)
    first = record.read_bytes()
    (out / "look_ra3-0.json").unlink()
    assert "ra3-0 is finished already" in run(*words) and record.read_bytes() == first
    run(*words, "--config.seeds", 2)
    found = read_json(record)
    agrees(found)
    assert found["corpus"]["trained_on"] == found["corpus"]["heldout"] == 6 and found["seeds"] == [0, 1]
    assert found["differences"][0]["by_seed"][0] == json.loads(first)["differences"][0]["mean"]
    assert found["command"].startswith("python benchmarks/real_code.py --mbpp MBPP --out OUT --record RECORD ")
    holds_no_task("\n".join(texts_of(found)), mbpp)
    shown = page.figures(found)
    assert "2 training seeds" in shown and "The floor of this run: none." in shown
    with pytest.raises(subprocess.CalledProcessError) as refused:
        run(*words, "--config.samples", 4)
    assert "holds a run of other settings" in refused.value.stderr


def test_mbpp_keeps_its_official_splits_and_only_the_sentence_as_prompt(script, mbpp, tmp_path):
    rows, data = script.mbpp_rows(mbpp)
    assert data.release
    script.mbpp_corpus(script.RealCodeConfig(), tmp_path, rows)
    train, heldout = (load_traces(tmp_path / f"{name}.jsonl") for name in ("train", "heldout"))
    assert [int(trace.trace_id) for trace in train] == list(range(601, 975))
    assert [int(trace.trace_id) for trace in heldout] == list(range(511, 601))
    for trace in train + heldout:
        assert "\r" not in trace.text and trace.prompt.startswith('"""') and "assert" not in trace.prompt
    script.mbpp_corpus(script.RealCodeConfig(programs=5), tmp_path, rows)
    assert len(load_traces(tmp_path / "train.jsonl")) == len(load_traces(tmp_path / "heldout.jsonl")) == 5


def test_another_file_than_mbpp_is_refused(script, tmp_path):
    (tmp_path / "mbpp.jsonl").write_text('{"task_id": 601}\n')
    with pytest.raises(SystemExit, match=r"--mbpp: .*mbpp.jsonl has sha256 .* not ccf64ceae9c5"):
        script.mbpp_rows(tmp_path / "mbpp.jsonl")
    with pytest.raises(SystemExit, match="is no file"):
        script.mbpp_rows(tmp_path / "nowhere.jsonl")
    with pytest.raises(SystemExit, match="--mbpp needs --out"):
        script.main(mbpp=tmp_path / "mbpp.jsonl")
    with pytest.raises(ValueError, match="seeds=0"):
        script.RealCodeConfig(seeds=0)


def test_the_page_holds_the_recorded_figures(repo_root, script, page):
    text = (repo_root / "docs" / "real_code.md").read_text(encoding="utf-8")
    for path, kind in zip(script.SHIPPED, ("real_code", "real_mbpp"), strict=True):
        begin, end = page.MARKS[kind]
        between = text.split(begin)[1].split(end)[0].strip()
        if not path.exists():
            assert between == "No run has been recorded yet."
            continue
        record = read_json(path)
        assert record["kind"] == kind and between == page.figures(record)
        library_agrees(record) if kind == "real_code" else agrees(record)


def test_nothing_of_mbpp_stands_in_the_repository(repo_root, script, mbpp):
    record = script.SHIPPED[1]
    if record.exists():
        holds_no_task("\n".join(texts_of(read_json(record))), mbpp)
    holds_no_task((repo_root / "docs" / "real_code.md").read_text(encoding="utf-8"), mbpp)


def test_figures_go_between_two_marks(page, tmp_path):
    (tmp_path / "page.md").write_text("no marks")
    with pytest.raises(ValueError, match="needs one line"):
        page.fill(tmp_path / "page.md", {"kind": "real_mbpp"})


def test_code_with_backticks_and_bars_stays_whole_in_a_table(page):
    assert page.code("a | `b`") == "`` a \\| `b` ``"
    assert Counter(page.table(("x", "y"), [("1", "2")]).split("\n")[0])["|"] == 3
