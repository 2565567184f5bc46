"""The benchmark of learning curves: equal trials, runs that are made once, a table from files."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from test_rlvr_run import judge

from ra3_lab.models.load import save_model


@pytest.fixture
def learning(monkeypatch, repo_root):
    """The script as a module, with the tests' own judge."""
    spec = importlib.util.spec_from_file_location("learning", repo_root / "benchmarks" / "learning.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class Judge:
        each = staticmethod(judge)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(module, "Judge", Judge)
    return module


def call(module, monkeypatch, tmp_path: Path, *more: str) -> None:
    starts = [f"{name}={tmp_path / 'start'}" for name in ("ntp", "ra3")]
    tasks = ["--tasks", str(tmp_path / "tasks.jsonl"), "--validation", str(tmp_path / "tasks.jsonl")]
    few = ["--seeds", "0", "1", "--updates", "4", "--tune-updates", "1", "--look-every", "2", "--prompts", "2"]
    few += ["--group", "2", "--max-new", "8", "--rates", "1e-3", "1e-2", "--validation-samples", "1", *more]
    monkeypatch.setattr(sys, "argv", ["learning.py", "--starts", *starts, "--out", str(tmp_path / "out"), *tasks, *few])
    module.main()


def test_trials_and_runs_are_made_once_and_told(learning, monkeypatch, tmp_path, capsys, tiny_thinker, small_tokenizer):
    save_model(tiny_thinker, small_tokenizer, tmp_path / "start")
    heads = {str(n): f"def f{n}(a):\n" for n in range(3)}
    rows = [{"schema_version": 1, "task_id": n, "prompt": head, "prefix": head} for n, head in heads.items()]
    rows = [{**row, "entry_point": f"f{row['task_id']}", "pairs": [[[1], 1]]} for row in rows]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    call(learning, monkeypatch, tmp_path, "--only", "ra3")
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"trial-ra3-0.001.json", "trial-ra3-0.01.json"}
    call(learning, monkeypatch, tmp_path, "--json", str(tmp_path / "result.json"))
    said = capsys.readouterr().out
    assert said.count("learning rate") == 2 + 2 + 4 and "updates to" in said, "each trial and run once"
    result = json.loads((tmp_path / "result.json").read_text())
    assert [row["label"] for row in result["starts"]] == ["ntp", "ra3"]
    assert result["runs"]["ntp"] != result["runs"]["ra3"] or result["rates"]["ntp"] == result["rates"]["ra3"]
    runs = result["runs"]["ra3"]
    assert [run["seed"] for run in runs] == [0, 1] and [u for u, _ in runs[0]["validation"]] == [0, 2, 4]
    trials = [json.loads((tmp_path / "out" / f"trial-ra3-{rate}.json").read_text()) for rate in ("0.001", "0.01")]
    ends = [trial["validation"][-1][1] for trial in trials]
    assert result["rates"]["ra3"] == (1e-3 if ends[0] >= ends[1] else 1e-2)
    assert (tmp_path / "out" / "curves.html").stat().st_size > 1_000_000
    call(learning, monkeypatch, tmp_path)
    assert "learning rate" not in capsys.readouterr().out, "nothing is left to do"
    with pytest.raises(SystemExit, match="made with other settings"):
        call(learning, monkeypatch, tmp_path, "--group", "3")
