"""The figures of docs/real_code.md, written from the record of `real_code.py`, so that the two cannot differ."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NAMES = {"before": "before training", "ntp": "NTP", "ra3": "RA3"}
BEGIN, END = "<!-- figures: begin (benchmarks/real_code.py --page) -->", "<!-- figures: end -->"


def fill(page: Path, record: Mapping[str, Any]) -> None:
    """Put the record's figures between the page's two marks. Raises ValueError where they are missing."""
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{page} needs one line {BEGIN!r} and one line {END!r}: the figures go between them.")
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    page.write_text(f"{head}{BEGIN}\n\n{figures(record)}\n\n{END}{tail}", encoding="utf-8")


def figures(record: Mapping[str, Any]) -> str:
    """Tables and excerpts in Markdown."""
    corpus, versions = record["corpus"], record["versions"]
    base = f"base `{record['base']}`"
    parts = [
        f"Python {versions['python']}, torch {versions['torch']}, {base}, seed {record['seed']}: "
        f"{corpus['functions']:,} functions, {corpus['trained_on']:,} to train on, {corpus['heldout']} held out with "
        f"{corpus['heldout_lines']:,} lines. Training of both arms took {record['seconds']:,.0f} s.",
        "Nats per held-out line, higher is better:",
        bounds_table(record["nats_per_line"]),
        "RA3 less NTP, nats per line, with 95 % intervals over the held-out functions (one training seed, so they do "
        "not speak of another run):",
        table(
            ("RA3", "NTP", "difference", "from", "to"),
            [
                (label(row["ra3"]), label(row["ntp"]), *(f"{row[key]:+.4f}" for key in ("mean", "low", "high")))
                for row in record["differences"]
            ],
        ),
        "### The thoughts, as they are",
        *(summary(NAMES[arm], record["thoughts"][arm]) for arm in ("before", "ra3")),
        *excerpts(record),
    ]
    return "\n\n".join(parts)


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


def summary(name: str, found: Mapping[str, Any]) -> str:
    """How many, how good, how varied."""
    if not found["count"]:
        return f"**{name}**: no thought on any held-out function."
    often = table(
        ("text", "times", "mean nats bought"),
        [(code("#" + row["thought"]), str(row["count"]), f"{row['mean_gain']:+.3f}") for row in found["often"]],
    )
    return (
        f"**{name}**: {found['count']} thoughts on the held-out functions, {found['distinct']} different ones; "
        f"{100 * found['helpful'] / found['count']:.0f} % made the lines up to the next thought likelier, on average "
        f"they bought {found['mean_gain']:+.3f} nats. The most frequent:\n\n{often}"
    )


def excerpts(record: Mapping[str, Any]) -> list[str]:
    """The best and the worst thoughts after RA3, each with the line it stands before."""
    found = record["thoughts"]["ra3"]
    parts = []
    for title, key in (("What RA3's best thoughts bought", "best"), ("What its worst ones cost", "worst")):
        rows = [
            (f"{one['gain']:+.2f}", code("#" + one["thought"]), code(one["code"].strip()), code(one["task_id"]))
            for one in found[key]
        ]
        if rows:
            parts.append(f"{title}:\n\n" + table(("nats", "thought", "before the line", "function"), rows))
    return [*parts, record["notice"]]
