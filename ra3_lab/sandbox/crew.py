"""A judge worker as the trainer sees it: start it, hand it jobs, hear its verdicts, end it and what it leaves."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import secrets
import subprocess
import tempfile
import warnings
from collections import deque
from typing import Any

from ra3_lab.sandbox.scratch import remove
from ra3_lab.sandbox.starting import command

STOP_SECONDS = 10.0  # a busy machine may keep a worker from removing its folder for a while
PIPE_BYTES = 1 << 20  # values of many megabytes come in few pieces


class Worker:
    """A judge worker's process and the jobs it holds, oldest first."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.held: deque[int] = deque()
        self.deadline = 0.0
        self.begun: list[bytes] = []  # pieces of a line whose end has not come
        environment = {"PYTHONUTF8": "1"} | {
            name: os.environ[name] for name in ("TMPDIR", "SYSTEMROOT") if name in os.environ
        }
        self.process = subprocess.Popen(
            command("worker", os.getpid()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        for pipe in (self.stdin, self.stdout):
            _widen(pipe.fileno())
        # Its zygote's folders begin so: a worker that is killed, or hangs, cannot remove them itself.
        self.folders = os.path.join(tempfile.gettempdir(), f"ra3_sandbox_{secrets.token_hex(8)}_")
        self.write(json.dumps(plan | {"owner": os.getpid(), "folders": self.folders}))

    def write(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a dead worker shows by the end of its output
            self.stdin.write(line.encode() + b"\n")
            self.stdin.flush()

    def lines(self) -> list[bytes] | None:
        """The verdicts that have come; None when the process is gone."""
        chunk = os.read(self.stdout.fileno(), PIPE_BYTES)
        if not chunk:
            return None
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*self.begun, lines[0]])
            self.begun.clear()
        self.begun.append(rest)
        return lines

    def stop(self) -> None:
        """End of input: it goes by itself; killed where it does not. What folders it leaves are removed."""
        with contextlib.suppress(OSError):
            self.stdin.close()
        try:
            self.process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.stdout.close()
        for folder in glob.glob(glob.escape(self.folders) + "*"):
            if not remove(folder, STOP_SECONDS):
                warnings.warn(f"the sandbox's folder {folder} could not be removed: remove it by hand.", stacklevel=2)


def _widen(pipe: int) -> None:
    """To PIPE_BYTES where the system can and the user may: all of a user's pipes together have a limit (pipe(7))."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
