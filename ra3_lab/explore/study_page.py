"""A study as one self-contained page: arms with intervals, paired differences, latents, learning curves, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from plotly.io import to_html

from ra3_lab.explore.compare import MEASURES, draw_runs
from ra3_lab.explore.discovery import draw_discovery
from ra3_lab.explore.findings import MISSING, arm_label, curves, is_number, number
from ra3_lab.explore.markup import data_table, interval_drawing, section
from ra3_lab.study import StudySpec, seed_records

LATENTS = ("think_share", "precision", "recall", "f1", "random_f1", "apt", "duration", "tokens_per_thought")

SCORES = (
    "pass@1 is the share of sampled programs that pass all tests. In order: tasks whose text lists the steps as the "
    "program takes them; out of order: the others. Thoughts: comment lines in a program that the policy writes. "
    "Seconds: of training; scoring is not counted."
)
WORTH = (
    "Of thoughts sampled on programs that were kept out of training. Think share: lines with a thought. Precision: "
    "thoughts that stand where a step begins; recall: steps that a thought announces; f1: their harmonic mean; random "
    "f1: that of as many thoughts before random lines. Apt: thoughts that say exactly the step that begins there. "
    "Duration: lines up to the next thought."
)
"""What the columns of the two tables are."""


def render_study(spec: StudySpec, records: list[dict[str, Any]], tables: Mapping[str, dict[str, Any]]) -> str:
    """The page as text. `tables`: split -> what `evaluate.seeds.summarise_seeds` makes of it, the first one counts."""
    css = (files("ra3_lab.explore") / "report.css").read_text(encoding="utf-8")
    title, seeds = escape(spec.title), len(next(iter(tables.values()))["seeds"])
    minutes = sum(record["minutes"] for record in records)
    meta = f"{len(spec.arms)} arms, seeds: {seeds}, {number(minutes, 0)} minutes of training and scoring"
    parts = [_split(split, table) for split, table in tables.items()]
    parts += [
        _latents(next(iter(tables.values()))),
        _curves(seed_records(records, spec.splits[0])),
        _arms(spec, records),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{title}</title>\n<style>\n{css}</style>\n</head>\n<body>\n"
        f'<header>\n<h1>{title}</h1>\n<p class="meta">{escape(meta)}</p>\n'
        + (f'<p class="headline">{escape(spec.question)}</p>\n' if spec.question else "")
        + "</header>\n<main>\n"
        + "\n".join(filter(None, parts))
        + "\n</main>\n</body>\n</html>\n"
    )


def _split(split: str, table: Mapping[str, Any]) -> str:
    """Arms and differences on one split."""
    arms = table["arms"]
    interval = f"95 % interval ({'seeds and tasks' if len(table['seeds']) > 1 else 'tasks only; one seed'})"
    most = max(row["ci95"][1] for row in arms.values()) or 1.0
    rows = [
        (
            escape(arm_label(arm)),
            f"{100 * row['pass@1']:.1f} %",
            f"{100 * row['ci95'][0]:.1f} to {100 * row['ci95'][1]:.1f}",
            interval_drawing((row["pass@1"], *row["ci95"]), (0.0, most), f"pass@1 {100 * row['pass@1']:.1f} %"),
            ", ".join(f"{100 * value:.1f}" for value in row["by_seed"]),
            *(f"{100 * row['by_listing'][kind]:.1f} %" for kind in row["by_listing"]),
            number(row["thoughts_per_program"]),
            f"{row['updates']:.0f}",
            f"{row['seconds']:.0f}",
        )
        for arm, row in arms.items()
    ]
    kinds = next(iter(arms.values()))["by_listing"]
    columns = ("arm", "pass@1", interval, "", "by seed, %", *kinds, "thoughts", "updates", "seconds")
    body = f"<p>{SCORES}</p>\n" + data_table(f"pass@1 on {split}", columns, rows, words=(3, 4))
    if differences := table["differences"]:
        ends = [abs(d[key]) for d in differences for key in ("low", "high")]
        bounds = (-max(ends), max(ends))
        rows = [
            (
                f"{escape(arm_label(d['a']))} − {escape(arm_label(d['b']))}",
                f"{100 * d['mean']:+.1f}",
                f"{100 * d['low']:+.1f} to {100 * d['high']:+.1f}",
                interval_drawing((d["mean"], d["low"], d["high"]), bounds, f"{100 * d['mean']:+.1f} points"),
                "the interval holds 0" if d["low"] <= 0 <= d["high"] else "",
            )
            for d in differences
        ]
        columns = ("difference", "points", interval, "", "")
        body += data_table(f"Paired differences of pass@1 on {split}", columns, rows, words=(3, 4))
    return section(f"split-{split}", f"Held-out tasks: {escape(split)}", body)


def _latents(table: Mapping[str, Any]) -> str:
    """What the arms' latents are worth against the truth."""
    found = table["segmentation"]
    if not found:
        return ""
    rows = [
        (escape(arm_label(arm)), *(number(row[key], 2) if is_number(row.get(key)) else MISSING for key in LATENTS))
        for arm, row in found.items()
    ]
    columns = ("latents of", *(key.replace("_", " ") for key in LATENTS))
    body = f"<p>{WORTH}</p>\n" + data_table("Mean over seeds", columns, rows)
    return section("latents", "Latents against the truth", body)


def _curves(records: Sequence[Mapping[str, Any]]) -> str:
    """Learning curves over updates: the E-step's, then those of all arms."""
    views = [draw_discovery(records)]
    views += [
        draw_runs(records, measure, 5)
        for measure, (key, *_) in MEASURES.items()
        if any(curves(record, measure, key) for record in records)
    ]
    parts: list[str] = []
    for view in views:
        if view is None or view.figure is None:
            continue
        figure = view.figure.update_layout(title=None, margin_t=44)  # the heading says it, and wraps
        config = {"displayModeBar": False, "responsive": True}
        drawing = to_html(figure, config, include_plotlyjs=not parts, full_html=False)
        parts.append(
            f"<figure><figcaption><h3>{escape(view.twin.title)}</h3><p>{escape(view.twin.text)}</p></figcaption>"
            f'<div class="plot">{drawing}</div>{view.tail()}</figure>'
        )
    return section("curves", "Learning curves", "\n".join(parts)) if parts else ""


def _arms(spec: StudySpec, records: Sequence[Mapping[str, Any]]) -> str:
    """What each arm was."""
    rows = []
    for arm in spec.arms:
        own = ", ".join(_flat(arm.midtrain)) or "the study's settings"
        minutes = [record["minutes"] for record in records if record["arm"] == arm.name]
        rows.append((escape(arm_label(arm.name)), arm.method, escape(arm.why), escape(own), number(sum(minutes), 1)))
    columns = ("arm", "method", "why", "its own settings", "minutes")
    return section("arms", "What was run", data_table("Arms of the spec", columns, rows, words=(1, 2, 3)))


def _flat(table: Mapping[str, Any], under: str = "") -> list[str]:
    """A nested table as `a.b = value` entries."""
    found = []
    for key, value in table.items():
        found += _flat(value, f"{under}{key}.") if isinstance(value, Mapping) else [f"{under}{key} = {value}"]
    return found
