"""The judge worker: a process of its own that holds tests and expected outputs and decides. It runs no foreign code.

    trainer --job: one line of JSON--> judge worker --channels--> program, test text (forked by its zygote)
            <--verdict: one line----

Started by exec without the trainer's environment. It decides as `deciding.py` says; a failure of the sandbox is tried
once more with a fresh zygote. When the trainer is gone, the input ends and this process with it, and the zygote with
that.

All time limits of programs are the zygote's: a killed program's channels close, so every read here ends. Should the
zygote hang, the trainer's own deadline ends this process.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import queue
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from ra3_lab.sandbox import arrays, codec
from ra3_lab.sandbox.deciding import (
    COMPARE_SECONDS,
    PARTS,
    PIECE_BYTES,
    Answer,
    Decider,
    Job,
    Lines,
    Running,
    allowance,
    timed,
    verdict,
)
from ra3_lab.sandbox.host import Zygote

F_SETPIPE_SZ = 1031  # Linux
READ_SECONDS = 0.5e-6  # CPU seconds for a byte of values, beyond COMPARE_SECONDS; small items take 0.2e-6


class Judge(Decider):
    """Runs are forked by a zygote, one at a time."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.zygote = Zygote(plan)

    def launch(self, job: Job, kind: str, given: str = "") -> Running:
        return Forked(self.zygote, job, kind, given)

    def renew(self) -> None:
        self.zygote.stop()

    def values(self, job: Job) -> Answer:
        """Only those that could be read here, under a time limit: the trainer reads them again, without one."""
        answer = super().values(job)
        if why := unreadable(answer["values"], job["arrays"]):
            return verdict("wrong_answer", answer["seconds"], f"returned what {why}", values=[])
        return answer


def unreadable(texts: list[str], with_arrays: bool) -> str:
    """Why the coded values of a program cannot be read, or "". Hashes that are made to collide take too long.

    >>> unreadable(['["set",[1,2]]'], False), unreadable(['["set"]'], False)[:21]
    ('', 'is not plain data: Va')
    """
    seconds = COMPARE_SECONDS + READ_SECONDS * sum(map(len, texts))
    if with_arrays:
        with contextlib.suppress(ImportError):
            __import__("numpy")  # now: an import that the timer interrupts spoils those that follow
    try:
        with timed(seconds):
            for text in texts:
                codec.loads(text, _revive if with_arrays else None)
    except TimeoutError:
        return "takes too long to read"
    except Exception as error:
        return f"is not plain data: {error}"[:300]
    return ""


def _revive(coded: list) -> Any:
    """A tensor is hashed by its identity, as a bare object is: torch stays out of this process."""
    return object() if coded[0] == "tensor" else arrays.revive(coded)


class Forked(Running):
    """Processes that the zygote has forked, with a socket to each."""

    def __init__(self, zygote: Zygote, job: Job, kind: str, given: str) -> None:
        self.zygote, self.job, self.parts = zygote, job, PARTS[kind]
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            pairs = [socket.socketpair() for _ in self.parts]
            self.channels = [ours.enter_context(pair[0]) for pair in pairs]
            descriptors = [theirs.enter_context(pair[1]).fileno() for pair in pairs]
            if kind == "stdin":
                reader, writer = os.pipe()
                self.output = ours.enter_context(open(reader, "rb", buffering=0))
                theirs.enter_context(open(writer, "wb"))
                with contextlib.suppress(OSError):
                    fcntl.fcntl(writer, F_SETPIPE_SZ, PIECE_BYTES)
                stdin = theirs.enter_context(readable(given.encode("utf-8", "surrogatepass")))
                descriptors += [stdin, writer]
            zygote.run(job | {"kind": kind}, descriptors)
            self.held = ours.pop_all()
        self.lines = [Lines(channel.recv, allowance(job, kind)) for channel in self.channels]

    def begin(self, number: int) -> None:
        part = {name: self.job[name] for name in self.parts[number]}
        with contextlib.suppress(ConnectionError):  # one that has died shows by its silence
            self.channels[number].sendall(json.dumps(part).encode() + b"\n")
        self.lines[number].begin()

    def finish(self, kill: bool) -> list[Answer]:
        return self.zygote.finish(kill)

    def close(self) -> None:
        self.held.close()


@contextlib.contextmanager
def readable(data: bytes) -> Iterator[int]:
    """A descriptor to read `data` from, as from a file, and not to write to."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("stdin", 2)  # MFD_ALLOW_SEALING
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        fcntl.fcntl(descriptor, 1033, 15)  # F_ADD_SEALS: seal, shrink, grow, write
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            descriptor = os.open(file.name, os.O_RDONLY)
    try:
        os.lseek(descriptor, 0, 0)
        yield descriptor
    finally:
        os.close(descriptor)


def main() -> None:
    """The process's whole life: the plan on the first line, then a job a line; a verdict a line."""
    tempfile.gettempdir()  # remembers what TMPDIR says
    os.environ.clear()
    jobs: queue.SimpleQueue = queue.SimpleQueue()
    source, sink = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    plan = json.loads(source.readline())
    sys.path += plan["packages"]  # numpy, where arrays come back
    judge = Judge(plan)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the trainer's business

    def read() -> None:  # also while a program runs: the end of the input ends us
        for line in source:
            jobs.put(json.loads(line))
        try:
            judge.zygote.close()
        finally:
            os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            job = jobs.get()
            answer = judge.decide(job)
            sink.write(json.dumps(answer | {"number": job["number"]}).encode() + b"\n")
    finally:  # the trainer is gone, mostly; wait until the zygote's folder is gone, too, whichever thread removes it
        judge.zygote.close()


if __name__ == "__main__":
    sys.exit(main())
