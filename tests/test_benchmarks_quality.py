"""The quality table: arms that are there are not run again, one that is missing is named, and the page holds what the
record says."""

from __future__ import annotations

import importlib.util
import json

import pytest


@pytest.fixture(scope="module")
def quality(repo_root):
    specification = importlib.util.spec_from_file_location("quality", repo_root / "benchmarks" / "quality.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repo_root / "benchmarks")
        specification.loader.exec_module(module)
    return module


def records(quality, out, seeds=(0, 1)):
    """Arms of four tasks with two samples each: fp32 passes all, the others all but one task."""
    for number, name in enumerate(quality.VARIANTS):
        for method in quality.METHODS:
            for seed in seeds:
                correct = [[True, True]] * 3 + [[number == 0, number == 0]]
                record = {
                    "variant": name,
                    "method": method,
                    "seed": seed,
                    "learning_rate": 1e-3,
                    "validation": 0.5,
                    "correct": {"6 steps": correct, "test": correct[:2]},
                    "seconds": 1.0,
                    "config": {"midtrain": {"estep": {"updates": 2}, "mstep": {"updates": 3}}},
                    "versions": {},
                }
                path = quality.file_of(out, name, method, f"seed{seed}")
                path.write_text(json.dumps({"schema_version": 1, **record}))


def test_the_page_gets_the_table_of_the_arms(quality, tmp_path):
    records(quality, tmp_path)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{quality.BEGIN}\nold\n{quality.END}\nafter\n")
    given = ["--out", str(tmp_path), "--seeds", "0", "1"]
    assert quality.main([*given, "--json", str(tmp_path / "table.json"), "--page", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "2 seeds, 5 updates for every arm, fp32 computation, one learning rate for all." in text
    assert "| fp32 | NTP | 0.001 | 100.0% | 100.0%, 100.0% |  | 100.0% | 100.0%, 100.0% |  | 1 |" in text
    assert "| FP4 + LoRA | RA3 | 0.001 | 75.0% | 75.0%, 75.0% | -25.0% [" in text
    record = json.loads((tmp_path / "table.json").read_text())
    assert record["updates"] == 5 and record["tasks"] == 4 and len(record["rows"]) == 8
    with pytest.raises(FileNotFoundError, match=r"8 arms are missing in .*fp32-ntp-seed2"):
        quality.collect(tmp_path, [0, 1, 2])


def test_the_best_trial_decides_and_half_of_them_do_not(quality, tmp_path):
    assert quality.best_rate(tmp_path, "fp32", "ntp", [1e-3, 3e-3]) == 1e-3
    for rate, score in ((1e-3, 0.2), (3e-3, 0.4)):
        path = quality.file_of(tmp_path, "fp32", "ntp", f"trial-{rate:g}")
        path.write_text(json.dumps({"schema_version": 1, "validation": score, "learning_rate": rate}))
        if rate == 1e-3:
            with pytest.raises(ValueError, match="1 of 2 trials are there: finish --tune first"):
                quality.best_rate(tmp_path, "fp32", "ntp", [1e-3, 3e-3])
    assert quality.best_rate(tmp_path, "fp32", "ntp", [1e-3, 3e-3]) == 3e-3


def test_the_documented_table_is_the_recorded_one(quality, repo_root):
    file = repo_root / "benchmarks" / "results" / "quality.json"
    page = (repo_root / "docs" / "variants.md").read_text(encoding="utf-8")
    assert page.count(quality.BEGIN) == page.count(quality.END) == 1
    if file.exists():
        assert quality.table(json.loads(file.read_text())) in page
    else:
        assert "not run yet" in page.split(quality.BEGIN)[1].split(quality.END)[0]


@pytest.mark.slow
def test_arms_are_trained_scored_and_not_run_twice(quality, tmp_path, monkeypatch, capsys):
    pytest.importorskip("bitsandbytes", reason="4-bit weights need the extra qlora (bitsandbytes)")
    two = {name: quality.VARIANTS[name] for name in ("fp32", "NF4 + LoRA")}
    monkeypatch.setattr(quality, "VARIANTS", two)
    small = ["--out", str(tmp_path), "--tasks", "2", "--validation", "2", "--estep", "1", "--mstep", "2"]
    small += ["--rounds", "1", "--seeds", "0", "--rates", "1e-3"]
    assert quality.main([*small, "--tune"]) == 0
    assert quality.main(small) == 0
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(stamps) == 8
    assert quality.main(small) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == stamps
    capsys.readouterr()
    assert quality.main([*small, "--json", str(tmp_path / "table.json")]) == 0
    assert "| NF4 + LoRA | RA3 |" in capsys.readouterr().out
