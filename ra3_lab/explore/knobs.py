"""ELBO knobs: what alpha, c and |Z| do to the bound, on the exact oracle and on a recorded run.

The price of a thought appears twice in RA3. In the temporal ELBO it follows from the sticky prior: choosing one
particular new thought costs log(alpha |Z| / (1 - alpha)) nats more than keeping the old one. For free text |Z| means
nothing, so training uses a constant c. `oracle_knobs` shows the first on a world small enough for every sum
(`theory/oracle.py`), over all programs that it can write: a causal q fitted to a sample would know a program by its
beginning. `recorded_knobs` shows the second on the thoughts of a recorded run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ra3_lab.explore.explorer import Control, Explorer
from ra3_lab.explore.figures import dress
from ra3_lab.explore.findings import MISSING, Twin, number, percent
from ra3_lab.explore.view import View
from ra3_lab.theory.closed_forms import renewal_cost
from ra3_lab.theory.estep import best_causal
from ra3_lab.theory.oracle import HiddenWorld, all_programs, bound, evidence, posterior, skill_world
from ra3_lab.theory.oracle_labs import PosteriorRow

ALPHAS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
COSTS = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
ORACLE_COSTS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 1.0, 3.0)
SIZES = (2, 3, 4, 5)
NO_LOOKS = 'this record holds no looks at programs: make one with `ra3-lab record`, or take load_record("em").'
TRUE_ALPHA, LENGTH = 0.75, 5


def oracle_knobs() -> Explorer:
    """alpha, c and |Z| on the enumerable world, where evidence and bound are exact."""
    return Explorer(
        "oracle-knobs",
        "ELBO knobs on the exact oracle",
        "A world of lines with hidden thoughts, small enough to compute log p(lines) exactly. Move alpha, the price "
        "c and the number of thoughts |Z|, and watch how much of the evidence each way of choosing thoughts keeps, "
        f"what it pays, and how often it thinks. A world with alpha = {TRUE_ALPHA:g} made the programs: all there are "
        f"of {LENGTH} lines count, each as often as that world writes it.",
        (
            Control("alpha", "alpha, chance to keep", ALPHAS, 0.8, exported=(0.5, 0.7, 0.8, 0.9, 0.99)),
            Control("cost", "c, nats a thought", ORACLE_COSTS, 0.1, exported=(0.0, 0.05, 0.1, 0.2, 0.4, 1.0, 3.0)),
            Control("size", "|Z|, thoughts to choose from", SIZES, 3),
        ),
        draw_oracle,
    )


@lru_cache(maxsize=len(SIZES))
def _programs(size: int) -> tuple[HiddenWorld, np.ndarray, np.ndarray]:
    """The true world with `size` thoughts, (N, LENGTH) every program of it, and (N,) how likely it writes each."""
    world = skill_world(thoughts=size, lines=max(3, size), alpha=TRUE_ALPHA, noise=0.1)
    lines = all_programs(world.lines, LENGTH)
    return world, lines, np.exp(evidence(world, lines))


@lru_cache(maxsize=256)
def _log_evidence(alpha: float, size: int) -> float:
    true, lines, weights = _programs(size)
    return float(weights @ evidence(HiddenWorld(alpha, true.emission), lines))


@lru_cache(maxsize=512)
def _way(name: str, alpha: float, size: int, cost: float | None) -> PosteriorRow:
    """One way to choose thoughts; `cost` is what a priced one pays, None for the exact KL."""
    true, lines, weights = _programs(size)
    world = HiddenWorld(alpha, true.emission)
    if name == "from the prior":
        q = np.broadcast_to(np.exp(world.log_prior), (*lines.shape, size + 1, size + 1))
    elif name == "exact posterior":
        q = posterior(world, lines)
    else:
        q = best_causal(world, lines, weights, cost)
    terms = bound(world, lines, q)
    likelihood, divergence = float(weights @ terms.likelihood), float(weights @ terms.divergence)
    elbo, share = likelihood - divergence, float(weights @ terms.thoughts) / LENGTH
    return PosteriorRow(name, likelihood, divergence, elbo, _log_evidence(alpha, size) - elbo, share)


def oracle_bounds(alpha: float, cost: float, size: int) -> tuple[float, dict[str, PosteriorRow]]:
    """Mean evidence of a program (nats), and the bound under four ways to choose thoughts, over all programs."""
    ways = {"from the prior": None, "causal, priced at c": cost, "causal, exact KL": None, "exact posterior": None}
    return _log_evidence(alpha, size), {name: _way(name, alpha, size, price) for name, price in ways.items()}


def draw_oracle(alpha: float, cost: float, size: int) -> View:
    """The split of the bound at one setting."""
    log_p, ways = oracle_bounds(alpha, cost, size)
    price = renewal_cost(alpha, size)
    priced, causal = ways["causal, priced at c"], ways["causal, exact KL"]
    dear = f"c = {number(cost)} is {'dearer' if cost > price else 'cheaper'} than the prior's {number(price)} nats"
    if abs(cost - price) < 0.05:
        dear = f"c = {number(cost)} is about the prior's own price, {number(price)} nats"
    title = f"{dear}; priced thinking stands at {percent(priced.share, 0)} of lines"
    text = (
        f"With alpha {alpha:g} and {size} thoughts, one particular new thought costs log(alpha |Z| / (1 - alpha)) = "
        f"{number(price)} nats more than keeping. The evidence is {number(log_p)} nats a program of {LENGTH} lines. "
        "The exact posterior, which sees the whole program, reaches it; the best causal choice falls "
        f"{number(causal.gap)} nats short, the price of not seeing the line it explains, and thinks at "
        f"{percent(causal.share)} of lines. Priced at c it thinks at {percent(priced.share)} of lines and its bound "
        f"is {number(priced.elbo)} nats."
    )
    rows = tuple(
        (
            way.name,
            number(way.likelihood),
            number(way.divergence),
            number(way.elbo),
            number(way.gap),
            percent(way.share),
        )
        for way in ways.values()
    )
    columns = ("thoughts chosen", "E log-likelihood (nats)", "KL (nats)", "bound", "below evidence", "lines that think")
    return View(Twin(title, text, columns, rows), figure=_split_figure(log_p, ways))


def _split_figure(log_p: float, ways: Mapping[str, PosteriorRow]) -> go.Figure:
    """Bars from 0 down: what the lines cost under the thoughts, then the KL; the evidence as a line."""
    names = list(ways)[::-1]
    likelihood = [ways[name].likelihood for name in names]
    divergence = [-ways[name].divergence for name in names]
    figure = go.Figure()
    for values, name, color, shape in (
        (likelihood, "expected log-likelihood of the lines", "#0072B2", ""),
        (divergence, "minus KL to the sticky prior", "#D55E00", "/"),
    ):
        marker = {
            "color": color,
            "pattern": {"shape": shape, "fillmode": "replace"},
            "line": {"width": 1, "color": color},
        }
        bar = go.Bar(x=values, y=names, name=name, orientation="h", marker=marker, hovertemplate="%{x:.2f} nats")
        figure.add_trace(bar)
    line = {"color": "#B8860B", "width": 3, "dash": "dash"}
    figure.add_vline(log_p, line=line, name="evidence, log p(lines)", showlegend=True)
    figure.update_xaxes(title="nats a program")
    dress(figure, "", 300).update_layout(barmode="relative", hovermode="closest")
    return figure


def recorded_knobs(record: Mapping[str, Any]) -> Explorer:
    """c, and the alpha and |Z| it corresponds to, on the thoughts of a recorded run."""
    looks = record.get("looks") or []
    if not looks:
        raise ValueError(NO_LOOKS)
    from ra3_lab.explore.timeline import reading

    return Explorer(
        "recorded-knobs",
        "ELBO knobs on a recorded run",
        "Every thought of the run bought some nats for the lines it governs. A thought pays if it bought more than its "
        "price c. Move the price, or take the one that a sticky prior would ask, and see which thoughts still pay.",
        (
            Control("look", "Training", tuple(range(len(looks))), len(looks) - 1, "slider", tuple(map(reading, looks))),
            Control("cost", "c, nats a thought", COSTS, 0.1),
            Control("alpha", "alpha, for comparison", ALPHAS, 0.8, exported=(0.5, 0.8, 0.95)),
            Control("size", "|Z|, for comparison", (10, 100, 1000, 10_000), 100, "choice", exported=(100,)),
        ),
        lambda look, cost, alpha, size: draw_recorded(record, look, cost, alpha, size),
    )


def draw_recorded(record: Mapping[str, Any], look: int, cost: float, alpha: float, size: int) -> View:
    """Which of a look's thoughts pay at a price."""
    programs = record["looks"][look]["programs"]
    gains = sorted((g for p in programs for g in p["gains"].values()), reverse=True)
    lines = sum(len(p["logp"]) for p in programs)
    likelihood = sum(sum(p["logp"]) for p in programs) / len(programs)
    price, paid = renewal_cost(alpha, size), sum(g > cost for g in gains)
    share = paid / len(gains) if gains else None
    title = f"At c = {number(cost)} nats {paid} of {len(gains)} thoughts pay ({percent(share, 0)})"
    median = number(float(np.median(gains)), 2) if gains else MISSING
    text = (
        f"The thoughts of this look bought {median} nats in the median. At c = {number(cost)} nats "
        f"{percent(share, 0)} of "
        f"them are worth their price, which would leave thoughts at {percent(paid / lines)} of lines instead of "
        f"{percent(len(gains) / lines)}. Mean log-likelihood of a program with its thoughts: {number(likelihood)} "
        f"nats; "
        f"minus the price of all thoughts: {number(likelihood - cost * len(gains) / len(programs))}. A sticky prior "
        f"with "
        f"alpha {alpha:g} over |Z| = {size:,} thoughts would ask {number(price)} nats for one particular new thought; "
        f"{sum(g > price for g in gains)} of the thoughts would pay that."
    )
    rows = tuple(
        (
            number(c),
            str(sum(g > c for g in gains)),
            percent(sum(g > c for g in gains) / lines),
            number(sum(g - c for g in gains if g > c)),
        )
        for c in COSTS
    )
    columns = ("c (nats)", "thoughts that pay", "share of lines", "nats left over in all")
    return View(Twin(title, text, columns, rows), figure=_gains_figure(gains, cost, price, alpha, size))


def _gains_figure(gains: Sequence[float], cost: float, price: float, alpha: float, size: int) -> go.Figure:
    """The gains in order, with the two prices as lines."""
    figure = go.Figure()
    groups = (
        ("pay at c", [g for g in gains if g > cost], 0, "#0072B2", ""),
        ("do not pay", [g for g in gains if g <= cost], sum(g > cost for g in gains), "#D55E00", "/"),
    )
    for name, values, start, color, shape in groups:
        marker = {
            "color": color,
            "pattern": {"shape": shape, "fillmode": "replace"},
            "line": {"width": 1, "color": color},
        }
        x = [start + i + 1 for i in range(len(values))]
        figure.add_trace(go.Bar(x=x, y=values, name=name, marker=marker, hovertemplate="%{y:.2f} nats"))
    count = max(1, len(gains))
    prices = (("price c", cost, "solid"), (f"sticky prior, alpha {alpha:g}, |Z| {size:,}", price, "dash"))
    for name, value, dash in prices:
        line = {"color": "#767676", "width": 2, "dash": dash}
        figure.add_trace(go.Scatter(x=[0.5, count + 0.5], y=[value, value], mode="lines", name=name, line=line))
    figure.update_xaxes(title="thoughts of all programs, largest gain first")
    figure.update_yaxes(title="nats bought")
    dress(figure, "", 340).update_layout(bargap=0.05, hovermode="closest")
    return figure
