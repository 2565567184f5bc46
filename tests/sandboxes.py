"""Shared by the sandbox's tests: which isolations hold here, warm judges for each, and what must not be left behind."""

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time

import pytest
from hostile.run import ESCAPE, processes  # noqa: F401  (for the tests that import from here)

from ra3_lab.sandbox import Calls, Judge, Limits, Program, Verdict
from ra3_lab.sandbox.isolation import LINUX, build, probe

QUICK = Limits(cpu_seconds=0.5, memory_mb=256, output_bytes=100_000, scratch_mb=8)
ISOLATIONS = [name for name in LINUX if probe(name)["holds"]]
"""The hard ones that hold on this machine; what does not hold is skipped with the reason."""
MISSING = {name: probe(name)["reason"] for name in LINUX if name not in ISOLATIONS}


def each_isolation(*names):
    """Parametrize a test over hard isolations; those that do not hold here are skips that say why."""
    return pytest.mark.parametrize(
        "isolation",
        [
            pytest.param(name, marks=pytest.mark.skip(reason=f"{name}: {MISSING[name]}") if name in MISSING else ())
            for name in names or LINUX
        ],
    )


WITHOUT_FORK = build("process") | {"forks": False}
"""The plan of a system that cannot fork; judges call it "no fork"."""

hard = pytest.mark.skipif(not ISOLATIONS, reason=f"no hard isolation holds here: {MISSING}")


@functools.cache
def judge_of(isolation):
    """One warm judge for all tests that use it; `close_judges` ends it."""
    return Judge.with_plan(WITHOUT_FORK, 2) if isolation == "no fork" else Judge(workers=2, isolation=isolation)


def close_judges():
    for isolation in (*LINUX, "process", "no fork", None):
        if isolation in _used:
            judge_of(isolation).close()
    _used.clear()


_used = set()


def judge(programs, limits=QUICK, isolation=None) -> list[Verdict]:
    """Verdicts from a warm judge."""
    _used.add(isolation)
    return judge_of(isolation).batch(programs, limits)


def one(source, tests=None, limits=QUICK, isolation=None) -> Verdict:
    """The verdict on one program; by default it must return 6 for 3."""
    return judge([Program(source, tests or Calls("f", [[[3], 6]]))], limits, isolation)[0]


@contextlib.contextmanager
def own_temporary_folder():
    """Everything temporary goes to a folder of this module's; yields a function that lists what a sandbox has left."""
    before, environment = tempfile.tempdir, os.environ.get("TMPDIR")
    folder = tempfile.mkdtemp(prefix="sandbox_tests_")
    os.chmod(folder, 0o711)
    tempfile.tempdir = os.environ["TMPDIR"] = folder

    def left():
        shared = [path for place in ("/tmp", "/var/tmp", "/dev/shm", os.getcwd()) for path in _entries(place)]
        with open("/proc/self/mounts") as file:
            return {*_entries(folder), *(path for path in shared if ESCAPE in path), *file}

    try:
        yield left
    finally:
        tempfile.tempdir = before
        os.environ.pop("TMPDIR")
        os.environ |= {} if environment is None else {"TMPDIR": environment}
        shutil.rmtree(folder, ignore_errors=True)


def _entries(folder):
    return [os.path.join(folder, name) for name in os.listdir(folder)] if os.path.isdir(folder) else []


def settle(condition, seconds=10.0):
    """Wait for something that is about to become true: a killed process takes a moment to vanish from /proc."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def python_for_anyone():
    """An interpreter of 3.10 or newer outside root's home, if there is one."""
    for path in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        test = "import sys; assert sys.version_info >= (3, 10)"
        try:
            done = subprocess.run([path, "-c", test], user=65534, group=65534, extra_groups=[], capture_output=True)
        except OSError:
            continue
        if done.returncode == 0:
            return path
    return None
