"""Resume proven by really killing: SIGKILL in the E-step, the M-step, and between any two steps of writing a
checkpoint; then the run goes on in a new process to the same weights and the same metrics.

Children are forked from the test, so that each starts in milliseconds; a child trains with one thread.
"""

from __future__ import annotations

import builtins
import os
import random
import shutil
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ra3_lab.midtrain.em import MidtrainConfig, midtrain
from ra3_lab.midtrain.estep import EStepConfig
from ra3_lab.midtrain.mstep import MStepConfig
from ra3_lab.models.variants import Variant
from ra3_lab.runs import create_run, read_jsonl, resume_run
from ra3_lab.trace import Trace

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

CORPUS = [
    Trace(f"def f{n}(a):\n", tuple(f"    x{i} = a + {i}\n" for i in range(n)), trace_id=f"f{n}") for n in (3, 4, 6)
]
CONFIG = MidtrainConfig(
    seed=3,
    rounds=3,
    precision="fp32",
    estep=EStepConfig(updates=15, programs=2, group=2, longest_thought=3, learning_rate=1e-3),
    mstep=MStepConfig(updates=30, programs=2),
)


def child(work) -> int:
    """Run `work` in a forked process; returns its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(fork(work), 0)[1])


def fork(work) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            torch.set_num_threads(1)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)  # no test teardown in the child
    return pid


def train(out: Path, config: MidtrainConfig, model, tokenizer, every: int, before=lambda: None) -> None:
    """Begin the run, or go on with it, to the end; then write all weights beside it."""
    begin = resume_run if (out / "run.json").exists() else create_run
    with begin(out, "midtrain", {}, {}, every) as run:
        before()
        result = midtrain(config, model, tokenizer, CORPUS, keeper=run)
        models = {"pi": result.model} | ({"q": result.q} if result.q is not None else {})
        # clones: pi and q share frozen weights
        tensors = {f"{name}.{k}": p.detach().clone() for name, m in models.items() for k, p in m.named_parameters()}
        safetensors.torch.save_file(tensors, out.with_suffix(".done"))


def outcome(out: Path) -> tuple[bytes, list[dict], list[dict]]:
    metrics = [{k: v for k, v in row.items() if k != "seconds"} for row in read_jsonl(out / "metrics.jsonl")]
    return out.with_suffix(".done").read_bytes(), metrics, read_jsonl(out / "traces.jsonl")


@pytest.fixture(scope="module")
def reference(tiny_thinker, small_tokenizer, tmp_path_factory):
    """The outcome of a run that nobody kills, by configuration."""
    known: dict[str, tuple] = {}

    def of(config: MidtrainConfig) -> tuple:
        if str(config) not in known:
            out = tmp_path_factory.mktemp("whole") / "run"
            assert child(lambda: train(out, config, tiny_thinker, small_tokenizer, 4)) == 0
            known[str(config)] = outcome(out)
        return known[str(config)]

    return of


def wait_for_rows(pid: int, path: Path, count: int) -> None:
    """Until the file has grown by so many rows, or the process has ended."""
    begin = path.stat().st_size if path.exists() else 0
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if path.exists() and path.stat().st_size > begin and path.read_bytes()[begin:].count(b"\n") >= count:
            return
        time.sleep(0.002)


def killed_at_random(seed, config, model, tokenizer, reference, out) -> list[str]:
    """Kill a run again and again at random moments until one attempt gets through; returns where the kills hit."""
    expected = reference(config)
    rng, hits = random.Random(seed), []
    for _ in range(60):
        pid = fork(lambda: train(out, config, model, tokenizer, 1 + seed % 4))
        wait_for_rows(pid, out / "metrics.jsonl", rng.randrange(1, 16))
        time.sleep(rng.uniform(0, 0.05))  # an update and its checkpoint take about as long
        os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == 0:
            break
        assert status == -signal.SIGKILL, "the run failed by itself"
        rows = read_jsonl(out / "metrics.jsonl")
        staging = list(out.glob("checkpoints/.staging*"))
        hits.append("checkpoint" if staging else rows[-1]["stage"] if rows else "start")
    assert out.with_suffix(".done").exists() or child(lambda: train(out, config, model, tokenizer, 4)) == 0
    assert outcome(out) == expected
    assert hits, "nothing was killed"
    return hits


def test_killed_at_random_moments(tiny_thinker, small_tokenizer, reference, tmp_path):
    short = replace(CONFIG, rounds=2, estep=replace(CONFIG.estep, updates=8), mstep=replace(CONFIG.mstep, updates=14))
    killed_at_random(0, short, tiny_thinker, small_tokenizer, reference, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ra3", "prior", "lora", "nf4"])
def test_killed_at_twenty_random_moments(method, tiny_thinker, small_tokenizer, reference, tmp_path, record_property):
    if method in ("lora", "nf4"):
        if method == "nf4":
            pytest.importorskip("bitsandbytes", reason="4-bit weights need the extra qlora (bitsandbytes)")
        config = replace(CONFIG, variant=Variant(quant="nf4" if method == "nf4" else "none", adapter="lora", rank=2))
    else:
        config = replace(CONFIG, method=method)
    hits: list[str] = []
    for seed in range(1, 40):
        hits += killed_at_random(seed, config, tiny_thinker, small_tokenizer, reference, tmp_path / f"run{seed}")
        if len(hits) >= 20:
            break
    record_property("hits", ", ".join(hits))
    print(f"{method}: killed {len(hits)} times, in or after: {', '.join(sorted(hits))}")
    assert len(hits) >= 20


def dying_before(number: int):
    """Patch this (forked) process so that it dies right before its `number`-th operation on files, a line of metrics
    being torn in the middle."""
    left = [number]

    def counted(function):
        def wrapper(*arguments, **settings):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **settings)

        return wrapper

    for owner, name in (
        (os, "fsync"), (os, "replace"), (os, "truncate"), (Path, "rename"), (Path, "mkdir"), (Path, "unlink"),
        (shutil, "rmtree"), (safetensors.torch, "save_file"),
    ):  # fmt: skip
        setattr(owner, name, counted(getattr(owner, name)))
    usual = builtins.open

    class Torn:
        """A text file that dies after the first half of a write."""

        def __init__(self, file) -> None:
            self.file = file

        def __enter__(self):
            self.file.__enter__()
            return self

        def __exit__(self, *details):
            return self.file.__exit__(*details)

        def write(self, text):
            left[0] -= 1
            if left[0] == 0:
                self.file.write(text[: len(text) // 2])
                self.file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return self.file.write(text)

        def __getattr__(self, name):
            return getattr(self.file, name)

    def opened(path, mode="r", *arguments, **settings):
        file = usual(path, mode, *arguments, **settings)
        return Torn(file) if mode in ("a", "w") else file

    builtins.open = opened


def killed_at_every(numbers, model, tokenizer, reference, folder) -> int:
    """Kill a run before the given file operations of its first and of its second process; returns the kills."""
    config = replace(CONFIG, rounds=1, estep=replace(CONFIG.estep, updates=2), mstep=replace(CONFIG.mstep, updates=3))
    expected = reference(config)
    kills = 0
    for number in numbers:
        out = folder / f"run{number}"
        for attempt in range(2):  # the second process dies at the same place of its own work, if it gets there
            status = child(
                lambda out=out, number=number: train(out, config, model, tokenizer, 1, lambda: dying_before(number))
            )
            assert status in (0, -signal.SIGKILL), f"operation {number}, attempt {attempt}"
            kills += status != 0
            if status == 0:
                break
        if status != 0:
            assert child(lambda out=out: train(out, config, model, tokenizer, 1)) == 0
        assert outcome(out) == expected, f"killed before file operation {number}"
        assert not list(out.glob("checkpoints/.staging*"))
    return kills


def test_killed_while_a_checkpoint_is_written(tiny_thinker, small_tokenizer, reference, tmp_path):
    assert killed_at_every((9, 18), tiny_thinker, small_tokenizer, reference, tmp_path) >= 3


@pytest.mark.slow
def test_killed_before_every_file_operation(tiny_thinker, small_tokenizer, reference, tmp_path):
    kills = killed_at_every(range(1, 80), tiny_thinker, small_tokenizer, reference, tmp_path)
    print(f"killed {kills} times between file operations")
    assert kills > 80
