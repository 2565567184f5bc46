"""Notice while an E-step runs that thinking dies out, and say what has helped."""

from __future__ import annotations

from collections.abc import Callable

FEW = 0.02
"""A share of lines with a thought; under it RL has next to nothing to reinforce."""

PATIENCE = 5
"""So many updates in a row. Of the study's E-steps none that was under `FEW` for as long came above 2.1 % again, and
none that kept its thoughts was (tests/test_silence.py counts)."""


def silence_watch(say: Callable[[str], None]) -> Callable[[dict], None]:
    """A function to call with every record of a run; it says once when thoughts have become too few.

    It reads `stage`, `update` and, of the E-step's records, `think_share` in 0..1.
    """
    few, said = 0, False

    def watch(record: dict) -> None:
        nonlocal few, said
        if record["stage"] != "estep" or said:
            return
        few = few + 1 if record["think_share"] < FEW else 0
        if few == PATIENCE:
            said = True
            say(
                f"note: thoughts before under {100 * FEW:.0f} % of lines in {PATIENCE} E-step updates in a row (up to "
                f"update {record['update']}): RL has next to nothing to reinforce, and RA3 will come out like NTP. It "
                "takes a base that comments code now and then; more programs an update (estep.programs) and a lower "
                "estep.cost have helped (docs/results.md, 'Does thinking stay?')."
            )

    return watch
