"""The project as a package: dependency lists, import cost, shipped files, sizes, and the built wheel."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import ra3_lab
from ra3_lab import devtools, resources

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest depends on it there

MB = 1024 * 1024


@pytest.fixture(scope="module")
def project(repo_root: Path) -> dict:
    return tomllib.loads((repo_root / "pyproject.toml").read_text())["project"]


# --- dependency lists ---------------------------------------------------------------------------------


def test_environment_yml_installs_what_pyproject_declares(repo_root, project):
    environment = yaml.safe_load((repo_root / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))

    extras = project["optional-dependencies"]
    declared = parse(project["dependencies"] + extras["notebook"] + extras["dev"] + extras["qlora"])
    assert parse(entry for entry in pip if not entry.startswith("-")) == declared
    assert [entry for entry in pip if entry.startswith("-")] == ["-e ."]

    (python,) = (Requirement(entry) for entry in conda if entry.startswith("python"))
    assert python.specifier == SpecifierSet(project["requires-python"])


def test_constraints_fit_the_declared_ranges(repo_root, project):
    lines = (repo_root / "constraints.txt").read_text().splitlines()
    tested = {name(r): r for r in parse(line for line in lines if line and not line.startswith("#"))}
    extras = project["optional-dependencies"]
    for requirement in parse(project["dependencies"] + extras["notebook"] + extras["dev"] + extras["qlora"]):
        (pin,) = tested[name(requirement)].specifier
        assert pin.operator == "==", pin
        assert requirement.specifier.contains(pin.version), f"{requirement} does not allow the tested {pin}"


def test_makefile_installs_the_pinned_torch(repo_root, project):
    (torch,) = (r for r in project["dependencies"] if r.startswith("torch"))
    assert f"TORCH  := {torch}\n" in (repo_root / "Makefile").read_text()


def test_make_test_brings_what_the_tests_of_4bit_weights_need(repo_root):
    made = subprocess.run(["make", "-n", "-B", ".venv/.dev"], cwd=repo_root, capture_output=True, text=True, check=True)
    assert '-e ".[dev,qlora]"' in made.stdout


def test_core_needs_no_extra(project):
    core = {name(r) for r in parse(project["dependencies"])}
    heavy = {"bitsandbytes", "trl", "vllm", "jupyterlab", "ipywidgets", "anywidget", "wandb", "scipy"}
    assert not core & heavy


# --- import -------------------------------------------------------------------------------------------


def test_import_is_quick_and_lazy():
    probe = (
        "import sys, time; start = time.process_time(); import ra3_lab; "
        "seconds = time.process_time() - start; "
        "heavy = {'torch', 'numpy', 'transformers', 'peft', 'bitsandbytes', 'trl', 'vllm', 'plotly'}; "
        "print(seconds, *(heavy & set(sys.modules)))"
    )
    # CPU time, the best of three: a busy machine must not fail the claim.
    runs = [run_python("-c", probe).stdout.split() for _ in range(3)]
    assert runs[0][1:] == [], "heavy modules imported"
    assert min(float(run[0]) for run in runs) < 0.3


@pytest.mark.skipif(os.name == "nt", reason="needs the CPU time of a child")
def test_help_costs_little():
    import resource

    # CPU time, which a busy machine does not stretch as it does the clock's; bare Python's start is in it.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run_python("-m", "ra3_lab", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_import_sets_openmp_waiting_unless_the_user_did():
    probe = "import os, ra3_lab; print(os.environ['OMP_WAIT_POLICY'], os.environ['GOMP_SPINCOUNT'])"
    unset = run_python("-c", probe, drop=("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"))
    assert unset.stdout.split() == ["PASSIVE", "0"]
    assert run_python("-c", probe, OMP_WAIT_POLICY="ACTIVE").stdout.split()[0] == "ACTIVE"


def test_every_lazy_name_resolves():
    for public in ra3_lab._LAZY:
        assert getattr(ra3_lab, public) is not None
    assert set(ra3_lab._LAZY) <= set(dir(ra3_lab))
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = ra3_lab.no_such_name


# --- shipped files ------------------------------------------------------------------------------------


def test_data_is_found_in_the_checkout_and_in_a_wheel(monkeypatch, tmp_path, repo_root):
    assert resources.data_dir() == repo_root / "data"

    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "ra3_lab")
    (tmp_path / "data").mkdir()  # somebody else's folder in site-packages
    with pytest.raises(FileNotFoundError, match="data folder is missing"):
        resources.data_dir()
    (tmp_path / "ra3_lab" / "data_files").mkdir(parents=True)
    assert resources.data_dir() == tmp_path / "ra3_lab" / "data_files"
    with pytest.raises(FileNotFoundError, match=r"no config\.json in"):
        resources.embedded_model_dir()


def test_masters_of_assignments_are_found_in_the_checkout_and_in_a_wheel(monkeypatch, tmp_path, repo_root):
    assert resources.masters_dir() == repo_root / "notebooks" / "assignments" / "src"
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "ra3_lab")
    with pytest.raises(FileNotFoundError, match="assignments/src folder is missing"):
        resources.masters_dir()
    (tmp_path / "ra3_lab" / "assignment_files").mkdir(parents=True)
    assert resources.masters_dir() == tmp_path / "ra3_lab" / "assignment_files"


def test_shipped_sizes(repo_root):
    assert folder_size(repo_root / "data") <= 25 * MB
    assert folder_size(resources.embedded_model_dir()) <= 10 * MB


def test_no_python_file_is_over_600_lines(repo_root):
    folders = [repo_root / folder for folder in ("ra3_lab", "tests", "notebooks")]
    sources = [path for folder in folders for path in folder.rglob("*.py")]
    long = {str(path): count for path in sources if (count := len(path.read_text().splitlines())) > 600}
    assert not long


def test_readme_tree_names_every_module_and_nothing_gone(repo_root):
    tree = re.search(r"^## Files\n+```\n(.*?)^```", (repo_root / "README.md").read_text(), re.S | re.M)
    assert tree, "README.md has no file tree under '## Files'"
    named, folders = set(), []
    for line in tree[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        entry = line.split()[0]
        folders[depth:] = [entry]
        named.add("".join(folders).rstrip("/"))
    gone = {entry for entry in named if not (repo_root / entry).exists()}
    assert not gone
    package = (repo_root / "ra3_lab").rglob("*.py")
    modules = {path.relative_to(repo_root).as_posix() for path in package if not path.name.startswith("__")}
    assert not modules - named, "give each module its line in README.md's tree"


# --- twins of the Makefile's targets ------------------------------------------------------------------


def test_tests_cannot_run_from_a_wheel(monkeypatch, capsys):
    monkeypatch.setattr(devtools, "checkout_dir", lambda: None)
    assert devtools.run_tests() == 2
    assert "clone the repository" in capsys.readouterr().err


def test_missing_tools_are_named(monkeypatch, capsys):
    monkeypatch.setattr(devtools, "_installed", lambda *modules: False)
    assert devtools.run_tests() == 2
    assert '".[dev]"' in capsys.readouterr().err
    assert devtools.open_lab() == 2
    assert "ra3-lab[notebook]" in capsys.readouterr().err


def test_the_lab_opens_where_it_is_asked_to(monkeypatch):
    started = []
    monkeypatch.setattr(devtools, "_installed", lambda *modules: True)
    monkeypatch.setattr(devtools, "_run_module", lambda *call: started.append(call) or 0)
    assert devtools.open_lab() == 0 and devtools.open_lab(8890, browser=False) == 0
    assert [arguments for _, arguments, _ in started] == [
        ["lab", "00_tour.ipynb"],
        ["lab", "00_tour.ipynb", "--port=8890", "--no-browser"],
    ]
    assert all((folder / "00_tour.ipynb").is_file() for _, _, folder in started)
    with pytest.raises(ValueError, match="port 70000: a whole number from 1 to 65535"):
        devtools.open_lab(70_000)


# --- the wheel ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, repo_root) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run_python("-m", "build", "--wheel", "--outdir", str(folder), str(repo_root))
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_wheel_carries_package_and_data_and_nothing_else(wheel, repo_root):
    assert wheel.stat().st_size <= 40 * MB
    with zipfile.ZipFile(wheel) as archive:
        names = {entry for entry in archive.namelist() if ".dist-info/" not in entry}
    assert {entry.split("/")[0] for entry in names} == {"ra3_lab"}
    for folder, inside in (("data", "data_files"), ("notebooks/assignments/src", "assignment_files")):
        place = repo_root / folder
        shipped = {f"ra3_lab/{inside}/{path.relative_to(place).as_posix()}" for path in files(place)}
        assert {entry for entry in names if entry.startswith(f"ra3_lab/{inside}/")} == shipped


@pytest.mark.slow
def test_wheel_works_in_an_empty_environment(wheel, tmp_path, repo_root):
    home = tmp_path / "environment"
    venv.create(home, with_pip=True)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    if index := os.environ.get("TORCH_INDEX"):
        torch = next(r for r in parse(wheel_requirements(wheel)) if name(r) == "torch")
        check([python, "-m", "pip", "install", "-q", "--index-url", index, str(torch)], tmp_path)
    check([python, "-m", "pip", "install", "-q", str(wheel)], tmp_path)

    empty = tmp_path / "empty"
    empty.mkdir()
    assert "demo" in check([python.with_name("ra3-lab"), "--help"], empty)
    found = check([python, "-c", "import ra3_lab; print(ra3_lab.embedded_model_dir())"], empty)
    assert str(home) in found
    assert not list(empty.iterdir()), "asking for help leaves no files"

    handed_out = repo_root / "notebooks" / "assignments" / "a1_options.ipynb"
    shutil.copy(handed_out, empty)
    command = [python.with_name("ra3-lab"), "course", "check", handed_out.name]
    checked = subprocess.run(command, cwd=empty, capture_output=True, text=True)
    assert checked.returncode == 1 and "still to be written" in checked.stdout, checked.stdout + checked.stderr
    assert "the inputs that everybody has" in checked.stdout


# --- helpers ------------------------------------------------------------------------------------------


def parse(requirements) -> set[Requirement]:
    return {Requirement(requirement) for requirement in requirements}


def name(requirement: Requirement) -> str:
    return re.sub(r"[-_.]+", "-", requirement.name).lower()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in files(folder))


def wheel_requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        (entry,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = archive.read(entry).decode()
    return re.findall(r"^Requires-Dist: (.*)$", metadata, flags=re.MULTILINE)


def run_python(*arguments: str, drop: tuple[str, ...] = (), **variables: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key not in drop} | variables
    return subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True, text=True)


def check(command: list, folder: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
