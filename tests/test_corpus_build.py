"""The corpus builder: what it keeps, what it leaves out and says so, and the same bytes however it was run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ra3_lab.cli import main
from ra3_lab.corpus import load_corpus
from ra3_lab.corpus.build import BuildConfig, build_corpus, partial_folder

ADD = '''def add_all(numbers, start=0):
    """Add up the numbers, beginning at start."""
    total = start
    for number in numbers:
        if number is not None:
            total = total + number
    return total
'''
PROBLEM = """def remove_Occ(s,ch):
    for i in range(len(s)):
        if (s[i] == ch):
            s = s[0 : i] + s[i + 1:]
            break
    for i in range(len(s) - 1,-1,-1):
        if (s[i] == ch):
            s = s[0 : i] + s[i + 1:]
            break
    return s
"""


def body(number: int, lines: int = 6) -> str:
    """A function like no other."""
    rows = "".join(f"    value_{number}_{i} = compute_{i * number}(first, {number + i})\n" for i in range(lines))
    return f'def task_{number}(first):\n    """Compute thing number {number}."""\n{rows}    return value_{number}_0\n'


@pytest.fixture
def folder(tmp_path) -> Path:
    """Some Python in which every rule has something to do."""
    top = tmp_path / "code"
    files = {
        "a.py": "# SPDX-License-Identifier: ISC\n" + ADD,
        "b/copy.py": ADD.replace("    total = start", "    # begin\n\n    total  =  start").replace('"""', "'''"),
        "b/near.py": body(3, 30) + "\n\n" + body(3, 30).replace("compute_12(", "compute_13("),
        "b/LICENSE": "MIT License\n\nPermission is hereby granted, free of charge, to any person",
        "c/many.py": "".join(body(n) + "\n\n" for n in range(10, 40)),
        "c/problem.py": PROBLEM.replace("(s,ch):\n", '(s, ch):\n    """Take the first and last out."""\n    # why\n'),
        "c/method.py": 'class A:\n    @property\n    def x(self):\n        """The text\n        of it."""\n'
        '        y = 1\n        text = f("""\n  deep\n""", y)\n# left\n        return text\n',
        "d/bad.py": "x = (\n",
        "d/coding.py": "# coding: nonsense\nx = 1\n",
        "d/small.py": 'def f():\n    """Too short for us."""\n    return 1\n\n\ndef g():\n    """Only a stub here."""\n'
        "    ...\n\n\ndef h():\n    return 2\n",
        "tests/test_x.py": body(99),
        ".hidden/x.py": body(98),
    }  # fmt: skip
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return top


@pytest.fixture
def against(tmp_path) -> Path:
    path = tmp_path / "problems.jsonl"
    row = {"task_id": 11, "text": "Write a function to remove first and last.", "code": PROBLEM.replace("\n", "\r\n")}
    path.write_text(json.dumps(row) + "\n")
    return path


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_kept_and_what_is_not(folder, against, tmp_path):
    out = tmp_path / "out.jsonl"
    built = build_corpus([folder], out, BuildConfig(exclude=("tests/*",)), [against], workers=1)
    rows = rows_of(out)
    assert [row["task_id"] for row in rows] == list(range(33))
    assert rows[0] == {
        "task_id": 0,
        "prompt": "Add up the numbers, beginning at start.",
        "code": ADD.replace('    """Add up the numbers, beginning at start."""\n', ""),
        "name": "add_all",
        "source": "code/a.py:2",
        "licence": "ISC",
        "licence_from": "SPDX line",
    }
    method = next(row for row in rows if row["name"] == "A.x")
    assert method["prompt"] == "The text\nof it."
    assert method["code"] == (
        '@property\ndef x(self):\n    y = 1\n    text = f("""\n  deep\n""", y)\n# left\n    return text\n'
    )
    assert rows[1]["licence"] == "MIT" and rows[1]["licence_from"] == "b/LICENSE"
    assert built.record["programs"] == {
        "kept": 33,
        "left_out": {
            "duplicate": 1,
            "fewer than 3 lines": 1,
            "holds a benchmark problem": 1,
            "near-duplicate": 1,
            "no body of its own": 1,
            "no docstring": 1,
        },
    }
    assert built.record["files"] == {"read": 7, "refused": {"does not parse": 1, "encoding unknown or wrong": 1}}
    assert built.record["licences"] == {"none found": 31, "ISC": 1, "MIT": 1}
    report = json.loads(built.report.read_text())
    assert (
        report["overlaps"]
        == [
            {
                "source": "code/c/problem.py:1",
                "benchmark": "problems.jsonl",
                "item": "11",
                "side": "code",
                "share": 0.985,
            }
        ]
        or report["overlaps"][0]["share"] > 0.8
    )
    assert [(r["file"], r["line"], r["reason"]) for r in report["refused"]] == [
        ("code/d/bad.py", 1, "does not parse"),
        ("code/d/coding.py", 0, "encoding unknown or wrong"),
    ]
    text = built.report.with_suffix(".txt").read_text()
    assert "problems.jsonl 11 (code): code/c/problem.py:1" in text and "code/d/bad.py:1: does not parse" in text
    assert not partial_folder(out).exists()


def test_a_problem_quoted_in_docstring_or_string_is_not_kept(against, tmp_path):
    (folder := tmp_path / "code").mkdir()
    body = "    y = x\n    z = y\n    return z\n"
    (folder / "a.py").write_text(f'def a(x):\n    """Other words.\n\n{PROBLEM}    """\n{body}')
    (folder / "b.py").write_text(f'def b(x):\n    "Holds the text of it."\n    code = """{PROBLEM}"""\n{body}')
    (folder / "c.py").write_text(f'def c(x):\n    "Holds nothing of it."\n{body}')
    built = build_corpus([folder], tmp_path / "out.jsonl", BuildConfig(), [against], workers=1)
    assert [row["name"] for row in rows_of(built.out)] == ["c"]
    found = json.loads(built.report.read_text())["overlaps"]
    assert [(row["source"], row["side"]) for row in found] == [("code/a.py:1", "quoted"), ("code/b.py:1", "quoted")]


def test_rows_are_what_load_corpus_reads(folder, tmp_path):
    build_corpus([folder], tmp_path / "out.jsonl", workers=1)
    corpus = load_corpus(tmp_path / "out.jsonl", ids=(0, 4))
    assert len(corpus.traces) == 5 and not corpus.refused
    assert corpus.traces[0].prompt == '"""Add up the numbers, beginning at start."""\n'
    assert corpus.traces[0].lines[0] == "def add_all(numbers, start=0):\n"


def test_workers_and_limits_do_not_change_what_comes_out(folder, against, tmp_path):
    outs = []
    for number, workers in enumerate((1, 2)):
        out = tmp_path / f"out{number}.jsonl"
        built = build_corpus([folder], out, against=[against], workers=workers)
        outs.append((out.read_bytes(), built.report.read_bytes()))
    assert outs[0] == outs[1]
    few = build_corpus([folder], tmp_path / "few.jsonl", BuildConfig(programs=7), workers=1)
    assert (tmp_path / "few.jsonl").read_bytes() == b"".join(outs[0][0].splitlines(keepends=True)[:7])
    assert few.record["programs"]["kept"] == 7


def test_a_folder_given_as_a_dot_finds_the_projects_licence(folder, tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "COPYING").write_text("Apache License, Version 2.0")
    monkeypatch.chdir(folder)
    built = build_corpus([Path(".")], tmp_path / "out.jsonl", workers=1)
    assert built.record["folders"] == ["code"]
    assert built.record["licences"] == {"Apache-2.0": 33, "ISC": 1, "MIT": 1}


def test_two_builds_of_one_file_do_not_mix(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("ra3_lab.corpus.store._LOCK_SECONDS", 0.1)
    out, errors = tmp_path / "out.jsonl", []

    def second(files: int, of: int, programs: int) -> None:
        if files == 3:
            with pytest.raises(ValueError, match="in use by another build"):
                build_corpus([folder], out, workers=1)
            errors.append(files)

    build_corpus([folder], out, workers=1, progress=second)
    assert errors and len(rows_of(out)) == 35


def test_licences_can_be_chosen(folder, tmp_path):
    built = build_corpus([folder], tmp_path / "out.jsonl", BuildConfig(licences=("MIT",)), workers=1)
    assert built.record["licences"] == {"MIT": 2}  # the copy in b/ is the first one now
    assert built.record["programs"]["left_out"]["licence none found"] > 20


class Stop(BaseException):
    pass


@pytest.mark.parametrize("at", [0, 1, 5, 10])
def test_a_build_interrupted_anywhere_goes_on_to_the_same_bytes(folder, against, tmp_path, monkeypatch, at):
    whole = build_corpus([folder], tmp_path / "whole.jsonl", against=[against], workers=1)
    monkeypatch.setattr("ra3_lab.corpus.build._COMMIT_SECONDS", -1)
    out = tmp_path / "whole2.jsonl"

    def stop(files: int, of: int, programs: int) -> None:
        if files == at:
            raise Stop

    with pytest.raises(Stop):
        build_corpus([folder], out, against=[against], workers=1, progress=stop)
    assert not out.exists() and partial_folder(out).is_dir()
    seen = []
    again = build_corpus([folder], out, against=[against], workers=1, progress=lambda *what: seen.append(what))
    assert seen[0][0] == max(at - 1, 0)
    assert out.read_bytes() == whole.out.read_bytes()
    assert again.report.read_text() == whole.report.read_text()
    assert again.report.with_suffix(".txt").read_text() == whole.report.with_suffix(".txt").read_text()


def test_an_end_cut_short_is_finished(folder, tmp_path, monkeypatch):
    whole = build_corpus([folder], tmp_path / "whole.jsonl", workers=1)
    real, out = os.replace, tmp_path / "out.jsonl"
    for number in range(5):
        calls = iter(range(10))

        def replace(*names, calls=calls, number=number):
            if next(calls) == number:
                raise Stop
            real(*names)

        with monkeypatch.context() as patch:
            patch.setattr("ra3_lab.corpus.report.os.replace", replace)
            if number >= 3:
                patch.setattr(Path, "unlink" if number == 3 else "rmdir", lambda self: (_ for _ in ()).throw(Stop))
            with pytest.raises(Stop):
                build_corpus([folder], out, workers=1)
        if number == 4:  # all is there, only an empty folder is left
            break
        assert build_corpus([folder], out, workers=1).out.read_bytes() == whole.out.read_bytes()
        for path in tmp_path.glob("out.jsonl*"):
            path.unlink()
    with pytest.raises(FileExistsError):
        build_corpus([folder], out, workers=1)
    assert out.read_bytes() == whole.out.read_bytes()


def test_a_build_of_other_settings_or_files_is_not_mixed_in(folder, tmp_path):
    def stop(files: int, of: int, programs: int) -> None:
        raise Stop

    out = tmp_path / "out.jsonl"
    with pytest.raises(Stop):
        build_corpus([folder], out, workers=1, progress=stop)
    with pytest.raises(ValueError, match="begun with other config"):
        build_corpus([folder], out, BuildConfig(longest=10), workers=1)
    (folder / "new.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="other files"):
        build_corpus([folder], out, workers=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{folder}/nowhere", "--out", "{tmp}/o.jsonl"], "no folder"),
        (["{folder}", "--out", "{tmp}/no/o.jsonl"], "does not exist"),
        (["{folder}", "--out", "{folder}/a.py"], "exists"),
        (["{folder}", "--out", "{tmp}/o.jsonl", "--against", "{tmp}/none.jsonl"], "none.jsonl does not exist"),
        (["{folder}", "--out", "{tmp}/o.jsonl", "--against", "{folder}/a.py"], "a.py:1 is not JSON"),
        (["{folder}", "--out", "{tmp}/o.jsonl", "--similar", "2"], "similar=2.0"),
        (["{folder}", "--out", "{tmp}/o.jsonl", "--workers", "0"], "workers=0"),
        (["{folder}/.hidden", "--out", "{tmp}/o.jsonl", "--exclude", "*"], "no .py file"),
    ],
)
def test_bad_input_ends_in_one_line(arguments, message, folder, tmp_path, capsys):
    filled = [word.format(folder=folder, tmp=tmp_path) for word in arguments]
    assert main(["corpus", *filled]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_a_worker_that_dies_loses_nothing(folder, against, tmp_path, monkeypatch):
    """Whoever is killed is asked again, file by file if need be."""
    from multiprocessing import active_children

    monkeypatch.setattr("ra3_lab.corpus.build._FILES_AT_ONCE", 2)
    whole = build_corpus([folder], tmp_path / "whole.jsonl", against=[against], workers=1)
    killed = []

    def kill(files: int, of: int, programs: int) -> None:
        if files == 1 and not killed:
            killed.extend(child.pid for child in active_children())
            for child in active_children():
                child.kill()

    out = build_corpus([folder], tmp_path / "out.jsonl", against=[against], workers=2, progress=kill)
    assert len(killed) == 2
    assert out.out.read_bytes() == whole.out.read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell's here document")
def test_readers_that_cannot_start_are_no_fault_of_the_files(folder, tmp_path):
    """A script that comes over stdin cannot be imported again, which is how the processes start."""
    script = (
        "from pathlib import Path\nfrom ra3_lab.corpus.build import build_corpus\n"
        f"build_corpus([Path({str(folder)!r})], Path({str(tmp_path / 'out.jsonl')!r}), workers=2)\n"
    )
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and not (tmp_path / "out.jsonl").exists()
    assert "OSError: the processes that read files cannot be started" in done.stderr


BUILD = """
import os, signal, sys, time
from pathlib import Path
from ra3_lab.corpus import build

folder, out, workers, seconds, stop = sys.argv[1:]
build._COMMIT_SECONDS = 0.05
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job has switched off

def progress(files, of, programs):
    if files == int(stop):
        os.kill(os.getpid(), signal.SIGINT)

begin = time.process_time()
if float(seconds):
    signal.setitimer(signal.ITIMER_PROF, float(seconds))  # its signal ends the process, like SIGKILL
build.build_corpus([Path(folder)], Path(out), workers=int(workers), progress=progress)
print(time.process_time() - begin)
"""


def run_until(folder: Path, out: Path, workers: int = 1, seconds: float = 0.0, stop: int = -1) -> int:
    """Exit status of a build in a process of its own, killed after so much CPU time or interrupted at a file."""
    words = [str(folder), str(out), str(workers), str(seconds), str(stop)]
    command = [sys.executable, "-c", BUILD, *words]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    child.communicate()
    for _ in range(600):  # nobody of the child's session is left behind
        try:
            os.killpg(child.pid, 0)
        except ProcessLookupError:
            return child.returncode
        time.sleep(0.05)
    raise AssertionError("a worker outlives the build")


@pytest.fixture(scope="module")
def larger(tmp_path_factory) -> tuple[Path, bytes]:
    """A folder that takes about a second, and what comes of it."""
    folder = tmp_path_factory.mktemp("larger") / "code"
    folder.mkdir()
    for i in range(60):
        (folder / f"f{i:03}.py").write_text("".join(body(i * 50 + n) + "\n\n" for n in range(20)))
    return folder, build_corpus([folder], folder.parent / "whole.jsonl", workers=1).out.read_bytes()


def cpu_seconds(folder: Path, out: Path, workers: int) -> float:
    """What an undisturbed build takes in its main process, which the timer of the kills counts."""
    words = [str(folder), str(out), str(workers), "0", "-1"]
    timed = subprocess.run([sys.executable, "-c", BUILD, *words], check=True, capture_output=True, text=True)
    return float(timed.stdout)


def check_kills(larger: tuple[Path, bytes], out: Path, kills: list[float], workers: int) -> int:
    """Kill a build at these CPU times, one after the other, then let it end; how many hit it at work."""
    folder, whole = larger
    hits = 0
    for seconds in kills:
        if run_until(folder, out, workers, seconds) == 0:
            break
        hits += partial_folder(out).is_dir()
    if not out.exists() or partial_folder(out).exists():
        assert run_until(folder, out, workers) == 0
    assert out.read_bytes() == whole
    return hits


@pytest.mark.skipif(os.name == "nt", reason="kills by POSIX timers")
def test_killed_for_real_and_run_again(larger, tmp_path):
    work = cpu_seconds(larger[0], tmp_path / "timed.jsonl", workers=1)
    assert check_kills(larger, tmp_path / "out.jsonl", [0.3 * work, 0.5 * work, 0.7 * work], workers=1)


@pytest.mark.skipif(os.name == "nt", reason="kills by POSIX timers")
def test_ctrl_c_ends_the_workers_too(larger, tmp_path):
    folder, whole = larger
    out = tmp_path / "out.jsonl"
    assert run_until(folder, out, workers=2, stop=30) == -signal.SIGINT
    assert not out.exists()
    assert run_until(folder, out, workers=2) == 0
    assert out.read_bytes() == whole


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kills by POSIX timers")
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_random_moments(larger, tmp_path, workers):
    work = cpu_seconds(larger[0], tmp_path / "timed.jsonl", workers)
    rng, hits = random.Random(workers), 0
    for number in range(40):
        kills = [rng.uniform(0.1, 0.8) * work for _ in range(4)]
        hits += check_kills(larger, tmp_path / f"out{number}.jsonl", kills, workers)
        if hits >= 20:
            break
    assert hits >= 20


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
def test_a_full_disk_is_said_and_the_build_goes_on_when_there_is_room(larger, tmp_path):
    (folder, whole), limit = larger, 60_000
    out = tmp_path / "out.jsonl"
    command = f"""
import resource, sys, ra3_lab.cli, ra3_lab.corpus.build as build
build._COMMIT_SECONDS = 0.05
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))  # what is longer cannot be written
sys.exit(ra3_lab.cli.main(["corpus", {str(folder)!r}, "--out", {str(out)!r}, "--workers", "1", "--against"]))
"""
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "disk is full" in done.stderr or "too large" in done.stderr
    assert not out.exists()
    assert build_corpus([folder], out, workers=1).out.read_bytes() == whole


def test_ctrl_c_says_how_to_go_on(folder, tmp_path, monkeypatch, capsys):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("ra3_lab.corpus.build.Store.commit", stop)
    assert main(["corpus", str(folder), "--out", str(tmp_path / "o.jsonl"), "--workers", "1"]) == 130
    error = capsys.readouterr().err
    assert "o.jsonl.partial" in error and "same command again" in error and "Traceback" not in error
