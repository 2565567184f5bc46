"""What a run's record says, in words and tables: the text twins of the figures, and the headline.

Everything is computed from the record; nothing here knows who should win. A function returns None where the
record has no data for it, so that a report leaves the section out. Numbers are written with a real minus
sign and a no-break space before %.

Not handled: several seeds in one record (a record is one run).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ARMS: dict[str, tuple[str, str]] = {
    "base": ("base", "no mid-training"),
    "ntp": ("NTP", "next-token prediction on the plain code"),
    "prior": ("prior", "M-step with thoughts sampled from the base, no E-step"),
    "ra3": ("RA3", "M-step with thoughts that the E-step trained"),
}
"""Arm -> (label, what it is), in the order of every table and legend."""
MISSING = "–"


@dataclass(frozen=True)
class Twin:
    """A figure told without the figure."""

    title: str
    """The finding, one line."""
    text: str
    """One paragraph."""
    columns: tuple[str, ...]
    """Heads of the table."""
    rows: tuple[tuple[str, ...], ...]
    """Its cells, as many in a row as there are heads."""


def is_number(value: object) -> bool:
    """Whether this is a finite number (a bool is none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, digits: int = 2, sign: bool = False) -> str:
    """A number for reading.

    >>> number(-1.5), number(3, 0, sign=True), number(None)
    ('−1.50', '+3', '–')
    """
    if not is_number(value):
        return MISSING
    text = f"{value:+,.{digits}f}" if sign else f"{value:,.{digits}f}"
    if not text.strip("+-0.,"):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def percent(value: Any, digits: int = 1) -> str:
    """A share in 0..1 as a percentage.

    >>> percent(0.5) == "50.0\\u00a0%"
    True
    """
    return f"{number(100 * value, digits)}\u00a0%" if is_number(value) else MISSING


def arm_label(arm: str) -> str:
    """The name of an arm as figures and tables print it."""
    return ARMS[arm][0] if arm in ARMS else arm


def in_order(arms: Mapping[str, Any]) -> list[str]:
    """The arms that are there, known ones first and in the fixed order."""
    return [arm for arm in ARMS if arm in arms] + [arm for arm in arms if arm not in ARMS]


def join(parts: Sequence[str]) -> str:
    """Words as a list in a sentence.

    >>> join(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def arms_of(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The scored arms of a record, in order."""
    arms = (record.get("summary") or {}).get("arms") or {}
    return {arm: arms[arm] for arm in in_order(arms) if arms[arm]}


def rows_with(record: Mapping[str, Any], section: str, key: str) -> list[dict[str, Any]]:
    """Rows of a list section that have an update and a finite number under `key`."""
    return [row for row in record.get(section) or [] if is_number(row.get("update")) and is_number(row.get(key))]


def curves(record: Mapping[str, Any], section: str, key: str) -> dict[str, list[tuple[float, float]]]:
    """(update, value) points per arm of `mstep` or `validation`, arms in order."""
    by_arm = record.get(section) or {}
    points = {arm: [(r["update"], r[key]) for r in rows_with(by_arm, arm, key)] for arm in in_order(by_arm)}
    return {arm: values for arm, values in points.items() if values}


def difference(record: Mapping[str, Any], a: str, b: str) -> tuple[float, float, float] | None:
    """Paired difference of pass@1, a minus b, as (mean, low, high), whichever way round it is recorded."""
    for row in record.get("differences") or []:
        if all(is_number(row.get(key)) for key in ("mean", "low", "high")):
            if (row.get("a"), row.get("b")) == (a, b):
                return row["mean"], row["low"], row["high"]
            if (row.get("a"), row.get("b")) == (b, a):
                return -row["mean"], -row["high"], -row["low"]
    return None


def includes_zero(low: float, high: float) -> bool:
    """Whether an interval leaves the sign open."""
    return low <= 0 <= high


def headline(record: Mapping[str, Any]) -> str:
    """The result in one sentence, with its numbers; an open or lost comparison comes first."""
    scores = {arm: row["pass@1"] for arm, row in arms_of(record).items() if is_number(row.get("pass@1"))}
    if not scores:
        twins = filter(None, (describe_estep(record), describe_validation(record), describe_mstep(record)))
        twin = next(twins, None)
        return f"{twin.title}." if twin else "This record holds no measured results."
    ranked = sorted(scores, key=lambda arm: -scores[arm])
    rivals = [arm for arm in ranked if arm != "ra3"]
    others = [f"{arm_label(arm)} {percent(scores[arm])}" for arm in ranked[1:]]
    solved = join(
        [
            f"{arm_label(ranked[0])} solves {percent(scores[ranked[0]])} of the held-out programs at the first try",
            *others,
        ]
    )
    if "ra3" not in scores or not rivals:
        return f"{solved}."
    not_beaten = [arm for arm in rivals if scores[arm] >= scores["ra3"]]
    if not_beaten:
        return f"RA3 did not win: {solved}{_versus(record, not_beaten[0])}."
    it_solved = solved.replace("RA3", "it", 1)
    known = {arm: found for arm in rivals if (found := difference(record, "ra3", arm))}
    open_ = [arm for arm, (_, low, high) in known.items() if includes_zero(low, high)]
    if "prior" in open_:
        return f"What the E-step buys is not established: {solved}{_versus(record, 'prior')}."
    if open_:
        return f"RA3 is ahead, but not clearly: {it_solved}{_versus(record, open_[0])}."
    if len(known) < len(rivals):
        return f"RA3 scores highest, without intervals to every rival: {it_solved}."
    return f"RA3 wins: {it_solved}{_versus(record, 'prior' if 'prior' in known else rivals[0])}."


def _versus(record: Mapping[str, Any], rival: str) -> str:
    found = difference(record, "ra3", rival)
    if found is None:
        return ""
    mean, low, high = (number(100 * value, 1, sign=True) for value in found)
    tail = ", which includes 0" if includes_zero(*found[1:]) else ""
    return f"; RA3 minus {arm_label(rival)} is {mean} points, 95\u00a0% interval {low} to {high}{tail}"


def describe_lengths(record: Mapping[str, Any]) -> Twin | None:
    """pass@1 by length of the program."""
    arms = {arm: row["by_length"] for arm, row in arms_of(record).items() if row.get("by_length")}
    known = {key for by in arms.values() for key, value in by.items() if is_number(value)}
    lengths = sorted(known, key=lambda key: (len(key), key))
    if not lengths:
        return None
    best: dict[str, list[str]] = {}
    for length in lengths:
        there = {arm: by[length] for arm, by in arms.items() if is_number(by.get(length))}
        most = max(there.values())
        leaders = [arm_label(arm) for arm, value in there.items() if value == most] if most > 0 else []
        best.setdefault(join(leaders), []).append(length)  # "" where no arm solves any
    if len(arms) == 1:
        arm, by = next(iter(arms.items()))
        title = f"{arm_label(arm)} solves {percent(by.get(lengths[0]))} at {lengths[0]} steps"
        if len(lengths) > 1:
            title += f" and {percent(by.get(lengths[-1]))} at {lengths[-1]}"
    elif best.get("") == lengths:
        title = f"No arm solves a program of {' to '.join(dict.fromkeys((lengths[0], lengths[-1])))} steps"
    elif len(best) == 1 and len(lengths) > 1:
        who = next(iter(best))
        verb = "solve" if " and " in who else "solves"
        title = f"{who} {verb} most at every length, {lengths[0]} to {lengths[-1]} steps"
    else:
        title = "Solves most: " + "; ".join(f"{who or 'none'} at {join(where)} steps" for who, where in best.items())
    told = [
        f"{arm_label(arm)}: " + ", ".join(f"{percent(by.get(length))} at {length}" for length in lengths)
        for arm, by in arms.items()
    ]
    text = "Share of programs that pass all tests at the first try, by number of steps in the pipeline. "
    rows = tuple((length, *(percent(by.get(length)) for by in arms.values())) for length in lengths)
    return Twin(title, text + ". ".join(told) + ".", ("steps", *map(arm_label, arms)), rows)


def describe_estep(record: Mapping[str, Any]) -> Twin | None:
    """What the E-step did: return, F1 and share of lines with a thought over its updates."""
    watched, trained = rows_with(record, "monitor", "return"), rows_with(record, "estep", "return")
    rows = watched or trained
    if not rows:
        return None
    edge = 1 if watched else max(1, len(rows) // 5)
    first, last = mean_of(rows[:edge], "return"), mean_of(rows[-edge:], "return")
    where = "held-out programs" if watched else "training batches"
    title = f"E-step: return on {where} {change(first, last, 1)} nats"
    f1 = [row["f1"] for row in rows if is_number(row.get("f1"))]
    if len(f1) > 1:
        title += f", F1 {change(f1[0], f1[-1], 2)}"
    shares = [row["think_share"] for row in rows if is_number(row.get("think_share"))]
    if shares:
        title += f", thoughts at {percent(mean_of(rows[-edge:], 'think_share'), 0)} of lines"
    rounds = len({row.get("round") for row in rows})
    updates = int(rows[-1]["update"]) + (not watched)  # looks count updates done, training rows number them from 0
    text = (
        f"Over {updates} E-step update{'s' * (updates != 1)} in {rounds} round{'s' * (rounds != 1)}, the "
        f"mean return of a program on "
        f"{where} (log-likelihood of its lines minus the price of its thoughts) {change(first, last, 1)} "
        f"nats. "
    )
    if f1:
        text += f"Thoughts as segment starts {'kept' if len(f1) == 1 else 'went from'} F1 {number(f1[0])}"
        text += f" to {number(f1[-1])}. " if len(f1) > 1 else ". "
    if shares:
        text += f"The share of lines with a thought went from {percent(shares[0])} to {percent(shares[-1])}. "
    if rounds > 1:
        text += "Between rounds the M-step changes the model that pays the rewards and that q begins from: "
        text += "curves may jump there."
    columns = (
        "update",
        "round",
        "return (nats)",
        "line log-likelihood (nats)",
        "lines with a thought",
        "F1",
        "apt thoughts",
    )
    shown = watched or thin(trained, 25)
    cells = tuple(
        (
            number(row["update"], 0),
            number(row["round"] + 1, 0) if is_number(row.get("round")) else MISSING,
            number(row["return"]),
            number(row.get("line_logp")),
            percent(row.get("think_share")),
            number(row.get("f1")),
            percent(row.get("apt")),
        )
        for row in shown
    )
    return Twin(title, text.strip(), columns, cells)


def describe_mstep(record: Mapping[str, Any]) -> Twin | None:
    """Training loss of the arms."""
    arms = curves(record, "mstep", "loss")
    if not arms:
        return None
    ends = {arm: ending(points) for arm, points in arms.items()}
    low = min(ends, key=lambda arm: ends[arm])
    title = f"M-step loss ends lowest for {arm_label(low)}: {number(ends[low], 3)} nats per token"
    if len(arms) == 1:
        title = f"M-step loss of {arm_label(low)} {change(arms[low][0][1], ends[low], 3)} nats per token"
    else:
        title += ", " + join([f"{arm_label(arm)} {number(value, 3)}" for arm, value in ends.items() if arm != low])
    text = (
        "Mean cross-entropy in nats per trained token, each arm's end averaged over its last tenth of "
        "updates. Where thoughts "
        "are written in, their tokens count too, so the curves compare how predictable each arm's text is, "
        "not the code alone. "
    )
    told = [
        f"{arm_label(arm)} starts at {number(points[0][1], 3)} and ends at {number(ends[arm], 3)} after "
        f"{number(points[-1][0], 0)} updates"
        for arm, points in arms.items()
    ]
    rows = tuple(
        (
            arm_label(arm),
            number(points[0][1], 3),
            number(ends[arm], 3),
            number(min(v for _, v in points), 3),
            number(points[-1][0], 0),
        )
        for arm, points in arms.items()
    )
    return Twin(
        title,
        text + "; ".join(told) + ".",
        ("arm", "first loss", "end (last tenth)", "lowest loss", "updates"),
        rows,
    )


def describe_validation(record: Mapping[str, Any]) -> Twin | None:
    """Validation score of the arms; the best checkpoint is the one that was kept, of equals the last (`EMConfig`)."""
    arms = curves(record, "validation", "score")
    if not arms:
        return None
    best = {arm: max(points, key=lambda point: (point[1], point[0])) for arm, points in arms.items()}
    top = max(best, key=lambda arm: best[arm][1])
    title = f"Best validation score: {arm_label(top)} with {number(best[top][1], 3)}"
    if len(best) > 1:
        title += ", then " + join(
            [
                f"{arm_label(arm)} {number(best[arm][1], 3)}"
                for arm in sorted(best, key=lambda a: -best[a][1])
                if arm != top
            ]
        )
    told = [
        f"{arm_label(arm)} peaks at {number(value, 3)} after {number(update, 0)} updates"
        for arm, (update, value) in best.items()
    ]
    text = "Score on validation programs, higher is better; each arm's best checkpoint was kept. "
    rows = tuple(
        (arm_label(arm), number(update, 0), number(value, 3), "kept" if (update, value) == best[arm] else "")
        for arm, points in arms.items()
        for update, value in points
    )
    return Twin(title, text + "; ".join(told) + ".", ("arm", "update", "score", "checkpoint"), rows)


def change(first: float, last: float, digits: int) -> str:
    """How a value moved.

    >>> change(-9.0, -4.5, 1), change(0.5, 0.5, 2)
    ('rose from −9.0 to −4.5', 'stayed at 0.50')
    """
    if number(first, digits) == number(last, digits):
        return f"stayed at {number(last, digits)}"
    return f"{'rose' if last > first else 'fell'} from {number(first, digits)} to {number(last, digits)}"


def mean_of(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    """Mean of the finite numbers under `key`; NaN without any."""
    values = [row[key] for row in rows if is_number(row.get(key))]
    return sum(values) / len(values) if values else math.nan


def ending(points: Sequence[tuple[float, float]]) -> float:
    """Mean of the last tenth of a curve, at least one point."""
    tail = points[-max(1, len(points) // 10) :]
    return sum(value for _, value in tail) / len(tail)


def thin(rows: Sequence[Any], most: int) -> list[Any]:
    """At most about `most` rows, evenly taken, the last one always."""
    step = max(1, math.ceil(len(rows) / most))
    return [row for i, row in enumerate(rows) if (len(rows) - 1 - i) % step == 0]
