"""report.html: self-contained, complete, escaped, and its findings follow the data."""

import copy
import json
import math
import random
import re

import pytest

from ra3_lab.cli import main
from ra3_lab.experiment import ArmResult, ExperimentResult
from ra3_lab.explore import figures, findings
from ra3_lab.explore.programs import annotated_program
from ra3_lab.explore.report import render_report, write_report
from ra3_lab.midtrain.em import MidtrainResult
from ra3_lab.resources import data_dir
from ra3_lab.tasks.pipelines import WorldConfig, make_tasks

SECTIONS = ("about", "arms", "thoughts", "curves", "programs", "reproduce")
FIGURES = ("lengths", "estep", "mstep", "validation")


def made_examples(rng: random.Random, count: int = 3) -> list[dict]:
    """Programs with mostly true thoughts, some missed, misnamed or in the wrong place."""
    examples = []
    for task in make_tasks(5, count, WorldConfig(steps=(4, 5)), "made"):
        latents: list[str | None] = [None] * len(task.lines)
        gains: list[float | None] = [None] * len(task.lines)
        for start, step in zip(task.starts, task.steps, strict=True):
            if rng.random() < 0.85:
                latents[start] = step.thought if rng.random() < 0.8 else " b) sort ascending"
                gains[start] = rng.uniform(1, 9) if latents[start] == step.thought else rng.uniform(-3, -0.5)
        for line in range(len(task.lines)):
            if latents[line] is None and rng.random() < 0.06:
                latents[line], gains[line] = " once more", rng.uniform(-0.4, 0.2)
        examples.append(
            {
                "task_id": task.task_id,
                "prompt": task.prompt,
                "lines": list(task.lines),
                "latents": latents,
                "gains": gains,
                "starts": list(task.starts),
                "truth": [step.thought for step in task.steps],
            }
        )
    return examples


def made_arm(level: float, updates: int, thoughts: float) -> dict:
    lengths = {str(n): round(level + 0.07 * (7 - n), 4) for n in (6, 7, 8)}
    return {
        "pass@1": level,
        "pass@4": min(1.0, level + 0.2),
        "ci95": [level - 0.03, level + 0.03],
        "by_length": lengths,
        "thoughts_per_program": thoughts,
        "updates": updates,
        "tokens": 9000 * updates,
        "seconds": 0.5 * updates,
    }


def made_record() -> dict:
    """A full record in which RA3 wins, as a demo would write it."""
    rng = random.Random(0)
    arms = {
        "ra3": made_arm(0.62, 140, 6.1),
        "base": made_arm(0.41, 0, 2.2),
        "prior": made_arm(0.55, 140, 3.4),
        "ntp": made_arm(0.49, 140, 0.0),
    }
    pairs = [("ra3", "prior"), ("ra3", "ntp"), ("ra3", "base"), ("prior", "ntp"), ("ntp", "base")]
    differences = []
    for a, b in pairs:
        mean = arms[a]["pass@1"] - arms[b]["pass@1"]
        differences.append({"a": a, "b": b, "mean": mean, "low": mean - 0.035, "high": mean + 0.033})
    estep = [
        {
            "update": i,
            "round": i // 10,
            "return": -14 * math.exp(-i / 8) - 4 + rng.gauss(0, 0.8),
            "line_logp": -3.8,
            "think_share": 0.25,
        }
        for i in range(30)
    ]
    monitor = [
        {
            "update": i,
            "round": r,
            "return": -13 * math.exp(-i / 8) - 4 + 1.5 * r,
            "line_logp": -3.5,
            "f1": 0.9 - 0.6 * math.exp(-i / 7),
            "think_share": 0.24 + 0.3 * math.exp(-i / 5),
            "apt": None if i == 0 else 0.8,
        }
        for r in range(3)
        for i in (10 * r, 10 * r + 5, 10 * r + 10)
    ]
    ends = {"ntp": 0.135, "prior": 0.12, "ra3": 0.1}
    mstep = {
        arm: [{"update": i, "loss": end + 0.4 * math.exp(-i / 15) + rng.gauss(0, 0.004)} for i in range(1, 121)]
        for arm, end in ends.items()
    }
    validation = {
        arm: [{"update": u, "score": 0.7 - 2 * end + u / 1000} for u in (40, 80, 120)] for arm, end in ends.items()
    }
    scores = {
        "precision": 0.9,
        "recall": 0.85,
        "f1": 0.87,
        "random_f1": 0.22,
        "think_share": 0.24,
        "apt": 0.8,
        "apt_at_starts": 0.93,
        "nmi": 0.9,
        "nmi_shuffled": 0.4,
        "duration": 3.9,
        "tokens_per_thought": 5.7,
    }
    return {
        "schema_version": 1,
        "title": "RA3 on pipelines",
        "command": "ra3-lab demo --out runs/demo --seed 0",
        "seed": 0,
        "seconds": 312.4,
        "versions": {"python": "3.11.7", "ra3-lab": "0.1.0", "torch": "2.13.0"},
        "budget": {"updates": 140, "tokens": 1260000, "c": 0.1},
        "summary": {
            "schema_version": 1,
            "seconds": 312.4,
            "think_share": 0.24,
            "segmentation": {"precision": 0.9, "recall": 0.85, "f1": 0.87},
            "arms": arms,
        },
        "segmentation": {"base": scores | {"f1": 0.35, "nmi": None, "duration": None}, "ra3": scores},
        "differences": differences,
        "estep": estep,
        "monitor": monitor,
        "mstep": mstep,
        "validation": validation,
        "examples": made_examples(rng),
    }


def without_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.S)


def swapped(record: dict, a: str, b: str) -> dict:
    """The record with the results of two arms exchanged."""
    other = copy.deepcopy(record)
    arms = other["summary"]["arms"]
    arms[a], arms[b] = arms[b], arms[a]
    for part in ("mstep", "validation"):
        other[part][a], other[part][b] = other[part][b], other[part][a]
    names = {a: b, b: a}
    for row in other["differences"]:
        row["a"], row["b"] = names.get(row["a"], row["a"]), names.get(row["b"], row["b"])
    return other


def test_page_is_complete_and_fetches_nothing(tmp_path):
    path = tmp_path / "new" / "report.html"
    write_report(path, made_record())
    page = path.read_text(encoding="utf-8")
    visible = without_scripts(page)
    for name in SECTIONS:
        assert f'<section id="{name}" aria-labelledby="{name}-title">' in visible
    for name in FIGURES:
        assert (
            f'id="figure-{name}"' in visible
            and f'id="{name}-text"' in visible
            and f'Plotly.newPlot(                        "plot-{name}"' in page
        )
    assert "http://" not in visible and "https://" not in visible and "@import" not in visible and "url(" not in visible
    assert not re.search(r"<script[^>]+\bsrc=|<link[^>]+href=\"(?!data:)|<img", page)
    assert len(re.findall(r"plotly\.js v\d", page)) == 1 and page.count("<table") == page.count("<caption")
    assert "ra3-lab demo --out runs/demo --seed 0" in visible and "arXiv 2509.25810" in visible


def test_same_record_gives_the_same_page_and_is_left_alone():
    record = made_record()
    before = json.dumps(record)
    assert render_report(record) == render_report(json.loads(before))
    assert json.dumps(record) == before


def test_everything_from_programs_is_escaped():
    record = made_record()
    evil = "<script>alert('x')</script>&<b onclick=\"y\">"
    record |= {"title": evil, "command": evil, "seed": evil, "versions": {evil: evil}, "budget": {evil: evil}}
    record["examples"] = [
        {
            "task_id": evil,
            "prompt": evil + "\n",
            "lines": [f"x = '{evil}'\n", "y\n"],
            "latents": [evil, None],
            "gains": [1.0, None],
            "starts": [0, 1],
            "truth": ["other " + evil, evil],
        }
    ]
    record["summary"]["arms"][evil] = record["summary"]["arms"].pop("prior")
    record["mstep"][evil] = record["mstep"].pop("prior")
    record["segmentation"][evil] = record["segmentation"]["base"]
    record["differences"][0]["b"] = evil
    page = render_report(record)
    assert "<script>alert" not in page and "<b onclick" not in page
    assert "&lt;script&gt;alert" in page


@pytest.mark.parametrize(
    "missing",
    [
        ("summary",),
        ("summary", "differences", "segmentation", "examples"),
        ("estep", "monitor"),
        ("monitor",),
        ("mstep", "validation"),
        ("examples",),
        ("versions", "budget", "command", "seed", "seconds"),
        tuple(key for key in made_record() if key != "schema_version"),
    ],
)
@pytest.mark.parametrize("how", ["left out", "empty"])
def test_missing_parts_are_left_out(missing, how):
    record = made_record()
    for key in missing:
        kept = record.pop(key)
        if how == "empty":
            record[key] = type(kept)() if isinstance(kept, dict | list) else None
    page = render_report(record)
    assert ("nan" not in without_scripts(page).lower()) and "None" not in without_scripts(page)
    for section, needs in {"arms": "summary", "programs": "examples", "thoughts": "segmentation"}.items():
        assert (f'<section id="{section}"' in page) == (needs not in missing)
    assert len(re.findall(r"plotly\.js v\d", page)) == (
        1 if any(f'id="figure-{name}"' in page for name in FIGURES) else 0
    )


def test_a_page_of_the_rlvr_stage_alone_can_draw():
    runs = json.loads((data_dir() / "records" / "hacking.json").read_text())["rlvr_runs"]
    for record in ({"schema_version": 1, "rlvr_runs": runs}, made_record() | {"rlvr_runs": runs}):
        page = render_report(record)
        drawn = page.index('Plotly.newPlot(                        "plot-')
        assert [match.start() < drawn for match in re.finditer(r"plotly\.js v\d", page)] == [True]
        assert 'Plotly.newPlot(                        "plot-rlvr"' in page


def test_a_demo_that_is_stopped_in_the_rlvr_stage_keeps_what_it_has(tmp_path, monkeypatch, capsys):
    def stop(*arguments):
        raise KeyboardInterrupt

    trained = ArmResult({}, {}, MidtrainResult(None, 1, 1, 1.0, None))
    result = ExperimentResult(made_record(), {"ntp": trained, "ra3": trained})
    monkeypatch.setattr("ra3_lab.experiment.run_experiment", lambda *arguments: result)
    monkeypatch.setattr("ra3_lab.models.load.load_model", lambda *arguments: (None, None))
    monkeypatch.setattr("ra3_lab.commands.demo._rlvr", stop)
    assert main(["demo", "--out", str(tmp_path), "--threads", "1"]) == 130
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(f'id="figure-{name}"' in page for name in FIGURES) and 'id="rlvr"' not in page
    assert json.loads((tmp_path / "summary.json").read_text())["arms"].keys() == {"base", "ntp", "prior", "ra3"}
    assert json.loads((tmp_path / "record.json").read_text())["command"] == "ra3-lab demo --seed 0"
    assert f"{tmp_path / 'report.html'} is written" in capsys.readouterr().out


def test_real_code_has_no_truth_and_no_pass_rate():
    record = made_record()
    for key in ("summary", "segmentation", "differences"):
        record.pop(key)
    record["mstep"] = {"ra3": record["mstep"]["ra3"]}
    record["monitor"] = [{k: v for k, v in row.items() if k not in ("f1", "apt")} for row in record["monitor"]]
    for example in record["examples"]:
        example |= {"starts": [], "truth": []}
    page = without_scripts(render_report(record))
    assert "True step?" not in page and 'aria-label="Marks"' not in page and "Bought (nats)" in page
    assert findings.headline(record).startswith("E-step: return on held-out programs rose")


def test_values_that_are_not_numbers_become_dashes():
    record = made_record()
    record["summary"]["arms"]["ntp"] |= {"pass@4": None, "ci95": [None, None], "seconds": float("nan")}
    record["monitor"][3]["f1"] = None
    record["mstep"]["ntp"][5]["loss"] = float("nan")
    page = without_scripts(render_report(record))
    assert "nan" not in page.lower() and "<td>–</td>" in page


@pytest.mark.parametrize("where", ["record", "summary"])
def test_newer_schema_is_refused(where, tmp_path):
    record = made_record()
    (record if where == "record" else record["summary"])["schema_version"] = 2
    with pytest.raises(ValueError, match=r"schema_version 2, this ra3_lab reads up to 1: update ra3_lab"):
        write_report(tmp_path / "report.html", record)
    assert not (tmp_path / "report.html").exists()


def test_record_without_schema_is_refused():
    with pytest.raises(ValueError, match="schema_version None"):
        render_report({"title": "x"})


def test_findings_follow_the_data():
    record = made_record()
    other = swapped(record, "ra3", "ntp")
    assert findings.headline(record).startswith("RA3 wins: ")
    assert findings.headline(other).startswith("RA3 did not win: ")
    for name, winner, start in (
        ("lengths", "{} solves most at every length", ""),
        ("mstep", "M-step loss ends lowest for {}", ""),
        ("validation", "Best validation score: {}", ""),
    ):
        for data, arm in ((record, "RA3"), (other, "NTP")):
            figure = getattr(figures, f"figure_{name}")(data)
            assert figure.layout.title.text.startswith(start + winner.format(arm))
            assert figure.layout.title.text == getattr(findings, f"describe_{name}")(data).title
    falling = copy.deepcopy(record)
    for row in falling["monitor"]:
        row["return"] = -10 - row["return"]
    assert "rose from" in figures.figure_estep(record).layout.title.text.split(",")[0]
    assert "fell from" in figures.figure_estep(falling).layout.title.text.split(",")[0]


@pytest.mark.parametrize(
    ("arms", "title"),
    [
        ({"base": [0.0, 0.0], "ra3": [0.0, 0.0]}, "No arm solves a program of 8 to 9 steps"),
        ({"base": [0.5, 0.5], "ra3": [0.5, 0.5]}, "base and RA3 solve most at every length, 8 to 9 steps"),
        ({"base": [0.0, 0.0], "ra3": [0.5, 0.0]}, "Solves most: RA3 at 8 steps; none at 9 steps"),
        ({"base": [None, 0.1], "ra3": [None, 0.2]}, "Solves most: RA3 at 9 steps"),
        ({"base": [None, math.nan], "ra3": [None, None]}, None),
    ],
)
def test_no_arm_leads_where_none_solves_anything(arms, title):
    rows = {arm: {"pass@1": 0.0, "by_length": dict(zip("89", values, strict=True))} for arm, values in arms.items()}
    twin = findings.describe_lengths({"summary": {"arms": rows}})
    assert (twin and twin.title) == title


def test_headline_says_first_what_is_not_established():
    record = made_record()
    record["differences"][0] |= {"low": -0.01, "high": 0.15}
    assert findings.headline(record).startswith("What the E-step buys is not established: ")
    assert "+7.0 points, 95\u00a0% interval −1.0 to +15.0, which includes 0" in findings.headline(record)
    assert "includes 0: not established" in render_report(record)
    reversed_ = made_record()
    reversed_["differences"][1] = {"a": "ntp", "b": "ra3", "mean": -0.13, "low": -0.3, "high": 0.01}
    assert findings.headline(reversed_).startswith("RA3 is ahead, but not clearly: ")
    bare = made_record()
    bare["differences"] = []
    assert findings.headline(bare).startswith("RA3 scores highest, without intervals")


def test_annotated_program_marks_agreement():
    example = {
        "task_id": "t/0",
        "prompt": "def f():\n",
        "lines": ["    a\n", "    b\n", "    c\n", "    d\n"],
        "latents": [" x) one", " stray", " y) two", None],
        "gains": [4.0, -2.0, 1.0, None],
        "starts": [0, 2, 3],
        "truth": [" x) one", " y) too", " z) three"],
    }
    page = render_report({"schema_version": 1, "examples": [example]})
    for mark in ("hit", "inside", "other", "missed"):
        assert page.count(f'<td class="mark {mark}">') == 1
    assert "3 thoughts before 4 lines, +3.0 nats bought in all; 2 of 3 raised the likelihood." in page
    assert 'class="loss" style="left:0.0%;width:33.3%"' in page
    assert 'class="win" style="left:33.3%;width:66.7%"' in page


def test_a_thought_is_written_in_its_language():
    example = {"lines": ["SELECT 1\n"], "latents": [" which <table>"], "marker": "--"}
    page = annotated_program(example, (0.0, 1.0))
    assert "<code>-- which &lt;table&gt;</code>" in page and "#" not in page


def test_of_equal_checkpoints_the_last_was_kept():
    looks = [{"update": n, "score": score} for n, score in ((10, 0.5), (20, 0.75), (30, 0.75), (40, 0.5))]
    twin = findings.describe_validation({"validation": {"ra3": looks}})
    assert twin is not None and "after 30 updates" in twin.text
    assert [row[1] for row in twin.rows if row[-1] == "kept"] == ["30"]


def test_the_page_does_not_promise_rounds_that_a_run_may_not_have():
    assert "both once, or in turn over several rounds" in render_report(made_record())


def test_figures_tell_arms_apart_without_colour():
    for figure in (
        figures.figure_lengths(made_record()),
        figures.figure_mstep(made_record()),
        figures.figure_validation(made_record()),
    ):
        assert figure is not None
        looks = [(trace.marker.symbol, trace.line.dash) for trace in figure.data]
        assert len({symbol for symbol, _ in looks}) == len({dash for _, dash in looks}) == len(looks) >= 3
        assert figure.layout.xaxis.title.text and figure.layout.yaxis.title.text


def test_figure_is_cut_where_a_round_ends():
    watched = next(trace for trace in figures.figure_estep(made_record()).data if "held-out" in trace.name)
    assert list(watched.x).count(10) >= 2 and list(watched.y).count(None) == 2
