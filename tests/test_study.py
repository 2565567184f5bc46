"""A study: spec in, finished arms out one by one, resumed, compared."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ra3_lab.cli import main
from ra3_lab.commands.study import render
from ra3_lab.config import load_config
from ra3_lab.evaluate.programs import evaluate_programs
from ra3_lab.evaluate.seeds import summarise_seeds
from ra3_lab.experiment import field_of
from ra3_lab.explore.compare import read_records
from ra3_lab.explore.study_page import render_study
from ra3_lab.models.load import load_model
from ra3_lab.runs import held
from ra3_lab.runs.files import plain
from ra3_lab.study import (
    StudySpec,
    load_spec,
    minutes,
    model_folder,
    plan,
    read_study,
    run,
    run_study,
    seed_records,
    spec_names,
)
from ra3_lab.tasks.pipelines import load_split

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"

TINY = {
    "title": "Tiny & short",
    "seeds": [0, 1],
    "tasks": 3,
    "samples": 2,
    "validation_tasks": 2,
    "monitor_programs": 2,
    "midtrain": {
        "rounds": 1,
        "evaluate_every": 9,
        "estep": {"updates": 1, "programs": 2, "group": 2},
        "mstep": {"updates": 1, "programs": 2},
    },
    "arms": [
        {"name": "base", "method": "base"},
        {"name": "ntp", "method": "ntp", "midtrain": {"mstep": {"learning_rate": 0.002}}},
        {"name": "ra3", "method": "ra3", "why": "the method"},
        {"name": "answer", "method": "ra3", "one_latent": True},
    ],
}


def spec(**changes) -> StudySpec:
    return load_config(StudySpec, {**TINY, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    return out, run_study(spec(), out, lambda text: None)


def test_every_arm_of_every_seed_is_one_record(finished):
    out, records = finished
    assert [(r["seed"], r["arm"]) for r in records] == [(s, a["name"]) for s in (0, 1) for a in TINY["arms"]]
    assert [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()] == read_study(out)
    by_arm = {r["arm"]: r for r in records if r["seed"] == 0}
    assert by_arm["ntp"]["made_by"]["config"]["midtrain"]["mstep"]["learning_rate"] == 0.002
    assert by_arm["ra3"]["scores"]["test"]["updates"] == by_arm["ntp"]["scores"]["test"]["updates"] == 2
    assert by_arm["ra3"]["estep"] and not by_arm["ntp"]["estep"]
    assert all(len(row) == 2 for row in by_arm["base"]["correct"]["test"])


def test_a_record_says_how_many_threads_made_it(tmp_path):
    """Rounding hangs on them, so the same row needs the same number."""
    for threads in (1, 2):
        torch.set_num_threads(threads)
        (record,) = run_study(spec(arms=TINY["arms"][:1], seeds=[0]), tmp_path / str(threads), lambda text: None)
        assert record["threads"] == threads


def test_an_arm_run_again_from_its_stored_spec_gives_the_same_row(finished, tmp_path):
    out, records = finished
    stored = load_spec(out / "spec.json")
    alone = replace(stored, arms=tuple(a for a in stored.arms if a.name == "ra3"), seeds=(1,))
    (again,) = run_study(alone, tmp_path, lambda text: None)
    (first,) = (r for r in records if r["arm"] == "ra3" and r["seed"] == 1)
    for key in ("correct", "latents", "mstep", "monitor", "made_by"):
        assert again[key] == first[key]
    row, other = (r["scores"]["test"] for r in (again, first))
    assert {k: v for k, v in row.items() if k != "seconds"} == {k: v for k, v in other.items() if k != "seconds"}


def test_a_stopped_study_goes_on_where_it_was(finished, tmp_path):
    out, records = finished
    lines = (out / "records.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_text("".join(lines[:6]) + lines[6][:40])  # killed while writing the seventh
    said: list[str] = []
    again = run_study(spec(), tmp_path, said.append)
    assert [text for text in said if text.startswith("arm ")] == [
        "arm ra3, seed 1 (7 of 8)",
        "arm answer, seed 1 (8 of 8)",
    ]
    assert [r["correct"] for r in again] == [r["correct"] for r in records]


def test_two_processes_do_not_run_the_same_arms(finished):
    out, records = finished
    with held(out), pytest.raises(FileExistsError, match="in use by another process"):
        run_study(spec(), out)
    assert len(run_study(spec(), out)) == len(records)


def test_finished_arms_are_not_mixed_with_other_settings(finished):
    out, _ = finished
    with pytest.raises(ValueError, match=r"arm 'base' at seed 0 run with other settings"):
        run_study(spec(samples=4), out, lambda text: None)


def test_finished_arms_are_checked_before_others_are_trained(finished, tmp_path, monkeypatch):
    out, _ = finished
    (tmp_path / "records.jsonl").write_bytes((out / "records.jsonl").read_bytes())
    monkeypatch.setattr(run, "run_arm", lambda *arguments: pytest.fail("an arm is trained"))
    arms = [{"name": "new", "method": "ntp"}, {**TINY["arms"][2], "midtrain": {"evaluate_every": 1}}]
    with pytest.raises(ValueError, match=r"arm 'ra3' at seed 0 run with other settings"):
        run_study(spec(arms=arms), tmp_path, lambda text: None)
    with pytest.raises(ValueError, match=r"arm 'ra3' at seed 0, whose model was not kept"):
        run_study(spec(arms=[arms[0], TINY["arms"][2]]), tmp_path, lambda text: None, keep_models=True)


@pytest.mark.parametrize(
    ("changes", "asked"), [({"splits": ["final"]}, "3 tasks of 'final'"), ({"tasks": 2}, "2 tasks of 'test'")]
)
def test_a_folder_holds_arms_on_the_same_tasks(changes, asked, finished):
    out, _ = finished
    with pytest.raises(ValueError, match=rf"arm 'base' at seed 0 scored on 3 tasks of 'test', .* {asked}: choose ano"):
        run_study(spec(**changes, arms=[{"name": "new", "method": "ntp"}]), out, lambda text: None)


def test_readers_take_the_records_that_have_the_split(finished, tmp_path):
    """A folder that an earlier version let two studies into."""
    _, records = finished
    other = json.loads(json.dumps([record for record in records if record["seed"] == 0]))
    for record in other:
        record |= {"arm": "other", "correct": {"final": ["00"]}, "scores": {"final": record["scores"]["test"]}}
    assert seed_records([*records, *other], "test") == seed_records(records, "test")
    assert list(seed_records([*records, *other], "final")[0]["correct"]) == ["other"]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in [*records, *other]))
    assert read_records(tmp_path) == seed_records(records, "test")


def test_arms_finished_before_a_setting_existed_are_kept(finished, tmp_path):
    _, records = finished
    older = json.loads(json.dumps(records))
    for record in older:
        del record["made_by"]["config"]["midtrain"]["estep"]["engine"], record["weights"]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in older))
    said: list[str] = []
    assert run_study(spec(), tmp_path, said.append) == older and not said


def test_finished_arms_are_not_mixed_with_another_base(finished, monkeypatch):
    out, records = finished
    assert {len(record["weights"]) for record in records} == {16}
    monkeypatch.setattr(run, "base_weights", lambda arm: "0" * 16)
    with pytest.raises(ValueError, match=r"arm 'base' at seed 0 run from other weights of embedded"):
        run_study(spec(), out, lambda text: None)


def test_a_base_that_is_not_there_is_named_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # here somebody may have pre-trained it
    with pytest.raises(FileNotFoundError, match="runs/bases/0/model is no model directory"):
        run_study(load_spec("bases"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_latents_of_one_action_are_not_described_line_by_line(finished):
    described = {record["arm"]: record["latents"] is not None for record in finished[1]}
    assert described == {"base": True, "ntp": False, "ra3": True, "answer": False}


def test_records_become_tables_and_curves(finished):
    out, records = finished
    table = summarise_seeds(seed_records(records, "test"))
    assert table["seeds"] == [0, 1] and list(table["arms"]) == ["base", "ntp", "ra3", "answer"]
    assert {(d["a"], d["b"]) for d in table["differences"]} == {("ra3", "ntp"), ("ra3", "base"), ("ntp", "base")}
    assert set(table["arms"]["ra3"]["by_listing"]) <= {"in order", "out of order"}
    assert [record["seed"] for record in read_records(out)] == [0, 1]


def test_kept_models_are_those_that_were_scored(finished, tmp_path):
    _, records = finished
    tiny = spec(seeds=[1])
    tiny = replace(tiny, arms=tuple(arm for arm in tiny.arms if arm.name in ("base", "ra3")))
    leftover = model_folder(tmp_path, "ra3", 1)  # stopped after saving the model, before its record
    leftover.mkdir(parents=True)
    run_study(tiny, tmp_path, lambda text: None, keep_models=True)
    model, tokenizer = load_model(leftover, "cpu")
    scores = evaluate_programs(model, tokenizer, load_split("test")[:3], 2, seed=1, precision=tiny.midtrain.precision)
    (row,) = (r for r in records if r["arm"] == "ra3" and r["seed"] == 1)
    assert ["".join("01"[ok] for ok in each) for each in scores.correct.tolist()] == row["correct"]["test"]
    assert not model_folder(tmp_path, "base", 1).exists()
    run_study(tiny, tmp_path, lambda text: None, keep_models=True)  # nothing left to do


def test_a_model_that_was_not_kept_is_an_error(finished):
    out, _ = finished
    with pytest.raises(ValueError, match="whose model was not kept: delete its line"):
        run_study(spec(), out, lambda text: None, keep_models=True)


def test_the_command_writes_tables_and_a_page_without_network(finished, tmp_path, capsys):
    out, _ = finished
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(TINY))
    assert main(["study", str(path), "--out", str(out), "--json", str(tmp_path / "found.json")]) == 0
    page = (out / "report.html").read_text()
    assert "<h1>Tiny &amp; short</h1>" in page and "the method" in page and "Paired differences" in page
    assert "E-step: return on held-out programs" in page and "Means over 2 seeds" in page
    assert "http://" not in page.split("<script")[0] and "src=" not in page.split("<script")[0]
    assert json.loads((tmp_path / "found.json").read_text())["tables"]["test"]["seeds"] == [0, 1]
    assert "ra3 - ntp" in capsys.readouterr().out
    assert main(["study", str(path), "--arms", "none", "--out", str(tmp_path / "x")]) != 0
    assert "no arm 'none'" in capsys.readouterr().err


def test_tables_and_page_have_the_arms_of_earlier_calls(finished, tmp_path, capsys):
    out, records = finished
    folder, path = tmp_path / "out", tmp_path / "tiny.json"
    shutil.copytree(out, folder)
    other = {"midtrain": {"mstep": {"learning_rate": 0.004}}}
    arms = [arm | (other if arm["name"] == "ntp" else {}) for arm in TINY["arms"]]
    path.write_text(json.dumps({**TINY, "arms": arms}))
    fewer = [r for r in records if (r["arm"], r["seed"]) != ("answer", 1)]

    def shown(*words: str) -> tuple[dict, str]:
        (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in fewer))
        assert main(["study", str(path), "--out", str(folder), "--arms", "ra3", *words]) == 0
        return json.loads((folder / "table_test.json").read_text()), capsys.readouterr().out

    table, told = shown()
    assert list(table["arms"]) == ["base", "ra3"] and [d["b"] for d in table["differences"]] == ["base"]
    assert "2 arms, seeds: 2" in (folder / "report.html").read_text()
    assert "not in these tables (not run as SPEC has it, or not at every seed): ntp, answer" in told
    assert list(shown("--seeds", "0")[0]["arms"]) == ["base", "ra3", "answer"], "answer has this one seed"
    fewer[0] = fewer[0] | {"weights": "of another base"}
    assert list(shown("--seeds", "0")[0]["arms"]) == ["ra3", "answer"]


def test_a_study_says_how_to_go_on_and_is_no_guest_in_a_runs_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    words = ["study", str(tmp_path / "tiny.json"), "--out", str(tmp_path / "out")]

    def control_c(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr("ra3_lab.study.run._run", control_c)
        assert main(words) == 130
    assert "Give the same command again to go on" in capsys.readouterr().err
    (tmp_path / "out" / "run.json").write_text("{}")
    assert main(words) == 2
    assert "holds a training run (run.json): choose another --out" in capsys.readouterr().err


def test_one_seed_is_said_to_be_one(finished):
    _, records = finished
    for seeds, head in (([0, 1], "seeds and tasks"), ([0], "tasks only; one seed")):
        mine = [record for record in records if record["seed"] in seeds]
        table = summarise_seeds(seed_records(mine, "test"))
        page = render_study(spec(seeds=seeds), mine, {"test": table})
        assert re.findall(r">95 % interval( \([^<]*)<", page) == [f" ({head})"] * 2
        assert ("one seed: says nothing about another training run" in render(table)) == (seeds == [0])


def test_the_plan_counts_every_arm(capsys):
    rows = dict(minutes(spec(arms=TINY["arms"][:3])))
    assert list(rows) == ["base", "ntp", "ra3"] and 0 < rows["base"] < rows["ra3"]


def test_arms_of_the_plan_share_a_timing_only_where_updates_take_as_long(monkeypatch):
    timed = []

    def fake(arm, short, config, tasks):
        timed.append(arm.name)
        return plan.Timing(60.0 * len(timed), 0.0, 0.0, 0.0)

    monkeypatch.setattr(plan, "_time", fake)
    estep = {"cost": "inf"}, {"longest_thought": 64}, {"hindsight": True}, {"engine": "generate"}
    others = [{"midtrain": {"estep": own}} for own in estep]
    others += [{"midtrain": {"precision": "bf16"}}, {"midtrain": {"adapter": "lora"}}, {"one_latent": True}]
    others += [{"corpus": 3}, {"model": "elsewhere"}]
    alike = [{}, {"midtrain": {"estep": {"learning_rate": 0.1, "cost": 2.0}}}, {"midtrain": {"estep": {"updates": 2}}}]
    arms = [{"name": str(n), "method": "ra3", **own} for n, own in enumerate([*others, *alike])]
    rows = dict(minutes(spec(arms=arms)))
    assert timed == [str(n) for n in range(len(others) + 1)]
    assert [rows[str(len(others) + n)] for n in range(3)] == [10.0, 10.0, 20.0]


def test_the_plan_counts_the_looks_that_a_run_takes(monkeypatch):
    """Before the first E-step update of a round, after each fifth, and after the last."""
    monkeypatch.setattr(plan, "_time", lambda *_: plan.Timing(0.0, 0.0, 0.0, 60.0))
    arms = [
        {
            "name": f"{rounds} rounds of {updates}",
            "method": "ra3",
            "midtrain": {"rounds": rounds, "estep": {"updates": updates}},
        }
        for rounds, updates in [(1, 36), (2, 36), (1, 4)]
    ]
    assert [looks for _, looks in minutes(spec(arms=arms, midtrain={"mstep": {"updates": 2}}))] == [9.0, 10.0, 2.0]


@pytest.mark.parametrize("tasks", [1, 8, 60])
def test_the_plan_divides_by_the_programs_that_it_timed(tasks, monkeypatch):
    """A program takes a second here, so 3 tasks with 2 samples take 6."""
    seconds = [0.0]

    def fake(model, tokenizer, tasks, samples, **settings):
        seconds[0] += len(tasks) * samples

    monkeypatch.setattr(plan, "evaluate_programs", fake)
    monkeypatch.setattr(plan, "time", SimpleNamespace(perf_counter=lambda: seconds[0]))
    assert minutes(spec(arms=TINY["arms"][:1], validation_tasks=tasks)) == [("base", pytest.approx(0.1))]


def test_shipped_specs_are_sound():
    names = spec_names()
    assert {"main", "tuning"} <= set(names)
    for found in map(load_spec, names):
        for arm in {arm.corpus: arm for arm in found.arms}.values():
            assert field_of(found.experiment(arm, found.seeds[0])).training
    trials = [arm.method for arm in load_spec("tuning").arms]
    assert {trials.count(method) for method in trials} == {4}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": []}, "at least one arm"),
        ({"arms": [{"name": "a", "method": "ntp"}, {"name": "a", "method": "ra3"}]}, "two arms are called 'a'"),
        ({"arms": [{"name": "a", "method": "sft"}]}, "'base', 'ntp'"),
        ({"arms": [{"name": "a", "method": "ntp", "midtrain": {"round": 1}}]}, "did you mean 'rounds'"),
        ({"arms": [{"name": "a", "method": "base", "midtrain": {"rounds": 1}}]}, "method base is not trained"),
        ({"pairs": [["ntp", "sft"]]}, "pairs name an arm 'sft'"),
        ({"arms": [{"name": "a"}]}, r"arms\.method is missing"),
        ({"seeds": [0, 1, 0]}, "every seed once"),
        ({"samples": 0}, "samples=0"),
        ({"seeds": [-1]}, "seed=-1: 0 or more"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"splits": []}, "at least one held-out split"),
        ({"arms": [{"name": "a", "method": "annotator", "one_latent": True}]}, "arm 'a': method annotator .* one_lat"),
        (
            {"arms": [{"name": "a", "method": "ntp", "midtrain": {"seed": 0}}]},
            "'a': midtrain.seed: .* comes from seeds",
        ),
        ({"arms": [{"name": "a", "method": "ntp", "midtrain": {"method": "ntp"}}]}, "method comes from the arm"),
        ({"midtrain": {"seed": 7}}, "midtrain.seed: leave it out; seed comes from seeds"),
        ({"midtrain": {"method": "ntp"}}, "midtrain.method: leave it out; method comes from the arm"),
        ({"arms": {"name": "a", "method": "ntp"}}, r"arms = .*: a list of tables \(\[\[arms\]\]\) is wanted"),
        ({"arms": [3]}, "arms = 3: a table of settings is wanted"),
        ({"arms": [{"name": "a", "method": "ntp", "midtrain": 3}]}, "midtrain = 3: a table of settings is wanted"),
        ({"midtrain": 3}, "midtrain = 3: a table of settings is wanted"),
        *(
            ({"arms": [{"name": name, "method": "ntp"}]}, "every arm needs a name, and one without slashes")
            for name in ("../../x", "/tmp/zz", "..\\x", "C:x", " ")
        ),
    ],
)
def test_bad_specs_are_refused_before_anything_is_trained(changes, message):
    with pytest.raises(ValueError, match=message):
        spec(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": 100_000}, r"tasks=100000: split 'test' has 300 for it, so 1 to 300"),
        ({"tasks": 0}, "tasks=0"),
        ({"splits": ["tests"]}, "no split named 'tests'"),
        ({"arms": [{"name": "a", "method": "ntp", "corpus": 5_000}]}, r"corpus=5000: split 'expert' has 1198 for it"),
    ],
)
def test_numbers_that_the_splits_do_not_have_are_refused_before_anything_is_trained(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run_study(spec(**changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_documented_study_is_one(repo_root, tmp_path):
    text = (repo_root / "docs" / "study.md").read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    (tmp_path / "dear.toml").write_text(text)
    found = load_spec(tmp_path / "dear.toml")
    assert [found.settings(arm, 0).estep.cost for arm in found.arms] == [0.05, 1.0]
    assert found.pairs == (("dear", "cheap"),) and found.midtrain.mstep.updates == 100


@pytest.mark.parametrize("key", ["seed = 0", 'method = "ra3"'])
def test_settings_that_a_study_fills_in_are_refused_in_a_file_even_at_their_defaults(key, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(f'title = "t"\n[midtrain]\n{key}\n[[arms]]\nname = "a"\nmethod = "ntp"\n')
    with pytest.raises(ValueError, match=f"mine.toml: midtrain.{key.split()[0]}: leave it out"):
        load_spec(path)


def test_an_unknown_study_is_named():
    with pytest.raises(ValueError, match=r"no study called 'mian'.*main"):
        load_spec("mian")


@pytest.mark.parametrize(
    ("name", "records"),
    [(path.parent.name, read_study(path.parent)) for path in sorted(RESULTS.glob("*/records.jsonl"))],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_shipped_spec_is_the_one_its_records_were_made_by(name, records):
    shipped = load_spec(name)
    arms = {arm.name: arm for arm in shipped.arms}
    for record in records:
        now = json.loads(json.dumps(plain(shipped.fingerprint(arms[record["arm"]], record["seed"]))))
        assert common(now, record["made_by"]) == common(record["made_by"], now)


def common(one, other):
    """`one` without the settings that `other`, made by another version, does not know."""
    if not isinstance(one, dict):
        return one
    return {key: common(value, other[key]) for key, value in one.items() if key in other}
