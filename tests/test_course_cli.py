"""`ra3-lab course` as a teacher types it; a grader that is killed; the same grades with other kernels and threads."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import REPO_ROOT
from course_class import TINY, hand_in, notebook, only_tiny, with_answer

from ra3_lab.cli import main
from ra3_lab.course.registry import assignment

RIGHT = "def discounted_return(r, g):\n    return float(r @ g ** np.arange(len(r)))"
TORCH = (
    "import torch\n"
    "def discounted_return(r, g):\n"
    "    x = torch.as_tensor(r)\n"
    "    return torch.mv(x[None], g ** torch.arange(len(r), dtype=x.dtype))[0]"
)


@pytest.fixture
def course(tmp_path, capsys):
    """Runs `ra3-lab course ...` with the tiny assignment; gives status, stdout and stderr."""

    def run(*words):
        with only_tiny():
            status = main(["course", *(str(word) for word in words)])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def test_a_teachers_day(course, tmp_path):
    mine, handed = tmp_path / "mine", tmp_path / "in"
    status, out, _ = course("init", "--course", mine, "--json")
    assert status == 0 and len(json.loads(out)["fingerprint"]) == 12
    assert (mine / "secret").stat().st_mode & 0o077 == 0
    assert course("init", "--course", mine)[0] == 2  # a second secret would change grades
    assert course("build", "--out", tmp_path / "handout", "--course", mine)[0] == 0
    assert course("leaks", tmp_path / "handout" / "student.zip", "--course", mine)[0] == 0
    assert course("leaks", tmp_path / "handout" / "teacher", "--course", mine)[0] == 1
    with only_tiny():
        path = hand_in(handed, "ada", with_answer(RIGHT))
        hand_in(handed, "bob", notebook())
    status, out, _ = course("check", path)
    assert status == 0 and "a0.discount: passed" in out
    grades = tmp_path / "grades.csv"
    status, out, _ = course("grade", handed, "--out", grades, "--course", mine, "--workers", 1, "--json")
    told = json.loads(out)
    assert status == 0 and told["counts"] == {"graded": 2} and sorted(told["points"]) == [[0, 2], [2, 2]]
    assert not {"ada", "bob"} & {row["student"] for row in csv.DictReader(grades.open())}
    assert course("purge", "--course", mine)[0] == 2  # not without --yes
    assert grades.exists()
    assert course("purge", "--course", mine, "--yes")[0] == 0
    assert not grades.exists() and [path.name for path in mine.iterdir() if path.name != "README.txt"] == ["secret"]


def test_grades_overwrite_nothing_that_no_grading_has_written(course, tmp_path):
    mine, handed, roster, other = tmp_path / "mine", tmp_path / "in", tmp_path / "class.csv", tmp_path / "other.csv"
    course("init", "--course", mine)
    with only_tiny():
        hand_in(handed, "ada", notebook())
    roster.write_text("Username;Group\nada;1\nbob;1\n")
    other.write_text("mine")
    words = ("grade", handed, "--course", mine, "--workers", 1, "--roster", roster, "--out")
    status, _, err = course(*words, roster)
    assert status == 2 and "is read here" in err
    status, _, err = course(*words, tmp_path / "in.csv")  # its pages would go to in/
    assert status == 2 and "is read here" in err
    for command in (words, ("rank", handed, "--course", mine, "--out")):
        status, _, err = course(*command, other)
        assert status == 2 and "give another name" in err
    assert roster.read_text().startswith("Username") and other.read_text() == "mine"
    for _ in range(2):  # what a grading has written, a grading may overwrite
        status, out, _ = course(*words, tmp_path / "grades.csv")
        assert status == 0 and "1 graded, 1 missing" in out


def test_a_roster_with_nobodys_name_is_an_error(course, tmp_path):
    course("init", "--course", tmp_path / "mine")
    with only_tiny():
        hand_in(tmp_path / "in", "ada", notebook())
    (tmp_path / "class.csv").write_text("Kennung\n4711\n")
    words = ("grade", tmp_path / "in", "--course", tmp_path / "mine", "--out", tmp_path / "g.csv")
    status, _, err = course(*words, "--roster", tmp_path / "class.csv")
    assert status == 2 and "'Kennung', '4711'" in err and not (tmp_path / "g.csv").exists()


def test_checking_what_is_no_notebook_says_so(course, tmp_path):
    (tmp_path / "a0_tiny.ipynb").write_text('{"worksheets": []}')
    status, _, err = course("check", tmp_path / "a0_tiny.ipynb")
    assert status == 2 and "could not be read: it is no notebook file" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["init", "--course", REPO_ROOT / "runs" / "mine"], "lies in the project"),
        (["grade", "nowhere", "--out", "g.csv", "--course", "nowhere"], "ra3-lab course init --course FOLDER"),
        (
            ["grade", ".", "--out", "g.csv", "--course", "mine", "--deadline", "tomorrow"],
            "a time like 2027-03-01T23:59",
        ),
        (
            ["grade", ".", "--out", "g.csv", "--course", "mine", "--roster", "class.csv"],
            "class.csv, the roster, is not a",
        ),
        (["leaks", "nowhere"], "holds no notebook"),
        (["check", "nowhere.ipynb"], "give a notebook"),
    ],
)
def test_errors_say_what_to_do(course, words, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    course("init", "--course", "mine")
    status, _, err = course(*words)
    assert status == 2 and said in err


def command(handed, mine, out, *more):
    words = ["course", "grade", str(handed), "--course", str(mine), "--out", str(out), *more]
    return [sys.executable, "-m", "ra3_lab", *words]


@pytest.fixture
def several(tmp_path):
    """Twelve submissions and two teachers' folders with one secret."""
    with only_tiny():
        sources = [RIGHT, RIGHT.replace("float(", "-float("), TORCH, "def discounted_return(r, g):\n    return 2.0"]
        for number in range(12):
            hand_in(tmp_path / "in", f"student{number}", with_answer(sources[number % 4]))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "secret").write_text("ab" * 32 + "\n")
    return tmp_path


@pytest.mark.slow
def test_a_grader_that_is_killed_goes_on_and_changes_no_grade(several):
    environment = os.environ | {"RA3_COURSE_PATH": str(TINY)}
    start = {"env": environment, "cwd": REPO_ROOT, "stderr": subprocess.DEVNULL}
    subprocess.run(command(several / "in", several / "one", several / "one.csv", "--workers", "1"), check=True, **start)
    words = command(several / "in", several / "two", several / "two.csv", "--workers", "1")
    process = subprocess.Popen(words, start_new_session=True, **start)
    journal = several / "two" / "journal.jsonl"
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 4):
        assert process.poll() is None, "it was done before it could be killed"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = journal.read_bytes()
    assert not (several / "two.csv").exists()
    subprocess.run(words, check=True, **start)
    assert journal.read_bytes().startswith(before.rpartition(b"\n")[0])  # what was done was not done again
    assert (several / "two.csv").read_text() == (several / "one.csv").read_text()


@pytest.mark.slow
def test_the_same_grades_with_other_kernels_and_threads(several):
    texts = set()
    for number, (threads, kernel) in enumerate([("1", "default"), ("1", "avx2"), ("2", "default"), ("2", "avx2")]):
        mine = several / f"mine{number}"
        mine.mkdir()
        (mine / "secret").write_text("ab" * 32 + "\n")
        told = {"RA3_COURSE_PATH": str(TINY), "ATEN_CPU_CAPABILITY": kernel, "OMP_NUM_THREADS": threads}
        words = command(several / "in", mine, several / f"{number}.csv", "--threads", threads)
        subprocess.run(words, check=True, env=os.environ | told, cwd=REPO_ROOT)
        texts.add((several / f"{number}.csv").read_text())
    assert len(texts) == 1 and texts.pop().count(",2,2,") == 6


def test_an_assignment_of_ones_own_needs_no_change_of_the_project():
    with only_tiny():
        assert assignment("a0").notebook == "a0_tiny"
    with pytest.raises(ValueError, match="no assignment 'a0'"):
        assignment("a0")
