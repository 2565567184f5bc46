"""The layers of a plan, bound to a process before it runs a program: resource limits, Landlock, seccomp, the guard.

Of the resource limits macOS ignores that on address space (the zygote looks at the memory there) and counts no threads.
Source: getrlimit(2) of Linux and of macOS.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from typing import Any

from ra3_lab.sandbox import landlock, seccomp
from ra3_lab.sandbox.guard import forbid
from ra3_lab.sandbox.namespaces import end_with_parent
from ra3_lab.sandbox.places import DEVICES, Places

OPEN_FILES, THREADS = 64, 256
STACK_BYTES = 64 << 20


class Confinement:
    """The layers of the plan, prepared once; `apply` binds a process to them.

    `already` is the address space in use before: the limit on memory counts from there.
    """

    def __init__(self, plan: dict[str, Any], scratch: str, already: int) -> None:
        self.plan, self.scratch, self.ruleset, self.filter = plan, scratch, None, None
        self.already = already
        # Linux counts threads, and those of all of the user's processes unless there is a user namespace of its own.
        # macOS counts the user's processes and no threads: 1 allows no further one.
        self.processes = THREADS if plan.get("namespaces") else 1 if plan["isolation"] == "sandbox-exec" else 0
        abi = 99
        if plan.get("landlock"):
            shown = Places(tuple(plan["read"]), tuple(plan["hide"]))
            self.ruleset = landlock.Ruleset([*shown.exposed(), *DEVICES], [scratch, "/dev/null"])
            abi = self.ruleset.abi
        if plan.get("seccomp"):
            self.filter = seccomp.Filter(truncate=abi >= 3)

    def bind_to(self, zygote: int) -> None:
        """In the forked process: end when the zygote does."""
        if sys.platform == "linux":
            end_with_parent()
            if os.getppid() != zygote:
                os._exit(1)

    def apply(self, job: dict[str, Any]) -> None:
        """In the forked process: from here on it can do no more than a program may."""
        memory = self.already + int(job["memory_mb"] * 1024 * 1024)
        wanted = {
            "AS": memory,
            "CPU": int(job["cpu_seconds"] * 1.3) + 2,  # by ticks, which can be a sixth off: a backstop of `watch`
            "FSIZE": int(job["scratch_mb"] * 1024 * 1024),
            "NOFILE": OPEN_FILES,
            "CORE": 0,
            "MEMLOCK": 0,
            "MSGQUEUE": 0,
        }
        if self.processes:
            wanted["NPROC"] = self.processes
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


def address_space() -> int:
    """Bytes of address space this process has already; RLIMIT_AS counts from zero."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 64 << 20
