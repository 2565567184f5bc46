"""The notebooks: built from their sources, and executed from fresh kernels, offline."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ra3_lab import notebooks
from ra3_lab.notebooks import Cell, build, notebook_text, parse_percent, touched

REPO_ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((REPO_ROOT / "notebooks" / "src").glob("*.py"))
FAST = ("01_why_midtraining", "04_elbo", "05_estep")
"""Executed by the fast tests; the others by the slow ones."""


def test_there_are_notebooks():
    assert SOURCES


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_committed_notebook_is_what_its_source_gives(source):
    built = source.parent.parent / f"{source.stem}.ipynb"
    assert built.exists(), f"run `ra3-lab notebooks`: {built.name} is missing"
    assert built.read_text() == notebook_text(source.read_text(), source.stem), "run `ra3-lab notebooks`"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_built_notebook_is_valid_and_carries_nothing_of_a_run(source):
    import nbformat

    notebook = json.loads((source.parent.parent / f"{source.stem}.ipynb").read_text())
    nbformat.validate(notebook)
    assert "widgets" not in notebook["metadata"]
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in notebook["cells"])
    first = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert "minutes=" in "".join(first["source"]) and "memory_gb=" in "".join(first["source"])


def test_no_notebook_without_a_source():
    stems = {path.stem for path in SOURCES}
    assert {path.stem for path in (REPO_ROOT / "notebooks").glob("*.ipynb")} == stems


# --- the build ----------------------------------------------------------------------------------------


def test_cells_are_cut_at_marks():
    cells = parse_percent("# %% [markdown]\n# a\n\n# b\n\n# %%\nx = 1\n\ny = 2\n\n# %%\n")
    assert cells == [Cell("markdown", "a\n\nb"), Cell("code", "x = 1\n\ny = 2")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", r"one\.py:1: 'x = 1' stands before the first"),
        ("# %% [raw]\n", r"one\.py:1: '# %% \[raw\]' is unknown"),
        ("# %% [markdown]\n# a\nb\n", r"one\.py:3: 'b' in a text cell is no comment"),
        ("# %%\n" + "x = 1\n" * 16, r"one\.py:1: a code cell of 16 lines; 15 at most"),
    ],
)
def test_a_bad_source_is_refused_with_its_line(text, message):
    with pytest.raises(ValueError, match=message):
        parse_percent(text, "one.py")


def test_building_writes_checks_and_spares_work(tmp_path):
    (tmp_path / "src").mkdir()
    source, target = tmp_path / "src" / "one.py", tmp_path / "one.ipynb"
    source.write_text("# %%\nx = 1\n")
    assert build(tmp_path, check=True) == [target] and not target.exists()
    assert build(tmp_path) == [target]
    assert build(tmp_path) == []

    source.write_text("# %%\nx = 2\n")  # the source changed, the notebook was not touched
    assert build(tmp_path) == [target]

    notebook = json.loads(target.read_text())
    notebook["cells"][0]["source"] = ["x = 99\n"]  # a student's work
    target.write_text(json.dumps(notebook))
    assert touched(notebook)
    with pytest.raises(FileExistsError, match="run or edited since it was built"):
        build(tmp_path)
    assert build(tmp_path, force=True) == [target]
    assert not touched(json.loads(target.read_text()))


def test_a_notebook_that_was_run_counts_as_touched():
    notebook = json.loads(notebook_text("# %%\nx = 1\n", "one"))
    assert not touched(notebook)
    notebook["cells"][0]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1"}]
    assert touched(notebook)


def test_a_folder_without_sources_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no notebook sources in"):
        build(tmp_path)


def test_the_command_says_what_is_out_of_date(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "one.py").write_text("# %%\nx = 1\n")
    command = [sys.executable, "-m", "ra3_lab", "notebooks", "--folder", str(tmp_path)]
    checked = subprocess.run([*command, "--check"], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (1, "one.ipynb is out of date\n")
    assert subprocess.run(command, capture_output=True, text=True).stdout == "one.ipynb built\n"
    assert subprocess.run([*command, "--check"]).returncode == 0


# --- execution ----------------------------------------------------------------------------------------


def benchmark():
    """benchmarks/notebooks.py, which has the function that executes a notebook."""
    spec = importlib.util.spec_from_file_location("notebook_costs", REPO_ROOT / "benchmarks" / "notebooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_outputs(cells: list[dict]) -> None:
    """No error, no warning, and every explorer shown."""
    for cell in cells:
        for output in cell.get("outputs", []):
            assert output["output_type"] != "error", output
            if output["output_type"] == "stream" and output["name"] == "stderr":
                raise AssertionError(f"a cell wrote to stderr:\n{cell['source']}\n\n{output['text']}")


def check(name: str, folder: Path) -> None:
    """It runs, shows no error, and takes no more than its first cell says; CPU time, so that a busy machine changes
    nothing."""
    costs = benchmark()
    cells, spent = costs.execute(REPO_ROOT / "notebooks" / f"{name}.ipynb", folder)
    check_outputs(cells)
    stated = costs.stated(name)
    assert spent["cpu_s"] <= 60 * stated["minutes"], f"{spent['cpu_s']:.0f} CPU seconds"
    assert spent["memory_gb"] <= stated["memory_gb"], f"{spent['memory_gb']:.2f} GB"


@pytest.mark.parametrize("name", FAST)
def test_a_notebook_runs_from_a_fresh_kernel_offline(name, tmp_path):
    pytest.importorskip("ipywidgets")
    check(name, tmp_path)


def test_an_explorer_that_shows_an_error_fails_the_notebook(tmp_path):
    pytest.importorskip("ipywidgets")
    source = """# %%
from ra3_lab.explore.explorer import Control, Explorer

Explorer("e", "E", "", (Control("n", "n", (1, 2), 1),), lambda n: 1 / 0)
"""
    path = tmp_path / "broken.ipynb"
    path.write_text(notebook_text(source, "broken"))
    with pytest.raises(RuntimeError, match=r"broken\.ipynb: an explorer shows an error.*ZeroDivisionError"):
        benchmark().execute(path, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [path.stem for path in SOURCES if path.stem not in FAST])
def test_every_other_notebook_runs_too(name, tmp_path):
    pytest.importorskip("ipywidgets")
    check(name, tmp_path)


@pytest.mark.parametrize("name", [path.stem for path in SOURCES])
def test_what_a_notebook_states_is_what_was_measured(name):
    measured = json.loads((REPO_ROOT / "benchmarks" / "results" / "notebooks.json").read_text())["notebooks"][name]
    stated = benchmark().stated(name)
    assert 1.3 * measured["cpu_minutes"] <= stated["minutes"] <= max(0.5, 4 * measured["cpu_minutes"])
    assert 1.1 * measured["memory_gb"] <= stated["memory_gb"] <= 3 * measured["memory_gb"]


def test_the_text_of_a_notebook_states_what_its_first_cell_does():
    for source in SOURCES:
        text, stated = source.read_text(), benchmark().stated(source.stem)
        minutes = "half a minute" if stated["minutes"] == 0.5 else f"{stated['minutes']:g} minute"
        assert re.search(rf"# About {minutes}[^,]*, {stated['memory_gb']:g} GB of memory", text), source.name


def test_all_notebooks_together_take_twelve_minutes_at_most():
    assert sum(benchmark().stated(source.stem)["minutes"] for source in SOURCES) <= 12


def test_longest_cell_is_what_the_style_asks_for():
    assert notebooks.LONGEST_CELL == 15
