"""Tables of RA3's E-step: what each of its settings changes, and how often thinking dies out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cells import RESULTS, table, told

from ra3_lab.midtrain.estep import EStepConfig
from ra3_lab.runs import read_json
from ra3_lab.study import load_spec, read_study, spec_names

DIED_OUT = 0.02
"""An E-step that ends with thoughts before a smaller share of lines has lost them."""

SAME_UPDATES = ("updates", "engine", "tokens_at_once")
"""Settings by which a first round's updates do not differ."""

WATCHED = ("estep_all.json", "estep_64.json")
"""E-steps by themselves, several seeds (`benchmarks/estep.py`)."""


def ablations(folder: str = "ablations", usual: str = "ra3") -> str:
    """Every setting changed by itself: the latents after the E-step, and pass@1 beside that of the usual ones."""
    spec = load_spec(folder)
    runs = {(record["arm"], record["seed"]): record for record in read_study(RESULTS / folder)}
    passed = {key: 100 * run["scores"][spec.splits[0]]["pass@1"] for key, run in runs.items()}
    rows = []
    for arm in spec.arms:
        if seeds := [seed for seed in spec.seeds if (arm.name, seed) in runs and (usual, seed) in runs]:
            ends = [runs[arm.name, seed]["monitor"][-1] for seed in seeds]
            ahead = [passed[arm.name, seed] - passed[usual, seed] for seed in seeds]
            rows.append(
                ["as it is" if arm.name == usual else arm.name]
                + [_all(ends, "f1"), _all(ends, "apt"), told([100 * end["think_share"] for end in ends])]
                + [told([end["line_logp"] for end in ends]), told([passed[arm.name, seed] for seed in seeds])]
                + ["" if arm.name == usual else told(ahead, sign="+")]
            )
    columns = ["setting", "F1", "apt", "lines with a thought, %", "nats of the expert's lines"]
    return table([*columns, "validation pass@1, %", "points above RA3 as it is"], rows)


def _all(ends: list[dict[str, Any]], key: str) -> str:
    """What is told of the latents at the end of every run; nothing where one has none."""
    values = [end[key] for end in ends]
    return "" if None in values else told(values, digits=2)


def stability() -> str:
    """Every recorded E-step with the usual settings by base and number of expert programs: does thinking stay?"""
    rows = []
    for (base, programs), shares in first_rounds().items():
        before, after = ([looks[end] for looks in shares.values()] for end in (0, -1))
        died = sorted(seed for seed, looks in shares.items() if looks[-1] < DIED_OUT)
        rows.append(
            [base, programs, str(len(shares)), str(len(died)), ", ".join(map(str, died))]
            + [f"{100 * min(values):.1f} to {100 * max(values):.1f}" for values in (before, after)]
        )
    columns = ["base", "expert programs", "E-steps", "ended without thoughts", "their seeds"]
    return table([*columns, "lines with a thought before, %", "after, %"], rows)


def first_rounds() -> dict[tuple[str, str], dict[int, list[float]]]:
    """(base, expert programs) -> seed -> share of watched lines with a thought at every look of the first round; of
    equal rounds the longest, once."""
    found: dict[tuple[str, str], dict[int, list[float]]] = {}

    def add(base: str, programs: int | None, seed: int, looks: list[dict[str, Any]]) -> None:
        of = found.setdefault((base, "all" if programs is None else str(programs)), {})
        shares = [look["think_share"] for look in looks]
        of[seed] = max(of.get(seed, []), shares, key=len)

    for name in spec_names():
        for record in read_study(RESULTS / name):
            made_by, config = record["made_by"], record["made_by"]["config"]
            usual = _usual(config["midtrain"]["estep"]) and not made_by["one_latent"]
            if record["monitor"] and usual:
                first = [look for look in record["monitor"] if look["round"] == 0]
                add(_base(made_by["model"]), config["corpus"], record["seed"], first)
    for file in WATCHED:
        if (RESULTS / file).exists():
            record = read_json(RESULTS / file)
            if not _usual(record["estep"]):
                raise ValueError(f"{file} was made with other settings of the E-step than the usual ones.")
            for run in record["runs"]:
                add("shipped", record["corpus"], run["seed"], run["rows"])
    return found


def _usual(estep: dict[str, Any]) -> bool:
    """Whether these settings, of whatever version, make the first round's updates that the defaults make."""
    usual = asdict(EStepConfig())
    return all(value == usual[key] for key, value in estep.items() if key not in SAME_UPDATES)


def _base(model: str) -> str:
    """'runs/bases/25/model' -> '25 %'."""
    return "shipped" if model == "embedded" else f"{model.split('/')[-2]} %"
