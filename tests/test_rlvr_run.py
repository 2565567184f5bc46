"""RLVR runs: they learn, survive SIGKILL to the same bits, look before they start, and say what is wrong with input.

The judge is a stand-in: a program passes when its first new line begins with a letter of a certain kind.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from test_resume_kill import child, fork, wait_for_rows

from ra3_lab.cli import main
from ra3_lab.commands.rlvr import read_task_set
from ra3_lab.evaluate.latents import true_trace
from ra3_lab.models.generation import Completion, Sampling
from ra3_lab.models.load import load_model, save_model
from ra3_lab.resources import data_dir, embedded_model_dir
from ra3_lab.rlvr.groups import Answer, Group
from ra3_lab.rlvr.loop import RLVRConfig, rlvr, task_numbers
from ra3_lab.rlvr.losses import LossConfig
from ra3_lab.rlvr.preflight import look_at_groups, look_at_machine, look_at_prompts
from ra3_lab.rlvr.update import UpdateConfig
from ra3_lab.runs import create_run, read_jsonl, resume_run
from ra3_lab.runs.checkpoint import latest_checkpoint, load_state
from ra3_lab.sandbox import Calls, Verdict
from ra3_lab.tasks.pipelines import load_split
from ra3_lab.tasks.protocol import Task

TASKS = [Task(f"own/{n}", f"def f{n}(a):\n", Calls(f"f{n}", [[[1], 1]]), prefix=f"def f{n}(a):\n") for n in range(5)]
CONFIG = RLVRConfig(
    seed=1,
    updates=12,
    prompts=2,
    group=4,
    sampling=Sampling(max_new=8),
    evaluate_every=5,
    kl_every=4,
    groups_every=3,
    precision="fp32",
    grpo=UpdateConfig(learning_rate=3e-3, iterations=2, loss=LossConfig("dapo", beta=0.01, entropy=0.001)),
)


def judge(jobs) -> list[Verdict]:
    """Passes answers that begin with a newline or a thought; the tiny model does about one time in three."""

    def verdict(source: str) -> Verdict:
        passed = source.split("\n", 1)[1][:1] in ("\n", "#")
        return Verdict(passed, "passed" if passed else "wrong_answer", 0.0, "")

    return [verdict(program.source) for program, _ in jobs]


def test_a_run_learns_and_tells(tiny_thinker, small_tokenizer):
    saved, config = [], replace(CONFIG, updates=25, prompts=5, group=8)
    before = [p.detach().clone() for p in tiny_thinker.parameters()]
    result = rlvr(config, tiny_thinker, small_tokenizer, TASKS, TASKS[:2], judge, save_group=saved.append)
    rows = [row for row in result.history if row["stage"] == "rlvr"]
    rewards = [row["reward"] for row in rows]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.2
    assert all(torch.equal(a, b) for a, b in zip(before, tiny_thinker.parameters(), strict=True)), "a copy is trained"
    told = {"reward", "entropy", "kl", "clip_share", "length", "truncated", "zero_variance", "mismatch", "statuses"}
    told |= {"thought_share", "thought_words", "thought_duration", "gradient_norm"}
    told |= {"seconds_sampling", "seconds_judging", "seconds_update"}
    assert told <= set(rows[0])
    assert rows[0]["mismatch_max"] < 1e-4, "what the decoder drew is what the model scores"
    assert rows[3]["kl_to_initial"] > 0 and "kl_to_initial" not in rows[4]
    assert [update for update, _ in result.validation] == [0, 5, 10, 15, 20, 25]
    assert [row["update"] for row in saved] == sorted([*range(0, 25, 3)] * 2) and len(saved[0]["answers"]) == 8


def _train(out: Path, config: RLVRConfig, model, tokenizer, every: int) -> None:
    begin = resume_run if (out / "run.json").exists() else create_run
    with begin(out, "rlvr", {}, {}, every) as run:
        result = rlvr(config, model, tokenizer, TASKS, TASKS[:2], judge, keeper=run)
        tensors = {name: p.detach() for name, p in result.model.named_parameters()}
        safetensors.torch.save_file(tensors, out.with_suffix(".done"))


def _outcome(out: Path) -> tuple[bytes, list[dict]]:
    rows = read_jsonl(out / "metrics.jsonl")
    return out.with_suffix(".done").read_bytes(), [
        {k: v for k, v in row.items() if not k.startswith("seconds")} for row in rows
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_runs_go_on_to_the_same_bits(tiny_thinker, small_tokenizer, tmp_path):
    """SIGKILL at random moments; several iterations, dynamic sampling, a KL term, checkpoints every two updates."""
    config = replace(CONFIG, dynamic=True)
    whole, out = tmp_path / "whole", tmp_path / "killed"
    assert child(lambda: _train(whole, config, tiny_thinker, small_tokenizer, 5)) == 0
    rng, kills = random.Random(0), 0
    for _ in range(40):
        pid = fork(lambda: _train(out, config, tiny_thinker, small_tokenizer, 2))
        wait_for_rows(pid, out / "metrics.jsonl", rng.randrange(1, 7))
        time.sleep(rng.uniform(0, 0.03))
        os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == 0:
            break
        assert status == -signal.SIGKILL, "the run failed by itself"
        kills += 1
    assert (
        out.with_suffix(".done").exists() or child(lambda: _train(out, config, tiny_thinker, small_tokenizer, 2)) == 0
    )
    assert kills
    assert _outcome(out) == _outcome(whole)


def test_a_full_disk_at_a_checkpoint_loses_nothing(tiny_thinker, small_tokenizer, tmp_path, monkeypatch):
    from ra3_lab.runs import checkpoint

    whole = rlvr(CONFIG, tiny_thinker, small_tokenizer, TASKS, (), judge)
    out, save = tmp_path / "run", safetensors.torch.save_file
    calls = []

    def full(tensors, path):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        save(tensors, path)

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    told = r"update 8.*No space left.*last whole checkpoint is untouched.*--resume"
    with pytest.raises(OSError, match=told), create_run(out, "rlvr", {}, {}, 4) as run:
        rlvr(CONFIG, tiny_thinker, small_tokenizer, TASKS, (), judge, keeper=run)
    found = latest_checkpoint(out / "checkpoints")
    assert found is not None and checkpoint.load_state is load_state and load_state(found).step == 4
    with resume_run(out, "rlvr", {}, {}, 4) as run:
        result = rlvr(CONFIG, tiny_thinker, small_tokenizer, TASKS, (), judge, keeper=run)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), result.model.parameters(), strict=True))


def test_dynamic_sampling_draws_until_groups_differ(tiny_thinker, small_tokenizer):
    """Of the groups it keeps all have two different rewards; where none can have, it gives up after `most_draws`."""
    config = replace(CONFIG, updates=3, dynamic=True, most_draws=6, group=3)
    rows = [r for r in rlvr(config, tiny_thinker, small_tokenizer, TASKS, (), judge).history if r["stage"] == "rlvr"]
    assert all(row["zero_variance"] == 0 for row in rows)
    assert max(row["groups_drawn"] for row in rows) > config.prompts

    def never(jobs):
        return [Verdict(False, "wrong_answer", 0.0, "") for _ in jobs]

    rows = rlvr(config, tiny_thinker, small_tokenizer, TASKS, (), never).history
    assert all(row["groups_drawn"] == 12 and row["zero_variance"] == 1 for row in rows)


def test_tasks_come_in_reshuffled_passes():
    assert sorted(task_numbers(3, 7, 0, 7)) == sorted(task_numbers(3, 7, 7, 7)) == list(range(7))
    assert task_numbers(3, 7, 0, 7) != task_numbers(3, 7, 7, 7)


def test_a_judge_in_trouble_stops_the_run(tiny_thinker, small_tokenizer):
    def broken(jobs):
        return [Verdict(False, "no_verdict", 0.0, "the worker went away") for _ in jobs]

    with pytest.raises(OSError, match=r"no verdict on 8 of 8 .*the worker went away.*doctor"):
        rlvr(CONFIG, tiny_thinker, small_tokenizer, TASKS, (), broken)


def test_a_judge_in_trouble_at_validation_stops_the_run(tiny_thinker, small_tokenizer):
    """What the other answers pass would be the rate of another set of tasks."""

    def broken(jobs):
        return [judge(jobs)[0], *[Verdict(False, "no_verdict", 0.0, "the worker went away")] * (len(jobs) - 1)]

    with pytest.raises(OSError, match=r"validation: the judge gave no verdict on [1-9]\d* of .*the worker went away"):
        rlvr(CONFIG, tiny_thinker, small_tokenizer, TASKS, TASKS[:3], broken)


def test_what_dynamic_sampling_drops_counts_all_the_same(tiny_thinker, small_tokenizer):
    """Reward, verdicts and tokens are of all that was drawn: kept groups have their share of passes by choice, and none
    of the groups on which the sandbox failed."""
    config, seen = replace(CONFIG, updates=2, dynamic=True, most_draws=6, group=3), []

    def kept(jobs):
        seen.append(verdicts := judge(jobs))
        return verdicts

    result = rlvr(config, tiny_thinker, small_tokenizer, TASKS, (), kept)
    rows = [row for row in result.history if row["stage"] == "rlvr"]
    drawn = [verdict.passed for verdicts in seen for verdict in verdicts]
    assert sum(row["groups_drawn"] for row in rows) * 3 == len(drawn) > sum(row["rows_with_gradient"] for row in rows)
    assert sum(row["reward"] * row["groups_drawn"] * 3 for row in rows) == pytest.approx(sum(drawn))
    assert all(sum(row["statuses"].values()) == row["groups_drawn"] * 3 for row in rows)
    assert result.tokens == pytest.approx(sum(row["length"] * row["groups_drawn"] * 3 for row in rows))

    def often_broken(jobs):
        lost = [Verdict(False, "no_verdict", 0.0, "the worker went away")] * 3
        return [*lost, *judge(jobs)[3:]]

    with pytest.raises(OSError, match="no verdict"):
        rlvr(config, tiny_thinker, small_tokenizer, TASKS, (), often_broken)


def test_the_look_before_takes_the_engine_that_trains(tiny_thinker, small_tokenizer, monkeypatch):
    from ra3_lab.rlvr import preflight

    used, make = [], preflight.engine_of
    monkeypatch.setattr(preflight, "engine_of", lambda *given: used.append(given[1:]) or make(*given))
    preflight.preflight(replace(CONFIG, engine="generate"), tiny_thinker, small_tokenizer, TASKS, judge)
    assert used == [("fp32", "generate")]


def test_a_batch_that_is_not_finite_is_kept(tiny_thinker, small_tokenizer):
    kept, config = [], replace(CONFIG, grpo=UpdateConfig(learning_rate=1e30, warmup=0, loss=LossConfig("grpo")))
    with pytest.raises(FloatingPointError, match=r"update 1: .*probabilities are not finite.*learning_rate"):
        rlvr(config, tiny_thinker, small_tokenizer, TASKS, (), judge, save_bad=kept.append)
    assert kept[0]["groups"][0]["answers"][0]["text"] is not None and kept[0]["update"] == 1
    json.dumps(kept[0])


# --- the look before training -------------------------------------------------------------------------


def _group(rewards, status="wrong_answer", reason="end", ids=(5, 0)) -> Group:
    completion = Completion("x = 1", len(ids), reason != "length", reason, ids, (-1.0,) * len(ids))
    return Group("t", "p", (1,), tuple(Answer(completion, status, reward, "NameError") for reward in rewards))


@pytest.mark.parametrize(
    ("groups", "level", "name"),
    [
        ([_group([0.0, 0.0])], "stop", "zero variance"),
        ([_group([1.0, 1.0], "passed")], "stop", "zero variance"),
        ([_group([1.0, 1.0]), _group([0.0, 0.0])], "stop", "zero variance"),
        ([_group([1.0, 0.0])] + [_group([0.0, 0.0])] * 4, "warn", "little variance"),
        ([_group([1.0, 0.0], reason="length", ids=(5, 6))], "stop", "all truncated"),
        (
            [_group([1.0, 0.0], reason="length"), _group([1.0, 0.0], reason="length"), _group([1.0, 0.0])],
            "warn",
            "many",
        ),
        ([_group([1.0, 0.0], reason="stop", ids=(5, 6))], "warn", "no end token"),
        ([_group([0.0, 2.0])], "stop", "reward out of range"),
        ([_group([None, None], "no_verdict")], "stop", "no verdicts"),
        ([_group([None, 1.0, 0.0])], "warn", "missing verdicts"),
        ([_group([0.0, 0.0], "runtime_error")], "stop", "wrong template"),
    ],
)
def test_the_look_before_names_what_is_wrong(groups, level, name):
    findings = look_at_groups(groups, longest=8, eos=0)
    assert any(finding.level == level and finding.name.startswith(name) for finding in findings), findings


def test_the_look_before_has_nothing_to_say_of_a_good_start():
    assert look_at_groups([_group([1.0, 0.0])] * 3, longest=8, eos=0) == []


def test_the_look_at_prompts_and_machine(small_tokenizer, monkeypatch):
    names = {f.name for f in look_at_prompts(TASKS, small_tokenizer, 4, 8)}
    assert names == {"prompt too long"}
    assert [f.name for f in look_at_prompts(TASKS, small_tokenizer, 20, 18)] == ["little room"]
    assert look_at_prompts(TASKS, small_tokenizer, 128, 8) == []
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    found = look_at_machine(10_000, {"isolation": "process", "hostile_programs": False})
    assert [f.name for f in found] == ["too many threads", "spinning threads", "judge layer missing"]
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    assert look_at_machine(1, {"isolation": "all", "hostile_programs": True}) == []


# --- the command --------------------------------------------------------------------------------------


def _told(arguments: list[str], capsys) -> str:
    assert main(["rlvr", *arguments]) == 2
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text


def test_wrong_input_is_told_in_a_line(tmp_path, capsys, tiny_thinker, small_tokenizer):
    tests = tmp_path / "tasks.jsonl"
    row = {"schema_version": 1, "task_id": "a", "prompt": "def f(x):\n", "prefix": "def f(x):\n", "entry_point": "f"}
    tests.write_text(json.dumps({**row, "pairs": []}) + "\n")
    out = str(tmp_path / "run")
    assert "tasks.jsonl:1: program for 'f' has no pairs" in _told(["--out", out, "--tasks", str(tests)], capsys)
    for flags, message in (
        ("--group 1", "group=1"),
        ("--validation-tasks -1", "--validation-tasks -1: 1 or more"),
        ("--seed -1", "seed=-1: 0 or more"),
        ("--engine ours", "engine='ours': one of auto, decoder"),
        ("--kl-every -5", "kl_every=-5: updates between two, or 0 for none"),
        ("--groups-every -1", "groups_every=-1: updates between two, or 0 for none"),
        ("--adapter eva", "adapter eva reads programs before training"),
        ("--tasks nowhere.jsonl --quant nf4", "leaves nothing to train"),  # before tasks are read
        ("--tasks nowhere.jsonl --checkpoint-every 0", "checkpoint_every=0"),
    ):
        assert message in _told(["--out", out, *flags.split()], capsys)
    inside = str(tests / "run")  # a file
    assert "cannot be made: Not a directory" in _told(["--out", inside, "--tasks", "nowhere.jsonl"], capsys)
    for given, message in (
        ("mbppp", "unknown"),
        ("own:nowhere.jsonl", "nowhere.jsonl is no file: give NAME, NAME:SPLIT, NAME:FILE"),
        ("humaneval:folder/nowhere", "folder/nowhere is no file"),
        ("nowhere.jsonl.gz", "nowhere.jsonl.gz is no file"),
        ("rlvr", "has no fixed place on the hub: give its data file."),
        ("own:train", "'own' has no splits: leave the split out"),
        (f"mbpp:{tests}", "no score on 'mbpp'."),
    ):
        told = _told(["--out", out, "--tasks", given], capsys)
        assert message in told and "--" not in told, "rlvr has no --path, --split or --sha256"
    assert "no model directory" in _told(["--out", out, "--init", str(tmp_path)], capsys)
    with pytest.raises(SystemExit):
        main(["rlvr", "--out", out, "--grpo.loss.name", "ppo"])
    assert "ppo" in capsys.readouterr().err
    save_model(tiny_thinker, small_tokenizer, tmp_path / "other")
    shutil.copy(embedded_model_dir() / "tokenizer.json", tmp_path / "other" / "tokenizer.json")
    assert "do not belong together" in _told(["--out", out, "--init", str(tmp_path / "other")], capsys)
    assert not (tmp_path / "run").exists()


def test_a_start_with_another_tokenizer_of_a_fitting_size_is_refused(tmp_path, capsys, tiny_thinker, small_tokenizer):
    """Two tokens have changed places in the files beside the weights: every program would come out as rubbish."""
    start, out = tmp_path / "start", tmp_path / "run"
    save_model(tiny_thinker, small_tokenizer, start)
    file = start / "tokenizer.json"
    record = json.loads(file.read_text())
    vocabulary = record["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    file.write_text(json.dumps(record))
    text = _told(["--out", str(out), "--init", str(start)], capsys)
    assert "not the one they were trained with" in text and "tokenizer.json" in text and not out.exists()


def test_the_longest_right_program_with_all_its_thoughts_fits_into_an_answer():
    """A limit below would score who thinks under who does not."""
    _, tokenizer = load_model("embedded")
    tasks = load_split("rlvr") + load_split("validation")
    written = [len(tokenizer.encode_trace(true_trace(t)).ids) - len(tokenizer.encode_prompt(t.prompt)) for t in tasks]
    assert max(written) <= RLVRConfig().sampling.max_new


def test_tasks_of_ones_own_may_be_packed(tmp_path):
    plain = data_dir() / "tasks" / "examples.jsonl"
    packed = tmp_path / "mine.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for text in (str(packed), f"own:{packed}"):
        assert [t.task_id for t in read_task_set(text)] == [t.task_id for t in read_task_set(str(plain))]


@pytest.mark.slow
def test_the_command_refuses_a_hopeless_start_and_goes_on_when_forced(tmp_path, capsys, tiny_thinker, small_tokenizer):
    """A random model writes no Python; forced, the run ends with model, summary and groups."""
    start, out = tmp_path / "start", tmp_path / "run"
    save_model(tiny_thinker, small_tokenizer, start)
    tasks = tmp_path / "tasks.jsonl"
    rows = [{"schema_version": 1, "task_id": t.task_id, "prompt": t.prompt, "prefix": t.prefix} for t in TASKS]
    more = [{"entry_point": f"f{n}", "pairs": [[[1], 1]]} for n in range(5)]
    tasks.write_text("".join(json.dumps({**a, **b}) + "\n" for a, b in zip(rows, more, strict=True)))
    few = ["--init", str(start), "--tasks", str(tasks), "--validation", "None", "--out", str(out)]
    few += ["--updates", "2", "--prompts", "2", "--group", "2", "--sampling.max-new", "8", "--threads", "1"]
    text = _told(few, capsys)
    assert "would not learn" in text and "--force" in text and not out.exists()
    assert main(["rlvr", *few, "--force"]) == 0
    assert {"run.json", "metrics.jsonl", "groups.jsonl", "model", "summary.json"} <= {p.name for p in out.iterdir()}
    record = json.loads((out / "run.json").read_text())
    assert any(finding["level"] == "stop" for finding in record["inputs"]["preflight"])
    assert main(["rlvr", "--resume", str(out)]) == 0 and "finished already" in capsys.readouterr().out
