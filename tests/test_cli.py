"""The command line as a user types it, and a small experiment end to end."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ra3_lab.cli import COMMANDS, main
from ra3_lab.experiment import ExperimentConfig, run_experiment
from ra3_lab.midtrain.em import MidtrainConfig
from ra3_lab.midtrain.estep import EStepConfig
from ra3_lab.midtrain.mstep import MStepConfig
from ra3_lab.models.load import load_model

SMALL = MidtrainConfig(
    rounds=1,
    evaluate_every=2,
    estep=EStepConfig(updates=1, programs=2, group=2),
    mstep=MStepConfig(updates=2, programs=4),
)


def test_help_names_every_command_and_loads_no_torch():
    code = "import sys, ra3_lab.cli as c; c.main(['--help']); assert 'torch' not in sys.modules"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(name in shown for name in COMMANDS)


def test_unknown_command_and_version(capsys):
    assert main(["dmeo"]) == 2
    assert "demo" in capsys.readouterr().err
    assert main(["--version"]) == 0


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("test", "test-all", "lab")])
def test_every_command_has_help_with_an_example(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert f"Example: ra3-lab {name}" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def solutions(tmp_path):
    path = tmp_path / "solutions.jsonl"
    rows = [
        {"task_id": i, "text": f"Add {i}.", "code": f"def add(x):\n    y = x + {i}\n    return y\n"} for i in range(20)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_midtrain_on_own_code_writes_a_run_and_refuses_to_overwrite_it(solutions, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = [
        "midtrain", "--method", "ra3", "--data", str(solutions), "--ids", "0", "15", "--heldout", str(solutions),
        "--heldout-ids", "16", "19", "--out", str(out), "--device", "cpu", "--rounds", "1", "--estep.updates", "1",
        "--estep.programs", "2", "--estep.group", "2", "--mstep.updates", "2", "--mstep.programs", "4",
    ]  # fmt: skip
    assert main(arguments) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["schema_version"] == 1 and summary["heldout_lines"] == 12
    for row in summary["nats_per_line"].values():
        assert row["k1"] <= row["k8"] + 0.5 and all(value < 0 for value in row.values())
    stages = [json.loads(line)["stage"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert stages == ["estep", "mstep", "mstep"]
    trained, _ = load_model(out / "model", "cpu")
    assert trained.config.model_type == "llama"
    before = sorted((path.name, path.stat().st_mtime_ns) for path in out.rglob("*"))
    assert main(arguments) == 2
    assert "not empty" in capsys.readouterr().err
    assert before == sorted((path.name, path.stat().st_mtime_ns) for path in out.rglob("*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--data", "nowhere.jsonl"], "does not exist"),
        (["--model", "./nowhere"], "no model directory"),
        (["--device", "cuda"], "no CUDA"),
        (["--heldout-ids", "1", "2"], "--heldout"),
        (["--max-tokens", "3"], "--max-tokens"),
        (["--max-tokens", "0"], "--max-tokens 0: 1 or more"),
        (["--heldout-samples", "1", "0"], "--heldout-samples 0: numbers"),
        (["--threads", "0"], "threads=0: CPU threads to use, 1 or more"),
        (["--checkpoint-every", "0"], "checkpoint_every=0"),
        (["--quant", "nf4"], "quant=nf4 without adapters leaves nothing to train"),
        (["--seed", "-1"], "seed=-1: 0 or more"),
        (["--method", "annotator"], "method annotator, but none of the"),
    ],
)
def test_bad_input_ends_in_one_line_and_leaves_no_run(change, message, solutions, tmp_path, capsys):
    import torch

    if "cuda" in change and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    out = tmp_path / "run"
    base = {"--data": str(solutions), "--out": str(out), "--device": "cpu"}
    base.pop(change[0], None)
    assert main(["midtrain", *[word for pair in base.items() for word in pair], *change]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not out.exists()


def test_the_same_seed_gives_the_same_table():
    config = ExperimentConfig(
        seed=3, midtrain=SMALL, tasks=4, samples=2, validation_tasks=2, monitor_programs=3, corpus=12
    )
    model, tokenizer = load_model("embedded", "cpu")
    records = [run_experiment(config, model, tokenizer, say=lambda text: None).record for _ in range(2)]
    for record in records:
        record.pop("seconds")
        record["summary"].pop("seconds")
        for row in record["summary"]["arms"].values():
            row.pop("seconds")
    assert records[0] == records[1]
    arms = records[0]["summary"]["arms"]
    assert arms["ntp"]["updates"] == arms["prior"]["updates"] == arms["ra3"]["updates"] == 3


@pytest.mark.slow
def test_demo_writes_report_and_summary(tmp_path):
    out = tmp_path / "demo"
    run = subprocess.run(
        [sys.executable, "-m", "ra3_lab", "demo", "--out", str(out), "--seed", "1"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["arms"]) == {"base", "ntp", "prior", "ra3"}
    for row in summary["arms"].values():
        assert {"pass@1", "pass@4", "ci95", "by_length", "thoughts_per_program", "updates", "seconds"} <= set(row)
        assert 0 <= row["ci95"][0] <= row["pass@1"] <= row["ci95"][1] <= 1
    assert {"precision", "recall", "f1"} == set(summary["segmentation"])
    assert (out / "report.html").stat().st_size > 1_000_000
