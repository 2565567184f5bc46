"""The judge: every kind of test gives every status, verdicts come in order, crashes lose nothing."""

import fcntl
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace

import pytest
from sandboxes import (
    ISOLATIONS,
    QUICK,
    close_judges,
    each_isolation,
    hard,
    judge,
    one,
    own_temporary_folder,
    processes,
    python_for_anyone,
    settle,
)

from ra3_lab.sandbox import (
    Asserts,
    Calls,
    Invocation,
    Judge,
    Limits,
    Program,
    Stdin,
    call_batch,
    crew,
    judge_batch,
    judge_each,
    notebook,
    places,
    scratch,
    starting,
)
from ra3_lab.sandbox import judge as judge_module
from ra3_lab.sandbox.isolation import EVERY, RISK, Unavailable, choose, for_own_model
from ra3_lab.sandbox.profiles import PROGRAM
from ra3_lab.sandbox.zygote import Zygote

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
pytestmark = linux


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind(tmp_path_factory):
    tmp_path_factory.getbasetemp()  # pytest's own, before ours
    with own_temporary_folder() as left:
        before = left()
        yield
        close_judges()
        assert settle(lambda: not (left() - before or processes())), (left() - before, processes())


CALLS = Calls("f", [[[3], 6]])
STATUSES = [
    ("def f(x): return 2 * x", CALLS, "passed"),
    ("def f(x): return 5", CALLS, "wrong_answer"),
    ("def f(x): return 6.0", CALLS, "wrong_answer"),
    ("def f(x): return [6]", CALLS, "wrong_answer"),
    ("def f(x): return object()", CALLS, "wrong_answer"),
    ("def f(x): raise ValueError('no\\nno')", CALLS, "runtime_error"),
    ("def g(x): return 6", CALLS, "runtime_error"),
    ("f = 6", CALLS, "runtime_error"),
    ("def f(x: return 6", CALLS, "runtime_error"),
    ("def f(x): return f(x)", CALLS, "runtime_error"),
    ("import sys\ndef f(x): sys.exit(0)", CALLS, "runtime_error"),
    ("class E(Exception):\n    def __str__(self): return 1 / 0\ndef f(x): raise E", CALLS, "runtime_error"),
    ("def f(x):\n    while True: pass", CALLS, "time_limit"),
    ("import time\ndef f(x): time.sleep(99)", CALLS, "time_limit"),
    ("def f(x): return len(bytearray(10 ** 10))", CALLS, "memory_limit"),
    ("def f(x): return 'a' * 10_000_000", CALLS, "output_limit"),
    ("def f(x): return 2 * x", Asserts("assert f(3) == 6\nassert f('a') == 'aa'", "f"), "passed"),
    ("def f(x): return 2 * x", Asserts("def check(c):\n    assert c(3) == 7\ncheck(f)", "f"), "wrong_answer"),
    ("def f(x): return None", Asserts("assert f(3) + 1 == 7", "f"), "wrong_answer"),
    ("def f(x): return x / 0", Asserts("assert f(3) == 6", "f"), "runtime_error"),
    ("def g(x): return 6", Asserts("assert f(3) == 6", "f"), "runtime_error"),
    ("def f(x):\n    while True: pass", Asserts("assert f(3) == 6", "f"), "time_limit"),
    ("def f(x): return x", Asserts("f(3)\nimport time\ntime.sleep(99)", "f"), "time_limit"),
    ("def f(x): return 'a' * 10_000_000", Asserts("assert len(f(3)) == 6", "f"), "output_limit"),
    ("def f(x): return bytearray(10 ** 10)", Asserts("assert f(3) == 6", "f"), "memory_limit"),
    ("def f(x): return 6", Asserts("assert 1 + 1 == 2", "f"), "no_verdict"),
    ("print(int(input()) * 2)", Stdin([("3\n", "6\n"), ("4", "8")]), "passed"),
    ("print(int(input()) * 2)", Stdin([("3\n", "6\n"), ("4", "9")]), "wrong_answer"),
    ("print(6)\nraise SystemExit(2)", Stdin([("", "6")]), "runtime_error"),
    ("print(6)\n1 / 0", Stdin([("", "6")]), "runtime_error"),
    ("print(6)\nwhile True: pass", Stdin([("", "6")]), "time_limit"),
    ("while True: print('a' * 1000)", Stdin([("", "6")]), "output_limit"),
    ("print(len([0] * 10 ** 10))", Stdin([("", "6")]), "memory_limit"),
]


@pytest.mark.parametrize("isolation", ["process", "no fork", pytest.param(None, marks=hard)])
def test_every_kind_of_test_gives_its_statuses(isolation):
    limits = Limits(cpu_seconds=0.5, memory_mb=256, output_bytes=100_000, wall_seconds=4.0)
    verdicts = judge([Program(source, tests) for source, tests, _ in STATUSES], limits, isolation)
    found = [
        (source, verdict.status, verdict.detail) for (source, _, _), verdict in zip(STATUSES, verdicts, strict=True)
    ]
    wanted = [(source, status, detail) for (source, _, status), (_, _, detail) in zip(STATUSES, found, strict=True)]
    assert found == wanted
    assert all(verdict.passed == (verdict.status == "passed") for verdict in verdicts)


@hard
@pytest.mark.parametrize(
    ("source", "code"),
    [
        # a class of the program's, built and used by the tests
        (
            "class P:\n    def __init__(self, a): self.a = a\ndef f(ps): return [p.a for p in ps]",
            "p = P(1)\np.a += 4\nassert f([p, P(2)]) == [5, 2]",
        ),
        # what a function does to its argument
        ("def f(xs): xs.sort()", "a = [3, 1]\nassert f(a) is None\nassert a == [1, 3]"),
        # generators, iterators and objects that are no plain data
        ("def f(n):\n    yield from range(n)", "assert list(f(3)) == [0, 1, 2]\ng = f(2)\nassert next(g) == 0"),
        ("def f(n): return map(str, range(n))", "assert tuple(f(2)) == ('0', '1')"),
        ("def f(d): return d.keys()", "assert list(f({'b': 1, 'a': 2})) == ['b', 'a']"),
        # exceptions that the tests expect
        (
            "def f(x): raise ValueError(x)",
            "try:\n    f(3)\nexcept ValueError as e:\n    assert '3' in str(e)\nelse:\n    assert False",
        ),
        # modules are the tests' own, and the program's imports are found
        ("import math as m\ndef f(x): return x + 1e-12", "assert math.isclose(f(1), 1)\nassert m.floor(2.5) == 2"),
        # a function that is called as a builtin is
        ("def sum(a, b): return a + b", "assert sum(1, 2) == 3"),
    ],
)
def test_test_text_sees_the_program_through_stand_ins(source, code):
    entry_point = "sum" if "def sum" in source else "f"
    verdict = one(source, Asserts(code, entry_point))
    assert verdict.passed, verdict


@hard
@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("class S:\n    def __eq__(self, o): return True\ndef f(x): return S()", "assert f(3) == 6"),
        ("class S:\n    def __eq__(self, o): return True\ns = S()\ndef f(x): return s", "assert f(3) == f(4)"),
        ("def set(x): return 1\ndef f(x): return 5", "assert set([f(3)]) == set([6])"),
        ("class math:\n    isclose = lambda *a: True\ndef f(x): return 5", "assert math.isclose(f(3), 6)"),
        ("import builtins\nbuiltins.abs = lambda x: 0\ndef f(x): return 5", "assert abs(f(3) - 6) < 1e-6"),
        ("import os\ndef f(x): os._exit(0)", "try:\n    f(3)\nexcept BaseException:\n    pass"),
        ("def f(x): raise AssertionError('passed')", "assert f(3) == 6"),
        ("def f(x): raise SystemExit(0)", "f(3)"),
        ("import sys\ndef f(x):\n    sys.modules.clear()\n    return 5", "assert f(3) == 6"),
    ],
)
def test_a_program_cannot_bend_the_test_text(source, code):
    assert not one(source, Asserts(code, "f")).passed


@hard
def test_true_is_not_one_and_a_list_is_not_a_tuple():
    values = [True, 1, 1.0, "1", [1], (1,), {1}, {"a": 1}, {1: 1}]
    programs = [
        Program(f"def f(): return {returned!r}", Calls("f", [[[], expected]]))
        for returned in values
        for expected in values
    ]
    passed = [verdict.passed for verdict in judge(programs)]
    assert passed == [type(a) is type(b) and repr(a) == repr(b) for a in values for b in values]


@hard
def test_a_checker_decides_what_is_right():
    source = "def f(x): return [2.0000001, 1]"
    assert one(source, Calls("f", [[[0], [2, 1]]], "approx:1e-3")).passed
    assert one(source, Calls("f", [[[0], [1, 2.0000001]]], "unordered")).passed
    assert not one(source, Calls("f", [[[0], [2, 1]]])).passed
    assert one("print('1.00001')", Stdin([("", "1")], "tokens_approx:1e-3")).passed
    with pytest.raises(ValueError, match="checker 'nearly' is unknown"):
        one(source, Calls("f", [[[0], [2, 1]]], "nearly"))


@hard
def test_order_is_kept_and_half_right_is_wrong():
    programs = [Program(f"def f(x): return x + {k % 3}", Calls("f", [[[0], 0], [[1], 1]])) for k in range(20)]
    programs += [Program("def f(x): return abs(x)", Calls("f", [[[1], 1], [[-1], -1]]))]
    seen = []
    with Judge(workers=3) as many:
        verdicts = many.batch(programs, QUICK, progress=lambda done, total: seen.append((done, total)))
        assert many.batch([]) == []
    assert [verdict.passed for verdict in verdicts] == [k % 3 == 0 for k in range(20)] + [False]
    assert "call 1" in verdicts[-1].detail
    assert seen == [(k + 1, 21) for k in range(21)]


@hard
@pytest.mark.parametrize("programs", [2, 3])
def test_no_program_waits_behind_another_while_a_worker_is_free(programs):
    source = "import time\ndef f(s):\n    begin = time.time()\n    time.sleep(s)\n    return begin, time.time()"
    seconds = [1.0, 2.0, 1.0][:programs]
    with Judge(workers=2) as two:
        two.call([Invocation(source, "f", [[0.0]])] * 2)
        found = two.call([Invocation(source, "f", [[second]]) for second in seconds])
    (_, first_ends), (second_begins, second_ends), *rest = (returned.values[0] for returned in found)
    assert second_begins < first_ends
    assert all(begins < second_ends for begins, _ in rest), "the third is for the one that is free first"


@hard
def test_every_program_may_have_its_own_limits():
    program = Program("def f(x):\n    for _ in range(10 ** 9): pass\n    return 6", CALLS)
    patient, hasty = judge_each([(program, Limits(cpu_seconds=0.3)), (program, Limits(cpu_seconds=0.1))])
    assert patient.status == hasty.status == "time_limit" and "0.3" in patient.detail and "0.1" in hasty.detail


@hard
def test_values_come_out_as_plain_data():
    calls = [
        Invocation("def f(x): return {x: (x, {1, 2})}", "f", [[1], ["a"]]),
        Invocation("def f(x): return 1 // x", "f", [[1], [0], [2]]),
    ]
    first, second = call_batch(calls, QUICK, workers=1)
    assert (first.status, first.values) == ("passed", [{1: (1, {1, 2})}, {"a": ("a", {1, 2})}])
    assert (second.status, second.values) == ("runtime_error", [1]) and "ZeroDivisionError" in second.detail


COLLIDING = """
import base64, os, struct
def f(kind, count):
    if kind == "ints":
        items = ",".join(str(i * ((1 << 61) - 1)) for i in range(count))
    else:  # complex numbers, whose hash is that of the real part + 1000003 times that of the imaginary one
        pairs = (base64.b64encode(struct.pack("<dd", -1000003.0 * i, i)).decode() for i in range(count))
        items = ",".join(f'["array",["<c16",[],"{pair}"]]' for pair in pairs)
    data = ('["set",[' + items + ']]\\n').encode()
    while data:
        data = data[os.write(3, data):]
    os._exit(0)
"""


ARRAYS = pytest.param("arrays", replace(notebook(), warm=("numpy",)), marks=pytest.mark.slow)


@hard
@pytest.mark.parametrize(("kind", "profile"), [("ints", PROGRAM), ARRAYS])
def test_values_that_take_long_to_read_do_not_hold_the_caller(kind, profile):
    limits = Limits(cpu_seconds=10, memory_mb=1024, output_bytes=4_000_000)
    with Judge(workers=1, profile=profile) as alone:
        few, endless = ([Invocation(COLLIDING, "f", [[kind, count]])] for count in (100, 60_000))
        assert len(alone.call(few, limits)[0].values[0]) == 100
        start = time.process_time()
        (found,) = alone.call(endless, limits)
        assert time.process_time() - start < 2.0, "minutes where the caller reads them"
        assert (found.status, found.values) == ("wrong_answer", []) and "takes too long to read" in found.detail
        assert len(alone.call(few, limits)[0].values[0]) == 100


@hard
def test_a_flood_right_after_the_start_is_the_programs_fault():
    flood = Program("import os\nwhile True: os.write(3, b'x' * 65536)", CALLS)
    verdicts = judge([flood] * 10, Limits(cpu_seconds=0.5, output_bytes=1000))
    assert {verdict.status for verdict in verdicts} == {"output_limit"}, verdicts


@hard
def test_a_large_result_costs_time_in_proportion():
    limits = Limits(cpu_seconds=20, memory_mb=1024, output_bytes=100_000_000)
    with Judge(workers=1) as alone:
        alone.call([Invocation("def f(): return 1", "f", [[]])], limits)
        start = time.process_time()
        (found,) = alone.call([Invocation("def f(): return 'a' * 40_000_000", "f", [[]])], limits)
        ours = time.process_time() - start
    assert [len(value) for value in found.values] == [40_000_000], found.detail
    assert ours < 3.0, "a quarter of a second where every byte is copied a few times; 12 s where pieces are glued"


@hard
def test_a_judge_worker_that_dies_loses_no_finished_verdicts():
    programs = [Program("def f(x): return 2 * x", CALLS)] * 30
    killed = []

    with Judge(workers=2) as crew:

        def kill_one(done, total):
            if done in (5, 15):
                killed.append(crew._crew[done // 10].process.pid)  # the one, then the other
                os.kill(killed[-1], signal.SIGKILL)

        verdicts = crew.batch(programs, QUICK, kill_one)
        assert [verdict.status for verdict in verdicts] == ["passed"] * 30
    assert len(set(killed)) == 2


WRITES_ON = """
import contextlib, os
def f(x):
    n = 0
    while True:
        with contextlib.suppress(OSError):
            os.makedirs(f"d{n}/e", exist_ok=True)
            open(f"d{n}/e/file", "w").write("x" * 5000)
            os.chmod(f"d{n}", 0)
        n = (n + 1) % 50
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
@pytest.mark.parametrize("isolation", ["process", *ISOLATIONS])
def test_a_worker_that_is_killed_or_hangs_leaves_no_folder(isolation, end, monkeypatch):
    """By a real signal: first while its program writes, then while it waits for work."""
    monkeypatch.setattr(judge_module, "SLACK_SECONDS", 0.0)
    monkeypatch.setattr(crew, "STOP_SECONDS", 2.0)
    before, others = set(os.listdir(tempfile.gettempdir())), processes()
    with Judge(workers=1, isolation=isolation) as pool:
        pool.batch([Program("def f(x): return 6", CALLS)])
        waiting = len(processes())

        def strike():
            settle(lambda: len(processes()) > waiting)
            time.sleep(0.2)
            os.kill(pool._crew[0].process.pid, end)

        striker = threading.Thread(target=strike)
        striker.start()
        first = pool._crew[0]
        pool.batch([Program(WRITES_ON, CALLS)], Limits(cpu_seconds=20, scratch_mb=8, wall_seconds=1.0))
        striker.join()
        assert pool._crew[0] is not first, "the worker was replaced"
        os.kill(pool._crew[0].process.pid, end)
    assert settle(lambda: not processes() - others)
    assert not set(os.listdir(tempfile.gettempdir())) - before


ODD = """
import os, sys
sys.path.insert(0, {home!r})
os.umask(0)
if os.getuid() == 0:
    os.chown(".", 65534, 65534)
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
from ra3_lab.sandbox.scratch import TOO_MUCH, empty, remove, used_bytes
top = os.open(".", os.O_RDONLY)
os.makedirs("a/b/c"); open("a/b/c/file", "wb").write(bytes(1 << 20)); os.mkfifo("a/b/pipe")
os.symlink("../outside", "link"); os.symlink("nowhere", "a/dangling"); os.mkdir("a/ \\n\\udcff")
for name in ("a/b/c", "a/b", "a"):
    os.chmod(name, 0o300)
assert 1 << 20 < used_bytes(".") < TOO_MUCH, used_bytes(".")
for name in ("a/b/c", "a/b", "a"):
    os.chmod(name, 0)
for _ in range(500):
    os.mkdir("deep"); os.chdir("deep")
os.fchdir(top)
assert used_bytes(".") < TOO_MUCH
for _ in range(1100):
    os.mkdir("deeper"); os.chdir("deeper")
os.fchdir(top)
assert used_bytes(".") == TOO_MUCH
os.makedirs("whole/in"); os.chmod("whole", 0)
assert remove("whole") and not os.path.exists("whole")
assert empty(".") and os.listdir(".") == []
"""


def test_a_folder_is_emptied_whatever_a_program_has_made_of_it(tmp_path):
    """As user 65534 where the suite is root's: root may do everything."""
    python = python_for_anyone()
    if python is None:
        pytest.skip("no Python interpreter that user 65534 may run")
    for name in ("made", "outside"):
        (tmp_path / name).mkdir(mode=0o500 if name == "outside" else 0o700)
    script = ODD.format(home=os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run([python, "-B", "-c", script], cwd=tmp_path / "made", capture_output=True, text=True)
    scratch.remove(str(tmp_path / "made"))  # too deep for pytest, should the script have failed
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outside").stat().st_mode & 0o777 == 0o500, "what a link leads to is left alone"


@hard
def test_a_zygote_that_dies_is_replaced():
    with Judge(workers=1) as crew:
        assert crew.batch([Program("def f(x): return 6", CALLS)], QUICK)[0].passed
        worker = crew._crew[0].process.pid
        mine = [pid for pid in processes() - {worker} if _ancestor(pid, worker)]
        assert mine
        for pid in mine:
            os.kill(pid, signal.SIGKILL)
        assert crew.batch([Program("def f(x): return 6", CALLS)] * 3, QUICK)[2].passed


@pytest.mark.parametrize("late", [b"", b"kill\n", b"kill\n" * 2])
def test_a_kill_that_comes_late_does_not_spoil_the_next_run(late):
    zygote = Zygote.__new__(Zygote)
    ours, zygote.control = socket.socketpair()
    reader, writer = os.pipe()
    with ours, zygote.control, open(reader), open(writer, "w"):
        if late:
            ours.sendall(late)
        socket.send_fds(ours, [b'{"kind": "calls"}\n'], [reader, writer])
        line, descriptors = zygote.receive()
        assert json.loads(line) == {"kind": "calls"} and len(descriptors) == 2
        for descriptor in descriptors:
            os.close(descriptor)
        ours.sendall(b"kill\n")
        ours.shutdown(socket.SHUT_WR)
        assert zygote.receive() == (b"", [])


def _ancestor(pid, wanted):
    while pid > 1 and pid != wanted:
        try:
            with open(f"/proc/{pid}/stat") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return pid == wanted


ENDLESS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with SIGINT ignored
from ra3_lab.sandbox import Calls, Limits, Program, judge_batch
print("judging", flush=True)
programs = [Program("while True: pass", Calls("f", [[[3], 6]]))] * 200
judge_batch(programs, Limits(cpu_seconds=0.5), workers=2, isolation="process")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_trainer_that_is_stopped_leaves_nothing_behind(number):
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", ENDLESS], env=path, stdout=pipe, stderr=pipe) as trainer:
        assert trainer.stdout is not None and trainer.stdout.readline() == b"judging\n"
        time.sleep(1.0)
        trainer.send_signal(number)
        trainer.wait(timeout=60)  # all 200 programs would take 50 s of CPU
    assert settle(lambda: not processes(trainer.pid)), processes(trainer.pid)


def test_a_user_who_may_have_no_wide_pipes_is_served_by_narrow_ones(monkeypatch):
    def refuse(descriptor, command, *argument, old=fcntl.fcntl):
        if command == fcntl.F_SETPIPE_SZ:
            raise PermissionError(1, "Operation not permitted")
        return old(descriptor, command, *argument)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    text = "a" * 300_000
    limits = Limits(cpu_seconds=5)
    with Judge(workers=1, isolation="process") as narrow:
        (found,) = narrow.call([Invocation("def f(x): return x + x", "f", [[text]])], limits)
        assert fcntl.fcntl(narrow._crew[0].stdout, fcntl.F_GETPIPE_SZ) < crew.PIPE_BYTES
    assert found.values == [text + text]


def test_a_worker_that_cannot_start_is_no_verdict(monkeypatch):
    monkeypatch.setattr(starting, "BOOT", "raise SystemExit({module!r})")
    (verdict,) = judge_batch([Program("def f(x): return 6", CALLS)], workers=1, isolation="process")
    assert verdict.status == "no_verdict" and not verdict.passed


def test_a_zygote_that_cannot_be_set_up_is_no_verdict():
    plan = judge_module.plan_for("process") | {"warm": ["no_such_module"]}
    with Judge.with_plan(plan) as broken:
        (verdict,) = broken.batch([Program("def f(x): return 6", CALLS)])
    assert verdict.status == "no_verdict" and "no_such_module" in verdict.detail


@hard
def test_verdicts_do_not_depend_on_hash_seeds_or_luck():
    source = "import random\ndef f(): return [list({'a', 'b', 'c', 'd', 'e'}), random.random()]"
    with Judge(workers=1) as another:
        details = {one(source, Calls("f", [[[], 0]])).detail, one(source, Calls("f", [[[], 0]])).detail}
        details.add(another.batch([Program(source, Calls("f", [[[], 0]]))], QUICK)[0].detail)
    assert len(details) == 1


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="zero tests"):
        Calls("f", [])
    with pytest.raises(ValueError, match="zero tests"):
        Asserts("  \n", "f")
    with pytest.raises(ValueError, match="zero tests"):
        Stdin([])
    with pytest.raises(ValueError, match=r"not \[arguments, expected\]"):
        Calls("f", [[1, 1]])
    with pytest.raises(ValueError, match="case 0"):
        Stdin([("a", 1)])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="Calls"):
        Program("def f(x): return 1", [[[1], 1]])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not plain data"):
        judge_batch([Program("def f(x): return 1", Calls("f", [[[object()], 1]]))], isolation="process")
    with pytest.raises(ValueError, match="workers"):
        judge_batch([Program("def f(): return 1", CALLS)], workers=0)
    for name in ("cpu_seconds", "memory_mb", "output_bytes", "scratch_mb", "wall_seconds"):
        for value in (0, -1.0, float("nan"), float("inf"), 1e300):
            with pytest.raises(ValueError, match=f"{name} is .*above 0 and at most 1,000,000,000"):
                Limits(**{name: value})  # type: ignore[arg-type]


def test_isolation_is_chosen_by_name_or_refused_with_reason_and_remedy(monkeypatch):
    with pytest.raises(ValueError, match="isolation 'hard' is unknown"):
        judge_batch([Program("", CALLS)], isolation="hard")
    assert choose("process") == "process"
    with pytest.raises(Unavailable, match="sandbox-exec: macOS only") as error:
        choose("sandbox-exec")
    assert "doctor" in str(error.value) and RISK in str(error.value)
    monkeypatch.setattr("ra3_lab.sandbox.isolation.HARD", {})
    with pytest.raises(Unavailable, match="isolation='process'"):
        judge_batch([Program("def f(x): return 6", CALLS)])
    with pytest.warns(UserWarning, match="read and change your files"):
        assert for_own_model() == "process"
    assert "process" in EVERY


@each_isolation()
def test_layers_are_named_for_the_record(isolation):
    import json

    from ra3_lab.sandbox import layers

    found = layers(isolation)
    assert found["isolation"] == isolation and found["hostile_programs"] and "seccomp" in found["layers"]
    assert json.loads(json.dumps(found)) == found


@hard
def test_throughput_is_printed(capsys):
    programs = [Program("def f(xs): return sum(xs)", Calls("f", [[[[1, 2, 3]], 6], [[[]], 0]]))] * 100
    start = time.perf_counter()
    assert all(verdict.passed for verdict in judge(programs))
    with capsys.disabled():
        print(f" [{100 / (time.perf_counter() - start):.0f} programs/s, 2 workers] ", end="")


@hard
@pytest.mark.parametrize(
    "source",
    [
        "import atexit, io, sys\nsys.stdout = io.StringIO()\n"
        "atexit.register(lambda: sys.__stdout__.write(sys.stdout.getvalue()))\nprint(2 * int(input()))",
        "import os\nout = os.fdopen(1, 'w')\nout.write(str(2 * int(input())))",
        "import io, sys\nout = io.BufferedWriter(io.FileIO(1, 'w'))\nout.write(str(2 * int(input())).encode())",
        "import sys\nprint(2 * int(input()))\nsys.stdout.close()",
        "class Last:\n    def __del__(self): print(6)\nlast = Last()",
        "\ufeffimport os\nprint(2 * int(input()) if __file__ else 0)",
    ],
    ids=["at exit", "a file of its own", "a buffer of its own", "stdout closed", "as it ends", "with a BOM"],
)
def test_what_a_script_wrote_counts_as_at_an_interpreters_end(source):
    assert one(source, Stdin([("3\n", "6\n")])).passed, one(source, Stdin([("3\n", "6\n")]))


@hard
def test_an_exception_for_loops_ends_none_of_the_test_texts():
    """As in a generator (PEP 479): otherwise `map` over the function would end early, and `all` be true."""
    texts = ("assert all(map(lambda p: f(p[0]) == p[1], [(1, 2), (2, 4)]))", "for got in map(f, [1]): assert got == 2")
    for text in texts:
        assert one("def f(x): raise StopIteration", Asserts(text, "f")).status == "runtime_error"
    assert one("def f(x): return iter([x])", Asserts("for got in f(2): assert got == 2", "f")).passed


@hard
def test_changes_of_arguments_given_by_name_come_back():
    text = "a, b = [1], {1: 2}\nf(xs=a, d=b)\nassert a == [1, 3] and b == {}"
    assert one("def f(xs, d):\n    xs.append(3)\n    d.clear()", Asserts(text, "f")).passed


@hard
def test_details_cannot_steer_a_terminal():
    told = one("def f(x): raise ValueError('\\x1b]0;owned\\x07\\rpassed')").detail
    assert told.isprintable() and "owned" in told


@each_isolation("namespaces", "landlock")
def test_what_lies_beside_a_library_that_the_trainer_loaded_is_not_shown(isolation, tmp_path):
    """An extension built in place, in a folder with answers."""
    library, answers = tmp_path / "own.so", tmp_path / "answers.json"
    library.write_bytes(b"code")
    answers.write_text("6")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to(tempfile.gettempdir()):
            folder.chmod(0o755)
    with open(library, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as loaded:
        assert loaded[:] == b"code"
        places._needed.cache_clear()
        source = f"def f(x): return int(open({str(answers)!r}).read())"
        with Judge(1, isolation) as fresh:
            verdict = fresh.batch([Program(source, Calls("f", [[[3], 6]]))])[0]
    assert verdict.status in ("runtime_error", "forbidden"), verdict
