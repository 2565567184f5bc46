"""Systems that this suite does not run on: no fork (Windows), and macOS. What of them runs here, runs here."""

import ctypes
import os
import re
import subprocess
import sys
import time

import pytest
from hostile.honest import ASSERTS, CALLS, LINES, STDIN, STDIN_ANSWER
from sandboxes import WITHOUT_FORK, own_temporary_folder, processes, settle

from ra3_lab.sandbox import Asserts, Calls, Invocation, Judge, Limits, Program, Stdin, darwin, launchers, windows
from ra3_lab.sandbox.isolation import build
from ra3_lab.sandbox.places import Places

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
PAIRS = Calls("f", [[[3], 6]])


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path_factory):
    tmp_path_factory.getbasetemp()  # pytest's own, before ours
    with own_temporary_folder() as left:
        before = left()
        yield
        assert settle(lambda: not (left() - before or processes())), (left() - before, processes())


# --- without fork -------------------------------------------------------------------------------------


def test_honest_programs_earn_one_in_interpreters_of_their_own():
    programs = [Program(source, Calls("f", pairs)) for source, pairs in list(CALLS.values())[::4]]
    programs += [Program(source, Asserts(code, "f")) for source, code in list(ASSERTS.values())[::3]]
    programs += [Program(source, Stdin([(LINES, STDIN_ANSWER)])) for source in list(STDIN.values())[::4]]
    with Judge.with_plan(WITHOUT_FORK, 2) as judge:
        verdicts = judge.batch(programs, Limits(cpu_seconds=5))
    assert [(p, v) for p, v in zip(programs, verdicts, strict=True) if not v.passed] == []
    assert len(programs) >= 10


ACCIDENTS = """
import os, shutil, subprocess
def f(action, path):
    if action == "delete":
        shutil.rmtree(path)
    if action == "write":
        open(os.path.join(path, "new"), "w").write("x")
    if action == "call":
        subprocess.run(["touch", os.path.join(path, "called")])
    open("note", "w").write("x")
    return os.listdir(".")
"""


def test_accidents_are_stopped_and_the_scratch_folder_is_fresh(tmp_path):
    (tmp_path / "mine").write_text("mine")
    calls = [
        Invocation(ACCIDENTS, "f", [[action, str(tmp_path)]]) for action in ("delete", "write", "call", "note", "")
    ]
    with Judge.with_plan(WITHOUT_FORK) as judge:
        found = judge.call(calls, Limits())
    assert [one.status for one in found] == ["forbidden"] * 3 + ["passed"] * 2, found
    assert [one.values for one in found[3:]] == [[["note"]]] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_verdicts_do_not_depend_on_luck_and_values_cross_as_plain_data():
    source = "import random\ndef f(x): return [list({'a', 'b', 'c', x}), random.random(), {x: (1, 2)}]"
    with Judge.with_plan(WITHOUT_FORK, 2) as judge:
        first, second = judge.call([Invocation(source, "f", [["d"]])] * 2, Limits())
    assert first.values == second.values and first.values[0][2] == {"d": (1, 2)}


def test_an_interrupted_batch_ends_what_runs():
    def interrupt(done, total):
        raise KeyboardInterrupt

    endless = Program("while True: pass", PAIRS)
    start = time.monotonic()
    with Judge.with_plan(WITHOUT_FORK, 2) as judge, pytest.raises(KeyboardInterrupt):
        judge.batch([Program("def f(x): return 6", PAIRS), *[endless] * 20], Limits(wall_seconds=100), interrupt)
    assert time.monotonic() - start < 60


def test_an_interpreter_that_cannot_be_set_up_is_no_verdict():
    with Judge.with_plan(WITHOUT_FORK | {"warm": ["no_such_module"]}) as judge:
        (verdict,) = judge.batch([Program("def f(x): return 6", PAIRS)])
    assert verdict.status == "no_verdict" and "no_such_module" in verdict.detail


BARE = """
import os, signal, sys, warnings
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("fork", "sched_getaffinity", "setresuid", "pidfd_open", "memfd_create"):
    delattr(os, name)
from ra3_lab.sandbox import Calls, Judge, Program, isolation, judge_batch, layers, starting
sys.modules.pop("resource")  # Linux's wait4 needs it
isolation.HARD = {}  # as on win32
starting.BOOT = "import sys; sys.modules.update(fcntl=None, resource=None); " + starting.BOOT
tests = Calls("f", [[[3], 6]])
programs = [Program("def f(x): return 2 * x", tests), Program("def f(x): return 5", tests)]
try:
    judge_batch(programs)
except isolation.Unavailable as error:
    print("refused:", error)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    name = isolation.for_own_model()
print(name, len(said), [v.status for v in judge_batch(programs, workers=2, isolation=name)], layers(name)["layers"])
accident = Program("def f(x): open('../x', 'w')", tests)
print(judge_batch([accident], isolation="process")[0].status)
"""


def test_a_system_without_fork_and_posix_modules_judges_our_own_models_programs_only():
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", BARE], env=path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    refused, judged, accident = done.stdout.splitlines()
    assert refused.startswith("refused: programs cannot be isolated here") and "isolation='process'" in refused
    assert judged == "process 1 ['passed', 'wrong_answer'] ['guard', 'limits']"
    assert accident == "forbidden"


def test_the_job_object_has_the_documented_layout():
    """Sizes and offsets of winnt.h on 64-bit Windows, whose c_size_t and alignment are those of 64-bit Linux."""
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        pytest.skip("a 32-bit machine")
    assert (ctypes.sizeof(windows.BasicLimits), ctypes.sizeof(windows.ExtendedLimits)) == (64, 144)
    assert windows.BasicLimits.LimitFlags.offset == 16 and windows.BasicLimits.ActiveProcessLimit.offset == 40
    assert windows.ExtendedLimits.ProcessMemoryLimit.offset == 112
    limits = windows.limits(0.5, 64)
    assert limits.BasicLimitInformation.PerProcessUserTimeLimit == 5_000_000
    assert limits.BasicLimitInformation.LimitFlags & windows.KILL_ON_CLOSE


# --- macOS --------------------------------------------------------------------------------------------


def profile(tmp_path):
    for name in ("lib", "lib/site-packages", 'odd "folder\\'):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "lib")
    shown = Places(
        (str(tmp_path / "link"), str(tmp_path / "file"), str(tmp_path / 'odd "folder\\')),
        (str(tmp_path / "link/site-packages"),),
    )
    command = launchers.sandbox_exec(shown)
    assert command[1] == "-p" and len(command) == 3
    return command[2].splitlines()


def read_forms(text):
    """A profile as nested lists: what an S-expression is, or an error."""
    tokens = re.findall(r'"(?:[^"\\]|\\.)*"|[()]|[^\s()"]+', text)
    assert "".join(tokens) == re.sub(r'("(?:[^"\\]|\\.)*")|\s', lambda m: m[1] or "", text), "a stray character"
    stack: list[list] = [[]]
    for token in tokens:
        if token == "(":
            stack.append([])
        elif token == ")":
            inner = stack.pop()
            stack[-1].append(inner)
        else:
            stack[-1].append(token)
    (forms,) = stack
    return forms


def decision(forms, operation, path):
    """What a profile says about a path: the last rule that matches wins, as sandboxd does it."""
    found = "deny"
    for form in forms:
        if form[0] not in ("allow", "deny"):
            continue
        operations = [word for word in form[1:] if isinstance(word, str)]
        if not any(
            word == operation or (word.endswith("*") and operation.startswith(word[:-1])) for word in operations
        ):
            continue
        places = [
            (kind, re.sub(r"\\(.)", r"\1", text[1:-1])) for kind, text in (f for f in form[1:] if isinstance(f, list))
        ]
        under = any(
            path == place or (kind == "subpath" and path.startswith(place.rstrip("/") + "/")) for kind, place in places
        )
        if under or not places:
            found = form[0]
    return found


def test_the_profile_for_sandbox_exec_shows_what_it_shall_and_no_more(tmp_path):
    lines = profile(tmp_path)
    forms = read_forms("\n".join(lines).replace("{scratch}", "/private/x/scratch"))
    assert forms[:2] == [["version", "1"], ["deny", "default"]]
    real = os.path.realpath(tmp_path)
    readable = {
        f"{real}/lib/os.py": "allow",
        f"{real}/lib/site-packages/answers.py": "deny",
        f"{real}/file": "allow",
        f"{real}/file/inside": "deny",
        f'{real}/odd "folder\\/x': "allow",
        "/Users/me/.ssh/id": "deny",
        "/etc/passwd": "deny",
        "/private/x/scratch/note": "allow",
        "/private/x/other": "deny",
        launchers.__file__: "allow",
        os.path.join(os.path.dirname(launchers.OWN), "tasks", "humaneval.py"): "deny",
    }
    assert {path: decision(forms, "file-read-data", path) for path in readable} == readable
    writable = {"/private/x/scratch/note": "allow", f"{real}/lib/os.py": "deny", "/tmp/x": "deny", "/dev/null": "allow"}
    assert {path: decision(forms, "file-write-data", path) for path in writable} == writable
    assert decision(forms, "process-exec", "/bin/sh") == "deny"
    assert decision(forms, "process-exec", os.path.realpath(sys.executable)) == "allow"
    assert decision(forms, "network-outbound", "") == "deny"


def test_a_path_that_no_profile_can_hold_is_refused():
    with pytest.raises(ValueError, match="rename the folder"):
        launchers.quoted("/a\nb")


def test_on_macos_a_program_may_start_no_process_and_its_memory_is_looked_at():
    from ra3_lab.sandbox.confinement import Confinement

    assert Confinement(build("sandbox-exec"), "/", 0).processes == 1
    assert Confinement(build("process"), "/", 0).processes == 0
    assert darwin.parse(darwin._INFO.pack(b"", 3, 1, 0, 0, 0, 0, 0, 1 << 30, 0, 0), 0.25e9) == (1.0, 1 << 30)
    assert darwin.usage(os.getpid()) == (0.0, 0)
