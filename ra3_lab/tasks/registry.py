"""Benchmarks by name: `load_tasks(name, path, split)`, from a local file or from the hub.

| name | rows | judged by |
|---|---|---|
| `pipelines` | the shipped splits | returned values |
| `humaneval`, `humaneval+` | OpenAI's and evalplus' JSONL | asserts; values against the canonical solution's |
| `mbpp`, `mbpp-sanitized`, `mbpp+` | Google's JSONL and JSON, evalplus' JSONL | asserts; values |
| `livecodebench` | code_generation_lite's JSONL | output or returned values |
| `codeforces` | Codeforces and code_contests dumps | output |
| `rlvr` | training sets in the style of DeepCoder and AReaL | output or returned values |
| `own` | the format of records.py | as the record says |
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ra3_lab.sandbox import Calls
from ra3_lab.tasks import humaneval, mbpp
from ra3_lab.tasks.contests import Excluded, codeforces_task, livecodebench_task, rlvr_task
from ra3_lab.tasks.files import read_data, release_of
from ra3_lab.tasks.pipelines import ENTRY_POINT, SPLITS, load_split
from ra3_lab.tasks.pipelines import Task as Pipeline
from ra3_lab.tasks.protocol import DataSource, Task, TaskSet
from ra3_lab.tasks.records import read_records


@dataclass(frozen=True)
class Benchmark:
    """How the rows of one benchmark become tasks."""

    read: Callable[[dict[str, Any], int], Task]
    """A row and its number (from 1) -> the task; raises ValueError, or Excluded."""
    fields: tuple[str, ...]
    """Fields without which a row cannot be one of this benchmark."""
    hub: str = ""
    """Repository of the data on the hub; empty where there is none."""
    hub_files: str = ""
    """Which files of it, as a pattern; {split} stands for the split."""


BENCHMARKS: dict[str, Benchmark] = {
    "humaneval": Benchmark(
        lambda row, _: humaneval.humaneval_task(row),
        humaneval.FIELDS,
        "openai/openai_humaneval",
        "openai_humaneval/test-*.parquet",
    ),
    "humaneval+": Benchmark(
        lambda row, _: humaneval.humaneval_plus_task(row),
        humaneval.PLUS_FIELDS,
        "evalplus/humanevalplus",
        "data/test-*.parquet",
    ),
    "mbpp": Benchmark(
        lambda row, _: mbpp.mbpp_task(row), mbpp.FIELDS, "google-research-datasets/mbpp", "full/*.parquet"
    ),
    "mbpp-sanitized": Benchmark(
        lambda row, _: mbpp.mbpp_task(row), mbpp.FIELDS, "google-research-datasets/mbpp", "sanitized/*.parquet"
    ),
    "mbpp+": Benchmark(
        lambda row, _: mbpp.mbpp_plus_task(row), mbpp.PLUS_FIELDS, "evalplus/mbppplus", "data/test-*.parquet"
    ),
    "livecodebench": Benchmark(
        lambda row, _: livecodebench_task(row), (), "livecodebench/code_generation_lite", "{split}.jsonl"
    ),
    "codeforces": Benchmark(lambda row, _: codeforces_task(row), (), "open-r1/codeforces", "data/{split}-*.parquet"),
    "rlvr": Benchmark(rlvr_task, ()),
}
NAMES = ("pipelines", *BENCHMARKS, "own")
"""Every name that `load_tasks` knows."""


def load_tasks(
    name: str, path: str | Path | None = None, split: str | None = None, sha256: str | None = None
) -> TaskSet:
    """The tasks of a benchmark, in the order of its data.

    path: a local data file; without it the data comes from the hub (`pipelines` and `own` ship with ra3_lab). split:
    `pipelines`: expert, rlvr, validation, test (default) or final; mbpp: prompt, test, validation or train by task id
    (default: all in the file); from the hub the name of a data file's split. sha256: see `files.read_data`.

    ValueError names file, row and what is wrong; FileNotFoundError a missing file.

    >>> tasks = load_tasks("pipelines", split="validation")
    >>> len(tasks), tasks[0].task_id, tasks[0].tests.checker
    (200, 'validation/0', 'exact')
    """
    if name not in NAMES:
        raise ValueError(f"benchmark {name!r} is unknown: use one of {', '.join(NAMES)}.")
    if path is None and sha256 not in (None, "any"):
        raise ValueError(f"sha256 {sha256} without a file: it is the hash of a data file.")
    if name == "pipelines":
        return _pipelines(path, split, sha256)
    if name == "own":
        return _own(path, split, sha256)
    benchmark = BENCHMARKS[name]
    is_mbpp = name in ("mbpp", "mbpp-sanitized")
    if split is not None and is_mbpp and split not in (*mbpp.SPLITS, "all"):
        raise ValueError(f"split {split!r} of {name!r} is unknown: use {', '.join(mbpp.SPLITS)} or all.")
    if split is not None and path is not None and not is_mbpp:
        raise ValueError(f"{name!r} from a file has no splits: leave the split out.")
    if path is None:
        rows, data = _from_hub(name, benchmark, split)
    else:
        rows, data = read_data(name, Path(path), sha256)
    tasks, excluded = [], {}
    for number, (where, row) in enumerate(rows, 1):
        try:
            missing = [field for field in benchmark.fields if not isinstance(row, dict) or field not in row]
            if missing or not isinstance(row, dict):
                raise ValueError(f"it is no row of {name!r}: {missing[0] if missing else 'an object'} is missing")
            tasks.append(replace(benchmark.read(row, number), source=f"{name} {data.location}"))
        except Excluded as error:
            excluded[error.task_id] = str(error)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{where}: {reason}.") from error
    if split in mbpp.SPLITS and is_mbpp:
        low, high = mbpp.SPLITS[split]
        tasks = [task for task in tasks if low <= int(task.task_id) <= high]
    return TaskSet(tuple(tasks), data, split or "", excluded)


def pipeline_task(task: Pipeline) -> Task:
    """A task of the pipelines world in the common form; the model continues the function."""
    return Task(
        task_id=task.task_id,
        prompt=task.prompt,
        tests=Calls(ENTRY_POINT, task.pairs, "exact"),
        prefix=task.prompt,
        canonical=task.prompt + "".join(task.lines),
        source="pipelines",
    )


def _pipelines(path: str | Path | None, split: str | None, sha256: str | None) -> TaskSet:
    from ra3_lab.resources import data_dir
    from ra3_lab.tasks.pipelines import read_tasks

    if path is not None and split is not None:
        raise ValueError("'pipelines' from a file has no splits: leave the split out.")
    split = split or "test"
    file = Path(path) if path is not None else data_dir() / "pipelines" / f"{split}.jsonl"
    if path is None and not file.exists():
        raise ValueError(f"split {split!r} of 'pipelines' is unknown: use {', '.join(SPLITS)}.")
    if not file.is_file():
        raise FileNotFoundError(f"{file} is no file: give a split file written by ra3-lab data.")
    tasks = load_split(split) if path is None else list(read_tasks(file))
    data = _source("pipelines", file, path is None, sha256)
    return TaskSet(tuple(map(pipeline_task, tasks)), data, split if path is None else "")


def _own(path: str | Path | None, split: str | None, sha256: str | None) -> TaskSet:
    from ra3_lab.resources import data_dir

    if split is not None:
        raise ValueError("'own' has no splits: leave the split out.")
    file = Path(path) if path is not None else data_dir() / "tasks" / "examples.jsonl"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is no file: give a .jsonl file of tasks, see docs/benchmarks.md.")
    data = _source("own", file, path is None, sha256)
    return TaskSet(tuple(replace(task, source=task.source or f"own {file.name}") for task in read_records(file)), data)


def _source(name: str, file: Path, shipped: bool, wanted: str | None) -> DataSource:
    """Where our own format's tasks come from. Raises ValueError where the file has not the hash that is wanted."""
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    release_of(name, file, (found,), found, wanted)
    return DataSource(name, file.name, found, "shipped with ra3_lab" if shipped else "")


def _from_hub(name: str, benchmark: Benchmark, split: str | None) -> tuple[list[tuple[str, Any]], DataSource]:
    """Rows and source of a benchmark's files on the hub. ValueError without a network, or where no file fits."""
    if not benchmark.hub:
        raise ValueError(f"{name!r} has no fixed place on the hub: give its data file.")
    from huggingface_hub import HfApi, hf_hub_download

    wanted = split if split is not None and "{split}" in benchmark.hub_files else "test"
    pattern = benchmark.hub_files.replace("{split}", wanted)
    try:
        info = HfApi().dataset_info(benchmark.hub)
        files = sorted(file.rfilename for file in info.siblings or [] if fnmatch.fnmatch(file.rfilename, pattern))
        if not files:
            raise ValueError(f"{benchmark.hub} on the hub has no file {pattern}: give another split, or the data file.")
        local = [hf_hub_download(benchmark.hub, file, repo_type="dataset", revision=info.sha) for file in files]
    except ValueError:
        raise
    except Exception as error:  # no network, no access: some of its HTTP library's errors come through as they are
        raise ValueError(
            f"{name!r} could not be fetched from the hub ({benchmark.hub}: {type(error).__name__}). "
            "Without a network give the data file."
        ) from error
    rows, hashes = [], []
    for file in local:
        found, data = read_data(name, Path(file), "any")
        rows += found
        hashes.append(data.sha256)
    digest = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    return rows, DataSource(name, f"{benchmark.hub}/{pattern}", digest, f"hub revision {info.sha}")
