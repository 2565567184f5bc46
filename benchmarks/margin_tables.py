"""Where RA3 wins: its margins over NTP, prior and base under one condition after another, every seed by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cells import RESULTS, table, told
from study_tables import by_lines, passed_by_arm

from ra3_lab.explore.findings import arm_label
from ra3_lab.runs import read_json
from ra3_lab.study import load_spec, read_study


@dataclass(frozen=True)
class Condition:
    """What the arms of the usual four that were run make of one setting of the experiment."""

    name: str
    """What is special about it."""
    passed: dict[str, np.ndarray]
    """Method -> (seeds,) pass@1 in 0..1."""
    thoughts: np.ndarray | None = None
    """(seeds,) thoughts in a program of RA3's policy, where that is known."""

    def margin(self, other: str) -> np.ndarray:
        """(seeds,) points of pass@1 that RA3 is above another method. Raises KeyError where that was not run."""
        return 100 * (self.passed["ra3"] - self.passed[other])


def conditions(folder: str) -> list[Condition]:
    """A study whose arms are called METHOD CONDITION, in the spec's order; of each the seeds that all its arms have."""
    spec = load_spec(folder)
    scores = {(r["arm"], r["seed"]): r["scores"][spec.splits[0]] for r in read_study(RESULTS / folder)}
    arms: dict[str, list[str]] = {}
    for arm in spec.arms:
        arms.setdefault(arm.name.partition(" ")[2], []).append(arm.method)
    found = []
    for name, methods in arms.items():
        of = {method: f"{method} {name}" for method in methods}
        if seeds := [seed for seed in spec.seeds if all((arm, seed) in scores for arm in of.values())]:
            passed = {method: np.array([scores[arm, seed]["pass@1"] for seed in seeds]) for method, arm in of.items()}
            thoughts = np.array([scores[of["ra3"], seed]["thoughts_per_program"] for seed in seeds])
            found.append(Condition(name, passed, thoughts))
    return found


def by_condition(folder: str, what: str) -> str:
    """pass@1 of the arms under every condition, and RA3's margins: means, and every seed's in brackets."""
    found = conditions(folder)
    methods = list(found[0].passed)
    others = [method for method in methods if method != "ra3"]
    rows = [
        [condition.name]
        + [told(100 * condition.passed[method]) for method in methods]
        + [told(condition.margin(other), sign="+") for other in others]
        + ["" if condition.thoughts is None else told(condition.thoughts)]
        for condition in found
    ]
    margins = [f"RA3 - {arm_label(other)}" for other in others]
    rates = [f"{arm_label(method)}, %" for method in methods]
    return table([what, *rates, *margins, "thoughts in RA3's programs"], rows)


def by_steps() -> list[Condition]:
    """The final comparison's models by number of steps (`benchmarks/lengths.py`)."""
    record = read_json(RESULTS / "lengths.json")
    fewest, most = record["settings"]["steps"]
    found = []
    for steps in range(fewest, most + 1):
        rates = {arm: passed.mean(axis=1) for arm, passed in passed_by_arm(record, steps).items()}
        found.append(Condition(str(steps), rates))
    return found


def by_block(folder: str, split: str) -> list[Condition]:
    """A comparison's tasks with short, middling and long blocks."""
    return [
        Condition(stratum.name, {arm: passed.mean(axis=1) for arm, passed in stratum.passed.items()})
        for stratum in by_lines(folder, split, ())
    ]


def groups() -> dict[str, list[Condition]]:
    """What was varied -> its conditions."""
    return {
        "commented in pre-training": conditions("bases"),
        "expert programs": conditions("expert_data"),
        "steps": by_steps(),
        "lines a step": by_block("final", "final"),
    }
