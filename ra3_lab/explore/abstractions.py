"""The abstraction map: all thoughts of a look, put together by what they ask for.

Two thoughts are of one kind if they are equal once labels and numbers are left out: " d keep the first 4" and " k
keep the first 7" are both "keep the first N". That is a rule, not a learned clustering: it is exact, stable from
look to look, and a reader can check it. Thoughts in free prose fall into many kinds of one; joining those is not
done here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import plotly.graph_objects as go

from ra3_lab.explore.explorer import Control, Explorer
from ra3_lab.explore.figures import dress
from ra3_lab.explore.findings import Twin, join, number, percent
from ra3_lab.explore.knobs import NO_LOOKS
from ra3_lab.explore.markup import data_table
from ra3_lab.explore.timeline import reading
from ra3_lab.explore.view import View

MOST_KINDS = 16  # kinds that a map shows; the rest are counted together in the text


@dataclass(frozen=True)
class Occurrence:
    """One thought in one program."""

    program: str
    """Which program."""
    line: int
    """Line before which it stands, counted from 0."""
    thought: str
    """Its text after the '#'."""
    gain: float
    """Nats it bought for the lines it governs."""
    duration: int
    """tau: lines up to the next thought or the end."""
    code: tuple[str, ...]
    """Those lines."""
    skill: str
    """True step of its line; '' where nobody knows."""


def kind_of(thought: str) -> str:
    """What a thought asks for, labels and numbers left out.

    >>> kind_of(" d keep the first 4"), kind_of(" k keep the first 7"), kind_of(" see above")
    ('keep the first N', 'keep the first N', 'see above')
    """
    words = thought.split()
    if len(words) > 1 and re.fullmatch(r"[a-z][.):]?", words[0]):
        words = words[1:]
    return re.sub(r"-?\d+", "N", " ".join(words)) or "(empty)"


def occurrences(record: Mapping[str, Any], look: int) -> list[Occurrence]:
    """All thoughts of a look, in order."""
    found = []
    for fixed, seen in zip(record["programs"], record["looks"][look]["programs"], strict=True):
        places = sorted(map(int, seen["latents"]))
        for line, end in zip(places, [*places, len(fixed["lines"])][1:], strict=True):
            step = max((i for i, start in enumerate(fixed["starts"]) if start <= line), default=None)
            found.append(
                Occurrence(
                    fixed["task_id"],
                    line,
                    seen["latents"][str(line)],
                    seen["gains"][str(line)],
                    end - line,
                    tuple(fixed["lines"][line:end]),
                    "" if step is None else fixed["skills"][step],
                )
            )
    return found


def kinds(found: Sequence[Occurrence]) -> dict[str, list[Occurrence]]:
    """Occurrences by kind, the most frequent first."""
    grouped: dict[str, list[Occurrence]] = {}
    for one in found:
        grouped.setdefault(kind_of(one.thought), []).append(one)
    return dict(sorted(grouped.items(), key=lambda item: (-len(item[1]), item[0])))


def abstraction_map(record: Mapping[str, Any]) -> Explorer:
    """The explorer of a recorded run. Raises ValueError for a record without looks."""
    looks = record.get("looks") or []
    if not looks:
        raise ValueError(NO_LOOKS)
    names = tuple(dict.fromkeys(name for look in range(len(looks)) for name in kinds(occurrences(record, look))))
    first = next(iter(kinds(occurrences(record, len(looks) - 1))), names[0] if names else "")
    return Explorer(
        "map",
        "Abstraction map",
        "Each kind of thought, by how many lines it lasts and what it buys; the larger the mark, the more often it "
        "occurs. "
        "Move through training to see kinds come and go; click a kind in the table for examples.",
        (
            Control("look", "Training", tuple(range(len(looks))), len(looks) - 1, "slider", tuple(map(reading, looks))),
            Control("kind", "Kind", names or ("",), first, "click", redraws=False),
        ),
        lambda look, kind: draw_map(record, look, kind),
    )


def draw_map(record: Mapping[str, Any], look: int, kind: str) -> View:
    """The kinds of one look; `kind` is the one whose examples are open."""
    found = occurrences(record, look)
    grouped = kinds(found)
    before = kinds(occurrences(record, 0))
    shown = dict(list(grouped.items())[:MOST_KINDS])
    title = (
        f"{len(found)} thoughts of {len(grouped)} kinds, {reading(record['looks'][look])}"
        if found
        else f"No thoughts at all, {reading(record['looks'][look])}"
    )
    new = [name for name in grouped if name not in before]
    gone = [name for name in before if name not in grouped]
    text = "" if found else "No line of the watched programs has a thought at this look. "
    if found:
        top = next(iter(grouped))
        tau = sum(one.duration for one in found) / len(found)
        text = (
            f"The most frequent is “{top}” ({len(grouped[top])}). A thought lasts {number(tau, 1)} lines in the mean "
            f"and buys "
            f"{number(sum(one.gain for one in found) / len(found))} nats. "
        )
    if look and new:
        text += f"New since the first look: {join(new[:4])}{' and more' if len(new) > 4 else ''}. "
    if look and gone:
        text += f"Gone since: {join(gone[:4])}{' and more' if len(gone) > 4 else ''}. "
    if len(grouped) > MOST_KINDS:
        text += f"The table has the {MOST_KINDS} most frequent kinds, the figure all."
    rows = tuple(_row(name, ones, len(before.get(name, ()))) for name, ones in shown.items())
    columns = ("kind of thought", "count", "at first look", "tau (lines)", "bought (nats)", "true step", "next line")
    body = _buttons(shown, before, kind, columns) + "".join(
        _examples(name, ones, name == kind) for name, ones in shown.items()
    )
    return View(Twin(title, text.strip(), columns, rows), body, figure_map(grouped), (5, 6))


def _row(name: str, ones: Sequence[Occurrence], before: int) -> tuple[str, ...]:
    skills = Counter(one.skill for one in ones if one.skill)
    skill = ""
    if skills:
        best, count = skills.most_common(1)[0]
        skill = best if count == len(ones) else f"{best} ({percent(count / len(ones), 0)})"
    follows = Counter(one.code[0].strip() for one in ones if one.code).most_common(1)
    return (
        name,
        str(len(ones)),
        str(before),
        number(sum(one.duration for one in ones) / len(ones), 1),
        number(sum(one.gain for one in ones) / len(ones), 2, sign=True),
        skill,
        follows[0][0] if follows else "",
    )


def figure_map(grouped: Mapping[str, Sequence[Occurrence]]) -> go.Figure:
    """Kinds as marks: duration across, nats bought up, size by count."""
    names = list(grouped)
    tau = [sum(one.duration for one in grouped[name]) / len(grouped[name]) for name in names]
    gain = [sum(one.gain for one in grouped[name]) / len(grouped[name]) for name in names]
    count = [len(grouped[name]) for name in names]
    figure = go.Figure()
    for label, wins, color, symbol in (("gains", True, "#0072B2", "circle"), ("loses", False, "#D55E00", "x")):
        kept = [i for i, value in enumerate(gain) if (value > 0) == wins]
        figure.add_trace(
            go.Scatter(
                x=[tau[i] for i in kept],
                y=[gain[i] for i in kept],
                mode="markers",
                name=label,
                marker={
                    "size": [8 + 6 * count[i] ** 0.5 for i in kept],
                    "color": color,
                    "symbol": symbol,
                    "opacity": 0.75,
                },
                text=[f"{escape(names[i])}: {count[i]}" for i in kept],
                hovertemplate="%{text}<br>%{x:.1f} lines, %{y:.2f} nats<extra></extra>",
            )
        )
    figure.update_xaxes(title="tau: lines that a thought lasts, mean", rangemode="tozero")
    figure.update_yaxes(title="nats bought, mean")
    dress(figure, "", 380).update_layout(hovermode="closest", legend={"itemsizing": "constant"})
    return figure


def _buttons(
    shown: Mapping[str, Sequence[Occurrence]],
    before: Mapping[str, Sequence[Occurrence]],
    kind: str,
    columns: tuple[str, ...],
) -> str:
    """The table of kinds, the name of each a button."""
    rows = []
    for name, ones in shown.items():
        cells = _row(name, ones, len(before.get(name, ())))
        button = (
            f'<button type="button" class="pick name" data-set="kind={escape(name)}" '
            f'aria-pressed="{str(name == kind).lower()}">{escape(name)}</button>'
        )
        rows.append((button, *map(escape, cells[1:6]), f"<code>{escape(cells[6])}</code>"))
    return data_table("Kinds of thoughts", columns, rows, (5, 6)) if rows else ""


def _examples(name: str, ones: Sequence[Occurrence], shown: bool) -> str:
    """Up to three occurrences of a kind with their code."""
    told = "".join(
        f"<p>{escape(one.program)}, before line {one.line + 1}, {number(one.gain, 2, sign=True)} nats:</p>"
        f"<pre>#{escape(one.thought)}\n{escape(''.join(one.code).rstrip())}</pre>"
        for one in ones[:3]
    )
    return (
        f'<div class="detail" data-when="kind={escape(name)}"{"" if shown else " hidden"}>'
        f"<p><strong>{escape(name)}</strong>, {len(ones)} times; examples:</p>{told}</div>"
    )
