"""The zygote as the judge worker sees it: start it, hand it a run with its descriptors, hear how it ended, end it.

`Zygote.run` begins a run and `Zygote.finish` ends it. Everything here is trusted code in the judge worker; what runs
programs is `zygote.py`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import threading
from typing import Any

from ra3_lab.sandbox.deciding import Job, SandboxError
from ra3_lab.sandbox.scratch import remove
from ra3_lab.sandbox.starting import HOME, command


class Zygote:
    """The process that forks, as seen from here; started when first needed."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan, self.folder = plan, ""
        self.process: subprocess.Popen | None = None
        self.control: socket.socket | None = None
        # The judge worker's reading thread may end everything while its main thread starts afresh.
        self.lock, self.closed = threading.RLock(), False
        self.scratch_mb = 0.0

    def start(self, scratch_mb: float) -> None:
        """A fresh process, ready to fork. SandboxError, with its reason, where it cannot be set up as planned."""
        with self.lock:
            self.launch(scratch_mb)
        assert self.control is not None
        self.control.settimeout(60)
        answer = self.answer()
        if "error" in answer:
            raise SandboxError(f"the sandbox could not be set up: {answer['error']}")

    def launch(self, scratch_mb: float) -> None:
        """Make its folder, start it, send it the plan."""
        self.stop()
        if self.closed:
            raise SandboxError("stopped")
        ours, theirs = socket.socketpair()
        plan = self.plan | {"scratch_mb": scratch_mb, "home": HOME}
        if not plan.get("namespaces"):
            place, prefix = os.path.split(plan["folders"])
            self.folder = tempfile.mkdtemp(prefix=prefix, dir=place)
            os.chmod(self.folder, 0o711)
            plan["scratch"] = os.path.join(os.path.realpath(self.folder), "scratch")
            os.mkdir(plan["scratch"], 0o700)
        else:
            plan["scratch"] = ""
        filled = {"{scratch}": plan["scratch"], "{scratch_bytes}": str(math.ceil(scratch_mb * 1024 * 1024))}
        launcher = list(plan.get("launcher", ()))
        for blank, text in filled.items():
            launcher = [word.replace(blank, text) for word in launcher]
        python = os.path.realpath(sys.executable) if launcher else sys.executable
        words = command("zygote", plan["owner"], f"{theirs.fileno()}, {os.getpid()}", python)
        # A fixed hash seed, so that a program that walks a set gives the same every time. One arena: an address
        # space limit of 512 MB would otherwise go to threads' reserves. Nothing else of the environment.
        environment = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "MALLOC_ARENA_MAX": "1"}
        nothing = subprocess.DEVNULL
        with theirs:
            try:
                self.process = subprocess.Popen(
                    [*launcher, *words],
                    stdin=nothing,
                    stdout=nothing,
                    stderr=nothing,
                    env=environment,
                    pass_fds=[theirs.fileno()],
                    cwd="/",
                )
            except OSError as error:
                ours.close()
                raise SandboxError(f"the zygote cannot be started: {error}") from error
        self.control, self.scratch_mb = ours, scratch_mb
        ours.sendall(json.dumps(plan).encode() + b"\n")

    def run(self, job: Job, descriptors: list[int]) -> None:
        """Begin a run; `finish` ends it."""
        if self.control is None or self.scratch_mb != job["scratch_mb"]:
            self.start(job["scratch_mb"])
        assert self.control is not None
        names = ("kind", "cpu_seconds", "wall_seconds", "memory_mb", "scratch_mb", "patient")
        text = json.dumps({name: job[name] for name in names}).encode() + b"\n"
        self.control.settimeout(job["wall_seconds"] + 30)
        try:
            socket.send_fds(self.control, [text], descriptors)
        except OSError as error:
            raise SandboxError(f"the zygote is gone: {error}") from error

    def finish(self, kill: bool = True) -> list[dict[str, Any]]:
        """How each process ended. Without `kill` the deciding one is left to end by itself or by its limits."""
        assert self.control is not None
        if kill:
            with contextlib.suppress(OSError):
                self.control.sendall(b"kill\n")
        answer = self.answer()
        if not answer["clean"]:  # leftovers that would not go: the next program gets a fresh world
            self.stop()
        return answer["children"]

    def answer(self) -> dict[str, Any]:
        assert self.control is not None
        data = b""
        try:
            while not data.endswith(b"\n"):
                chunk = self.control.recv(1 << 16)
                if not chunk:
                    raise SandboxError("the zygote ended")
                data += chunk
            return json.loads(data)
        except (OSError, ValueError) as error:
            raise SandboxError(f"the zygote did not answer: {error}") from error

    def close(self) -> None:
        """End it for good: nothing is started any more."""
        with self.lock:
            self.closed = True
            self.stop()

    def stop(self) -> None:
        """End it and all in it; remove its folder."""
        with self.lock:
            self._stop()

    def _stop(self) -> None:
        if self.control is not None:
            self.control.close()
            self.control = None
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        if self.folder:
            remove(self.folder)
            self.folder = ""
