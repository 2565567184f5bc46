"""The isolation `process` where no process can fork (Windows): a fresh interpreter for every program.

    trainer's thread --a file: what to run--> interpreter --pipe: lines of plain data--> trainer's thread

For programs of our own small model, NOT for hostile ones: what holds is the limits and a guard against accidents.
Test text runs in a second interpreter, and what it asks of the program is passed on here. The wall limit ends a
program by killing it; memory, CPU time and further processes are bounded by a job object on Windows (`windows.py`,
untested), by resource limits elsewhere. The file system bounds the scratch folder, nothing else does.

The trainer's side never needs `fork`, `fcntl` or `resource`. Tests switch it on under Linux by a plan with
"forks": False.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ra3_lab.sandbox import arrays, candidate, tester
from ra3_lab.sandbox.deciding import KILLED, PARTS, Answer, Decider, Job, Lines, Running, SandboxError, allowance
from ra3_lab.sandbox.guard import forbid
from ra3_lab.sandbox.starting import HOME, command

START_SECONDS = 60.0  # wall time that an interpreter may take to start; it does not count for the program
RUNS = {
    "calls": (candidate.run_calls,),
    "arrays": (lambda channel: candidate.run_calls(channel, arrays.refer, arrays.revive),),
    "asserts": (candidate.run_asserts, tester.run_tests),
    "stdin": (candidate.run_stdin,),
}
"""Kind of run -> what each of its interpreters does."""
NO_WINDOW = 0x08000000  # CREATE_NO_WINDOW


def answers(
    plan: dict[str, Any], jobs: list[Job], workers: int, progress: Callable[[int, int], None] | None
) -> list[Answer]:
    """A verdict for each job, in order, `workers` side by side. What still runs when this is interrupted is killed."""
    deciders = [Plain(plan) for _ in jobs]
    found: list[Answer] = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            for answer in pool.map(Plain.decide, deciders, jobs):
                found.append(answer)
                if progress is not None:
                    progress(len(found), len(jobs))
        finally:
            if len(found) < len(jobs):
                pool.shutdown(wait=False, cancel_futures=True)
                for decider in deciders:
                    decider.stop()
    return found


class Plain(Decider):
    """Decides about one job."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan, self.running, self.stopped = plan, None, False

    def launch(self, job: Job, kind: str, given: str = "") -> Running:
        if self.stopped:
            raise SandboxError("stopped")
        self.running = Interpreters(self.plan, job, kind, given)
        if self.stopped:  # meanwhile
            self.running.kill("judge")
        return self.running

    def renew(self) -> None:
        """Every run is fresh anyway."""

    def stop(self) -> None:
        """Start nothing more and kill what runs."""
        self.stopped = True
        if self.running is not None:
            self.running.kill("judge")


class Interpreters(Running):
    """The processes of one run, in a folder that goes with them."""

    def __init__(self, plan: dict[str, Any], job: Job, kind: str, given: str) -> None:
        self.job, self.folder = job, tempfile.mkdtemp(prefix="ra3_sandbox_")
        self.processes: list[_Process] = []
        self.timer = threading.Timer(START_SECONDS, self.kill, ["start"])
        try:
            for number in range(len(PARTS[kind])):
                self.processes.append(_Process(plan, job, kind, number, self.folder, given))
        except OSError as error:
            self.close()
            raise SandboxError(f"an interpreter cannot be started: {error}") from error
        self.timer.daemon = True
        self.timer.start()
        sources = [process.words for process in self.processes]
        if len(self.processes) == 2:
            program, tests = self.processes
            sources = [_pass_on(program, tests), _pass_on(tests, program)]
        self.held = sources
        self.lines = [Lines(source.read, allowance(job, kind)) for source in sources]
        self.output = self.processes[0].popen.stdout

    def begin(self, number: int) -> None:
        self.lines[number].begin()
        self.timer.cancel()
        self.timer = threading.Timer(self.job["wall_seconds"], self.kill, ["wall"])
        self.timer.daemon = True
        self.timer.start()

    def kill(self, reason: str) -> None:
        for process in self.processes:
            process.kill(reason)

    def finish(self, kill: bool) -> list[Answer]:
        if kill:
            self.kill("judge")
        ended = [process.wait() for process in self.processes]
        self.timer.cancel()
        return ended

    def close(self) -> None:
        self.timer.cancel()
        self.kill("judge")
        for process in self.processes:
            process.close()
        for source in getattr(self, "held", ()):
            source.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class _Process:
    """One interpreter: started with its part of the job, killed, waited for."""

    def __init__(self, plan: dict[str, Any], job: Job, kind: str, number: int, folder: str, given: str) -> None:
        self.reason, self.began, self.ended, self.lock = "", time.monotonic(), None, threading.Lock()
        own = os.path.join(folder, str(number))
        scratch, part = os.path.join(own, "scratch"), os.path.join(own, "job")
        os.makedirs(scratch)
        with open(part, "w", encoding="ascii") as file:
            file.write(json.dumps({name: job[name] for name in PARTS[kind][number]}) + "\n")
        names = ("cpu_seconds", "memory_mb", "scratch_mb")
        told = {name: plan[name] for name in ("isolation", "packages", "warm", "environment", "guard")}
        told |= {name: job[name] for name in names} | {"kind": kind, "number": number, "scratch": scratch, "job": part}
        if number:  # test text may use more than the program, as under a zygote
            told["cpu_seconds"] = 2 * job["cpu_seconds"] + 5
        words = [*command("plain", os.getpid(), python=_interpreter()), json.dumps(told)]
        kept = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}  # Windows starts nothing else
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        with contextlib.ExitStack() as stack:
            stdin = pipe if kind == "asserts" else nothing
            if kind == "stdin":
                path = os.path.join(own, "stdin")
                with open(path, "wb") as file:
                    file.write(given.encode("utf-8", "surrogatepass"))
                stdin = stack.enter_context(open(path, "rb"))
            self.popen = subprocess.Popen(
                words,
                bufsize=0,
                stdin=stdin,
                stdout=pipe,
                stderr=pipe if kind == "stdin" else nothing,
                env=kept | {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
                cwd=scratch,
                start_new_session=True,
                creationflags=NO_WINDOW if sys.platform == "win32" else 0,
            )
        words = self.popen.stderr if kind == "stdin" else self.popen.stdout
        assert words is not None
        self.words = words
        self.limits = None
        if sys.platform == "win32":
            from ra3_lab.sandbox import windows

            self.limits = windows.JobObject(told["cpu_seconds"], told["memory_mb"])
            self.limits.add(int(self.popen._handle))  # type: ignore[attr-defined]

    def kill(self, reason: str) -> None:
        with self.lock:
            if self.ended is None and not self.reason:
                self.reason = reason
                with contextlib.suppress(OSError):
                    if sys.platform == "win32":
                        self.popen.kill()
                    else:
                        os.killpg(self.popen.pid, signal.SIGKILL)

    def wait(self) -> Answer:
        """How it ended, as wait(2) has it: an exit status times 256, or a signal."""
        if self.ended is None:
            status, seconds = self._wait()
            with self.lock:
                self.ended = {"status": status, "seconds": seconds, "wall": time.monotonic() - self.began}
        return self.ended | {"reason": self.reason}

    def _wait(self) -> tuple[int, float]:
        if sys.platform == "win32":
            from ra3_lab.sandbox import windows

            code, seconds = self.popen.wait(), windows.cpu_seconds(int(self.popen._handle))  # type: ignore[attr-defined]
            if code == windows.QUOTA_EXCEEDED:
                self.reason = self.reason or "cpu"
            return KILLED if self.reason else code << 8, seconds
        os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOWAIT)  # its number stays its own until `ended` is set
        with self.lock:
            _, status, usage = os.wait4(self.popen.pid, 0)
            self.popen.returncode = os.waitstatus_to_exitcode(status)
            self.ended = {"status": status, "seconds": 0.0, "wall": 0.0}
        return status, usage.ru_utime + usage.ru_stime

    def close(self) -> None:
        self.wait()
        for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        if self.limits is not None:
            self.limits.close()


def _interpreter() -> str:
    """On Windows an environment's python.exe starts the real one as a second process, which the job object forbids."""
    return getattr(sys, "_base_executable", sys.executable) if sys.platform == "win32" else sys.executable


def _pass_on(source: _Process, other: _Process) -> Any:
    """A thread takes what a process says: questions and answers go to the other one, the rest can be read here."""
    reader, writer = os.pipe()
    stdout, stdin = source.popen.stdout, other.popen.stdin
    assert isinstance(stdout, io.RawIOBase) and stdin is not None

    def run() -> None:
        with contextlib.suppress(OSError, ValueError), open(writer, "wb", buffering=0) as ours, stdin:
            for line in io.BufferedReader(stdout):
                if not line.startswith(b"["):
                    ours.write(line)
                    continue
                with contextlib.suppress(OSError):  # the other one may be gone; this one may have more to say
                    stdin.write(line)

    threading.Thread(target=run, daemon=True).start()
    return open(reader, "rb", buffering=0)


def main() -> None:
    """The interpreter's whole life: find what to run, bind the limits, run."""
    told = json.loads(sys.argv[1])
    kind, binary = told["kind"], getattr(os, "O_BINARY", 0)
    sys.argv[:] = [""]
    words = os.dup(2 if kind == "stdin" else 1)
    channel = candidate.Channel(os.open(told["job"], os.O_RDONLY | binary), words)
    try:
        confinement = None
        with contextlib.suppress(ImportError):  # no `resource`: the job object has the limits
            confinement = importlib.import_module("ra3_lab.sandbox.confinement")
        os.environ.clear()
        os.environ.update(item.split("=", 1) for item in told["environment"])
        sys.path[:] = [path for path in sys.path if path and path != HOME] + list(told["packages"])
        candidate.furnish(("encodings.idna", *told["warm"]))
        calls = candidate.Channel(os.dup(0), words)
        null = os.open(os.devnull, os.O_RDWR | binary)
        for descriptor in (2,) if kind == "stdin" else (0, 1, 2):
            os.dup2(null, descriptor)
        os.close(null)
        if confinement is None:
            forbid(told["scratch"])
        else:
            confinement.Confinement(told, told["scratch"], confinement.address_space()).apply(told)
        random.seed(0)
    except BaseException as error:
        channel.write(f"!sandbox {type(error).__name__}: {error}"[:300].replace("\n", " "))
        os._exit(111)
    try:
        RUNS[kind][told["number"]](*(channel, calls) if kind == "asserts" else (channel,))
    finally:
        os._exit(0)
