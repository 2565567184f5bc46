"""A run that was stopped between any two updates goes on to the same weights, to the last bit. In-process; the tests
that really kill are in test_resume_kill.py.
"""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ra3_lab.cli import main
from ra3_lab.midtrain.em import MidtrainConfig, midtrain
from ra3_lab.midtrain.estep import EStepConfig
from ra3_lab.midtrain.mstep import FineTuner, MStepConfig
from ra3_lab.models.load import load_model
from ra3_lab.models.variants import Variant
from ra3_lab.runs import create_run, model_source, open_run, read_json, read_jsonl, resume_run, view_run
from ra3_lab.runs.checkpoint import (
    capture,
    latest_checkpoint,
    load_module,
    load_state,
    module_tensors,
    restore,
    save_state,
)
from ra3_lab.trace import Trace

CORPUS = [
    Trace("def f(a):\n", ("    b = a\n", "    c = b\n", "    return b\n"), trace_id="f"),
    Trace("def g():\n", tuple(f"    x{i} = {i}\n" for i in range(5)), trace_id="g"),
    Trace("", ("y = 2\n", "z = y\n"), trace_id="y"),
    Trace("x = 1\n", ("y = x\n", "x = y + 1\n"), trace_id="x"),
]
CONFIG = MidtrainConfig(
    seed=3,
    rounds=2,
    evaluate_every=2,
    precision="fp32",
    estep=EStepConfig(updates=4, programs=2, group=2, longest_thought=3, learning_rate=1e-3),
    mstep=MStepConfig(updates=6, programs=2),
)
UPDATES = 10


def newest(folder):
    found = latest_checkpoint(folder)
    assert found is not None
    return load_state(found)


class Stop(Exception):
    """Raised in place of a signal."""


def stopping_at(run, step: int):
    """The run, made to stop right after this update, saved or not."""
    usual = run.after_update

    def after_update(done, take, last):
        usual(done, take, last)
        if done == step:
            raise Stop

    run.after_update = after_update
    return run


def everything(result) -> torch.Tensor:
    parts = [p.detach().flatten() for model in (result.model, result.q) if model for p in model.parameters()]
    return torch.cat(parts)


def records(folder) -> tuple[list[dict], list[dict]]:
    metrics = [{k: v for k, v in row.items() if k != "seconds"} for row in read_jsonl(folder / "metrics.jsonl")]
    return metrics, read_jsonl(folder / "traces.jsonl")


def score(model) -> float:
    """A validation score whose best is not the last."""
    return -abs(float(next(model.parameters()).detach().double().sum()) - 0.3)


def look(q, pi) -> dict:
    return {
        "difference": float(
            sum((a - b).detach().abs().sum() for a, b in zip(q.parameters(), pi.parameters(), strict=True))
        )
    }


@pytest.mark.parametrize(
    ("method", "rank", "steps"),
    [
        ("ra3", 0, (1, 2, 5, 6, 10)),  # in either E-step, at its end, at the end of a round and of the run
        ("ra3", 2, (1, 8)),
        ("prior", 0, (6,)),
        ("ntp", 2, (5,)),
        pytest.param("ra3", 0, range(1, UPDATES + 1), marks=pytest.mark.slow),
        pytest.param("prior", 2, range(1, UPDATES + 1), marks=pytest.mark.slow),
    ],
)
def test_a_run_stopped_after_any_update_goes_on_to_the_same_result(
    method, rank, steps, tiny_thinker, small_tokenizer, tmp_path
):
    config = replace(CONFIG, method=method, variant=Variant(adapter="lora", rank=rank, alpha=4) if rank else Variant())

    def go(run):
        with run:
            return midtrain(config, tiny_thinker, small_tokenizer, CORPUS, score, monitor=look, keeper=run)

    whole = go(create_run(tmp_path / "whole", "midtrain", {}, {}))
    plain = midtrain(config, tiny_thinker, small_tokenizer, CORPUS, score, monitor=look)
    assert torch.equal(everything(whole), everything(plain)), "keeping a run changes nothing"
    for step in steps:
        out = tmp_path / f"stopped{step}"
        with pytest.raises(Stop):
            go(stopping_at(create_run(out, "midtrain", {}, {}, checkpoint_every=1 + step % 3), step))
        torch.manual_seed(step)  # another process has another random state
        again = go(resume_run(out, "midtrain", {}, {}, say=lambda text: None))
        assert torch.equal(everything(again), everything(whole)), f"stopped after update {step}"
        assert records(out) == records(tmp_path / "whole")
        for name in ("updates", "tokens", "validation"):
            assert getattr(again, name) == getattr(whole, name)
        assert [{**r, "seconds": 0} for r in again.history] == [{**r, "seconds": 0} for r in whole.history]


def test_the_draws_of_dropout_go_on_too(tmp_path):
    torch.manual_seed(5)
    state = capture(1, {}, {}, {}, {})
    save_state(tmp_path, state)
    expected = torch.nn.functional.dropout(torch.ones(50))
    torch.manual_seed(6)
    restore(newest(tmp_path), {}, {}, {})
    assert torch.equal(torch.nn.functional.dropout(torch.ones(50)), expected)


@pytest.mark.parametrize("make", [
    lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.9)),
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
    lambda p: pytest.importorskip("bitsandbytes").optim.AdamW8bit(p, lr=0.1),  # nests its tensors, and shares some
])  # fmt: skip
def test_any_optimiser_goes_on_bit_for_bit(make, tmp_path):
    def step(model, optimizer, seed):
        torch.manual_seed(seed)
        model(torch.randn(3, 4)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    def fresh():
        torch.manual_seed(0)
        layers = (torch.nn.Linear(4, 64), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 64), torch.nn.Linear(64, 64))
        model = torch.nn.Sequential(*layers)
        return model, make(model.parameters())

    model, optimizer = fresh()
    for seed in range(3):
        step(model, optimizer, seed)
    optimizer.param_groups[0]["lr"] = 0.05
    save_state(tmp_path, capture(3, {"m": model}, {"m": optimizer}, {}, {"note": [1, None]}))
    step(model, optimizer, 9)
    again, its = fresh()
    values = restore(newest(tmp_path), {"m": again}, {"m": its}, {})
    assert values == {"note": [1, None]} and its.param_groups[0]["lr"] == 0.05
    step(again, its, 9)
    for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_tied_weights_are_saved_once_and_frozen_ones_not_at_all():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model[1].bias.requires_grad = False
    assert list(module_tensors(model)) == ["0.weight"]
    with pytest.raises(ValueError, match=r"another model or of other adapters: '1\.bias'"):
        load_module(model, {"0.weight": torch.zeros(3, 3), "1.bias": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"'0\.weight' has shape \(3, 2\), the model's \(3, 3\)"):
        load_module(model, {"0.weight": torch.zeros(3, 2)})


# --- what is refused ----------------------------------------------------------------------------------


def test_going_on_removes_what_a_kill_left_and_nothing_else(tmp_path):
    create_run(tmp_path / "r", "midtrain", {}, {}).close()
    (tmp_path / "r" / ".model-a1b2c3d4").mkdir()
    (tmp_path / "r" / "summary.json.tmp").write_text("{")
    own = (".python-version", ".pre-commit-config.yaml", "notes.tmp", ".my-notes/a.txt")
    for name in own:
        (tmp_path / "r" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "r" / name).write_text("mine")
    resume_run(tmp_path / "r", "midtrain", {}, {}).close()
    assert all((tmp_path / "r" / name).read_text() == "mine" for name in own)
    assert not (tmp_path / "r" / ".model-a1b2c3d4").exists() and not (tmp_path / "r" / "summary.json.tmp").exists()


def test_a_run_goes_on_only_with_what_it_began_with(tmp_path):
    create_run(tmp_path / "r", "midtrain", {"seed": 1, "estep": {"cost": 0.1}, "threads": 2}, {"data": "a"}).close()
    said: list[str] = []
    with resume_run(
        tmp_path / "r", "midtrain", {"seed": 1, "estep": {"cost": 0.1}, "threads": 4}, {"data": "a"}, say=said.append
    ):
        pass
    assert said == ["note: setting threads was 2 and is now 4; the last bits of the result may differ"]
    for settings, inputs, message in (
        (
            {"seed": 1, "estep": {"cost": 0.2}, "threads": 2},
            {"data": "a"},
            r"setting estep\.cost was 0\.1 and is now 0\.2",
        ),
        ({"seed": 1, "estep": {"cost": 0.1}, "threads": 2}, {"data": "b"}, 'input data was "a" and is now "b"'),
    ):
        with pytest.raises(ValueError, match=message):
            resume_run(tmp_path / "r", "midtrain", settings, inputs)
    with pytest.raises(ValueError, match="a run of `ra3-lab midtrain`, not of `ra3-lab rlvr`"):
        resume_run(tmp_path / "r", "rlvr", {}, {})
    with pytest.raises(FileNotFoundError, match=r"no run directory \(no run\.json\)"):
        resume_run(tmp_path / "none", "midtrain", {}, {})
    with pytest.raises(
        FileExistsError, match=r"not finished: go on with ra3-lab midtrain --resume .*r, choose another --out"
    ):
        create_run(tmp_path / "r", "midtrain", {}, {})


def test_a_new_run_that_fails_before_anything_has_happened_leaves_its_folder_free(tmp_path):
    out = tmp_path / "r"
    with pytest.raises(ValueError, match=r"checkpoint_every=0"):
        create_run(out, "midtrain", {}, {}, checkpoint_every=0)
    with pytest.raises(ValueError, match="wrong"), open_run(out, "midtrain", {}, {}, 1, going_on=False):
        raise ValueError("wrong")
    assert not out.exists()
    with pytest.raises(ValueError, match="wrong"), open_run(out, "midtrain", {}, {}, 1, going_on=False) as run:
        run.metrics({"stage": "mstep", "update": 1})
        raise ValueError("wrong")
    assert read_jsonl(out / "metrics.jsonl"), "what has begun stays"


def test_a_new_run_in_the_current_folder_that_fails_tells_why_and_leaves_it_empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="wrong"), open_run(Path("."), "midtrain", {}, {}, 1, going_on=False):
        raise ValueError("wrong")
    assert not any(tmp_path.iterdir())


def test_what_to_type_is_quoted(tmp_path, capsys):
    out = tmp_path / "my run"
    with create_run(out, "midtrain", {}, {}) as run:
        assert run.standing().endswith(f"go on with: ra3-lab midtrain --resume '{out}'")
    with pytest.raises(FileNotFoundError, match=r"--resume '.*my run'"):
        model_source(out)
    assert main(["export", str(out), "--out", str(tmp_path / "model")]) == 2
    assert f"ra3-lab midtrain --resume '{out}' first" in capsys.readouterr().err


def test_two_processes_cannot_write_one_run(tmp_path):
    with create_run(tmp_path / "r", "midtrain", {}, {}):
        assert view_run(tmp_path / "r").state == "running"
        with pytest.raises(FileExistsError, match="in use by another process"):
            resume_run(tmp_path / "r", "midtrain", {}, {})
    assert view_run(tmp_path / "r").state == "stopped"
    resume_run(tmp_path / "r", "midtrain", {}, {}).close()


def test_damaged_and_newer_checkpoints_are_named(tmp_path):
    path = save_state(tmp_path, capture(4, {}, {}, {}, {}))
    with open(path / "tensors.safetensors", "ab") as file:
        file.truncate(20)
    with pytest.raises(ValueError, match=r"checkpoint .*00000004 is damaged \(its size"):
        load_state(path)
    record = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**record, "schema_version": 7}))
    with pytest.raises(ValueError, match="schema_version 7"):
        load_state(path)


def test_metrics_that_were_shortened_by_hand_are_noticed(tmp_path):
    with create_run(tmp_path / "r", "midtrain", {}, {}) as run:
        run.metrics({"update": 1})
        run.save(capture(1, {}, {}, {}, {}))
        (tmp_path / "r" / "metrics.jsonl").write_text("")
        with pytest.raises(ValueError, match=r"metrics\.jsonl is shorter than at the checkpoint"):
            run.latest()


# --- the command line ---------------------------------------------------------------------------------

FLAGS = [
    "--rounds", "1", "--estep.updates", "2", "--estep.programs", "2", "--estep.group", "2", "--mstep.updates", "3",
    "--mstep.programs", "2", "--heldout-samples", "1", "--device", "cpu", "--precision", "fp32", "--threads", "1",
]  # fmt: skip


@pytest.fixture
def solutions(tmp_path):
    path = tmp_path / "solutions.jsonl"
    path.write_text(
        "".join(json.dumps({"code": f"def add(x):\n    y = x + {i}\n    return y\n"}) + "\n" for i in range(12))
    )
    return path


def test_ctrl_c_saves_says_how_to_go_on_and_resume_does(solutions, tmp_path, capsys, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "stopped"
    assert main(["midtrain", "--data", str(solutions), "--out", str(whole), *FLAGS]) == 0
    usual = FineTuner.update

    def pressing(self, encoded):
        loss = usual(self, encoded)
        if self.updates == 2:
            signal.raise_signal(signal.SIGINT)
        return loss

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell may ignore it
    try:
        monkeypatch.setattr(FineTuner, "update", pressing)
        assert main(["midtrain", "--data", str(solutions), "--out", str(out), *FLAGS]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
        monkeypatch.undo()
    told = capsys.readouterr().err
    assert "stopping after this update" in told
    assert f"stopped at update 4, saved; go on with: ra3-lab midtrain --resume {out}" in told
    assert view_run(out).state == "stopped" and not (out / "model").exists()

    assert main(["midtrain", "--resume", str(out), "--seed", "9"]) == 2
    assert "setting seed was 0 and is now 9: a run goes on with what it began with" in capsys.readouterr().err
    assert main(["midtrain", "--resume", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["run"] == str(out) and found["updates"] == 5
    for name in ("model.safetensors", "config.json"):
        assert (out / "model" / name).read_bytes() == (whole / "model" / name).read_bytes()
    assert records(out) == records(whole)
    mine, theirs = read_json(out / "summary.json"), read_json(whole / "summary.json")
    assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}
    assert not (out / "checkpoints").exists()

    assert main(["midtrain", "--resume", str(out)]) == 0
    assert "finished already" in capsys.readouterr().out
    assert main(["midtrain", "--resume", str(out), "--threads", "2", "--checkpoint-every", "7"]) == 0
    assert main(["midtrain", "--resume", str(out), "--estep.updates", "9"]) == 2
    assert f"{out} is finished with estep.updates=2: start a new run with --out." in capsys.readouterr().err
    model, _ = load_model(out / "model", "cpu")
    assert model.config.model_type == "llama"


def test_resume_names_what_it_cannot_go_on_with(solutions, tmp_path, capsys):
    assert main(["midtrain", "--resume", str(tmp_path)]) == 2
    assert "no run directory" in capsys.readouterr().err
    create_run(tmp_path / "r", "midtrain", {"data": str(solutions), "seed": 0}, {}).close()
    assert main(["midtrain", "--resume", str(tmp_path / "r"), "--out", str(tmp_path / "s")]) == 2
    assert "leave --out" in capsys.readouterr().err
    assert main(["rlvr", "--resume", str(tmp_path / "r")]) == 2
    told = "r is a run of `ra3-lab midtrain`, not of `ra3-lab rlvr`: go on with ra3-lab midtrain --resume"
    assert told in capsys.readouterr().err
    create_run(tmp_path / "e", "em", {}, {}, go_on="ra3_lab.em(..., resume=True)").close()
    assert main(["midtrain", "--resume", str(tmp_path / "e")]) == 2
    told = "e is a run of `ra3_lab.em` in Python, not of `ra3-lab midtrain`: go on with ra3_lab.em(..., resume=True)."
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("command", [["midtrain", "--data"], ["rlvr", "--tasks"]])
def test_an_occupied_folder_is_refused_before_anything_is_loaded(command, solutions, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ra3_lab.models.load.load_model", lambda *_: pytest.fail("the model was loaded"))
    create_run(tmp_path / "r", command[0], {}, {}).close()
    arguments = [*command, str(solutions), "--device", "cpu", "--threads", "1"]
    for out, told in ((tmp_path / "r", "not finished: go on with"), (tmp_path, "not empty"), (solutions, "not empty")):
        before = sorted(tmp_path.rglob("*"))
        assert main([*arguments, "--out", str(out)]) == 2
        assert told in capsys.readouterr().err and sorted(tmp_path.rglob("*")) == before
