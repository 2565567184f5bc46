"""Answers in words: found wherever a student has put them; points that a person has entered are kept."""

import csv
import re

import pytest
from course_class import GOOD, SECRET, cell, hand_in, notebook, only_tiny, with_answer

from ra3_lab.course import entered, masters, report, results
from ra3_lab.course.grade import Grader, grader
from ra3_lab.course.submissions import find


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with only_tiny() as found:
        yield found


@pytest.fixture(scope="module")
def sandbox(tiny) -> Grader:
    with grader(SECRET) as one:
        yield one


def in_words(tmp_path, sandbox, **answers):
    """Records of students who answer the question so."""
    for student, answer in answers.items():
        built = with_answer(GOOD)
        cell(built, "answer")["source"] = answer
        hand_in(tmp_path / "in", student, built)
    return [sandbox.grade(one) for one in find(tmp_path / "in")[0]]


def answer_rows(path):
    return {row["student"]: row for row in csv.DictReader(path.open(newline=""))}


def test_points_that_a_person_has_entered_outlast_another_grading(tmp_path, sandbox):
    out, path = tmp_path / "grades.csv", tmp_path / "grades" / "answers.csv"
    records = in_words(tmp_path, sandbox, ada="so\rand; so", bob="because", cyd="=2", dan="well, yes", eve="")
    results.write(records, out, tmp_path, SECRET, None, names=True)
    rows = answer_rows(path)
    assert [row["points"] for row in rows.values()] == ["", "", "", "", "0"]
    for student, points in {"ada": "1", "bob": "0.5", "cyd": "0", "dan": "1"}.items():
        rows[student]["points"] = points
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # as a spreadsheet saves it
        writer = csv.DictWriter(file, list(rows["ada"]), delimiter=";", lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows.values())
    records = in_words(tmp_path, sandbox, bob="because of that", eve="late")
    with_dan_gone = [one for one in records if one.student != "dan"]
    _, notes = results.write(with_dan_gone, out, tmp_path, SECRET, None, names=False)
    after = {name: answer_rows(path)[SECRET.pseudonym(name)] for name in rows}
    assert {name: row["points"] for name, row in after.items()} == dict(ada="1", bob="", cyd="0", dan="1", eve="")
    assert after["dan"]["answer"] == "well, yes"
    (note,) = notes
    assert note == (
        f"{SECRET.pseudonym('bob')} has changed the answer to a0.why_gamma that had 0.5 points: enter them anew"
    )


WORDS = "The Markov property holds where an option stops."


def _answer_cell(built, **changed):
    cell(built, "answer").update(changed)


def _lost_metadata(built):
    cell(built, "answer")["source"] = WORDS
    built["metadata"] = {}
    for one in built["cells"]:
        one["metadata"] = {}


def _as_otter_has_it(built):
    _lost_metadata(built)
    for one in built["cells"]:
        one["source"] = re.sub(r"\*\*Why\?\*\* \(.*?\) ", "", "".join(one["source"]))


def _in_the_question(built):
    cell(built, "question")["source"] += f"\n\n{WORDS}"


def _instead_of_the_question(built):
    cell(built, "question")["source"] = WORDS
    built["cells"].remove(cell(built, "answer"))


def _merged(built):
    cell(built, "question")["source"] += f"\n\n{masters.ANSWER}\n\n{WORDS}"
    built["cells"].remove(cell(built, "answer"))


def _in_a_new_cell(built, kind="markdown"):
    place = built["cells"].index(cell(built, "question")) + 1
    built["cells"].insert(place, {"cell_type": kind, "metadata": {}, "source": WORDS})


def _in_a_copy_of_another_place(built):
    cell(built, "answer")["metadata"]["ra3_lab"]["id"] = "a0.gone"
    cell(built, "answer")["source"] = WORDS


@pytest.mark.parametrize(
    "change",
    [
        lambda built: _answer_cell(built, source=f"{masters.ANSWER}\n\n{WORDS}"),
        lambda built: _answer_cell(built, source=WORDS, cell_type="code"),
        lambda built: _answer_cell(built, source=f"{masters.ANSWER}\n\n{WORDS}", cell_type="raw"),
        _lost_metadata,
        _as_otter_has_it,
        _in_the_question,
        _instead_of_the_question,
        _merged,
        _in_a_new_cell,
        lambda built: _in_a_new_cell(built, "code"),
        lambda built: _in_a_new_cell(built, "raw"),
        _in_a_copy_of_another_place,
    ],
)
def test_words_are_found_wherever_a_student_has_put_them(tmp_path, change):
    built = with_answer(GOOD)
    change(built)
    hand_in(tmp_path, "ada", built)
    (found,), _ = find(tmp_path)
    assert found.answers == {"a0.why_gamma": WORDS}
    assert not any("answer" in note for note in found.notes)


def test_code_and_given_cells_after_a_question_are_no_words(tmp_path):
    built = notebook()
    built["cells"].append({"cell_type": "code", "metadata": {}, "source": "x = 2\nprint(x)"})
    built["cells"].append({"cell_type": "markdown", "metadata": {}, "source": cell(built, "about")["source"]})
    built["cells"].append({"cell_type": "markdown", "metadata": {}, "source": "about an exercise"})
    hand_in(tmp_path, "ada", built)
    assert find(tmp_path)[0][0].answers == {"a0.why_gamma": ""}


@pytest.mark.parametrize("empty", [masters.ANSWER, "", f"{masters.ANSWER}\n\nYOUR ANSWER HERE"])
def test_no_points_are_entered_only_where_the_place_of_an_answer_is_empty(tmp_path, sandbox, empty):
    out, path = tmp_path / "grades.csv", tmp_path / "grades" / "answers.csv"
    for student, gone in {"ada": [], "bob": ["answer"], "cyd": ["question"], "dan": ["question", "answer"]}.items():
        built = with_answer(GOOD)
        cell(built, "answer")["source"] = empty
        for kind in gone:
            built["cells"].remove(cell(built, kind))
        hand_in(tmp_path / "in", student, built)
    hand_in(tmp_path / "in", "eve", b"{")
    records = [sandbox.grade(one) for one in entered.with_missing(find(tmp_path / "in")[0], ["fay"], [])]
    results.write(records, out, tmp_path, SECRET, None, names=True)
    rows = answer_rows(path)
    assert {name: row["points"] for name, row in rows.items()} == dict(ada="0", bob="", cyd="", dan="", eve="", fay="0")
    assert {name for name, row in rows.items() if row["answer"] == report.NOT_FOUND} == {"bob", "cyd", "dan", "eve"}
    noted = {one.student for one in records if any("an answer to a0.why_gamma" in note for note in one.notes)}
    assert noted == {"bob", "cyd", "dan"}
    path.write_text(path.read_text().replace("bob,a0.why_gamma,,", "bob,a0.why_gamma,0,"))
    results.write(records, out, tmp_path, SECRET, None, names=True)
    assert answer_rows(path)["bob"]["points"] == "0"  # a person has looked


@pytest.mark.parametrize(
    ("data", "said"), [(b"answer,points\nx,1\n", "no column of, question, student"), (b"M\xfcller", "save the answers")]
)
def test_a_table_of_answers_that_cannot_be_read_is_not_overwritten(tmp_path, sandbox, data, said):
    (tmp_path / "grades").mkdir()
    (tmp_path / "grades" / "answers.csv").write_bytes(data)
    records = in_words(tmp_path, sandbox, ada="so")
    with pytest.raises(ValueError, match=said):
        results.write(records, tmp_path / "grades.csv", tmp_path, SECRET, None, names=True)
    assert not (tmp_path / "grades.csv").exists() and (tmp_path / "grades" / "answers.csv").read_bytes() == data
