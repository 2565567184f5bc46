"""The counterfactual editor's drawing: a comparison of thoughts (`variants`) as view."""

from __future__ import annotations

from html import escape

import plotly.graph_objects as go

from ra3_lab.explore.figures import dress
from ra3_lab.explore.findings import Twin, number
from ra3_lab.explore.variants import Comparison
from ra3_lab.explore.view import View

GLOSSES = {
    "as it is": "the program as it stands",
    "no thought": "the thought deleted",
    "true": "the step that really starts here",
    "swapped": "control: the thought that stands next in the program",
    "random": "control: a thought of another program",
    "shuffled": "control: the same words in another order",
    "filler": "control: dots of the same length",
    "yours": "the thought you typed",
}
"""Variant -> what it is."""
CONTROLS = ("swapped", "random", "shuffled", "filler")
"""Variants that a thought is compared with; grey and hatched in the figure."""


def draw_comparison(comparison: Comparison) -> View:
    """What each thought before the line is worth to the lines it governs, against no thought there."""
    (begin, end), marker = comparison.window, comparison.trace.marker
    changes = {v.name: comparison.change(v) for v in comparison.variants}
    told = [v for v in comparison.variants if v.name != "no thought"]
    best = max(told, key=lambda v: changes[v.name])
    governed = f"line {begin + 1}" if end == begin + 1 else f"lines {begin + 1} to {end}"
    title = (
        f"Best for {governed}: {best.name} ({said_thought(best.thought, marker)}), "
        f"{number(changes[best.name], 2, sign=True)} nats against no thought"
        if changes[best.name] > 0
        else f"No thought tried here makes {governed} likelier than no thought"
    )
    text = f"Log-likelihood of {governed}, against the same program with no thought before line {begin + 1}: "
    text += "; ".join(f"{v.name} {number(changes[v.name], 2, sign=True)}" for v in told) + " nats. "
    doubts = [name for name in CONTROLS if name in changes and changes[name] > 0]
    yours = changes.get("yours", changes.get("as it is", 0.0))
    if yours > 0 and doubts:
        text += (
            f"Controls that help too ({', '.join(doubts)}) show how much of it is not owed to what the thought says."
        )
    rows = tuple(
        (
            v.name,
            GLOSSES.get(v.name, ""),
            said_thought(v.thought, marker),
            number(sum(v.logp[begin:end]), 2),
            number(changes[v.name], 2, sign=True),
            number(sum(v.logp), 2),
        )
        for v in comparison.variants
    )
    columns = (
        "variant",
        "what it is",
        "thought",
        f"log-likelihood of {governed}",
        "against no thought",
        "whole program",
    )
    code = "".join(comparison.trace.lines[begin:end]).rstrip()
    body = f'<pre aria-label="The governed lines">{escape(code)}</pre>'
    return View(Twin(title, text.strip(), columns, rows), body, figure_comparison(comparison), (1, 2))


def figure_comparison(comparison: Comparison) -> go.Figure:
    """A bar a variant: nats against no thought; controls are hatched."""
    told = [v for v in comparison.variants if v.name != "no thought"][::-1]
    values = [comparison.change(v) for v in told]
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.14 * (high - low or 1.0)  # for the numbers at the bars' ends
    figure = go.Figure(
        go.Bar(
            x=values,
            y=[f"{v.name} " for v in told],
            orientation="h",
            marker={
                "color": ["#767676" if v.name in CONTROLS else "#0072B2" for v in told],
                "pattern": {"shape": ["/" if v.name in CONTROLS else "" for v in told], "fillmode": "replace"},
                "line": {"width": 1, "color": ["#767676" if v.name in CONTROLS else "#0072B2" for v in told]},
            },
            text=[number(value, 2, sign=True) for value in values],
            textposition="outside",
            cliponaxis=False,
            customdata=[escape(said_thought(v.thought, comparison.trace.marker)) for v in told],
            hovertemplate="%{customdata}: %{x:.2f} nats<extra></extra>",
            showlegend=False,
        )
    )
    figure.update_xaxes(
        title="nats gained by the governed lines against no thought",
        range=[low - (room if low < 0 else 0.0), high + room],
        zeroline=True,
        zerolinecolor="#767676",
    )
    figure = dress(figure, "", 120 + 34 * len(told))
    figure.update_layout(hovermode="closest", showlegend=False)
    return figure


def said_thought(thought: str | None, marker: str) -> str:
    """A thought as it stands in the program, or words for none."""
    return "no thought" if thought is None else f"{marker}{thought}"
