"""Tables of RA3's E-step: what each of its settings changes, and how often thinking dies out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cells import RESULTS, table, told

from ra3_lab.midtrain.estep import EStepConfig
from ra3_lab.runs import read_json
from ra3_lab.study import load_spec, read_study, spec_names

DIED_OUT = 0.02
"""An E-step that ends with thoughts before a smaller share of lines has lost them."""

FEW = 0.1
"""One that ends with thoughts before a smaller share has faltered."""

FREE = ("updates", "engine", "tokens_at_once", "programs", "group")
"""Settings that may differ among the E-steps that are counted: those that change no update, and the programs and latent
sequences of one, which are told."""


def ablations(folder: str = "ablations", usual: str = "ra3") -> str:
    """Every setting changed by itself: the latents after the E-step, and pass@1 beside that of the usual ones at the
    same seeds: means, and every seed's in brackets."""
    spec = load_spec(folder)
    runs = {(record["arm"], record["seed"]): record for record in read_study(RESULTS / folder)}
    passed = {key: 100 * run["scores"][spec.splits[0]]["pass@1"] for key, run in runs.items()}
    rows = []
    for arm in spec.arms:
        seeds = [seed for seed in spec.seeds if (arm.name, seed) in runs and (usual, seed) in runs]
        ends = [runs[arm.name, seed]["monitor"][-1] for seed in seeds]
        ahead = [passed[arm.name, seed] - passed[usual, seed] for seed in seeds]
        rows.append(
            ["as it is" if arm.name == usual else arm.name, "" if arm.name == usual else arm.why]
            + [_all(ends, "f1"), _all(ends, "apt"), told([100 * end["think_share"] for end in ends])]
            + [told([end["line_logp"] for end in ends]), told([passed[arm.name, seed] for seed in seeds])]
            + ["" if arm.name == usual else told(ahead, sign="+")]
        )
    columns = ["setting", "what is changed", "F1", "apt", "lines with a thought, %", "nats of the expert's lines"]
    return table([*columns, "validation pass@1, %", "points above RA3 as it is"], rows)


def _all(ends: list[dict[str, Any]], key: str) -> str:
    """What is told of the latents at the end of every run; nothing where one has none."""
    values = [end[key] for end in ends]
    return "" if None in values else told(values, digits=2)


def worth(folder: str = "mechanism", usual: str = "ra3", without: tuple[str, str] = ("ablations", "c 8")) -> str:
    """What a thought adds to the expert's lines on the watched programs, before the E-step and after it, seed by seed.
    `without` names a study and an arm that ends without thoughts: the same lines with none before them."""
    plain = next(run["monitor"][-1] for run in read_study(RESULTS / without[0]) if run["arm"] == without[1])
    if plain["think_share"]:
        raise ValueError(f"arm {without[1]!r} ends with thoughts: it does not tell what lines are worth without any.")
    rows = [["none", "", "0.0", f"{plain['line_logp']:.1f}", ""]]
    runs = {record["seed"]: record for record in read_study(RESULTS / folder) if record["arm"] == usual}
    for name, when in (("the base's", 0), ("after the E-step", -1)):
        for seed, run in sorted(runs.items()):
            look, cost = run["monitor"][when], run["made_by"]["config"]["midtrain"]["estep"]["cost"]
            thoughts = (look["line_logp"] - look["return"]) / cost
            gain = (look["line_logp"] - plain["line_logp"]) / thoughts
            rows.append([name, str(seed), f"{thoughts:.1f}", f"{look['line_logp']:.1f}", f"{gain:.1f}"])
    return table(["thoughts", "seed", "a program", "nats of the expert's lines", "nats gained by each"], rows)


def rounds(folder: str = "ablations", arms: Sequence[str] = ("ra3", "2 rounds", "4 rounds")) -> str:
    """How apt the thoughts of each E-step are when its M-step begins, where they are spread over rounds; one seed."""
    runs = {record["arm"]: record for record in read_study(RESULTS / folder) if record["seed"] == 0}
    rows = []
    for arm in arms:
        last = {look["round"]: look for look in runs[arm]["monitor"]}
        (scores,) = runs[arm]["scores"].values()
        rows.append([str(len(last)), ", ".join(f"{look['apt']:.2f}" for look in last.values())])
        rows[-1].append(f"{100 * scores['pass@1']:.1f}")
    return table(["rounds", "apt at the end of each E-step", "validation pass@1, %"], rows)


def stability() -> str:
    """Every recorded E-step with the usual settings by base, expert programs and size of an update: does thinking
    stay?"""
    rows = []
    for condition, found in first_rounds().items():
        before, after = ([looks[end]["think_share"] for looks in found.values()] for end in (0, -1))
        ends = {seed: looks[-1]["think_share"] for seed, looks in found.items()}
        under = [sorted(seed for seed, share in ends.items() if share < limit) for limit in (DIED_OUT, FEW)]
        rows.append(
            [*condition, str(len(found))]
            + [f"{len(seeds)} (seed {', '.join(map(str, seeds))})" if seeds else "0" for seeds in under]
            + [f"{100 * min(values):.1f} to {100 * max(values):.1f}" for values in (before, after)]
        )
    columns = [
        "base",
        "expert programs",
        "an update",
        "E-steps",
        "ended without thoughts",
        f"ended under {100 * FEW:.0f} %",
    ]
    return table([*columns, "lines with a thought before, %", "after, %"], rows)


def readiness() -> str:
    """The E-steps with the default size of an update, seed by seed: their return after so many updates, and after how
    many it had levelled off."""
    rows = []
    for seed, looks in sorted(default_size().items()):
        found, level, end = {look["update"]: look for look in looks}, levelled_off(looks), looks[-1]["update"]
        rows.append([str(seed), str(end), "not yet" if level is None else str(level)])
        rows[-1] += [f"{found[update]['return']:.1f}" for update in (0, 20, 35, end)]
        rows[-1] += [f"{found[update]['apt']:.2f}" for update in (35, end)]
    columns = ["seed", "updates", "level after", "return at first", "after 20", "after 35", "at the end"]
    return table([*columns, "apt after 35", "apt at the end"], rows)


def default_size() -> dict[int, list[dict[str, Any]]]:
    """Looks of the E-steps from the shipped base with the default size of an update, over all expert programs."""
    usual = EStepConfig()
    return first_rounds()["shipped", "all", f"{usual.programs} x {usual.group}"]


def levelled_off(looks: Sequence[dict[str, Any]]) -> int | None:
    """The first of these looks from which on the return rises by no more than a nat; None where less than ten updates
    speak for it."""
    returns = [look["return"] for look in looks]
    first = next(i for i, value in enumerate(returns) if max(returns[i:]) <= value + 1)
    return looks[first]["update"] if looks[first]["update"] <= looks[-1]["update"] - 10 else None


def first_rounds() -> dict[tuple[str, str, str], dict[int, list[dict[str, Any]]]]:
    """(base, expert programs, programs x latents of an update) -> seed -> looks of the first round; of equal rounds the
    longest."""
    found: dict[tuple[str, str, str], dict[int, list[dict[str, Any]]]] = {}

    def add(base: str, programs: int | None, estep: dict[str, Any], seed: int, looks: list[dict[str, Any]]) -> None:
        size = f"{estep['programs']} x {estep['group']}"
        of = found.setdefault((base, "all" if programs is None else str(programs), size), {})
        of[seed] = max(of.get(seed, []), looks, key=len)

    for name in spec_names():
        for record in read_study(RESULTS / name):
            made_by, config = record["made_by"], record["made_by"]["config"]
            estep = config["midtrain"]["estep"]
            if record["monitor"] and _usual(estep) and not made_by["one_latent"]:
                first = [look for look in record["monitor"] if look["round"] == 0]
                add(_base(made_by["model"]), config["corpus"], estep, record["seed"], first)
    for path in sorted((RESULTS / "estep").glob("*.json")):  # E-steps by themselves (`benchmarks/estep.py`)
        record = read_json(path)
        if _usual(record["estep"]):
            for run in record["runs"]:
                add(_base(record.get("model", "embedded")), record["corpus"], record["estep"], run["seed"], run["rows"])
    return dict(sorted(found.items(), key=lambda item: item[0][0] != "shipped"))


def _usual(estep: dict[str, Any]) -> bool:
    """Whether these settings, of whatever version, are the defaults but for those that are free."""
    usual = asdict(EStepConfig())
    return all(value == usual[key] for key, value in estep.items() if key not in FREE)


def _base(model: str) -> str:
    """'runs/bases/25/model' -> '25 %'."""
    return "shipped" if model == "embedded" else f"{model.split('/')[-2]} %"
