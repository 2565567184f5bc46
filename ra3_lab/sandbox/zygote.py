"""A warm interpreter that forks once for every program, watches its limits, kills it and cleans up.

    judge worker --control: one line a run, with its descriptors--> zygote --fork--> program (and test text)
                 <--one line: how it ended, CPU seconds----------------

Started by exec with an empty environment, never forked from the trainer. It never reads a program, an input or an
expected output: those go to the forked processes directly, over their own descriptors, so that no program finds
another one's data in the memory it inherits. In the plan of the run (chosen and probed by `isolation.py`) are any of:
namespaces, landlock, seccomp, guard.

The order inside the fork: own session, descriptors, resource limits, Landlock, seccomp, then the program.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import gc
import json
import os
import random
import select
import signal
import socket
import sys
import time
from typing import Any

# All of it here: once the world has closed, our own files are out of sight.
from ra3_lab.sandbox import arrays, candidate, darwin, namespaces, tester
from ra3_lab.sandbox.children import Child
from ra3_lab.sandbox.confinement import THREADS, Confinement, address_space
from ra3_lab.sandbox.places import Places, world_reachable
from ra3_lab.sandbox.scratch import empty, used_bytes

WARM = "bisect collections copy functools heapq itertools math operator random re string typing"
PR_SET_CHILD_SUBREAPER = 36
CHANNEL, CALLS = 3, 4  # descriptors in the forked processes
LOOK_SECONDS = 3600.0  # poll takes no more than 24 days
TEST_SECONDS = 5.0  # CPU seconds that test text may use beyond twice the program's limit


class Zygote:
    """The loop. One run at a time."""

    def __init__(self, control: socket.socket, plan: dict[str, Any], scratch: str, already: int) -> None:
        self.control, self.plan, self.scratch = control, plan, scratch
        self.null = os.open(os.devnull, os.O_RDWR)
        self.confinement = Confinement(plan, scratch, already)
        self.own_memory = darwin.usage(os.getpid())[1]
        self.cores = os.cpu_count() or 1

    def serve(self) -> None:
        """Until the judge worker closes the control socket."""
        gc.collect()
        gc.freeze()  # so that a collection in a program leaves our pages shared
        while True:
            line, descriptors = self.receive()
            if not line:
                return
            job = json.loads(line)
            try:
                answer = self.run(job, descriptors)
            finally:
                for descriptor in descriptors:
                    with contextlib.suppress(OSError):
                        os.close(descriptor)
            self.control.sendall(json.dumps(answer).encode() + b"\n")

    def receive(self) -> tuple[bytes, list[int]]:
        """The next run's line and its descriptors; b"" at the end."""
        line, descriptors = b"", array.array("i")
        while not line.endswith(b"\n"):
            text, ancillary, _, _ = self.control.recvmsg(1 << 16, socket.CMSG_SPACE(16 * descriptors.itemsize))
            if not text:
                return b"", []
            line += text
            while line.startswith(b"kill\n"):  # late: that run was over already; the next may come in the same piece
                line = line.removeprefix(b"kill\n")
            for level, kind, data in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        return line, list(descriptors)

    def run(self, job: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        """Fork, watch, kill, clean. `descriptors`: the channel; then stdin and stdout, or the tests' channel."""
        kind, children = job["kind"], []
        if kind == "asserts":
            ours, theirs = socket.socketpair()
            with ours, theirs:
                places = [self.null, self.null, self.null, descriptors[0], ours.fileno()]
                children.append(self.start(job, candidate.run_asserts, places, job["cpu_seconds"]))
                places = [self.null, self.null, self.null, descriptors[1], theirs.fileno()]
                limit = 2 * job["cpu_seconds"] + TEST_SECONDS
                children.append(self.start(job, tester.run_tests, places, limit))
        elif kind == "stdin":
            places = [descriptors[1], descriptors[2], self.null, descriptors[0]]
            children.append(self.start(job, candidate.run_stdin, places, job["cpu_seconds"]))
        else:
            run = self.run_with_arrays if kind == "arrays" else candidate.run_calls
            children.append(self.start(job, run, [self.null] * 3 + [descriptors[0]], job["cpu_seconds"]))
        for descriptor in descriptors:
            os.close(descriptor)
        descriptors.clear()
        reason = self.watch(children, job)
        for child in children:
            child.kill(reason)
            child.close()
        clean = _kill_stragglers(bool(self.plan.get("seccomp"))) and empty(self.scratch)
        answers = [
            {"status": child.status, "reason": child.reason, "seconds": child.cpu, "wall": child.wall}
            for child in children
        ]
        return {"children": answers, "clean": clean}

    def start(self, job: dict[str, Any], run: Any, places: list[int], cpu_seconds: float) -> Child:
        """Fork one process that has `places` as its descriptors 0, 1, 2, ... and no others."""
        zygote, pid = os.getpid(), os.fork()
        if pid:
            return Child(pid, cpu_seconds)
        channel = candidate.Channel(CHANNEL)
        try:
            self.confinement.bind_to(zygote)
            os.setsid()
            ruleset = self.confinement.ruleset
            wanted = places if ruleset is None else [*places, ruleset.descriptor]
            high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 64) for descriptor in wanted]  # out of the low ones' way
            for number, descriptor in enumerate(high):
                os.dup2(descriptor, number)
            if ruleset is not None:
                ruleset.descriptor = len(places)
            os.closerange(len(wanted), 1024)
            os.chdir(self.scratch)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self.confinement.apply(job | {"cpu_seconds": cpu_seconds})
            if ruleset is not None:
                os.close(ruleset.descriptor)
            random.seed(0)  # so that a verdict does not depend on luck
        except BaseException as error:
            with contextlib.suppress(BaseException):
                channel.write(f"!sandbox {type(error).__name__}: {error}"[:300].replace("\n", " "))
            os._exit(111)
        try:
            run(*(channel, candidate.Channel(CALLS)) if len(places) > CALLS else (channel,))
        finally:
            os._exit(0)

    def run_with_arrays(self, channel: candidate.Channel) -> None:
        candidate.run_calls(channel, arrays.refer, arrays.revive)

    def watch(self, children: list[Child], job: dict[str, Any]) -> str:
        """Return when the last process has ended (the one that decides) or a limit is reached: the reason, or "".

        For a patient job, time in which a process was ready to run and the machine was busy elsewhere is added to the
        wall limit, so that load changes no verdict: that limit is for programs that sleep.
        """
        deadline = end = time.monotonic() + job["wall_seconds"]
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        for child in children:
            if child.pidfd >= 0:
                poll.register(child.pidfd, select.POLLIN)
        quick = all(child.pidfd >= 0 for child in children)
        while not children[-1].ended():
            wait = deadline - time.monotonic()
            if wait <= 0:
                waited = sum(child.waited() for child in children) if job["patient"] else 0.0
                if end + waited <= time.monotonic() + 0.01:
                    return "wall"
                deadline = end + waited
                continue
            for child in children:
                if child.ended():
                    if child.pidfd >= 0:
                        with contextlib.suppress(KeyError):
                            poll.unregister(child.pidfd)
                    continue
                left = child.limit - child.used()
                if left <= 0:
                    child.kill("cpu")
                    continue
                wait = min(wait, max(left / self.cores, 0.002))
                if not self.plan.get("namespaces") and (passed := self.too_much(child, job)):
                    child.kill(passed)
            if not self.plan.get("namespaces"):
                wait = min(wait, 0.03)  # nothing but our looking bounds the scratch folder and the threads
            if not quick:
                wait = min(wait, 0.005)
            wait = min(wait, LOOK_SECONDS)
            for descriptor, _ in poll.poll(wait * 1000):
                if descriptor == self.control.fileno():
                    self.control.recv(64)
                    return "judge"
        return ""

    def too_much(self, child: Child, job: dict[str, Any]) -> str:
        """What no limit of the kernel's bounds is looked at: without a file system of its own threads and files, on
        macOS memory. The limit that is passed, or ""."""
        if child.memory() > job["memory_mb"] * 1024 * 1024 + self.own_memory:
            return "memory"
        if child.threads() > THREADS:
            return "scratch"
        full = bool(os.listdir(self.scratch)) and used_bytes(self.scratch) > self.plan["scratch_mb"] * 1024 * 1024
        return "scratch" if full else ""


def _kill_stragglers(no_forks: bool) -> bool:
    """SIGKILL what a program started, where it could: as subreaper or process 1 its orphans are our children."""
    for _ in range(2000):
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return True
        if no_forks:
            return False  # cannot be; ask for a fresh zygote
        with contextlib.suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children") as file:
            for child in file.read().split():
                with contextlib.suppress(OSError):
                    os.kill(int(child), signal.SIGKILL)
        time.sleep(0.001)
    return False


def main(descriptor: int, parent: int) -> None:
    """The process's whole life: read the plan, go in, say what holds, serve."""
    control = socket.socket(fileno=descriptor)
    data = b""
    while not data.endswith(b"\n"):
        chunk = control.recv(1 << 16)
        if not chunk:
            return
        data += chunk
    plan = json.loads(data)
    try:
        os.environ.clear()
        os.environ.update(item.split("=", 1) for item in plan["environment"])
        sys.path[:] = [path for path in sys.path if path and path != plan["home"]] + list(plan["packages"])
        candidate.furnish((*WARM.split(), *plan["warm"]))
        scratch, already = plan["scratch"], address_space()
        if sys.platform == "linux":
            namespaces.end_with_parent()
            if os.getppid() != parent and not plan["launcher"]:
                return
            if plan["launcher"]:
                namespaces.drop_privileges()
                scratch = namespaces.SCRATCH
            elif plan.get("namespaces"):
                namespaces.enter(Places(tuple(plan["read"]), tuple(plan["hide"])), plan["scratch_mb"])
                scratch = namespaces.SCRATCH
            else:
                ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # its programs' orphans come to it
                if plan.get("landlock"):
                    _without_namespaces(plan, scratch)
        for signum in (signal.SIGINT, signal.SIGPIPE):  # Ctrl-C is the trainer's business
            signal.signal(signum, signal.SIG_IGN)
        zygote = Zygote(control, plan, scratch, already)
    except BaseException as error:
        control.sendall(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode() + b"\n")
        return
    control.sendall(json.dumps({"ready": True, "uid": os.getuid()}).encode() + b"\n")
    zygote.serve()


def _without_namespaces(plan: dict[str, Any], scratch: str) -> None:
    """As root, become nobody where the interpreter can still be read then; give privileges up in any case."""
    if os.getuid() == 0 and world_reachable() and world_reachable(os.path.dirname(scratch)):
        os.chown(scratch, namespaces.NOBODY, namespaces.NOBODY)
        namespaces.become_nobody()
    else:
        namespaces.drop_privileges()
    namespaces.end_with_parent()
