"""The latent timeline: a program line by line, the thoughts before its lines, and what each bought, over a run.

Reads a recorded run (`recording.record_em`). Scrub over the looks (E-step updates and EM rounds); click a line
number to see what its likelihood owes to the thoughts in force. The marks: *renew* where a thought is written,
*keep* where the line is written under the last one, *none* before the first thought.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from ra3_lab.explore.explorer import Control, Explorer
from ra3_lab.explore.figures import dress
from ra3_lab.explore.findings import Twin, number
from ra3_lab.explore.programs import gain_bar, mark_of, truth_cell
from ra3_lab.explore.view import View

MODES = {"renew": "↻ renew", "keep": "│ keep", "none": "· none"}
"""How a line stands to the thoughts, symbol and word."""
COLUMNS = (
    "line",
    "code",
    "z",
    "thought before it",
    "log-likelihood (nats)",
    "without any thought",
    "bought",
    "true step",
)
"""Heads of the table; the last is left out where nobody knows the truth."""


def latent_timeline(record: Mapping[str, Any]) -> Explorer:
    """The explorer of a recorded run. Raises ValueError for a record without looks."""
    looks, programs = record.get("looks") or [], record.get("programs") or []
    if not looks or not programs:
        raise ValueError(
            'this record holds no looks at programs: make one with `ra3-lab record`, or load_record("em").'
        )
    longest = max(len(program["lines"]) for program in programs)
    sizes = (f"{len(p['truth'])} steps" if p["truth"] else f"{len(p['lines'])} lines" for p in programs)
    names = tuple(f"{p['task_id']} ({size})" for p, size in zip(programs, sizes, strict=True))
    last = looks[-1]["programs"]
    first = max(range(len(programs)), key=lambda i: (bool(last[i]["latents"]), _gain(last[i])))
    return Explorer(
        "timeline",
        "Latent timeline",
        "Choose a program and move through training. Thoughts stand before the line they were written for; the bar "
        "says "
        "how many nats each raised the likelihood of the lines up to the next thought. Click a line number for its "
        "account.",
        (
            Control(
                "program",
                "Program",
                tuple(range(len(programs))),
                first,
                "choice",
                names,
                tuple(range(min(8, len(programs)))),
            ),
            Control("look", "Training", tuple(range(len(looks))), len(looks) - 1, "slider", tuple(map(reading, looks))),
            Control("line", "Line", tuple(range(longest)), 0, "click", redraws=False),
        ),
        lambda program, look, line: draw_timeline(record, program, look, line),
    )


def reading(look: Mapping[str, Any]) -> str:
    """When a look was taken, in words.

    >>> reading({"round": 0, "update": 5})
    'round 1, E-step update 5'
    >>> reading({"round": 0, "update": 36, "after": "em"})
    'after 1 round: the trained model'
    """
    if look.get("after") == "em":
        rounds = look["round"] + 1
        return f"after {rounds} round{'s' * (rounds != 1)}: the trained model"
    return f"round {look['round'] + 1}, E-step update {look['update']}"


def draw_timeline(record: Mapping[str, Any], program: int, look: int, line: int) -> View:
    """One program at one look; `line` is the one whose account is open."""
    fixed, seen = record["programs"][program], record["looks"][look]["programs"][program]
    lines, truth = fixed["lines"], dict(zip(fixed["starts"], fixed["truth"], strict=True))
    latents: list[str | None] = [seen["latents"].get(str(t)) for t in range(len(lines))]
    gains = [seen["gains"].get(str(t)) for t in range(len(lines))]
    marks = [mark_of(latents[t], truth, t) for t in range(len(lines))]
    modes, thought = [], None
    for latent in latents:
        thought = latent if latent is not None else thought
        modes.append("renew" if latent is not None else "none" if thought is None else "keep")
    line = min(line, len(lines) - 1)
    hits, count = marks.count("hit"), len(seen["latents"])
    title = f"{fixed['task_id']}, {reading(record['looks'][look])}: {count} thought{'s' * (count != 1)}"
    if truth:
        title += f", {hits} of {len(truth)} true steps announced in the true words"
    with_, without = sum(seen["logp"]), sum(seen["plain"])
    text = (
        f"The program's {len(lines)} lines have log-likelihood {number(with_)} nats with these thoughts and "
        f"{number(without)} without any: "
        f"{'the thoughts together bought' if with_ >= without else 'the thoughts together lost'} "
        f"{number(abs(with_ - without))} nats. "
    )
    if truth:
        text += f"{marks.count('inside')} stand where no step starts; " if marks.count("inside") else ""
        text += f"{marks.count('missed')} of {len(truth)} true steps have no thought."
    rows = tuple(
        (
            str(t + 1),
            code.strip(),
            modes[t],
            "" if latents[t] is None else f"#{latents[t]}",
            number(seen["logp"][t], 3),
            number(seen["plain"][t], 3),
            "" if gains[t] is None else number(gains[t], 2, sign=True),
            *([truth.get(t, "").strip()] if truth else []),
        )
        for t, code in enumerate(lines)
    )
    bounds = _bounds(record, program)
    body = (
        f'<pre aria-label="Prompt">{escape(fixed["prompt"].rstrip())}</pre>'
        + _table(fixed["task_id"], lines, latents, gains, marks, modes, truth, bounds, line)
        + "".join(_account(t, lines[t], latents, modes, seen, t == line) for t in range(len(lines)))
    )
    columns, words = (COLUMNS, (1, 2, 3, 7)) if truth else (COLUMNS[:-1], (1, 2, 3))
    return View(Twin(title, text, columns, rows), body, figure_program(record, program, look), words)


def figure_program(record: Mapping[str, Any], program: int, look: int) -> go.Figure:
    """Log-likelihood of the program's lines over the looks, with the thoughts of the time and without any."""
    looks = record["looks"]
    x = [_short_reading(one) for one in looks]
    figure = go.Figure()
    for key, name, (color, symbol, dash) in (
        ("logp", "with its thoughts", ("#0072B2", "circle", "solid")),
        ("plain", "without thoughts", ("#D55E00", "square", "dash")),
    ):
        y = [sum(one["programs"][program][key]) for one in looks]
        figure.add_trace(
            go.Scatter(
                x=x,
                y=y,
                name=name,
                mode="lines+markers",
                line={"color": color, "dash": dash, "width": 2.5},
                marker={"symbol": symbol, "size": [13 if i == look else 8 for i in range(len(x))]},
                hovertemplate="%{y:.2f} nats",
            )
        )
    figure.update_xaxes(title="look: round, E-step update", type="category")
    figure.update_yaxes(title="log-likelihood (nats)")
    return dress(figure, "", 300)


def _short_reading(look: Mapping[str, Any]) -> str:
    return "after EM" if look.get("after") == "em" else f"r{look['round'] + 1}, {look['update']}"


def _gain(seen: Mapping[str, Any]) -> float:
    return sum(seen["logp"]) - sum(seen["plain"])


def _bounds(record: Mapping[str, Any], program: int) -> tuple[float, float]:
    """Ends of the bars' scale: the same at every look, so that scrubbing shows growth."""
    gains = [gain for look in record["looks"] for gain in look["programs"][program]["gains"].values()]
    return min(0.0, *gains, 0.0), max(0.0, *gains, 0.0)


def _table(
    name: str,
    lines: Sequence[str],
    latents: Sequence[str | None],
    gains: Sequence[float | None],
    marks: Sequence[str],
    modes: Sequence[str],
    truth: Mapping[int, str],
    bounds: tuple[float, float],
    picked: int,
) -> str:
    rows = []
    for t, line in enumerate(lines):
        if latents[t] is not None:
            rows.append(
                f'<tr class="thought"><td></td><td class="mode">{MODES["renew"]}</td>'
                f'<td class="code"><code>#{escape(latents[t] or "")}</code></td>'
                f'<td class="gain">{gain_bar(gains[t], bounds)}</td>{truth_cell(marks[t], truth, t)}</tr>'
            )
        elif marks[t] == "missed":
            rows.append(f"<tr><td></td><td></td><td></td><td></td>{truth_cell('missed', truth, t)}</tr>")
        pressed = "true" if t == picked else "false"
        mode = "" if modes[t] == "renew" else MODES[modes[t]]
        rows.append(
            f'<tr><td><button type="button" class="pick" data-set="line={t}" aria-pressed="{pressed}" '
            f'aria-label="Line {t + 1}: show its account">{t + 1}</button></td><td class="mode">{mode}</td>'
            f'<td class="code"><code>{escape(line.rstrip(chr(10)))}</code></td><td></td>'
            f"{'<td></td>' if truth else ''}</tr>"
        )
    widths, head = '<col class="no"><col class="mode"><col><col class="bought">', '<th scope="col">Bought (nats)</th>'
    if truth:
        widths, head = widths + '<col class="true">', head + '<th scope="col">True step?</th>'
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Lines and thoughts of {escape(name)}">'
        f'<table class="lines"><caption class="unseen">Lines and thoughts of {escape(name)}</caption>'
        f"<colgroup>{widths}</colgroup><thead><tr>"
        f'<th scope="col">Line</th><th scope="col">z</th><th scope="col">Code and thoughts</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _account(
    t: int, line: str, latents: Sequence[str | None], modes: Sequence[str], seen: Mapping[str, Any], shown: bool
) -> str:
    """What this line's likelihood owes to the thoughts."""
    with_, without = seen["logp"][t], seen["plain"][t]
    at = next((i for i in range(t, -1, -1) if latents[i] is not None), None)
    if at is None:
        z = "No thought has been written yet: z is none."
    elif modes[t] == "renew":
        z = f"A thought was written right before it: <code>#{escape(latents[at] or '')}</code> (renew)."
    else:
        z = f"It is written under the thought before line {at + 1}, <code>#{escape(latents[at] or '')}</code> (keep)."
    return (
        f'<div class="detail" data-when="line={t}"{"" if shown else " hidden"}><p><strong>Line {t + 1}</strong> '
        f"<code>{escape(line.strip())}</code>. {z} Its log-likelihood is {number(with_, 3)} nats with the thoughts so "
        f"far and {number(without, 3)} without any: {number(with_ - without, 3, sign=True)} nats.</p></div>"
    )
