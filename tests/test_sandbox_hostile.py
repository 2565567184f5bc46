"""Hostile programs earn nothing and leave nothing; honest ones earn 1. As they are, and without user namespaces."""

import json
import os
import subprocess

import pytest
from hostile.attacks import CATEGORIES
from hostile.honest import ASSERTS, CALLS, STDIN
from hostile.run import ESCAPE, HONEST, LIMITS, SENTINEL, fail_honestly, prepared
from hostile.run import attack as run_attacks
from hostile.run import bait as baited
from sandboxes import (
    close_judges,
    each_isolation,
    judge,
    judge_of,
    own_temporary_folder,
    processes,
    python_for_anyone,
    settle,
)

from ra3_lab.sandbox import Asserts, Program, Stdin

BRIEF = ("early exit", "equality", "reading tests", "forging", "parent", "files", "secrets", "network", "processes")


@pytest.fixture(scope="module")
def bait(tmp_path_factory):
    """What the attacks are after: listeners, a folder, a secret in the trainer's environment."""
    tmp_path_factory.getbasetemp()  # pytest's own, before ours
    with own_temporary_folder() as left, baited() as (words, listeners):
        before = left()
        yield words, listeners, lambda: left() - before
        close_judges()
        assert settle(lambda: not (left() - before or processes())), (left() - before, processes())


def attack(isolation, categories, bait):
    words, listeners, _ = bait
    judge([SENTINEL] * 8, LIMITS, isolation)
    running = processes()
    found = run_attacks(judge_of(isolation), categories, words, listeners)
    assert not found["rewarded"]
    assert not found["disturbed"], "a program influenced the next one"
    assert not found["reached"]
    assert settle(lambda: len(processes()) <= len(running)), "a process lives on"
    assert all(worker.process.poll() is None for worker in judge_of(isolation)._crew)


@each_isolation("namespaces")
@pytest.mark.parametrize("category", CATEGORIES)
def test_hostile_programs_earn_nothing(isolation, category, bait):
    attack(isolation, [category], bait)


@each_isolation("landlock")
def test_hostile_programs_earn_nothing_without_namespaces(isolation, bait):
    attack(isolation, BRIEF, bait)


@pytest.mark.slow
@each_isolation("bubblewrap", "landlock")
def test_all_hostile_programs_earn_nothing_in_every_isolation(isolation, bait):
    attack(isolation, CATEGORIES, bait)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="runs as an ordinary user already")
@each_isolation("namespaces", "landlock")
def test_as_an_ordinary_user_hostile_programs_earn_nothing_and_honest_ones_pass(isolation, bait):
    python = python_for_anyone()
    if python is None:
        pytest.skip("no Python interpreter that user 65534 may run")
    here = os.path.dirname(os.path.abspath(__file__))
    folder = os.environ["TMPDIR"]
    os.chmod(folder, 0o1777)
    done = subprocess.run(
        [python, "-B", "-m", "hostile.run", isolation],
        user=65534,
        group=65534,
        extra_groups=[],
        capture_output=True,
        text=True,
        env={"TMPDIR": folder, "PYTHONPATH": os.pathsep.join((here, os.path.dirname(here)))},
        cwd="/",
        timeout=500,
    )
    if "programs cannot be isolated here" in done.stderr:
        pytest.skip(f"as an ordinary user: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["uid"] == 65534 and found["programs"] > sum(map(len, CATEGORIES.values()))
    assert [found[name] for name in ("rewarded", "disturbed", "reached", "failed", "left")] == [[]] * 5, found


@each_isolation("namespaces", "landlock")
def test_honest_programs_earn_one(isolation, bait):
    judge([SENTINEL], HONEST, isolation)
    assert fail_honestly(judge_of(isolation)) == []


def test_the_suite_is_as_large_as_promised():
    assert sum(map(len, CATEGORIES.values())) >= 60 and min(map(len, CATEGORIES.values())) >= 7
    assert len(CALLS) + len(ASSERTS) + len(STDIN) >= 30


@each_isolation("namespaces", "landlock")
def test_stdin_programs_cannot_cheat(isolation, bait):
    cases = Stdin([("3\n", "6\n"), ("5\n", "10\n")])
    hostile = {
        "a prefix of the answer": ("print(6)", Stdin([("3\n", "6\n7\n")])),
        "more than the answer": ("print(6)\nprint(7)", Stdin([("3\n", "6\n")])),
        "the answer to another case": ("print(6)", cases),
        "nothing": ("pass", cases),
        "a word on the channel": ("import os\nos.write(3, b'passed\\nready\\n')", cases),
        "output of a dead program": ("import os\nprint(6, flush=True)\nos.kill(os.getpid(), 9)", Stdin([("3", "6")])),
        "exit status 0 without output": ("import os\nos._exit(0)", cases),
        "stdin written to": ("import os\nos.write(0, b'x')\nprint(6)", Stdin([("3", "6")])),
        "a flood on stderr": ("import sys\nwhile True: sys.stderr.write('x' * 65536)", cases),
        "a flood, slowly": ("import time\nwhile True:\n    print('x' * 9999, flush=True)", cases),
        "stdout closed, and on": ("import os\nos.close(1)\nos.close(3)\nwhile True: pass", cases),
    }
    verdicts = judge([Program(source, tests) for source, tests in hostile.values()], LIMITS, isolation)
    assert [(n, v) for n, v in zip(hostile, verdicts, strict=True) if v.passed or v.status == "no_verdict"] == []


@each_isolation("namespaces", "landlock")
def test_test_text_is_confined_too(isolation, bait):
    words, _, left = bait
    texts = [
        "open('/etc/passwd').read()\nf(3)",
        "import os\nos.fork()\nf(3)",
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nf(3)",
        f"f(3)\nopen({os.getcwd()!r} + '/ESCAPE', 'w')",
        "f(3)\nimport socket\nsocket.create_connection(('127.0.0.1', PORT), 1)",
        "f(3)\na = []\nwhile True: a.append(bytearray(1 << 24))",
    ]
    programs = [Program(SENTINEL.source, Asserts(prepared(text, words), "f")) for text in texts]
    verdicts = judge([*programs, SENTINEL], LIMITS, isolation)
    assert [verdict.passed for verdict in verdicts] == [False] * len(texts) + [True], verdicts
    assert not {path for path in left() if ESCAPE in path}
