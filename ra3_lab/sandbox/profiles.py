"""Who is to run: two profiles. What a program may import and read, and its limits unless others are given."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace

from ra3_lab.sandbox.program import Limits


@dataclass(frozen=True)
class Profile:
    """What a program finds in its sandbox."""

    name: str
    """A word for records."""
    limits: Limits = field(default_factory=Limits)
    """Its limits where none are given."""
    packages: bool = False
    """Whether packages that are installed beside this one may be imported."""
    warm: tuple[str, ...] = ()
    """Modules imported once, before programs are forked: quick to import for them, and without their memory limit."""
    data: tuple[str, ...] = ()
    """Files and folders it may read besides."""
    arrays: bool = False
    """Whether numpy arrays and torch tensors cross as such."""
    allow: tuple[str, ...] = ()
    """Environment variables it has, as NAME=value."""


PROGRAM = Profile("program")
"""A model's program: the standard library, 2 s, 512 MB."""

_ONE_THREAD = ("OMP_NUM_THREADS=1", "MKL_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "OMP_WAIT_POLICY=PASSIVE")
NOTEBOOK = Profile(
    "notebook",
    Limits(cpu_seconds=120.0, memory_mb=2048, output_bytes=16_000_000),
    packages=True,
    warm=("numpy", "torch"),
    arrays=True,
    allow=_ONE_THREAD,
)
"""A student's submission: numpy and torch, 120 s on one thread, 2 GB."""


def notebook(data: str | os.PathLike | None = None, limits: Limits | None = None) -> Profile:
    """The notebook profile with a folder of course data to read, or other limits.

    Where the judge is started as root, programs run as user 65534: `places.unreadable` says what such a user may not
    read, and a pool is not started while there is any.

    >>> notebook("/data").data
    ('/data',)
    """
    changes = {} if data is None else {"data": (os.path.abspath(os.fspath(data)),)}
    return replace(NOTEBOOK, **changes, limits=limits or NOTEBOOK.limits)


def package_folders() -> tuple[str, ...]:
    """The folders of installed packages that this interpreter imports from."""
    return tuple(path for path in sys.path if path.endswith(("site-packages", "dist-packages")) and os.path.isdir(path))
