"""Windows: limits on a process by a job object. Written from Microsoft's documentation; nobody has run it yet.

The job ends a process that passes its CPU time, refuses memory beyond a limit, refuses to start further processes,
and ends what is in it when its handle is closed, also when the trainer dies. Source: learn.microsoft.com on
JOBOBJECT_BASIC_LIMIT_INFORMATION, JOBOBJECT_EXTENDED_LIMIT_INFORMATION, SetInformationJobObject and GetProcessTimes.
"""

from __future__ import annotations

import ctypes
from typing import Any

PROCESS_TIME, ACTIVE_PROCESS, PROCESS_MEMORY, DIE_ON_EXCEPTION, KILL_ON_CLOSE = 0x2, 0x8, 0x100, 0x400, 0x2000
EXTENDED_LIMITS = 9  # JobObjectExtendedLimitInformation
TICKS = 10_000_000  # 100 nanoseconds each
QUOTA_EXCEEDED = 1816  # ERROR_NOT_ENOUGH_QUOTA: exit status of a process that passed its time
INTERPRETER_MB = 64  # what a bare interpreter may take beyond the program's limit


class BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION."""

    _fields_ = (
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
    )


class ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = (
        ("BasicLimitInformation", BasicLimits),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


def limits(cpu_seconds: float, memory_mb: float) -> ExtendedLimits:
    """The limits of one process.

    >>> found = limits(2.0, 448)
    >>> found.BasicLimitInformation.PerProcessUserTimeLimit, found.ProcessMemoryLimit >> 20
    (20000000, 512)
    """
    found = ExtendedLimits()
    basic = found.BasicLimitInformation
    basic.LimitFlags = PROCESS_TIME | ACTIVE_PROCESS | PROCESS_MEMORY | DIE_ON_EXCEPTION | KILL_ON_CLOSE
    basic.PerProcessUserTimeLimit = int(cpu_seconds * TICKS)
    basic.ActiveProcessLimit = 1
    found.ProcessMemoryLimit = int((memory_mb + INTERPRETER_MB) * 1024 * 1024)
    return found


def _kernel() -> Any:
    """kernel32 with the types of what is called here; handles do not fit into an int."""
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
    handle, pointer = ctypes.c_void_p, ctypes.c_void_p
    kernel.CreateJobObjectW.restype, kernel.CreateJobObjectW.argtypes = handle, (pointer, ctypes.c_wchar_p)
    kernel.SetInformationJobObject.argtypes = (handle, ctypes.c_int, pointer, ctypes.c_uint32)
    kernel.AssignProcessToJobObject.argtypes = (handle, handle)
    kernel.CloseHandle.argtypes = (handle,)
    kernel.GetProcessTimes.argtypes = (handle, pointer, pointer, pointer, pointer)
    return kernel


class JobObject:
    """A job with limits; OSError, with Windows' reason, where it cannot be made."""

    def __init__(self, cpu_seconds: float, memory_mb: float) -> None:
        self.kernel = _kernel()
        self.handle = self.kernel.CreateJobObjectW(None, None)
        wanted = limits(cpu_seconds, memory_mb)
        size = ctypes.sizeof(wanted)
        self._check(self.handle)
        self._check(self.kernel.SetInformationJobObject(self.handle, EXTENDED_LIMITS, ctypes.byref(wanted), size))

    def _check(self, result: Any) -> None:
        if not result:
            raise ctypes.WinError(ctypes.get_last_error())  # type: ignore[attr-defined]

    def add(self, process: int) -> None:
        """Bind a process, by its handle."""
        self._check(self.kernel.AssignProcessToJobObject(self.handle, process))

    def close(self) -> None:
        """End what is in it."""
        self.kernel.CloseHandle(self.handle)


def cpu_seconds(process: int) -> float:
    """CPU seconds of a process, by its handle, also after its end; 0.0 where Windows does not tell."""
    created, ended, system, user = (ctypes.c_uint64() for _ in range(4))
    times = [ctypes.byref(number) for number in (created, ended, system, user)]
    return (system.value + user.value) / TICKS if _kernel().GetProcessTimes(process, *times) else 0.0
