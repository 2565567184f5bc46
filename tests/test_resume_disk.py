"""A disk that is full and a folder that cannot be written to: a clear error, the last checkpoint intact, and the run
goes on once there is room. On real small file systems where this user may mount them; with a failing writer anywhere.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError

from ra3_lab.cli import main
from ra3_lab.midtrain.em import MidtrainConfig, midtrain
from ra3_lab.midtrain.estep import EStepConfig
from ra3_lab.midtrain.mstep import MStepConfig
from ra3_lab.models.load import save_model
from ra3_lab.runs import create_run, read_jsonl, resume_run, write_json
from ra3_lab.runs.checkpoint import latest_checkpoint, load_state
from ra3_lab.trace import Trace

CORPUS = [Trace("", ("x = 1\n", "y = x\n", "z = y\n"), trace_id="x"), Trace("", ("a = 2\n", "b = a\n"), trace_id="a")]
CONFIG = MidtrainConfig(
    rounds=1,
    precision="fp32",
    estep=EStepConfig(updates=3, programs=1, group=2, longest_thought=3),
    mstep=MStepConfig(updates=3, programs=2),
)


@pytest.fixture
def disk(tmp_path):
    """A file system of 1 MB; a function that sets its options anew. Skips where mounting is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True).returncode == 0

    if not shutil.which("mount") or not mount("size=1m"):
        pytest.skip("this user may not mount a small file system")
    yield folder, lambda options: mount(f"remount,{options}")
    subprocess.run(["umount", "-l", str(folder)], check=True)


def go_on(out: Path, model, tokenizer):
    begin = resume_run if (out / "run.json").exists() else create_run
    with begin(out, "midtrain", {}, {}, checkpoint_every=1) as run:
        return midtrain(CONFIG, model, tokenizer, CORPUS, keeper=run)


def weights(result) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in result.model.parameters()])


def whole_checkpoint(out: Path) -> int:
    """The step of the newest checkpoint, which must be readable, with nothing half-written beside it."""
    found = latest_checkpoint(out / "checkpoints")
    assert found is not None and load_state(found).tensors
    assert [path.name for path in (out / "checkpoints").iterdir()] == [found.name]
    return int(found.name)


def test_disk_full_while_a_checkpoint_is_written(disk, tiny_thinker, small_tokenizer):
    folder, remount = disk
    plain = midtrain(CONFIG, tiny_thinker, small_tokenizer, CORPUS)
    out = folder / "run"

    def first_only(step, capture, last):
        usual(step, capture, last)
        size = sum(path.stat().st_size for path in out.rglob("*"))
        assert remount(f"size={size + size // 2}")  # room for this checkpoint, not for the next one beside it

    with create_run(out, "midtrain", {}, {}, checkpoint_every=1) as run:
        usual, run.after_update = run.after_update, first_only
        with pytest.raises(OSError, match=r"checkpoint of update 2 .*No space left.*go on with --resume"):
            midtrain(CONFIG, tiny_thinker, small_tokenizer, CORPUS, keeper=run)
    assert whole_checkpoint(out) == 1
    with pytest.raises(OSError, match="No space left"):
        go_on(out, tiny_thinker, small_tokenizer)
    assert whole_checkpoint(out) == 1
    assert remount("size=4m")
    assert torch.equal(weights(go_on(out, tiny_thinker, small_tokenizer)), weights(plain))


def test_disk_full_while_metrics_are_written(disk, tiny_thinker, small_tokenizer):
    folder, _ = disk
    plain = midtrain(CONFIG, tiny_thinker, small_tokenizer, CORPUS)
    out = folder / "run"
    run = create_run(out, "midtrain", {}, {}, checkpoint_every=1)
    with run:
        state = run.after_update

        def fill_up(step, capture, last):
            state(step, capture, last)
            if step == 2:
                with open(folder / "filler", "wb", buffering=0) as file, pytest.raises(OSError):
                    while True:
                        file.write(b"x" * 512)

        run.after_update = fill_up
        with pytest.raises(OSError, match="No space left"):
            midtrain(CONFIG, tiny_thinker, small_tokenizer, CORPUS, keeper=run)
    assert whole_checkpoint(out) == 2
    (folder / "filler").unlink()
    again = go_on(out, tiny_thinker, small_tokenizer)
    assert torch.equal(weights(again), weights(plain))
    rows = [(row["stage"], row["update"]) for row in read_jsonl(out / "metrics.jsonl")]
    assert rows == [("estep", 0), ("estep", 1), ("estep", 2), ("mstep", 1), ("mstep", 2), ("mstep", 3)]


def test_a_folder_that_becomes_read_only(disk, tiny_thinker, small_tokenizer):
    folder, remount = disk
    assert remount("size=4m")
    plain = midtrain(CONFIG, tiny_thinker, small_tokenizer, CORPUS)
    out = folder / "run"
    with create_run(out, "midtrain", {}, {}, checkpoint_every=1) as run:
        usual = run.after_update

        def lock(step, capture, last):
            usual(step, capture, last)
            if step == 4:
                assert remount("ro")

        run.after_update = lock
        with pytest.raises(OSError, match=r"metrics\.jsonl cannot be written: Read-only file system"):
            midtrain(CONFIG, tiny_thinker, small_tokenizer, CORPUS, keeper=run)
    assert whole_checkpoint(out) == 4
    with pytest.raises(OSError, match=r"metrics\.jsonl cannot be written: Read-only file system"):
        resume_run(out, "midtrain", {}, {})
    assert remount("rw")
    assert torch.equal(weights(go_on(out, tiny_thinker, small_tokenizer)), weights(plain))


def test_a_read_only_place_is_named_before_training(disk, tmp_path, capsys):
    folder, remount = disk
    assert remount("ro")
    (tmp_path / "a.jsonl").write_text("".join(f'{{"code": "x = {i}"}}\n' for i in range(3)))
    assert main(["midtrain", "--data", str(tmp_path / "a.jsonl"), "--out", str(folder / "run"), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "cannot be made: Read-only file system; choose another --out" in error and "Traceback" not in error


def test_what_cannot_be_written_is_said_where_nothing_can_be_removed_either(disk):
    folder, remount = disk
    (folder / "run").mkdir()
    assert remount("ro")
    with pytest.raises(OSError, match=r"record\.json cannot be written: Read-only file system; make room"):
        write_json(folder / "record.json", {})
    with pytest.raises(OSError, match=r"run cannot be written to: Read-only file system; choose another --out"):
        create_run(folder / "run", "midtrain", {}, {})


def test_an_empty_place_that_is_read_only_is_named_before_the_work(disk, monkeypatch, capsys):
    folder, remount = disk
    (folder / "demo").mkdir()
    assert remount("ro")
    monkeypatch.setattr("ra3_lab.models.load.load_model", lambda *arguments: pytest.fail("the work has begun"))
    monkeypatch.setattr("ra3_lab.tasks.registry.load_tasks", lambda *arguments: pytest.fail("the work has begun"))
    assert main(["demo", "--out", str(folder / "demo")]) == 2
    assert "demo cannot be written to: Read-only file system; choose another --out." in capsys.readouterr().err
    assert main(["eval", "--bench", "pipelines", "--samples-out", str(folder / "mine.jsonl")]) == 2
    assert "mine.jsonl cannot be written: Read-only file system; choose another --samples" in capsys.readouterr().err
    assert main(["eval", "--bench", "pipelines", "--json", str(folder / "found.json")]) == 2
    assert "found.json cannot be written: Read-only file system; choose another" in capsys.readouterr().err


def test_a_writer_that_fails_anywhere_leaves_the_last_checkpoint(tiny_thinker, small_tokenizer, tmp_path, monkeypatch):
    """The same without mounting: the third write stops half-way, as safetensors reports it."""
    plain = midtrain(CONFIG, tiny_thinker, small_tokenizer, CORPUS)
    usual, calls = safetensors.torch.save_file, []

    def failing(tensors, path, *rest):
        calls.append(path)
        usual(tensors, path, *rest)
        if len(calls) == 3:
            Path(path).write_bytes(Path(path).read_bytes()[:1000])
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", failing)
    with pytest.raises(OSError, match=r"checkpoint of update 3 .*No space left"):
        go_on(tmp_path / "run", tiny_thinker, small_tokenizer)
    monkeypatch.undo()
    assert whole_checkpoint(tmp_path / "run") == 2
    assert torch.equal(weights(go_on(tmp_path / "run", tiny_thinker, small_tokenizer)), weights(plain))


def test_a_model_that_does_not_fit_is_an_error_in_one_sentence(disk, tiny_thinker, small_tokenizer):
    folder, _ = disk
    (folder / "much").write_bytes(b"0" * 1_000_000)
    with pytest.raises(OSError, match=r"model cannot be written: .*No space left on device.*; make room"):
        save_model(tiny_thinker, small_tokenizer, folder / "model")
    assert [path.name for path in folder.iterdir()] == ["much"]


def test_a_file_in_the_way_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "a.jsonl").write_text("".join(f'{{"code": "x = {i}"}}\n' for i in range(3)))
    for out in ("file", "file/run"):
        assert main(["midtrain", "--data", str(tmp_path / "a.jsonl"), "--out", str(tmp_path / out)]) == 2
        assert str(tmp_path / out) in capsys.readouterr().err
        for command in (["pretrain"], ["study", "main"], ["record"], ["data"]):
            assert main([*command, "--out", str(tmp_path / out)]) == 2
            said = capsys.readouterr().err
            assert str(tmp_path / out) in said and "choose another --out" in said, command
