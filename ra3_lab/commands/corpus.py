"""`ra3-lab corpus`: an expert corpus from folders of Python."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import tyro

from ra3_lab.commands.output import Json, results
from ra3_lab.corpus.build import BuildConfig

_DEFAULTS = BuildConfig()


def run(
    dirs: tyro.conf.Positional[tuple[Path, ...]],
    out: Path,
    against: tuple[Path, ...] | None = None,
    workers: int | None = None,
    config: Annotated[BuildConfig, tyro.conf.arg(name="")] = _DEFAULTS,
    json: Json = None,
) -> int:
    """Build an expert corpus: the functions with docstrings in folders of Python, one JSON object a line.

    No two alike, each with its licence noted, none that holds a HumanEval or MBPP problem. What became of every file
    and function is told in OUT.report.txt and OUT.report.json. A build that was interrupted goes on where it stopped
    when the same command is given again, to the same output.

    Example: ra3-lab corpus src ~/projects --out corpus.jsonl --against HumanEval.jsonl.gz mbpp.jsonl

    Example: ra3-lab corpus site-packages --out mit.jsonl --licences MIT BSD-3-Clause --exclude '*tests/*'

    Example: ra3-lab midtrain --data corpus.jsonl --out runs/a

    Args:
        dirs: Folders of Python files, read with all that is in them.
        out: JSONL file to write; must not exist.
        against: Benchmark files (JSONL, JSON, .gz) to keep out; default: HumanEval and MBPP in $RA3_BENCHMARKS.
        workers: Processes that read files; default: the CPU cores. The output does not depend on it.
        config: What is kept.
        json: Write the report without its lists as JSON to FILE, or to stdout.
    """
    from tqdm import tqdm

    from ra3_lab.corpus.build import build_corpus, partial_folder
    from ra3_lab.corpus.contamination import benchmark_files
    from ra3_lab.corpus.report import render

    if against is None:
        against = benchmark_files(os.environ.get("RA3_BENCHMARKS"))
        if not against:
            print(
                "warning: no benchmark is kept out of this corpus; give --against FILE... or set RA3_BENCHMARKS to a "
                "folder with humaneval/ and mbpp/.",
                file=sys.stderr,
            )
    with results("corpus", json) as emit, tqdm(unit="file", desc="reading", file=sys.stderr) as bar:

        def progress(files: int, of: int, programs: int) -> None:
            if bar.total is None:
                bar.total = of
                if files:
                    bar.initial = bar.n = files
                    bar.write(f"going on after {files} files", file=sys.stderr)
            bar.update(files - bar.n)
            bar.set_postfix_str(f"{programs} kept", refresh=False)

        try:
            built = build_corpus(dirs, out, config, against, workers, progress)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped; what is done is in {partial_folder(out)}. Give the same command again to go on"
            ) from None
        bar.close()
        print("\n".join(render(built.record)))
        print(f"\n{built.out}; what became of each file is in {built.report.with_suffix('.txt')}")
        emit({**built.record, "out": str(built.out), "report": str(built.report)})
    return 0
