"""Other programs that make a small world for the zygote: bubblewrap on Linux, sandbox-exec on macOS (untested).

Each function gives the words to put before the zygote's command line; the judge worker fills in {scratch} and
{scratch_bytes}. Sources: bwrap(1) of bubblewrap 0.8; sandbox-exec(1) and the profiles in macOS's
/System/Library/Sandbox/Profiles.
"""

from __future__ import annotations

import os
import shutil
import sys

from ra3_lab.sandbox.namespaces import NOBODY, SCRATCH
from ra3_lab.sandbox.places import Places

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # ra3_lab itself, which the zygote imports


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
    for path in dict.fromkeys((*shown.read, PACKAGE, os.path.realpath(sys.executable))):
        command += ["--ro-bind", os.path.realpath(path), path]
    for path in dict.fromkeys(name for hidden in shown.hide for name in (os.path.realpath(hidden), hidden)):
        command += ["--tmpfs", path, "--remount-ro", path]
    command += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    command += ["--perms", "0700", "--size", "{scratch_bytes}", "--tmpfs", SCRATCH]
    return [*command, "--remount-ro", "/", "--chdir", SCRATCH]


def sandbox_exec(shown: Places) -> list[str]:
    """macOS: deny all but reading what is shown, writing to the scratch folder, and forking (the programs' own limit
    forbids that).

        Written from the documentation; nobody has run it yet.
    """
    readable = [os.path.realpath(path) for path in (*shown.read, PACKAGE, sys.base_prefix, "/System/Library", "/dev")]
    lines = [
        "(version 1)",
        "(deny default)",
        "(allow process-fork)",
        "(allow sysctl-read)",
        "(allow signal (target self))",
    ]
    lines += ["(allow signal (target children))", "(allow process-exec)", "(allow file-read-metadata)"]
    lines += [f'(allow file-read* (subpath "{path}"))' for path in dict.fromkeys(readable)]
    lines += [f'(deny file-read* (subpath "{os.path.realpath(path)}"))' for path in shown.hide]
    lines += ['(allow file-write* (subpath "{scratch}"))', '(allow file-read* (subpath "{scratch}"))']
    lines.append('(allow file-write-data (literal "/dev/null"))')
    return [shutil.which("sandbox-exec") or "sandbox-exec", "-p", "\n".join(lines)]
