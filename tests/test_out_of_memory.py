"""Memory ends in the middle of an update: the run is saved as it stood before, the error says what needs less, and
going on gives the weights that there would have been."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from test_resume import CONFIG, everything, look, records
from test_resume_kill import CORPUS
from test_rlvr_run import CONFIG as RLVR
from test_rlvr_run import TASKS, judge

from ra3_lab.api import load_traces
from ra3_lab.cli import main
from ra3_lab.midtrain import estep, mstep
from ra3_lab.midtrain.em import midtrain
from ra3_lab.models.plan import Job, peak, shape_of, stages
from ra3_lab.models.room import advice, memory_of, smaller
from ra3_lab.models.variants import Variant
from ra3_lab.rlvr import update
from ra3_lab.rlvr.loop import Standing, fixed_settings, rlvr
from ra3_lab.rlvr.losses import LossConfig
from ra3_lab.runs import create_run, open_run, read_jsonl, resume_run
from ra3_lab.runs.memory import OutOfMemory, ran_out

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB"


def failing(function, call: int):
    """The function, whose call of this number finds no memory."""
    calls = []

    def limited(*arguments, **named):
        calls.append(1)
        if len(calls) == call:
            raise torch.OutOfMemoryError(FULL)
        return function(*arguments, **named)

    return limited


@pytest.mark.parametrize(("module", "call", "updates"), [(estep, 4, 1), (mstep, 3, 4)], ids=["E-step", "M-step"])
def test_midtraining_goes_on_from_the_update_before(
    module, call, updates, tiny_thinker, small_tokenizer, tmp_path, monkeypatch
):
    whole = midtrain(CONFIG, tiny_thinker, small_tokenizer, CORPUS)
    with monkeypatch.context() as patch:
        patch.setattr(module, "score_batch", failing(module.score_batch, call))
        with create_run(tmp_path / "run", "midtrain", {}, {}, 100) as run, pytest.raises(OutOfMemory) as caught:
            midtrain(CONFIG, tiny_thinker, small_tokenizer, CORPUS, keeper=run)
    said = str(caught.value)
    assert FULL in said and f"at update {updates}, saved; go on with: ra3-lab midtrain --resume" in said
    assert re.search(r"add --estep.tokens-at-once (\d+) --mstep.tokens-at-once \1 to --resume", said), said
    assert "preset that fits is" in said
    rows = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert len(rows) == updates
    with resume_run(tmp_path / "run", "midtrain", {}, {}, 100) as run:
        again = midtrain(CONFIG, tiny_thinker, small_tokenizer, CORPUS, keeper=run)
    assert torch.equal(everything(again), everything(whole))


def test_rlvr_goes_on_from_the_update_before(tiny_thinker, small_tokenizer, tmp_path, monkeypatch):
    whole = rlvr(RLVR, tiny_thinker, small_tokenizer, TASKS, TASKS[:2], judge)
    with monkeypatch.context() as patch:
        patch.setattr(update, "answer_logps", failing(update.answer_logps, 8))
        with create_run(tmp_path / "run", "rlvr", {}, {}, 100) as run, pytest.raises(OutOfMemory) as caught:
            rlvr(RLVR, tiny_thinker, small_tokenizer, TASKS, TASKS[:2], judge, keeper=run)
    assert "saved; go on with: ra3-lab rlvr --resume" in str(caught.value)
    assert "add --grpo.tokens-at-once" in str(caught.value)
    with resume_run(tmp_path / "run", "rlvr", {}, {}, 100) as run:
        again = rlvr(RLVR, tiny_thinker, small_tokenizer, TASKS, TASKS[:2], judge, keeper=run)
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), whole.model.parameters(), strict=True))


def test_what_was_logged_in_the_update_that_failed_is_logged_once(tiny_thinker, small_tokenizer, tmp_path, monkeypatch):
    """Memory ends in the first M-step update, after the round's monitor and traces, and in RLVR's first update."""

    def train(out, begin):
        with begin(out, "midtrain", {}, {}, 100) as run:
            midtrain(CONFIG, tiny_thinker, small_tokenizer, CORPUS, monitor=look, keeper=run)

    def learn(out, begin):
        with begin(out, "rlvr", {}, {}, 100) as run:
            return rlvr(RLVR, tiny_thinker, small_tokenizer, TASKS, TASKS[:2], judge, keeper=run)

    for go, place, name in ((train, mstep, "score_batch"), (learn, update, "answer_logps")):
        whole, out = tmp_path / f"whole {name}", tmp_path / name
        result = go(whole, create_run)
        with monkeypatch.context() as patch:
            patch.setattr(place, name, failing(getattr(place, name), 1))
            with pytest.raises(OutOfMemory):
                go(out, create_run)
        again = go(out, resume_run)
        timeless = [
            [{k: v for k, v in row.items() if "seconds" not in k} for row in records(p)[0]] for p in (out, whole)
        ]
        assert timeless[0] == timeless[1] and records(out)[1] == records(whole)[1]
        assert result is None or again.validation == result.validation


def test_half_made_weights_are_never_saved(tiny_thinker, small_tokenizer, tmp_path, monkeypatch):
    usual, steps = torch.optim.AdamW.step, []

    def step(self, closure=None):
        steps.append(1)
        if len(steps) == 3:
            next(iter(self.param_groups[0]["params"])).data += 1
            raise MemoryError
        return usual(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", torch.optim.Optimizer.profile_hook_step(step))
    config = replace(CONFIG, method="ntp")
    with create_run(tmp_path / "run", "midtrain", {}, {}, 2) as run, pytest.raises(OutOfMemory, match="at update 2, s"):
        midtrain(config, tiny_thinker, small_tokenizer, CORPUS, keeper=run)
    monkeypatch.undo()
    with resume_run(tmp_path / "run", "midtrain", {}, {}, 2) as run:
        again = midtrain(config, tiny_thinker, small_tokenizer, CORPUS, keeper=run)
    whole = midtrain(config, tiny_thinker, small_tokenizer, CORPUS)
    assert torch.equal(everything(again), everything(whole))


def test_other_errors_stay_what_they_are(tiny_thinker, small_tokenizer, tmp_path, monkeypatch):
    def broken(*arguments, **named):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(mstep, "score_batch", broken)
    with create_run(tmp_path / "run", "midtrain", {}, {}, 100) as run, pytest.raises(RuntimeError, match="shapes"):
        midtrain(replace(CONFIG, method="ntp"), tiny_thinker, small_tokenizer, CORPUS, keeper=run)
    assert not list((tmp_path / "run" / "checkpoints").glob("*"))


def test_a_run_may_go_on_with_fewer_tokens_at_once_but_not_with_another_rank(tmp_path):
    settings = {"variant": {"rank": 4, "checkpointing": False}, "estep": {"tokens_at_once": 8192}}
    create_run(tmp_path / "run", "midtrain", settings, {}).close()
    said: list[str] = []
    less = {"variant": {"rank": 4, "checkpointing": True}, "estep": {"tokens_at_once": 1024}}
    resume_run(tmp_path / "run", "midtrain", less, {}, say=said.append).close()
    assert len(said) == 2 and all("the last bits of the result may differ" in line for line in said)
    with pytest.raises(ValueError, match=r"setting variant\.rank was 4 and is now 8"):
        resume_run(tmp_path / "run", "midtrain", {**less, "variant": {"rank": 8, "checkpointing": True}}, {})


def test_bnpo_goes_on_with_the_micro_batches_it_began_with(tiny_thinker, small_tokenizer, tmp_path):
    """They weigh the answers: fewer tokens at once would go on with another loss."""
    config = replace(RLVR, grpo=replace(RLVR.grpo, loss=LossConfig("bnpo")))
    less = {"grpo": {"tokens_at_once": 1024}}
    for chosen in (RLVR, config):
        out = tmp_path / chosen.grpo.loss.name
        with open_run(out, "rlvr", {"grpo": {"tokens_at_once": 8192}}, {}, 1, False):
            pass
        if chosen is RLVR:
            with open_run(out, "rlvr", less, {}, 1, True, fixed=fixed_settings(chosen)):
                pass
        else:
            with (
                pytest.raises(ValueError, match=r"grpo\.tokens_at_once was 8192 and is now 1024"),
                open_run(out, "rlvr", less, {}, 1, True, fixed=fixed_settings(chosen)),
            ):
                pass
        said = Standing(chosen, tiny_thinker, small_tokenizer, TASKS).advice()
        assert ("--grpo.tokens-at-once" in said) == (chosen is RLVR) and "preset that fits" in said


def test_what_is_advised_fits_and_needs_less(tiny_thinker):
    shape = shape_of(
        {
            "model_type": "qwen2",
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
            "max_position_embeddings": 32768,
            "tie_word_embeddings": True,
        }
    )
    variant, job = Variant("nf4", adapter="lora"), Job(8_192, 1_024, 64)
    found = smaller(shape, variant, job, 12e9, 2)
    assert found is not None
    less, fewer, need = found
    assert need == peak(stages(shape, less, fewer, 2)).total <= 0.9 * 12e9
    assert replace(less, checkpointing=False) == variant and fewer.tokens_at_once < 8_192
    assert smaller(shape, Variant(), job, 6e9, 2) is None, "nothing fits the weights themselves"
    text = advice(tiny_thinker, Job(4_096, 64, 8), ("grpo.",))
    assert "add --grpo.tokens-at-once" in text and "preset that fits" in text
    assert memory_of(torch.device("cpu")) > 1e8
    assert ran_out(MemoryError()) and ran_out(RuntimeError("std::bad_alloc")) and not ran_out(ValueError("memory"))


LIMITED = """
import resource, sys
from ra3_lab import cli
from ra3_lab.midtrain import mstep

usual, calls = mstep.FineTuner.update, []

def update(self, encoded):
    calls.append(1)
    if len(calls) == 3:  # from now on no more room than there is: the kernel refuses the update's tensors
        held = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
        resource.setrlimit(resource.RLIMIT_AS, (held + 8_000_000, resource.RLIM_INFINITY))
    return usual(self, encoded)

mstep.FineTuner.update = update
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS and /proc")
def test_a_real_limit_on_memory_ends_in_a_saved_run(tmp_path):
    out = tmp_path / "run"
    size = ["--method", "ntp", "--rounds", "1", "--estep.updates", "0", "--mstep.updates", "4", "--threads", "1"]
    size += ["--mstep.programs", "24", "--heldout-samples", "1", "--adapter", "lora", "--precision", "fp32"]
    for name, traces in (("data", load_traces("pipelines")[:24]), ("heldout", load_traces("pipelines")[24:25])):
        rows = [json.dumps({"prompt": trace.prompt, "lines": trace.lines}) + "\n" for trace in traces]
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))
    data = ["--data", str(tmp_path / "data.jsonl"), "--heldout", str(tmp_path / "heldout.jsonl")]
    given = ["midtrain", *data, "--out", str(out), *size]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", LIMITED, *given], env=environment, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "out of memory" in done.stderr and "at update 2, saved; go on with" in done.stderr
    assert "--mstep.tokens-at-once" in done.stderr and "Traceback" not in done.stderr
    assert main(["midtrain", "--resume", str(out), "--mstep.tokens-at-once", "2048"]) == 0
    assert len([row for row in read_jsonl(out / "metrics.jsonl") if row["stage"] == "mstep"]) == 4
