"""System calls a program may make: a seccomp filter (classic BPF) assembled here, for x86-64 and aarch64.

An allowlist. What is not named answers ENOSYS, as on a kernel that does not know it, so that libc takes its usual
detours; new processes, sockets and signals to others answer EPERM, which Python shows as PermissionError. Changing
modes, owners and times of files pretends to work and does nothing: `shutil.copy` goes on, and no file of the user
outside the scratch folder changes (Landlock does not govern chmod). A foreign architecture kills the process.

The filter is a binary search over call numbers, a dozen instructions a call. It names the process id (a program may
signal itself), so one is patched in for every program.

Source: Linux's uapi headers linux/seccomp.h, linux/bpf_common.h, asm/unistd.h; numbers are `name=x86-64,aarch64`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_ALLOWED = """
    read=0,63 write=1,64 readv=19,65 writev=20,66 pread64=17,67 pwrite64=18,68 preadv=295,69 pwritev=296,70
    preadv2=327,286 pwritev2=328,287 lseek=8,62 close=3,57 close_range=436,436 dup=32,23 dup2=33 dup3=292,24
    pipe=22 pipe2=293,59 open=2 openat=257,56 creat=85 access=21 faccessat=269,48 faccessat2=439,439 stat=4
    lstat=6 fstat=5,80 newfstatat=262,79 statx=332,291 statfs=137,43 fstatfs=138,44 getdents=78
    getdents64=217,61 getcwd=79,17 chdir=80,49 fchdir=81,50 readlink=89 readlinkat=267,78 mkdir=83
    mkdirat=258,34 rmdir=84 unlink=87 unlinkat=263,35 rename=82 renameat=264,38 renameat2=316,276 link=86
    linkat=265,37 symlink=88 symlinkat=266,36 truncate=76,45 ftruncate=77,46 fallocate=285,47 fsync=74,82
    fdatasync=75,83 sync_file_range=277,84 fadvise64=221,223 flock=73,32 umask=95,166 sendfile=40,71
    copy_file_range=326,285 mmap=9,222 munmap=11,215 mprotect=10,226 mremap=25,216 madvise=28,233 brk=12,214
    msync=26,227 get_mempolicy=239,236 futex=202,98 futex_waitv=449,449 set_robust_list=273,99
    get_robust_list=274,100 set_tid_address=218,96 rseq=334,293 gettid=186,178 getpid=39,172 getppid=110,173
    getpgid=121,155 getpgrp=111 getsid=124,156 membarrier=324,283 getuid=102,174 geteuid=107,175 getgid=104,176
    getegid=108,177 getresuid=118,148 getresgid=120,150 getgroups=115,158 capget=125,90 rt_sigaction=13,134
    rt_sigprocmask=14,135 rt_sigreturn=15,139 rt_sigpending=127,136 rt_sigtimedwait=128,137
    rt_sigsuspend=130,133 sigaltstack=131,132 pause=34 alarm=37 setitimer=38,103 getitimer=36,102
    nanosleep=35,101 clock_nanosleep=230,115 clock_gettime=228,113 clock_getres=229,114 gettimeofday=96,169
    time=201 times=100,153 getrusage=98,165 sysinfo=99,179 uname=63,160 getcpu=309,168 sched_yield=24,124
    sched_getaffinity=204,123 sched_getparam=143,121 sched_getscheduler=145,120 sched_get_priority_max=146,125
    sched_get_priority_min=147,126 getpriority=140,141 getrlimit=97,163 setrlimit=160,164 select=23
    pselect6=270,72 poll=7 ppoll=271,73 epoll_create=213 epoll_create1=291,20 epoll_ctl=233,21 epoll_wait=232
    epoll_pwait=281,22 epoll_pwait2=441,441 eventfd=284 eventfd2=290,19 timerfd_create=283,85
    timerfd_settime=286,86 timerfd_gettime=287,87 sendmsg=46,211 recvfrom=45,207 recvmsg=47,212 shutdown=48,210
    getsockname=51,204 getpeername=52,205 getsockopt=55,209 setsockopt=54,208 exit=60,93 exit_group=231,94
    wait4=61,260 waitid=247,95 restart_syscall=219,128 getrandom=318,278 arch_prctl=158
"""
_NOTHING = """
    chmod=90 fchmod=91,52 fchmodat=268,53 chown=92 fchown=93,55 lchown=94 fchownat=260,54 utime=132 utimes=235
    utimensat=280,88 futimesat=261
"""
_DENIED = """
    fork=57 vfork=58 execve=59,221 execveat=322,281 socket=41,198 connect=42,203 bind=49,200 listen=50,201
    accept=43,202 accept4=288,242 tkill=200,130 ptrace=101,117 memfd_create=319,279 mount=165,40 umount2=166,39
    unshare=272,97 setns=308,268 chroot=161,51 setxattr=188,5
"""
_SPECIAL = """
    mknod=133 mknodat=259,33 clone=56,220 fcntl=72,25 ioctl=16,29 kill=62,129 tgkill=234,131 prctl=157,167
    prlimit64=302,261 socketpair=53,199 sendto=44,206
"""
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7), "arm64": (1, 0xC00000B7)}
"""Machine -> its column in the tables, its AUDIT_ARCH value."""

_LOAD, _EQUAL, _ABOVE, _BITS, _JUMP, _RETURN = (
    0x20,
    0x15,
    0x35,
    0x45,
    0x05,
    0x06,
)  # BPF_LD|W|ABS, JEQ, JGE, JSET, JA, RET
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_CLONE_THREAD = 0x00010000
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1031, 1032, 1034)  # no F_SETOWN, F_SETSIG: signals to others
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
_PRCTL = (15, 16, 0x53564D41)  # PR_SET_NAME, PR_GET_NAME, PR_SET_VMA
_AF_UNIX, _SOCK_STREAM = 1, 1
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38

_Code = list[tuple[int, int, int, int]]


class _PID(int):
    """A constant that `install` replaces by the process id."""


def _error(number: int) -> _Code:
    return [(_RETURN, 0, 0, _ERRNO | number)]


def _one_of(argument: int, values: tuple[int, ...], otherwise: int) -> _Code:
    """Allow where the low half of an argument is among `values`. The kernel reads these arguments as 32 bits, too."""
    code: _Code = [(_LOAD, 0, 0, 16 + 8 * argument)]
    for left, value in zip(range(len(values), 0, -1), values, strict=True):
        code.append((_EQUAL, left, 0, value))  # to the last instruction
    return [*code, (_RETURN, 0, 0, _ERRNO | otherwise), (_RETURN, 0, 0, _ALLOW)]


def _rules(truncate: bool) -> dict[str, _Code]:
    """Calls that are decided by an argument."""
    own, eperm = _PID(0), errno.EPERM
    rules = {
        # Threads only. clone3 hides its flags from a filter: it answers ENOSYS and libc comes back with clone.
        "clone": [(_LOAD, 0, 0, 16), (_BITS, 1, 0, _CLONE_THREAD), *_error(eperm), (_RETURN, 0, 0, _ALLOW)],
        "fcntl": _one_of(1, _FCNTL, eperm),
        "ioctl": _one_of(1, _IOCTL, errno.ENOTTY),
        "prctl": _one_of(0, _PRCTL, eperm),
        "kill": _one_of(0, (own,), eperm),
        "tgkill": _one_of(0, (own,), eperm),
        "prlimit64": _one_of(0, (0, own), eperm),
        # For asyncio. A stream cannot be turned to another address, a datagram socket could.
        "socketpair": [(_LOAD, 0, 0, 16), (_EQUAL, 1, 0, _AF_UNIX), *_error(eperm), (_LOAD, 0, 0, 24)]
        + [(0x54, 0, 0, 0xF), (_EQUAL, 1, 0, _SOCK_STREAM), *_error(eperm), (_RETURN, 0, 0, _ALLOW)],
        "sendto": _one_of(4, (0,), eperm),  # no address
    }
    if not truncate:
        rules["truncate"] = _error(eperm)
    return rules


def _table(text: str, column: int) -> dict[str, int]:
    """Name -> number of the calls that this architecture has."""
    pairs = (item.split("=") for item in text.split())
    return {name: int(numbers.split(",")[column]) for name, numbers in pairs if len(numbers.split(",")) > column}


def _search(ranges: list[tuple[int, _Code]]) -> _Code:
    """Binary search for the range that the accumulator is in: (first number, what to do there), ascending."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    low, high = _search(ranges[:middle]), _search(ranges[middle:])
    if len(low) < 256:
        return [(_ABOVE, len(low), 0, ranges[middle][0]), *low, *high]
    return [(_ABOVE, 0, 1, ranges[middle][0]), (_JUMP, 0, 0, len(low)), *low, *high]


def supported() -> bool:
    """Whether this platform has a table here."""
    return sys.platform == "linux" and sys.byteorder == "little" and platform.machine() in ARCHITECTURES


class Filter:
    """The program for this machine, assembled once; `install` binds the calling process to it for good."""

    def __init__(self, truncate: bool = True) -> None:
        column, audit = ARCHITECTURES[platform.machine()]
        decisions: dict[int, _Code] = {}
        for text, code in (
            (_ALLOWED, [(_RETURN, 0, 0, _ALLOW)]),
            (_NOTHING, _error(0)),
            (_DENIED, _error(errno.EPERM)),
        ):
            decisions |= {number: code for number in _table(text, column).values()}
        numbers = _table(_SPECIAL + _ALLOWED, column)
        decisions |= {numbers[name]: code for name, code in _rules(truncate).items() if name in numbers}
        unknown = _error(errno.ENOSYS)
        ranges: list[tuple[int, _Code]] = [(0, decisions.get(0, unknown))]
        for number in range(1, max(decisions) + 2):
            code = decisions.get(number, unknown)
            if code != ranges[-1][1]:
                ranges.append((number, code))
        head: _Code = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
        code = head + _search(ranges)
        self.size = len(code)
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl
        self._own = [index for index, line in enumerate(code) if isinstance(line[3], _PID)]
        self._code = bytearray(b"".join(struct.pack("<HBBI", *line) for line in code))

    def install(self) -> None:
        """From now on and for all its threads to come. OSError where the kernel refuses."""
        for index in self._own:
            struct.pack_into("<I", self._code, 8 * index + 4, os.getpid())
        text = (ctypes.c_char * len(self._code)).from_buffer(self._code)
        program = struct.pack("@HP", self.size, ctypes.addressof(text))
        if self._prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or self._prctl(_PR_SET_SECCOMP, 2, program, 0, 0):
            raise OSError(ctypes.get_errno(), "seccomp refused the filter")
