"""A7: submissions are read as data, refused with a reason, ranked on fresh tasks with intervals."""

import csv
import json
import os
import pickle
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ra3_lab.cli import main
from ra3_lab.course import rank as ranking
from ra3_lab.course.project import BUDGET, RECORD, WEIGHTS, Refused, embedded_shapes, hand_in, read_entry
from ra3_lab.course.rank import BASE, fresh_tasks, rank, read_all, table_rows, table_text
from ra3_lab.course.results import SCORES, STUDENTS
from ra3_lab.course.secret import Secret
from ra3_lab.midtrain.em import MidtrainConfig
from ra3_lab.models.load import load_model
from ra3_lab.resources import embedded_model_dir
from ra3_lab.runs.directory import RECORDED
from ra3_lab.runs.provenance import digest_of_weights
from ra3_lab.study import read_study
from ra3_lab.tasks.pipelines import SPLITS, load_split

SECRET = Secret(b"k" * 32)
SMALL = {"a": (2, 3), "b": (4,)}


def tensors(value=1.0):
    return {name: torch.full(shape, value) for name, shape in SMALL.items()}


def submission(folder, record=None, **weights):
    folder.mkdir(parents=True)
    save_file(tensors() | weights, folder / WEIGHTS)
    given = {"schema_version": 1, "title": "mine", "tokens": 5, "seed": 0, "changes": "cost 0.2"}
    (folder / RECORD).write_text(json.dumps(given | (record or {})), encoding="utf-8")
    return folder


def test_an_entry_is_read_and_halves_equal_singles(tmp_path):
    one = read_entry(submission(tmp_path / "one"), SMALL)
    half = read_entry(submission(tmp_path / "half", a=torch.ones(2, 3, dtype=torch.bfloat16)), SMALL)
    other = read_entry(submission(tmp_path / "other", a=torch.full((2, 3), 2.0)), SMALL)
    assert one.student == "one" and one.digest == half.digest != other.digest


def test_a_run_with_the_default_settings_fits_the_budget(repo_root):
    runs = [run for run in read_study(repo_root / "benchmarks" / "results" / "ready") if run["arm"] == "ra3"]
    config, usual = runs[0]["made_by"]["config"]["midtrain"], MidtrainConfig()
    assert config["estep"] == asdict(usual.estep) and config["mstep"]["updates"] == usual.mstep.updates
    assert max(run["scores"]["final"]["tokens"] for run in runs) < BUDGET


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"tokens": BUDGET + 1}, "budget"),
        ({"tokens": True}, "whole number"),
        ({"tokens": -1}, "budget"),
        ({"title": ""}, "title"),
        ({"title": "x" * 81}, "title"),
        ({"changes": None}, "changes"),
        ({"schema_version": 2}, "schema_version"),
        ({"code": "import os"}, "exactly"),
        ({"seed": 2**70}, "seed"),
    ],
)
def test_a_bad_record_is_refused(tmp_path, record, says):
    with pytest.raises(Refused, match=says):
        read_entry(submission(tmp_path / "ada", record), SMALL)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"a": torch.ones(3, 2)}, "shape"),
        ({"c": torch.ones(1)}, "too many or missing"),
        ({"a": torch.full((2, 3), float("nan"))}, "diverged"),
        ({"a": torch.ones(2, 3, dtype=torch.int32)}, "float32"),
    ],
)
def test_bad_weights_are_refused(tmp_path, weights, says):
    with pytest.raises(Refused, match=says):
        read_entry(submission(tmp_path / "ada", **weights), SMALL)


def test_a_pickle_is_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    folder = submission(tmp_path / "ada")
    for data in (pickle.dumps(Bomb()), b"", b"\xff" * 40, b"PK\x03\x04"):
        (folder / WEIGHTS).write_bytes(data)
        with pytest.raises(Refused, match="safetensors"):
            read_entry(folder, SMALL)
    torch.save(Bomb(), folder / WEIGHTS)
    with pytest.raises(Refused):
        read_entry(folder, SMALL)
    assert not (tmp_path / "exploded").exists()


def test_links_pipes_and_large_files_are_not_read(tmp_path):
    folder = submission(tmp_path / "ada")
    shutil.move(folder / WEIGHTS, tmp_path / "elsewhere")
    (folder / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="link"):
        read_entry(folder, SMALL)
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)
    with pytest.raises(Refused, match="regular"):
        read_entry(folder, SMALL)
    (folder / RECORD).write_text(" " * 30_000)
    with pytest.raises(Refused, match="bytes"):
        read_entry(folder, SMALL)


def test_a_title_cannot_control_a_terminal(tmp_path):
    entry = read_entry(submission(tmp_path / "ada", {"title": "\x1b[2Jmine\n\u202e1."}), SMALL)
    assert entry.title == "[2Jmine 1."


def test_what_cannot_be_ranked_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(ranking, "embedded_shapes", lambda: SMALL)
    submission(tmp_path / "ada")
    submission(tmp_path / BASE)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "ben").mkdir()
    (tmp_path / "cleo").symlink_to(tmp_path / "ada")
    entries, refused = read_all(tmp_path)
    assert [entry.student for entry in entries] == ["ada"]
    assert set(refused) == {"notes.txt", "ben", BASE, "cleo"}
    with pytest.raises(FileNotFoundError):
        read_all(tmp_path / "nowhere")


def test_a_folder_whose_name_is_not_utf8_does_not_end_the_ranking(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ranking, "embedded_shapes", lambda: SMALL)
    monkeypatch.setattr(ranking, "fresh_tasks", lambda secret, count: [])
    monkeypatch.setattr(ranking._Scorer, "score", lambda self, entry: {"passed": [0.0, 1.0], "thoughts": 0.0})
    folder = tmp_path / "in"
    submission(folder / os.fsdecode(b"M\xfcller"))
    (folder / os.fsdecode(b"M\xf6ller")).mkdir()
    assert main(["course", "init", "--course", str(tmp_path / "course")]) == 0
    words = ["--out", str(tmp_path / "ranking.csv"), "--course", str(tmp_path / "course"), "--names"]
    assert main(["course", "rank", str(folder), *words]) == 0
    said = capsys.readouterr().out
    assert "M\\xfcller" in said and "not ranked: M\\xf6ller: " in said
    known = {row["student"] for row in csv.DictReader((tmp_path / "course" / STUDENTS).open(encoding="utf-8"))}
    assert {"M\\xfcller", "M\\xf6ller"} <= known


def test_tasks_are_fresh_and_follow_from_the_secret():
    tasks = fresh_tasks(SECRET, 12)
    shipped = {task.signature for name in SPLITS for task in load_split(name)}
    assert len(tasks) == 12 and not shipped & {task.signature for task in tasks}
    assert [task.prompt for task in tasks] == [task.prompt for task in fresh_tasks(SECRET, 12)]
    assert {task.signature for task in tasks} != {task.signature for task in fresh_tasks(Secret(b"o" * 32), 12)}
    low, high = SPLITS["test"].config.steps
    assert all(low <= len(task.steps) <= high for task in tasks)


def scores(**rates):
    """Twenty tasks each; `rates` passed in the first so many of them."""
    return {
        name: {"passed": [1.0] * count + [0.0] * (20 - count), "thoughts": 2.0, "tokens": 0}
        for name, count in rates.items()
    }


def test_the_table_ranks_and_says_how_sure_it_is(tmp_path):
    entries = [
        read_entry(submission(tmp_path / n, a=torch.full((2, 3), v)), SMALL)
        for n, v in zip("abcd", (1.0, 2.0, 3.0, 3.0), strict=True)
    ]
    base = ranking.Entry(BASE, "base", 0, 0, "", entries[0].digest, {})
    found = scores(a=4, b=18, c=17, d=17) | {BASE: scores(x=4)["x"]}
    rows = ranking._table([base, *entries], found)
    assert [(row.student, row.place) for row in rows] == [("b", 1), ("c", 2), ("d", 2), (BASE, 0), ("a", 4)]
    by_name = {row.student: row for row in rows}
    assert by_name["c"].tied and not by_name["a"].tied  # one task less may be chance, fourteen are not
    assert by_name["b"].gain.mean == pytest.approx(14 / 20) and by_name["b"].gain.low > 0
    assert "unchanged" in by_name["a"].notes[0] and "2 submissions" in by_name["c"].notes[0]
    plain = table_rows(ranking.Ranking(rows, {}, 20, 1, ""), label=lambda student: f"s-{student}")
    assert plain[0]["student"] == "s-b" and json.dumps(plain)
    assert "2=" in table_text(plain) and "s-b" in table_text(plain)


def test_equal_submissions_stay_candidates_for_the_first_place():
    """Thirty of them, equally good: the first is first by luck, and nobody is told to be behind it for that."""
    lost = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        difficulty = rng.beta(0.6, 0.6, 200)
        names = [BASE, *(f"s{i}" for i in range(30))]
        found = {name: {"passed": rng.binomial(4, difficulty) / 4, "thoughts": 0.0} for name in names}
        rows = ranking._table([ranking.Entry(name, "t", 0, 0, "c", name, {}) for name in names], found)
        lost += [not row.tied for row in rows if row.student != BASE]
    assert np.mean(lost) < 0.025  # 24 % of them at 95 % each


def test_purge_knows_what_a_ranking_leaves(tmp_path, monkeypatch, capsys):
    course, out, told = tmp_path / "course", tmp_path / "ranking.csv", tmp_path / "told.json"
    entry = read_entry(submission(tmp_path / "in" / "olga"), SMALL)  # a name that no pseudonym, hex digits, can spell
    base = ranking.Entry(BASE, "base", 0, 0, "", "other", {})
    rows = ranking._table([base, entry], scores(olga=9) | {BASE: scores(x=4)["x"]})

    def scored(*arguments):
        (course / SCORES).write_text("{}\n")
        return ranking.Ranking(rows, {"ben": "no record"}, 20, 1, "")

    monkeypatch.setattr(ranking, "rank", scored)
    assert main(["course", "init", "--course", str(course)]) == 0
    kept = {path.name for path in course.iterdir()}
    words = ["--out", str(out), "--course", str(course), "--json", str(told)]
    assert main(["course", "rank", str(tmp_path / "in"), *words]) == 0
    assert "olga" not in capsys.readouterr().out + out.read_text() + told.read_text()
    assert out.stat().st_mode & 0o077 == 0
    pseudonyms = {row["student"] for row in json.loads(told.read_text())["rows"]} - {BASE}
    known = {row["id"]: row["student"] for row in csv.DictReader((course / STUDENTS).open())}
    assert {known[pseudonym] for pseudonym in pseudonyms} == {"olga"} and "ben" in known.values()
    assert main(["course", "purge", "--course", str(course), "--yes"]) == 0
    assert {path.name for path in course.iterdir()} == kept
    assert {path.name for path in tmp_path.iterdir()} == {"course", "in"}


@pytest.mark.slow
def test_a_ranking_judges_programs_and_goes_on_from_its_scores(tmp_path, monkeypatch):
    base = load_file(embedded_model_dir() / WEIGHTS)
    rng = torch.Generator().manual_seed(0)
    for name, noise in (("good", 0.0), ("bad", 0.5)):
        spoilt = {key: value + noise * torch.randn(value.shape, generator=rng) for key, value in base.items()}
        (tmp_path / "in" / name).mkdir(parents=True)
        save_file(spoilt, tmp_path / "in" / name / WEIGHTS)
        record = {"schema_version": 1, "title": name, "tokens": 0, "seed": 0, "changes": "noise"}
        (tmp_path / "in" / name / RECORD).write_text(json.dumps(record))
    found = rank(tmp_path / "in", SECRET, tmp_path, tasks=6, samples=2, say=lambda _: None)
    rates = {row.student: row.rate.mean for row in found.rows}
    assert rates["good"] == rates[BASE] and rates["bad"] == 0.0
    lines = (tmp_path / SCORES).read_text().splitlines()
    assert len(lines) == 2 and "good" not in lines[0]  # the base and `good` have the same weights
    (tmp_path / SCORES).write_text("\n".join([*lines, '{"weights": "half a li']))
    monkeypatch.setattr("ra3_lab.evaluate.programs.evaluate_programs", None)  # nothing is scored again
    again = rank(tmp_path / "in", SECRET, tmp_path, tasks=6, samples=2, say=lambda _: None)
    assert again.rows == found.rows


def test_a_run_that_went_on_from_another_is_not_handed_in(tmp_path):
    """Its summary counts the last part of the training only; the embedded model by another name is still itself."""
    base = embedded_model_dir()
    digest = digest_of_weights(load_model("embedded", "cpu")[0])

    def run(name, model, begun):
        (tmp_path / name / "model").mkdir(parents=True)
        settings = {"seed": 0} | ({"model": model} if model else {})
        record = dict.fromkeys(RECORDED, "") | {"settings": settings, "inputs": {"model_sha256": begun}}
        record |= {"schema_version": 1, "command": "midtrain"}
        (tmp_path / name / "run.json").write_text(json.dumps(record))
        (tmp_path / name / "summary.json").write_text('{"tokens": 7}')
        shutil.copy(base / WEIGHTS, tmp_path / name / "model" / WEIGHTS)
        return tmp_path / name

    with pytest.raises(Refused, match=r"began at runs/one, not at the embedded model: .* in one run"):
        hand_in(run("two", "runs/one", "b" * 64), tmp_path / "out", "mine", "more")
    with pytest.raises(Refused, match="began at another model"):
        hand_in(run("of_em", None, "b" * 64), tmp_path / "out", "mine", "more")
    assert not (tmp_path / "out").exists()
    for name, model, begun in (("by_name", "embedded", "b" * 64), ("by_weights", None, digest)):
        out = hand_in(run(name, model, begun), tmp_path / "out" / name, "mine", "more")
        assert read_entry(out, embedded_shapes()).tokens == 7


@pytest.mark.slow
def test_a_run_is_handed_in(tmp_path):
    import ra3_lab

    model, tokenizer = ra3_lab.load_model("embedded", "cpu")
    config = ra3_lab.MidtrainConfig(
        rounds=1,
        estep=ra3_lab.EStepConfig(updates=1, programs=1, group=2),
        mstep=ra3_lab.MStepConfig(updates=1, programs=2),
    )
    result = ra3_lab.em(model, tokenizer, ra3_lab.load_traces("pipelines")[:6], config, out=tmp_path / "run")
    out = hand_in(tmp_path / "run", tmp_path / "out", "short", "nothing yet")
    entry = read_entry(out, embedded_shapes())
    assert entry.tokens == result.tokens > 0
    weight = dict(result.model.named_parameters())["model.norm.weight"].detach().numpy()
    assert np.array_equal(entry.tensors["model.norm.weight"].numpy(), weight)
    with pytest.raises(FileExistsError):
        hand_in(tmp_path / "run", out, "again", "nothing")
    with pytest.raises(Refused):
        hand_in(tmp_path / "run", tmp_path / "other", "", "no title")
    assert not (tmp_path / "other").exists()
