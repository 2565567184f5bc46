"""Which isolation this system offers: found out by doing, chosen once for a process, stored with every reward.

An isolation is a set of layers under one name:

| `isolation=` | layers | needs |
|---|---|---|
| `namespaces` | own namespaces, Landlock where the kernel has it, seccomp, limits | Linux, user namespaces or root |
| `bubblewrap` | the same, set up by the `bwrap` program where it may and we may not | Linux, bubblewrap |
| `landlock` | Landlock, seccomp, limits: in a plain container | Linux 5.13 |
| `sandbox-exec` | macOS's sandbox, limits. Untested | macOS |
| `process` | a process of its own with limits and a guard against accidents: NOT for hostile programs | any system |

A probe is a hostile little program: it tries to read a canary, write beside it, reach a listener, start a process,
signal the trainer. An isolation holds when all of that fails. `isolation=None` takes the first that holds of all
but `process`, and is an error that says why where none does: to run programs with `process` one has to ask for it.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import warnings
from typing import Any

from ra3_lab.sandbox import landlock, launchers, seccomp
from ra3_lab.sandbox.namespaces import NOBODY
from ra3_lab.sandbox.places import places, unreadable, world_reachable
from ra3_lab.sandbox.profiles import PROGRAM, Profile, package_folders

LINUX = ("namespaces", "bubblewrap", "landlock")
HARD = {"linux": LINUX, "darwin": ("sandbox-exec",), "win32": ()}
EVERY = (*LINUX, "sandbox-exec", "process")
RISK = (
    "isolation='process' runs programs as your user, with limits and a guard against accidents only: a hostile one can "
    "read and change your files and use your network."
)


class Unavailable(ValueError):
    """The isolation that was asked for cannot be had here; the text says why and what to do."""


_found: dict[str, dict[str, Any]] = {}  # isolation -> what its probe found, once a process


def plan_for(isolation: str | None = None, profile: Profile = PROGRAM) -> dict[str, Any]:
    """The plan a zygote is started with. Unavailable, with reason and remedy, where it would not hold.

    Args:
        isolation: A name from the table above, or None for the hardest that holds.
        profile: What programs may import and read.

    Raises FileNotFoundError and PermissionError for the profile's data, where programs could not read them.
    """
    name = choose(isolation)
    for path in profile.data:
        _check_readable(path, name)
    return build(name, profile)


def _check_readable(path: str, name: str) -> None:
    """FileNotFoundError or PermissionError for course data that programs here could not read, with the remedy."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"the course data {path} are not there: name a folder or a file that exists.")
    if name not in LINUX or os.getuid() != 0:
        return
    closed = unreadable(path)
    if name == "landlock" and world_reachable() and not world_reachable(path):  # a namespace binds the data itself
        closed = closed or os.path.dirname(os.path.realpath(path))
    if closed:
        raise PermissionError(
            f"submissions run as user {NOBODY} here, for this process is root's, and that user may not read {closed}. "
            f"Let everybody read it (`chmod -R o+rX {path}`, and the folders above it), or grade as an ordinary user."
        )


def choose(isolation: str | None = None) -> str:
    """The name of the isolation that is used. ValueError for an unknown one, Unavailable for one that does not hold."""
    if isolation is not None and isolation not in EVERY:
        raise ValueError(f"isolation {isolation!r} is unknown: use None or one of {', '.join(EVERY)}.")
    if isolation == "process":
        return isolation
    candidates = HARD.get(sys.platform, ()) if isolation is None else (isolation,)
    reasons = []
    for name in candidates:
        found = probe(name)
        if found["holds"]:
            return name
        reasons.append(f"{name}: {found['reason']}")
    raise Unavailable(
        f"programs cannot be isolated here ({'; '.join(reasons) or 'no isolation is known for ' + sys.platform}). "
        "`ra3-lab doctor` says what is missing and how to get it. Or choose isolation='process' (--isolation process). "
        + RISK
    )


def build(name: str, profile: Profile = PROGRAM) -> dict[str, Any]:
    """The plan of an isolation, whether it holds or not: plain data for the zygote."""
    packages = package_folders() if profile.packages else ()
    shown = places(packages, profile.data)
    starters = {"bubblewrap": launchers.bubblewrap, "sandbox-exec": launchers.sandbox_exec}
    return {
        "isolation": name,
        "read": shown.read,
        "hide": shown.hide,
        "packages": packages,
        "warm": profile.warm,
        "environment": profile.allow,
        "namespaces": name in ("namespaces", "bubblewrap"),
        "landlock": name == "landlock" or (name in ("namespaces", "bubblewrap") and _has_landlock()),
        "seccomp": name in LINUX,
        "guard": name == "process",
        "forks": hasattr(os, "fork"),
        "launcher": starters[name](shown) if name in starters else [],
    }


def _has_landlock() -> bool:
    return sys.platform == "linux" and landlock.abi() > 0


def probe(name: str) -> dict[str, Any]:
    """Try an isolation out, once a process: {"holds", "reason", "found": attempt -> what came of it}."""
    if name not in _found:
        _found[name] = _probe(name)
    return _found[name]


def _probe(name: str) -> dict[str, Any]:
    from ra3_lab.sandbox import probes
    from ra3_lab.sandbox.judge import Judge

    missing = _missing(name)
    if missing:
        return {"holds": False, "reason": missing, "found": {}}
    os.environ[probes.SECRET] = "here"
    try:
        with Judge.with_plan(build(name)) as judge:
            found = probes.run(judge, 128)
    except (RuntimeError, OSError) as error:
        return {"holds": False, "reason": str(error), "found": {}}
    finally:
        os.environ.pop(probes.SECRET, None)
    done = [what for what in probes.ATTEMPTS if found.get(what, "refused").startswith("did it")]
    if name == "process":
        done = []  # nothing is promised
    if not found["use its scratch folder"].startswith("did it"):
        done.append("no program could use its scratch folder")
    reason = f"a probe could {', '.join(done)}" if done else ""
    return {"holds": not done, "reason": reason, "found": found}


def _missing(name: str) -> str:
    """What an isolation lacks here that one sees without trying."""
    if name in LINUX:
        if sys.platform != "linux":
            return "Linux only"
        if not seccomp.supported():
            return f"no seccomp filter for {platform.machine()}: x86-64 and aarch64 have one"
        if name == "bubblewrap" and shutil.which("bwrap") is None:
            return "bubblewrap (bwrap) is not installed"
        if name == "landlock" and not _has_landlock():
            return "the kernel has no Landlock (Linux 5.13, CONFIG_SECURITY_LANDLOCK, lsm=landlock,...)"
    if name == "sandbox-exec" and (sys.platform != "darwin" or shutil.which("sandbox-exec") is None):
        return "macOS only"
    return ""


def layers(isolation: str | None = None) -> dict[str, Any]:
    """What holds, as plain data to be stored with every reward. Raises as `choose` does.

    >>> layers("process")["hostile_programs"]
    False
    """
    name = choose(isolation)
    plan = build(name)
    return {
        "isolation": name,
        "layers": [layer for layer in ("namespaces", "landlock", "seccomp", "guard") if plan[layer]] + ["limits"],
        "landlock_abi": landlock.abi() if plan["landlock"] else 0,
        "hostile_programs": name != "process",
        "probed": sorted(probe(name)["found"]) if name != "process" else [],
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def for_own_model() -> str:
    """The isolation for programs of our own embedded model: the hardest that holds, else `process` with a warning.

    It was not trained to fool a judge. For every other model one asks for an isolation by name where none holds:
    `evaluate_programs` tells them apart.
    """
    try:
        return choose()
    except Unavailable as error:
        warnings.warn(f"{error} Going on with isolation='process', for programs of our own model.", stacklevel=2)
        return "process"
