"""macOS: what another process has used, which neither a clock nor a limit of the kernel's tells there. Untested.

`proc_pid_rusage` is in libproc.h, `rusage_info_v0` in sys/resource.h: 16 bytes of id, then 64-bit counters. The times
are in units of `mach_absolute_time`, which `mach_timebase_info` turns into nanoseconds (1/1 on Intel, 125/3 on Apple's
processors). The physical footprint is what Activity Monitor shows as memory.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import sys
from typing import Any

# id, user, system, idle and interrupt wakeups, pageins, wired, resident, footprint, ...
_INFO = struct.Struct("=16s10Q")
_V0 = 0


@functools.cache
def _system() -> tuple[Any, float]:
    """The system library and nanoseconds per unit of time."""
    library = ctypes.CDLL(None)
    base = (ctypes.c_uint32 * 2)()
    library.mach_timebase_info(base)
    return library, base[0] / base[1]


def usage(pid: int) -> tuple[float, int]:
    """CPU seconds and bytes of memory of a process of the same user; zeros on other systems, or where it is gone."""
    if sys.platform != "darwin":
        return 0.0, 0
    library, unit = _system()
    buffer = ctypes.create_string_buffer(_INFO.size)
    return parse(buffer.raw, unit) if library.proc_pid_rusage(pid, _V0, buffer) == 0 else (0.0, 0)


def parse(data: bytes, unit: float) -> tuple[float, int]:
    """CPU seconds and footprint out of a rusage_info_v0, `unit` nanoseconds to a tick.

    >>> parse(_INFO.pack(b"", 24_000_000, 0, 0, 0, 0, 0, 0, 4096, 0, 0), 125 / 3)
    (1.0, 4096)
    """
    _, user, system, _, _, _, _, _, footprint, _, _ = _INFO.unpack(data)
    return (user + system) * unit / 1e9, footprint
