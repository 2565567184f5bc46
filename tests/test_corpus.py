"""Real code in: logical lines, byte-exact, and clear words about what cannot be used."""

from __future__ import annotations

import inspect
import json

import pytest

from ra3_lab.api import load_model, load_traces
from ra3_lab.cli import main
from ra3_lab.commands.midtrain import _read
from ra3_lab.corpus import load_corpus, trace_of_code
from ra3_lab.corpus.holdout import hold_out
from ra3_lab.pretrain.corpus import stdlib_functions
from ra3_lab.trace import Refused, Trace, annotate, read_source, split_logical_lines, strip


def test_a_logical_line_keeps_strings_brackets_and_backslashes_whole():
    code = (
        'def f(a,\n      b):\n    """doc\n    more"""\n    x = a + \\\n        b\n'
        "\n    # note\n    return [\n        x,  # here\n    ]\n"
    )
    pieces = split_logical_lines(code)
    assert "".join(pieces) == code
    assert pieces == [
        "def f(a,\n      b):\n",
        '    """doc\n    more"""\n',
        "    x = a + \\\n        b\n",
        "\n",
        "    # note\n",
        "    return [\n        x,  # here\n    ]\n",
    ]


@pytest.mark.slow
def test_standard_library_functions_come_back_byte_for_byte():
    functions, _ = stdlib_functions()
    assert len(functions) > 3000
    for text in functions[::7]:
        trace = Trace("", tuple(split_logical_lines(text)))
        assert trace.code == text
        noted = annotate(
            trace,
            [" a note" if i % 2 and not line.startswith("#") else None for i, line in enumerate(trace.lines)],
        )
        assert strip(noted).text == text


def test_mbpp_solutions_are_read(benchmarks_dir):
    corpus = load_corpus(benchmarks_dir / "mbpp" / "mbpp.jsonl", ids=(601, 974))
    assert len(corpus.traces) + sum(corpus.refused.values()) == 374
    assert not corpus.refused
    assert all(trace.prompt.startswith('"""') for trace in corpus.traces)


def test_line_ends_of_other_systems_are_not_learned(tmp_path):
    path = tmp_path / "solutions.jsonl"
    path.write_text(json.dumps({"text": "One\r\ntwo.", "code": "def f():\r\n\treturn 1\r\n"}) + "\n")
    (trace,) = load_corpus(path).traces
    assert trace.lines == ("def f():\n", "\treturn 1\n") and "\r" not in trace.prompt


def test_broken_json_line_is_named(tmp_path):
    path = tmp_path / "code.jsonl"
    path.write_text(json.dumps({"code": "x = 1"}) + "\n{oops\n")
    with pytest.raises(ValueError, match=r"code\.jsonl:2 is not JSON"):
        load_corpus(path)


def test_rows_without_a_program_are_named(tmp_path):
    path = tmp_path / "code.jsonl"
    path.write_text('{"text": "no code here"}\n')
    with pytest.raises(ValueError, match=r"code\.jsonl:1 has no program"):
        load_corpus(path)


def test_empty_corpus_and_missing_source_are_errors(tmp_path):
    path = tmp_path / "empty.jsonl"
    path.write_text("")
    with pytest.raises(ValueError, match="holds no Python"):
        load_corpus(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_corpus(tmp_path / "nowhere.jsonl")


def test_code_that_is_not_python_is_left_out_and_counted(tmp_path):
    path = tmp_path / "code.jsonl"
    path.write_text('{"code": "x = 1"}\n{"code": "x = = 1"}\n')
    corpus = load_corpus(path)
    assert len(corpus.traces) == 1 and sum(corpus.refused.values()) == 1


def test_a_folder_gives_its_functions(tmp_path):
    (tmp_path / "a.py").write_text("def f():\n    return 1\n\n\nclass A:\n    def g(self):\n        return 2\n")
    (tmp_path / "b.py").write_text("def broken(:\n")
    corpus = load_corpus(tmp_path)
    assert [t.code for t in corpus.traces] == ["def f():\n    return 1\n", "def g(self):\n    return 2\n"]
    assert sum(corpus.refused.values()) == 1


def test_a_folder_names_what_it_cannot_use(tmp_path):
    (tmp_path / "sub").mkdir()
    method = '@x\ndef f(self):\n    """Doc\nleft"""\n    return 1\n'
    (tmp_path / "a.py").write_text(
        "class A:\n    " + method.replace("\n    ", "\n        ").replace("\ndef", "\n    def")
    )
    (tmp_path / "sub" / "bad.py").write_text("x = 1\ny = (\n")
    (tmp_path / "latin.py").write_bytes(b"x = 1\n\ns = '\xe9'\n")
    corpus = load_corpus(tmp_path)
    assert [t.code for t in corpus.traces] == [method]
    assert corpus.traces[0].trace_id == "a.py:2"
    assert corpus.refused == {"does not parse": 1, "encoding unknown or wrong": 1}
    assert [(r.file, r.line) for r in corpus.refusals] == [("latin.py", 3), ("sub/bad.py", 2)]
    with pytest.raises(ValueError, match="is a folder"):
        load_corpus(tmp_path, ids=(0, 1))


def test_a_folder_of_another_language(tmp_path):
    pytest.importorskip("sqlglot")
    (tmp_path / "a.sql").write_text("SELECT a\nFROM (\n  SELECT 1 AS a\n)")
    (tmp_path / "b.sql").write_text("SELECT (\n")
    corpus = load_corpus(tmp_path, language="sql")
    assert [t.lines for t in corpus.traces] == [("SELECT a\n", "FROM (\n  SELECT 1 AS a\n)\n")]
    assert corpus.traces[0].marker == "--" and corpus.refused == {"does not parse": 1}
    with pytest.raises(ValueError, match="no language for 'cobol'"):
        load_corpus(tmp_path, language="cobol")


def test_a_header_stays_above_the_prompt():
    trace = trace_of_code("#!/usr/bin/env python\nx = 1\n", "Say 1.")
    assert trace.text == '#!/usr/bin/env python\n"""Say 1."""\nx = 1\n' and trace.lines == ("x = 1\n",)


@pytest.mark.parametrize("header", ["", "#!/usr/bin/env python\n", "# coding: utf-8\n"])
def test_a_description_above_code_compiles(header):
    future = "from __future__ import annotations\nx = 1\n"
    for code in (future, "'''Mine.'''\nx = 1\n", "'''Mine.'''\n" + future, "# c\n\n'''Mine.'''  # c\n" + future):
        for prompt in ("Say 1.", "Say\n\ncoding: latin-1\n!x", "a\0\rb = 2\r\n# -*- coding=x", "Say '''it\"\"\" \\"):
            trace = trace_of_code(header + code, prompt)
            compile(trace.code, "x", "exec")
            assert trace.code.startswith(header) and "".join(trace.lines) == code
            assert ("Say" if prompt.startswith("Say") else "b = 2") in trace.prompt
            assert read_source(trace.code.encode(), "x.py").trace.code == trace.code


def test_half_a_unicode_character_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "code.jsonl"
    rows = [{"text": "One\nand \ud800.", "code": "x = 1\n"}, {"text": "Two.", "code": "x = 2\n"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = load_corpus(path)
    assert [trace.prompt for trace in corpus.traces] == ['"""Two."""\n']
    assert [str(r) for r in corpus.refusals] == [
        "code.jsonl:1:2: half a Unicode character ('\\ud800' in the description)"
    ]
    with pytest.raises(Refused, match="in the description"):
        trace_of_code("x = 1\n", "\udc00", "a.py")


def test_trace_says_what_is_wrong_with_it():
    for arguments, message in [
        (("", ()), "no line"),
        (("x", ("y\n",)), "newline"),
        (("", ("y\n",), (None, None)), "latents"),
        (("", ("y\n",), ("a\nb",)), "newline"),
    ]:
        with pytest.raises(ValueError, match=message):
            Trace(*arguments)
    assert inspect.getdoc(Trace)


# --- held out of training -----------------------------------------------------------------------------


def _folder(tmp_path):
    """Ten files of four functions alike, and a function that stands in all of them."""
    folder = tmp_path / "code"
    folder.mkdir()
    shared = "def same(x):\n    y = x\n    return y\n"
    for f in range(10):
        alike = [f"def near{n}(x):\n    y = x + {f}\n    return y + {n}\n" for n in range(4)]
        (folder / f"module{f}.py").write_text("\n\n".join([*alike, shared]))
    return folder


def test_files_are_held_out_whole_and_what_stands_twice_is_on_one_side(tmp_path):
    folder = _folder(tmp_path)
    training, test, double = hold_out(traces := load_traces(folder, origins=(files := [])), files)
    sides = [{trace.trace_id.split(":")[0] for trace in part} for part in (training, test)]
    assert len(sides[0]) == 9 and len(sides[1]) == 1 and not sides[0] & sides[1]
    assert len(test) == 5 and double == 9 and len(training) == 36, "the function of every file is held out"
    assert not {trace.lines for trace in training} & {trace.lines for trace in test}
    assert [trace.trace_id for trace in training] == [t.trace_id for t in traces if t in training], "order stays"


def test_rows_of_a_built_corpus_are_held_out_by_their_file_and_others_one_by_one(tmp_path):
    rows = [{"task_id": i, "code": f"x = {i}\n", "source": f"lib/m{i // 4}.py:{i}"} for i in range(40)]
    for name, kept in (("built", rows), ("plain", [{"code": row["code"]} for row in rows])):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in kept))
        training, test, double = hold_out(load_traces(path, origins=(files := [])), files)
        assert (len(training), len(test), double) == (36, 4, 0)
        numbers = {int(trace.lines[0].split()[-1]) // 4 for trace in test}
        assert (len(numbers) == 1) == (name == "built")


def test_files_stay_whole_where_rows_are_numbered_twice_or_not_at_all(tmp_path):
    rows = [{"task_id": i, "code": f"x = {i}\n", "source": f"one/m{i // 4}.py:{i}"} for i in range(48)]
    rows += [{"task_id": i, "code": f"y = {i}\n", "source": f"two/m{i // 3}.py:{i}"} for i in range(36)]
    unnumbered = [{key: value for key, value in row.items() if key != "task_id"} for row in rows]
    sampled = [{**row, "prompt": "", "lines": [row["code"]]} for row in rows]
    path = tmp_path / "both.jsonl"
    for kept in (rows, unnumbered, sampled):
        path.write_text("".join(json.dumps(row) + "\n" for row in kept))
        traces = load_traces(path, origins=(files := []))
        assert files == [row["source"].split(":")[0] for row in rows]
        of = dict(zip((trace.lines for trace in traces), files, strict=True))
        training, test, _ = hold_out(traces, files)
        assert test and not {of[trace.lines] for trace in training} & {of[trace.lines] for trace in test}


def test_a_source_without_a_line_is_taken_whole(tmp_path):
    path = tmp_path / "pages.jsonl"
    rows = [{"code": f"x = {i}\n", "source": f"https://example.org/{i // 2}"} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"code": "x = 9\n"}]))
    load_traces(path, origins=(files := []))
    assert files == [*(row["source"] for row in rows), "pages.jsonl:5"]


def test_files_stay_whole_where_long_programs_are_left_out(tmp_path):
    tokenizer = load_model("embedded", "cpu")[1]
    rows = [{"code": "x = 1\n" * (99 if i % 3 else 1), "source": f"m{i}.py:1"} for i in range(6)]
    path = tmp_path / "some.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    traces, files, left_out = _read(str(path), None, "python", tokenizer, 50)
    assert (len(traces), files, left_out) == (2, ["m0.py", "m3.py"], {"more than 50 tokens": 4})


def test_one_file_cannot_be_split(tmp_path, capsys):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "only.py").write_text("def f(x):\n    return x\n\n\ndef g(x):\n    return x + 1\n")
    assert main(["midtrain", "--data", str(tmp_path / "code"), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 2
    assert "whole files are held out, and" in capsys.readouterr().err
