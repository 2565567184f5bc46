"""The corpus builder on installed packages: files per second, memory as the corpus grows, and a build stopped twice.

    python benchmarks/corpus.py --out benchmarks/results/corpus.json

Builds from a ninth, a third and all of the installed site-packages, each in a process of its own whose largest memory
is recorded, and its largest worker's. Then one of them (`--stop`) once more, interrupted (SIGINT) after a third and
killed (SIGKILL) after two thirds of its output, and compared with the first output byte by byte. Set RA3_BENCHMARKS to
the folder with HumanEval and MBPP, as for the command. POSIX only.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from ra3_lab.corpus.files import fingerprint
from ra3_lab.corpus.files import walk as walk_files

BUILD = """
import json, os, resource, signal, sys, time
from pathlib import Path
from ra3_lab.corpus.build import build_corpus
from ra3_lab.corpus.contamination import benchmark_files
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job has switched off
    workers, out, *folders = sys.argv[1:]
    begin = time.monotonic()
    built = build_corpus([Path(f) for f in folders], Path(out), None,
                         benchmark_files(os.environ.get("RA3_BENCHMARKS")), int(workers))
    own, workers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    print(json.dumps({
        "seconds": round(time.monotonic() - begin, 1),
        "cpu_seconds": round(own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime, 1),
        "main_process_mb": round(own.ru_maxrss / unit), "largest_worker_mb": round(workers.ru_maxrss / unit),
        "record": built.record}))
"""


def start(folders: Sequence[Path], out: Path, workers: int) -> subprocess.Popen:
    """A build in a process of its own, which prints what it came to."""
    command = [sys.executable, "-c", BUILD, str(workers), str(out), *map(str, folders)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def finish(child: subprocess.Popen) -> dict:
    """What a build came to. Raises RuntimeError where it failed."""
    printed, _ = child.communicate()
    if child.returncode:
        raise RuntimeError(f"the build ended with status {child.returncode}.")
    return json.loads(printed)


def row(folders: Sequence[Path], out: Path, workers: int) -> dict:
    """Build once, and measure."""
    files, _ = fingerprint(folders)
    size = sum(entry.stat().st_size for _, _, entry in walk_files(folders))
    found = finish(start(folders, out, workers))
    record = found.pop("record")
    return {
        "files": files,
        "mb": round(size / 1e6, 1),
        "kept": record["programs"]["kept"],
        "left_out": record["programs"]["left_out"],
        "files_refused": record["files"]["refused"],
        **found,
        "files_per_second": round(files / found["seconds"], 1),
        "files_per_cpu_second": round(files / found["cpu_seconds"], 1),
        "mb_per_cpu_second": round(size / 1e6 / found["cpu_seconds"], 2),
    }


def shares(site: Path, parts: Sequence[float]) -> list[list[Path]]:
    """Folders of installed packages that hold about these shares of the files, each list within the next."""
    packages = sorted(
        (path for path in site.iterdir() if path.is_dir() and not path.name.endswith((".dist-info", "__pycache__"))),
        key=lambda path: hashlib.sha256(path.name.encode()).digest(),
    )
    total, _ = fingerprint([site])
    chosen: list[list[Path]] = []
    for part in parts:
        picked, files = [], 0
        for package in packages:
            count, _ = fingerprint([package])
            if files + count <= part * total * 1.05:
                picked.append(package)
                files += count
        chosen.append(picked)
    return chosen


def stopped_twice(folders: Sequence[Path], out: Path, workers: int, whole: Path) -> dict:
    """Build again, interrupted and killed on the way; whether the bytes are those of `whole`."""
    rows, length = out.with_name(out.name + ".partial") / "rows.jsonl", whole.stat().st_size
    stops = []
    for number, share in ((signal.SIGINT, 1 / 3), (signal.SIGKILL, 2 / 3)):
        child = start(folders, out, workers)
        while child.poll() is None and not (rows.exists() and rows.stat().st_size > share * length):
            time.sleep(0.1)
        child.send_signal(number)
        child.communicate()
        if child.returncode == 0:
            raise RuntimeError(f"the build was not stopped by {number.name}.")
        stops.append(
            {"signal": number.name, "status": child.returncode, "share": round(rows.stat().st_size / length, 3)}
        )
    finish(start(folders, out, workers))
    same = out.read_bytes() == whole.read_bytes()
    reports = [path.with_name(path.name + ".report.json").read_bytes() for path in (out, whole)]
    return {
        "files": fingerprint(folders)[0],
        "stops": stops,
        "same_output": same,
        "same_report": reports[0] == reports[1],
    }


def main(
    out: Path, workers: int = 2, site: Path | None = None, stop: Literal["ninth", "third", "all"] = "third"
) -> None:
    """Measure, and write the result as JSON.

    Args:
        out: JSON file to write.
        workers: Processes that read files.
        site: Folder of installed packages; default: the running Python's site-packages.
        stop: The build that is stopped twice.
    """
    site = site or Path(sysconfig.get_paths()["purelib"])
    result: dict = {
        "schema_version": 1,
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "workers": workers,
        "date": time.strftime("%Y-%m-%d"),
    }
    result["load_average"] = [round(value, 1) for value in os.getloadavg()]
    result["sizes"] = []
    ninth, third = shares(site, (1 / 9, 1 / 3))
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / f"{name}.jsonl" for name in ("ninth", "third", "all")]
        for folders, whole in zip((ninth, third, [site]), outs, strict=True):
            result["sizes"].append(row(folders, whole, workers))
            print(json.dumps(result["sizes"][-1]), flush=True)
        folders, whole = {"ninth": (ninth, outs[0]), "third": (third, outs[1]), "all": ([site], outs[2])}[stop]
        result["stopped_twice"] = stopped_twice(folders, Path(folder) / "again.jsonl", workers, whole)
        print(json.dumps(result["stopped_twice"]), flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    tyro.cli(main)
