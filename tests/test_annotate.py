"""`ra3-lab annotate` and `ra3-lab runs`: what a user sees, and that the figures are what they say."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch
import tyro

from ra3_lab.cli import main
from ra3_lab.commands.midtrain import run
from ra3_lab.commands.output import with_files
from ra3_lab.evaluate.annotation import annotate_traces, annotation_text
from ra3_lab.midtrain.estep import EStepConfig, score_traces
from ra3_lab.models.load import save_model
from ra3_lab.runs import create_run
from ra3_lab.trace import Trace, annotate, strip

TRACES = [
    Trace("def f(a):\n", ("    b = a\n", "    c = b\n", "    d = c\n", "    return b\n"), trace_id="f"),
    Trace("", tuple(f"x{i} = [\n  {i}]\n" for i in range(9)), trace_id="g"),
]


@pytest.fixture
def model_folder(tiny_thinker, small_tokenizer, tmp_path):
    save_model(tiny_thinker, small_tokenizer, tmp_path / "model")
    return str(tmp_path / "model")


def test_gains_are_differences_of_log_likelihoods(tiny_thinker, small_tokenizer):
    records = annotate_traces(tiny_thinker, small_tokenizer, TRACES, temperature=1.0, seed=2, precision="fp32")
    for record, trace in zip(records, TRACES, strict=True):
        thoughtful = annotate(trace, record["latents"])
        assert record["lines"] == list(trace.lines) and strip(thoughtful) == trace
        scored = score_traces(
            tiny_thinker,
            [small_tokenizer.encode_trace(t) for t in (thoughtful, trace)],
            small_tokenizer,
            precision="fp32",
        ).line
        torch.testing.assert_close(torch.tensor(record["line_logp"]), scored[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(torch.tensor(record["line_gain"]), scored[0] - scored[1], atol=1e-4, rtol=1e-3)
        assert [gain is None for gain in record["gains"]] == [latent is None for latent in record["latents"]]
        text = annotation_text(record)
        shown = [row[9:] for row in text.splitlines()[2:] if "<- bought" not in row]
        assert "\n".join(shown) + "\n" == trace.code, "the program can be read off the text"
        assert text.count("<- bought") == len(thoughtful.thought_lines)
    assert any(latent for record in records for latent in record["latents"])


def test_more_samples_find_latents_that_explain_more(tiny_thinker, small_tokenizer):
    def best(samples):
        records = annotate_traces(tiny_thinker, small_tokenizer, TRACES[1:], 1.0, samples, precision="fp32")
        return sum(records[0]["line_logp"])

    assert best(16) > best(1)
    with pytest.raises(ValueError, match="samples=0"):
        best(0)


@pytest.mark.parametrize("cost", [-0.1, float("nan"), float("inf")])
def test_a_cost_that_is_no_price_is_refused(tiny_thinker, small_tokenizer, cost):
    with pytest.raises(ValueError, match=f"cost={cost}: nats per thought, 0 or more"):
        annotate_traces(tiny_thinker, small_tokenizer, TRACES, samples=2, cost=cost)


def test_annotate_shows_text_json_and_html(model_folder, tmp_path, capsys):
    program = tmp_path / "prog.py"
    program.write_text("#!/usr/bin/env python\nx = 1\nprint(x < 2, '<b>')\n")
    common = ["annotate", str(program), "--model", model_folder, "--temperature", "1", "--samples", "4", "--seed", "1"]
    assert main(common) == 0
    text = capsys.readouterr().out
    assert "x = 1" in text and "before 2 lines" in text and "#!/usr/bin/env python" in text
    assert main([*common, "--json"]) == 0
    shown = capsys.readouterr()
    (record,) = json.loads(shown.out)["programs"]
    assert record["lines"] == ["x = 1\n", "print(x < 2, '<b>')\n"] and "x = 1" in shown.err
    assert main([*common, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["programs"] == [record]
    page = tmp_path / "page.html"
    assert main([*common, "--format", "html", "--out", str(page)]) == 0
    html = page.read_text()
    assert "x &lt; 2" in html and "<b>" not in html and "http" not in html.replace("http-equiv", "")
    assert main([*common, "--out", str(page)]) == 2
    assert "exists: choose another --out" in capsys.readouterr().err
    assert main([*common, "--out", str(tmp_path / "nowhere" / "page.html")]) == 2
    assert "there is no folder" in capsys.readouterr().err, "said before the model is loaded"


def test_a_file_longer_than_the_model_reads_is_taken_by_functions(model_folder, tmp_path, capsys):
    program = tmp_path / "long.py"
    program.write_text("def short():\n    return 1\n\n\ndef long():\n" + "    x = 1\n" * 60)
    assert main(["annotate", str(program), "--model", model_folder]) == 0
    text = capsys.readouterr().out
    assert f"{program}:1 short" in text and "left out as too long" in text
    for format in ("json", "html"):
        assert main(["annotate", str(program), "--model", model_folder, "--format", format]) == 0
        shown = capsys.readouterr()
        assert shown.out.rstrip()[-1] in "}>" and "left out as too long" in shown.err, "stdout is JSON or HTML alone"
    program.write_text("x = 1\n" * 60)
    assert main(["annotate", str(program), "--model", model_folder]) == 2
    assert "half of the model's context" in capsys.readouterr().err
    program.write_text("x = (\n")
    assert main(["annotate", str(program), "--model", model_folder]) == 2
    assert "does not parse" in capsys.readouterr().err


def test_a_run_without_a_model_yet_is_named(tmp_path, capsys):
    (tmp_path / "prog.py").write_text("x = 1\n")
    create_run(tmp_path / "r", "midtrain", {}, {}).close()
    assert main(["annotate", str(tmp_path / "prog.py"), "--model", str(tmp_path / "r")]) == 2
    assert "has no model yet: finish it first (--resume" in capsys.readouterr().err


# --- runs ---------------------------------------------------------------------------------------------


@pytest.fixture
def runs_folder(tmp_path):
    for name, cost in (("a", 0.1), ("b", 0.2)):
        settings = {"method": "ra3", "estep": {"cost": cost, "group": 4}}
        with create_run(tmp_path / name, "midtrain", settings, {"heldout_sha256": "1", "model_sha256": name}) as kept:
            kept.metrics({"stage": "estep", "update": 0, "return": -1.0})
            kept.metrics({"stage": "mstep", "update": 1, "loss": 0.5})
            if name == "a":
                kept.finish({"method": "ra3", "updates": 2, "nats_per_line": {"after": {"k1": -0.25}}})
    return tmp_path


def test_runs_list(runs_folder, capsys):
    assert main(["runs", "list", str(runs_folder), "--json"]) == 0
    shown = capsys.readouterr()
    rows = json.loads(shown.out)["runs"]
    assert {(row["run"], row["state"], row["updates"]) for row in rows} == {
        (str(runs_folder / "a"), "finished", 2),
        (str(runs_folder / "b"), "stopped", 2),
    }
    assert "finished" in shown.err
    (runs_folder / "b" / "run.json").write_text('{"schema_version": 99}')
    assert main(["runs", "list", str(runs_folder)]) == 0
    assert "schema_version 99" in capsys.readouterr().out
    for text in ('{"schema_version": 1}', "[1]"):
        (runs_folder / "b" / "run.json").write_text(text)
        assert main(["runs", "list", str(runs_folder)]) == 0
        assert "run.json has no 'command': it is damaged" in capsys.readouterr().out
        assert main(["runs", "show", str(runs_folder / "b")]) == 2
    assert main(["runs", "list", str(runs_folder / "nowhere")]) == 2


def test_runs_show(runs_folder, capsys):
    assert main(["runs", "show", str(runs_folder / "b")]) == 0
    text = capsys.readouterr().out
    assert (
        "stopped, 2 updates" in text
        and "command midtrain" in text
        and "estep.cost" in text
        and f"--resume {runs_folder / 'b'}" in text
    )
    assert main(["runs", "show", str(runs_folder)]) == 2
    assert "no run directory" in capsys.readouterr().err


def test_runs_compare(runs_folder, capsys):
    pair = [str(runs_folder / "a"), str(runs_folder / "b")]
    assert main(["runs", "compare", *pair, "--json", str(runs_folder / "c.json")]) == 0
    found = json.loads((runs_folder / "c.json").read_text())
    assert found["settings"] == {"estep.cost": [0.1, 0.2]}
    assert found["figures"]["nats_per_line.after.k1"] == [-0.25, None]
    assert "not the same model" in capsys.readouterr().out
    assert main(["runs", "compare", pair[0]]) == 2


def test_runs_compare_shows_a_setting_beside_the_figure_of_that_name_and_names_other_validation_tasks(tmp_path, capsys):
    for name, updates, source in (("a", 50, "pipelines:validation"), ("b", 10, "mine.jsonl")):
        settings = {"updates": updates, "validation": source, "validation_tasks": 5}
        with create_run(tmp_path / name, "rlvr", settings, {"validation_hash": source}) as kept:
            kept.metrics({"stage": "rlvr", "update": 0})
            kept.finish({"updates": updates, "validation": [[0, 0.25]]})
    pair = [str(tmp_path / name) for name in "ab"]
    assert main(["runs", "compare", *pair]) == 0
    text = capsys.readouterr().out
    rows = [line.split() for line in text.splitlines()]
    assert ["updates", "50", "10"] in rows and ["updates", "1", "1"] in rows
    assert ["validation", "pipelines:validation", "mine.jsonl"] in rows and text.count("[[0, 0.25]]") == 2
    assert "not the same validation tasks" in text and "not the same model" not in text


# --- settings from a file on the command line ---------------------------------------------------------


def test_flags_override_the_file_and_the_file_the_defaults(tmp_path, capsys):
    (tmp_path / "s.toml").write_text('data = "x.jsonl"\nout = "r"\nids = [1, 5]\n[estep]\ncost = 0.3\ngroup = 4\n')
    words = ["--config", str(tmp_path / "s.toml"), "--estep.group", "6"]
    seen = {}

    @functools.wraps(run)
    def noting(**settings):
        seen.update(settings)

    tyro.cli(with_files(noting, words), args=words)
    assert seen["data"] == "x.jsonl" and seen["out"] == Path("r") and seen["ids"] == (1, 5)
    assert seen["config"].estep == EStepConfig(cost=0.3, group=6)
    (tmp_path / "s.toml").write_text("[estep]\ncots = 0.3\n")
    assert main(["midtrain", *words]) == 2
    assert "did you mean 'estep.cost'?" in capsys.readouterr().err
    (tmp_path / "s.toml").write_text("dat = 'x'\n")
    assert main(["midtrain", *words]) == 2
    assert "did you mean 'data'?" in capsys.readouterr().err
