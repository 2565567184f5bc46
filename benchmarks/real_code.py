"""RA3 and next-token prediction on real code: the standard library of the running Python, end to end.

    python benchmarks/real_code.py --out runs/real_code --record data/records/real_code.json
    python benchmarks/real_code.py --page docs/real_code.md          # writes the record's figures into the page

Builds a corpus of the library's functions, holds out whole files, trains ntp and ra3 for the same number of updates
(`ra3-lab corpus` and `ra3-lab midtrain`, whose words the record keeps), and then looks at the held-out functions: the
K-sample bound before training and of both arms, and the thoughts as they are, good and bad. One thread, some four
minutes of computing; killed, the same command goes on. The record has the fields that explorers read
(data/records/README.md), without a truth, since nobody knows the true segments of real code.

Not shown by this: code that the base never saw. Its pre-training reads functions of the same library, in passing.
"""

from __future__ import annotations

import hashlib
import json
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from real_code_page import fill

from ra3_lab.api import load_model, load_traces
from ra3_lab.cli import main as ra3_lab
from ra3_lab.evaluate.annotation import annotate_traces
from ra3_lab.evaluate.likelihood import sample_log_likelihoods
from ra3_lab.evaluate.passk import bootstrap_ci
from ra3_lab.midtrain.em import MidtrainConfig
from ra3_lab.midtrain.estep import EStepConfig
from ra3_lab.midtrain.mstep import MStepConfig
from ra3_lab.records import save_record, weights_digest
from ra3_lab.resources import embedded_model_dir
from ra3_lab.runs import json_text, read_json, read_jsonl, write_json
from ra3_lab.runs.provenance import versions
from ra3_lab.trace import Trace

NOTICE = (
    "The functions shown are excerpts from the standard library of Python, Copyright © 2001 Python Software "
    "Foundation; All Rights Reserved; used under the PSF License Agreement (https://docs.python.org/3/license.html)."
)
EXCLUDE = ("site-packages/*", "test/*", "*/test/*", "*/tests/*", "idlelib/*", "lib2to3/*", "turtledemo/*")
ARMS = ("before", "ntp", "ra3")


@dataclass(frozen=True)
class RealCodeConfig:
    """What is trained on and how it is looked at."""

    midtrain: MidtrainConfig = field(
        default_factory=lambda: MidtrainConfig(
            rounds=2,
            infuse_temperature=1.0,
            estep=EStepConfig(updates=30, programs=6, group=4, temperature=1.0, cost=0.05),
            mstep=MStepConfig(updates=70, programs=12),
        )
    )
    """Settings of the ra3 run; ntp gets the same number of updates."""
    longest: int = 800
    """Most characters of a function, its docstring included."""
    programs: int | None = None
    """At most so many functions; None for all of the library."""
    heldout_files: float = 0.1
    """Share of the files that are held out."""
    heldout: int = 72
    """At most so many held-out functions, spread over those files."""
    samples: int = 4
    """Thoughts sampled per held-out function for the bound; K is every power of two up to it."""
    watched: int = 16
    """Held-out functions that the record shows whole."""


def build(config: RealCodeConfig, out: Path) -> list[str]:
    """Corpus and split; returns the command. What is there already stays."""
    library = sysconfig.get_paths()["stdlib"]
    limits = ["--longest", str(config.longest), "--workers", "1", "--exclude", *EXCLUDE]
    if config.programs is not None:
        limits += ["--programs", str(config.programs)]
    command = ["corpus", library, "--out", str(out / "corpus.jsonl"), *limits]
    if not (out / "corpus.jsonl").exists() and ra3_lab(command):
        sys.exit("the corpus could not be built.")
    rows = read_jsonl(out / "corpus.jsonl")

    def held_out(row: dict[str, Any]) -> bool:  # by file: functions of one file resemble each other
        name = row["source"].rsplit(":", 1)[0].encode()
        return int(hashlib.sha256(name).hexdigest()[:8], 16) < config.heldout_files * 2**32

    for name, wanted in (("train", False), ("heldout", True)):
        chosen = [row for row in rows if held_out(row) == wanted]
        if wanted:
            chosen = spread(chosen, config.heldout)
        text = "".join(json.dumps(row) + "\n" for row in chosen)
        (out / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return ["ra3-lab", *command]


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly spaced."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def train(config: RealCodeConfig, out: Path, method: str, model: str) -> list[str]:
    """One arm, begun or gone on with; returns the command that begins it."""
    settings = out / "settings.json"
    write_json(settings, {**asdict(config.midtrain), "method": "ra3"})
    begin = ["midtrain", "--config", str(settings), "--method", method, "--model", model, "--threads", "1"]
    begin += ["--data", str(out / "train.jsonl"), "--heldout", str(out / "heldout.jsonl"), "--heldout-samples", "1"]
    begin += ["--device", "cpu", "--out", str(out / method)]
    command = ["midtrain", "--resume", str(out / method)] if (out / method / "run.json").exists() else begin
    if status := ra3_lab(command):
        sys.exit(status)
    return ["ra3-lab", *begin]


def look(config: RealCodeConfig, source: Path | str, traces: list[Trace], seed: int) -> dict[str, Any]:
    """The held-out programs under one model: nats per program by K, and the programs with the thoughts it proposes."""
    model, tokenizer = load_model(source, "cpu")
    settings = config.midtrain
    plain = sample_log_likelihoods(model, tokenizer, traces, 1, seed, settings.precision, think=False)
    drawn = sample_log_likelihoods(model, tokenizer, traces, config.samples, seed, settings.precision)
    ks = [2**i for i in range(config.samples.bit_length()) if config.samples % 2**i == 0]
    bounds = {"no_thought": plain[:, 0].tolist()} | {f"k{k}": blockwise_bound(drawn, k).tolist() for k in ks}
    shown = annotate_traces(
        model, tokenizer, traces, settings.estep.temperature, seed=seed, precision=settings.precision
    )
    return {"bounds": bounds, "programs": shown}


def blockwise_bound(drawn: torch.Tensor, k: int) -> torch.Tensor:
    """(N,) the K-sample bound from (N, S) log-likelihoods, averaged over the S / K groups of K samples.

    >>> blockwise_bound(torch.tensor([[0.0, 0.0]]), 2)
    tensor([0.])
    """
    groups = drawn.view(len(drawn), -1, k)
    return (groups.logsumexp(2) - np.log(k)).mean(1)


# --- the record ---------------------------------------------------------------------------------------


def look_record(looked: dict[str, Any], watched: Sequence[int], cost: float) -> dict[str, Any]:
    """A look as explorers read it; scores are means over all held-out programs."""
    every = looked["programs"]
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


def differences(looks: dict[str, dict[str, Any]], lines: int, programs: int) -> list[dict[str, Any]]:
    """RA3 against NTP in nats per line, 95 % interval over programs (paired bootstrap)."""
    found = []
    best = list(looks["ra3"]["bounds"])[-1]
    for ours, theirs in ((best, "no_thought"), (best, best), ("no_thought", "no_thought")):
        gap = np.array(looks["ra3"]["bounds"][ours]) - np.array(looks["ntp"]["bounds"][theirs])
        interval = bootstrap_ci(gap * programs / lines)
        found.append({"ra3": ours, "ntp": theirs, **{key: round(x, 4) for key, x in interval._asdict().items()}})
    return found


def record_of(
    config: RealCodeConfig, out: Path, looks: dict[str, dict[str, Any]], commands: list[list[str]], base: Path
) -> dict[str, Any]:
    """All of it as one record."""
    rows = read_jsonl(out / "heldout.jsonl")
    sources = {str(row["task_id"]): f"{row['source']} {row['name']}" for row in rows}
    every = looks["ra3"]["programs"]
    for looked in looks.values():
        for row in looked["programs"]:
            row["task_id"] = sources.get(row["task_id"], row["task_id"])
    lines = sum(len(row["lines"]) for row in every)
    watched = spread(range(len(every)), config.watched)
    summaries = {arm: read_json(out / arm / "summary.json") for arm in ("ntp", "ra3")}
    history = {arm: read_jsonl(out / arm / "metrics.jsonl") for arm in ("ntp", "ra3")}
    settings, cost = config.midtrain, config.midtrain.estep.cost
    places = {"round": settings.rounds - 1, "update": settings.estep.updates, "after": "em"}
    private = {str(out): "OUT", sysconfig.get_paths()["stdlib"]: "LIBRARY"}
    told = [" ".join(_public(word, private) for word in command) for command in commands]
    return {
        "schema_version": 1,
        "kind": "real_code",
        "title": "Real code: ntp and ra3 on the standard library",
        "notice": NOTICE,
        "command": "python benchmarks/real_code.py --out OUT --record RECORD",
        "commands": told,
        "seed": settings.seed,
        "seconds": round(sum(one["seconds"] for one in summaries.values()), 1),
        "versions": versions(),
        "base": weights_digest(base),
        "config": asdict(config),
        "corpus": {
            "functions": len(read_jsonl(out / "corpus.jsonl")),
            "trained_on": read_json(out / "ra3" / "run.json")["inputs"]["programs"],
            "heldout": len(every),
            "heldout_lines": lines,
        },
        "tokens": {arm: one["tokens"] for arm, one in summaries.items()},
        "nats_per_line": {
            arm: {name: round(sum(values) / lines, 4) for name, values in looked["bounds"].items()}
            for arm, looked in looks.items()
        },
        "differences": differences(looks, lines, len(every)),
        "thoughts": {arm: summary_of(thoughts_of(looks[arm]["programs"])) for arm in ("before", "ra3")},
        "programs": [
            {
                "task_id": every[i]["task_id"],
                "prompt": every[i]["prompt"],
                "lines": every[i]["lines"],
                "starts": [],
                "truth": [],
                "skills": [],
            }
            for i in watched
        ],
        "looks": [
            look_record(looks["before"], watched, cost) | {"round": 0, "update": 0},
            look_record(looks["ra3"], watched, cost) | places,
        ],
        "estep": [
            {key: round(row[key], 4) for key in ("update", "round", "return", "line_logp", "think_share")}
            for row in history["ra3"]
            if row["stage"] == "estep"
        ],
        "mstep": {
            arm: [{"update": row["update"], "loss": round(row["loss"], 4)} for row in rows if row["stage"] == "mstep"]
            for arm, rows in history.items()
        },
    }


def _public(word: str, private: dict[str, str]) -> str:
    """A word of a command without the machine's paths."""
    for path, name in private.items():
        word = word.replace(path, name)
    return word


def main(
    out: Path | None = None,
    record: Path | None = None,
    page: Path | None = None,
    model: str = "embedded",
    config: RealCodeConfig = RealCodeConfig(),
) -> None:
    """Run what is missing, write the record; or write a record's figures into the page.

    Args:
        out: Folder of corpus, runs and looks; what it holds is not made again.
        record: JSON file of the record.
        page: Page whose figures are filled in from the record.
        model: The model to begin from.
        config: Corpus, training and looks.
    """
    torch.set_num_threads(1)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        commands = [build(config, out)]
        commands += [train(config, out, method, model) for method in ("ntp", "ra3")]
        base = embedded_model_dir() if model == "embedded" else Path(model)
        limit = load_model(base, "cpu")[0].config.max_position_embeddings // 2
        looks: dict[str, dict[str, Any]] = {}
        for arm in ARMS:
            file = out / f"look_{arm}.json"
            if not file.exists():
                source = base if arm == "before" else out / arm
                tokenizer = load_model(source, "cpu")[1]
                traces = load_traces(out / "heldout.jsonl")
                traces = [trace for trace in traces if len(tokenizer.encode_trace(trace).ids) <= limit]
                write_json(file, look(config, source, traces, config.midtrain.seed))
            looks[arm] = read_json(file)
        found = record_of(config, out, looks, commands, base)
        print(json_text(found["nats_per_line"]))
        if record is not None:
            save_record(record, found)
    if page is not None:
        from ra3_lab.records import load_record

        fill(page, load_record(record if record is not None else "real_code"))


if __name__ == "__main__":
    tyro.cli(main)
