"""The record of `real_code.py`: what the looks at held-out programs come to, over all training seeds.

The library's record has the fields that explorers read (data/records/README.md), without a truth, since nobody knows
the true segments of real code. MBPP's holds no program and no text of a task: figures, and the model's own thoughts
beside the task's number.
"""

from __future__ import annotations

import sysconfig
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ra3_lab.corpus.likeness import code_tokens, exact_key
from ra3_lab.evaluate.passk import paired_difference_ci
from ra3_lab.midtrain.estep import EStepConfig
from ra3_lab.records import weights_digest
from ra3_lab.runs import read_json, read_jsonl
from ra3_lab.runs.provenance import versions
from ra3_lab.tasks.protocol import DataSource

if TYPE_CHECKING:
    from real_code import RealCodeConfig

ARMS = ("before", "ntp", "ra3")
LIBRARY_NOTICE = (
    "The functions shown are excerpts from the standard library of Python, Copyright © 2001 Python Software "
    "Foundation; All Rights Reserved; used under the PSF License Agreement (https://docs.python.org/3/license.html)."
)
MBPP_NOTICE = "Trained on MBPP (Austin et al. 2021, CC BY 4.0). None of its programs and texts is shown."
FLOOR = EStepConfig().floor or -np.inf
"""Nats that a line's log-likelihood counts as at least, by default."""
Looks = Mapping[int, Mapping[str, dict[str, Any]]]
"""Seed -> arm -> a look: `bounds` (nats per program, by K) and `programs` with thoughts."""


# --- thoughts -----------------------------------------------------------------------------------------


def thoughts_of(programs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every thought with what it bought and the line it stands before, best first."""
    found = [
        {
            "task_id": row["task_id"],
            "line": t,
            "thought": latent,
            "code": row["lines"][t].split("\n")[0],
            "gain": round(row["gains"][t], 3),
        }
        for row in programs
        for t, latent in enumerate(row["latents"])
        if latent is not None
    ]
    return sorted(found, key=lambda one: -one["gain"])


def summary_of(thoughts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How many thoughts help, by how much, and which texts come most often."""
    gains, by_text = [one["gain"] for one in thoughts], defaultdict(list)
    for one in thoughts:
        by_text[one["thought"]].append(one["gain"])
    often = sorted(by_text.items(), key=lambda item: (-len(item[1]), item[0]))[:8]
    return {
        "count": len(thoughts),
        "distinct": len(by_text),
        "helpful": sum(gain > 0 for gain in gains),
        "mean_gain": round(float(np.mean(gains)), 3) if gains else None,
        "often": [{"thought": text, "count": len(of), "mean_gain": round(float(np.mean(of)), 3)} for text, of in often],
        "best": [one for one in thoughts if one["gain"] > 0][:6],
        "worst": [one for one in reversed(thoughts) if one["gain"] < 0][:6],
    }


# --- figures over seeds -------------------------------------------------------------------------------


def nats_of(looks: Looks, arm: str, bound: str) -> np.ndarray:
    """(seeds, programs) nats of one arm."""
    return np.array([of_seed[arm]["bounds"][bound] for of_seed in looks.values()])


def differences(looks: Looks, lines: int) -> list[dict[str, Any]]:
    """RA3 against NTP in nats per line, paired, 95 % interval over seeds and programs (of one seed, programs only)."""
    found = []
    best = list(next(iter(looks.values()))["ra3"]["bounds"])[-1]
    for ours, theirs in ((best, "no_thought"), (best, best), ("no_thought", "no_thought")):
        ra3, ntp = nats_of(looks, "ra3", ours), nats_of(looks, "ntp", theirs)
        per_line = ra3.shape[1] / lines
        interval = paired_difference_ci(ra3 * per_line, ntp * per_line)
        by_seed = ((ra3 - ntp).sum(1) / lines).round(4).tolist()
        rounded = {key: round(x, 4) for key, x in interval._asdict().items()}
        found.append({"ra3": ours, "ntp": theirs, **rounded, "by_seed": by_seed})
    return found


def under_floor(looks: Looks, arm: str) -> float:
    """Share of the held-out lines below the E-step's default floor: at it, no thought of theirs can earn anything."""
    rows = [row for of_seed in looks.values() for row in of_seed[arm]["programs"]]
    plain = [x - gain for row in rows for x, gain in zip(row["line_logp"], row["line_gain"], strict=True)]
    return round(float(np.mean(np.array(plain) < FLOOR)), 4)


def curve(histories: Sequence[Sequence[dict[str, Any]]], stage: str, values: Sequence[str]) -> list[dict[str, Any]]:
    """A stage's rows, one an update, their values averaged over seeds."""
    runs = [[row for row in rows if row["stage"] == stage] for rows in histories]
    return [
        {
            **{key: same[0][key] for key in ("update", "round") if key in same[0]},
            **{key: round(float(np.mean([row[key] for row in same])), 4) for key in values},
        }
        for same in zip(*runs, strict=True)
    ]


def common(
    config: RealCodeConfig, out: Path, looks: Looks, commands: Sequence[Sequence[str]], base: Path
) -> dict[str, Any]:
    """What both records hold."""
    first = next(iter(looks.values()))
    every = first["ra3"]["programs"]
    lines = sum(len(row["lines"]) for row in every)
    runs = {arm: [out / f"{arm}-{seed}" for seed in looks] for arm in ("ntp", "ra3")}
    summaries = {arm: [read_json(run / "summary.json") for run in of_arm] for arm, of_arm in runs.items()}
    history = {arm: [read_jsonl(run / "metrics.jsonl") for run in of_arm] for arm, of_arm in runs.items()}
    private = {str(out): "OUT", sysconfig.get_paths()["stdlib"]: "LIBRARY"}
    return {
        "commands": [public(command, private) for command in commands],
        "seed": config.midtrain.seed,
        "seeds": list(looks),
        "seconds": round(sum(one["seconds"] for of_arm in summaries.values() for one in of_arm), 1),
        "versions": versions(),
        "base": weights_digest(base),
        "config": asdict(config),
        "corpus": {
            "trained_on": read_json(runs["ra3"][0] / "run.json")["inputs"]["programs"],
            "heldout": len(every),
            "heldout_lines": lines,
        },
        "tokens": {arm: round(float(np.mean([one["tokens"] for one in of]))) for arm, of in summaries.items()},
        "nats_per_line": {
            arm: {
                name: round(float(nats_of(looks, arm, name).sum(1).mean()) / lines, 4) for name in first[arm]["bounds"]
            }
            for arm in ARMS
        },
        "differences": differences(looks, lines),
        "under_floor": {"floor": FLOOR, **{arm: under_floor(looks, arm) for arm in ARMS}},
        "estep": curve(history["ra3"], "estep", ("return", "line_logp", "think_share")),
        "mstep": {arm: curve(of_arm, "mstep", ("loss",)) for arm, of_arm in history.items()},
    }


def public(command: Sequence[str], private: Mapping[str, str]) -> str:
    """A command without the machine's paths, the longer ones replaced first.

    >>> public(["midtrain", "--out", "/tmp/a/ntp"], {"/tmp": "TEMPORARY", "/tmp/a": "OUT"})
    'midtrain --out OUT/ntp'
    """
    told = " ".join(command)
    for path in sorted(private, key=len, reverse=True):
        told = told.replace(path, private[path])
    return told


def pooled(looks: Looks, arm: str, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """An arm's programs of all seeds, called by what `names` has for their task_id."""
    rows = [row for of_seed in looks.values() for row in of_seed[arm]["programs"]]
    return [{**row, "task_id": names.get(row["task_id"], row["task_id"])} for row in rows]


# --- the two records ----------------------------------------------------------------------------------


def library_record(
    config: RealCodeConfig, out: Path, looks: Looks, commands: Sequence[Sequence[str]], base: Path
) -> dict[str, Any]:
    """The run on the library, with functions of the first seed's looks whole."""
    rows = read_jsonl(out / "heldout.jsonl")
    names = {str(row["task_id"]): f"{row['source']} {row['name']}" for row in rows}
    first = {arm: pooled({0: next(iter(looks.values()))}, arm, names) for arm in ("before", "ra3")}
    watched = spread(range(len(first["ra3"])), config.watched)
    settings, cost = config.midtrain, config.midtrain.estep.cost
    places = {"round": settings.rounds - 1, "update": settings.estep.updates, "after": "em"}
    found = common(config, out, looks, commands, base)
    found["corpus"] = {"functions": len(read_jsonl(out / "corpus.jsonl")), **found["corpus"]}
    return {
        "schema_version": 1,
        "kind": "real_code",
        "title": "Real code: ntp and ra3 on the standard library",
        "notice": LIBRARY_NOTICE,
        **found,
        "thoughts": {arm: summary_of(thoughts_of(pooled(looks, arm, names))) for arm in ("before", "ra3")},
        "programs": [
            {
                **{key: first["ra3"][i][key] for key in ("task_id", "prompt", "lines")},
                "starts": [],
                "truth": [],
                "skills": [],
            }
            for i in watched
        ],
        "looks": [
            look_record(first["before"], watched, cost) | {"round": 0, "update": 0},
            look_record(first["ra3"], watched, cost) | places,
        ],
    }


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly spaced."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def look_record(every: Sequence[dict[str, Any]], watched: Sequence[int], cost: float) -> dict[str, Any]:
    """A look as explorers read it; scores are means over all held-out programs."""
    thoughts = [sum(latent is not None for latent in row["latents"]) for row in every]
    lines = sum(len(row["lines"]) for row in every)
    logp = float(np.mean([sum(row["line_logp"]) for row in every]))
    gain = float(np.mean([sum(row["line_gain"]) for row in every]))
    scores = {
        "return": logp - cost * float(np.mean(thoughts)),
        "line_logp": logp,
        "plain_logp": logp - gain,
        "think_share": sum(thoughts) / lines,
    }
    rows = []
    for row in (every[i] for i in watched):
        places = [t for t, latent in enumerate(row["latents"]) if latent is not None]
        rows.append(
            {
                "latents": {str(t): row["latents"][t] for t in places},
                "gains": {str(t): round(row["gains"][t], 3) for t in places},
                "logp": [round(x, 3) for x in row["line_logp"]],
                "plain": [round(x - g, 3) for x, g in zip(row["line_logp"], row["line_gain"], strict=True)],
            }
        )
    return {"scores": {key: round(value, 4) for key, value in scores.items()}, "programs": rows}


def mbpp_record(
    config: RealCodeConfig,
    out: Path,
    looks: Looks,
    commands: Sequence[Sequence[str]],
    base: Path,
    data: DataSource,
) -> dict[str, Any]:
    """The run on MBPP: thoughts without the line they stand before."""
    found = common(config, out, looks, commands, base)
    train, heldout = (
        [exact_key(code_tokens(row["code"])) for row in read_jsonl(out / f"{name}.jsonl")]
        for name in ("train", "heldout")
    )
    found["corpus"]["repeated"] = sum(key in train for key in heldout)
    names = {row["task_id"]: f"MBPP {row['task_id']}" for row in next(iter(looks.values()))["ra3"]["programs"]}
    thoughts = {
        arm: [
            {key: value for key, value in one.items() if key != "code"}
            for one in thoughts_of(pooled(looks, arm, names))
        ]
        for arm in ("before", "ra3")
    }
    return {
        "schema_version": 1,
        "kind": "real_mbpp",
        "title": "Real code: ntp and ra3 on MBPP's training split",
        "notice": MBPP_NOTICE,
        "data": asdict(data),
        **found,
        "thoughts": {arm: summary_of(of_arm) for arm, of_arm in thoughts.items()},
    }
