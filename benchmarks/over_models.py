"""Models at several seeds, each measured once: the loop and the record of lengths.py, choices.py and breaks.py."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ra3_lab.runs import read_json, write_json
from ra3_lab.runs.provenance import versions


def parser(about: str | None) -> argparse.ArgumentParser:
    """The arguments that such a measurement has in any case."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--models", nargs="+", required=True, help="NAME=MODEL, {seed} stands for the seed")
    made.add_argument("--seeds", type=int, nargs="+", default=[0])
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--out", type=Path, required=True, help="a model that is in it already is not measured again")
    return made


def measure_all(
    given: argparse.Namespace,
    settings: dict[str, Any],
    measure: Callable[[str], dict[str, Any]],
    shown: Callable[[dict[str, Any]], str],
) -> None:
    """Measure every model at every seed; --out is written after each. `shown` tells a row in a line.

    Raises SystemExit where --out was made with other settings.
    """
    rows = []
    if given.out.exists():
        found = read_json(given.out)
        if found["settings"] != settings:
            raise SystemExit(f"{given.out} was made with {found['settings']}: give the same, or another --out.")
        rows = found["rows"]
    for name, source in (text.split("=", 1) for text in given.models):
        for seed in given.seeds if "{seed}" in source else given.seeds[:1]:
            if any((row["arm"], row["seed"]) == (name, seed) for row in rows):
                continue
            rows.append({"arm": name, "seed": seed} | measure(source.replace("{seed}", str(seed))))
            print(f"{name:<12} seed {seed}  {shown(rows[-1])}", flush=True)
            made = {"date": datetime.date.today().isoformat(), "versions": versions(), "settings": settings}
            write_json(given.out, {"schema_version": 1, **made, "rows": rows})
