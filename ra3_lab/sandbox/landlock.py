"""Which files a program may open: a Landlock ruleset, no root needed. Deny all, then allow by folder.

Landlock (Linux 5.13 and newer) governs opening, creating, removing and renaming; later versions add truncation (ABI
3), TCP (4), device ioctls (5), abstract sockets and signals (6). It does not govern stat, chmod, UDP, or how much
is written: seccomp and the zygote's limits do. It also keeps a program from tracing or reading the memory of any
process outside its own domain.

Source: Linux's uapi header linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, the same numbers on all architectures
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 12
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_READ = _READ_FILE | _READ_DIR
_CHANGE = _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _REFER | _TRUNCATE
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """The version of Landlock this kernel has; 0 for none."""
    return max(_libc().syscall(_CREATE, None, ctypes.c_size_t(0), 1), 0)


class Ruleset:
    """Made once, then every program is bound to it. `read` and `write` are files and folders that exist."""

    def __init__(self, read: Iterable[str], write: Iterable[str]) -> None:
        self._syscall, self.abi = _libc().syscall, abi()
        if not self.abi:
            raise OSError(38, "this kernel has no Landlock, or it was not switched on at boot")
        bits = 13 + (self.abi >= 2) + (self.abi >= 3) + (self.abi >= 5)
        self._handled = (1 << bits) - 1
        attributes = struct.pack("<QQQ", self._handled, 3, 3)[: 8 if self.abi < 4 else 16 if self.abi < 6 else 24]
        self.descriptor = self._syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "Landlock refused the ruleset")
        for path in read:
            self._allow(path, _READ)
        for path in write:
            self._allow(path, _READ | _CHANGE)

    def _allow(self, path: str, rights: int) -> None:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return  # not there, or not ours to open: nothing to allow
        if not os.path.isdir(path):
            rights &= _ON_FILES
        rule = struct.pack("<Qi", rights & self._handled, descriptor)
        failed = self._syscall(_ADD, self.descriptor, 1, rule, 0)
        os.close(descriptor)
        if failed:
            raise OSError(ctypes.get_errno(), f"Landlock refused a rule for {path}")

    def restrict(self) -> None:
        """Bind the calling thread, for good; it must have set no_new_privs. OSError where the kernel refuses."""
        if self._syscall(_RESTRICT, self.descriptor, int(self.abi >= 7)):  # 1: do not fill the audit log
            raise OSError(ctypes.get_errno(), "Landlock refused to restrict the process")
