"""The report's section on the RLVR stage: how the reward rises from each start.

`rlvr_section` takes the records that `rlvr.stage.rlvr_stage` returns. An update's reward is that of one small batch of
tasks, so the figure shows single updates as dots and their running mean as a line; the finding is about validation,
where every start answers the same tasks, or where there is none about the first and the last third of the updates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.io import to_html

from ra3_lab.explore.figures import dress, styles
from ra3_lab.explore.findings import MISSING, Twin, arm_label, number, percent
from ra3_lab.explore.markup import data_table, section

WINDOW = 3
"""Updates in the running mean."""


def running_mean(values: Sequence[float], window: int = WINDOW) -> list[float]:
    """Mean over the last `window` values, as many as there are at the start.

    >>> running_mean([1.0, 3.0, 5.0, 7.0], 2)
    [1.0, 2.0, 4.0, 6.0]
    """
    return [sum(values[max(0, i + 1 - window) : i + 1]) / min(window, i + 1) for i in range(len(values))]


def _thirds(run: Mapping[str, Any]) -> tuple[float, float]:
    """Mean reward of the first and of the last third of a run's updates."""
    rewards = [row["reward"] for row in run["curve"]]
    size = max(1, len(rewards) // 3)
    return sum(rewards[:size]) / size, sum(rewards[-size:]) / size


def describe_rlvr(runs: Sequence[Mapping[str, Any]]) -> Twin | None:
    """The stage told without the figure; None where there was no update."""
    runs = [run for run in runs if run.get("curve")]
    if not runs:
        return None
    looked = all(len(run["validation"]) > 1 for run in runs)
    rows, ends = [], []
    for run in runs:
        first, last = _thirds(run)
        looks = [score for _, score in run["validation"]]
        before, after = (looks[0], looks[-1]) if looked else (first, last)
        ends.append((after, arm_label(run["label"]), before))
        row = (arm_label(run["label"]), percent(first), percent(last))
        row += (percent(looks[0]), percent(looks[-1])) if looks else (MISSING, MISSING)
        rows.append((*row, str(len(run["curve"])), number(run["seconds"]["training"], 0)))
    ends.sort(key=lambda end: -end[0])
    what = "pass@1 on validation" if looked else "mean reward"
    best, name, before = ends[0]
    verb = "raises" if best > before else "does not raise"
    counts = [len(run["curve"]) for run in runs]
    fewest, most = min(counts), max(counts)
    updates = f"{most} update{'s' * (most != 1)}" if fewest == most else f"{fewest} to {most} updates"
    title = f"{updates} of RLVR: {name} ends at {percent(best)} {what}"
    if len(ends) > 1:
        title += f", {ends[1][1]} at {percent(ends[1][0])}"
    config = runs[0]["config"]
    text = (
        f"Every start is trained by GRPO on the same tasks with the same draws: {config['prompts']} tasks an update, "
        f"{config['group']} answers each, 1 for an answer that passes all tests. From {name} it {verb} the "
        f"{what} ({percent(before)} before). One seed and few updates: a look at the stage, not a result."
    )
    columns = ("start", "reward, first third", "last third", "validation before", "after", "updates", "seconds")
    return Twin(title, text, columns, tuple(rows))


def figure_rlvr(runs: Sequence[Mapping[str, Any]]) -> go.Figure | None:
    """Reward against updates: dots for single updates, a line for the running mean; None where there was none."""
    twin = describe_rlvr(runs)
    if twin is None:
        return None
    figure, look = go.Figure(), styles(run["label"] for run in runs)
    for run in runs:
        if not run.get("curve"):
            continue
        color, marker, dash = look[run["label"]]
        x = [row["update"] + 1 for row in run["curve"]]
        rewards = [100 * row["reward"] for row in run["curve"]]
        label = escape(arm_label(run["label"]))
        figure.add_trace(
            go.Scatter(
                x=x,
                y=rewards,
                mode="markers",
                marker={"symbol": marker, "size": 6, "color": color, "opacity": 0.45},
                hoverinfo="skip",
                showlegend=False,
            )
        )
        figure.add_trace(
            go.Scatter(
                x=x,
                y=running_mean(rewards),
                mode="lines",
                name=label,
                hovertemplate="%{y:.1f} %",
                line={"color": color, "dash": dash, "width": 2.5},
            )
        )
    figure.update_xaxes(title="RLVR updates")
    figure.update_yaxes(title="answers that pass (%)", rangemode="tozero")
    return dress(figure, twin.title, 380)


def rlvr_section(runs: Sequence[Mapping[str, Any]] | None, plotlyjs: bool = True) -> str:
    """The section as HTML, "" without runs; `plotlyjs` writes the drawing library in, for a page's first figure."""
    twin, figure = describe_rlvr(runs or ()), figure_rlvr(runs or ())
    if twin is None or figure is None:
        return ""
    figure.update_layout(title=None)  # the heading says it, and wraps
    drawing = to_html(
        figure,
        config={"displayModeBar": False, "displaylogo": False, "responsive": True},
        include_plotlyjs=plotlyjs,
        full_html=False,
        div_id="plot-rlvr",
        default_height="auto",
    )
    table = data_table("Reward in the RLVR stage, as numbers", twin.columns, [tuple(map(escape, r)) for r in twin.rows])
    body = (
        '<figure id="figure-rlvr" aria-labelledby="rlvr-finding" aria-describedby="rlvr-text">\n'
        f'<figcaption><h3 id="rlvr-finding">{escape(twin.title)}</h3>\n<p id="rlvr-text">{escape(twin.text)}</p>'
        "</figcaption>\n"
        f'<div class="plot" role="img" aria-label="Reward: {escape(twin.title)}">{drawing}</div>\n'
        "<noscript><p>Drawing this figure needs JavaScript; the table has its numbers.</p></noscript>\n"
        f"<details><summary>Reward as a table</summary>{table}</details>\n</figure>"
    )
    return section("rlvr", "Reinforcement learning from tests", body)
