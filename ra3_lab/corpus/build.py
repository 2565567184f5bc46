"""Build an expert corpus: functions with docstrings from folders of Python, no two alike, no benchmark among them.

Files are read by worker processes, a few at a time; one process takes their results in the order of the files, sorts
out duplicates and writes. So the output does not depend on the number of workers, nor on where a build was interrupted
(`store`). A row is what `load_corpus` reads: the docstring is the prompt, the function without it the code.

Not handled: renamed copies of a benchmark problem (`contamination`), and licences beyond a note (`licences`).
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ra3_lab.corpus.contamination import Benchmarks
from ra3_lab.corpus.files import fingerprint, labels, walk
from ra3_lab.corpus.store import Store
from ra3_lab.corpus.workers import FileResult, Task, pool, read_files

_FILES_AT_ONCE = 24
_COMMIT_SECONDS = 2.0


@dataclass(frozen=True)
class BuildConfig:
    """What is kept."""

    shortest: int = 3
    """Fewest lines of a function, its docstring and blank lines apart."""
    longest: int = 4_000
    """Most characters of docstring and code together."""
    words: int = 3
    """Fewest words of a docstring."""
    largest_file: int = 1_000_000
    """Most bytes of a file; larger ones are mostly tables or generated."""
    programs: int | None = None
    """Stop after this many programs; None for all."""
    similar: float = 0.85
    """Estimated similarity (Jaccard, token 5-grams) from which functions are near-duplicates; the first one stays."""
    ngram: int = 8
    """Tokens of the n-grams that functions and benchmark problems are compared by."""
    overlap: float = 0.3
    """Share of a problem's n-grams at which a function counts as holding it."""
    licences: tuple[str, ...] = ()
    """Keep only functions under these licences, by the names in the report; none means all."""
    exclude: tuple[str, ...] = ()
    """Leave out files whose path in its folder fits one of these patterns, such as '*tests/*'."""

    def __post_init__(self) -> None:
        if self.shortest < 1 or self.longest < 1 or self.words < 1 or self.largest_file < 1:
            raise ValueError(
                f"shortest={self.shortest}, longest={self.longest}, words={self.words}, "
                f"largest_file={self.largest_file}: each at least 1."
            )
        if self.programs is not None and self.programs < 1:
            raise ValueError(f"programs={self.programs}: at least 1, or none for no bound.")
        if not 0 < self.similar <= 1:
            raise ValueError(f"similar={self.similar}: above 0 and at most 1 (1: only what looks equal).")


@dataclass(frozen=True)
class Built:
    """What a build came to."""

    out: Path
    """The JSONL file."""
    report: Path
    """Its report as JSON; the same as text beside it."""
    record: dict[str, Any]
    """The report without its lists."""


def partial_folder(out: Path) -> Path:
    """Where a build that is not finished keeps its state."""
    return out.with_name(out.name + ".partial")


def build_corpus(
    folders: Sequence[Path],
    out: Path,
    config: BuildConfig | None = None,
    against: Sequence[Path] = (),
    workers: int | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> Built:
    """Write `out` (JSONL), and its report beside it as `.report.json` and `.report.txt`.

    A build of the same settings that was interrupted goes on where it stopped, to the same bytes. `against` are
    benchmark files to keep out (JSONL, also gzipped, or a JSON list), `workers` defaults to the CPU cores;
    `progress(files, of, programs)` is called as files are done. Raises FileNotFoundError for a missing folder,
    FileExistsError for an `out` that is there, ValueError for folders without Python files or an unfinished build of
    other settings, OSError where the state cannot be written.
    """
    from ra3_lab.corpus.report import finish

    config = config or BuildConfig()
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder: give folders of Python files.")
    if not folders:
        raise ValueError("no folder to build from: give at least one.")
    folders = [Path(os.path.abspath(folder)) for folder in folders]  # a licence may be above the folder
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out.parent} does not exist: make the folder that --out is to be in.")
    if workers is not None and workers < 1:
        raise ValueError(f"workers={workers}: at least 1.")
    partial = partial_folder(out)
    if out.exists() and not (partial / "state.sqlite").exists():
        raise FileExistsError(f"{out} exists: choose another --out, or delete it if you no longer need it.")
    benchmarks = Benchmarks(against, config.ngram, config.overlap)
    files, found = fingerprint(folders, config.exclude)
    if not files:
        raise ValueError(f"no .py file in {', '.join(map(str, folders))}.")
    settings = {
        "config": asdict(config),
        "benchmarks": benchmarks.hashes,
        "python": ".".join(map(str, sys.version_info[:3])),
        "files (the folders have changed, or are others)": found,
    }
    try:
        with Store(partial, settings) as store:
            if not store.finished:
                _run(folders, config, benchmarks, store, files, workers or os.cpu_count() or 1, progress)
                store.commit(store.files, finished=True)
            return finish(store, out, config, benchmarks, labels(folders))
    except sqlite3.Error as error:
        raise OSError(
            f"{partial}: {error}. Where the disk is full, make room and give the same command again: it goes on."
        ) from error


def _run(
    folders: Sequence[Path],
    config: BuildConfig,
    benchmarks: Benchmarks,
    store: Store,
    files: int,
    workers: int,
    progress: Callable[[int, int, int], None] | None,
) -> None:
    """Read what is not read yet."""
    done, last = store.files, time.monotonic()
    names, entries = labels(folders), islice(walk(folders, config.exclude), done, None)
    tasks = (Task(folders[i], f"{names[i]}/{inside}", Path(entry.path)) for i, inside, entry in entries)
    if progress is not None:
        progress(done, files, store.programs)
    with closing(_in_order(tasks, config, benchmarks, workers)) as results:
        for result in results:
            if config.programs is not None and store.programs >= config.programs:
                break
            _take(result, config, store)
            done += 1
            if progress is not None:
                progress(done, files, store.programs)
            if time.monotonic() - last > _COMMIT_SECONDS:
                store.commit(done)
                last = time.monotonic()
    store.commit(done)


def _in_order(
    tasks: Iterator[Task], config: BuildConfig, benchmarks: Benchmarks, workers: int
) -> Generator[FileResult, None, None]:
    """The files' results in their order, read by `workers` processes at most a few files ahead."""
    if workers == 1:
        while chunk := list(islice(tasks, _FILES_AT_ONCE)):
            yield from read_files(chunk, config, benchmarks)
        return
    ahead: deque[tuple[list[Task], Future[list[FileResult]]]] = deque()
    with pool(workers, config, benchmarks) as submit:
        while True:
            while len(ahead) < 3 * workers and (chunk := list(islice(tasks, _FILES_AT_ONCE))):
                ahead.append((chunk, submit(chunk)))
            if not ahead:
                return
            try:
                results = ahead[0][1].result()
            except BrokenProcessPool:
                break
            ahead.popleft()
            yield from results
    # Memory ran out, or a file is more than Python's parser can take: find out which, and go on without it.
    yield from _carefully([chunk for chunk, _ in ahead], config, benchmarks)
    yield from _in_order(tasks, config, benchmarks, workers)


def _carefully(chunks: Sequence[list[Task]], config: BuildConfig, benchmarks: Benchmarks) -> Iterator[FileResult]:
    """The results of chunks of which some may end their reader. Raises OSError where no reader can even be started."""
    for chunk in chunks:
        try:
            with pool(1, config, benchmarks) as submit:
                _start(submit)
                results = submit(chunk).result()
        except BrokenProcessPool:
            if len(chunk) > 1:
                yield from _carefully([[task] for task in chunk], config, benchmarks)
                continue
            results = [FileResult(chunk[0].file, (0, "ends the process that reads it", ""))]
        yield from results


def _start(submit: Callable[[Sequence[Task]], Future[list[FileResult]]]) -> None:
    try:
        submit([]).result()
    except BrokenProcessPool:
        raise OSError(
            "the processes that read files cannot be started: free memory; a script that calls this needs "
            "`if __name__ == '__main__':` around the call; or take one process (workers=1)."
        ) from None


def _take(result: FileResult, config: BuildConfig, store: Store) -> None:
    """Count a file, and keep those of its functions that are new."""
    if result.refused is not None:
        store.count("files", result.refused[1])
        store.refuse(result.file, *result.refused)
    else:
        store.count("files", "read")
    for reason, number in result.left_out.items():
        store.count("programs", reason, number)
    for source, overlap in result.overlaps:
        store.overlap(source, *overlap)
    for found in result.found:
        if config.programs is not None and store.programs >= config.programs:
            store.count("programs", "after the last one asked for")
        elif not store.is_new(found.key):
            store.count("programs", "duplicate")
        elif found.signature is not None and store.is_near(found.signature, config.similar):
            store.count("programs", "near-duplicate")
        else:
            store.keep(found.row, found.key, found.signature)
            store.count("licences", found.row["licence"])
