"""Hostile programs earn nothing and leave nothing; honest ones earn 1. As they are, and without user namespaces."""

import os
import secrets
import socket
import sys

import pytest
from hostile.attacks import CATEGORIES
from hostile.honest import ASSERTS, CALLS, LINES, STDIN, STDIN_ANSWER
from sandboxes import ESCAPE, close_judges, each_isolation, judge, judge_of, own_temporary_folder, processes, settle

from ra3_lab.sandbox import Asserts, Calls, Limits, Program, Stdin
from ra3_lab.sandbox import worker as worker_module

LIMITS = Limits(cpu_seconds=0.3, memory_mb=256, output_bytes=100_000, scratch_mb=8)
HONEST = Limits(memory_mb=512, scratch_mb=8)
PAIRS = Calls("f", [[[3], 6], [[5], 10]])
TEXT = Asserts("# tests_mark\nassert f(3) == 6, 'tests_mark'\nassert f(5) == 10", "f")
BOTH = ("early exit", "equality", "builtins", "reading tests", "forging", "results")
BRIEF = ("early exit", "equality", "reading tests", "forging", "parent", "files", "secrets", "network", "processes")
SENTINEL = Program("def f(x): return 2 * x", PAIRS)


@pytest.fixture(scope="module")
def bait(tmp_path_factory):
    """What the attacks are after: listeners, a folder, a secret in the trainer's environment."""
    tmp_path_factory.getbasetemp()  # pytest's own, before ours
    with own_temporary_folder() as left, socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen(8)
        tcp.setblocking(False)
        name = f"ra3-attack-{secrets.token_hex(6)}"
        unix.bind("\0" + name)
        unix.listen(8)
        unix.setblocking(False)
        os.environ["RA3_SECRET"] = "secret"
        words = {
            "ESCAPE": ESCAPE,
            "TRAINER": str(os.getpid()),
            "PORT": str(tcp.getsockname()[1]),
            "ABSTRACT": name,
            "JUDGE": repr(worker_module.__file__),
            "PREFIX": repr(sys.base_prefix),
            "PYTHON": repr(sys.executable),
            "NR_VFORK": "58" if os.uname().machine == "x86_64" else "-1",
        }
        before = left()
        yield words, (tcp, unix), lambda: left() - before
        del os.environ["RA3_SECRET"]
        close_judges()
        assert settle(lambda: not (left() - before or processes())), (left() - before, processes())


def prepared(source, words):
    here = os.getcwd()
    source = source.replace("'HERE/", f"'{here}/").replace("b'HERE/", f"b'{here}/")
    for word, text in words.items():
        source = source.replace(word, text)
    return source.replace("HERE", repr(here))


def attack(isolation, categories, bait):
    words, listeners, _ = bait
    judge([SENTINEL] * 8, LIMITS, isolation)
    running = processes()
    names, programs = [], []
    for category in categories:
        for name, source in CATEGORIES[category].items():
            for tests in (PAIRS, TEXT) if category in BOTH else (PAIRS,):
                names.append(f"{category}: {name} ({type(tests).__name__})")
                programs += [Program(prepared(source, words), tests), SENTINEL]
    verdicts = judge(programs, LIMITS, isolation)
    rewarded = [(name, v) for name, v in zip(names, verdicts[::2], strict=True) if v.passed or v.status == "no_verdict"]
    assert not rewarded
    disturbed = [(name, v) for name, v in zip(names, verdicts[1::2], strict=True) if not v.passed]
    assert not disturbed, "a program influenced the next one"
    for listener in listeners:
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert settle(lambda: len(processes()) <= len(running)), "a process lives on"
    assert all(worker.process.poll() is None for worker in judge_of(isolation)._crew)
    return {name: verdict.status for name, verdict in zip(names, verdicts[::2], strict=True)}


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


@each_isolation("namespaces", "landlock")
def test_honest_programs_earn_one(isolation, bait):
    names, programs = [], []
    for name, (source, pairs) in CALLS.items():
        names.append(f"calls: {name}")
        programs.append(Program(source, Calls("f", pairs)))
    for name, (source, code) in ASSERTS.items():
        names.append(f"asserts: {name}")
        programs.append(Program(source, Asserts(code, "f")))
    for name, source in STDIN.items():
        names.append(f"stdin: {name}")
        programs.append(Program(source, Stdin([(LINES, STDIN_ANSWER)])))
    verdicts = judge(programs, HONEST, isolation)
    assert [(name, verdict) for name, verdict in zip(names, verdicts, strict=True) if not verdict.passed] == []


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
