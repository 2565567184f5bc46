"""Other programs that make a small world for the zygote: bubblewrap on Linux, sandbox-exec on macOS (untested).

Each function gives the words to put before the zygote's command line; the judge worker fills in {scratch} and
{scratch_bytes}. Sources: bwrap(1) of bubblewrap 0.8; sandbox-exec(1) and the profiles in macOS's
/System/Library/Sandbox/Profiles (`system.sb` is the one that Apple's own profiles import).
"""

from __future__ import annotations

import os
import shutil
import sys

from ra3_lab.sandbox.namespaces import NOBODY, SCRATCH
from ra3_lab.sandbox.places import Places

OWN = os.path.dirname(os.path.abspath(__file__))
CODE = (os.path.join(os.path.dirname(OWN), "__init__.py"), OWN)  # of ra3_lab, which the zygote imports in there


def bubblewrap(shown: Places) -> list[str]:
    """The same world as `namespaces.enter` makes."""
    command = [
        shutil.which("bwrap") or "bwrap",
        "--unshare-all",
        "--die-with-parent",
        "--uid",
        str(NOBODY),
        "--gid",
        str(NOBODY),
    ]
    python = os.path.realpath(sys.executable)
    for path in dict.fromkeys((*shown.read, python)):
        command += ["--ro-bind", os.path.realpath(path), path]
    hidden = list(dict.fromkeys(name for path in shown.hide for name in (os.path.realpath(path), path)))
    for path in hidden:
        command += ["--tmpfs", path]
    for path in CODE:  # may lie in a hidden folder, where it is installed
        command += ["--ro-bind", path, path]
    for path in hidden:
        command += ["--remount-ro", path]
    command += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    command += ["--perms", "0700", "--size", "{scratch_bytes}", "--tmpfs", SCRATCH]
    return [*command, "--remount-ro", "/", "--chdir", SCRATCH]


def sandbox_exec(shown: Places) -> list[str]:
    """macOS: deny all but reading what is shown, writing to the scratch folder, and starting the interpreter.

    Rules further down win. The zygote has to fork: that a program may not is a resource limit (`confinement.py`).
    Written from the documentation; nobody has run it yet.
    """
    readable = (*shown.read, sys.base_prefix, "/System/Library", "/private/var/db/timezone")
    allowed = ["(allow process-fork)", "(allow sysctl-read)", "(allow process-info* (target self))"]
    allowed += ["(allow process-info* (target children))", "(allow signal (target self))"]
    allowed += ["(allow signal (target children))", "(allow file-read-metadata)"]
    interpreter = f"(literal {quoted(os.path.realpath(sys.executable))}) (subpath {quoted(sys.base_prefix)})"
    lines = ["(version 1)", "(deny default)", '(import "system.sb")', *allowed, f"(allow process-exec {interpreter})"]
    lines += [f"(allow file-read* {_named(path)})" for path in dict.fromkeys(map(os.path.realpath, readable))]
    lines += [
        f"(deny file-read* (subpath {quoted(path)}))" for path in dict.fromkeys(map(os.path.realpath, shown.hide))
    ]
    lines += [f"(allow file-read* {_named(path)})" for path in map(os.path.realpath, CODE)]
    lines += ["(deny network*)", '(deny file-write* (subpath "/"))', '(allow file-write-data (literal "/dev/null"))']
    lines += ['(allow file-read* file-write* (subpath "{scratch}"))']  # a name from mkdtemp, links followed
    return [shutil.which("sandbox-exec") or "/usr/bin/sandbox-exec", "-p", "\n".join(lines)]


def _named(path: str) -> str:
    return f"({'subpath' if os.path.isdir(path) else 'literal'} {quoted(path)})"


def quoted(path: str) -> str:
    """A path as text of a profile, with links followed. ValueError for one that cannot stand there.

    >>> quoted('/nowhere/a "b"')
    '"/nowhere/a \\\\"b\\\\""'
    """
    path = os.path.realpath(path)
    if any(ord(letter) < 32 for letter in path) or "{scratch" in path:
        raise ValueError(f"the path {path!r} cannot stand in a profile of sandbox-exec: rename the folder.")
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
