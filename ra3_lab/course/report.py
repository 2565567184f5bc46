"""What comes out of grading: grades.csv, a feedback page a student, a class report, the answers a person reads.

Students appear under pseudonyms unless names are asked for; `students.csv` in the teacher's folder says who is who.
Pages hold no hidden input, no expected value, and nothing that a submission wrote except the student's own answers.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from statistics import median

from ra3_lab.course.exercise import Assignment
from ra3_lab.course.grade import Mark, Record
from ra3_lab.course.registry import assignment

Label = Callable[[str], str]
"""A student's name to what is shown."""
NOT_FOUND = "(not found)"
"""In the place of an answer where neither words nor an empty place for them were found."""
_SIGN = '[" ]*[=+\\-@\uff1d\uff0b\uff0d\uff20]'
_FORMULA = re.compile(f"^(?=[\\t\\r]|{_SIGN})|(?<=[;\\t\\n\\r])(?={_SIGN})")
"""Where a formula may begin, full-width signs too: in front, and after what separates cells in another reading."""


def score(record: Record) -> tuple[int, int]:
    """Points earned and points there are."""
    return sum(mark.points for mark in record.marks.values()), sum(mark.of for mark in record.marks.values())


def status(record: Record) -> str:
    """graded, missing, unreadable, unknown (which assignment?) or ungraded (the sandbox failed)."""
    if not record.assignment:
        return "unknown"
    if not record.path:
        return "missing"
    if record.ungraded:
        return "ungraded"
    everything = {mark.mistake for mark in record.marks.values()}
    return (
        "unreadable" if everything == {"missing"} and any("could not be read" in n for n in record.notes) else "graded"
    )


def grades_csv(records: Sequence[Record], label: Label, late: dict[str, str], flags: dict[str, list[str]]) -> str:
    """One row a student and assignment, sorted; a column for each exercise. `late`, `flags`: by record key."""
    exercises = [one.id for name in _names(records) for one in assignment(name).exercises]
    rows = []
    for record in records:
        points, of = score(record)
        row = {
            "student": label(record.student),
            "assignment": record.assignment,
            "status": status(record),
            "points": points,
            "of": of,
            "late": late.get(record.key, ""),
            "flags": len(flags.get(record.key, [])),
            "notes": "; ".join(record.notes),
        }
        marks = {name: "" if mark.mistake == "ungraded" else mark.points for name, mark in record.marks.items()}
        rows.append(row | marks)
    head = ["student", "assignment", "status", "points", "of", "late", "flags", *exercises, "notes"]
    return table_csv(head, sorted(rows, key=lambda row: (row["assignment"], row["student"])))


def answers_csv(
    records: Sequence[Record], label: Label, points: Mapping[tuple[str, str], str], others: Sequence[dict[str, str]]
) -> str:
    """The questions that a person reads: one row an answer, with a column for points.

    Args:
        records: Whose answers.
        label: A student's name to what is shown.
        points: By record key and question, what a person has given; the other cells are empty, 0 where nothing was
            handed in or the place of the answer is empty.
        others: Rows to keep that are about no record.
    """
    head = ["student", "question", "points", "of", "answer"]
    rows: list[dict] = [{name: row[name] for name in head} | {"student": label(row["student"])} for row in others]
    for record in records:
        if record.assignment:
            for question in assignment(record.assignment).questions:
                answer = answer_of(record, question.id)
                rows.append({"student": label(record.student), "question": question.id, "of": question.points})
                given = points.get((record.key, question.id), "" if answer else 0)
                rows[-1] |= {"points": given, "answer": answer}
    return table_csv(head, sorted(rows, key=lambda row: (row["question"], row["student"])))


def answer_of(record: Record, question: str) -> str:
    """A student's words, "" where there certainly are none, else NOT_FOUND."""
    return record.answers.get(question, NOT_FOUND if record.path else "")


def table_csv(head: Sequence[str], rows: Iterable[dict]) -> str:
    """CSV; an apostrophe stands before what a spreadsheet would take for a formula."""
    text = io.StringIO()
    writer = csv.DictWriter(text, head, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: inert(value) for name, value in row.items()})
    return text.getvalue()


def inert(value: object) -> object:
    """A cell that no spreadsheet takes for a formula, nor a part of it where ; or tab separate cells.

    >>> inert("=1"), inert("so;=1"), inert("4 - 1")
    ("'=1", "so;'=1", '4 - 1')
    """
    return _FORMULA.sub("'", value) if isinstance(value, str) else value


def as_was(text: str) -> str:
    """The text that `inert` was given.

    >>> as_was(inert("=1;=2")), as_was("'t Hooft")
    ('=1;=2', "'t Hooft")
    """
    return re.sub(f"(^|[;\\t\\n\\r])'(?=[\\t\\r]|{_SIGN})", r"\1", text)


def feedback_html(record: Record, shown: str, late: str = "") -> str:
    """A student's page for one assignment."""
    found = assignment(record.assignment)
    points, of = score(record)
    notes = [*record.notes, *([late] if late else [])]
    rows = "".join(_row(found, name, mark) for name, mark in record.marks.items())
    questions = sum(question.points for question in found.questions)
    return page(
        f"{found.id.upper()} {found.title}",
        f"<p class=who>{escape(shown)}</p><p class=score><b>{points}</b> of {of} points"
        + (f"; up to {questions} more for answers in words, which a person reads" if questions else "")
        + f".</p>{_list('About your submission', notes)}"
        "<table><caption>Exercises</caption><thead><tr><th scope=col>Exercise<th scope=col class=n>Points"
        f"<th scope=col>What was found</tr></thead><tbody>{rows}</tbody></table>"
        "<p>Functions were called with fresh inputs that nobody had seen, and checked within tolerances. "
        "A hint names what a wrong result looks like; it can be mistaken.</p>",
    )


def _row(found: Assignment, name: str, mark: Mark) -> str:
    title = next(one.title for one in found.exercises if one.id == name)
    if mark.mistake == "":
        said = "<span class=yes>✓ right</span>"
    elif mark.mistake == "missing" and not mark.hint:
        said = "<span class=no>– not found</span>"
    else:
        example = " On the visible example it is right." if mark.example else ""
        said = f"<span class=no>✗</span> {_hint(mark.hint)}{example}"
    return (
        f"<tr><th scope=row>{escape(title)} <code>{escape(name)}</code><td class=n>{mark.points} of {mark.of}"
        f"<td>{said}</tr>"
    )


def class_html(records: Sequence[Record], label: Label, late: dict[str, str], flags: dict[str, list[str]]) -> str:
    """The report for the teacher: how the class did, what went wrong how often, what to look at."""
    parts = []
    for name in _names(records):
        parts.append(_assignment(assignment(name), [one for one in records if one.assignment == name]))
    look = [
        f"{label(one.student)}, {one.assignment}: {text}"
        for one in sorted(records, key=lambda one: (one.assignment, label(one.student)))
        for text in [*flags.get(one.key, []), *([late[one.key]] if one.key in late else []), *one.notes]
        if one.path
    ]
    parts.append(_list("To look at", look) or "<p>Nothing odd was found.</p>")
    parts.append("<p>A flag is a question, not a verdict: short functions are alike by chance.</p>")
    return page("How the class did", "".join(parts))


def _assignment(found: Assignment, records: list[Record]) -> str:
    here = [one for one in records if status(one) in ("graded", "ungraded")]
    counts = Counter(status(one) for one in records)
    told = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    text = f"<h2>{found.id.upper()} {escape(found.title)}</h2><p>{told}."
    if not here:
        return text + "</p>"
    shares = [100 * score(one)[0] / max(score(one)[1], 1) for one in here]
    bins = Counter(min(int(share // 10), 9) for share in shares)
    rows = ""
    for exercise in found.exercises:
        marks = [one.marks[exercise.id] for one in here]
        right = sum(mark.mistake == "" for mark in marks)
        wrong = Counter((mark.mistake, mark.hint) for mark in marks if mark.mistake)
        mistakes = ((n, escape(kind), _hint(hint)) for (kind, hint), n in wrong.most_common(3))
        common = "".join(f"<li>{n} × <code>{kind}</code> {hint}" for n, kind, hint in mistakes)
        rows += (
            f"<tr><th scope=row>{escape(exercise.title)} <code>{exercise.id}</code><td class=n>{right} of {len(here)}"
            f"<td><meter min=0 max={len(here)} value={right}></meter><td><ul>{common}</ul></tr>"
        )
    return (
        f"{text} Median {median(shares):.0f} % of the points.</p>{_histogram(bins)}"
        "<table><caption>Exercises and the most common mistakes</caption><thead><tr><th scope=col>Exercise"
        "<th scope=col class=n>Right<th scope=col>Share<th scope=col>Mistakes</tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _histogram(bins: Counter[int]) -> str:
    """Bars and, for readers of text, the same as a sentence."""
    highest = max(bins.values(), default=1)
    bars = ""
    for bin_ in range(10):
        count = bins[bin_]
        height = 80 * count / highest
        bars += f'<rect x="{bin_ * 44 + 4}" y="{100 - height:.1f}" width="36" height="{height:.1f}"/>'
        if count:
            bars += f'<text x="{bin_ * 44 + 22}" y="{95 - height:.1f}">{count}</text>'
        bars += f'<text x="{bin_ * 44 + 22}" y="116">{10 * bin_}+</text>'
    words = ", ".join(f"{bins[bin_]} with {10 * bin_} to {10 * bin_ + 10} %" for bin_ in range(10) if bins[bin_])
    label = f"Submissions by share of points: {words}"
    return (
        f'<figure><svg viewBox="0 0 444 122" role="img" aria-label="{label}">{bars}</svg>'
        f"<figcaption>Submissions by share of the points, in %: {words}.</figcaption></figure>"
    )


def page(title: str, body: str) -> str:
    """A page that needs nothing else: no script, no address outside."""
    css = files("ra3_lab.course").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style></head>\n"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>\n"
    )


def _hint(text: str) -> str:
    """A hint as HTML; what stands in backticks is code.

    >>> _hint("`f` returns None, x < 1")
    '<code>f</code> returns None, x &lt; 1'
    """
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _list(title: str, items: Sequence[str]) -> str:
    if not items:
        return ""
    return f"<h2>{escape(title)}</h2><ul>{''.join(f'<li>{escape(item)}' for item in items)}</ul>"


def _names(records: Sequence[Record]) -> list[str]:
    return sorted({record.assignment for record in records} - {""})
