"""What is handed out holds nothing that students must not have; the gate finds each thing that is planted."""

import json
import os
import zipfile

import pytest
from course_class import SECRET, cell, notebook, only_tiny

from ra3_lab.course import bundles, foreign
from ra3_lab.course.leaks import leaks
from ra3_lab.course.registry import names


def test_the_bundle_of_all_assignments_is_clean(tmp_path):
    counts = bundles.build(tmp_path / "out", SECRET)
    assert counts["student"] == len(names()) + 1
    assert leaks(tmp_path / "out" / "student", SECRET) == leaks(tmp_path / "out" / "student.zip", SECRET) == []
    assert leaks(tmp_path / "out" / "teacher", SECRET)  # the gate does see solutions


def test_only_what_students_get_can_be_read_by_others(tmp_path):
    before = os.umask(0o022)
    try:
        with only_tiny():
            bundles.build(tmp_path / "out", SECRET)
    finally:
        os.umask(before)
    for path in (tmp_path / "out").rglob("*"):
        public = path.relative_to(tmp_path / "out").parts[0] in ("student", "student.zip")
        assert bool(path.stat().st_mode & 0o044) == public, path
        assert path.stat().st_mode & 0o077 == 0 or public, path


def test_the_archive_is_the_same_whenever_it_is_made(tmp_path):
    with only_tiny():
        for name in ("one", "two"):
            bundles.build(tmp_path / name, SECRET)
    assert (tmp_path / "one" / "student.zip").read_bytes() == (tmp_path / "two" / "student.zip").read_bytes()


def _in_cell(source):
    def plant(folder):
        built = notebook()
        cell(built, "show")["source"] = source
        return built

    return plant


def _metadata(where, value):
    def plant(folder):
        built = notebook()
        (built if where == "notebook" else built["cells"][0])["metadata"] |= value
        return built

    return plant


def _output(folder):
    built = notebook()
    cell(built, "show")["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["5.0"]}]
    return built


def _file(name, text="x"):
    def plant(folder):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    return plant


def _archive(folder):
    with zipfile.ZipFile(folder / "more.zip", "w") as packed:
        packed.writestr("inner/readme.md", "the seed is " + str(SECRET.seed("a0.discount")))


def _hidden_input(folder):
    from ra3_lab.course.registry import exercise

    rewards, _ = exercise("a0.discount").make_inputs(SECRET.seed("a0.discount"))[1]
    return _in_cell(f"rewards = {rewards['data']}")(folder)


PLANTS = {
    "a solution": lambda folder: notebook(solved=True),
    "a solution line, spaced otherwise": _in_cell("return  float( rewards@gamma**np.arange(len(rewards)) )"),
    "a solution's expression": _in_cell("print((rewards @ gamma ** np.arange( len(rewards))).round(3))"),
    "a solution line in metadata": _metadata(
        "cell", {"note": "return float(rewards @ gamma ** np.arange(len(rewards)))"}
    ),
    "a marker": _in_cell("# BEGIN SOLUTION\npass"),
    "a rubric": _in_cell("# 1 point: weights fall below any given size after about $1/(1-\\gamma)$ steps."),
    "a model answer": _in_cell("# Rewards further away than about $1/(1-\\gamma)$ steps hardly count."),
    "an output": _output,
    "notebook metadata": _metadata("notebook", {"widgets": {}}),
    "cell metadata": _metadata("cell", {"execution": {"iopub.status.busy": "2027-01-01"}}),
    "a machine's path": _in_cell("open('/home/teacher/course/x.csv')"),
    "the secret": _in_cell(f"KEY = '{SECRET.key.hex()}'"),
    "a seed": _in_cell(f"SEED = {SECRET.seed('a0.discount')}"),
    "a hidden input": _hidden_input,
    "a seed in an archive": _archive,
    "a pickle": _file("data.pkl"),
    "a checkpoint": _file(".ipynb_checkpoints/a0.ipynb", "{}"),
    "a name": _file("a0_solutions.md"),
}


@pytest.mark.parametrize("what", PLANTS)
def test_the_gate_finds_what_is_planted(tmp_path, what):
    with only_tiny():
        (tmp_path / "a0_tiny.ipynb").write_text(json.dumps(notebook()))
        assert leaks(tmp_path, SECRET) == []
        built = PLANTS[what](tmp_path)
        if built is not None:
            (tmp_path / "a0_tiny.ipynb").write_text(json.dumps(built))
        assert leaks(tmp_path, SECRET), what


def _damaged(data):
    return data.replace(b"the text", b"the tex!")  # another check sum


def _locked(data):  # bit 0 of the flags: encrypted
    local, central = data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8
    return data[:local] + b"\x01" + data[local + 1 : central] + b"\x01" + data[central + 1 :]


def _odd_compression(data):
    central = data.index(b"PK\x01\x02") + 10
    return data[:central] + b"\x63" + data[central + 1 :]


@pytest.mark.parametrize("harm", [_damaged, _locked, _odd_compression, lambda data: data[:40]])
def test_an_archive_that_cannot_be_read_is_a_hit(tmp_path, harm):
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as packed:
        packed.writestr("readme.md", "the text")
    (tmp_path / "more.zip").write_bytes(harm((tmp_path / "more.zip").read_bytes()))
    with only_tiny():
        assert [hit.what for hit in leaks(tmp_path / "more.zip")] == ["an archive that cannot be read"]
        (tmp_path / "a0_tiny.ipynb").write_text(json.dumps(notebook()))
        assert [hit.what for hit in leaks(tmp_path)] == ["an archive that cannot be read"]


def test_an_empty_bundle_is_an_error_and_no_pass(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no notebook"):
        leaks(tmp_path, SECRET)


def test_hidden_checks_of_other_tools_need_the_seeds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(foreign.SEEDS, raising=False)
    with only_tiny() as found:
        with pytest.raises(FileNotFoundError, match=r"no hidden_seeds\.json here"):
            foreign.require("a0.discount", lambda r, g: 0.0, hidden=True)
        (tmp_path / foreign.SEEDS_FILE).write_text(foreign.seeds_text(found, SECRET))
        right = found.exercises[0].oracle
        foreign.require("a0.discount", right, hidden=True)
        with pytest.raises(AssertionError, match="not right on fresh inputs"):
            foreign.require("a0.discount", lambda r, g: -right(r, g), hidden=True)
