"""The group browser: what a policy answered to one task, what the judge said, and what the update made of each token.

Reads groups as `ra3_lab.rlvr.rollouts` keeps them (`read_rollouts`). A table has the answers with verdict, reason and
advantage; below it stands the chosen answer, its tokens underlined by ratio, KL or surprise: solid for up, dashed for
down, thick where it is at least 60 % of the answer's largest value, thin from 20 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import plotly.graph_objects as go

from ra3_lab.explore.explorer import Control, Explorer
from ra3_lab.explore.figures import dress
from ra3_lab.explore.findings import Twin, number
from ra3_lab.explore.markup import data_table
from ra3_lab.explore.view import View
from ra3_lab.rlvr.rollouts import SeenAnswer, SeenGroup

COLUMNS = ("answer", "verdict", "why", "reward", "advantage", "tokens", "mean ratio", "mean KL (nats)")
ENDINGS = {"end": "ended by itself", "stop": "ended at a stop text", "length": "was cut at the limit of tokens"}
MOST_EXPORTED = 4  # groups on an exported page
FAINT, STRONG = 0.2, 0.6  # of the answer's largest value


@dataclass(frozen=True)
class Measure:
    """A number per token."""

    label: str
    """What the reader chooses."""
    unit: str
    """Axis of the figure."""
    about: str
    """What it says, one sentence."""


MEASURES: Mapping[str, Measure] = {
    "ratio": Measure(
        "change: log ratio",
        "log ratio (nats)",
        "How much the update changed the token's log-probability: solid underline, likelier; dashed, less likely.",
    ),
    "kl": Measure(
        "distance: KL to the start",
        "KL, k3 (nats)",
        "How far the updated policy is from the initial one at the token.",
    ),
    "surprise": Measure(
        "surprise: -log p",
        "-log p before the update (nats)",
        "How unlikely the token was when it was sampled: where the answer could have gone another way.",
    ),
}


def group_browser(groups: Sequence[SeenGroup]) -> Explorer:
    """The explorer of these groups, in their order. Raises ValueError where there are none."""
    if not groups:
        raise ValueError("no groups to show: a run writes some to groups.jsonl where groups_every is above 0.")
    most = max(len(group.answers) for group in groups)
    names = tuple(f"update {group.update}: {group.task_id}" for group in groups)
    measures = tuple(name for name in MEASURES if name != "kl" or _has_kl(groups))
    return Explorer(
        "groups",
        "Group browser",
        "One task, a group of sampled answers, and what the judge said of each. Answers better than the rest of their "
        "group have a positive advantage and are made likelier. Click an answer to see it token by token.",
        (
            Control(
                "group",
                "Group",
                tuple(range(len(groups))),
                0,
                "choice",
                names,
                tuple(range(min(MOST_EXPORTED, len(groups)))),
            ),
            Control(
                "measure", "Per token", measures, "ratio", "choice", tuple(MEASURES[name].label for name in measures)
            ),
            Control("answer", "Answer", tuple(range(most)), 0, "click"),
        ),
        lambda group, measure, answer: draw_answers(groups[group], measure, answer),
    )


def draw_answers(group: SeenGroup, measure: str, picked: int) -> View:
    """One group with one of its answers open; a number past the last answer opens the last."""
    picked = min(picked, len(group.answers) - 1)
    answer = group.answers[picked]
    rewards = [one.reward for one in group.answers if one.reward is not None]
    passed = sum(reward == 1 for reward in rewards)
    title = f"{passed} of {len(group.answers)} answers passed"
    if unjudged := len(group.answers) - len(rewards):
        title += f", {unjudged} got no verdict"
    if not rewards:
        title += ": this group teaches nothing"
    elif len(set(rewards)) < 2:
        title += f": all {'others ' if unjudged else ''}earned the same, so this group teaches nothing"
    elif passed:
        good = [one for one in group.answers if one.advantage > 0]
        title += f": {len(good)} become likelier, {sum(one.advantage < 0 for one in group.answers)} less likely"
    values = token_values(answer, measure)
    at = max(range(len(values)), key=lambda i: abs(values[i]), default=None)
    text = (
        f"Answer {picked + 1} was judged {answer.status.replace('_', ' ')} ({answer.detail or 'no remark'}) and "
        f"{ENDINGS[answer.reason]}; its advantage is {number(answer.advantage, 3, sign=True)}. "
        f"{MEASURES[measure].about}"
    )
    if at is not None:
        text += f" The largest here is {number(values[at], 4)} nats, at token {at + 1}, {_shown(answer.tokens[at])}."
    columns = COLUMNS if _has_kl([group]) else COLUMNS[:-1]
    rows = tuple(_row(i, one)[: len(columns)] for i, one in enumerate(group.answers))
    body = (
        f'<pre aria-label="Prompt">{escape(group.prompt.rstrip())}</pre>{_table(columns, rows, picked)}'
        f'<div class="detail"><p><strong>Answer {picked + 1}</strong>, token by token ({MEASURES[measure].label}):</p>'
        f'<pre class="tokens">{_marked(answer, values)}</pre></div>'
    )
    return View(Twin(title, text, columns, rows), body, figure_tokens(answer, measure), (1, 2), "The answers once more")


def token_values(answer: SeenAnswer, measure: str) -> list[float]:
    """The measure at every token, nats. Raises ValueError for an unknown measure, or KL where the run kept none."""
    if measure == "ratio":
        return [math.log(max(ratio, 1e-9)) for ratio in answer.ratio]
    if measure == "surprise":
        return [-logp for logp in answer.logp]
    if measure == "kl" and answer.kl is not None:
        return list(answer.kl)
    raise ValueError(f"measure={measure!r}: one of {', '.join(MEASURES)}; kl only of a run with an initial policy.")


def figure_tokens(answer: SeenAnswer, measure: str) -> go.Figure:
    """The measure along the answer, a bar a token."""
    values = token_values(answer, measure)
    figure = go.Figure(
        go.Bar(
            x=list(range(1, len(values) + 1)),
            y=values,
            marker={
                "color": ["#0072B2" if value >= 0 else "#D55E00" for value in values],
                "pattern": {"shape": ["" if value >= 0 else "/" for value in values]},
            },
            text=[escape(_shown(token)) for token in answer.tokens],
            textposition="none",
            hovertemplate="token %{x}: %{text}<br>%{y:.4f} nats<extra></extra>",
        )
    )
    figure.update_xaxes(title="token of the answer")
    figure.update_yaxes(title=MEASURES[measure].unit)
    return dress(figure, "", 280).update_layout(showlegend=False, hovermode="closest")


def _has_kl(groups: Sequence[SeenGroup]) -> bool:
    return all(answer.kl is not None for group in groups for answer in group.answers)


def _row(i: int, one: SeenAnswer) -> tuple[str, ...]:
    count = max(1, len(one.tokens))
    return (
        str(i + 1),
        one.status.replace("_", " "),
        one.detail,
        "no verdict" if one.reward is None else number(one.reward, 2),
        number(one.advantage, 3, sign=True),
        str(len(one.tokens)),
        number(sum(one.ratio) / count, 4),
        "" if one.kl is None else number(sum(one.kl) / count, 5),
    )


def _table(columns: Sequence[str], rows: Sequence[tuple[str, ...]], picked: int) -> str:
    shown = []
    for i, row in enumerate(rows):
        button = (
            f'<button type="button" class="pick" data-set="answer={i}" aria-pressed="{str(i == picked).lower()}" '
            f'aria-label="Open answer {i + 1}">{i + 1}</button>'
        )
        verdict, why, *numbers = map(escape, row[1:])
        shown.append((button, verdict, f'<span class="why">{why}</span>', *numbers))
    return data_table("The group's answers", columns, shown, (1, 2))


def _marked(answer: SeenAnswer, values: Sequence[float]) -> str:
    """The answer with its tokens underlined by how much they stand out."""
    parts, largest = [], max(map(abs, values), default=0.0)
    for token, value in zip(answer.tokens, values, strict=True):
        share = abs(value) / largest if largest > 0 else 0.0
        kind = (
            "" if share < FAINT else f' class="{"up" if value > 0 else "down"}{" strong" if share >= STRONG else ""}"'
        )
        shown = escape(token) if token else "<i>end</i>"
        # An underlined line break would not be seen.
        shown = shown.replace("\n", "↵\n") if kind else shown
        parts.append(f'<span{kind} title="{value:.4f} nats">{shown}</span>' if kind else shown)
    return "".join(parts)


def _shown(token: str) -> str:
    return f"“{token}”".replace("\n", "↵") if token else "the end of text"
