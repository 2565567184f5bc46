"""Programs held out of the same data that is trained on: whole files, since functions of one file resemble each other.

Which files these are depends on their names alone. What is written twice is never on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ra3_lab.trace import Trace


def hold_out(
    traces: Sequence[Trace], origins: Sequence[str], share: float = 0.1
) -> tuple[list[Trace], list[Trace], int]:
    """Programs to train on, held-out programs, and how many were left out of the first for being among the second.

    `origins` names for each of them the file that it was cut out of, as `load_traces` tells it. Whole origins are held
    out, at most `share` of the programs together (the smallest one where all are larger).

    >>> traces = [Trace("", (f"x = {i % 9}\\n",)) for i in range(10)]
    >>> training, held_out, double = hold_out(traces, [f"{i % 5}.py" for i in range(10)], share=0.2)
    >>> len(training), len(held_out), double  # the first and the last program are the same
    (7, 2, 1)
    """
    members: dict[str, list[int]] = {}
    for i, origin in enumerate(origins):
        members.setdefault(origin, []).append(i)
    most, held = max(1, round(share * len(traces))), set()
    for origin in sorted(members, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if len(held) + len(members[origin]) <= most:
            held.update(members[origin])
    held = held or set(min(members.values(), key=len))
    test = [traces[i] for i in sorted(held)]
    known = {(trace.prompt, trace.lines) for trace in test}
    rest = [trace for i, trace in enumerate(traces) if i not in held]
    training = [trace for trace in rest if (trace.prompt, trace.lines) not in known]
    return training, test, len(rest) - len(training)
