"""The worker's side of a build: one file in, its functions with everything that needs no other file.

Workers are started afresh (spawn), ignore Ctrl-C, which is the main process's to answer, and end when it does.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ra3_lab.corpus.contamination import Benchmarks, quoted_tokens
from ra3_lab.corpus.functions import Function, functions
from ra3_lab.corpus.licences import licence_of
from ra3_lab.corpus.likeness import SHINGLE, code_tokens, exact_key, hashes, ngrams, signature, word_tokens
from ra3_lab.trace.python import syntax_tree
from ra3_lab.trace.source import Refused, decode

if TYPE_CHECKING:
    from ra3_lab.corpus.build import BuildConfig


@dataclass(frozen=True)
class Task:
    """A file to read."""

    root: Path
    """The folder that was given."""
    file: str
    """Its name in rows and reports: the folder's label and the path inside."""
    path: Path
    """Where it is."""


@dataclass(frozen=True)
class Found:
    """A function that may be kept."""

    row: dict[str, Any]
    """The row to write, but for its number."""
    key: bytes
    """Equal for equal code."""
    signature: np.ndarray | None
    """Minhash of its tokens; None for code of fewer than 5 tokens."""


@dataclass
class FileResult:
    """What is in a file."""

    file: str
    """Its name in reports."""
    refused: tuple[int, str, str] | None = None
    """(line, reason, detail) of a file that cannot be used."""
    found: list[Found] = field(default_factory=list)
    """Functions that pass every rule that needs no other file."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Functions that do not, by reason."""
    overlaps: list[tuple[str, tuple[str, str, str, float]]] = field(default_factory=list)
    """(source, (benchmark, item, side, share)) of those that hold a benchmark problem."""


def read_files(tasks: Sequence[Task], config: BuildConfig, benchmarks: Benchmarks) -> list[FileResult]:
    """Read files, one result each."""
    return [read_file(task, config, benchmarks) for task in tasks]


def read_file(task: Task, config: BuildConfig, benchmarks: Benchmarks) -> FileResult:
    """Read one file; whatever is wrong with it is in the result."""
    result = FileResult(task.file)
    try:
        if (size := task.path.stat().st_size) > config.largest_file:
            raise Refused(task.file, 0, "too large", f"{size} bytes")
        text, _ = decode(task.path.read_bytes(), task.file)
        found = list(functions(text, syntax_tree(text), docstrings=False))
    except Refused as refused:
        result.refused = refused.line, refused.reason, refused.detail
        return result
    except SyntaxError as error:
        result.refused = error.lineno or 0, "does not parse", error.msg or ""
        return result
    except OSError as error:
        result.refused = 0, "cannot be read", error.strerror or str(error)
        return result
    for function in found:
        reason = _admit(function, task, text, config, benchmarks, result)
        if reason:
            result.left_out[reason] += 1
    return result


def _admit(
    function: Function, task: Task, text: str, config: BuildConfig, benchmarks: Benchmarks, result: FileResult
) -> str:
    """Put a function among those found, or say why not."""
    words = word_tokens(function.docstring)
    if len(words) < config.words:
        return "no docstring" if not function.docstring else f"docstring of fewer than {config.words} words"
    if function.stub:
        return "no body of its own"
    if sum(bool(row.strip()) for row in function.code.split("\n")) < config.shortest:
        return f"fewer than {config.shortest} lines"
    if len(function.code) + len(function.docstring) > config.longest:
        return f"more than {config.longest} characters"
    try:
        (function.code + function.docstring).encode()
        tree = syntax_tree(function.code)
    except (SyntaxError, UnicodeEncodeError):
        return "does not stand alone"
    source = f"{task.file}:{function.line}"
    tokens = code_tokens(function.code)
    hashed = hashes(tokens)
    quoted = hashes(quoted_tokens(function.docstring, tree)) if benchmarks.names else None
    if overlaps := benchmarks.overlaps(hashed, hashes(words), quoted):
        result.overlaps += [(source, (o.benchmark, o.item, o.side, o.share)) for o in overlaps]
        return "holds a benchmark problem"
    licence, where = licence_of(task.path, task.root, text[:2000])
    if config.licences and licence not in config.licences:
        return f"licence {licence}"
    grams = ngrams(hashed, SHINGLE)
    row = {
        "prompt": function.docstring,
        "code": function.code,
        "name": function.name,
        "source": source,
        "licence": licence,
        "licence_from": where,
    }
    result.found.append(Found(row, exact_key(tokens), signature(grams) if len(grams) else None))
    return ""


_shared: tuple[Any, ...] = ()


def _begin(config: BuildConfig, benchmarks: Benchmarks) -> None:
    """Set a worker process up."""
    global _shared
    _shared = config, benchmarks
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    from multiprocessing import connection, parent_process

    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _work(tasks: Sequence[Task]) -> list[FileResult]:
    return read_files(tasks, *_shared)


@contextmanager
def pool(
    workers: int, config: BuildConfig, benchmarks: Benchmarks
) -> Iterator[Callable[[Sequence[Task]], Future[list[FileResult]]]]:
    """A function that has files read by one of `workers` processes; they are gone when the block is left."""
    from multiprocessing import get_context

    executor = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (config, benchmarks))

    def submit(tasks: Sequence[Task]) -> Future[list[FileResult]]:
        try:
            return executor.submit(_work, tasks)
        except BrokenProcessPool as error:  # said where the result is asked for, so that no task gets lost
            failed: Future[list[FileResult]] = Future()
            failed.set_exception(error)
            return failed

    try:
        yield submit
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
