"""RA3 and next-token prediction on real code, end to end: the standard library of the running Python, or MBPP.

    python benchmarks/real_code.py --out runs/real_code --record data/records/real_code.json
    python benchmarks/real_code.py --mbpp mbpp.jsonl --out runs/real_mbpp --record benchmarks/results/real_mbpp.json
    python benchmarks/real_code.py --page docs/real_code.md          # writes both records' figures into the page

Reads a corpus and its held-out part (of the library whole files; of MBPP the validation split, the test split stays
untouched), trains ntp and ra3 for the same number of updates (`ra3-lab midtrain`, whose words the record keeps), and
then looks at the held-out programs: the K-sample bound before training and of both arms, and the thoughts as they are,
good and bad. One thread, minutes of computing; killed, the same command goes on. The record is made in
`real_code_record.py`.

Not shown by the library: code that the base never saw. Its pre-training reads functions of the same library, in
passing; of MBPP it reads nothing.
"""

from __future__ import annotations

import hashlib
import json
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from real_code_page import fill
from real_code_record import ARMS, library_record, mbpp_record, public, spread

from ra3_lab.api import load_model, load_traces
from ra3_lab.cli import main as ra3_lab
from ra3_lab.evaluate.annotation import annotate_traces
from ra3_lab.evaluate.likelihood import sample_log_likelihoods
from ra3_lab.midtrain.em import MidtrainConfig
from ra3_lab.midtrain.estep import EStepConfig
from ra3_lab.midtrain.mstep import MStepConfig
from ra3_lab.records import save_record
from ra3_lab.resources import data_dir, embedded_model_dir
from ra3_lab.runs import json_text, read_json, read_jsonl, write_json
from ra3_lab.tasks.files import KNOWN, read_data
from ra3_lab.tasks.mbpp import SPLITS, mbpp_task
from ra3_lab.tasks.protocol import DataSource
from ra3_lab.trace import Trace

EXCLUDE = ("site-packages/*", "test/*", "*/test/*", "*/tests/*", "idlelib/*", "lib2to3/*", "turtledemo/*")
SHIPPED = (data_dir() / "records" / "real_code.json", Path(__file__).parent / "results" / "real_mbpp.json")
"""The records whose figures stand in docs/real_code.md."""


@dataclass(frozen=True)
class RealCodeConfig:
    """What is trained on and how it is looked at."""

    midtrain: MidtrainConfig = field(
        default_factory=lambda: MidtrainConfig(
            rounds=2,
            infuse_temperature=1.0,
            estep=EStepConfig(updates=30, programs=6, group=4, temperature=1.0, cost=0.05, floor=None),
            mstep=MStepConfig(updates=70, programs=12),
        )
    )
    """Settings of the ra3 run; ntp gets the same number of updates. No floor: most lines of real code are below it."""
    seeds: int = 3
    """Trainings of each arm, with the seeds from `midtrain.seed` on."""
    longest: int = 800
    """Most characters of a function of the library, its docstring included."""
    programs: int | None = None
    """At most so many functions of the library, or tasks of each split of MBPP; None for all."""
    heldout_files: float = 0.1
    """Share of the library's files that are held out."""
    heldout: int = 72
    """At most so many held-out functions of the library, spread over those files."""
    samples: int = 4
    """Thoughts sampled per held-out program for the bound; K is every power of two up to it."""
    watched: int = 16
    """Held-out functions of the library that the record shows whole."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds={self.seeds}: at least one training.")


# --- the corpus ---------------------------------------------------------------------------------------


def library_corpus(config: RealCodeConfig, out: Path) -> list[list[str]]:
    """Corpus and split of the library; returns the commands. What is there already stays."""
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

    write_rows(out / "train.jsonl", [row for row in rows if not held_out(row)])
    write_rows(out / "heldout.jsonl", spread([row for row in rows if held_out(row)], config.heldout))
    return [["ra3-lab", *command]]


def mbpp_corpus(config: RealCodeConfig, out: Path, rows: Sequence[dict[str, Any]]) -> None:
    """MBPP's training split to train on and its validation split held out, by their official numbers.

    A program is a task's solution, its lines ended by "\\n" (the file has "\\r\\n"); its prompt is the task's sentence,
    without the asserts.
    """
    for name, split in (("train", "train"), ("heldout", "validation")):
        low, high = SPLITS[split]
        chosen = [row for row in rows if low <= row["task_id"] <= high]
        if config.programs is not None:
            chosen = spread(chosen, config.programs)
        found = [{"task_id": row["task_id"], "prompt": row["text"], "code": mbpp_task(row).canonical} for row in chosen]
        write_rows(out / f"{name}.jsonl", found)


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A JSONL file of programs."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


# --- training and looking -----------------------------------------------------------------------------


def train(config: RealCodeConfig, out: Path, method: str, seed: int, model: str) -> list[str]:
    """One arm at one seed, begun or gone on with; returns the command that begins it."""
    settings, run = out / "settings.json", out / f"{method}-{seed}"
    write_json(settings, {**asdict(config.midtrain), "method": "ra3"})
    begin = ["midtrain", "--config", str(settings), "--method", method, "--seed", str(seed), "--model", model]
    begin += ["--data", str(out / "train.jsonl"), "--heldout", str(out / "heldout.jsonl"), "--heldout-samples", "1"]
    begin += ["--threads", "1", "--device", "cpu", "--out", str(run)]
    command = ["midtrain", "--resume", str(run)] if (run / "run.json").exists() else begin
    if status := ra3_lab(command):
        sys.exit(status)
    return ["ra3-lab", *begin]


def looks_of(config: RealCodeConfig, out: Path, seed: int, base: Path) -> dict[str, dict[str, Any]]:
    """The looks of one seed by arm, those that are missing made and kept in `out`."""
    limit = load_model(base, "cpu")[0].config.max_position_embeddings // 2
    looks = {}
    for arm in ARMS:
        file = out / f"look_{arm}-{seed}.json"
        if not file.exists():
            source = base if arm == "before" else out / f"{arm}-{seed}"
            tokenizer = load_model(source, "cpu")[1]
            traces = load_traces(out / "heldout.jsonl")
            traces = [trace for trace in traces if len(tokenizer.encode_trace(trace).ids) <= limit]
            write_json(file, look(config, source, traces, seed))
        looks[arm] = read_json(file)
    return looks


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


# --- the command --------------------------------------------------------------------------------------


def same_run(out: Path, settings: dict[str, Any]) -> None:
    """Note what `out` was begun with; exits where it holds a run of other settings, whose parts would be mixed.

    More seeds are no other settings: they are runs of their own.
    """
    file, settings = out / "begun.json", json.loads(json_text(settings))
    settings["config"].pop("seeds")
    if file.exists() and read_json(file) != settings:
        sys.exit(f"{out} holds a run of other settings ({file}): give the same ones to go on, or another --out.")
    write_json(file, settings)


def mbpp_rows(path: Path) -> tuple[list[dict[str, Any]], DataSource]:
    """All of mbpp.jsonl and which file it is; exits where it is another file than the published one."""
    try:
        rows, data = read_data("mbpp", path, next(iter(KNOWN["mbpp"])))
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"--mbpp: {error}")
    return [row for _, row in rows], data


def run(config: RealCodeConfig, out: Path, mbpp: Path | None, model: str) -> dict[str, Any]:
    """Make what is missing in `out`; returns the record."""
    rows, data = ([], None) if mbpp is None else mbpp_rows(mbpp)
    out.mkdir(parents=True, exist_ok=True)
    same_run(out, {"config": asdict(config), "model": model, "data": data and asdict(data)})
    if data is None:
        commands = library_corpus(config, out)
    else:
        commands = []
        mbpp_corpus(config, out, rows)
    seeds = range(config.midtrain.seed, config.midtrain.seed + config.seeds)
    commands += [train(config, out, method, seed, model) for seed in seeds for method in ("ntp", "ra3")]
    base = embedded_model_dir() if model == "embedded" else Path(model)
    looks = {seed: looks_of(config, out, seed, base) for seed in seeds}
    if data is None:
        return library_record(config, out, looks, commands, base)
    return mbpp_record(config, out, looks, commands, base, data)


def main(
    out: Path | None = None,
    record: Path | None = None,
    page: Path | None = None,
    mbpp: Path | None = None,
    model: str = "embedded",
    config: RealCodeConfig = RealCodeConfig(),
) -> None:
    """Run what is missing, write the record; or write records' figures into the page.

    Args:
        out: Folder of corpus, runs and looks; what it holds is not made again.
        record: JSON file of the record.
        page: Page whose figures are filled in from the record; without one, from those that ship.
        mbpp: The file mbpp.jsonl: its training split instead of the library, its validation split held out.
        model: The model to begin from.
        config: Corpus, training and looks.
    """
    torch.set_num_threads(1)
    if mbpp is not None and out is None:
        sys.exit("--mbpp needs --out, the folder of the run.")
    if out is not None:
        found = run(config, out, mbpp, model)
        private = {str(path): name for path, name in ((out, "OUT"), (record, "RECORD"), (mbpp, "MBPP")) if path}
        found["command"] = public(["python benchmarks/real_code.py", *sys.argv[1:]], private)
        print(json_text(found["nats_per_line"]))
        if record is not None:
            save_record(record, found)
    if page is not None:
        for path in [path for path in SHIPPED if path.exists()] if record is None else [record]:
            fill(page, read_json(path))


if __name__ == "__main__":
    tyro.cli(main)
