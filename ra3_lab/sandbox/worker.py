"""The untrusted side of the sandbox: a small process that runs programs and reports what they returned.

Started by exec with an (almost) empty environment, never forked from the trainer, this script imports little,
then reads one job a line from stdin and forks once per job:

    judge (trainer)  --job: source, inputs, limits-->  zygote (this script)  --fork-->  candidate
                     <--header + returned values-----        |  reads a pipe, kills   <-- one line a pair

The zygote knows no expected outputs, so nothing in reach of the candidate can tell it whether it passed. A
returned value crosses as the canonical JSON text of `encode`; two values are equal when these texts are
equal. Where fork is missing (Windows) `--once` runs a single job in the process itself, without resource
limits.

The audit hook of `forbid` stops accidents (a program that deletes files, calls a shell or opens a
connection), not an attacker: Python code that wants round it gets round it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import types

SCRATCH_BYTES = 64 * 1024 * 1024  # the largest single file a candidate may write
FORBIDDEN = frozenset(
    "os.fork os.forkpty os.exec os.posix_spawn os.spawn os.system os.kill os.killpg "  # noqa: SIM905
    "os.startfile pty.spawn subprocess.Popen signal.pthread_kill socket.connect socket.bind "
    "socket.sendto socket.sendmsg socket.getaddrinfo socket.gethostbyname ctypes.dlopen ctypes.dlsym".split()
)
PATH_CHANGES = frozenset(
    "os.remove os.rename os.rmdir os.mkdir os.chmod os.chown os.link os.symlink "  # noqa: SIM905
    "os.truncate os.utime shutil.rmtree shutil.move".split()
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class NotPlain(TypeError):
    """A value outside None, bool, int, float, str, list, tuple, set, dict. It equals nothing."""


class Forbidden(PermissionError):
    """What the audit hook raises."""


def encode(value: object) -> object:
    """Plain data as JSON in which types stay apart: scalars stand bare, containers and large ints have a tag.

    Types count, as they do in no `==`: True, 1 and 1.0 are three values, and so are [1] and (1,). Sets and
    dicts are order-free. NaN equals NaN and -0.0 equals 0.0. Dict subclasses cross as dict; other subclasses
    raise NotPlain.

    >>> encode((1, [True, 2.0]))
    ['tuple', [1, ['list', [True, 2.0]]]]
    >>> encode({"b": 1, "a": {2}})
    ['dict', [['a', ['set', [2]]], ['b', 1]]]
    """
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is float:
        return value + 0.0  # type: ignore[operator]  # turns -0.0 into 0.0
    if kind is int:  # decimal text of huge ints is slow and, past 4,300 digits, refused
        return value if -(2**63) < value < 2**63 else ["int", hex(value)]  # type: ignore[operator,arg-type]
    if kind is list or kind is tuple:
        return [kind.__name__, [encode(item) for item in value]]  # type: ignore[union-attr]
    if kind is set:
        return ["set", sorted((encode(item) for item in value), key=json.dumps)]  # type: ignore[union-attr]
    if isinstance(value, dict):
        items = [[encode(key), encode(item)] for key, item in dict.items(value)]
        return ["dict", sorted(items, key=json.dumps)]
    raise NotPlain(f"{kind.__name__} is not plain data")


def decode(coded: object) -> object:
    """The value that `encode` was given (dict items in sorted order).

    >>> decode(encode({"a": (1, {2}), "big": 2**70}))
    {'a': (1, {2}), 'big': 1180591620717411303424}
    """
    if not isinstance(coded, list):
        return coded
    tag, content = coded
    if tag == "int":
        return int(content, 16)
    if tag == "dict":
        return {decode(key): decode(item) for key, item in content}
    return {"list": list, "tuple": tuple, "set": set}[tag](decode(item) for item in content)


def forbid(scratch: str) -> None:
    """Install the hook: Forbidden on new processes, signals, connections and writes outside `scratch`."""

    def outside(path: object) -> bool:
        if isinstance(path, int) or path is None or path == os.devnull:
            return False
        full = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
        return full != scratch and not full.startswith(scratch + os.sep)

    def hook(event: str, args: tuple) -> None:
        if event in FORBIDDEN:
            raise Forbidden(f"{event} is not allowed here")
        if event == "open" and isinstance(args[2], int) and args[2] & WRITING and outside(args[0]):
            raise Forbidden(f"writing {args[0]!r} is not allowed here")
        if event in PATH_CHANGES:
            paths = args[:2] if event in ("os.rename", "os.link", "shutil.move") else args[:1]
            if any(outside(path) for path in paths) or (event == "os.symlink" and outside(args[1])):
                raise Forbidden(f"{event} {args[0]!r} is not allowed here")

    sys.addaudithook(hook)


def run_candidate(job: dict, result: int) -> None:
    """Run the program; write 'ready', then one line a pair, to the descriptor `result`.

    An error ends the output with a line '!status text'. Without 'ready' the judge knows that the sandbox,
    not the program, went wrong.
    """

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(result, view) :]

    write(b"ready\n")
    try:
        module = types.ModuleType("solution")
        sys.modules["solution"] = module  # dataclasses and pickling look their module up by name
        exec(compile(job["source"], "<program>", "exec", dont_inherit=True), module.__dict__)
        function = module.__dict__.get(job["entry_point"])
        if not callable(function):
            raise NameError(f"the program defines no function {job['entry_point']!r}")
        for coded in job["inputs"]:
            returned = function(*[decode(argument) for argument in coded])
            write(json.dumps(encode(returned)).encode() + b"\n")
    except MemoryError:
        write(b"!memory_limit MemoryError\n")
    except Forbidden as error:
        write(f"!forbidden {error}"[:300].encode("ascii", "backslashreplace") + b"\n")
    except BaseException as error:
        status = "wrong_answer" if isinstance(error, NotPlain) else "runtime_error"
        try:
            text = str(error)
        except BaseException:  # a hostile __str__
            text = "?"
        line = f"!{status} {type(error).__name__}: {text}"[:300].replace("\n", " ")
        write(line.encode("ascii", "backslashreplace") + b"\n")


def start_candidate(job: dict, scratch: str, libc) -> tuple[int, int]:
    """Fork a candidate in its own session and folder, under its limits: its process id, the pipe to read."""
    import resource

    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    try:
        os.setsid()
        if libc is not None:
            libc.prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG: die with the zygote
        os.chdir(scratch)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):  # this also closes the candidate's copies of the zygote's own pipes
            os.dup2(nothing, descriptor)
        os.close(reader)
        # The kernel counts RLIMIT_CPU by ticks, which can be a sixth off: a mere backstop of `collect`.
        seconds, memory = int(job["cpu_seconds"] * 1.3) + 2, int(job["memory_mb"] * 1024 * 1024)
        wanted = {"CPU": seconds, "AS": memory, "FSIZE": SCRATCH_BYTES, "NOFILE": 64, "CORE": 0}
        for name, value in wanted.items():
            with contextlib.suppress(AttributeError, ValueError, OSError):  # macOS refuses some
                resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
        sys.modules["random"].seed(0)  # so that a verdict does not depend on luck
        forbid(scratch)
        run_candidate(job, writer)
    finally:
        os._exit(0)


def cpu_seconds(pid: int) -> float:
    """CPU seconds that process has used; 0.0 outside Linux, where RLIMIT_CPU and the wall clock decide."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # Linux's clock of another process, CPUCLOCK_SCHED
    except (AttributeError, OSError):
        return 0.0


def collect(reader: int, pid: int, job: dict) -> tuple[str, bytes]:
    """Read the candidate's lines while it runs: ('done' | 'time_limit' | 'output_limit', the bytes)."""
    import select

    deadline, chunks, size, lines = time.monotonic() + job["wall_seconds"], [], 0, 0
    while lines <= len(job["inputs"]):
        left = min(deadline - time.monotonic(), job["cpu_seconds"] - cpu_seconds(pid))
        if left <= 0:
            return "time_limit", b"".join(chunks)
        if not select.select([reader], [], [], max(left, 0.002))[0]:
            continue
        chunk = os.read(reader, 65536)
        if not chunk:
            break
        chunks.append(chunk)
        size, lines = size + len(chunk), lines + chunk.count(b"\n")
        if size > job["output_bytes"]:
            return "output_limit", b""
    return "done", b"".join(chunks)


def kill_all(pid: int) -> tuple[int, float]:
    """SIGKILL the candidate's process group and whatever it left behind: (wait status, CPU seconds)."""
    try:
        os.killpg(pid, 9)
    except (ProcessLookupError, PermissionError):  # not in its own session yet
        os.kill(pid, 9)
    _, status, usage = os.wait4(pid, 0)
    for _ in range(1000):  # as subreaper, orphans that left the group are our children now
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                for child in file.read().split():
                    os.kill(int(child), 9)
            time.sleep(0.001)
        except (ChildProcessError, FileNotFoundError):
            break
    return status, usage.ru_utime + usage.ru_stime


def serve(root: str) -> None:
    """The zygote's loop: a job a line on stdin; for each a header line and the returned bytes on stdout."""
    import gc
    import shutil

    for name in (
        "bisect",
        "collections",
        "functools",
        "heapq",
        "itertools",
        "math",
        "random",
        "re",
        "typing",
    ):
        __import__(name)  # warm: what programs usually import
    libc = None
    if sys.platform == "linux":
        import ctypes

        libc = ctypes.CDLL(None)
        libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: descendants that lose their parent come to us
    scratch = os.path.join(os.path.realpath(root), "scratch")
    gc.collect()
    gc.freeze()  # collections in a candidate leave our pages shared
    try:
        for line in iter(sys.stdin.buffer.readline, b""):
            job = json.loads(line)
            os.makedirs(scratch, exist_ok=True)
            pid, reader = start_candidate(job, scratch, libc)
            status, data = collect(reader, pid, job)
            code, seconds = kill_all(pid)
            os.close(reader)
            try:
                os.rmdir(scratch)
            except OSError:  # the program left files
                shutil.rmtree(scratch, ignore_errors=True)
            header = {
                "token": job["token"],
                "status": status,
                "code": code,
                "seconds": seconds,
                "size": len(data),
            }
            sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + data)
            sys.stdout.buffer.flush()
    finally:  # also when the trainer was killed
        shutil.rmtree(root, ignore_errors=True)


def run_once(root: str) -> None:
    """Without fork: run the one job on stdin in this very process."""
    job = json.loads(sys.stdin.buffer.readline())
    result = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    forbid(os.path.realpath(root))
    run_candidate(job, result)
    os._exit(0)


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this script
    os.environ.clear()
    run_once(sys.argv[2]) if sys.argv[1] == "--once" else serve(sys.argv[2])
