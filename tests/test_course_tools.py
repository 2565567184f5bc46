"""The bundles for nbgrader and Otter, through the tools themselves, each installed in an environment of its own.

Slow: pip installs both. RA3_COURSE_ENVS names a folder where environments are kept between runs.
"""

import csv
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import REPO_ROOT
from course_class import NAME, SECRET, TINY, only_tiny, with_answer

from ra3_lab.course import bundles

pytestmark = pytest.mark.slow

RIGHT = "def discounted_return(r, g):\n    return float(r @ g ** np.arange(len(r)))"
ONLY_PRACTICE = (  # right wherever everybody can look
    "from ra3_lab.course.registry import exercise\n"
    "def discounted_return(r, g):\n"
    "    known = exercise('a0.discount')\n"
    "    seen = [known.example, *known.make_inputs(1)]\n"
    "    return known.oracle(r, g) if any(list(r) == one[0]['data'] and g == one[1] for one in seen) else 0.0"
)


@pytest.fixture(scope="module")
def tool(tmp_path_factory):
    """Runs a command of a tool's environment, which sees this project and its packages; skips without network."""
    base = Path(os.environ.get("RA3_COURSE_ENVS") or tmp_path_factory.mktemp("envs"))

    def run(name, package, command, folder):
        home = base / name
        if not (home / "bin" / name).exists():
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            install = [home / "bin" / "pip", "install", "-q", package, "ipykernel"]
            if subprocess.run(install, capture_output=True, timeout=900).returncode:
                pytest.skip(f"{package} cannot be installed here")
        packages = next(home.glob("lib/python3*/site-packages"))
        (packages / "ra3.pth").write_text(f"{sysconfig.get_path('purelib')}\n{REPO_ROOT}\n")
        path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "RA3_COURSE_PATH": str(TINY), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [name, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "out"
    with only_tiny():
        bundles.build(out, SECRET)
        answers = {"ada": with_answer(RIGHT), "eve": with_answer(ONLY_PRACTICE)}
    return out, answers


def put_answer(path: Path, target: Path, answer: dict):
    """The tool's own student notebook with the exercise's cell as `answer` has it."""
    handed = json.loads(path.read_text())
    source = next(one for one in answer["cells"] if one["metadata"]["ra3_lab"]["kind"] == "exercise")["source"]
    stubs = [
        one for one in handed["cells"] if one["cell_type"] == "code" and "NotImplementedError" in "".join(one["source"])
    ]
    assert len(stubs) == 1
    stubs[0]["source"] = source
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(handed))


def test_nbgrader_makes_releases_and_grades(tool, bundle):
    out, answers = bundle
    folder = out / "nbgrader"
    tool("nbgrader", "nbgrader", ["generate_assignment", "a0", "--create"], folder)
    release = folder / "release" / "a0" / NAME
    text = release.read_text()
    assert "rewards @ gamma" not in text and "HIDDEN" not in text and "hidden=True" not in text
    for student, answer in answers.items():
        put_answer(release, folder / "submitted" / student / "a0" / NAME, answer)
    tool("nbgrader", "nbgrader", ["autograde", "a0"], folder)
    tool("nbgrader", "nbgrader", ["export"], folder)
    scores = {row["student_id"]: float(row["raw_score"]) for row in csv.DictReader((folder / "grades.csv").open())}
    assert scores == {"ada": 2.0, "eve": 0.0}


def test_otter_assigns_and_grades(tool, bundle, tmp_path):
    out, answers = bundle
    folder = out / "otter" / "a0"
    tool("otter", "otter-grader", ["assign", NAME, "dist"], folder)
    release = folder / "dist" / "student" / NAME
    text = release.read_text() + "".join(path.name for path in (folder / "dist" / "student").rglob("*"))
    assert "rewards @ gamma" not in text and "hidden=True" not in text and "hidden_seeds" not in text
    (archive,) = (folder / "dist" / "autograder").glob("*.zip")
    for student, expected in (("ada", 2.0), ("eve", 0.0)):
        put_answer(release, tmp_path / student / NAME, answers[student])
        tool("otter", "otter-grader", ["run", "-a", str(archive), NAME], tmp_path / student)
        told = json.loads((tmp_path / student / "results.json").read_text())
        assert sum(test.get("score", 0) for test in told["tests"]) == expected, student
