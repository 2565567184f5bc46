"""An E-step that ends while its return still rises is told about (`ra3_lab/midtrain/readiness.py`)."""

import pytest

from ra3_lab.midtrain.readiness import readiness_watch
from ra3_lab.study import read_study, spec_names


def said(*rounds: list[tuple[int, float]]) -> list[str]:
    """What is said of these looks, (update, return) each; a round's last is the one after its E-step."""
    found: list[str] = []
    watch = readiness_watch(found.append)
    for number, looks in enumerate(rounds):
        for i, (update, value) in enumerate(looks):
            stage = "monitor" if i == len(looks) - 1 else "estep"
            watch({"stage": stage, "round": number, "update": update, "held_out": {"return": value}})
            watch({"stage": "estep", "round": number, "update": update, "return": 9.0})
        watch({"stage": "mstep", "round": number, "update": 0, "loss": 1.0})
    return found


def test_a_rise_at_the_end_is_told_with_its_size():
    (text,) = said([(0, -13.0), (5, -12.0), (10, -9.0), (12, -8.0)])
    assert "from -12.0 to -8.0 nats in its last 7 updates" in text and "estep.updates" in text


@pytest.mark.parametrize(
    "rounds",
    [
        [[(0, -13.0), (5, -2.0), (10, -1.5), (12, -1.4)]],  # levelled off
        [[(0, -13.0), (5, -2.0), (10, -3.0), (12, -3.5)]],  # falls
        [[(0, -13.0), (4, -2.0)]],  # too short to say
        [[(0, -13.0), (5, -2.0), (10, -1.5)], [(10, -1.4), (15, -1.3), (20, -1.2)]],
    ],
)
def test_nothing_is_said_where_the_return_has_levelled_off(rounds):
    assert said(*rounds) == []


def test_every_round_is_looked_at_by_itself():
    early = [(0, -13.0), (5, -12.0), (10, -9.0)]
    assert len(said(early, [(10, -3.0), (15, -1.4), (20, -1.3)])) == 1
    assert len(said([(0, -5.0), (5, -2.0), (10, -1.9)], [(10, -9.0), (15, -6.0), (20, -3.0)])) == 1


def test_of_the_recorded_esteps_those_that_would_have_been_told_were_not_ready(repo_root):
    apt: dict[bool, list[float]] = {True: [], False: []}
    for name in spec_names():
        folder = repo_root / "benchmarks" / "results" / name
        for record in read_study(folder) if folder.is_dir() else []:
            for number in sorted({look["round"] for look in record["monitor"]}):
                mine = [look for look in record["monitor"] if look["round"] == number]
                told = bool(said([(look["update"], look["return"]) for look in mine]))
                apt[told].append(mine[-1]["apt"] or 0.0)
    assert len(apt[True]) > 12 and max(apt[True]) < 0.95
    assert sum(value > 0.95 for value in apt[False]) > 25
