"""Tables of reinforcement learning: curves from every start, at equal time, and under a weak judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cells import RECORDED, RESULTS, percent, table

from ra3_lab.evaluate.passk import crossed_mean_ci, paired_difference_ci
from ra3_lab.explore.findings import arm_label, in_order
from ra3_lab.rlvr.curves import Curve
from ra3_lab.runs import read_json
from ra3_lab.study import read_study


def learning() -> str:
    """GRPO from every start: its rate, validation on the way, and pass@1 on tasks that chose nothing.

    Updates are counted to the level that the base ends at; NTP's end tells nothing, the others have it at once.
    """
    record = read_json(RESULTS / "learning.json")
    level = next(row["final"]["mean"] for row in record["starts"] if row["label"] == "base")
    rows = []
    for row in record["starts"]:
        runs, passed = record["runs"][row["label"]], held_out(record["runs"][row["label"]])
        before = float(np.mean([run["validation"][0][1] for run in runs]))
        curves = [
            Curve(run["seed"], *(tuple(column) for column in zip(*run["validation"], strict=True))) for run in runs
        ]
        steps = [curve.steps_to(level) for curve in curves]
        mean, low, high = crossed_mean_ci(passed)
        rows.append(
            [arm_label(row["label"]), f"{record['rates'][row['label']]:g}"]
            + [percent(before), percent(row["final"]["mean"]), f"{row['area']['mean']:.3f}"]
            + [", ".join(f"{one:.0f}" if np.isfinite(one) else "never" for one in steps)]
            + [percent(float(held_out(runs, "held_out_before").mean())), percent(mean)]
            + [f"{100 * max(low, 0):.1f} to {100 * min(high, 1):.1f}"]
            + [", ".join(f"{100 * rate:.1f}" for rate in passed.mean(axis=1))]
        )
    columns = ["start", "learning rate", "validation before", "after", "area under its curve"]
    columns += [f"updates to {percent(level)}, by seed", "final tasks, before", "after", "95 % interval", "by seed, %"]
    return table(columns, rows)


def learning_trials() -> str:
    """Validation after the trials of every start, by learning rate."""
    found = read_json(RESULTS / "learning.json")["trials"]
    rates = [trial["learning_rate"] for trial in next(iter(found.values()))]
    rows = [[arm_label(label), *(percent(trial["validation"]) for trial in trials)] for label, trials in found.items()]
    return table(["start, after its trial at", *(f"{rate:g}" for rate in rates)], rows)


def held_out(runs: Sequence[dict[str, Any]], when: str = "held_out") -> np.ndarray:
    """(seeds, tasks) share of programs that passed after RLVR, or before, on the split that `--score` named."""
    return np.array([[np.mean([c == "1" for c in row]) for row in run[when]["correct"]] for run in runs])


def four_bit_curve() -> str:
    """GRPO on 4-bit weights: validation at every look, and the reward of the updates since the look before."""
    path = RESULTS / "rlvr_nf4.json"
    if not path.exists():
        return "not run yet"
    record = read_json(path)
    ((label, (run,)),) = record["runs"].items()
    rows, before = [], 0
    for update, score in run["validation"]:
        drawn = run["reward"][before:update]
        rows.append([str(update), percent(score), percent(float(np.mean(drawn))) if drawn else ""])
        before = update
    spent = ", ".join(f"{key} {run['seconds'][key]:.0f}" for key in ("sampling", "judging", "update"))
    told = (
        f"Learning rate {record['rates'][label]:g}, seed {run['seed']}; {run['tokens'] / 1e6:.2f} million tokens; "
        f"{run['seconds']['training']:.0f} s of training ({spent})."
    )
    return table(["updates", "validation pass@1", "mean reward since the look before"], rows) + "\n\n" + told


def learning_differences() -> str:
    """RA3's pass@1 after RLVR less every other start's, on tasks that chose nothing."""
    passed = {label: held_out(runs) for label, runs in read_json(RESULTS / "learning.json")["runs"].items()}
    rows = []
    for label in in_order(passed):
        if label != "ra3":
            mean, low, high = (100 * value for value in paired_difference_ci(passed["ra3"], passed[label]))
            by_seed = ", ".join(f"{100 * x:+.1f}" for x in (passed["ra3"] - passed[label]).mean(axis=1))
            rows.append([f"RA3 - {arm_label(label)}", f"{mean:+.1f}", f"{low:+.1f} to {high:+.1f}", by_seed])
    columns = ["difference after RLVR", "points of pass@1", "95 % interval (seeds and tasks)", "by seed"]
    return table(columns, rows)


@dataclass(frozen=True)
class Start:
    """A start of GRPO with what was spent on it before."""

    label: str
    learned: str
    """Record of its runs."""
    study: str | None = None
    """Study that mid-trained it, None for the base."""
    arm: str = "ra3"
    """Its arm there."""

    @property
    def runs(self) -> list[dict[str, Any]]:
        """One a seed."""
        return read_json(RESULTS / f"{self.learned}.json")["runs"][self.label]

    @property
    def before(self) -> float:
        """Seconds of mid-training, mean over seeds."""
        if self.study is None:
            return 0.0
        seeds = [run["seed"] for run in self.runs]
        rows = [r for r in read_study(RESULTS / self.study) if r["arm"] == self.arm and r["seed"] in seeds]
        return float(np.mean([next(iter(row["scores"].values()))["seconds"] for row in rows]))

    @property
    def each(self) -> float:
        """Seconds of an update, mean over seeds."""
        return sum(r["seconds"]["training"] for r in self.runs) / sum(r["validation"][-1][0] for r in self.runs)

    @property
    def curves(self) -> tuple[list[float], np.ndarray]:
        """Seconds in all at every look; (seeds, looks) validation pass@1 in 0..1."""
        updates = [update for update, _ in self.runs[0]["validation"]]
        seconds = [self.before + update * self.each for update in updates]
        return seconds, np.array([[score for _, score in run["validation"]] for run in self.runs])


BEFORE = (Start("base", "learning_long"), Start("ra3", "learning", "wallclock"))
"""The comparisons' RA3 and the base for longer, all on one version."""
READY = (
    Start("base", "learning_ready_long"),
    Start("ra3", "learning_ready", "ready"),
    Start("resampled", "learning_ready_resampled", "ready", "resampled in 8 rounds"),
)
"""The same with RA3's defaults and with resampling, at seeds of their own."""


def equal_time(starts: Sequence[Start]) -> str:
    """Validation over seconds, mean over seeds; then RA3's difference to every other start at the ends."""
    rows, ended = [], {}
    for start in starts:
        seconds, scores = start.curves
        told = [f"{100 * value:.0f} % at {at:.0f} s" for at, value in zip(seconds, scores.mean(axis=0), strict=True)]
        passed = ended[start.label] = held_out(start.runs)
        mean, low, high = crossed_mean_ci(passed)
        rows.append(
            [arm_label(start.label), f"{start.before:.0f}", str(start.runs[0]["validation"][-1][0])]
            + [f"{start.each:.1f}", ", ".join(told), percent(mean)]
            + [f"{100 * max(low, 0):.1f} to {100 * min(high, 1):.1f}"]
            + [", ".join(f"{100 * rate:.0f}" for rate in passed.mean(axis=1))]
        )
    columns = ["start", "seconds of mid-training", "updates of GRPO", "seconds each"]
    columns += ["validation pass@1, seconds in all", "final tasks, after", "95 % interval", "by seed, %"]
    differences = []
    for label in [label for label in ended if label != "ra3"]:
        mean, low, high = (100 * value for value in paired_difference_ci(ended["ra3"], ended[label]))
        each = ", ".join(f"{100 * x:+.1f}" for x in (ended["ra3"] - ended[label]).mean(axis=1))
        told = f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}] (seeds and tasks); by seed {each}."
        differences.append(f"RA3 - {arm_label(label)} at the end: {told}")
    return "\n\n".join([table(columns, rows), *differences])


def first_and_last(curves: Sequence[Sequence[dict[str, Any]]], keys: Sequence[str]) -> list[str]:
    """For each measure its means over the first and over the last six updates of these curves."""
    parts = [(key, some) for key in keys for some in (slice(6), slice(-6, None))]
    return [f"{np.mean([row[key] for curve in curves for row in curve[some]]):.2f}" for key, some in parts]


def twice(names: Sequence[str]) -> list[str]:
    """Columns for `first_and_last`."""
    return [f"{name}, {when} six updates" for name in names for when in ("first", "last")]


def learning_thoughts() -> str:
    """What changes while GRPO trains, over seeds."""
    runs = read_json(RECORDED / "starts.json")["rlvr_runs"]
    rows = []
    for label in in_order(dict.fromkeys(run["label"] for run in runs)):
        curves = [run["curve"] for run in runs if run["label"] == label]
        kl = max(row["kl_to_initial"] for curve in curves for row in curve if "kl_to_initial" in row)
        rows.append([arm_label(label), *first_and_last(curves, ("reward", "thought_share")), f"{kl:.4f}"])
    return table(["start", *twice(("reward", "thoughts a line")), "largest KL to the start, nats a token"], rows)


def hacking() -> str:
    """What the runs under two judges learn."""
    rows = [
        [run["label"], *first_and_last([run["curve"]], ("tests", "exit code", "thought_share"))]
        for run in read_json(RECORDED / "hacking.json")["rlvr_runs"]
    ]
    return table(["rewarded by", *twice(("pass the tests", "run without an error", "thoughts a line"))], rows)
