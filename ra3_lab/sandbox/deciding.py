"""Right or wrong? What a program said and how it ended become a verdict. No foreign code runs here.

What comes back from a program is read as lines of plain data, of limited size, and compared by `checkers.compare`. A
failure of the sandbox itself is tried once more, afresh, then it is `no_verdict`. How processes are started and ended
is the business of `worker.py` (forked by a zygote) or of `plain.py` (fresh interpreters, where nothing can fork).
"""

from __future__ import annotations

import contextlib
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from ra3_lab.sandbox import codec
from ra3_lab.sandbox.checkers import compare
from ra3_lab.sandbox.codec import FAILURES

UNFINISHED = ("runtime_error", "time_limit", "memory_limit", "forbidden", "")
COMPARE_SECONDS = 5.0  # CPU seconds of this process for one comparison
SAME_TEXT_IS_RIGHT = ("exact", "equal", "approx", "unordered", "set", "text", "tokens", "lines")
PIECE_BYTES = 1 << 20
LINE_BYTES = 4096  # of what a program says besides values

KILLED = 9  # SIGKILL

Answer = dict[str, Any]
Job = dict[str, Any]


class SandboxError(RuntimeError):
    """The sandbox, not the program, went wrong."""


class Lines:
    """Lines from a program's process, at most `left` bytes of them; `flooded` says that there were more.

    `receive(size)` gives the next bytes, b"" at the end.
    """

    def __init__(self, receive: Callable[[int], bytes], left: int) -> None:
        self.receive, self.left, self.rest, self.flooded = receive, left, bytearray(), False

    def next(self) -> bytes | None:
        """A line without its newline; None at the end, or when a line would pass the limit."""
        start = 0
        while (end := self.rest.find(b"\n", start)) < 0:
            start = len(self.rest)
            if self.flooded:
                return None
            try:
                chunk = self.receive(PIECE_BYTES)
            except ConnectionError:
                return None
            if not chunk:
                return None
            self.rest += chunk
            self.left -= len(chunk)
            self.flooded = self.left < 0  # what came before the flood is still told
        line = bytes(self.rest[:end])
        del self.rest[: end + 1]
        return line

    def begin(self) -> None:
        """Take "ready", which is sent before any foreign code runs. SandboxError without it."""
        first = self.next()
        if first != b"ready":
            raise SandboxError((first or b"").decode("ascii", "replace") or "the program's process was not set up")


class Running(ABC):
    """The processes of one run; a context manager that lets go of their channels."""

    lines: list[Lines]
    """What each says: the program; then the test text, where there is one."""
    output: Any = None
    """For "stdin": the program's standard output, to be read in bytes."""

    @abstractmethod
    def begin(self, number: int) -> None:
        """Give process `number` its part of the job. SandboxError where it is not ready."""

    @abstractmethod
    def finish(self, kill: bool) -> list[Answer]:
        """How each process ended: {"status", "reason", "seconds", "wall"}, `status` as wait(2) has it.

        Without `kill` the deciding one is left to end by itself or by its limits.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of all that is open."""

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


PARTS = {
    "calls": [("source", "entry_point", "inputs", "output_bytes")],
    "arrays": [("source", "entry_point", "inputs", "output_bytes")],
    "asserts": [("source", "entry_point", "output_bytes"), ("code", "entry_point")],
    "stdin": [("source",)],
}
"""Kind of run -> what each of its processes is told of the job."""


def allowance(job: Job, kind: str) -> int:
    """Bytes that a process may say on its channel."""
    return LINE_BYTES + (job["output_bytes"] + len(job["inputs"]) if kind in ("calls", "arrays") else 0)


def verdict(status: str, seconds: float, detail: str, **more: Any) -> Answer:
    """What the trainer gets."""
    return {"status": status, "seconds": seconds, "detail": detail, **more}


def said(line: bytes) -> tuple[str, str]:
    """Status and text of a "!status text" line."""
    status, _, text = line[1:].decode("ascii", "replace").partition(" ")
    return (status if status in FAILURES else "runtime_error"), printable(text[:400])


def printable(text: str) -> str:
    """Foreign text for a line of a terminal: nothing in it moves the cursor or sets a title."""
    return "".join(c if c.isprintable() else "?" for c in text)


def ending(child: Answer, job: Job) -> tuple[str, str]:
    """Status and text of a program that ended, or was ended, without saying why."""
    code, reason, seconds = child["status"], child["reason"], child["seconds"]
    used = f"{seconds:.2f} s CPU; limit {job['cpu_seconds']:g} s"
    if reason == "scratch":
        return "output_limit", f"more than {job['scratch_mb']} MiB of files, or too many threads"
    if reason == "wall":
        return "time_limit", f"{job['wall_seconds']:g} s wall time; {used}"
    if reason == "cpu" or seconds > job["cpu_seconds"] or code & 127 == getattr(signal, "SIGXCPU", -1):
        return "time_limit", used
    if code & 127 == getattr(signal, "SIGSYS", 31):
        return "forbidden", "a system call that is not allowed"
    if reason == "memory":
        return "memory_limit", f"more than {job['memory_mb']:g} MiB"
    if reason == "judge" and code & 127 == KILLED:
        return "runtime_error", "ended early"
    if code & 127:
        return "runtime_error", f"ended by signal {code & 127}"
    return "runtime_error", f"ended early, with exit status {code >> 8}"


def late(child: Answer, job: Job) -> bool:
    """Whether a limit on time was passed, whatever else happened."""
    return child["reason"] in ("cpu", "wall") or child["seconds"] > job["cpu_seconds"]


def right(checker: str, expected: str, got: str) -> bool:
    """`compare` on coded text, under a time limit of its own: what a program returned cannot hold the judge up. What
    cannot be compared is wrong: an error here would end the judge's process.
    """
    if got == expected and checker.partition(":")[0] in SAME_TEXT_IS_RIGHT:
        return True
    try:
        with timed():
            return compare(checker, codec.loads(expected), codec.loads(got))
    except Exception:
        return False


@contextlib.contextmanager
def timed(seconds: float = COMPARE_SECONDS) -> Iterator[None]:
    """A limit on CPU seconds of this process. Raises TimeoutError."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield  # `plain.py`, which is not for hostile programs
        return

    def stop(*_: Any) -> None:
        raise TimeoutError("this takes too long")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


class Decider(ABC):
    """Decides about one job after the other."""

    @abstractmethod
    def launch(self, job: Job, kind: str, given: str = "") -> Running:
        """Start the processes of one run: "calls", "arrays", "asserts", or "stdin" with the input `given`."""

    @abstractmethod
    def renew(self) -> None:
        """After a failure of the sandbox: what has been set up goes, the next run gets its own."""

    def decide(self, job: Job) -> Answer:
        """The verdict, after at most one retry."""
        reason = ""
        for _ in range(2):
            try:
                return getattr(self, job["form"])(job)
            except SandboxError as error:
                reason = str(error)
                self.renew()
        return verdict("no_verdict", 0.0, reason)

    def call(self, job: Job, kind: str, take: Callable[[int, str], bool]) -> tuple[str, str, Answer]:
        """Call the function with each input and `take` each coded value until it says stop or something else ends it.

        Returns the status ("" when it was stopped or came to the end), a text, and how the process ended.
        """
        status, text, count, total, kill = "", "", 0, len(job["inputs"]), True
        with self.launch(job, kind) as running:
            (lines,) = running.lines
            try:
                running.begin(0)
                while count < total and (line := lines.next()) is not None:
                    if line.startswith(b"!"):
                        status, text = said(line)
                        break
                    count += 1
                    if not take(count - 1, line.decode("ascii", "replace")):
                        break
                else:
                    status = "" if count == total else "ended"
                    kill = lines.flooded or count == total  # else it is ending by itself
            finally:
                (child,) = running.finish(kill)
        if lines.flooded:
            status, text = "output_limit", f"returned more than {job['output_bytes']} bytes"
        elif status == "ended":
            status, text = ending(child, job)
        if late(child, job) and status in UNFINISHED:
            status, text = "time_limit", ending(child, job)[1]
        return status, text and f"call {count}: {text}", child

    def calls(self, job: Job) -> Answer:
        """Input and output pairs."""
        wrong = ""

        def take(number: int, got: str) -> bool:
            nonlocal wrong
            if right(job["checker"], job["expected"][number], got):
                return True
            arguments, expected = job["inputs"][number], job["expected"][number]
            called, gave, wanted = map(codec.told, (arguments, got, expected))
            wrong = f"call {number}: {called} gave {gave}, expected {wanted}"
            return False

        status, text, child = self.call(job, "calls", take)
        if wrong:  # a wrong value before the limit was reached stays a wrong answer
            status, text = "wrong_answer", wrong
        return verdict(status or "passed", child["seconds"], text or f"{len(job['expected'])} calls")

    def values(self, job: Job) -> Answer:
        """The values themselves, for the caller to look at; "passed" means that all calls returned."""
        found: list[str] = []

        def take(number: int, got: str) -> bool:
            found.append(got)
            return True

        status, text, child = self.call(job, "arrays" if job["arrays"] else "calls", take)
        return verdict(status or "passed", child["seconds"], text, values=found)

    def asserts(self, job: Job) -> Answer:
        """Test text in one process, the program in another."""
        text, answer = "", None
        with self.launch(job, "asserts") as running:
            about_program, about_tests = running.lines
            try:
                running.begin(0)
                running.begin(1)
                answer = about_tests.next()
            finally:
                child, tester = running.finish(True)
            last = about_program.next()  # it is dead: what it said, or the end
        seconds = child["seconds"]
        status, _, text = printable((answer or b"").decode("ascii", "replace")).partition(" ")
        if answer is None and tester["reason"]:  # its limits are far above the program's
            timed = late(child, job) or tester["reason"] in ("cpu", "wall")
            status, text = ("time_limit", ending(child, job)[1]) if timed else ending(tester, job)
        elif answer is None:
            status, text = "runtime_error", f"the test text's process: {ending(tester, job)[1]}"
        elif status == "unused":
            return verdict("no_verdict", seconds, text)
        elif status == "gone":
            status, text = said(last) if last and last.startswith(b"!") else ending(child, job)
        if late(child, job) and status in (*UNFINISHED, "passed"):
            status, text = "time_limit", ending(child, job)[1]
        return verdict(status if status in (*FAILURES, "time_limit", "passed") else "runtime_error", seconds, text)

    def stdin(self, job: Job) -> Answer:
        """A whole program, once for each case; the first that fails decides."""
        total = slowest = 0.0
        for number, (given, expected) in enumerate(job["cases"]):
            status, text, seconds = self.case(job, given, expected)
            total, slowest = total + seconds, max(slowest, seconds)
            if status != "passed":
                return verdict(status, total, f"case {number}: {text}")
        return verdict("passed", total, f"{len(job['cases'])} cases, the slowest {slowest:.2f} s CPU")

    def case(self, job: Job, given: str, expected: str) -> tuple[str, str, float]:
        """Status, text and CPU seconds of one case."""
        with self.launch(job, "stdin", given) as running:
            (lines,), kill = running.lines, True
            try:
                running.begin(0)
                got, kill = read_all(running.output, job["output_bytes"])
                line = None if kill else lines.next()
            finally:
                (child,) = running.finish(kill)
        seconds = child["seconds"]
        if late(child, job):
            return *ending(child, job), seconds
        if kill:
            return "output_limit", f"printed more than {job['output_bytes']} bytes", seconds
        if line is not None and line.startswith(b"!"):
            return *said(line), seconds
        if child["status"] or child["reason"]:
            return *ending(child, job), seconds
        try:
            with timed():
                if compare(job["checker"], expected, text := got.decode("utf-8", "replace")):
                    return "passed", "", seconds
        except TimeoutError:
            return "wrong_answer", "the comparison took too long", seconds
        except Exception as error:  # of numbers in the text, say: the judge's process goes on
            return "wrong_answer", f"the output cannot be compared ({type(error).__name__})", seconds
        return "wrong_answer", f"{given!r:.100} gave {text!r:.100}, expected {expected!r:.100}", seconds


def read_all(stream: Any, limit: int) -> tuple[bytes, bool]:
    """What comes until the end, at most `limit` bytes, and whether there was more."""
    chunks, size = [], 0
    while chunk := stream.read(PIECE_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            return b"", True
    return b"".join(chunks), False
