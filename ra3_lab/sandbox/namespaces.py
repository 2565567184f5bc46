"""A small world of its own for a zygote: user, process, mount, network and IPC namespaces, by libc calls through
ctypes.

Inside there are the read-only places of `places.py`, a few devices, an empty network and a scratch folder of
limited size, /tmp; no process but the zygote and its programs, and nobody else's files. An ordinary user needs
unprivileged user namespaces; root needs none, and becomes user 65534 instead. When the zygote dies, the kernel ends
everything inside.

`enter` is called by a process of one thread. It forks: the child returns and is process 1 of the new world, the
parent stays to wait for it. Source: man pages user_namespaces(7), pid_namespaces(7), mount_namespaces(7),
pivot_root(2), mount_setattr(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import platform
import signal
import struct

from ra3_lab.sandbox.places import DEVICES, Places

NOBODY = 65534
SCRATCH = "/scratch"
SCRATCH_FILES = 4096  # inodes: an empty file costs memory that its size does not show
_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _CAPSET = 1, 4, 38, {"x86_64": 126}
_MOUNT_SETATTR, _AT_RECURSIVE = 442, 0x8000
_OLD = "/old"


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(what: str, result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    text = [None if item is None else item.encode() for item in (source, target, kind)]
    result = _libc().mount(*text, ctypes.c_ulong(flags), None if options is None else options.encode())
    _call(f"mount {kind or source} on {target}", result)


def enter(shown: Places, scratch_mb: float) -> None:
    """Go in; returns in the child only. OSError, saying which step, where the system does not allow it."""
    uid, gid = os.getuid(), os.getgid()
    flags = _NEWNS | _NEWPID | _NEWNET | _NEWIPC | _NEWUTS | _NEWCGROUP
    root = uid == 0 and not _libc().unshare(flags)
    if not root:
        _call("unshare", _libc().unshare(flags | _NEWUSER))
        for name, text in (("setgroups", "deny"), ("uid_map", f"{NOBODY} {uid} 1"), ("gid_map", f"{NOBODY} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    child = os.fork()
    if child:
        _wait_for(child)
    end_with_parent()
    _furnish(shown, scratch_mb)
    become_nobody() if root else drop_privileges()
    end_with_parent()


def end_with_parent() -> None:
    """From now on the kernel kills this process when its parent ends; becoming another user undoes it."""
    _call("prctl", _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def _wait_for(child: int) -> None:
    """The parent's part: hold no descriptor open, and end as the child ends."""
    os.closerange(0, 256)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 127)


def become_nobody() -> None:
    """From root to user 65534, without any group or privilege."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    drop_privileges()


def drop_privileges() -> None:
    """No capabilities, none to be gained, and not to be traced by others of the same user."""
    libc = _libc()
    _call("prctl", libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    number = _CAPSET.get(platform.machine(), 91)
    _call("capset", libc.syscall(number, struct.pack("<Ii", 0x20080522, 0), bytes(24)))
    _call("prctl", libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))


def _furnish(shown: Places, scratch_mb: float) -> None:
    """Build the new root in memory, move there, and let go of the old one."""
    real = {path: os.path.realpath(path) for path in (*shown.read, *shown.hide)}  # links lead elsewhere afterwards
    _mount("none", "/", None, _REC | _PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
    os.chdir("/tmp")
    os.mkdir("old")
    _call("pivot_root", _libc().syscall({"x86_64": 155}.get(platform.machine(), 41), b".", b"old"))
    os.chdir("/")
    os.umask(0o022)
    _show(shown, real)
    for path in DEVICES:
        _place(_OLD + path, path)
        _mount(_OLD + path, path, None, _BIND)
    os.mkdir("/proc")
    with contextlib.suppress(OSError):  # refused in some containers; then /dev/stdin is missing too
        _mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(target, f"/dev/{name}")
    os.mkdir(SCRATCH)
    size = math.ceil(scratch_mb * 1024 * 1024)  # 0 would be no limit; the kernel rounds up to whole pages
    options = f"size={size},nr_inodes={SCRATCH_FILES},mode=700,uid={NOBODY},gid={NOBODY}"
    _mount("tmpfs", SCRATCH, "tmpfs", _NOSUID | _NODEV | _NOEXEC, options)
    if not os.path.exists("/tmp"):  # course data may lie there; then temporary files go to the current folder
        os.symlink(SCRATCH, "/tmp")
    _call("umount", _libc().umount2(_OLD.encode(), 2))  # MNT_DETACH
    os.rmdir(_OLD)
    _mount("none", "/", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
    os.chdir(SCRATCH)


def _show(shown: Places, real: dict[str, str]) -> None:
    """Bind what may be read, cover what may not, then the same under the names that are symbolic links."""
    bound: list[str] = []
    for path in sorted({real[path] for path in shown.read}):
        if not any(path.startswith(other + os.sep) for other in bound):
            _place(_OLD + path, path)
            _mount(_OLD + path, path, None, _BIND | _REC)
            bound.append(path)
    for path in {real[path] for path in shown.hide}:
        if any(path.startswith(other + os.sep) for other in bound):
            _mount("tmpfs", path, "tmpfs", _RDONLY, "size=4k,mode=755")
    for path in shown.read:
        if path != real[path] and not os.path.exists(path):
            _place(real[path], path)
            _mount(real[path], path, None, _BIND | _REC)
            bound.append(path)
    attributes = struct.pack("<QQQQ", _RDONLY | _NOSUID | _NODEV, 0, 0, 0)
    for path in bound:
        if _libc().syscall(_MOUNT_SETATTR, -100, path.encode(), _AT_RECURSIVE, attributes, ctypes.c_size_t(32)):
            _mount("none", path, None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)  # before Linux 5.12


def _place(source: str, target: str) -> None:
    """An empty file or folder to mount on."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
