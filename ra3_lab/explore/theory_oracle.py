"""Figures, tables and words for the oracle labs: posteriors, the price of a thought, gradient noise, EM."""

from __future__ import annotations

from itertools import pairwise

import plotly.graph_objects as go

from ra3_lab.explore.findings import Twin, join, number, percent
from ra3_lab.explore.theory_style import BLUE, GREEN, GREY, ORANGE, PINK, Panels, line
from ra3_lab.theory.oracle_labs import (
    BASELINES,
    EMCurve,
    EMRecord,
    GradientRecord,
    GradientRow,
    PosteriorRecord,
    PriceCurve,
    PriceRecord,
)


def describe_posterior(record: PosteriorRecord) -> Twin:
    """How far each q is from the truth."""
    exact, causal, trained = record.rows[:3]
    # Not its digits: they are rounding, and differ between machines.
    closed = "to 1e-9" if abs(exact.gap) <= 1e-9 else f"but for {exact.gap:.0e}: a bug, please report it"
    title = (
        f"Hindsight reaches the evidence; the best causal q stays {number(causal.gap)} nats below, "
        f"the trained one {number(trained.gap)}"
    )
    parts = [f"{row.name} {number(row.gap)}" for row in record.rows[3:]]
    text = (
        f"Log-evidence is {number(record.evidence)} nats a program of {record.length} lines. The ELBO of the exact "
        f"posterior equals it ({closed}). No q that sees only earlier lines comes closer than "
        f"{number(causal.gap)} nats; RA3's sampled E-step ends {number(trained.gap)} below the evidence, "
        f"{join(parts)}. The gap is the KL from the true posterior: for causal posteriors it is the price of not "
        "seeing the line that is about to come."
    )
    rows = tuple(
        (
            row.name,
            number(row.likelihood),
            number(row.divergence),
            number(row.elbo),
            number(row.gap),
            percent(row.share),
        )
        for row in record.rows
    )
    columns = (
        "q",
        "log-likelihood (nats)",
        "KL from prior (nats)",
        "ELBO (nats)",
        "gap (nats)",
        "lines with a thought",
    )
    return Twin(title, text, columns, rows)


def figure_posterior(record: PosteriorRecord) -> go.Figure:
    """Bars of minus the ELBO in its two parts, with the evidence as a line."""
    figure = Panels([""])
    names = [row.name for row in reversed(record.rows)]
    for name, values, (color, _, _), pattern in (
        ("lines given thoughts", [-row.likelihood for row in reversed(record.rows)], BLUE, ""),
        ("KL of the thoughts from the prior", [row.divergence for row in reversed(record.rows)], ORANGE, "/"),
    ):
        bar = dict(
            type="bar",
            y=names,
            x=values,
            name=name,
            orientation="h",
            marker={"color": color, "pattern": {"shape": pattern}},
            hovertemplate="%{x:.2f} nats",
        )
        figure.add(bar)
    figure.mark(x=-record.evidence, style=(GREEN[0], "", "dash"))
    # The line has no legend of its own; this trace stands for it there.
    figure.add(line("minus log-evidence: no bar can be shorter", [None], [None], GREEN, "", False, dash="dash"))
    figure.x(1, title="minus ELBO (nats per program; shorter is better)")
    return figure.figure(describe_posterior(record).title, 400, barmode="stack", bargap=0.35)


def describe_price(record: PriceRecord) -> Twin:
    """Thinking at every line, sometimes, never."""
    hindsight, causal, trained = record.curves
    high = next((c for c, share in zip(causal.costs, causal.share, strict=True) if share == 0), None)
    ended = f"none from c = {high:g} on" if high is not None else f"still some at c = {causal.costs[-1]:g}"
    title = (
        f"The best causal q thinks at {percent(causal.share[0], 0)} of lines when a thought is free, "
        f"at {percent(_middle(causal), 0)} at c = 0.8, {ended}"
    )
    again = (
        f"is worth {number(record.repeat)} nats to a causal q that knows the skill for sure: cheaper thoughts are "
        "repeated where it is sure enough, dearer ones never. In between, one thought a skill pays"
        if record.repeat > 0
        else "pays a causal q at no price. One thought a skill pays"
    )
    text = (
        f"A kept thought is not followed at {percent(record.fade, 0)} of the lines, and the expert's skill may change, "
        f"so repeating it {again}; too dear, and thinking collapses to the {number(record.silent)} nats a line of not "
        f"thinking. With hindsight the shares are {percent(hindsight.share[0], 0)} at c = 0 and "
        f"{percent(hindsight.share[-1], 0)} at c = {hindsight.costs[-1]:g}. RA3's sampled E-step ({record.updates} "
        f"updates) thinks at {_told(trained)}."
    )
    rows = tuple(
        (curve.name, f"{cost:g}", percent(share), number(likely, 3))
        for curve in record.curves
        for cost, share, likely in zip(curve.costs, curve.share, curve.likelihood, strict=True)
    )
    return Twin(title, text, ("q", "c (nats)", "lines with a thought", "log-likelihood (nats a line)"), rows)


def _middle(curve: PriceCurve) -> float:
    return curve.share[min(range(len(curve.costs)), key=lambda i: abs(curve.costs[i] - 0.8))]


def _told(curve: PriceCurve) -> str:
    each = zip(curve.costs, curve.share, strict=True)
    return join([f"{percent(share, 0)} of lines at c = {cost:g}" for cost, share in each])


def figure_price(record: PriceRecord) -> go.Figure:
    """Share of lines with a thought, and likelihood, against the price."""
    figure = Panels(("", ""))
    for curve, style in zip(record.curves, (GREEN, BLUE, ORANGE), strict=True):
        share = [100 * value for value in curve.share]
        figure.add(line(curve.name, curve.costs, share, style, "% of lines"), 1)
        likely = line(curve.name, curve.costs, curve.likelihood, style, "nats a line", legend=False)
        figure.add(likely, 2)
    if record.repeat > 0:
        figure.mark(1, x=record.repeat)
    figure.mark(2, y=record.silent)
    dotted = "; dotted: most that repeating one is worth" if record.repeat > 0 else ""
    figure.x(1, title=f"price c of a thought (nats{dotted})")
    figure.x(2, title="price c of a thought (nats; dotted: no thoughts)")
    figure.y(1, title="lines with a thought (%)", range=[-3, 104])
    figure.y(2, title="log-likelihood (nats a line)")
    return figure.figure(describe_price(record).title)


def describe_gradient(record: GradientRecord) -> Twin:
    """Bias and noise of the estimators."""
    by = {(row.baseline, row.group): row for row in record.rows}
    group = sorted({row.group for row in record.rows})
    middle = group[len(group) // 2 - 1] if len(group) > 1 else group[0]
    none, loo, mean = (by[kind, middle] for kind in BASELINES)
    biased = (
        "without visible bias"
        if abs(loo.projection - 1) < 3 * loo.standard_error
        else "but is off by 3 standard errors"
    )
    title = (
        f"At G = {middle} the leave-one-out baseline cuts the noise to {percent(loo.noise / none.noise, 0)} {biased}; "
        f"the group mean shrinks the gradient to {number(mean.projection)}"
    )
    text = (
        f"Mean of {record.repeats} estimates, {record.programs} programs each, along the exact gradient (1 is "
        f"unbiased): at G = {middle} {_sized(none)} without a baseline, {_sized(loo)} with the leave-one-out mean, "
        f"{_sized(mean)} with the group mean that includes the row itself, which multiplies the gradient by 1 - 1/G "
        f"= {number(1 - 1 / middle)}. The noise of one latent sequence is {number(none.noise, 0)}, "
        f"{number(loo.noise, 0)} and {number(mean.noise, 0)} squared lengths of the gradient."
    )
    rows = tuple(
        (
            row.baseline,
            str(row.group),
            number(row.projection, 3),
            number(row.standard_error, 3),
            number(1 - 1 / row.group if row.baseline == "group mean" else 1.0, 3),
            number(row.noise, 1),
        )
        for row in record.rows
    )
    columns = ("baseline", "G", "along the gradient", "standard error", "expected", "noise of one sequence")
    return Twin(title, text, columns, rows)


def _sized(row: GradientRow) -> str:
    return f"{number(row.projection)} ± {number(row.standard_error)}"


def figure_gradient(record: GradientRecord) -> go.Figure:
    """Projection and noise against the group size."""
    figure = Panels(("", ""))
    groups = sorted({row.group for row in record.rows})
    for kind, style in zip(BASELINES, (GREY, BLUE, ORANGE), strict=True):
        rows = [row for row in record.rows if row.baseline == kind]
        x = [row.group for row in rows]
        trace = line(f"baseline: {kind}", x, [row.projection for row in rows], style, "of the exact gradient")
        trace.update(error_y={"array": [2 * row.standard_error for row in rows], "thickness": 1, "width": 4})
        figure.add(trace, 1)
        noise = line(f"baseline: {kind}", x, [row.noise for row in rows], style, "squared lengths", legend=False)
        figure.add(noise, 2)
    figure.mark(1, y=1)
    figure.x(1, title="G, latent sequences a program (bars: 2 standard errors)")
    figure.x(2, title="G, latent sequences a program")
    for panel in (1, 2):
        figure.x(panel, type="log", tickvals=groups)
    figure.y(1, title="mean estimate along the gradient", rangemode="tozero")
    figure.y(2, title="noise of one sequence (|gradient|²)", type="log", tickvals=[10, 20, 50, 100, 200, 500])
    return figure.figure(describe_gradient(record).title)


def describe_em(record: EMRecord) -> Twin:
    """Evidence over rounds."""
    exact, _, ra3, prior = record.curves
    start = exact.evidence[0]
    title = (
        f"Exact EM never lowers the evidence and {_gained(exact)} nats; "
        f"RA3's {_gained(ra3)} with {ra3.falls} step{'s' * (ra3.falls != 1)} back"
    )
    if exact.falls:
        title = f"Exact EM lowered the evidence {exact.falls} times: a bug, please report it"
    parts = [
        f"{curve.name} {number(curve.evidence[-1])} ({curve.falls} falls, thoughts at {percent(curve.share, 0)} of "
        "lines)"
        for curve in record.curves
    ]
    rounds = len(exact.evidence) - 1
    back = sum(b < a - 1e-10 for a, b in pairwise(ra3.objective))
    text = (
        f"Log-evidence of pi, nats a program, from {number(start)} over {rounds} rounds; the world that wrote the "
        f"{record.programs} programs has {number(record.truth)} (more than that is fitting this sample). Last: "
        f"{join(parts)}. The exact best causal q never lowers its own objective, the likelihood minus c = "
        f"{number(record.cost)} a thought, which is no bound that touches the evidence: the evidence may fall while "
        f"the objective rises. RA3's, sampled, lowered it in {back} of {rounds - 1} rounds after the first. With "
        f"thoughts from the prior pi {_gained(prior)} nats, with exact EM it {_gained(exact)}."
    )
    rows = tuple(
        (
            curve.name,
            *(number(curve.evidence[n]) for n in _rounds(record)),
            str(curve.falls),
            number(curve.objective[0]),
            number(curve.objective[-1]),
            percent(curve.share),
        )
        for curve in record.curves
    )
    heads = (f"evidence, round {n}" for n in _rounds(record))
    columns = ("E-step", *heads, "falls", "objective, first", "last", "lines with a thought")
    return Twin(title, text, columns, rows)


def _gained(curve: EMCurve) -> str:
    change = curve.evidence[-1] - curve.evidence[0]
    return f"{'gains' if change >= 0 else 'loses'} {number(abs(change))}"


def _rounds(record: EMRecord) -> list[int]:
    last = len(record.curves[0].evidence) - 1
    return sorted({0, 1, last // 2, last})


def figure_em(record: EMRecord) -> go.Figure:
    """Exact log-evidence, and each arm's own objective, over rounds."""
    figure = Panels(("", ""))
    for curve, style in zip(record.curves, (GREEN, BLUE, ORANGE, PINK), strict=True):
        rounds = list(range(len(curve.evidence)))
        figure.add(line(curve.name, rounds, curve.evidence, style, "nats a program"), 1)
        own = line(curve.name, rounds[1:], curve.objective, style, "nats a program", legend=False)
        figure.add(own, 2)
    figure.mark(1, y=record.truth)
    figure.x(1, title="EM rounds (dotted: the true world)", dtick=1)
    figure.x(2, title="EM rounds", dtick=1)
    figure.y(1, title="log-evidence of pi (nats a program)")
    figure.y(2, title="its E-step's objective (nats a program)")
    return figure.figure(describe_em(record).title)
