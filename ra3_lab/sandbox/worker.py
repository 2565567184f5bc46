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

from ra3_lab.sandbox.deciding import PARTS, PIECE_BYTES, Answer, Decider, Job, Lines, Running, allowance
from ra3_lab.sandbox.host import Zygote

F_SETPIPE_SZ = 1031  # Linux


class Judge(Decider):
    """Runs are forked by a zygote, one at a time."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.zygote = Zygote(plan)

    def launch(self, job: Job, kind: str, given: str = "") -> Running:
        return Forked(self.zygote, job, kind, given)

    def renew(self) -> None:
        self.zygote.stop()


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
    judge = Judge(json.loads(source.readline()))
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
