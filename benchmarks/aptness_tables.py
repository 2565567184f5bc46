"""What wrong thoughts in the M-step's data cost: annotators that err by chance, and RA3's own thoughts beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from cells import RESULTS, percent, table, told

from ra3_lab.evaluate.breaks import BEGUN
from ra3_lab.explore.findings import arm_label
from ra3_lab.runs import read_json
from ra3_lab.study import read_study


@dataclass(frozen=True)
class Found:
    """RA3 at one seed."""

    seed: int
    """Training seed."""
    wrong: tuple[float, ...]
    """Share of watched thoughts that do not say the step that begins there, in 0..1, when the M-step of each round
    begins."""
    passed: float
    """pass@1 in 0..1."""


def annotators() -> dict[float, np.ndarray]:
    """Share of thoughts with another one's words, in 0..1 -> (seeds,) pass@1, in rising order."""
    passed: dict[float, list[float]] = {}
    for folder in ("arms", "aptness"):
        for record in read_study(RESULTS / folder):
            config = record["made_by"]["config"]["midtrain"]
            if config["method"] == "annotator":
                passed.setdefault(config["annotation_noise"], []).append(record["scores"]["test"]["pass@1"])
    return {wrong: np.array(rates) for wrong, rates in sorted(passed.items())}


def discovered() -> list[Found]:
    """RA3's seeds on the same tasks."""
    found = []
    for record in read_study(RESULTS / "arms"):
        if record["arm"] == "ra3":
            last = {look["round"]: look["apt"] for look in record["monitor"]}
            wrong = tuple(1 - last[at] for at in sorted(last))
            found.append(Found(record["seed"], wrong, record["scores"]["test"]["pass@1"]))
    return found


def as_often_wrong(run: Found) -> float:
    """pass@1 of an annotator whose thoughts are wrong as often as RA3's were, mean over its M-steps: straight lines
    between the means of those that were run."""
    curve = annotators()
    return float(np.interp(np.mean(run.wrong), list(curve), [rates.mean() for rates in curve.values()]))


def aptness() -> str:
    """Both as a table."""
    rows = [["annotator", f"{100 * wrong:.0f}", told(100 * rates), ""] for wrong, rates in annotators().items()]
    for run in discovered():
        each = ", ".join(f"{100 * wrong:.0f}" for wrong in run.wrong)
        beside = f"{100 * as_often_wrong(run):.1f}"
        rows.append([f"RA3, seed {run.seed}", each, f"{100 * run.passed:.1f}", beside])
    columns = ["thoughts of", "wrong, % (RA3: in its first and second M-step)", "pass@1, %"]
    return table([*columns, "an annotator as often wrong, %"], rows)


WALKED = ["arm", "seed", "pass@1", "begun with the right thought", "with another", "with none"]
WALKED += ["first segment with another", "right after the right thought", "after another", "after none"]
WALKED += ["breaks after another thought"]


def breaks() -> str:
    """How segments of sampled programs begin, and how many of them are right, model by model."""
    rows = sorted(read_json(RESULTS / "breaks.json")["rows"], key=lambda row: (_wrong(row["arm"]), row["seed"]))
    return table(WALKED, [_walked(row) for row in rows])


def breaks_of_ready() -> str:
    """The same for the two arms of `ready`, and the skill at which most programs break."""
    rows = []
    for row in read_json(RESULTS / "breaks_ready.json")["rows"]:
        broken = {skill: sum(_broken(counts).values()) for skill, counts in row["skills"].items()}
        worst = max(broken, key=lambda skill: broken[skill])
        rows.append([*_walked(row), f"{100 * broken[worst] / sum(broken.values()):.0f} % ({worst})"])
    return table([*WALKED, "breaks at the worst skill"], rows)


def _walked(row: dict[str, Any]) -> list[str]:
    """The cells of `WALKED` for one model."""
    reached, right, first = row["segments"]["reached"], row["segments"]["right"], row["first"]
    broken = _broken(row["segments"])
    return [
        *(arm_label(row["arm"]), str(row["seed"]), percent(row["passed"] / row["programs"])),
        *(percent(reached[how] / sum(reached.values())) for how in BEGUN),
        percent(first["another"] / sum(first.values())),
        *(f"{100 * right[how] / reached[how]:.0f} % of {reached[how]}" if reached[how] else "" for how in BEGUN),
        f"{100 * broken['another'] / sum(broken.values()):.0f} % of {sum(broken.values())}",
    ]


def _broken(counts: dict[str, dict[str, int]]) -> dict[str, int]:
    """Segments that are not right, for each way to begin, from what `count_breaks` counted."""
    return {how: counts["reached"][how] - counts["right"][how] for how in BEGUN}


def thoughts_gone_wrong() -> tuple[dict[float, float], dict[int, float]]:
    """What share of the thoughts in a policy's programs are wrong, in 0..1: share in the annotator's data -> at seed 0;
    RA3's seed -> at it."""
    annotators, seeds = {}, {}
    for row in read_json(RESULTS / "breaks.json")["rows"]:
        reached = row["segments"]["reached"]
        share = reached["another"] / (reached["another"] + reached["right"])
        if row["arm"] == "ra3":
            seeds[row["seed"]] = share
        elif row["arm"] != "base":
            annotators[_wrong(row["arm"]) / 100] = share
    return dict(sorted(annotators.items())), seeds


def _wrong(arm: str) -> int:
    """Wrong thoughts in a hundred of its M-step's data, to put arms in order: the base first, RA3 last."""
    known = {"base": -1, "annotator": 0, "ra3": 100}
    return known[arm] if arm in known else int(arm.split(" % ")[0])
