"""An E-step that loses its thoughts is told about (`ra3_lab/midtrain/silence.py`)."""

from itertools import groupby

import pytest

from ra3_lab.midtrain.silence import FEW, PATIENCE, silence_watch
from ra3_lab.study import read_study, spec_names


def said(shares: list[float]) -> list[str]:
    found: list[str] = []
    watch = silence_watch(found.append)
    for update, share in enumerate(shares):
        watch({"stage": "estep", "update": update, "think_share": share})
        watch({"stage": "mstep", "update": update, "loss": 1.0})
    return found


def test_lost_thoughts_are_told_once():
    few = [0.1, 0.05] + [FEW / 2] * 20
    (text,) = said(few)
    assert f"up to update {PATIENCE + 1}" in text and "estep.programs" in text


@pytest.mark.parametrize("shares", [[0.1] * 20, [0.0] * (PATIENCE - 1), ([0.0] * (PATIENCE - 1) + [0.05]) * 3])
def test_nothing_is_said_while_thoughts_stay_or_come_back(shares):
    assert said(shares) == []


def test_of_the_recorded_esteps_just_those_that_lost_their_thoughts_would_have_been_told(repo_root):
    told, after = 0, []
    for name in spec_names():
        folder = repo_root / "benchmarks" / "results" / name
        for record in read_study(folder) if folder.is_dir() else []:
            for _, rows in groupby(record["estep"] or [], key=lambda row: row["round"]):
                shares = [row["think_share"] for row in rows]
                warned = bool(said(shares))
                told += warned
                assert warned == (shares[-1] < FEW), (name, record["arm"], record["seed"])
                if warned:
                    first = next(i for i in range(len(shares)) if said(shares[: i + 1]))
                    after.append(max(shares[first:]))
    assert told > 20 and max(after) < 0.0215
