"""The sandbox: honest programs pass, all else fails with its status, nothing is left behind."""

import glob
import os
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from ra3_lab.sandbox import Calls, Limits, Program, judge, judge_batch
from ra3_lab.sandbox.worker import NotPlain, decode, encode

QUICK = Limits(cpu_seconds=0.5, memory_mb=256, output_bytes=100_000)
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and resource limits")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def one(source, pairs=(([3], 6),), entry_point="f", limits=QUICK):
    return judge_batch([Program(source, Calls(entry_point, pairs))], limits, workers=1)[0]


def processes():
    """Ids of the processes that were not running before: sleepers and workers, by command line."""
    found = set()
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                text = file.read()
        except OSError:
            continue
        if b"sandbox/worker.py" in text or b"86399" in text:
            found.add(path)
    return found


@pytest.fixture(autouse=True)
def nothing_left_behind():
    def folders():
        return set(glob.glob(os.path.join(tempfile.gettempdir(), "ra3_sandbox_*")))

    before = folders(), processes()
    yield
    for _ in range(500):  # a killed process takes a moment to vanish from /proc, more on a busy machine
        if not (folders() - before[0] or processes() - before[1]):
            return
        time.sleep(0.02)
    assert (folders() - before[0], processes() - before[1]) == (set(), set())


@pytest.mark.parametrize(
    ("source", "pairs"),
    [
        ("def f(x): return 2 * x", [[[3], 6], [["ab"], "abab"], [[[1]], [1, 1]]]),
        ("def f(x): return (x, {x})", [[[3], (3, {3})]]),
        ("from collections import Counter\ndef f(s): return Counter(s)", [[["aab"], {"b": 1, "a": 2}]]),
        ("def f(n): return 7 ** n", [[[9000], 7**9000]]),
        ("def f(): return float('nan'), -0.0, None", [[[], (float("nan"), 0.0, None)]]),
        ("def f(s):\n    print('passed' * 500_000)\n    return s", [[["é\ud800"], "é\ud800"]]),
        ("def f(x):\n    x.append(1)\n    return x", [[[[]], [1]], [[[]], [1]]]),
        ("def f():\n    open('note.txt', 'w').write('hi')\n    return open('note.txt').read()", [[[], "hi"]]),
        (
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef f(): return P(2).x",
            [[[], 2]],
        ),
    ],
)
def test_honest_programs_pass(source, pairs):
    verdict = one(source, pairs)
    assert verdict.passed and verdict.status == "passed", verdict


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("def f(x): return 5", "wrong_answer"),
        ("def f(x): return 6.0", "wrong_answer"),
        ("def f(x): return [6]", "wrong_answer"),
        ("def f(x): return None", "wrong_answer"),
        ("class Same:\n    def __eq__(self, other): return True\ndef f(x): return Same()", "wrong_answer"),
        (
            "class Six(int):\n    def __eq__(self, other): return True\ndef f(x): return Six(1)",
            "wrong_answer",
        ),
        ("import json\njson.dumps = lambda *a, **k: '6 passed'\ndef f(x): return 1", "wrong_answer"),
        ("def f(x): raise ValueError('no\\nno')", "runtime_error"),
        ("def f(x):\n    print('passed', flush=True)\n    raise SystemExit(0)", "runtime_error"),
        ("import os\ndef f(x): os._exit(0)", "runtime_error"),
        ("import os\nos.closerange(0, 64)\ndef f(x): return 6", "runtime_error"),
        ("def g(x): return 6", "runtime_error"),
        ("f = 6", "runtime_error"),
        ("def f(x: return 6", "runtime_error"),
        ("def f(x): return f(x)", "runtime_error"),
        ("def f(x):\n    a = []\n    a.append(a)\n    return a", "runtime_error"),
        ("class E(Exception):\n    def __str__(self): return 1 / 0\ndef f(x): raise E", "runtime_error"),
        ("def f(x):\n    while True: pass", "time_limit"),
        ("def f(x):\n    try:\n        while True: pass\n    except BaseException: return 6", "time_limit"),
        ("def f(x): return len(str(10 ** 10 ** 8))", "time_limit"),
        ("import time\ndef f(x): time.sleep(99)", "time_limit"),
        ("def f(x): return len(bytearray(10 ** 10))", "memory_limit"),
        ("def f(x):\n    a = [0]\n    while True: a = a + a", "memory_limit"),
        ("def f(x): return 'a' * 10_000_000", "output_limit"),
        ("import os\ndef f(x):\n    while os.fork() >= 0: pass", "forbidden"),
        ("import os\ndef f(x): return os.system('true')", "forbidden"),
        ("def f(x): open('/tmp/ra3_sandbox_escape', 'w')", "forbidden"),
        ("import os\ndef f(x): os.remove('/etc/hostname')", "forbidden"),
        ("import shutil\ndef f(x): shutil.rmtree('/tmp/ra3_no_such_folder')", "forbidden"),
        ("import os\ndef f(x): os.kill(os.getppid(), 9)", "forbidden"),
        ("import socket\ndef f(x): socket.create_connection(('127.0.0.1', 9))", "forbidden"),
        ("def f(x):\n    import ctypes\n    ctypes.CDLL(None)", "forbidden"),
    ],
)
@posix
def test_dishonest_or_broken_programs_fail_with_their_status(source, status):
    # Touching 512 MB of fresh memory can itself take half a second of CPU on a busy virtual machine.
    verdict = one(source, limits=Limits(cpu_seconds=10.0) if status == "memory_limit" else QUICK)
    assert not verdict.passed and verdict.status == status, verdict


@posix
def test_true_is_not_one_and_a_list_is_not_a_tuple():
    pairs = [True, 1, 1.0, "1", [1], (1,), {1}, {"a": 1}, {1: 1}]
    for returned in pairs:
        programs = [Program(f"def f(): return {returned!r}", Calls("f", [[[], expected]])) for expected in pairs]
        passed = [verdict.passed for verdict in judge_batch(programs, QUICK)]
        assert passed == [type(e) is type(returned) and repr(e) == repr(returned) for e in pairs]


def test_a_candidate_never_sees_the_expected_output():
    source = """
import gc, os
def f(x):
    found = [o for o in gc.get_objects() if isinstance(o, dict) and ("pairs" in o or "expected" in o)]
    return [sorted(os.environ), len(found), os.listdir(".")]
"""
    assert one(source, [[[1], [[], 0, []]]]).passed


# `sys.audit` patched away: the guard against accidents does not see the child that is started here.
SPAWN = """
import subprocess, sys
sys.audit = lambda *args: None
def f(x):
    sleeper = [sys.executable, "-S", "-c", "import time; time.sleep(86399)"]
    subprocess.Popen(sleeper, start_new_session={})
    return 6
"""


@linux
@pytest.mark.parametrize("new_session", [False, True])
def test_a_lingering_child_is_killed_even_in_a_session_of_its_own(new_session):
    before = processes()
    verdicts = judge_batch([Program(SPAWN.format(new_session), Calls("f", [[[3], 6]]))] * 2, QUICK, workers=1)
    assert [verdict.status for verdict in verdicts] == ["passed", "passed"], verdicts
    time.sleep(0.05)
    assert processes() == before


@linux
def test_a_dead_worker_is_no_verdict_and_does_not_disturb_the_others():
    shell = '["/bin/sh", "-c", f"kill -9 {os.getppid()}"]'
    hostile = f"import os, subprocess, sys\nsys.audit = lambda *a: None\ndef f(x): subprocess.run({shell})"
    honest = Program("def f(x): return 6", Calls("f", [[[3], 6]]))
    verdicts = judge_batch([honest, Program(hostile, Calls("f", [[[3], 6]])), honest], QUICK, workers=1)
    assert [verdict.status for verdict in verdicts] == ["passed", "no_verdict", "passed"], verdicts


ENDLESS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with SIGINT ignored
from ra3_lab.sandbox import Calls, Limits, Program, judge_batch
print("judging", flush=True)
judge_batch([Program("while True: pass", Calls("f", [[[3], 6]]))] * 200, Limits(cpu_seconds=0.5), workers=2)
"""


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_trainer_that_is_stopped_leaves_nothing_behind(number):
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", ENDLESS], env=path, stdout=pipe, stderr=pipe) as trainer:
        assert trainer.stdout is not None and trainer.stdout.readline() == b"judging\n"
        time.sleep(0.4)
        trainer.send_signal(number)
        trainer.wait(timeout=20)  # all 200 programs would take 50 s; an orphaned worker ends with its program's limit


@posix
def test_a_worker_that_cannot_start_is_no_verdict(monkeypatch):
    monkeypatch.setattr(judge, "WORKER", "/no/such/worker.py")
    assert one("def f(x): return 6").status == "no_verdict"


def test_order_is_kept_and_half_right_is_wrong():
    programs = [Program(f"def f(x): return x + {k % 3}", Calls("f", [[[0], 0], [[1], 1]])) for k in range(40)]
    programs += [Program("def f(x): return abs(x)", Calls("f", [[[1], 1], [[-1], -1]]))]
    verdicts = judge_batch(programs, QUICK, workers=3)
    assert [verdict.passed for verdict in verdicts] == [k % 3 == 0 for k in range(40)] + [False]
    assert "pair 1" in verdicts[-1].detail
    assert judge_batch([]) == []


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="zero tests"):
        Program("def f(): return 1", Calls("f", []))
    with pytest.raises(ValueError, match=r"not \[arguments, expected\]"):
        Program("def f(x): return 1", Calls("f", [[1, 1]]))
    with pytest.raises(ValueError, match="not plain data"):
        one("def f(x): return 1", [[[object()], 1]])
    with pytest.raises(ValueError, match="workers"):
        judge_batch([Program("def f(): return 1", Calls("f", [[[], 1]]))], workers=0)
    with pytest.raises(ValueError, match="cpu_seconds"):
        Limits(cpu_seconds=0)


@posix
def test_verdicts_do_not_depend_on_hash_seeds_or_luck():
    source = "import random\ndef f(): return [list({'a', 'b', 'c', 'd', 'e'}), random.random()]"
    details = {one(source, [[[], 0]]).detail for _ in range(3)}
    assert len(details) == 1


def test_one_fresh_interpreter_a_program_gives_the_same_verdicts():
    """The path of platforms without fork, run here as well."""
    worker = judge._Worker(once=True)
    wanted = {
        "def f(x): return 6": "passed",
        "def f(x): return 5": "wrong_answer",
        "def f(x): 1 / 0": "runtime_error",
        "import os\ndef f(x): os._exit(0)": "runtime_error",
        "import os\ndef f(x): os.system('true')": "forbidden",
        "def f(x): return 'a' * 10_000_000": "output_limit",
        "def f(x):\n    while True: pass": "time_limit",
    }
    limits = Limits(cpu_seconds=0.3, output_bytes=1000)
    found = {source: judge._judge(worker, Program(source, Calls("f", [[[3], 6]])), limits).status for source in wanted}
    worker.close()
    assert found == wanted


def test_codec_round_trip_and_refusals():
    for value in (None, True, -(2**80), 1.5, "é", [1, (2, [])], {"a": {1, 2}}, {(1, 2): "x"}):
        again = decode(encode(value))
        assert again == value and type(again) is type(value)
    for value in (object(), 1j, b"x", frozenset(), range(3), type("L", (list,), {})()):
        with pytest.raises(NotPlain):
            encode(value)


def test_throughput_is_printed(capsys):
    programs = [Program("def f(xs): return sum(xs)", Calls("f", [[[[1, 2, 3]], 6], [[[]], 0]]))] * 200
    start = time.perf_counter()
    assert all(verdict.passed for verdict in judge_batch(programs, workers=2))
    with capsys.disabled():
        print(f" [{200 / (time.perf_counter() - start):.0f} programs/s, 2 workers] ", end="")
