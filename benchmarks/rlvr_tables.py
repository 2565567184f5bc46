"""Tables of reinforcement learning: curves from every start, at equal time, and under a weak judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from cells import RECORDED, RESULTS, percent, table

from ra3_lab.evaluate.passk import crossed_mean_ci
from ra3_lab.explore.findings import arm_label, in_order
from ra3_lab.rlvr.curves import Curve, over_seeds
from ra3_lab.runs import read_json
from ra3_lab.study import read_study


def learning() -> str:
    """GRPO from every start: rate, final value, area, updates to the level that the base ends at; NTP's end, which the
    others have before the first update, tells nothing."""
    record = read_json(RESULTS / "learning.json")
    level = next(row["final"]["mean"] for row in record["starts"] if row["label"] == "base")
    scored = all("held_out" in run for runs in record["runs"].values() for run in runs)
    rows = []
    for row in record["starts"]:
        final, area, runs = row["final"], row["area"], record["runs"][row["label"]]
        before = float(np.mean([run["validation"][0][1] for run in runs]))
        ends = ", ".join(f"{100 * run['validation'][-1][1]:.1f}" for run in runs)
        curves = [
            Curve(run["seed"], *(tuple(column) for column in zip(*run["validation"], strict=True))) for run in runs
        ]
        steps = [curve.steps_to(level) for curve in curves]
        rows.append(
            [arm_label(row["label"]), f"{record['rates'][row['label']]:g}", percent(before), percent(final["mean"])]
            + [f"{100 * final['low']:.1f} to {100 * final['high']:.1f}", ends, f"{area['mean']:.3f}"]
            + [", ".join(f"{one:.0f}" if np.isfinite(one) else "never" for one in steps)]
            + ([_held_out(runs)] if scored else [])
        )
    columns = ["start", "learning rate", "before", "after", "95 % interval (seeds)", "by seed, %"]
    columns += ["area under the curve", f"updates to {percent(level)}, by seed"]
    return table(columns + ["on tasks that chose nothing"] * scored, rows)


def _held_out(runs: Sequence[dict[str, Any]]) -> str:
    """pass@1 after RLVR on the split that `--score` names, with its interval over seeds and tasks."""
    passed = [[np.mean([c == "1" for c in row]) for row in run["held_out"]["correct"]] for run in runs]
    mean, low, high = crossed_mean_ci(passed)
    return f"{percent(mean)} [{100 * max(low, 0):.1f}, {100 * min(high, 1):.1f}]"


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
    """RA3's final value less every other start's, paired by seed."""
    runs = read_json(RESULTS / "learning.json")["runs"]
    finals = {label: [run["validation"][-1][1] for run in found] for label, found in runs.items()}
    rows = []
    for label in in_order(finals):
        if label != "ra3":
            each = [mine - other for mine, other in zip(finals["ra3"], finals[label], strict=True)]
            mean, low, high = (100 * value for value in over_seeds(each))
            by_seed = ", ".join(f"{100 * value:+.1f}" for value in each)
            rows.append([f"RA3 - {arm_label(label)}", f"{mean:+.1f}", f"{low:+.1f} to {high:+.1f}", by_seed])
    return table(["difference after RLVR", "points of pass@1", "95 % interval (seeds, paired)", "by seed"], rows)


def equal_time() -> str:
    """GRPO from the base for longer, beside RA3's mid-training and GRPO: validation over seconds, mean over seeds.

    Seconds of an update are those of the two starts' runs in the comparison, one after the other on one version; the
    longer runs were made later, when updates had become faster.
    """
    compared = read_json(RESULTS / "learning.json")["runs"]
    longer = read_json(RESULTS / "learning_long.json")["runs"]["base"]
    seeds = [run["seed"] for run in longer]
    spent = [
        r["scores"]["final"]["seconds"]
        for r in read_study(RESULTS / "final")
        if r["arm"] == "ra3" and r["seed"] in seeds
    ]
    curves = {"base": (0.0, longer), "ra3": (float(np.mean(spent)), compared["ra3"])}
    rows = []
    for label, (before, runs) in curves.items():
        each = sum(r["seconds"]["training"] for r in compared[label]) / sum(
            r["validation"][-1][0] for r in compared[label]
        )
        means = [
            (looks[0][0], np.mean([v for _, v in looks]))
            for looks in zip(*(r["validation"] for r in runs), strict=True)
        ]
        told = [f"{100 * value:.0f} % at {before + update * each:.0f} s" for update, value in means]
        ends = ", ".join(f"{100 * run['validation'][-1][1]:.0f}" for run in runs)
        rows.append([arm_label(label), f"{before:.0f}", str(means[-1][0]), f"{each:.1f}", ", ".join(told), ends])
    columns = [
        "start",
        "seconds of mid-training",
        "updates of GRPO",
        "seconds each",
        "validation pass@1, seconds in all",
    ]
    return table([*columns, "end by seed, %"], rows)


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
