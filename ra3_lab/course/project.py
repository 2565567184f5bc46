"""A7's submissions: weights of the embedded model as safetensors, and what was done as JSON. Read, never run.

    SUBMISSIONS/ada/model.safetensors     tensors with the names and shapes of the embedded model's
    SUBMISSIONS/ada/submission.json       {"schema_version": 1, "title": "", "tokens": 0, "seed": 0, "changes": ""}

Nothing in a submission can run code: no pickle, no configuration, no tokenizer is read; the embedded model's own are
used. `tokens` is what the student says was spent; that cannot be seen from weights.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ra3_lab.course.submissions import folder_name

SCHEMA_VERSION = 1
BUDGET = 1_500_000
"""Tokens that may be trained on, E-step rollouts included."""
WEIGHTS, RECORD = "model.safetensors", "submission.json"
LARGEST_RECORD = 20_000
"""Bytes of submission.json."""
LARGEST_HEADER = 1_000_000
"""Bytes of model.safetensors beside its tensors."""
LONGEST = {"title": 80, "changes": 2_000}
"""Characters of its texts."""


class Refused(ValueError):
    """A submission that cannot be ranked; str() says why and what to do, for its student."""


@dataclass(frozen=True)
class Entry:
    """A submission that can be scored."""

    student: str
    """Name of its folder."""
    title: str
    """What its student calls it."""
    tokens: int
    """Tokens it says it spent."""
    seed: int
    """Seed of its training."""
    changes: str
    """What was changed, in the student's words."""
    digest: str
    """sha256 of the tensors' names and values, in float32."""
    tensors: dict[str, Any] = field(repr=False, compare=False)
    """Name -> float32 tensor, checked."""


def read_entry(folder: Path, shapes: dict[str, tuple[int, ...]]) -> Entry:
    """The submission in a student's folder. Raises Refused. `shapes`: of the model's tensors, by name."""
    record = _record(_bytes(folder / RECORD, LARGEST_RECORD))
    largest = LARGEST_HEADER + 4 * sum(math.prod(shape) for shape in shapes.values())
    tensors = _tensors(_bytes(folder / WEIGHTS, largest), shapes)
    return Entry(folder_name(folder), digest=digest_of(tensors), tensors=tensors, **record)


def hand_in(run: str | Path, out: str | Path, title: str, changes: str) -> Path:
    """Make a submission of a finished `ra3-lab midtrain` run of the embedded model; the folder to hand in.

    Checks it as the ranking will. Raises Refused where it would be refused and for a run that went on from another
    one, FileExistsError where `out` is taken, and FileNotFoundError or ValueError for a run that is not finished.
    """
    import shlex
    import shutil

    from ra3_lab.runs import model_source, view_run

    run, out = Path(run), Path(out)
    view = view_run(run)
    if view.summary is None:
        raise ValueError(f"{run} is not finished: `ra3-lab midtrain --resume {shlex.quote(str(run))}` first.")
    if not _began_at_embedded(view.record):
        other = view.record["settings"].get("model", "another model")
        raise Refused(
            f"{run} began at {other}, not at the embedded model: the budget counts all training since that one, a "
            "run's summary only its own. Train in one run (`ra3-lab midtrain --model embedded`), or write "
            f"{RECORD} yourself, with the tokens of all runs together."
        )
    record = {
        "schema_version": SCHEMA_VERSION,
        "title": title,
        "tokens": int(view.summary["tokens"]),
        "seed": int(view.record["settings"]["seed"]),
        "changes": changes,
    }
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    _record(text.encode())
    out.mkdir(parents=True)
    try:
        (out / RECORD).write_text(text, encoding="utf-8")
        shutil.copyfile(Path(model_source(run)) / WEIGHTS, out / WEIGHTS)
        read_entry(out, embedded_shapes())
    except BaseException:
        shutil.rmtree(out)
        raise
    return out


def _began_at_embedded(record: dict[str, Any]) -> bool:
    """Whether a run's record says so: by the model's name, or, where `ra3_lab.em` was given a model, by its weights."""
    from ra3_lab.models.load import load_model
    from ra3_lab.runs.provenance import digest_of_weights

    if record["settings"].get("model") == "embedded":
        return True
    return record["inputs"].get("model_sha256") == digest_of_weights(load_model("embedded", "cpu")[0])


def embedded_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the embedded model's tensors, as its file has them."""
    from safetensors import safe_open

    from ra3_lab.resources import embedded_model_dir

    with safe_open(embedded_model_dir() / WEIGHTS, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (not a dict)


def _bytes(path: Path, largest: int) -> bytes:
    """A regular file's contents, no larger than allowed; links are not followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        what = "is a symbolic link" if path.is_symlink() else "is not there or cannot be read"
        raise Refused(f"{path.name} {what}: hand in {WEIGHTS} and {RECORD} themselves.") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refused(f"{path.name} is not a regular file.")
        data = file.read(largest + 1)
    if len(data) > largest:
        raise Refused(f"{path.name} has more than {largest:,} bytes, more than there can be in it.")
    return data


def _record(data: bytes) -> dict[str, Any]:
    """The checked fields of submission.json."""
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(f"{RECORD} is not JSON in UTF-8.") from error
    kinds = {"schema_version": int, "title": str, "tokens": int, "seed": int, "changes": str}
    if not isinstance(found, dict) or set(found) != set(kinds):
        raise Refused(f"{RECORD} must hold exactly {', '.join(kinds)}.")
    for name, kind in kinds.items():
        if type(found[name]) is not kind:
            raise Refused(f"{RECORD}: {name} must be {'a whole number' if kind is int else 'text'}.")
    if found.pop("schema_version") != SCHEMA_VERSION:
        raise Refused(f"{RECORD}: schema_version must be {SCHEMA_VERSION}.")
    for name, longest in LONGEST.items():
        found[name] = " ".join("".join(c if c.isprintable() else " " for c in found[name]).split())
        if not 0 < len(found[name]) <= longest:
            raise Refused(f"{RECORD}: {name} must have 1 to {longest} characters.")
    if not 0 <= found["tokens"] <= BUDGET:
        raise Refused(f"{RECORD}: tokens must lie between 0 and the budget, {BUDGET:,}.")
    if not 0 <= found["seed"] < 2**63:
        raise Refused(f"{RECORD}: seed must be 0 or more, below 2**63.")
    return found


def _tensors(data: bytes, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise Refused(f"{WEIGHTS} is not in the safetensors format; nothing else is read, pickles never.") from error
    if wrong := sorted(set(tensors) ^ set(shapes)):
        raise Refused(f"{WEIGHTS}: {len(wrong)} tensors too many or missing; the embedded model's are needed.")
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise Refused(f"{WEIGHTS}: {name} must have shape {list(shape)}; the model's size is fixed.")
        if tensors[name].dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise Refused(f"{WEIGHTS}: {name} must hold float32, float16 or bfloat16.")
        tensors[name] = tensors[name].float()
        if not tensors[name].isfinite().all():
            raise Refused(f"{WEIGHTS}: {name} holds nan or infinity: training diverged.")
    return tensors


def digest_of(tensors: dict[str, Any]) -> str:
    """sha256 of float32 tensors, names and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().numpy().data)
    return digest.hexdigest()
