"""What a program may see of the file system: the interpreter's standard library, shared libraries, and little else.

One description for both layers that use it: the mount namespace shows `read` and covers `hide`, Landlock allows
`read` except what lies under `hide`. Hidden are installed packages (`site-packages`): a program profile has no use
for them, and a benchmark's answers may be among them. The notebook profile asks for them.
"""

from __future__ import annotations

import functools
import glob
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass

LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
DATA = ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@dataclass(frozen=True)
class Places:
    """Absolute paths as programs write them; symbolic links are followed where the paths are used."""

    read: tuple[str, ...]
    """Files and folders that may be read."""
    hide: tuple[str, ...] = ()
    """Folders under `read` that may not."""

    def exposed(self) -> list[str]:
        """`read` without `hide`: a folder that holds a hidden one is replaced by its other entries."""
        hidden = {os.path.realpath(path) for path in self.hide}
        found, waiting = [], [os.path.realpath(path) for path in self.read]
        while waiting:
            path = waiting.pop()
            if path in hidden:
                continue
            if any(other.startswith(path + os.sep) for other in hidden):
                waiting += [entry.path for entry in os.scandir(path) if not entry.is_symlink()]
            else:
                found.append(path)
        return sorted(set(found))


def places(packages: tuple[str, ...] = (), data: tuple[str, ...] = ()) -> Places:
    """The places of this interpreter. `packages` and `data` are folders to show besides.

    The folders of the interpreter's own libraries are among them, wherever the distribution keeps them.
    """
    libraries = [*LIBRARIES, *_needed(), sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    libraries.append(sysconfig.get_config_var("LIBDIR") or "")
    folders = dict.fromkeys(
        path for path in libraries if path and os.path.isdir(path) and os.path.realpath(path) != "/"
    )
    hide = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    for folder in folders:
        for name in ("site-packages", "dist-packages"):
            hide |= {*glob.glob(f"{folder}/{name}"), *glob.glob(f"{folder}/python*/{name}")}
    shown = {os.path.realpath(path) for path in packages}
    hide = {path for path in hide if os.path.isdir(path) and os.path.realpath(path) not in shown}
    others = [path for path in (*DATA, *packages, *data) if os.path.exists(path)]
    return Places((*folders, *others), tuple(sorted(hide)))


_LOOK = """
for name in ("_bz2", "_ctypes", "_decimal", "_hashlib", "_lzma", "_sqlite3", "_ssl", "_uuid", "zlib"):
    try:
        __import__(name)
    except ImportError:
        pass
with open("/proc/self/maps") as maps:
    print(maps.read())
"""


@functools.lru_cache(maxsize=1)
def _needed() -> tuple[str, ...]:
    """Folders of the shared libraries of a bare interpreter, where /proc tells. Not of this process: beside a library
    that it has loaded may lie what a program must not see (an extension built in place, a project's folder)."""
    bare = [sys.executable, "-I", "-S", "-c", _LOOK]
    clean = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    try:
        said = subprocess.run(bare, env=clean, capture_output=True, text=True, timeout=60, check=True, cwd="/").stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    paths = {line.split(None, 5)[5].strip() for line in said.splitlines() if line.count("/")}
    found = {os.path.dirname(path) for path in paths if ".so" in os.path.basename(path)}
    return tuple(sorted(path for path in found if path.count("/") > 1))


def world_reachable(path: str = sys.base_prefix) -> bool:
    """Whether any user may enter a folder, or reach a file: where not, a program must keep the user that started it."""
    path = os.path.realpath(path)
    if not os.path.isdir(path):
        path = os.path.dirname(path)
    while True:
        if not os.stat(path).st_mode & 0o001:
            return False
        if path == os.path.dirname(path):
            return True
        path = os.path.dirname(path)


def unreadable(path: str) -> str:
    """The first file or folder under `path` that not every user may read, or ""; looks at 10,000 at most."""
    waiting, seen = [path], 0
    while waiting and seen < 10_000:
        here, seen = waiting.pop(), seen + 1
        mode, folder = os.stat(here).st_mode, os.path.isdir(here)
        if not mode & 0o004 or (folder and not mode & 0o001):
            return here
        if folder:
            waiting += [entry.path for entry in os.scandir(here) if not entry.is_symlink()]
    return ""
