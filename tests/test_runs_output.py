"""`--json [FILE]`: one record, strict JSON, nothing else on stdout; and the records' readers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from ra3_lab.cli import main
from ra3_lab.commands.output import results, with_json_target
from ra3_lab.runs import JsonLines, plain, read_json, read_jsonl, write_json

TINY = [
    "--tokens", "300", "--batch-tokens", "256", "--width", "16", "--layers", "1", "--heads", "2", "--hidden", "16",
    "--corpus.stdlib", "0", "--vocab-size", "300",
]  # fmt: skip


def test_without_the_flag_nothing_is_emitted(capsys):
    with results("eval", None) as emit:
        print("a table")
        emit({"score": 1})
    assert capsys.readouterr().out == "a table\n"


def test_on_stdout_the_record_stands_alone(capsys):
    with results("eval", Path("-")) as emit:
        print("a table")
        emit({"score": math.inf, "out": Path("runs") / "x", "ids": (1, 2)})
    shown = capsys.readouterr()
    assert shown.err == "a table\n"
    assert json.loads(shown.out) == {
        "schema_version": 1, "command": "eval", "score": "inf", "out": str(Path("runs") / "x"), "ids": [1, 2],
    }  # fmt: skip


def test_into_a_file_stdout_stays_as_it_was(tmp_path, capsys):
    with results("eval", tmp_path / "found.json") as emit:
        print("a table")
        emit({"score": 1})
    assert capsys.readouterr().out == "a table\n"
    assert read_json(tmp_path / "found.json") == {"schema_version": 1, "command": "eval", "score": 1}


@pytest.mark.parametrize("name", ["found.txt", "nowhere/found.json"])
def test_a_place_that_cannot_take_the_record_is_refused_before_the_work(name, tmp_path):
    with pytest.raises(ValueError, match=r"give the name of a \.json file"), results("eval", tmp_path / name):
        pytest.fail("the work has begun")


def test_a_word_that_is_no_json_file_is_not_taken_by_the_flag():
    assert with_json_target(["run.py", "--json"]) == ["run.py", "--json", "-"]
    assert with_json_target(["--json", "-", "--seed", "1"]) == ["--json", "-", "--seed", "1"]
    assert with_json_target(["--json=found.json"]) == ["--json=found.json"]


def test_pretrain_reports_as_json(tmp_path, capsys):
    assert main(["pretrain", "--out", str(tmp_path / "base"), "--json", *TINY]) == 0
    shown = capsys.readouterr()
    record = json.loads(shown.out)
    assert record["command"] == "pretrain" and record["last"]["tokens"] >= 300 and record["parameters"] > 0
    assert "model written to" in shown.err


# --- readers ------------------------------------------------------------------------------------------


def test_json_is_strict_and_its_reader_refuses_a_newer_schema(tmp_path):
    write_json(tmp_path / "a.json", {"schema_version": 1, "x": [1.5, None, -math.inf]})
    assert read_json(tmp_path / "a.json")["x"] == [1.5, None, "-inf"]
    write_json(tmp_path / "b.json", {"schema_version": 2})
    with pytest.raises(ValueError, match=r"b\.json has schema_version 2; .* reads up to 1: update"):
        read_json(tmp_path / "b.json")
    (tmp_path / "c.json").write_text('{"half":')
    with pytest.raises(ValueError, match=r"c\.json is not JSON"):
        read_json(tmp_path / "c.json")
    with pytest.raises(TypeError):
        write_json(tmp_path / "d.json", {"model": object()})
    assert not (tmp_path / "d.json").exists()
    assert plain({"a": {1: 2}}) == {"a": {"1": 2}}


def test_a_writer_cuts_off_the_line_that_a_kill_tore(tmp_path):
    path = tmp_path / "groups.jsonl"
    path.write_text('{"a": 1}\n{"a": 2, "te')
    JsonLines(path)({"a": 3})
    JsonLines(path)({"a": 4})
    assert [row["a"] for row in read_jsonl(path)] == [1, 3, 4]


def test_jsonl_readers_leave_out_a_torn_line_and_name_a_damaged_one(tmp_path):
    append = JsonLines(tmp_path / "m.jsonl")
    for i in range(3):
        append({"update": i})
    with open(tmp_path / "m.jsonl", "a") as file:
        file.write('{"update": 3, "lo')
    assert [row["update"] for row in read_jsonl(tmp_path / "m.jsonl")] == [0, 1, 2]
    assert all(row["schema_version"] == 1 for row in read_jsonl(tmp_path / "m.jsonl"))
    with open(tmp_path / "m.jsonl", "a") as file:
        file.write('\n{"update": 4}\n')
    with pytest.raises(ValueError, match=r"m\.jsonl:4 is not JSON"):
        read_jsonl(tmp_path / "m.jsonl")
    (tmp_path / "new.jsonl").write_text('{"schema_version": 9}\n')
    with pytest.raises(ValueError, match=r"new\.jsonl:1 has schema_version 9"):
        read_jsonl(tmp_path / "new.jsonl")
    assert read_jsonl(tmp_path / "none.jsonl") == []
