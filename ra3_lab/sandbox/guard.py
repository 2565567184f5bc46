"""Against accidents only: an audit hook that refuses writing elsewhere, new processes, signals and connections.

It stands in where the system offers nothing harder (`isolation="process"`, and Windows). It stops a program that
deletes files or calls a shell by mistake; Python code that wants round it gets round it (`ctypes`, a patched
`sys.audit`).
"""

from __future__ import annotations

import os
import sys

FORBIDDEN = frozenset(
    "os.fork os.forkpty os.exec os.posix_spawn os.spawn os.system os.kill os.killpg "  # noqa: SIM905
    "os.startfile pty.spawn subprocess.Popen signal.pthread_kill socket.connect socket.bind "
    "socket.sendto socket.sendmsg socket.getaddrinfo socket.gethostbyname ctypes.dlopen ctypes.dlsym".split()
)
PATH_CHANGES = frozenset(
    "os.remove os.rename os.rmdir os.mkdir os.chmod os.chown os.link os.symlink "  # noqa: SIM905
    "os.truncate os.utime shutil.rmtree shutil.move".split()
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def forbid(scratch: str) -> None:
    """Install the hook: PermissionError on new processes, signals, connections and changes outside `scratch`."""

    def outside(path: object) -> bool:
        if isinstance(path, int) or path is None or path == os.devnull:
            return False
        full = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
        return full != scratch and not full.startswith(scratch + os.sep)

    def hook(event: str, args: tuple) -> None:
        if event in FORBIDDEN:
            raise PermissionError(1, f"{event} is not allowed here")
        if event == "open" and isinstance(args[2], int) and args[2] & WRITING and outside(args[0]):
            raise PermissionError(1, f"writing {args[0]!r} is not allowed here")
        if event in PATH_CHANGES:
            paths = args[:2] if event in ("os.rename", "os.link", "shutil.move") else args[:1]
            if any(outside(path) for path in paths) or (event == "os.symlink" and outside(args[1])):
                raise PermissionError(1, f"{event} {args[0]!r} is not allowed here")

    sys.addaudithook(hook)
