"""Answers in words: found in a submission's cells wherever they were typed, or known not to be there.

Metadata help and are not needed: Otter drops them, and students copy, retype and change cells.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import NamedTuple

from ra3_lab.course import masters
from ra3_lab.course.registry import assignment

LONGEST_ANSWER = 20_000
"""Characters of an answer in words."""
_QUESTION = re.compile(r"(?:\*\*Why\?\*\* )?\((a\d+\.\w+), \d+ points?\b[^)]*\)")
_PLACES = (masters.ANSWER, "YOUR ANSWER HERE", "_Type your answer here, replacing this text._")
"""What stands where an answer is to be written; the others are nbgrader's and Otter's."""


class Cell(NamedTuple):
    """A cell of any type; kind and id as its metadata claim them."""

    type: str
    kind: str
    id: str
    source: str
    replaced: bool


@cache
def handed_out(name: str) -> tuple[dict[str, str], frozenset[str]]:
    """Of an assignment: question id -> what is asked; the cells, white space aside, that are not about questions."""
    master = masters.read_master(name)
    asked = {cell.about: masters.split_rubric(cell.source)[0] for cell in master if cell.mark == "question"}
    cells = masters.student_cells(assignment(name), master)
    return asked, frozenset(" ".join(c.source.split()) for c in cells if c.mark not in ("question", "answer"))


def answers(records: list[Cell], what: str) -> dict[str, str]:
    """Question id -> words, wherever they stand: in the answer's cell, in cells of the student's after the question, in
    the question's own cell. "" only where the question is as it was handed out and a place for the answer is empty."""
    asked, given = handed_out(what)
    said: dict[str, list[str]] = {name: [] for name in asked}
    untouched, places, question = set(), set(), ""
    for record in records:
        text = record.source.strip()
        tagged = _QUESTION.search(text)
        named = tagged[1] if tagged else next((name for name, words in asked.items() if words in text), "")
        if named in asked:
            question = about = named
        elif record.kind == "question" and record.id in asked:
            question = about = record.id
        elif record.kind == "answer" and record.id in asked and not (question and record.id in places):
            about = record.id
        elif record.kind in ("answer", "own") and question and " ".join(text.split()) not in given:
            about = question  # a copied cell claims to be another's answer
        else:
            about = question = ""
        if not about or (record.type == "code" and record.kind == "own" and text and not is_words(text)):
            continue
        words = text
        for place in _PLACES:
            words = words.replace(place, "").strip()
        if asks := named in asked or record.kind == "question":
            untouched |= {about} if asked[about] in words else set()
            words = _without_question(words, asked[about])
        said[about] += [words] if words else []
        places |= {about} if not asks or any(place in text for place in _PLACES) else set()
    there = {name: "\n\n".join(words)[:LONGEST_ANSWER] for name, words in said.items()}
    return {name: words for name, words in there.items() if words or name in untouched & places}


def _without_question(text: str, asked: str) -> str:
    """What a question's cell holds beside what is asked.

    >>> _without_question("**Why?** (a1.why_x, 1 point, read by a person) Is it so?\\n\\nYes.", "Is it so?")
    'Yes.'
    """
    text = _QUESTION.sub("", text, count=1).strip()
    if asked in text:
        return text.replace(asked, "", 1).strip()
    return "\n".join(line for line in text.splitlines() if line.strip() not in asked.splitlines()).strip()


def is_words(source: str) -> bool:
    """Whether a code cell holds words: it is no Python, or comments, names and constants only.

    >>> is_words("The Markov property."), is_words("# convex"), is_words("x = 2")
    (True, True, False)
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    return all(isinstance(one, ast.Expr) and isinstance(one.value, (ast.Constant, ast.Name)) for one in body)
