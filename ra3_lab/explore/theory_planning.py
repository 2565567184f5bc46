"""Figures, tables and words for the planning labs: regret, pruning, broken assumptions, top choices, horizon."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from ra3_lab.explore.findings import Twin, join, number, percent
from ra3_lab.explore.theory_style import BLUE, GREEN, GREY, ORANGE, PINK, Panels, diagonal, line, points
from ra3_lab.theory.choices import ChoiceRecord
from ra3_lab.theory.horizon import HorizonRecord
from ra3_lab.theory.pruning import PruningRecord
from ra3_lab.theory.regret import RegretCurve, RegretRecord
from ra3_lab.theory.violations import KINDS, ViolationRecord

# Theorem 1.


def describe_regret(record: RegretRecord) -> Twin:
    """Regret split in two for each kept set."""
    settled = [_settled(record, curve) for curve in record.curves]
    order = [math.inf if n is None else n for n in settled]
    quick = min(range(len(order)), key=lambda i: (order[i], record.curves[i].options))
    slow = max(range(len(order)), key=lambda i: order[i])
    title = (
        f"{record.curves[quick].name.capitalize()}: nothing left to learn {_when(record, settled[quick])}; "
        f"{record.curves[slow].name}: {_when(record, settled[slow])}"
    )
    if settled[quick] is None:
        title = f"No kept set is at its own best within {_sweeps(record.sweeps[-1])}"
    parts = [
        f"{curve.name} ({curve.options} options) give up {number(curve.pruning, 3)} by pruning "
        f"(own best {_when(record, n)})"
        for curve, n in zip(record.curves, settled, strict=True)
    ]
    text = (
        f"Four rooms, gamma {number(record.gamma)}, best possible return {number(record.best, 3)}. "
        f"Of the three kept sets, {join(parts)}. Regret is the sum of both errors in every "
        f"case, {_gap(record.largest_gap)}."
    )
    rows = tuple(
        (
            curve.name,
            str(curve.options),
            number(curve.modulus, 3),
            number(curve.pruning, 4),
            *(number(curve.learning[n], 4) for n in _budgets(record)),
            f"more than {record.sweeps[-1]}" if n is None else str(n),
        )
        for curve, n in zip(record.curves, settled, strict=True)
    )
    heads = (f"RL error, {n} sweeps" for n in _budgets(record))
    columns = ("kept set", "options", "contraction", "pruning error", *heads, "sweeps to its best")
    return Twin(title, text, columns, rows)


def _gap(largest: float) -> str:
    """How far a sum is off, in words; what is only rounding differs between processors.

    >>> _gap(6e-17), _gap(0.02)
    ('to within 1e-9', 'but for a difference of 2e-02')
    """
    return "to within 1e-9" if largest <= 1e-9 else f"but for a difference of {largest:.0e}"


def figure_regret(record: RegretRecord) -> go.Figure:
    """A panel a kept set: pruning error below, RL error stacked on it."""
    figure = Panels([f"{curve.name} ({curve.options} options)" for curve in record.curves], shared_y=True)
    for i, curve in enumerate(record.curves, 1):
        flat = [curve.pruning] * len(record.sweeps)
        for name, y, (color, marker, _), pattern in (
            ("pruning error", flat, ORANGE, "/"),
            ("RL error inside the kept set", curve.learning, BLUE, ""),
        ):
            area = dict(
                type="scatter",
                x=record.sweeps,
                y=y,
                name=name,
                legendgroup=name,
                showlegend=i == 1,
                stackgroup="regret",
                mode="lines+markers",
                line={"color": color, "width": 2},
                marker={"symbol": marker, "size": 6, "color": color},
                fillpattern={"shape": pattern, "fgcolor": color},
                hovertemplate="%{y:.4f}",
            )
            figure.add(area, i)
        figure.x(i, title="sweeps of value iteration")
    figure.y(1, title="regret (return at the start)", rangemode="tozero")
    return figure.figure(describe_regret(record).title)


def _budgets(record: RegretRecord) -> list[int]:
    return [n for n in (0, 2, 5, 10) if n < len(record.sweeps)]


def _settled(record: RegretRecord, curve: RegretCurve) -> int | None:
    """Fewest sweeps after which less than a thousandth of the best return is left to learn; None: more than tried."""
    above = [n for n, error in zip(record.sweeps, curve.learning, strict=True) if error > record.best / 1000]
    settled = above[-1] + 1 if above else 0
    return settled if settled <= record.sweeps[-1] else None


def _when(record: RegretRecord, settled: int | None) -> str:
    return f"not within {_sweeps(record.sweeps[-1])}" if settled is None else f"after {_sweeps(settled)}"


def _sweeps(count: int) -> str:
    return f"{count} sweep{'s' * (count != 1)}"


# Theorem 2.


def describe_pruning(record: PruningRecord) -> Twin:
    """N measured and N predicted."""
    skills, lines = record.curves
    title = (
        f"Skills: {number(skills.needed, 0)} expert tasks do what the bound puts at {number(skills.predicted, 0)}; "
        f"for lines it says {number(lines.predicted, 0)}"
    )
    worst = max(row.failure - row.delta for row in record.settings)
    kept = "stays within" if worst <= 0 else "is not everywhere within"
    text = (
        f"With {skills.options} skills, k = {skills.k} needed and sigma = {number(record.sigma)}, a bad subset "
        f"survives in at most {percent(record.delta, 0)} of the draws from {number(skills.needed, 0)} tasks on; "
        f"theorem 2 asks for {number(skills.predicted, 0)}. Over lines (k = {lines.k} of {lines.options}) it asks "
        f"for {number(lines.predicted, 0)}, and {number(lines.needed, 0)} do: a task that shows a rare skill shows "
        "its lines too, so here the finer action set costs in the bound and not in the draws. Over "
        f"{len(record.settings)} settings measured N against predicted N has slope {number(record.fits[0].slope)} "
        f"(R² {number(record.fits[0].r_squared)}) for skills and {number(record.fits[1].slope)} (R² "
        f"{number(record.fits[1].r_squared)}) for lines, and the failure rate at the predicted N {kept} delta."
    )
    rows = tuple(
        (
            row.name,
            f"{row.k} of {row.options}",
            number(row.sigma),
            number(row.delta),
            number(row.predicted, 0),
            number(row.sharp, 0),
            number(row.needed, 0),
            number(row.failure, 3),
        )
        for row in record.settings
    )
    columns = (
        "actions",
        "k of |Z|",
        "sigma",
        "delta",
        "N, theorem 2",
        "N, sharp",
        "N, measured",
        "failure at theorem's N",
    )
    return Twin(title, text, columns, rows)


def figure_pruning(record: PruningRecord) -> go.Figure:
    """Left: failure rate against N. Right: measured N against predicted N."""
    figure = Panels(("one family of tasks", f"{len(record.settings)} settings"))
    for curve, style in zip(record.curves, (BLUE, ORANGE), strict=True):
        measured = line(f"{curve.name}, measured", curve.tasks, curve.failure, style, "of draws fail", dash="solid")
        measured["marker"]["maxdisplayed"] = 14
        figure.add(measured, 1)
        bound = line(f"{curve.name}, theorem 2", curve.tasks, curve.bound, style, "at most", marks=False, dash="dash")
        figure.add(bound, 1)
        rows = [row for row in record.settings if row.name == curve.name]
        x, y = [row.predicted for row in rows], [max(row.needed, 1) for row in rows]
        figure.add(points(f"{curve.name}, measured", x, y, style), 2)
    figure.mark(1, y=record.delta)
    figure.add(diagonal(10, 1300), 2)
    figure.x(1, title=f"N, expert tasks (dotted: delta = {record.delta:g})")
    figure.y(1, title="draws with a bad subset left", range=[-0.03, 1.05])
    figure.x(2, title="N of theorem 2 (tasks)", type="log", dtick=1)
    figure.y(2, title="N measured (tasks)", type="log", dtick=1)
    return figure.figure(describe_pruning(record).title)


def describe_violations(record: ViolationRecord) -> Twin:
    """What becomes of theorem 2's N."""
    broken = [row for kind in KINDS[:2] for row in record.of(kind) if row.failure > record.delta]
    first = f"from {percent(min(row.strength for row in broken), 0)} on" if broken else "at no strength tried"
    misled = record.of(KINDS[2])
    lost = next((row for row in misled if row.nothing_left > 0.5), misled[-1])
    share = percent(lost.strength, 1)
    keeps = "nothing to keep" if lost.nothing_left > 0.5 else "something to keep in most draws"
    title = f"Repeated or failed demonstrations break the guarantee {first}; {share} misleading ones leave {keeps}"
    copies = record.of(KINDS[3])
    text = (
        f"Theorem 2 asks for {number(copies[0].predicted, 0)} independent tasks of a perfect expert. With that many, "
        f"the failure rate exceeds delta = {number(record.delta)} {first} when demonstrations repeat the task before "
        "or fail. Demonstrations from tasks that nobody asks for do not save bad subsets but rule out good ones: at "
        f"{percent(lost.strength, 1)} of them, no subset of size {record.k} is consistent with all tasks in "
        f"{percent(lost.nothing_left, 0)} of the draws. {copies[-1].strength:g} copies of every skill raise the "
        f"bound from {number(copies[0].predicted, 0)} to {number(copies[-1].predicted, 0)} tasks and the measured "
        f"need from {number(copies[0].needed, 0)} to {number(copies[-1].needed, 0)}."
    )
    rows = tuple(
        (
            row.kind,
            f"{row.strength:g}",
            number(row.predicted, 0),
            number(row.needed, 0) if math.isfinite(row.needed) else "∞",
            number(row.failure, 3),
            number(row.nothing_left, 3),
        )
        for row in record.rows
    )
    columns = ("assumption", "strength", "N, theorem 2", "N, measured", "failure at theorem's N", "nothing left")
    return Twin(title, text, columns, rows)


def figure_violations(record: ViolationRecord) -> go.Figure:
    """A panel an assumption."""
    figure = Panels(KINDS, rows=2)
    axes = ("repeats of the task before (%)", "failed demonstrations (%)", "misleading demonstrations (%, log)")
    for i, kind in enumerate(KINDS[:3]):
        rows, panel = record.of(kind), i + 1
        # The log axis has no 0: its row is in the table.
        rows = [row for row in rows if row.strength > 0] if i == 2 else rows
        x = [100 * row.strength for row in rows]
        first = i == 0
        failure, lost = [row.failure for row in rows], [row.nothing_left for row in rows]
        figure.add(line("a bad subset is left", x, failure, ORANGE, "of draws", legend=first), panel)
        figure.add(line("no subset is left", x, lost, PINK, "of draws", legend=first), panel)
        figure.mark(panel, y=record.delta)
        figure.x(panel, title=axes[i])
        if i == 2:
            figure.x(panel, type="log", tickvals=x)
        figure.y(panel, title="share of draws", range=[-0.03, 1.05])
    rows, panel = record.of(KINDS[3]), 4
    x = [row.strength for row in rows]
    figure.add(line("N of theorem 2", x, [row.predicted for row in rows], GREY, "tasks"), panel)
    figure.add(line("N measured", x, [row.needed for row in rows], BLUE, "tasks"), panel)
    figure.x(panel, title="copies of every skill", dtick=1)
    figure.y(panel, title="expert tasks", rangemode="tozero")
    return figure.figure(describe_violations(record).title, 620)


def describe_choices(record: ChoiceRecord) -> Twin:
    """Expert programs until the next step is among the top choices."""
    thoughts, tokens = record.curves[0], record.curves[-1]
    title = (
        f"The top {record.k} choices hold {percent(record.target, 0)} of next steps: "
        f"thoughts {_programs(thoughts.needed)}, tokens {_programs(tokens.needed)}"
    )
    parts = [
        f"{curve.name} {_programs(curve.needed)} ({number(curve.per_step, 0)} choice{'s' * (curve.per_step > 1)} "
        f"a step, {number(curve.kept, 0)} different ones to learn)"
        for curve in record.curves
    ]
    text = (
        f"Counting what expert pipelines choose, and asking when a held-out step needs only top-{record.k} choices, "
        f"{percent(record.target, 0)} of the steps are there: {'; '.join(parts)}. These are counts without "
        "sight of the docstring: they say how much there is to learn in each alphabet, not which model writes "
        "better programs."
    )
    rows = tuple(
        (
            curve.name,
            number(curve.choices, 0),
            number(curve.kept, 0),
            number(curve.per_step, 1),
            *(percent(curve.available[i]) for i in _some(record)),
            number(curve.needed, 0) if curve.needed is not None else "never",
        )
        for curve in record.curves
    )
    heads = (f"steps after {record.tasks[i]:,}" for i in _some(record))
    columns = ("choices of", "different", "in context", "per step", *heads, f"N for {percent(record.target, 0)}")
    return Twin(title, text, columns, rows)


def figure_choices(record: ChoiceRecord) -> go.Figure:
    """Share of held-out steps that are available against the number of expert programs."""
    figure = Panels([""])
    for curve, style in zip(record.curves, (BLUE, GREEN, PINK, ORANGE), strict=True):
        y = [100 * share for share in curve.available]
        trace = line(curve.name, record.tasks, y, style, "% of steps")
        trace.update(error_y={"array": [100 * s for s in curve.spread], "thickness": 1, "width": 3})
        figure.add(trace)
    figure.mark(y=100 * record.target)
    figure.x(1, title="N, expert programs read (bars: spread over orders)", type="log", dtick=1)
    figure.y(1, title=f"held-out steps within the top {record.k} (%)", range=[-3, 104])
    return figure.figure(describe_choices(record).title, 420)


def _programs(needed: float | None) -> str:
    return "never" if needed is None else f"after {number(needed, 0)} programs"


def _some(record: ChoiceRecord) -> list[int]:
    wanted = [n for n in (16, 128) if n in record.tasks]
    return [record.tasks.index(n) for n in [*wanted, record.tasks[-1]]]


# Theorem 3.


def describe_horizon(record: HorizonRecord) -> Twin:
    """Sweeps against duration, and against the bound."""
    long, kept = record.curve(False), record.curve(True)
    first, last = long[0], long[-1]
    title = (
        f"From E[τ] = {first.mean:g} to {last.mean:g} value iteration falls from {first.measured} to {last.measured} "
        f"sweeps; the bound says {first.bound} to {last.bound}"
    )
    learners = []
    for name, values in (
        ("exact policy gradient", [row.policy_gradient for row in record.learners]),
        ("Q-learning", [row.q_learning for row in record.learners]),
    ):
        ends = [number(v, 0) if v is not None else "more than were tried" for v in (values[0], values[-1])]
        learners.append(f"{name} {ends[0]} to {ends[1]}")
    text = (
        f"Tau {record.law}, gamma {number(record.gamma)}, epsilon {record.epsilon:g}: gbar falls from "
        f"{number(first.gbar, 3)} to {number(last.gbar, 3)}, the effective horizon from {number(first.horizon, 1)} "
        f"to {number(last.horizon, 1)} decisions. With one primitive action kept gbar is {number(kept[-1].gbar, 3)} "
        f"at every duration, and as R_max goes from {number(kept[0].r_max)} to {number(kept[-1].r_max)} the bound goes "
        f"from {kept[0].bound} to {kept[-1].bound}, though {kept[-1].measured} sweeps do at E[τ] = {kept[-1].mean:g}. "
        f"Over {record.fit_long.points} settings, sweeps against bound: slope {number(record.fit_long.slope)}, R² "
        f"{number(record.fit_long.r_squared, 4)}; with a kept primitive slope {number(record.fit_kept.slope)}, R² "
        f"{number(record.fit_kept.r_squared)}. Beside it, without a claim: {join(learners)} steps."
    )
    rows = tuple(
        (
            f"{row.mean:g}",
            "yes" if row.kept else "no",
            number(row.gamma),
            f"{row.epsilon:g}",
            number(row.gbar, 3),
            number(row.horizon, 1),
            number(row.r_max, 2),
            str(row.measured),
            str(row.bound),
        )
        for row in record.settings
    )
    columns = ("E[τ]", "primitive kept", "gamma", "epsilon", "gbar", "horizon", "R_max", "sweeps", "bound")
    return Twin(title, text, columns, rows)


def figure_horizon(record: HorizonRecord) -> go.Figure:
    """Left: sweeps, bound and the other learners against mean duration. Right: sweeps against bound."""
    figure = Panels((f"gamma {record.gamma:g}, epsilon {record.epsilon:g}", "all settings"))
    for kept, style, name in ((False, BLUE, "long options"), (True, ORANGE, "one primitive kept")):
        rows = record.curve(kept)
        x = [row.mean for row in rows]
        measured = line(f"{name}, sweeps", x, [row.measured for row in rows], style, "sweeps", dash="solid")
        figure.add(measured, 1)
        bound = line(f"{name}, bound", x, [row.bound for row in rows], style, "sweeps", marks=False, dash="dash")
        figure.add(bound, 1)
        rows = [row for row in record.settings if row.kept == kept]
        cloud = points(f"{name}, sweeps", [row.bound for row in rows], [max(row.measured, 1) for row in rows], style)
        figure.add(cloud, 2)
    x = [row.mean for row in record.learners]
    for name, y, style in (
        ("policy gradient (no claim)", [row.policy_gradient for row in record.learners], GREEN),
        ("Q-learning (no claim)", [row.q_learning for row in record.learners], PINK),
    ):
        figure.add(line(name, x, y, style, "steps", dash="dot"), 1)
    top = max(row.bound for row in record.settings)
    figure.add(diagonal(3, 1.1 * top), 2)
    figure.x(1, title="mean duration E[τ] (primitive steps)", type="log", tickvals=x)
    figure.y(1, title="sweeps, or steps of the learner", type="log", dtick=1)
    figure.x(2, title="bound of theorem 3 (sweeps)", type="log", dtick=1)
    figure.y(2, title="sweeps measured", type="log", dtick=1)
    return figure.figure(describe_horizon(record).title, 470)
