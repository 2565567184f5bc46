"""A forked process as the zygote sees it: what it has used, whether it has ended, ending it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

from ra3_lab.sandbox import darwin


class Child:
    """A forked process and what it may still use."""

    def __init__(self, pid: int, cpu_seconds: float) -> None:
        self.pid, self.limit, self.reason, self.status, self.cpu = pid, cpu_seconds, "", None, 0.0
        self.began, self.wall = time.monotonic(), 0.0
        self.pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1

    def used(self) -> float:
        """CPU seconds so far, threads included, to the microsecond; 0.0 where only wait4 tells."""
        if sys.platform == "darwin":
            return darwin.usage(self.pid)[0]
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # Linux's clock of another process, CPUCLOCK_SCHED
        except OSError:
            return 0.0

    def memory(self) -> int:
        """Bytes it holds, where no limit of the kernel's counts them (macOS); else 0."""
        return darwin.usage(self.pid)[1] if sys.platform == "darwin" else 0

    def waited(self) -> float:
        """Seconds that it was kept waiting for a processor, as far as the kernel tells."""
        try:
            with open(f"/proc/{self.pid}/schedstat") as file:
                return int(file.read().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0

    def threads(self) -> int:
        """Its threads, as far as the kernel tells."""
        try:
            with open(f"/proc/{self.pid}/stat") as file:
                return int(file.read().rpartition(")")[2].split()[17])
        except OSError:
            return 1

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
