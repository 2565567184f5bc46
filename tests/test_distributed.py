"""Several processes train as one: real processes, joined by gloo, against a single one.

They are forked from the test, so that each starts in milliseconds. Weights are float64: there the order of sums, which
is all that may differ, stays far below what is compared.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from test_resume_kill import fork
from test_rlvr_run import CONFIG as RLVR
from test_rlvr_run import TASKS, judge

from ra3_lab.distributed import collect, from_first, joined, rank, require_same, require_shares, shares, sum_gradients
from ra3_lab.midtrain.em import MidtrainConfig, midtrain
from ra3_lab.midtrain.estep import EStep, EStepConfig
from ra3_lab.midtrain.mstep import FineTuner, MStepConfig
from ra3_lab.models.adapters import prepare
from ra3_lab.models.load import save_model
from ra3_lab.models.variants import Variant
from ra3_lab.rlvr.loop import Standing, rlvr
from ra3_lab.rlvr.losses import LOSSES, LossConfig
from ra3_lab.rlvr.update import UpdateConfig
from ra3_lab.runs import Interrupted, open_run, read_json, read_jsonl, read_run
from ra3_lab.trace import Trace

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

CORPUS = [
    Trace(f"def f{n}(a):\n", tuple(f"    x{i} = a + {i}\n" for i in range(n)), trace_id=f"f{n}")
    for n in (3, 4, 6, 2, 5)
]
ESTEP = EStepConfig(updates=4, programs=3, group=4, longest_thought=3, learning_rate=1e-3)
CONFIG = MidtrainConfig(
    seed=3, rounds=2, precision="fp32", evaluate_every=3, estep=ESTEP, mstep=MStepConfig(updates=6, programs=3)
)


def free_port() -> str:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return str(asked.getsockname()[1])


def launch(work, processes: int) -> list[int]:
    """Begin `work` in so many processes that train together; returns their ids."""
    port = free_port()

    def one(place: int):
        os.environ.update(RANK=str(place), LOCAL_RANK=str(place), WORLD_SIZE=str(processes))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        with joined():
            work()

    return [fork(lambda place=place: one(place)) for place in range(processes)]


def ended(pids: list[int]) -> list[int]:
    """Their exit statuses, negative for a signal."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def together(work, tmp_path, processes: int = 2) -> list:
    """What `work` returns in each of the processes that train together."""

    def kept():
        torch.save(work(), tmp_path / f"{processes}.{rank()}")

    assert ended(launch(kept, processes)) == [0] * processes
    return [torch.load(tmp_path / f"{processes}.{place}", weights_only=False) for place in range(processes)]


def agree(work, tmp_path, processes: int = 2) -> None:
    """All processes end with the same weights, and with those that one process has."""
    found = together(work, tmp_path, processes)
    with torch.random.fork_rng():
        alone, record = work()
    for weights, told in found:
        assert torch.equal(weights, found[0][0]), "the processes differ among themselves"
        torch.testing.assert_close(weights, alone, atol=1e-9, rtol=0)
        assert told.keys() == record.keys()
        for key, value in record.items():
            assert told[key] == pytest.approx(value, abs=1e-6, nan_ok=True), key


def flat(model) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])


@pytest.fixture(scope="module")
def exact(tiny_thinker):
    """The tiny model in float64."""
    return copy.deepcopy(tiny_thinker).double()


def variant_of(name: str, exact, tiny_thinker):
    if name == "float":
        return copy.deepcopy(exact)
    pytest.importorskip("bitsandbytes", reason="4-bit weights need the extra qlora (bitsandbytes)")
    return prepare(tiny_thinker, Variant("nf4", adapter="lora", rank=4))


# --- one update ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [2, 3])
def test_an_m_step_update_is_that_of_one_process(processes, exact, small_tokenizer, tmp_path):
    def work():
        tuner = FineTuner(copy.deepcopy(exact), small_tokenizer, MStepConfig(updates=9, tokens_at_once=40), "fp32")
        loss = tuner.update([small_tokenizer.encode_trace(trace) for trace in CORPUS])
        return flat(tuner.model), {"loss": loss, "tokens": tuner.tokens}

    agree(work, tmp_path, processes)
    assert not torch.equal(work()[0], flat(exact)), "nothing was trained"


@pytest.mark.parametrize("settings", [{}, {"kl": 0.1}, {"hindsight": True}], ids=str)
def test_an_e_step_update_is_that_of_one_process(settings, exact, small_tokenizer, tmp_path):
    def work():
        step = EStep(copy.deepcopy(exact), exact, small_tokenizer, replace(ESTEP, **settings), 1, "fp32")
        record = step.update(CORPUS[:3], 0)
        assert record["think_share"] > 0
        return flat(step.q), {**record, "tokens": step.tokens}

    agree(work, tmp_path)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "bnpo"])
def test_a_grpo_update_is_that_of_one_process(name, exact, small_tokenizer, tmp_path):
    loss = LossConfig(name, beta=0.01, entropy=0.001) if name == "dapo" else LossConfig(name)
    config = replace(RLVR, prompts=3, group=8, grpo=UpdateConfig(learning_rate=1e-3, iterations=2, loss=loss))

    def work():
        run = Standing(config, copy.deepcopy(exact), small_tokenizer, TASKS)
        groups, *_ = run.draw(judge)
        assert any(group.informative for group in groups)
        return flat(run.grpo.model), run.grpo.update(groups, measure_kl=True)

    agree(work, tmp_path)


def test_bnpo_takes_the_mean_over_the_micro_batches_of_all_processes(exact, small_tokenizer, tmp_path):
    config = replace(RLVR, prompts=2, group=8, grpo=UpdateConfig(loss=LossConfig("bnpo")))

    def work():
        run = Standing(config, copy.deepcopy(exact), small_tokenizer, TASKS)
        run.grpo.update(run.draw(judge)[0])
        return flat(run.grpo.model)

    weights = together(work, tmp_path)
    assert torch.equal(*weights)


def test_adapters_on_4_bit_weights_train_together(exact, tiny_thinker, small_tokenizer, tmp_path):
    model = variant_of("nf4", exact, tiny_thinker)

    def work():  # plain gradients: AdamW would make noise in float32 as large as its step
        for trace in CORPUS[:4]:
            model(input_ids=torch.tensor(small_tokenizer.encode_trace(trace).ids)[None]).logits.sum()
        tuner = FineTuner(copy.deepcopy(model), small_tokenizer, MStepConfig(updates=9), "fp32")
        tuner.optimizer = torch.optim.SGD(tuner.parameters, lr=1.0)
        tuner.update([small_tokenizer.encode_trace(trace) for trace in CORPUS])
        return flat(tuner.model)

    found = together(work, tmp_path)
    assert torch.equal(*found)
    torch.testing.assert_close(found[0], work(), atol=1e-6, rtol=0)
    assert not torch.equal(found[0], flat(model))


# --- whole runs ---------------------------------------------------------------------------------------


def score(model) -> float:
    return float(flat(model).abs().sum())


def train(out, going_on: bool, model, tokenizer, every: int = 2):
    with open_run(out, "midtrain", {"seed": 3}, {"data": "a"}, every, going_on) as run:
        result = midtrain(CONFIG, model, tokenizer, CORPUS, score, keeper=run)
        return flat(result.model), {"updates": result.updates, "tokens": result.tokens}


def rows(out) -> list[dict]:
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in read_jsonl(out / "metrics.jsonl")]


def same_rows(a: list[dict], b: list[dict]) -> bool:
    return all(
        x.keys() == y.keys() and all(y[k] == pytest.approx(v, abs=1e-6, nan_ok=True) for k, v in x.items())
        for x, y in zip(a, b, strict=True)
    )


def test_a_whole_run_is_that_of_one_process_and_has_one_writer(exact, small_tokenizer, tmp_path):
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    alone, counts = train(whole, False, exact, small_tokenizer)
    for weights, told in together(lambda: train(shared, False, exact, small_tokenizer), tmp_path):
        torch.testing.assert_close(weights, alone, atol=1e-7, rtol=0)
        assert told == counts
    assert same_rows(rows(whole), rows(shared))
    assert (whole / "traces.jsonl").read_text() == (shared / "traces.jsonl").read_text()


def test_latents_that_are_not_shared_are_those_of_the_first_process(exact, small_tokenizer, tmp_path):
    config = replace(CONFIG, method="resampled", rounds=1, mstep=MStepConfig(updates=2, programs=3))
    config = replace(config, estep=replace(ESTEP, updates=0))

    def work():
        return flat(midtrain(config, exact, small_tokenizer, CORPUS).model), {}

    agree(work, tmp_path)


def test_em_from_python_leaves_one_folder(exact, small_tokenizer, tmp_path):
    from ra3_lab import em

    def work():
        result = em(exact, small_tokenizer, CORPUS, CONFIG, out=tmp_path / "run")
        return flat(result.model)

    weights = together(work, tmp_path)
    assert torch.equal(*weights)
    assert {"model", "summary.json"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert read_run(tmp_path / "run")["inputs"]["processes"] == 2


def test_an_rlvr_run_is_that_of_one_process(exact, small_tokenizer, tmp_path):
    config = replace(RLVR, updates=3, evaluate_every=2, dynamic=True, most_draws=3)

    def work():
        saved = []
        result = rlvr(config, exact, small_tokenizer, TASKS, TASKS[:3], judge, save_group=saved.append)
        return flat(result.model), result.validation, saved

    alone, looks, saved = work()
    for weights, told, kept in together(work, tmp_path):
        torch.testing.assert_close(weights, alone, atol=1e-7, rtol=0)
        assert told == looks
        assert [row["task_id"] for row in kept] == [row["task_id"] for row in saved]


@pytest.mark.parametrize(("victim", "every"), [(0, 1), (1, 50)])
def test_a_killed_process_ends_the_run_and_any_number_goes_on(victim, every, exact, small_tokenizer, tmp_path):
    out = tmp_path / "run"
    alone, _ = train(tmp_path / "whole", False, exact, small_tokenizer)

    def work():
        usual = FineTuner.update

        def dying(self, encoded):
            if rank() == victim and self.updates == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return usual(self, encoded)

        FineTuner.update = dying
        train(out, False, exact, small_tokenizer, every)

    statuses = ended(launch(work, 2))
    assert statuses[victim] == -signal.SIGKILL and statuses[1 - victim] == 1, "the other one ends by itself"
    assert not (out / "summary.json").exists()
    assert [path.name for path in out.glob("checkpoints/*")] == ["00000003"], "the first process saves what is whole"
    if victim:
        again = [train(out, True, exact, small_tokenizer)]
    else:
        again = together(lambda: train(out, True, exact, small_tokenizer), tmp_path, 3)
    for weights, _ in again:
        torch.testing.assert_close(weights, alone, atol=1e-7, rtol=0)
    assert same_rows(rows(tmp_path / "whole"), rows(out))


def test_a_stop_asked_of_one_process_stops_all_after_the_same_update(exact, small_tokenizer, tmp_path):
    out = tmp_path / "run"

    def work():
        with open_run(out, "midtrain", {}, {}, 50, False) as run:
            usual = FineTuner.update

            def pressed(self, encoded):
                if rank() == 1 and self.updates == 1:
                    run.stop.signum = signal.SIGTERM
                return usual(self, encoded)

            FineTuner.update = pressed
            try:
                midtrain(CONFIG, exact, small_tokenizer, CORPUS, keeper=run)
            except Interrupted as stop:
                assert stop.status == 143
                return [path.name for path in out.glob("checkpoints/*")]

    steps = together(work, tmp_path)
    assert steps[0] == steps[1] == ["00000004"]  # two of the E-step, two of the M-step


# --- the pieces ---------------------------------------------------------------------------------------


def test_shares_hold_everything_once_and_are_even():
    sizes = [7, 1, 1, 9, 3, 3, 8]
    parts = shares(sizes, 3)
    assert sorted(n for part in parts for n in part) == list(range(7))
    weights = [sum(sizes[n] for n in part) for part in parts]
    assert max(weights) - min(weights) <= max(sizes)
    assert shares([5, 6], 1) == [[0, 1]] and shares([4], 2) == [[0], []]


def test_a_parameter_that_only_one_process_used_is_summed_and_an_unused_one_stays_without(tmp_path):
    def work():
        some = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2, dtype=torch.float64))]
        some.append(torch.nn.Parameter(torch.ones(1)))
        some[rank()].grad = torch.full_like(some[rank()], 2.0)
        sum_gradients(some)
        return [p.grad for p in some], collect([1 - rank()], [rank()])

    for gradients, numbers in together(work, tmp_path):
        assert gradients[2] is None and numbers == [1, 0]
        assert torch.equal(gradients[0], torch.full((3,), 2.0))
        assert torch.equal(gradients[1], torch.full((2,), 2.0, dtype=torch.float64))


def test_what_fails_in_the_first_process_ends_the_others(tmp_path, capfd):
    def work():
        def fail():
            raise ValueError("taken")

        from_first(fail)

    assert ended(launch(work, 2)) == [1, 1]
    told = capfd.readouterr().err
    assert told.count("ValueError: taken") == 1 and "SystemExit: 2" in told


def test_other_data_and_too_few_programs_are_refused_in_all_processes(exact, small_tokenizer, tmp_path):
    def other_data():
        with pytest.raises(ValueError, match="the data of process 1 is not that of process 0"):
            require_same("the data", {"sha": rank()})
        with pytest.raises(ValueError, match=r"mstep\.programs=1 for 2 processes.*launch fewer"):
            require_shares(mstep__programs=1)
        with pytest.raises(ValueError, match=r"corpus=1 for 2 processes"):
            midtrain(CONFIG, exact, small_tokenizer, CORPUS[:1])
        return True

    assert together(other_data, tmp_path) == [True, True]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true"}, "FSDP is not supported.*--multi_gpu.*--quant nf4"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed is not supported"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 without RANK, MASTER_ADDR, MASTER_PORT: start with `accelerate launch`"),
    ],
)
def test_launches_that_cannot_work_are_refused(settings, message, monkeypatch):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message), joined():
        pass


def test_other_commands_are_not_launched_several_times(monkeypatch, capsys):
    from ra3_lab.cli import main

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(["plan", "--model", "embedded"]) == 2
    assert "runs in one process: launch only midtrain and rlvr" in capsys.readouterr().err


# --- as a user types it -------------------------------------------------------------------------------

FEW = ["--device", "cpu", "--precision", "fp32", "--threads", "1"]
MIDTRAIN = ["--rounds", "1", "--estep.updates", "2", "--estep.programs", "2", "--estep.group", "2", *FEW]
MIDTRAIN += ["--mstep.updates", "3", "--mstep.programs", "2", "--heldout-samples", "1"]
OWN = ["--updates", "3", "--prompts", "2", "--group", "2", "--sampling.max-new", "8", "--validation", "None", *FEW]
OWN += ["--grpo.loss.beta", "0.1", "--grpo.loss.entropy", "0.5", "--force"]  # a gradient without any reward


def accelerate(repo_root, *words: str) -> str:
    """`accelerate launch` with the shipped settings; its stdout."""
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    command += ["--config_file", str(repo_root / "docs" / "accelerate" / "processes.yaml"), "-m", "ra3_lab", *words]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_accelerate_launches_midtrain(repo_root, tiny_thinker, small_tokenizer, tmp_path):
    from ra3_lab.cli import main

    data = tmp_path / "data.jsonl"
    codes = [f"def add(x):\n    y = x + {i}\n    return y\n" for i in range(12)]
    data.write_text("".join(json.dumps({"code": code}) + "\n" for code in codes))
    save_model(tiny_thinker, small_tokenizer, tmp_path / "start")
    words = ["midtrain", "--data", str(data), "--model", str(tmp_path / "start"), *MIDTRAIN]
    told = accelerate(repo_root, *words, "--out", str(tmp_path / "two"))
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    assert told.count("after   held-out log-likelihood") == 1, "only the first process speaks"
    summaries = [read_json(tmp_path / name / "summary.json") for name in ("one", "two")]
    for name in ("before", "after"):
        assert summaries[1]["nats_per_line"][name] == pytest.approx(summaries[0]["nats_per_line"][name], abs=1e-3)
    assert read_run(tmp_path / "two")["inputs"]["processes"] == 2


@pytest.mark.slow
def test_accelerate_launches_rlvr(repo_root, tiny_thinker, small_tokenizer, tmp_path, capsys):
    from ra3_lab.cli import main

    start, out, tasks = tmp_path / "start", tmp_path / "run", tmp_path / "tasks.jsonl"
    save_model(tiny_thinker, small_tokenizer, start)
    row = {"schema_version": 1, "prompt": "def f(x):\n", "prefix": "def f(x):\n", "entry_point": "f"}
    tasks.write_text("".join(json.dumps({**row, "task_id": f"t{i}", "pairs": [[[1], i]]}) + "\n" for i in range(3)))
    words = ["rlvr", "--init", str(start), "--tasks", str(tasks), "--out", str(out), *OWN]
    told = accelerate(repo_root, *words)
    assert told.count("model, metrics and sampled groups are in") == 1
    rows = read_jsonl(out / "metrics.jsonl")
    assert [row["update"] for row in rows] == [0, 1, 2] and (out / "model" / "model.safetensors").exists()
    assert len(read_jsonl(out / "groups.jsonl")) == 2, "two groups of update 0, written once"
    assert main(["rlvr", "--resume", str(out)]) == 0
    assert "finished already" in capsys.readouterr().out
