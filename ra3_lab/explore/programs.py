"""Annotated programs as HTML: the lines, their thoughts, what each bought and whether it is the true step.

A mark is always a symbol and words, colour only repeats it. Thought and truth agree when they are equal up
to blanks at the ends. Without a truth (real code) the truth column is left out. Everything from a program
is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ra3_lab.explore.findings import MISSING, is_number, number

GLOSS = {
    "hit": ("✓", "true step"),
    "other": ("≠", "another step starts here:"),
    "inside": ("○", "no step starts here"),
    "missed": ("–", "step without a thought:"),
}
"""Mark -> (symbol, words)."""


def annotated_program(example: Mapping[str, Any], bounds: tuple[float, float]) -> str:
    """One example, which needs `lines`, as a table; `bounds` are the ends of the bars' scale in nats."""
    lines: Sequence[str] = example["lines"]
    latents, gains = _padded(example, "latents", len(lines)), _padded(example, "gains", len(lines))
    truth = dict(zip(example.get("starts") or [], example.get("truth") or [], strict=False))
    marker = escape(str(example.get("marker", "#")))
    rows, marks = [], []
    for t, line in enumerate(lines):
        mark = mark_of(latents[t], truth, t)
        marks.append(mark)
        if latents[t] is not None:
            gain = gains[t]
            rows.append(
                f'<tr class="thought"><td></td><td class="code"><code>{marker}{escape(latents[t])}</code></td>'
                f'<td class="gain">{gain_bar(gain, bounds)}</td>{truth_cell(mark, truth, t)}</tr>'
            )
        elif mark == "missed":
            rows.append(f"<tr><td></td><td></td><td></td>{truth_cell(mark, truth, t)}</tr>")
        rows.append(
            f'<tr><th scope="row">{t + 1}</th><td '
            f'class="code"><code>{escape(line.rstrip(chr(10)))}</code></td>'
            f"<td></td>{'<td></td>' if truth else ''}</tr>"
        )
    head = '<th scope="col">Line</th><th scope="col">Code and thoughts</th><th scope="col">Bought (nats)</th>'
    head += '<th scope="col">True step?</th>' if truth else ""
    name = escape(str(example.get("task_id") or "program"))
    widths = "<col class=no><col><col class=bought>" + ("<col class=true>" if truth else "")
    return (
        f'<article class="program"><h3>{name}</h3><p>{_summary(latents, gains, marks, len(truth))}</p>'
        f'<pre class="prompt" aria-label="Prompt of '
        f'{name}">{escape(str(example.get("prompt") or "").rstrip())}</pre>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Annotated lines of {name}"><table '
        f'class="lines">'
        f'<caption class="unseen">Lines of '
        f"{name}</caption><colgroup>{widths}</colgroup><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></article>"
    )


def gain_bounds(examples: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Least and largest gain of all examples, 0 always between them: one scale for all bars."""
    gains = [gain for e in examples for gain in e.get("gains") or [] if is_number(gain)]
    return min(0.0, *gains, 0.0), max(0.0, *gains, 0.0)


def _padded(example: Mapping[str, Any], key: str, length: int) -> list[Any]:
    values = list(example.get(key) or [])[:length]
    return values + [None] * (length - len(values))


def mark_of(thought: str | None, truth: Mapping[int, str], t: int) -> str:
    """Key of GLOSS, or '' where there is nothing to say."""
    if not truth or (thought is None and t not in truth):
        return ""
    if thought is None:
        return "missed"
    if t not in truth:
        return "inside"
    return "hit" if thought.strip() == truth[t].strip() else "other"


def truth_cell(mark: str, truth: Mapping[int, str], t: int) -> str:
    if not truth:
        return ""
    symbol, words = GLOSS[mark]
    told = f" <code>{escape(truth[t].strip())}</code>" if mark in ("other", "missed") else ""
    return f'<td class="mark {mark}"><span aria-hidden="true">{symbol}</span> {words}{told}</td>'


def gain_bar(gain: Any, bounds: tuple[float, float]) -> str:
    """A bar from the zero mark, rightwards for nats gained, leftwards for nats lost, and the number."""
    if not is_number(gain):
        return MISSING
    scale = 100 / max(bounds[1] - bounds[0], 1e-9)
    zero, width = -scale * bounds[0], scale * abs(gain)
    told = number(gain, 1, sign=True)
    kind, left = ("loss", zero - width) if gain < 0 else ("win", zero)
    fill = f'<span class="{kind}" style="left:{left:.1f}%;width:{width:.1f}%"></span>' if told != "0.0" else ""
    return (
        f'<span class="bar" aria-hidden="true">{fill}<span class="zero" '
        f'style="left:{zero:.1f}%"></span></span>'
        f'<span class="nats">{told}</span>'
    )


def _summary(latents: Sequence[str | None], gains: Sequence[Any], marks: Sequence[str], steps: int) -> str:
    """What the table shows, in a sentence or two."""
    thoughts = sum(latent is not None for latent in latents)
    told = f"{thoughts} thought{'s' * (thoughts != 1)} before {len(latents)} lines"
    known = [gain for gain in gains if is_number(gain)]
    if known:
        paid = sum(gain > 0 for gain in known)
        told += f", {number(sum(known), 1, sign=True)} nats bought in all; "
        told += f"{paid} of {len(known)} raised the likelihood"
    if steps:
        told += f". Of {steps} true steps, {marks.count('hit')} are announced in the true words"
        told += f", {marks.count('other')} in other words and {marks.count('missed')} not at all"
        inside = marks.count("inside")
        told += f"; {inside} thought{' stands' if inside == 1 else 's stand'} inside a step"
    return told + "."
