"""One self-contained report.html from a run's record: offline, in light and dark, on screen and on paper.

plotly.js is written into the page once, with the first figure; no other script, font or image is fetched.
Each figure comes with its finding as a heading, a paragraph and a table. A section whose part of the record
is missing or empty is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.io import to_html

from ra3_lab.explore import figures, findings
from ra3_lab.explore.findings import ARMS, MISSING, arm_label, is_number, number, percent
from ra3_lab.explore.markup import data_table, interval_drawing, millions, plain, section
from ra3_lab.explore.programs import GLOSS, annotated_program, gain_bounds
from ra3_lab.explore.stage import rlvr_section

SCHEMA_VERSION = 1
PAPER = "Learning to Reason as Action Abstractions with Scalable Mid-Training RL, arXiv 2509.25810, ICLR 2026"
IDEA = (
    "RA3 mid-trains a language model on expert code, between pre-training and reinforcement learning, and "
    "treats the reasoning in "
    "front of each line as a latent variable.",
    "In the E-step, reinforcement learning trains a policy to write a short comment only where it raises "
    "the likelihood of the "
    "expert's following lines by more than its price c.",
    "In the M-step, the model is fine-tuned by next-token prediction on the expert's code with those "
    "comments written in; both once, or in "
    "turn over several rounds.",
)
GLOSSARY = {
    "latent": "what is decided before a line: keep going, or a thought",
    "thought": "one comment line written before a line of code; the expert did not write it",
    "keep / act": "go on under the current thought and write the next line",
    "E-step": "reinforcement learning of the latents, model fixed",
    "M-step": "fine-tuning of the model, latents fixed",
    "c": "price of a thought in nats; a thought pays when the lines after it gain more",
}
_AXES_SCRIPT = """<script>
for (const plot of document.querySelectorAll('.plotly-graph-div')) {
  // A viewBox lets the printed page scale the drawing.
  const fit = () => plot.querySelectorAll('.main-svg').forEach(svg =>
    svg.setAttribute('viewBox', `0 0 ${svg.getAttribute('width')} ${svg.getAttribute('height')}`));
  fit();
  plot.on('plotly_afterplot', fit);
}
</script>"""


def write_report(path: Path, record: dict[str, Any]) -> None:
    """Write the page for this record, making the folder if need be. ValueError for a newer record."""
    page = render_report(record)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def render_report(record: Mapping[str, Any]) -> str:
    """The page as text; same record, same text."""
    _check_schema(record)
    title = escape(str(record.get("title") or "RA3 run"))
    css = (files("ra3_lab.explore") / "report.css").read_text(encoding="utf-8")
    sections = (
        _about(),
        _arms(record),
        _thoughts(record),
        _curves(record),
        _programs(record),
        rlvr_section(record.get("rlvr_runs"), plotlyjs=_first_figure(record) is None),
        _reproduce(record),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" '
        'href="data:,">\n'
        f"<title>{title}</title>\n<style>\n{css}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{title}</h1>\n{_meta(record)}\n<p "
        f'class="headline">{escape(findings.headline(record))}</p>\n</header>\n'
        "<main>\n" + "\n".join(filter(None, sections)) + "\n</main>\n"
        f"<footer><p>Method: {escape(PAPER)}. Written by "
        f"ra3_lab.</p></footer>\n{_AXES_SCRIPT}\n</body>\n</html>\n"
    )


def _check_schema(record: Mapping[str, Any]) -> None:
    for name, part in (("record", record), ("record's summary", record.get("summary") or record)):
        version = part.get("schema_version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise ValueError(
                f"the {name} has schema_version {version!r}; a whole number from 1 to {SCHEMA_VERSION} is needed."
            )
        if version > SCHEMA_VERSION:
            raise ValueError(
                f"the {name} has schema_version {version}, this ra3_lab reads up to {SCHEMA_VERSION}: update ra3_lab."
            )


def _meta(record: Mapping[str, Any]) -> str:
    parts = []
    if is_number(record.get("seconds")):
        parts.append(f"{number(record['seconds'] / 60, 1)} minutes")
    if record.get("seed") is not None:
        parts.append(f"seed {escape(str(record['seed']))}")
    return f'<p class="meta">One run: {", ".join(parts)}.</p>' if parts else ""


def _about() -> str:
    terms = "".join(f"<dt>{term}</dt><dd>{escape(gloss)}</dd>" for term, gloss in GLOSSARY.items())
    return section("about", "What RA3 is", f"<p>{escape(' '.join(IDEA))}</p>\n<dl>{terms}</dl>")


def _arms(record: Mapping[str, Any]) -> str:
    arms = findings.arms_of(record)
    if not arms:
        return ""
    rows = []
    for arm, row in arms.items():
        drawn = interval = MISSING
        known: list[Any] = [value for value in (row.get("pass@1"), *(row.get("ci95") or ())) if is_number(value)]
        if len(known) == 3:
            mean, low, high = known
            interval = f"{number(100 * low, 1)} to {number(100 * high, 1)}"
            drawn = interval_drawing((mean, low, high), (0.0, 1.0), f"{percent(mean)}, interval {interval}")
        name = f"{escape(arm_label(arm))}<small>{ARMS[arm][1] if arm in ARMS else ''}</small>"
        rows.append(
            (
                name,
                percent(row.get("pass@1")),
                drawn,
                interval,
                percent(row.get("pass@4")),
                number(row.get("thoughts_per_program"), 1),
                number(row.get("updates"), 0),
                millions(row.get("tokens")),
                number(row.get("seconds"), 0),
            )
        )
    columns = (
        "arm",
        "pass@1",
        "0 to 100&nbsp;%",
        "95&nbsp;% interval",
        "pass@4",
        "thoughts per program",
        "updates",
        "tokens (millions)",
        "seconds",
    )
    body = "<p>pass@k: chance that at least one of k sampled programs passes all tests of a held-out task.</p>"
    body += data_table("The arms: success on held-out tasks, and what each cost", columns, rows, words=(2,))
    return section("arms", "The arms", body + _differences(record) + _figure(record, "lengths", "pass@1 by length"))


def _differences(record: Mapping[str, Any]) -> str:
    known = [r for r in record.get("differences") or [] if all(is_number(r.get(k)) for k in ("mean", "low", "high"))]
    if not known:
        return ""
    left, right = min(0.0, *(r["low"] for r in known)), max(0.0, *(r["high"] for r in known))
    rows = []
    for row in known:
        mean, low, high = row["mean"], row["low"], row["high"]
        said = f"{number(100 * low, 1, sign=True)} to {number(100 * high, 1, sign=True)}"
        open_ = findings.includes_zero(low, high)
        verdict = (
            '<span class="open">≈ includes 0: not established</span>'
            if open_
            else (f'<span class="clear">✓ {escape(arm_label(row["a"] if low > 0 else row["b"]))} is better</span>')
        )
        points = number(100 * mean, 1, sign=True)
        drawn = interval_drawing((mean, low, high), (left, right), f"{points} points, interval {said}")
        rows.append((f"{escape(arm_label(row['a']))} − {escape(arm_label(row['b']))}", points, drawn, said, verdict))
    columns = ("difference", "points", "dashed line: 0", "95&nbsp;% interval", "reading")
    return data_table("Paired differences in pass@1, in percentage points", columns, rows, words=(2, 4))


def _thoughts(record: Mapping[str, Any]) -> str:
    """Segmentation scores, where there is a truth."""
    found = {arm: row for arm, row in (record.get("segmentation") or {}).items() if row}
    if not found:
        return ""
    names = {
        "precision": ("precision", percent),
        "recall": ("recall", percent),
        "f1": ("F1", number),
        "random_f1": ("F1 of random placement", number),
        "think_share": ("lines with a thought", percent),
        "apt": ("apt thoughts", percent),
        "apt_at_starts": ("apt, of those at a start", percent),
        "nmi": ("NMI with the true skill", number),
        "nmi_shuffled": ("NMI when shuffled", number),
        "duration": ("lines per thought", number),
        "tokens_per_thought": ("tokens per thought", number),
    }
    arms = findings.in_order(found)
    rows = [
        (label, *(show(found[arm].get(key)) for arm in arms))
        for key, (label, show) in names.items()
        if any(is_number(found[arm].get(key)) for arm in arms)
    ]
    if not rows:
        return ""
    body = (
        "<p>Thoughts on held-out expert programs against the true segments. A hit is the exact line at "
        "which a step starts; a "
        "program's first line is not counted. Apt: at a step's start and in its true words.</p>"
    )
    f1 = {arm: found[arm]["f1"] for arm in arms if is_number(found[arm].get("f1"))}
    if len(f1) > 1:
        told = [f"{number(value)} for {escape(arm_label(arm))}" for arm, value in f1.items()]
        body += f"<p>F1 of segment starts is {findings.join(told)}"
        chance = found.get("ra3", {}).get("random_f1")
        body += (
            f"; thoughts placed at random, as many as RA3's, would earn {number(chance)}.</p>"
            if is_number(chance)
            else ".</p>"
        )
    return section(
        "thoughts",
        "Where the thoughts stand",
        body + data_table("Thoughts against the truth", ("measure", *map(escape, map(arm_label, arms))), rows),
    )


def _curves(record: Mapping[str, Any]) -> str:
    names = {"estep": "E-step curves", "mstep": "M-step loss", "validation": "Validation score"}
    drawn = "".join(_figure(record, name, label) for name, label in names.items())
    return section("curves", "Learning curves", drawn) if drawn else ""


def _first_figure(record: Mapping[str, Any]) -> str | None:
    """Which of this module's figures is the page's first; None where there is none."""
    names = ("lengths", "estep", "mstep", "validation")
    return next((name for name in names if getattr(findings, f"describe_{name}")(record)), None)


def _figure(record: Mapping[str, Any], name: str, label: str) -> str:
    """A figure with its finding, paragraph and table; plotly.js comes with the first figure of the page."""
    twin = getattr(findings, f"describe_{name}")(record)
    figure: go.Figure | None = getattr(figures, f"figure_{name}")(record)
    if twin is None or figure is None:
        return ""
    figure.update_layout(title=None)  # the heading says it, and wraps
    config = {"displayModeBar": False, "displaylogo": False, "responsive": True}
    drawing = to_html(
        figure,
        config=config,
        include_plotlyjs=name == _first_figure(record),
        full_html=False,
        div_id=f"plot-{name}",
        default_height="auto",
    )
    table = data_table(
        f"{label}, as numbers",
        list(map(escape, twin.columns)),
        [tuple(map(escape, row)) for row in twin.rows],
    )
    return (
        f'<figure id="figure-{name}" aria-labelledby="{name}-finding" aria-describedby="{name}-text">\n'
        f'<figcaption><h3 id="{name}-finding">{escape(twin.title)}</h3>\n<p '
        f'id="{name}-text">{escape(twin.text)}</p></figcaption>\n'
        f'<div class="plot" role="img" aria-label="{escape(label)}: {escape(twin.title)}">{drawing}</div>\n'
        "<noscript><p>Drawing this figure needs JavaScript; the table has its numbers.</p></noscript>\n"
        f"<details><summary>{escape(label)} as a table</summary>{table}</details>\n</figure>\n"
    )


def _programs(record: Mapping[str, Any]) -> str:
    examples = [example for example in record.get("examples") or [] if example.get("lines")]
    if not examples:
        return ""
    body = (
        "<p>Expert programs with the thoughts that RA3 wrote into them. <em>Bought</em> is how many nats "
        "the thought raised the "
        "log-likelihood of the lines from it to the next thought; bars share one scale, hatched bars to the "
        "left are losses.</p>"
    )
    if any(example.get("truth") for example in examples):
        marks = "".join(
            f'<li class="{name}">{symbol} {words.rstrip(":")}</li>' for name, (symbol, words) in GLOSS.items()
        )
        body += f'<ul class="legend" aria-label="Marks">{marks}</ul>'
    bounds = gain_bounds(examples)
    body += "\n".join(annotated_program(example, bounds) for example in examples)
    return section("programs", "Annotated programs", body)


def _reproduce(record: Mapping[str, Any]) -> str:
    body = ""
    if record.get("command"):
        body += f"<pre><code>{escape(str(record['command']))}</code></pre>"
    told = []
    if record.get("seed") is not None:
        told.append(f"Seed {escape(str(record['seed']))}")
    if is_number(record.get("seconds")):
        told.append(f"{number(record['seconds'] / 60, 1)} minutes on the machine that wrote this")
    body += f"<p>{'; '.join(told)}.</p>" if told else ""
    tables = []
    for key, label, heads in (
        ("budget", "Budget", ("setting", "value")),
        ("versions", "Versions", ("package", "version")),
    ):
        rows = [(escape(str(name)), escape(plain(value))) for name, value in (record.get(key) or {}).items()]
        tables += [data_table(label, heads, rows)] if rows else []
    body += f'<div class="pair">{"".join(tables)}</div>' if tables else ""
    return section("reproduce", "How to reproduce", body) if body else ""
