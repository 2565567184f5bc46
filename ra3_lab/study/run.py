"""Run a study arm by arm: each finished arm is one line of records.jsonl, and what is there is not run again."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ra3_lab.config import load_config
from ra3_lab.experiment import ArmResult, ExperimentConfig, field_of, pick, run_arm
from ra3_lab.models.load import load_model, located, save_model
from ra3_lab.records import weights_digest
from ra3_lab.resources import embedded_model_dir
from ra3_lab.runs import JsonLines, held, read_jsonl, write_json
from ra3_lab.runs.files import made_directory, plain
from ra3_lab.runs.provenance import versions
from ra3_lab.study.spec import ArmSpec, StudySpec

RECORDS = "records.jsonl"


def run_study(
    spec: StudySpec, out: Path, say: Callable[[str], None] = print, keep_models: bool = False
) -> list[dict[str, Any]]:
    """Run what `out` does not hold yet, arm by arm and seed by seed (all arms of a seed first); returns all records.

    `keep_models` saves every trained model in `model_folder(out, arm, seed)`. Raises, before anything is trained,
    ValueError where `out` holds arms scored on other tasks than the spec's, or an arm of this name that was run with
    other settings or from other weights (a base trained anew at its place), or whose model was to be kept and is not
    there, or where a split has fewer tasks than asked for, FileNotFoundError for an arm's model directory that is not
    there, and FileExistsError where another process is at `out` or it is the folder of a training run.
    """
    if (out / "run.json").exists():
        raise FileExistsError(f"{out} holds a training run (run.json): choose another --out.")
    for arm in spec.arms:
        located(arm.model)
    fields = [field_of(spec.experiment(arm, spec.seeds[0])) for arm in {arm.corpus: arm for arm in spec.arms}.values()]
    with held(made_directory(out)):
        records = read_study(out)
        _require_same_tasks(records, {split: len(tasks) for split, tasks in fields[0].tests.items()}, out)
        wanted = [(arm, seed) for seed in spec.seeds for arm in spec.arms]
        done = {(record["arm"], record["seed"]): record for record in records}
        for arm, seed in wanted:
            if (arm.name, seed) in done:
                _require_as_wanted(spec, arm, seed, done[arm.name, seed], out, keep_models)
        append = JsonLines(out / RECORDS)
        for number, (arm, seed) in enumerate(wanted, 1):
            if (arm.name, seed) in done:
                continue
            say(f"arm {arm.name}, seed {seed} ({number} of {len(wanted)})")
            kept = model_folder(out, arm.name, seed) if keep_models else None
            made_by, weights = _made_by(spec, arm, seed), base_weights(arm)
            about = {"arm": arm.name, "seed": seed, "why": arm.why, "made_by": made_by, "weights": weights}
            record = about | _run(spec, arm, seed, kept, say)
            append(record)
            append.sync()
            records.append({**record})
        write_json(out / "spec.json", {"schema_version": 1, **plain(spec)})
    keys = {(arm.name, seed) for arm, seed in wanted}
    return [record for record in records if (record["arm"], record["seed"]) in keys]


def _require_same_tasks(records: list[dict[str, Any]], tests: dict[str, int], out: Path) -> None:
    """Raises ValueError where an arm, wanted or not, was scored on other tasks than `tests`, split -> how many: one
    folder is one comparison."""
    for record in records:
        scored = {split: len(rows) for split, rows in record["correct"].items()}
        if scored != tests:
            raise ValueError(
                f"{out / RECORDS} holds arm {record['arm']!r} at seed {record['seed']} scored on {_told(scored)}, this "
                f"study asks for {_told(tests)}: choose another --out, or give splits and tasks as they were."
            )


def _told(tests: dict[str, int]) -> str:
    return " and ".join(f"{count} tasks of {split!r}" for split, count in tests.items()) or "no tasks"


def _require_as_wanted(
    spec: StudySpec, arm: ArmSpec, seed: int, found: dict[str, Any], out: Path, keep_models: bool
) -> None:
    """Raises ValueError where a finished arm is not what the spec would make of it now, or its model was not kept."""
    holds = f"{out / RECORDS} holds arm {arm.name!r} at seed {seed}"
    if (how := _otherwise(spec, arm, seed, found)) is not None:
        raise ValueError(f"{holds} run {how}: rename the arm, or choose another --out.")
    if keep_models and arm.method != "base" and not model_folder(out, arm.name, seed).exists():
        raise ValueError(
            f"{holds}, whose model was not kept: delete its line to have it run again, or choose another --out."
        )


def _otherwise(spec: StudySpec, arm: ArmSpec, seed: int, found: dict[str, Any]) -> str | None:
    """In what way a finished arm was not run as the spec would run it now; None where it was."""
    if _as_now(found["made_by"]) != _made_by(spec, arm, seed):
        return "with other settings"
    before, weights = found.get("weights"), base_weights(arm)
    return f"from other weights of {arm.model}" if before and weights and before != weights else None


def _made_by(spec: StudySpec, arm: ArmSpec, seed: int) -> dict[str, Any]:
    """The arm's fingerprint as a record's JSON gives it back."""
    return json.loads(json.dumps(plain(spec.fingerprint(arm, seed))))


def _as_now(made_by: dict[str, Any]) -> dict[str, Any]:
    """A record's settings with what its version did not know yet at the default; as they are where one is gone."""
    try:
        config = load_config(ExperimentConfig, made_by["config"])
    except ValueError:
        return made_by
    return json.loads(json.dumps(plain({**made_by, "config": asdict(config)})))


def base_weights(arm: ArmSpec) -> str | None:
    """Digest of the weights that an arm starts from; None where they are not in a folder here."""
    folder = embedded_model_dir() if arm.model == "embedded" else Path(arm.model)
    return weights_digest(folder) if any(folder.glob("*.safetensors")) else None


def model_folder(out: Path, arm: str, seed: int) -> Path:
    """Where a study keeps the model of one arm at one seed."""
    return out / "models" / f"{arm}-{seed}"


def _run(spec: StudySpec, arm: ArmSpec, seed: int, keep: Path | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Train and score one arm at one seed; its model goes to `keep`."""
    start = time.perf_counter()
    model, tokenizer = load_model(arm.model, "cpu")
    config, settings = spec.experiment(arm, seed), spec.settings(arm, seed)
    tasks = field_of(config)
    result = run_arm(config, arm.name, settings, tasks, model, tokenizer, say, arm.one_latent)
    if keep and result.trained:
        shutil.rmtree(keep, ignore_errors=True)  # of a run that was stopped before its record was written
        save_model(result.trained.model, tokenizer, keep)
    minutes = round((time.perf_counter() - start) / 60, 2)
    return _record(result) | {"minutes": minutes, "threads": torch.get_num_threads(), "versions": versions()}


def _record(result: ArmResult) -> dict[str, Any]:
    """An arm's result as plain data: rows, verdicts as strings of 0 and 1, and curves."""
    history = result.trained.history if result.trained else []
    return {
        "scores": result.scores,
        "correct": {
            split: ["".join("01"[passed] for passed in row) for row in rows] for split, rows in result.correct.items()
        },
        "latents": result.latents,
        "mstep": [pick(r, "update", "loss") for r in history if r["stage"] == "mstep"],
        "validation": [pick(r, "update", "score") for r in history if r["stage"] == "validation"],
        "estep": [
            pick(r, "update", "round", "return", "line_logp", "think_share") for r in history if r["stage"] == "estep"
        ],
        "monitor": [pick(r, "update", "round") | r["held_out"] for r in history if "held_out" in r],
    }


def read_study(out: Path) -> list[dict[str, Any]]:
    """The finished arms in a study's folder."""
    return read_jsonl(out / RECORDS)


def finished_arms(spec: StudySpec, out: Path) -> list[dict[str, Any]]:
    """The records in `out` of those arms of the spec that it holds, run as the spec has them, at every seed."""
    found = {(record["arm"], record["seed"]): record for record in read_study(out)}

    def there(arm: ArmSpec, seed: int) -> bool:
        record = found.get((arm.name, seed))
        return record is not None and _otherwise(spec, arm, seed, record) is None

    arms = [arm for arm in spec.arms if all(there(arm, seed) for seed in spec.seeds)]
    return [found[arm.name, seed] for seed in spec.seeds for arm in arms]


def seed_records(records: list[dict[str, Any]], split: str) -> list[dict[str, Any]]:
    """One record a seed, as `summarise_seeds` and the explorers read it; only arms that every seed has on the split."""
    records = [record for record in records if split in record["correct"]]
    seeds = sorted({record["seed"] for record in records})
    by_seed = {seed: {r["arm"]: r for r in records if r["seed"] == seed} for seed in seeds}
    arms = [arm for arm in dict.fromkeys(r["arm"] for r in records) if all(arm in by_seed[seed] for seed in seeds)]
    return [
        {
            "schema_version": 1,
            "seed": seed,
            "versions": found[arms[0]]["versions"],
            "correct": {arm: [[c == "1" for c in row] for row in found[arm]["correct"][split]] for arm in arms},
            "summary": {"arms": {arm: found[arm]["scores"][split] for arm in arms}},
            "segmentation": {arm: found[arm]["latents"] for arm in arms if found[arm]["latents"]},
            "mstep": {arm: found[arm]["mstep"] for arm in arms if found[arm]["mstep"]},
            "validation": {arm: found[arm]["validation"] for arm in arms if found[arm]["validation"]},
            "estep": found["ra3"]["estep"] if "ra3" in found else [],
            "monitor": found["ra3"]["monitor"] if "ra3" in found else [],
        }
        for seed, found in by_seed.items()
        if arms
    ]
