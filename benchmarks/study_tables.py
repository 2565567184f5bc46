"""Tables of studies: arms, differences, latents, tuning, and what is measured on their models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from cells import RESULTS, percent, table, told
from rlvr_tables import held_out

from ra3_lab.evaluate.passk import paired_difference_ci
from ra3_lab.evaluate.seeds import summarise_seeds
from ra3_lab.explore.findings import arm_label, in_order
from ra3_lab.runs import read_json
from ra3_lab.study import load_spec, read_study, seed_records
from ra3_lab.study.strata import Stratum, lines_per_step, stratify
from ra3_lab.tasks.pipelines import load_split
from ra3_lab.theory.closed_forms import effective_horizon, geometric_discount

GAMMA = 0.9
"""The discount at which the table of choices tells an effective horizon."""

BASES = {**{f"{share} %": f"bases/base_{share}.json" for share in (0, 25, 50, 100)}, "shipped": "base_model.json"}
"""Name in the study `bases` -> what `benchmarks/base_model.py` says of it."""

BEFORE = (
    "pass@1, left free",
    "begins with a thought",
    "kept from thinking",
    "lines with a thought",
    "apt thoughts",
    "nats without thoughts",
    "with true thoughts",
)
"""What is told of a base before mid-training."""


def summary(folder: str) -> dict[str, Any]:
    """A study of `data/studies/` summed up from its records, on its first split."""
    spec = load_spec(folder)
    return summarise_seeds(seed_records(read_study(RESULTS / folder), spec.splits[0]), spec.pairs)


def arms(folder: str) -> str:
    """pass@1 of every arm of a study."""
    found = summary(folder)["arms"]
    rows = []
    for arm in in_order(found):
        row = found[arm]
        low, high = row["ci95"]
        rows.append(
            [
                arm_label(arm),
                percent(row["pass@1"]),
                f"{100 * low:.1f} to {100 * high:.1f}",
                ", ".join(f"{100 * value:.1f}" for value in row["by_seed"]),
                percent(row["pass@4"]),
                *(percent(row["by_length"][length]) for length in row["by_length"]),
                *(percent(row["by_listing"][kind]) for kind in ("in order", "out of order")),
                f"{row['thoughts_per_program']:.1f}",
                f"{row['updates']:.0f}",
                f"{row['tokens'] / 1e6:.2f}",
                f"{row['seconds']:.0f}",
            ]
        )
    lengths = [f"{length} steps" for length in next(iter(found.values()))["by_length"]]
    return table(
        ["arm", "pass@1", "95 % interval", "by seed, %", "pass@4", *lengths, "in order", "out of order"]
        + ["thoughts a program", "updates", "tokens trained on, millions", "seconds"],
        rows,
    )


RESAMPLED_AND_RA3 = (
    *(("resampling", name, f"resampled, {name}") for name in ("1 round", "2 rounds", "4 rounds", "8 rounds")),
    ("ablations", "ra3", "RA3, 8 x 8, 1 round"),
    ("ablations", "2 rounds", "RA3, 8 x 8, 2 rounds"),
    ("ablations", "4 rounds", "RA3, 8 x 8, 4 rounds"),
    ("ablations", "G 4", "RA3, 16 x 4, 1 round"),
)
"""Study, arm and what it is called of resampling by rounds, and RA3 on the same tasks and seeds."""


def resampling() -> str:
    """Resampling by number of rounds beside RA3: every seed's pass@1 on validation."""
    rows = []
    for folder, arm, name in RESAMPLED_AND_RA3:
        scores = [one["scores"]["validation"] for one in read_study(RESULTS / folder) if one["arm"] == arm]
        rows.append(
            [name, told([100 * row["pass@1"] for row in scores])]
            + [f"{np.mean([row['thoughts_per_program'] for row in scores]):.1f}", str(scores[0]["updates"])]
        )
    return table(["arm", "validation pass@1, %", "thoughts a program", "updates"], rows)


def overview() -> str:
    """The final comparison in short, and what GRPO makes of each start."""
    found = summary("final")["arms"]
    starts = read_json(RESULTS / "learning.json")["runs"]
    after = {arm: percent(float(held_out(runs).mean())) for arm, runs in starts.items()}
    rows = []
    for arm in in_order(found):
        low, high = found[arm]["ci95"]
        by_seed = ", ".join(f"{100 * value:.1f}" for value in found[arm]["by_seed"])
        rows.append(
            [arm_label(arm), percent(found[arm]["pass@1"]), f"{100 * low:.1f} to {100 * high:.1f}", by_seed]
            + [f"{found[arm]['thoughts_per_program']:.1f}", after[arm]]
        )
    columns = ["arm", "pass@1", "95 % interval", "by seed, %", "thoughts a program"]
    return table([*columns, "after 36 updates of RLVR"], rows)


def differences(folder: str) -> str:
    """Paired differences, those whose interval holds 0 first, and each seed's own."""
    found = summary(folder)
    by_seed = {arm: np.array(row["by_seed"]) for arm, row in found["arms"].items()}
    rows = [
        [
            f"{arm_label(d['a'])} - {arm_label(d['b'])}",
            f"{100 * d['mean']:+.1f}",
            f"{100 * d['low']:+.1f} to {100 * d['high']:+.1f}",
            "holds 0" if d["low"] <= 0 <= d["high"] else "",
            ", ".join(f"{100 * value:+.1f}" for value in by_seed[d["a"]] - by_seed[d["b"]]),
        ]
        for d in sorted(found["differences"], key=lambda d: not d["low"] <= 0 <= d["high"])
    ]
    return table(["difference", "points of pass@1", "95 % interval (seeds and tasks)", "", "by seed"], rows)


def latents(folder: str) -> str:
    """The latents of base and RA3 against the truth, mean over seeds."""
    found = summary(folder)["segmentation"]
    keys = ("think_share", "precision", "recall", "f1", "random_f1", "apt", "duration", "tokens_per_thought")
    rows = [
        [arm_label(arm), *("" if row[key] is None else f"{row[key]:.2f}" for key in keys)] for arm, row in found.items()
    ]
    return table(["latents of", *(key.replace("_", " ") for key in keys)], rows)


def runs(folder: str, split: str) -> str:
    """RA3's runs one by one: what its latents are worth after the E-step, and pass@1."""
    rows = [
        [str(record["seed"])]
        + [f"{record['latents'][key]:.2f}" for key in ("f1", "apt", "think_share")]
        + [f"{record['monitor'][-1]['return']:.1f}", percent(record["scores"][split]["pass@1"])]
        for record in read_study(RESULTS / folder)
        if record["arm"] == "ra3"
    ]
    return table(["seed", "F1", "apt", "lines with a thought", "return (nats a program)", "pass@1"], rows)


def discovery(folder: str) -> str:
    """Where RA3's thoughts stand, whether they are apt, and what they are worth, on the watched programs over E-step
    updates, mean over seeds."""
    runs = [record["monitor"] for record in read_study(RESULTS / folder) if record["arm"] == "ra3"]
    rows = []
    for looks in zip(*runs, strict=True):
        mean = {key: np.mean([look[key] for look in looks]) for key in ("f1", "apt", "think_share", "return")}
        rows.append(
            [str(looks[0]["update"]), str(looks[0]["round"] + 1), f"{mean['f1']:.2f}", f"{mean['apt']:.2f}"]
            + [percent(float(mean["think_share"])), f"{mean['return']:.1f}"]
        )
    columns = ["E-step updates done", "round", "F1", "apt", "lines with a thought", "return (nats a program)"]
    return table(columns, rows)


def trials(folder: str) -> str:
    """Every trial of a tuning; an arm's name is that of what was tuned, then the rate."""
    settings = {record["arm"]: record["made_by"]["config"]["midtrain"] for record in read_study(RESULTS / folder)}

    def named(arm: str) -> str:
        """'ra3 1e-3 longer' -> 'RA3 longer'."""
        label, more = re.split(r" [\d.]+e-\d", arm)
        return arm_label(label) + more

    rows = [
        [
            named(record["arm"]),
            f"{settings[record['arm']]['mstep']['learning_rate']:g}",
            f"{settings[record['arm']]['estep']['updates']} + {settings[record['arm']]['mstep']['updates']}",
            percent(record["scores"]["validation"]["pass@1"]),
            ", ".join(f"{100 * look['score']:.1f}" for look in record["validation"]),
        ]
        for record in read_study(RESULTS / folder)
    ]
    return table(
        ["arm", "learning rate", "E-step + M-step updates of the budget", "validation pass@1", "at each look, %"], rows
    )


def base() -> str:
    """The base before mid-training by number of steps, expert data's mix of skills."""
    rows = [[str(row["steps"]), *_before(row)] for row in _expert_rows("base_model.json")]
    return table(["steps", *BEFORE], rows)


def bases(steps: int = 6) -> str:
    """The bases of the study `bases` before mid-training, at the middle length of its expert data."""
    rows = [
        [name, *_before(row)] for name, file in BASES.items() for row in _expert_rows(file) if row["steps"] == steps
    ]
    return table(["base", *BEFORE], rows)


def _expert_rows(file: str) -> list[dict[str, Any]]:
    """Rows of a record of `benchmarks/base_model.py` with expert data's mix of skills; none where it was not made."""
    path = RESULTS / file
    return [row for row in read_json(path)["rows"] if row["mix"] == "expert"] if path.exists() else []


def _before(row: dict[str, Any]) -> list[str]:
    """One such row's cells, as `BEFORE` names them."""
    return (
        [f"{row['pass@1'][how]:.2f}" for how in ("free", "begin", "never")]
        + [f"{row['think_share']:.0%}".replace("%", " %"), "" if row["apt"] is None else f"{row['apt']:.2f}"]
        + [f"{row['line_logp'][which]:.1f}" for which in ("no_thought", "true_thoughts")]
    )


def cross_entropy(folder: str) -> str:
    """The M-step's loss of every arm over its last 20 updates, mean over seeds."""
    last: dict[str, list[float]] = {}
    for record in read_study(RESULTS / folder):
        if record["mstep"]:
            last.setdefault(record["arm"], []).append(float(np.mean([row["loss"] for row in record["mstep"][-20:]])))
    rows = [
        [arm_label(arm), f"{np.mean(last[arm]):.4f}", ", ".join(f"{x:.4f}" for x in last[arm])]
        for arm in in_order(last)
    ]
    return table(["arm", "M-step cross-entropy, nats a token", "by seed"], rows)


def choices() -> str:
    """Effective action set and horizon, mean over seeds; a policy that never thinks decides at every line."""
    record = read_json(RESULTS / "choices.json")
    rows = []
    for arm in in_order(dict.fromkeys(row["arm"] for row in record["rows"])):
        runs = [row for row in record["rows"] if row["arm"] == arm]
        cells = [
            f"{np.mean([run[kind][key] for run in runs]):.1f}"
            for kind in ("without thoughts so far", "with thoughts so far")
            for key in ("lines", "thoughts", "lines_after_thought")
        ]
        at_start = [run["with thoughts so far"] for run in runs]
        product = np.mean([found["thoughts"] * found["lines_after_thought"] for found in at_start])
        lengths = [run["lines_per_thought"] for run in runs]
        told = ["", f"{effective_horizon(GAMMA):.1f}"]  # every line is a decision
        if None not in lengths:
            horizons = [effective_horizon(geometric_discount(GAMMA, length)) for length in lengths]
            told = [f"{np.mean(lengths):.1f}", f"{np.mean(horizons):.1f}"]
        rows.append([arm_label(arm), *cells, f"{product:.1f}", *told])
    kinds = [f"{what}{kind}" for kind in (", bare code", "") for what in ("lines", "thoughts", "lines after a thought")]
    return table(["arm", *kinds, "thoughts x lines after", "code lines a thought", f"horizon at gamma = {GAMMA}"], rows)


def by_lines(folder: str, split: str, pairs: Sequence[tuple[str, str]]) -> list[Stratum]:
    """A study's tasks with short, middling and long blocks."""
    records = seed_records(read_study(RESULTS / folder), split)
    tasks = load_split(split)[: len(next(iter(records[0]["correct"].values())))]
    return stratify(records, tasks, lines_per_step, pairs)


def block_length(folder: str, split: str) -> str:
    """Rates and differences on tasks with short, middling and long blocks; by how much the short ones' differences are
    larger than the long ones', with every seed's."""
    pairs = (("ra3", "ntp"), ("ra3", "prior"))
    found = by_lines(folder, split, pairs)
    rows = [
        [stratum.name, str(stratum.tasks)]
        + [percent(stratum.rates[arm]) for arm in in_order(stratum.rates)]
        + [f"{100 * d.mean:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]" for _, _, d in stratum.differences]
        for stratum in found
    ]
    ahead = [[(s.passed[a] - s.passed[b]).mean(axis=1) for a, b in pairs] for s in (found[0], found[-1])]
    more = [told(list(100 * (short - long)), sign="+") for short, long in zip(*ahead, strict=True)]
    rows.append(["first less last", "", *("" for _ in found[0].rates), *more])
    columns = ["lines a step", "tasks", *(arm_label(arm) for arm in in_order(found[0].rates))]
    return table([*columns, *(f"{arm_label(a)} - {arm_label(b)}" for a, b in pairs)], rows)


def lengths() -> str:
    """pass@1 by number of steps, mean over seeds, and margins with intervals over seeds and tasks."""
    record = read_json(RESULTS / "lengths.json")
    arms = in_order(dict.fromkeys(row["arm"] for row in record["rows"]))
    fewest, most = record["settings"]["steps"]
    margins = (("ra3", "ntp"), ("ra3", "prior"), ("ntp", "base"))
    rows = []
    for steps in range(fewest, most + 1):
        passed = passed_by_arm(record, steps)
        cells = [percent(float(passed[arm].mean())) for arm in arms]
        for one, other in margins:  # the base is one model, sampled once
            d = paired_difference_ci(*np.broadcast_arrays(passed[one], passed[other]))
            apart = passed[one].any() or passed[other].any()  # where nothing passes nothing is known of the difference
            cells.append(f"{100 * d.mean:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]" if apart else "")
        rows.append([str(steps), *cells])
    return table(["steps", *map(arm_label, arms), *(f"{arm_label(a)} - {arm_label(b)}" for a, b in margins)], rows)


def longer_ntp() -> str:
    """pass@1 by number of steps of NTP trained for longer, between NTP and RA3 at equal updates (means over seeds)."""
    usual, longer = (read_json(RESULTS / name) for name in ("lengths.json", "lengths_ntp.json"))
    if usual["settings"] != longer["settings"]:
        raise ValueError("lengths_ntp.json has other tasks than lengths.json: measure it with the same settings.")
    fewest, most = usual["settings"]["steps"]
    rows = []
    for steps in range(fewest, most + 1):
        passed, trained_longer = passed_by_arm(usual, steps), passed_by_arm(longer, steps)
        found = {"NTP": passed["ntp"], **trained_longer, "RA3": passed["ra3"]}
        rows.append([str(steps), *(percent(float(rates.mean())) for rates in found.values())])
    return table(["steps", *found], rows)


def passed_by_arm(record: dict[str, Any], steps: int) -> dict[str, np.ndarray]:
    """Arm -> (seeds, tasks) share of its programs that passed at this number of steps (`benchmarks/lengths.py`)."""
    passed: dict[str, list[list[int]]] = {}
    for row in record["rows"]:
        passed.setdefault(row["arm"], []).append(row["steps"][str(steps)]["passed"])
    return {arm: np.array(rows) / record["settings"]["samples"] for arm, rows in passed.items()}
