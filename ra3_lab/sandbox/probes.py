"""A hostile little program that tries what a program must not be able to do, and reports what it got.

The trainer lays out the bait: a canary file, a listener on a loopback port and, on Linux, on an abstract socket.
Each attempt is seen from outside where that is possible (a file appears, a connection arrives); the program's own
word is taken only for what it could not do.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
import tempfile
from typing import Any

ATTEMPTS = {
    "read a file": "files",
    "write a file": "files",
    "change a file's mode": "files",
    "list a folder": "files",
    "connect to a loopback port": "network",
    "connect to an abstract socket": "network",
    "send a datagram": "network",
    "start a process": "processes",
    "signal the trainer": "processes",
    "read a process's environment": "secrets",
    "find an environment variable": "secrets",
    "take twice its memory": "memory",
    "take memory that is not counted": "memory",
}
"""What is tried, and the heading it belongs under."""

SECRET = "RA3_PROBE"
"""An environment variable that the trainer has meanwhile."""

PROGRAM = """
import os, socket

def attempt(action):
    try:
        return "did it: " + str(action())[:100]
    except BaseException as error:
        return "refused: " + type(error).__name__ + ": " + str(error)[:100]

def read(path):
    with open(path) as file:
        return file.read()

def write(path):
    with open(path, "w") as file:
        return file.write("written")

def connect(family, kind, address):
    with socket.socket(family, kind) as found:
        found.settimeout(1)
        if kind == socket.SOCK_DGRAM:
            return found.sendto(b"hello", address)
        return found.connect(address)

def start():
    if hasattr(os, "fork"):
        pid = os.fork()
        if not pid:
            os._exit(0)
        return os.waitpid(pid, 0)
    import subprocess, sys
    return subprocess.run([sys.executable, "-c", ""], timeout=5)

def uncounted():
    descriptor = os.memfd_create("flood")
    return os.write(descriptor, bytes(1 << 20))

def change(path):
    before = os.stat(path).st_mode
    os.chmod(path, 0o666)
    if os.stat(path).st_mode == before:
        raise PermissionError("nothing changed")

def take(memory):
    return len(b"x" * memory)  # written to: macOS counts no memory before

def look(folder, port, datagram_port, abstract, trainer):
    canary = os.path.join(folder, "canary")
    tried = {
        "read a file": lambda: read(canary),
        "write a file": lambda: write(os.path.join(folder, "written")),
        "change a file's mode": lambda: change(canary),
        "list a folder": lambda: os.listdir(folder),
        "connect to a loopback port": lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port)),
        "send a datagram": lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", datagram_port)),
        "start a process": start,
        "signal the trainer": lambda: os.kill(trainer, 0),
        "read a process's environment": lambda: read("/proc/%d/environ" % trainer),
        "find an environment variable": lambda: os.environ["RA3_PROBE"],
        "take memory that is not counted": uncounted,
        "use its scratch folder": lambda: write("scratch_note"),
    }
    if abstract:
        tried["connect to an abstract socket"] = lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, chr(0) + abstract)
    return {name: attempt(action) for name, action in tried.items()}
"""


def run(judge: Any, memory_mb: int) -> dict[str, str]:
    """What each attempt gave, in words that begin with "refused" or "did it". RuntimeError where it cannot run."""
    from ra3_lab.sandbox.judge import Invocation
    from ra3_lab.sandbox.program import Limits

    name = f"ra3-probe-{secrets.token_hex(8)}"
    with tempfile.TemporaryDirectory(prefix="ra3_probe_") as folder, contextlib.ExitStack() as stack:
        canary = os.path.join(folder, "canary")
        with open(canary, "w") as file:
            file.write("canary")
        os.chmod(canary, 0o600)
        tcp = stack.enter_context(_listening(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)))
        udp = stack.enter_context(_listening(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)))
        abstract = sys.platform == "linux"
        if abstract:
            stack.enter_context(_listening(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + name))
        ports = [_port(tcp), _port(udp)]
        arguments = [folder, *ports, name if abstract else "", os.getpid()]
        limits = Limits(cpu_seconds=10.0, memory_mb=memory_mb, wall_seconds=60.0)
        twice = Invocation(PROGRAM, "take", [[memory_mb * 2 * 1024 * 1024]])  # alone: it may be the end of a program
        returned, taken = judge.call([Invocation(PROGRAM, "look", [arguments]), twice], limits)
        if returned.status != "passed":
            raise RuntimeError(f"the probe did not run: {returned.status}: {returned.detail}")
        found = dict(returned.values[0])
        word = "did it" if taken.status == "passed" else "refused"
        found["take twice its memory"] = f"{word}: {taken.detail or taken.values}"
        if os.path.exists(os.path.join(folder, "written")):
            found["write a file"] = "did it: the file is there"
        if os.stat(canary).st_mode & 0o777 != 0o600:
            found["change a file's mode"] = "did it: the mode has changed"
        for sock, what in ((tcp, "connect to a loopback port"), (udp, "send a datagram")):
            with contextlib.suppress(OSError):
                sock.accept() if sock is tcp else sock.recv(16)
                found[what] = "did it: it arrived"
    return found


def _listening(family: int, kind: int, address: Any) -> socket.socket:
    made = socket.socket(family, kind)
    made.setblocking(False)
    try:
        made.bind(address)
        if kind == socket.SOCK_STREAM:
            made.listen(1)
    except OSError:  # a machine without a loopback network has no such bait
        pass
    return made


def _port(sock: socket.socket) -> int:
    return sock.getsockname()[1]
