"""The figures of docs/real_code.md, written from the records of `real_code.py`, so that the two cannot differ."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NAMES = {"before": "before training", "ntp": "NTP", "ra3": "RA3"}
MARKS = {
    kind: (f"<!-- {name}: begin (benchmarks/real_code.py --page) -->", f"<!-- {name}: end -->")
    for kind, name in (("real_code", "figures"), ("real_mbpp", "figures of MBPP"))
}
"""Kind of record -> the lines between which its figures stand."""
HEADINGS = {"real_code": "### The thoughts, as they are", "real_mbpp": "### The thoughts on MBPP, as they are"}


def fill(page: Path, record: Mapping[str, Any]) -> None:
    """Put the record's figures between the page's two marks for its kind. Raises ValueError where they are missing."""
    text, (begin, end) = page.read_text(encoding="utf-8"), MARKS[record["kind"]]
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{page} needs one line {begin!r} and one line {end!r}: the figures go between them.")
    head, rest = text.split(begin)
    _, tail = rest.split(end)
    page.write_text(f"{head}{begin}\n\n{figures(record)}\n\n{end}{tail}", encoding="utf-8")


def figures(record: Mapping[str, Any]) -> str:
    """Tables and excerpts in Markdown."""
    seeds = record.get("seeds", [record["seed"]])
    doubt = (
        "over the held-out functions (one training seed, so they do not speak of another run)"
        if len(seeds) == 1
        else f"over {len(seeds)} training seeds and the held-out programs"
    )
    by_seed = ("by seed",) if len(seeds) > 1 else ()
    parts = [
        setting(record, seeds),
        "Nats per held-out line, higher is better:",
        bounds_table(record["nats_per_line"]),
        f"RA3 less NTP, nats per line, with 95 % intervals {doubt}:",
        table(
            ("RA3", "NTP", "difference", "from", "to", *by_seed),
            [
                (
                    *(label(row["ra3"]), label(row["ntp"])),
                    *(f"{row[key]:+.4f}" for key in ("mean", "low", "high")),
                    *(", ".join(f"{value:+.4f}" for value in row["by_seed"]) for _ in by_seed),
                )
                for row in record["differences"]
            ],
        ),
        *([floor_of(record)] if "under_floor" in record else []),
        HEADINGS[record["kind"]],
        *(summary(NAMES[arm], record["thoughts"][arm], len(seeds)) for arm in ("before", "ra3")),
        *excerpts(record),
    ]
    return "\n\n".join(parts)


def setting(record: Mapping[str, Any], seeds: Sequence[int]) -> str:
    """What was run with what."""
    corpus, versions = record["corpus"], record["versions"]
    tried = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    if record["kind"] == "real_code":
        programs, repeated = f"{corpus['functions']:,} functions, {corpus['trained_on']:,} to train on, ", ""
    else:
        file = f"mbpp.jsonl (`{record['data']['sha256'][:12]}`)"
        programs = f"{corpus['trained_on']} tasks of the training split of {file} to train on, of the validation split "
        repeated = f" {corpus['repeated']} of the held-out solutions stand in the training split, too, but for layout."
    return (
        f"Python {versions['python']}, torch {versions['torch']}, base `{record['base']}`, {tried}: {programs}"
        f"{corpus['heldout']} held out with {corpus['heldout_lines']:,} lines. Training of both arms"
        f"{' at all seeds' * (len(seeds) > 1)} took {record['seconds']:,.0f} s.{repeated}"
    )


def floor_of(record: Mapping[str, Any]) -> str:
    """What the E-step's floor hides."""
    floor, under = record["config"]["midtrain"]["estep"]["floor"], record["under_floor"]
    shares = ", ".join(f"{name} {100 * under[arm]:.0f} %" for arm, name in NAMES.items())
    return (
        f"Held-out lines below {under['floor']:g} nats without thoughts, the E-step's default floor: {shares}. The "
        f"floor of this run: {'none' if floor is None else f'{floor:g} nats'}."
    )


def label(name: str) -> str:
    """A bound's name for people."""
    return "no thoughts" if name == "no_thought" else f"K = {name[1:]}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def bounds_table(nats: Mapping[str, Mapping[str, float]]) -> str:
    """One row an arm, one column a number of samples."""
    columns = list(next(iter(nats.values())))
    return table(
        ("", *map(label, columns)),
        [(NAMES[arm], *(f"{found[name]:.4f}" for name in columns)) for arm, found in nats.items()],
    )


def code(text: str) -> str:
    """Text as it stands in a table or a sentence."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    return f"{fence} {shown} {fence}".replace("|", "\\|")


def summary(name: str, found: Mapping[str, Any], seeds: int = 1) -> str:
    """How many, how good, how varied, over all seeds."""
    programs = "held-out functions" if seeds == 1 else f"held-out programs, over {seeds} seeds"
    if not found["count"]:
        return f"**{name}**: no thought on the {programs}."
    often = table(
        ("text", "times", "mean nats bought"),
        [(code("#" + row["thought"]), str(row["count"]), f"{row['mean_gain']:+.3f}") for row in found["often"]],
    )
    return (
        f"**{name}**: {found['count']} thoughts on the {programs}, {found['distinct']} different ones; "
        f"{100 * found['helpful'] / found['count']:.0f} % made the lines up to the next thought likelier, on average "
        f"they bought {found['mean_gain']:+.3f} nats. The most frequent:\n\n{often}"
    )


def excerpts(record: Mapping[str, Any]) -> list[str]:
    """The best and the worst thoughts after RA3, each with the line it stands before, or its number."""
    found = record["thoughts"]["ra3"]
    parts = []
    for title, key in (("What RA3's best thoughts bought", "best"), ("What its worst ones cost", "worst")):
        rows = [
            (
                f"{one['gain']:+.2f}",
                code("#" + one["thought"]),
                code(one["code"].strip()) if "code" in one else str(one["line"] + 1),
                code(one["task_id"]),
            )
            for one in found[key]
        ]
        if rows:
            parts.append(f"{title}:\n\n" + table(("nats", "thought", "before the line", "function"), rows))
    return [*parts, record["notice"]]
