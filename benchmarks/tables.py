"""Write the tables of docs/ from the records of studies and benchmarks, so that no number is copied by hand.

    python benchmarks/tables.py            # fills in the tables of both READMEs and docs/
    python benchmarks/tables.py --check    # status 1 where a page is not what the records say

A table stands between `<!-- NAME -->` and `<!-- end -->`; the records are in benchmarks/results/.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import aptness_tables
import estep_tables as estep
import margin_tables
import rlvr_tables as rlvr
import speed_tables as speed
import study_tables as study
import tyro
from cells import ROOT

from ra3_lab.study import spec_names

PAGES = (
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("results", "rlvr", "single_gpu", "study", "variants")),
)

TABLES: dict[str, Callable[[], str]] = {
    "overview": study.overview,
    "base": study.base,
    "bases": study.bases,
    "resampling": study.resampling,
    "margins by base": lambda: margin_tables.by_condition("bases", "longer programs commented"),
    "margins by expert data": lambda: margin_tables.by_condition("expert_data", "expert programs"),
    "aptness": aptness_tables.aptness,
    "breaks": aptness_tables.breaks,
    "breaks of ready": aptness_tables.breaks_of_ready,
    "settings": estep.ablations,
    "worth": estep.worth,
    "rounds": estep.rounds,
    "stability": estep.stability,
    "readiness": estep.readiness,
    "tuning": lambda: study.trials("tuning"),
    "tuning of longer ntp": lambda: study.trials("tuning_ntp"),
    "tuning of the others": lambda: study.trials("tuning_arms"),
    "main latents": lambda: study.latents("main"),
    "main discovery": lambda: study.discovery("main"),
    "final latents": lambda: study.latents("final"),
    "final runs": lambda: study.runs("final", "final"),
    "final blocks": lambda: study.block_length("final", "final"),
    "final cross entropy": lambda: study.cross_entropy("final"),
    "learning": rlvr.learning,
    "learning trials": rlvr.learning_trials,
    "learning differences": rlvr.learning_differences,
    "learning thoughts": rlvr.learning_thoughts,
    "hacking": rlvr.hacking,
    "decoding": speed.decoding,
    "steps": speed.steps,
    "judging": speed.judging,
    "updates": speed.updates,
    "peaks": speed.peaks,
    "equal time": lambda: rlvr.equal_time(rlvr.BEFORE),
    "equal time of ready": lambda: rlvr.equal_time(rlvr.READY),
    "choices": study.choices,
    "lengths": study.lengths,
    "lengths of longer ntp": study.longer_ntp,
    "four bit curve": rlvr.four_bit_curve,
}
for name in spec_names():
    TABLES[f"{name} arms"] = partial(study.arms, name)
    TABLES[f"{name} differences"] = partial(study.differences, name)


def filled(page: str) -> str:
    """The page with every table made anew. Raises KeyError for a table that nobody makes."""

    def one(match: re.Match) -> str:
        return f"<!-- {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- ([a-z_ ]+) -->\n.*?<!-- end -->", one, page, flags=re.DOTALL)


def main(check: bool = False) -> int:
    """Fill in the pages, or compare them with the records.

    Args:
        check: Write nothing; status 1 where a page differs.
    """
    differ = 0
    for page in PAGES:
        now = page.read_text(encoding="utf-8")
        made = filled(now)
        if check and made != now:
            print(f"{page} is not what the records say: run python benchmarks/tables.py")
            differ = 1
        elif made != now:
            page.write_text(made, encoding="utf-8")
    return differ


if __name__ == "__main__":
    raise SystemExit(tyro.cli(main))
