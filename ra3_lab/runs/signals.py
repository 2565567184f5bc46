"""Ctrl-C and a scheduler's SIGTERM: finish the update at hand, save, and say how to go on."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A run was stopped from outside; str() says where it stands and how to go on."""

    def __init__(self, message: str, signum: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.status = 128 + signum
        """Exit status by the shell's convention: 130 for Ctrl-C, 143 for SIGTERM."""


class StopRequest:
    """Whether somebody asked the run to stop; set by a signal, looked at between two updates."""

    signum: int | None = None


@contextmanager
def polite_stop() -> Iterator[StopRequest]:
    """While this lasts, the first SIGINT or SIGTERM asks to stop and the second one raises Interrupted at once.

    A signal that the user's environment ignores stays ignored. Outside the main thread nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(signum: int, frame: FrameType | None) -> None:
        if request.signum is not None:
            raise Interrupted("stopped at once", signum)
        request.signum = signum
        print(
            "stopping after this update; once more stops at once and loses what came after the last checkpoint.",
            file=sys.stderr,
            flush=True,
        )

    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.getsignal(number) for number in usual}
    taken = [number for number in usual if before[number] is usual[number]]
    try:
        for number in taken:
            signal.signal(number, ask)
        yield request
    finally:
        for number in taken:
            signal.signal(number, before[number])
