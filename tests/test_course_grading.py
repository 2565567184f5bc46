"""Grading: odd submissions are graded as far as possible and explained; hostile ones gain nothing and harm nobody."""

import csv
import os
import socket
import time
from datetime import datetime

import pytest
from course_class import GOOD, NAME, SECRET, cell, hand_in, notebook, only_tiny, with_answer

from ra3_lab.course import entered, grade, program, report, results
from ra3_lab.course.grade import Grader, _edition, grade_all, grader, hidden, key_of, read_journal
from ra3_lab.course.submissions import find

WRONG = "def discounted_return(r, g):\n    return -float(r @ g ** np.arange(len(r)))"


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with only_tiny() as found:
        yield found


@pytest.fixture(scope="module")
def sandbox(tiny) -> Grader:
    with grader(SECRET) as one:
        yield one


@pytest.fixture
def graded(tmp_path, sandbox):
    """Hands in one notebook and gives its record."""

    def grade(built, name=NAME, student="ada"):
        hand_in(tmp_path, student, built, name)
        found, _ = find(tmp_path)
        return sandbox.grade(next(one for one in found if one.student == student))

    return grade


def mark(record):
    return record.marks["a0.discount"]


def test_a_solved_notebook_earns_full_marks_and_a_fresh_one_none(graded):
    solved = graded(notebook(solved=True))
    assert (mark(solved).points, mark(solved).mistake, solved.notes) == (2, "", ())
    assert "hardly count" in solved.answers["a0.why_gamma"]
    fresh = graded(notebook(), student="bob")
    assert (mark(fresh).points, mark(fresh).mistake) == (0, "stub")


def test_a_mistake_is_named(graded):
    record = graded(with_answer(WRONG))
    assert (mark(record).points, mark(record).mistake, mark(record).hint) == (0, "sign", "The sign is flipped.")


# ---------------------------------------------------------------------------------------- odd submissions


def test_deleted_cells_do_not_matter_while_the_function_is_there(graded):
    built = with_answer(GOOD)
    built["cells"] = [one for one in built["cells"] if one["metadata"]["ra3_lab"]["kind"] == "exercise"]
    assert mark(graded(built)).points == 2  # np comes from the cells that are given
    built["cells"] = []
    empty = graded(built, student="bob")
    assert (mark(empty).points, mark(empty).mistake) == (0, "missing")


def test_lost_metadata_and_a_renamed_file_are_recognised_by_what_is_there(graded):
    built = with_answer("import numpy as np\n" + GOOD)
    built["metadata"] = {}
    for one in built["cells"]:
        one["metadata"] = {}
    record = graded(built, name="homework (3).ipynb")
    assert mark(record).points == 2
    assert any("renamed" in note for note in record.notes)


def test_a_renamed_function_in_its_own_cell_is_found(graded):
    assert mark(graded(with_answer(GOOD.replace("discounted_return", "my_return")))).points == 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b'{"cells": 3}',
        b'{"cells": null}',
        b'{"worksheets": []}',
        b"[" * 50_000,
        b"PK\x03\x04",
    ],
)
def test_a_corrupt_file_is_explained(graded, data):
    record = graded(data)
    assert mark(record).points == 0
    assert "could not be read" in record.notes[0] and "ada" not in record.notes[0]
    assert report.status(record) == "unreadable"


def test_another_kernel_and_an_older_format_are_read(graded):
    built = with_answer(GOOD)
    built["metadata"]["kernelspec"] = {"name": "ir", "language": "R", "display_name": "R"}
    record = graded(built)
    assert mark(record).points == 2 and any("'R'" in note for note in record.notes)
    old = {"metadata": {}, "nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": [GOOD]}]}]}
    assert mark(graded(old, student="bob")).points == 2


def test_magics_syntax_errors_and_raising_cells_cost_nothing_else(graded):
    built = with_answer(GOOD)
    extra = [
        "%matplotlib inline\nx = 1",
        "!pip install x",
        "def broken(:",
        "1 / 0\ny = 2",
        "import matplotlib_is_not_here",
    ]
    for source in extra:
        built["cells"].insert(1, {"cell_type": "code", "metadata": {}, "source": source, "outputs": []})
    record = graded(built)
    assert mark(record).points == 2
    assert any("syntax error" in note for note in record.notes) and any("no Python" in note for note in record.notes)


@pytest.mark.parametrize(
    "magic", ["%%time", "%%capture out", "%%prun -s time", "%%capture\n%%time\n%matplotlib inline"]
)
def test_a_magic_that_runs_its_cell_takes_no_function_away(graded, magic):
    record = graded(with_answer(f"{magic}\n{GOOD}"))
    assert mark(record).points == 2 and "no Python" in record.notes[0]


@pytest.mark.parametrize("kind", ["check", "show", "given"])
def test_code_that_a_student_has_written_into_a_cell_of_ours_is_run(graded, kind):
    built = with_answer(GOOD.replace("g **", "factor(g) **"))
    ours = cell(built, kind)
    ours["source"] = "def factor(g):\n    return g\n\n" + "".join(ours["source"])
    assert mark(graded(built)).points == 2


def test_cells_that_show_and_check_are_not_run_as_they_were_handed_out(tmp_path, tiny):
    built = with_answer(GOOD)
    for one in built["cells"]:
        one["metadata"] = {}
    hand_in(tmp_path, "ada", built)
    text = program.text(find(tmp_path)[0][0], tiny.exercises[0])
    assert "arange" in text and "The example" not in text and "check(" not in text


def test_a_cell_that_never_ends_is_left_out(graded):
    built = with_answer(GOOD)
    loop = {"cell_type": "code", "metadata": {}, "source": "while True: pass", "outputs": []}
    built["cells"].insert(0, loop)
    record = graded(built)
    assert mark(record).points == 2
    assert any("never ends" in note for note in record.notes)


def test_a_long_cell_that_is_right_is_run_without_a_word(graded):
    built = with_answer(GOOD.replace("g **", "(g * ONE) **"))
    table = {"cell_type": "code", "metadata": {}, "source": f"TABLE = [{'1,' * 60_000}]\nONE = TABLE[0]", "outputs": []}
    built["cells"].insert(0, table)
    record = graded(built)
    assert (mark(record).points, record.notes) == (2, ())


@pytest.mark.parametrize("length", [300, 1000, 3000, 30_000])
def test_expressions_without_end_are_graded_or_skipped(graded, length):
    record = graded(with_answer(GOOD.replace("return ", f"x = {' + '.join('1' * length)}\n    return ", 1)))
    assert mark(record).mistake in ("", "missing", "stub")
    assert mark(record).points == 2 or length > 900


def test_of_several_files_the_newest_that_can_be_read_counts(tmp_path, sandbox):
    hand_in(tmp_path, "ada", with_answer(WRONG))
    newer = hand_in(tmp_path, "ada", with_answer(GOOD), "a0_tiny (1).ipynb")
    broken = hand_in(tmp_path, "ada", b"{", "a0_tiny (2).ipynb")
    os.utime(newer, (time.time() + 10,) * 2)
    os.utime(broken, (time.time() + 20,) * 2)
    (found,), _ = find(tmp_path)
    record = sandbox.grade(found)
    assert mark(record).points == 2
    assert "3 files" in record.notes[-1] and "ada" not in record.notes[-1]


def test_a_groups_folder_is_not_taken_for_a_student(tmp_path):
    for student in ("group_1/ada", "group_1/bob", "cyd/a0", "dan/old", "dan"):
        hand_in(tmp_path, student, notebook())
    with pytest.raises(
        ValueError, match=r"group_1 holds a0 in several folders \(ada, bob\), and the first folder is the"
    ):
        find(tmp_path)
    assert [one.student for one in find(tmp_path / "group_1")[0]] == ["ada", "bob"]
    (tmp_path / "group_1" / "bob" / NAME).unlink()
    assert [one.student for one in find(tmp_path)[0]] == ["cyd", "dan", "group_1"]


def test_links_are_not_followed(tmp_path):
    outside = tmp_path / "outside"
    hand_in(outside, "eve", notebook(solved=True))
    (tmp_path / "in" / "ada").mkdir(parents=True)
    (tmp_path / "in" / "bob").symlink_to(outside / "eve")
    (tmp_path / "in" / "ada" / NAME).symlink_to(outside / "eve" / NAME)
    found, notes = find(tmp_path / "in")
    assert found == [] and len(notes) == 2


def test_names_in_any_encoding_stay_apart_and_meet_the_roster(tmp_path):
    for name in (b"M\xfcller", b"M\xf6ller", "Mu\u0308ller".encode()):  # latin-1 twice, and as macOS writes it
        hand_in(tmp_path / "in", os.fsdecode(name), notebook())
    (tmp_path / "class.csv").write_text("M\u00fcller\n", encoding="utf-8")
    (tmp_path / "other.csv").write_text("Mu\u0308ller\n", encoding="utf-8")
    found, _ = find(tmp_path / "in")
    assert [one.student for one in found] == ["M\\xf6ller", "M\\xfcller", "M\u00fcller"]
    for name in ("class.csv", "other.csv"):
        wanted = entered.with_missing(found, entered.read_roster(tmp_path / name), [])
        assert [one.student for one in wanted] == [one.student for one in found]


def test_a_roster_in_another_encoding_is_named(tmp_path):
    (tmp_path / "class.csv").write_bytes("student,group\nMüller,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"class\.csv is not UTF-8 text .*: save the roster as UTF-8"):
        entered.read_roster(tmp_path / "class.csv")
    (tmp_path / "class.csv").write_text("\ufeffstudent,group\nMüller,1\n", encoding="utf-8")
    assert entered.read_roster(tmp_path / "class.csv") == ["Müller"]


@pytest.mark.parametrize("head", ["Student Name", "E-Mail", "Matrikelnummer", "First name", "Student_ID", "Full Name"])
def test_usual_heads_of_a_roster_are_no_students(tmp_path, head):
    (tmp_path / "class.csv").write_text(f"{head},Points\nada,1\n")
    assert entered.read_roster(tmp_path / "class.csv") == ["ada"]


@pytest.mark.parametrize("text", ["Username,Group\nada,1\n", 'name;group\n"ada";1\n', "\nada\t1\n", "ada\n"])
def test_a_roster_is_read_with_any_head_and_separator(tmp_path, text):
    (tmp_path / "class.csv").write_text(text)
    assert entered.read_roster(tmp_path / "class.csv") == ["ada"]


def test_a_roster_of_other_names_is_told_about(tmp_path):
    for student in ("ada", "bob"):
        hand_in(tmp_path, student, notebook())
    found, _ = find(tmp_path)
    assert entered.compare_roster(["ada", "bob", "cyd", "dan"], found) == []
    (note,) = entered.compare_roster(["ada", "x1", "x2", "x3", "x4"], found)
    assert note == "4 of 5 names of the roster are no submission's: 'x1', 'x2', 'x3', ..."
    with pytest.raises(ValueError, match=r"\('x1'\) is a submission's \('ada', 'bob'\): its first column must"):
        entered.compare_roster(["x1"], found)
    assert entered.compare_roster(["x1"], []) == []  # nobody has handed in yet


def test_missing_and_late_are_told(tmp_path, sandbox):
    path = hand_in(tmp_path, "ada", with_answer(GOOD))
    os.utime(path, (datetime(2027, 3, 2, 1).timestamp(),) * 2)
    found, _ = find(tmp_path)
    records = [sandbox.grade(one) for one in entered.with_missing(found, ["bob"], [])]
    assert len(entered.with_missing(found, [], [])) == 1  # without a roster nobody is missing
    assert len(entered.with_missing(found, ["bob", "bob"], ["a0", "a0"])) == 2  # once, however often it was asked for
    out, course = tmp_path / "grades.csv", tmp_path / "course"
    course.mkdir()
    results.write(records, out, course, SECRET, datetime(2027, 3, 2), names=True)
    rows = {row["student"]: row for row in csv.DictReader(out.open())}
    assert rows["ada"]["late"] == "late by 1.0 hours" and rows["ada"]["points"] == "2"
    assert (rows["bob"]["status"], rows["bob"]["points"]) == ("missing", "0")


# ------------------------------------------------------------------------------------------- what pages say


def test_feedback_holds_no_hidden_input_and_no_name(tmp_path, sandbox):
    telling = "def discounted_return(r, g):\n    raise ValueError(repr((r, g)))"
    sneaky = (
        "def discounted_return(r, g):\n"
        "    raise type('V' + '_'.join(str(x) for x in r).replace('.', 'p').replace('-', 'm'), (Exception,), {})"
    )
    for student, source in (("Ada Lovelace", telling), ("Eve", sneaky), ("Mallory", WRONG)):
        hand_in(tmp_path / "in", student, with_answer(source))
    records = [sandbox.grade(one) for one in find(tmp_path / "in")[0]]
    results.write(records, tmp_path / "grades.csv", tmp_path, SECRET, None, names=False)
    written = [path for path in (tmp_path / "grades").rglob("*") if path.is_file()] + [tmp_path / "grades.csv"]
    assert len(written) == 6
    inputs, expected = hidden(SECRET, "a0.discount")
    drawn = [number for arguments in inputs[1:] for number in (*arguments[0]["data"], arguments[1])] + expected[1:]
    for path in written:
        text = path.read_text()
        for number in drawn:
            assert repr(abs(number))[:10] not in text and repr(abs(number)).replace(".", "p")[:10] not in text
        assert not any(name in text + path.name for name in ("Ada", "Lovelace", "Eve", "Mallory"))
    assert "It raised ValueError" in "".join(path.read_text() for path in written)


def test_text_of_submissions_is_inert_in_pages_and_tables(tmp_path, sandbox):
    built = with_answer(GOOD)
    cell(built, "answer")["source"] = "=HYPERLINK(1)"
    hand_in(tmp_path / "in", "<script>alert(1)</script>".replace("/", "_"), built)
    records = [sandbox.grade(one) for one in find(tmp_path / "in")[0]]
    results.write(records, tmp_path / "grades.csv", tmp_path, SECRET, None, names=True)
    assert "'=HYPERLINK(1)" in (tmp_path / "grades" / "answers.csv").read_text()
    assert all("<script" not in path.read_text() for path in (tmp_path / "grades").rglob("*.html"))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "answer",
    [
        "=1",
        "fine;=1",
        "fine\t+1",
        "a\n-1\r\n@SUM(1)",
        "\uff1d1",
        "x;\uff0b1",
        'x;"=1"',
        "; =1",
        "\t=1",
        "x,;=1",
        "-\t-1",
    ],
)
def test_no_answer_is_a_formula_with_any_separator(tmp_path, answer, separator):
    text = report.table_csv(["student", "answer"], [{"student": "ada", "answer": answer}])
    pieces = [line for row in csv.reader(text.splitlines(), delimiter=separator) for line in row]
    assert not any(piece.strip(' "').startswith(tuple("=+-@\uff1d\uff0b\uff0d\uff20")) for piece in pieces), pieces
    assert report.as_was(str(report.inert(answer))) == answer


def test_students_with_odd_names_are_known_as_they_are(tmp_path):
    names = ["'t Hooft", "=ada;=1", "bob"]
    for _ in range(2):
        results._know(tmp_path, SECRET, names)
    assert results.known_students(tmp_path) == names


def test_half_a_character_in_an_answer_stops_nobodys_grades(tmp_path, sandbox):
    built = with_answer(GOOD)
    cell(built, "answer")["source"] = "far away \ud800 hardly counts"
    hand_in(tmp_path / "in", "ada", built)
    hand_in(tmp_path / "in", "bob", with_answer(GOOD))
    ada, bob = (sandbox.grade(one) for one in find(tmp_path / "in")[0])
    results.write([ada, bob], tmp_path / "grades.csv", tmp_path, SECRET, None, names=True)
    assert "far away ? hardly counts" in (tmp_path / "grades" / "answers.csv").read_text()
    assert any("broken characters" in note for note in ada.notes) and bob.notes == ()


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        results._write(tmp_path / "grades.csv", "\ud800")
    assert not list(tmp_path.iterdir())


def test_purge_removes_what_tells_of_students_and_nothing_else(tmp_path, sandbox):
    course = tmp_path / "course"
    course.mkdir()
    hand_in(tmp_path / "in", "ada", with_answer(GOOD))
    found, _ = find(tmp_path / "in")
    records = grade_all(found, SECRET, course / results.JOURNAL, workers=1)
    results.write(records, tmp_path / "grades.csv", course, SECRET, None, names=False)
    (course / "secret").write_text("stays")
    (tmp_path / "grades" / "mine.txt").write_text("stays")
    (tmp_path / "grades" / "feedback" / "s-1_a10.html").write_text("of an assignment of one's own")
    removed = results.purge(course)
    assert len(removed) == 8
    assert [path.name for path in course.iterdir()] == ["secret"]
    assert [path.name for path in (tmp_path / "grades").iterdir()] == ["mine.txt"]
    assert not (tmp_path / "grades.csv").exists()


# ---------------------------------------------------------------------------------------- flags


def test_copies_and_calls_of_the_library_are_flagged(graded):
    call = "from ra3_lab.course.a0 import _return\n\ndef discounted_return(r, g):\n    return _return(r, g)"
    record = graded(with_answer(call))
    assert mark(record).points == 0  # the library is not there
    assert any("imports ra3_lab.course.a0" in flag for flag in record.flags)
    assert graded(with_answer(GOOD), student="bob").flags == ()


def test_the_same_answers_twice_are_flagged(tmp_path, sandbox):
    long = GOOD + "".join(f"\n    x{n} = r[{n}] * g ** {n} + 3" for n in range(12))
    for student in ("ada", "bob"):
        hand_in(tmp_path, student, with_answer(long))
    hand_in(tmp_path, "cyd", with_answer(long.replace("x1", "mine")))
    records = [sandbox.grade(one) for one in find(tmp_path)[0]]
    flagged = {record.student for record in records if record.key in results.all_flags(records)}
    assert flagged == {"ada", "bob"}


def test_an_installed_library_is_out_of_sight(tmp_path, monkeypatch):
    packages = tmp_path / "site-packages"
    for name in ("ra3_lab", "another"):
        (packages / name).mkdir(parents=True)
        (packages / name / "answers.py").write_text(
            "def answer(r, g):\n    return float(sum(r * g ** np.arange(len(r))))"
        )
    for path in (tmp_path, packages, *packages.iterdir()):
        path.chmod(0o755)
    monkeypatch.syspath_prepend(str(packages))
    read = "def discounted_return(r, g):\n    exec(open({path!r}).read(), globals())\n    return answer(r, g)"
    for name in ("ra3_lab", "another"):
        hand_in(tmp_path / "in", name, with_answer(read.format(path=str(packages / name / "answers.py"))))
    with grader(SECRET) as one:
        points = {found.student: mark(one.grade(found)).points for found in find(tmp_path / "in")[0]}
    assert points == {"another": 2, "ra3_lab": 0}


def test_a_failing_grader_is_no_zero(tmp_path, monkeypatch):
    hand_in(tmp_path / "in", "ada", with_answer(GOOD))
    hand_in(tmp_path / "in", "bob", with_answer(GOOD))
    whole = Grader.grade

    def fail(self, submission):
        if submission.student == "ada":
            raise ZeroDivisionError
        return whole(self, submission)

    monkeypatch.setattr(Grader, "grade", fail)
    found, _ = find(tmp_path / "in")
    ada, bob = grade_all(found, SECRET, tmp_path / "journal.jsonl", workers=1)
    assert report.status(ada) == "ungraded" and mark(bob).points == 2
    assert "please report it" in ada.notes[-1]


# ---------------------------------------------------------------------------------------- resuming


def test_a_journal_is_gone_on_from_even_with_a_torn_line(tmp_path):
    for student, source in (("ada", GOOD), ("bob", WRONG), ("cyd", GOOD)):
        hand_in(tmp_path / "in", student, with_answer(source))
    found, _ = find(tmp_path / "in")
    journal = tmp_path / "journal.jsonl"
    whole = grade_all(found, SECRET, journal, workers=1)
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text(lines[0] + lines[1][: len(lines[1]) // 2])  # killed while writing
    seen = []
    again = grade_all(found, SECRET, journal, workers=1, progress=lambda done, of: seen.append(done))
    assert seen == [2, 3]
    assert [one.marks for one in again] == [one.marks for one in whole]
    assert len(read_journal(journal)) == 3


def test_a_grading_that_is_asked_to_stop_leaves_what_is_under_way(tmp_path):
    """What is left undone is no failure of the grader: the next grading begins it anew."""
    endless = with_answer("def discounted_return(r, g):\n    while True: pass")
    for student, document in (("ada", with_answer(GOOD)), ("bob", endless)):
        hand_in(tmp_path / "in", student, document)
    found, _ = find(tmp_path / "in")
    journal = tmp_path / "journal.jsonl"

    def control_c(done, of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grade_all(found, SECRET, journal, workers=2, progress=control_c)
    assert [one.student for one in read_journal(journal).values()] == ["ada"]
    stopped = Grader(SECRET, None)
    stopped.stopping.set()
    with pytest.raises(grade.Stopped):  # before it asks the sandbox for anything
        stopped.grade(found[0])


def test_another_right_answer_is_another_key(tmp_path, monkeypatch):
    """Also where the file of the exercise is the same: oracles call the library."""
    hand_in(tmp_path, "ada", with_answer(GOOD))
    (found,), _ = find(tmp_path)

    def key():
        hidden.cache_clear()
        _edition.cache_clear()
        return key_of(found, SECRET)

    before = key()
    assert key() == before
    whole = grade.right
    with monkeypatch.context() as changed:
        changed.setattr(grade, "right", lambda exercise, arguments: whole(exercise, arguments) + 1)
        assert key() != before
    assert key() == before


def test_when_a_file_was_handed_in_and_what_was_odd_about_it_come_from_the_file_not_from_the_journal(tmp_path):
    loop = with_answer(GOOD)
    loop["cells"].insert(0, {"cell_type": "code", "metadata": {}, "source": "while True: pass", "outputs": []})
    path = hand_in(tmp_path / "in", "ada", loop)
    other = hand_in(tmp_path / "in", "ada", b"{", "a0_tiny (1).ipynb")
    journal = tmp_path / "journal.jsonl"
    (before,) = grade_all(find(tmp_path / "in")[0], SECRET, journal, workers=1)
    assert "2 files" in before.notes[0] and "never ends" in before.notes[1]
    other.unlink()
    os.utime(path, (before.handed_in + 500,) * 2)
    (after,) = grade_all(find(tmp_path / "in")[0], SECRET, journal, workers=1)
    assert len(journal.read_text().splitlines()) == 1  # it was not graded again
    assert after.handed_in == before.handed_in + 500
    assert len(after.notes) == 1 and "never ends" in after.notes[0]


# ---------------------------------------------------------------------------------------- the red team

ATTACKS = {
    "exit at once": "import os\nos._exit(0)",
    "exit in the function": "import os\ndef discounted_return(r, g):\n    os._exit(0)",
    "SystemExit": "def discounted_return(r, g):\n    raise SystemExit(0)",
    "patch the checks": (
        "import sys, builtins\n"
        "for module in list(sys.modules.values()):\n"
        "    for name in ('close', 'accepts', 'judge', 'examine', 'right'):\n"
        "        try: setattr(module, name, lambda *a, **k: True)\n"
        "        except Exception: pass\n"
        "def discounted_return(r, g):\n    return 0.0"
    ),
    "an object that equals everything": (
        "class Yes(float):\n"
        "    def __eq__(self, other): return True\n"
        "    def __sub__(self, other): return 0.0\n"
        "    __rsub__ = __sub__\n"
        "    __hash__ = None\n"
        "def discounted_return(r, g):\n    return Yes(0)"
    ),
    "forge results on the channel": (
        "import os\n"
        "def discounted_return(r, g):\n"
        "    for number in range(3, 64):\n"
        '        try: os.write(number, b\'["list",["ok",2.0]]\\n\' * 9)\n'
        "        except OSError: pass\n"
        "    os._exit(0)"
    ),
    "claim a verdict": "def discounted_return(r, g):\n    return {'passed': True, 'points': 99, 'status': 'passed'}",
    "nan": "def discounted_return(r, g):\n    return float('nan')",
    "an endless loop": "def discounted_return(r, g):\n    while True: pass",
    "fill memory": "def discounted_return(r, g):\n    x = []\n    while True: x.append(bytearray(1 << 26))",
    "fill the disk": (
        "def discounted_return(r, g):\n"
        "    with open('big', 'wb') as file:\n"
        "        while True: file.write(bytes(1 << 20))"
    ),
    "fork": "import os\ndef discounted_return(r, g):\n    while True: os.fork()",
    "a huge result": "def discounted_return(r, g):\n    return [0.0] * 10_000_000",
    "a nested result": "def discounted_return(r, g):\n    x = []\n    for _ in range(10_000): x = [x]\n    return x",
    "search the stack for what is expected": (
        "import sys, gc\n"
        "def discounted_return(r, g):\n"
        "    for thing in gc.get_objects():\n"
        "        if isinstance(thing, dict) and 'expected' in thing:\n"
        "            return thing['expected'][0]\n"
        "    frame = sys._getframe()\n"
        "    while frame:\n"
        "        if 'expected' in frame.f_locals: return frame.f_locals['expected'][0]\n"
        "        frame = frame.f_back\n"
        "    return 0.0"
    ),
}


def test_no_attack_gains_a_mark_and_the_next_submission_is_graded_as_before(tmp_path, sandbox):
    for name, source in ATTACKS.items():
        hand_in(tmp_path, name, with_answer(source))
        hand_in(tmp_path, f"{name} after", with_answer(GOOD))
    before = sorted(path.name for path in tmp_path.iterdir())
    for submission in find(tmp_path)[0]:
        record = sandbox.grade(submission)
        honest = submission.student.endswith("after")
        assert mark(record).points == (2 if honest else 0), (submission.student, mark(record))
        assert mark(record).mistake != "ungraded", submission.student
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_submission_reads_neither_secret_nor_others_nor_the_network(tmp_path, sandbox):
    """It returns what it could get hold of; the grader's own process says what that was."""
    (tmp_path / "secret").write_text("5ec2e7")
    hand_in(tmp_path, "bob", with_answer(GOOD))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        attack = (
            "import glob, os, socket\n"
            "def discounted_return(r, g):\n"
            "    got = []\n"
            f"    for path in [{str(tmp_path / 'secret')!r}, {str(tmp_path / 'bob' / NAME)!r}, '/etc/passwd',\n"
            "                 *glob.glob('/proc/*/environ'), *glob.glob('/proc/*/cmdline')]:\n"
            "        try: got.append(open(path, 'rb').read() and path)\n"
            "        except OSError: pass\n"
            "    try:\n"
            f"        socket.create_connection(('127.0.0.1', {port}), 1); got.append('network')\n"
            "    except OSError: pass\n"
            "    others = [x for x in got if x and 'self' not in x and str(os.getpid()) not in x]\n"
            "    raise RuntimeError if others else KeyError"
        )
        hand_in(tmp_path, "eve", with_answer(attack))
        record = sandbox.grade(next(one for one in find(tmp_path)[0] if one.student == "eve"))
        listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listener.accept()
    assert mark(record).hint.startswith("It raised KeyError"), mark(record)
