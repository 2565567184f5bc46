"""Tables of reinforcement learning: curves from every start, at equal time, and under a weak judge."""

from __future__ import annotations

from collections.abc import Sequence
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


def equal_time() -> str:
    """GRPO from the base for longer, beside RA3's mid-training and GRPO: validation over seconds, mean over seeds; then
    the difference at the ends.

    All on one version: RA3's mid-training in the study of equal times, GRPO in the comparison of starts.
    """
    rows, ended = [], []
    spent = [r["scores"]["test"]["seconds"] for r in read_study(RESULTS / "wallclock") if r["arm"] == "ra3"]
    for label, before, name in (("base", 0.0, "learning_long"), ("ra3", float(np.mean(spent)), "learning")):
        runs = read_json(RESULTS / f"{name}.json")["runs"][label]
        each = sum(r["seconds"]["training"] for r in runs) / sum(r["validation"][-1][0] for r in runs)
        means = [
            (looks[0][0], np.mean([v for _, v in looks]))
            for looks in zip(*(r["validation"] for r in runs), strict=True)
        ]
        told = [f"{100 * value:.0f} % at {before + update * each:.0f} s" for update, value in means]
        passed = held_out(runs)
        ended.append(passed)
        ends = ", ".join(f"{100 * rate:.0f}" for rate in passed.mean(axis=1))
        rows.append(
            [arm_label(label), f"{before:.0f}", str(means[-1][0]), f"{each:.1f}", ", ".join(told)]
            + [percent(float(passed.mean())), ends]
        )
    columns = ["start", "seconds of mid-training", "updates of GRPO", "seconds each"]
    columns += ["validation pass@1, seconds in all", "final tasks, after", "by seed, %"]
    mean, low, high = (100 * value for value in paired_difference_ci(ended[1], ended[0]))
    told = f"RA3 - base at the end: {mean:+.1f} points [{low:+.1f}, {high:+.1f}] (seeds and tasks)."
    return f"{table(columns, rows)}\n\n{told}"


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
