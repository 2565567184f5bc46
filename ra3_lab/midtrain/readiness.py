"""Notice that an E-step ended too early: its return on watched programs was still rising."""

from __future__ import annotations

from collections.abc import Callable

OVER = 5
"""The rise is taken over so many updates at least."""

RISE = 1 / 6
"""Nats a program and update. Of the study's E-steps none that ended with a faster rise had 95 % of its thoughts right
by then (tests/test_readiness.py counts)."""


def readiness_watch(say: Callable[[str], None]) -> Callable[[dict], None]:
    """A function to call with every record of a run; it says so where a round's E-step ends while the return rises.

    It reads `stage`, `round`, `update` and `held_out`, the looks of a monitor (`experiment.watch`); without a monitor
    it says nothing.
    """
    looks: list[tuple[int, float]] = []
    of_round = -1

    def watch(record: dict) -> None:
        nonlocal of_round
        if "held_out" not in record:
            return
        if record["round"] != of_round:
            looks.clear()
            of_round = record["round"]
        end, last = record["update"], record["held_out"]["return"]
        looks.append((end, last))
        before = [look for look in looks if look[0] <= end - OVER]
        if record["stage"] != "monitor" or not before:
            return
        begin, first = before[-1]
        if last - first > RISE * (end - begin):
            say(
                f"note: the E-step ended while the return on held-out programs was still rising, from {first:.1f} to "
                f"{last:.1f} nats in its last {end - begin} updates: its thoughts are not ready, and the M-step learns "
                "from them as they are. Give it more updates (estep.updates), or fewer rounds (docs/results.md, "
                "'Which settings matter?')."
            )

    return watch
