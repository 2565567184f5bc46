"""Judging model-written programs from outside: send inputs, receive returned values, compare here.

A program runs in a process of its own, started by exec without the trainer's environment, under limits on CPU
time, wall time, memory, output and file size, in a scratch folder, and is killed from outside together with
what it started. Expected outputs never leave this process, so a program cannot forge a pass: it can only
return the right values. The other side of the pipe is `worker.py`.

What this does NOT stop (a hardened judge behind the same seam is to do it): a hostile program runs as the
same user. It may read any file that user can read, get round the audit hook (`ctypes` tricks, patched
`sys.audit`) and then write files, open connections, start a fork bomb until the wall deadline, read this
process's memory where ptrace is allowed, or kill its zygote, which costs it the verdict (`no_verdict`), not
the trainer. RLIMIT_AS counts each process alone. On Windows there are no CPU, memory or process limits, only
the wall clock. Reasonable for programs of your own small model; not for strangers' code.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from ra3_lab.sandbox.program import Calls, Limits, Program, Verdict
from ra3_lab.sandbox.worker import encode

WORKER = Path(__file__).with_name("worker.py")
FAILURES = (
    "wrong_answer",
    "runtime_error",
    "memory_limit",
    "forbidden",
)  # what a candidate may say of itself


DEFAULT_LIMITS = Limits()


class SandboxError(RuntimeError):
    """The sandbox, not the program, went wrong."""


class _Worker:
    """One zygote process; `run` sends it a job and waits no longer than the job may take."""

    def __init__(self, once: bool = False) -> None:
        self.once, self.process, self.folder, self.stopped = once, None, "", False

    def start(self) -> subprocess.Popen:
        self.folder = tempfile.mkdtemp(prefix="ra3_sandbox_")
        # A fixed hash seed, so that a program that walks a set gives the same every time; no other variable.
        environment = {"PYTHONHASHSEED": "0"}
        if os.name == "nt":
            environment["SYSTEMROOT"] = os.environ.get("SYSTEMROOT", "")
        mode = "--once" if self.once else "--serve"
        command = [sys.executable, "-s", "-S", "-B", str(WORKER), mode, self.folder]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )

    def run(self, job: dict, limits: Limits) -> tuple[dict, bytes]:
        """The worker's header and the bytes the candidate wrote; SandboxError if the worker failed."""
        if self.stopped:
            raise SandboxError("stopped")
        if self.process is None or self.once:
            self.close()
            self.process = self.start()
        process, late = self.process, threading.Event()
        assert process.stdin is not None and process.stdout is not None

        def give_up() -> None:
            late.set()
            process.kill()

        watch = threading.Timer(limits.backstop + (0 if self.once else 5), give_up)
        watch.daemon = True
        watch.start()
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
            if self.once:
                data = process.stdout.read(limits.output_bytes + 1)
                status = "output_limit" if len(data) > limits.output_bytes else "done"
                return {"status": "time_limit" if late.is_set() else status, "code": 0, "seconds": 0.0}, data
            line = process.stdout.readline(4096)
            if not line:
                raise SandboxError("the worker process ended or did not answer in time")
            header = json.loads(line)
            if header["token"] != job["token"]:
                raise SandboxError("an answer to another question")
            data = process.stdout.read(min(int(header["size"]), limits.output_bytes))
            return header, data
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SandboxError(f"the worker process failed: {error}") from error
        finally:
            watch.cancel()

    def stop(self) -> None:
        """End what runs, from another thread, and start nothing more."""
        self.stopped = True
        self.kill()

    def kill(self) -> None:
        process = self.process  # another thread may be closing it
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process and remove its folder; what has ended is waited for."""
        if self.process is None:
            return
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # what was not yet sent to a dead worker
                stream.close()  # type: ignore[union-attr]
        try:
            self.process.wait(timeout=2)  # end of input: it goes by itself
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)


def _decide(program: Program, expected: list[bytes], header: dict, data: bytes, limits: Limits) -> Verdict:
    """Compare what came back with what was expected; the first failing pair gives the status."""
    seconds, code = float(header["seconds"]), int(header["code"])
    if header["status"] == "output_limit":
        return Verdict(False, "output_limit", seconds, f"returned more than {limits.output_bytes} bytes")
    assert isinstance(program.tests, Calls)
    ready, *lines = data.split(b"\n")[:-1] or [b""]
    if ready != b"ready":
        raise SandboxError("the candidate's process could not be set up")
    status, detail, finished = "passed", f"{len(expected)} pairs", True
    for number, wanted in enumerate(expected):
        if number >= len(lines):
            ended = f"ended by signal {code & 127}" if code & 127 not in (0, 9) else "ended early"  # 9: by us
            status, detail, finished = "runtime_error", f"pair {number}: {ended}, without a value", False
            break
        if lines[number].startswith(b"!"):
            word, _, text = lines[number][1:].decode("ascii", "replace").partition(" ")
            status, detail = (word if word in FAILURES else "runtime_error"), f"pair {number}: {text}"
            break
        if lines[number] != wanted:
            got, call = lines[number][:100].decode("ascii", "replace"), f"{program.tests.pairs[number][0]!r:.100}"
            detail = f"pair {number}: {call} gave {got}, expected {wanted[:100].decode()}"
            status = "wrong_answer"
            break
    # The clock decides about programs that passed or did not finish, not about those that failed before.
    late = seconds > limits.cpu_seconds or header["status"] == "time_limit"
    if late and (status == "passed" or not finished):
        status, detail = "time_limit", f"{seconds:.2f} s CPU; limit {limits.cpu_seconds:g} s"
    return Verdict(status == "passed", status, seconds, detail)


def _judge(worker: _Worker, program: Program, limits: Limits) -> Verdict:
    if not isinstance(program.tests, Calls):
        raise NotImplementedError("only Calls so far")
    try:
        inputs = [[encode(argument) for argument in arguments] for arguments, _ in program.tests.pairs]
        expected = [json.dumps(encode(value)).encode() for _, value in program.tests.pairs]
    except (TypeError, RecursionError) as error:
        raise ValueError(f"pairs of {program.tests.entry_point!r} are not plain data: {error}") from error
    job = {"source": program.source, "entry_point": program.tests.entry_point, "inputs": inputs, **asdict(limits)}
    reason = ""
    for _ in range(2):
        job |= {"wall_seconds": limits.backstop, "token": secrets.token_hex(8)}
        try:
            return _decide(program, expected, *worker.run(job, limits), limits)
        except SandboxError as error:
            reason = str(error)
            worker.kill()
            worker.close()
    return Verdict(False, "no_verdict", 0.0, reason)


def judge_batch(
    programs: Sequence[Program],
    limits: Limits = DEFAULT_LIMITS,
    workers: int | None = None,
    isolation: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Verdict]:
    """Run every program in a process of its own and say which return the expected values, in the order given.

    `workers` processes run side by side (default: the cores, at most 8); they live for this call only. A
    failure of the sandbox itself is retried once on a fresh worker, then `no_verdict`. Raises ValueError for
    pairs that are not plain data (None, bool, int, float, str, list, tuple, set, dict) and for `workers`
    below 1. Values are equal when type and content are: `True`, `1` and `1.0` differ (see `worker.encode`).

    >>> right = Program("def double(x):\\n    return 2 * x", Calls("double", [[[3], 6]]))
    >>> wrong = Program("def double(x):\\n    return x", Calls("double", [[[3], 6]]))
    >>> [verdict.status for verdict in judge_batch([right, wrong], workers=1)]
    ['passed', 'wrong_answer']
    """
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = min(cores, 8)
    if workers < 1:
        raise ValueError(f"workers is {workers}; at least 1 is needed")
    verdicts: list[Verdict | None] = [None] * len(programs)
    queue, lock = iter(enumerate(programs)), threading.Lock()
    crew = [_Worker(once=not hasattr(os, "fork")) for _ in range(min(workers, len(programs)))]

    def work(worker: _Worker) -> None:
        try:
            while not worker.stopped:
                with lock:
                    number, program = next(queue, (None, None))
                if number is None or program is None:
                    return
                verdicts[number] = _judge(worker, program, limits)
        finally:
            worker.close()

    if not crew:
        return []
    with ThreadPoolExecutor(len(crew), thread_name_prefix="judge") as pool:
        try:
            for future in [pool.submit(work, worker) for worker in crew]:
                future.result()
        finally:  # after Ctrl-C or an error the others stop at once
            if any(verdict is None for verdict in verdicts):
                for worker in crew:
                    worker.stop()
    return [verdict for verdict in verdicts if verdict is not None]
