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

import _sitebuiltins
import array
import builtins
import contextlib
import ctypes
import fcntl
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any

# All of it here: once the world has closed, our own files are out of sight.
from ra3_lab.sandbox import arrays, candidate, landlock, namespaces, seccomp, tester
from ra3_lab.sandbox.guard import forbid
from ra3_lab.sandbox.places import DEVICES, Places, world_reachable

WARM = "bisect collections copy functools heapq itertools math operator random re string typing"
CHANNEL, CALLS = 3, 4  # descriptors in the forked processes
OPEN_FILES, THREADS = 64, 256
STACK_BYTES = 64 << 20
TEST_SECONDS = 5.0  # CPU seconds that test text may use beyond twice the program's limit


class Confinement:
    """The layers of the plan, prepared once; `apply` binds a forked process to them."""

    def __init__(self, plan: dict[str, Any], scratch: str, address_space: int) -> None:
        self.plan, self.scratch, self.ruleset, self.filter = plan, scratch, None, None
        self.address_space = address_space
        self.libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        self.cap_threads = bool(plan.get("namespaces"))  # elsewhere the limit counts all of the user's processes
        abi = 99
        if plan.get("landlock"):
            shown = Places(tuple(plan["read"]), tuple(plan["hide"]))
            self.ruleset = landlock.Ruleset([*shown.exposed(), *DEVICES], [scratch, "/dev/null"])
            abi = self.ruleset.abi
        if plan.get("seccomp"):
            self.filter = seccomp.Filter(truncate=abi >= 3)

    def bind_to(self, zygote: int) -> None:
        """In the forked process: end when the zygote does."""
        if self.libc is not None:
            self.libc.prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG
            if os.getppid() != zygote:
                os._exit(1)

    def apply(self, job: dict[str, Any]) -> None:
        """In the forked process: from here on it can do no more than a program may."""
        memory = self.address_space + int(job["memory_mb"] * 1024 * 1024)
        wanted = {
            "AS": memory,
            "CPU": int(job["cpu_seconds"] * 1.3) + 2,  # by ticks, which can be a sixth off: a backstop of `watch`
            "FSIZE": int(job["scratch_mb"] * 1024 * 1024),
            "NOFILE": OPEN_FILES,
            "CORE": 0,
            "MEMLOCK": 0,
            "MSGQUEUE": 0,
        }
        if self.cap_threads:
            wanted["NPROC"] = THREADS
        for name, value in wanted.items():
            number = getattr(resource, f"RLIMIT_{name}", None)
            if number is not None:
                with contextlib.suppress(ValueError, OSError) if sys.platform != "linux" else contextlib.nullcontext():
                    resource.setrlimit(number, (value, value))
        with contextlib.suppress(ValueError, OSError):  # main-thread recursion in C; the kernel looks when it grows
            resource.setrlimit(resource.RLIMIT_STACK, (STACK_BYTES, STACK_BYTES))
        if self.ruleset is not None:
            self.ruleset.restrict()
        if self.filter is not None:
            self.filter.install()
        if self.plan.get("guard"):
            forbid(self.scratch)


def _address_space() -> int:
    """Bytes of address space this process has already; RLIMIT_AS counts from zero."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 64 << 20


class Child:
    """A forked process and what it may still use."""

    def __init__(self, pid: int, cpu_seconds: float) -> None:
        self.pid, self.limit, self.reason, self.status, self.cpu = pid, cpu_seconds, "", None, 0.0
        self.began, self.wall = time.monotonic(), 0.0
        self.pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1

    def used(self) -> float:
        """CPU seconds so far, threads included, to the microsecond; 0.0 where only wait4 tells."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # Linux's clock of another process, CPUCLOCK_SCHED
        except (AttributeError, OSError):
            return 0.0

    def ended(self) -> bool:
        """Whether it is gone; takes its status when it is."""
        if self.status is None:
            used = self.used()
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.status, self.cpu = status, used or usage.ru_utime + usage.ru_stime
                self.wall = time.monotonic() - self.began
        return self.status is not None

    def kill(self, reason: str = "") -> None:
        """SIGKILL, and wait until it is gone."""
        if self.ended():
            return
        self.reason = self.reason or reason
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)  # it may not have its own group yet
        if self.pidfd >= 0:
            select.select([self.pidfd], [], [])  # gone, but its clock can still be read
        used = self.used()
        _, self.status, usage = os.wait4(self.pid, 0)
        self.cpu = max(self.cpu, used or usage.ru_utime + usage.ru_stime)
        self.wall = time.monotonic() - self.began

    def close(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)


class Zygote:
    """The loop. One run at a time."""

    def __init__(self, control: socket.socket, plan: dict[str, Any], scratch: str, address_space: int) -> None:
        self.control, self.plan, self.scratch = control, plan, scratch
        self.null = os.open(os.devnull, os.O_RDWR)
        self.confinement = Confinement(plan, scratch, address_space)
        self.cores = os.cpu_count() or 1

    def serve(self) -> None:
        """Until the judge worker closes the control socket."""
        gc.collect()
        gc.freeze()  # so that a collection in a program leaves our pages shared
        while True:
            line, descriptors = self.receive()
            if not line:
                return
            if line == b"kill\n":
                continue  # the run was over already
            job = json.loads(line)
            try:
                answer = self.run(job, descriptors)
            finally:
                for descriptor in descriptors:
                    with contextlib.suppress(OSError):
                        os.close(descriptor)
            self.control.sendall(json.dumps(answer).encode() + b"\n")

    def receive(self) -> tuple[bytes, list[int]]:
        line, descriptors = b"", array.array("i")
        while not line.endswith(b"\n"):
            text, ancillary, _, _ = self.control.recvmsg(1 << 16, socket.CMSG_SPACE(16 * descriptors.itemsize))
            if not text:
                return b"", []
            line += text
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
        reason = self.watch(children, job["wall_seconds"], job["patient"])
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
            sys.modules["random"].seed(0)  # so that a verdict does not depend on luck
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

    def watch(self, children: list[Child], wall_seconds: float, patient: bool) -> str:
        """Return when the last process has ended (the one that decides) or a limit is reached: the reason, or "".

        With `patient`, time in which a process was ready to run and the machine was busy elsewhere is added to the
        wall limit, so that load changes no verdict: that limit is for programs that sleep.
        """
        deadline = end = time.monotonic() + wall_seconds
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        for child in children:
            if child.pidfd >= 0:
                poll.register(child.pidfd, select.POLLIN)
        quick = all(child.pidfd >= 0 for child in children)
        while not children[-1].ended():
            wait = deadline - time.monotonic()
            if wait <= 0:
                waited = self.waited(children) if patient else 0.0
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
                if not self.plan.get("namespaces") and self.too_much(child):
                    child.kill("scratch")
            if not self.plan.get("namespaces"):
                wait = min(wait, 0.03)  # nothing but our looking bounds the scratch folder and the threads
            if not quick:
                wait = min(wait, 0.005)
            for descriptor, _ in poll.poll(wait * 1000):
                if descriptor == self.control.fileno():
                    self.control.recv(64)
                    return "judge"
        return ""

    def waited(self, children: list[Child]) -> float:
        """Seconds that the processes were kept waiting for a processor, as far as the kernel tells."""
        total = 0.0
        for child in children:
            with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{child.pid}/schedstat") as file:
                total += int(file.read().split()[1]) / 1e9
        return total

    def too_much(self, child: Child) -> bool:
        """Without a scratch file system of its own: files and threads are counted."""
        with contextlib.suppress(OSError), open(f"/proc/{child.pid}/stat") as file:
            if int(file.read().rpartition(")")[2].split()[17]) > THREADS:
                return True
        return bool(os.listdir(self.scratch)) and used_bytes(self.scratch) > self.plan["scratch_mb"] * 1024 * 1024


def used_bytes(folder: str) -> int:
    """Bytes of disk under a folder, plus 1 KiB for each entry. Stops counting at 10,000 entries."""
    total, count, waiting = 0, 0, [folder]
    while waiting and count < 10_000:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                count += 1
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    total += 1024 + status.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total if count < 10_000 else 1 << 62


def empty(folder: str) -> bool:
    """Remove all that is in a folder, however deep, however odd its modes. False where something resists."""
    fresh = 0
    for _ in range(1_000_000):
        try:
            names = os.listdir(folder)
        except OSError:
            return False
        if not names:
            return True
        for name in names:
            path = os.path.join(folder, name)
            try:
                if not os.path.isdir(path) or os.path.islink(path):
                    os.unlink(path)
                    continue
                os.chmod(path, 0o700)
                for inner in os.listdir(path):  # bring it up a level: no recursion, no long paths
                    fresh += 1
                    os.rename(os.path.join(path, inner), os.path.join(folder, f".{os.getpid()}.{fresh}"))
                os.rmdir(path)
            except OSError:
                return False
    return False


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
        for name in (*WARM.split(), *plan["warm"]):
            __import__(name)
        for name in ("exit", "quit"):  # what `site` would have brought
            setattr(builtins, name, _sitebuiltins.Quitter(name, "end of input"))
        scratch, address_space = plan["scratch"], _address_space()
        if sys.platform == "linux":
            libc = ctypes.CDLL(None)
            libc.prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG: end with the judge worker
            if os.getppid() != parent and not plan["launcher"]:
                return
            if plan["launcher"]:
                namespaces.drop_privileges()
                scratch = namespaces.SCRATCH
            elif plan.get("namespaces"):
                namespaces.enter(Places(tuple(plan["read"]), tuple(plan["hide"])), plan["scratch_mb"])
                scratch = namespaces.SCRATCH
            else:
                libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: its programs' orphans come to it
                if plan.get("landlock"):
                    _without_namespaces(plan, scratch)
        for signum in (signal.SIGINT, signal.SIGPIPE):  # Ctrl-C is the trainer's business
            signal.signal(signum, signal.SIG_IGN)
        zygote = Zygote(control, plan, scratch, address_space)
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

    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
