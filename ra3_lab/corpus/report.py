"""The end of a build: its report, as JSON and as text, and the files' final names.

The report holds nothing of the machine or the clock, so that a build that was interrupted ends in the same bytes.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from ra3_lab.corpus.build import BuildConfig, Built
    from ra3_lab.corpus.contamination import Benchmarks
    from ra3_lab.corpus.store import Store

SCHEMA_VERSION = 1
_LISTS = {"overlaps": ("overlap", ("source", "benchmark", "item", "side", "share")),
          "refused": ("refused", ("file", "line", "reason", "detail"))}  # fmt: skip


def finish(store: Store, out: Path, config: BuildConfig, benchmarks: Benchmarks, folders: Sequence[str]) -> Built:
    """Write the reports, give everything its final name, and drop the state. Can be repeated after a kill."""
    from ra3_lab.corpus.build import Built

    record = summary(store, config, benchmarks, folders)
    report, text = out.with_name(out.name + ".report.json"), out.with_name(out.name + ".report.txt")
    _write(store.folder / "report.json", lambda file: _write_json(file, record, store))
    _write(store.folder / "report.txt", lambda file: file.writelines(f"{line}\n" for line in render(record, store)))
    rows = store.folder / "rows.jsonl"
    if rows.exists() and out.exists():
        raise FileExistsError(f"{out} has come into being meanwhile: move it away, and run the same command again.")
    for staged, final in (("report.json", report), ("report.txt", text)):
        os.replace(store.folder / staged, final)
    if rows.exists():  # not where a kill came after the next line
        os.replace(rows, out)
    store.delete()
    return Built(out, report, record)


def summary(store: Store, config: BuildConfig, benchmarks: Benchmarks, folders: Sequence[str]) -> dict[str, Any]:
    """The report without its lists."""
    files, programs = store.counts.get("files", Counter()), store.counts.get("programs", Counter())
    return {
        "schema_version": SCHEMA_VERSION,
        "folders": list(folders),
        "config": asdict(config),
        "files": {"read": files["read"], "refused": _counted(files, "read")},
        "programs": {"kept": programs["kept"], "left_out": _counted(programs, "kept")},
        "licences": _counted(store.counts.get("licences", Counter())),
        "benchmarks": {
            "files": benchmarks.hashes,
            "items": len(benchmarks.names),
            "too_short_to_look_for": benchmarks.too_short,
        },
    }


def _counted(counts: Counter[str], without: str = "") -> dict[str, int]:
    return {name: n for name, n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])) if name != without}


def render(record: dict[str, Any], store: Store | None = None) -> Iterator[str]:
    """The report as lines of text; with a store, its lists too."""
    files, programs = record["files"], record["programs"]
    yield f"{programs['kept']} programs from {files['read']} files of {', '.join(record['folders'])}"
    for title, counts in (
        ("files left out", files["refused"]),
        ("functions left out", programs["left_out"]),
        ("licences of those kept (a note, not advice)", record["licences"]),
    ):
        yield f"\n{title}: {sum(counts.values()) if counts else 'none'}"
        yield from (f"{number:>9}  {name}" for name, number in counts.items())
    against = record["benchmarks"]
    if against["files"]:
        config = record["config"]
        yield (
            f"\nlooked for {against['items']} benchmark problems (at least {config['overlap']:.0%} of a problem's "
            f"{config['ngram']}-grams) from:"
        )
        yield from (f"  {name}  sha256 {digest}" for name, digest in against["files"].items())
        short = against["too_short_to_look_for"]
        yield f"  too short to look for: {short['code']} by code, {short['words']} by words"
    else:
        yield "\nNOT DECONTAMINATED: no benchmark file was given (--against, or RA3_BENCHMARKS)."
    if store is not None:
        yield "\nfunctions that hold a benchmark problem (share of its n-grams):"
        for source, benchmark, item, side, share in store.listed("overlap"):
            yield f"  {share:5.2f} of {benchmark} {item} ({side}): {source}"
        yield "\nfiles left out:"
        for file, line, reason, detail in store.listed("refused"):
            yield f"  {file}{f':{line}' if line else ''}: {reason}{f' ({detail})' if detail else ''}"


def _write_json(file: TextIO, record: dict[str, Any], store: Store) -> None:
    """The record with its lists, row by row: they may be long."""
    file.write(json.dumps(record, indent=1)[:-2])
    for name, (table, columns) in _LISTS.items():
        file.write(f',\n "{name}": [')
        for number, row in enumerate(store.listed(table)):
            file.write((",\n  " if number else "\n  ") + json.dumps(dict(zip(columns, row, strict=True))))
        file.write("\n ]")
    file.write("\n}\n")


def _write(path: Path, fill: Any) -> None:
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())
