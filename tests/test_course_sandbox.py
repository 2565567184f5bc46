"""Every assignment through the grader itself: solved notebooks, fresh ones, and each right and wrong answer."""

import json
import os
from dataclasses import replace

import pytest
from conftest import REPO_ROOT
from course_answers import answers
from course_class import SECRET, hand_in

from ra3_lab.course import masters
from ra3_lab.course.grade import grader
from ra3_lab.course.registry import assignment, names
from ra3_lab.course.report import score
from ra3_lab.course.submissions import find, read


@pytest.fixture(scope="module")
def sandbox():
    with grader(SECRET) as one:
        yield one


def notebook(name, solved=False, sources=None):
    """The notebook of an assignment; `sources`: exercise id -> what stands in its cell."""
    built = json.loads(json.dumps(masters.notebook(assignment(name), masters.read_master(name), solved)))
    for cell in built["cells"]:
        told = cell["metadata"]["ra3_lab"]
        if told["kind"] == "exercise" and told["id"] in (sources or {}):
            cell["source"] = sources[told["id"]]
    return built


def graded(sandbox, folder, student, name, built):
    hand_in(folder, student, built, f"{assignment(name).notebook}.ipynb")
    return sandbox.grade(next(one for one in find(folder)[0] if (one.student, one.assignment) == (student, name)))


@pytest.mark.parametrize("name", names())
def test_a_solved_notebook_earns_full_marks_and_a_fresh_one_none(name, sandbox, tmp_path):
    record = graded(sandbox, tmp_path, "ada", name, notebook(name, solved=True))
    assert {one: mark.mistake for one, mark in record.marks.items() if mark.mistake} == {}
    assert score(record) == (assignment(name).points, assignment(name).points)
    assert set(record.answers) == {question.id for question in assignment(name).questions}
    record = graded(sandbox, tmp_path, "bob", name, notebook(name))
    assert {mark.mistake for mark in record.marks.values()} == {"stub"}


ENDLESS = """SMALL = 1e-12
def option_discount(gamma, hazard):
    alive = 1.0
    while alive > SMALL:
        alive *= 1.0
    return alive"""


@pytest.mark.parametrize("last", ["x = 1", "while True: pass"])
def test_a_function_that_never_ends_takes_no_points_from_others(last, sandbox, tmp_path):
    """Nor does a cell that never ends from functions that need a constant of the notebook's."""
    built = notebook("a1", solved=True)
    discount, plan = (one for one in assignment("a1").exercises if one.id in ("a1.discount", "a1.plan"))
    for cell in built["cells"]:
        if cell["metadata"]["ra3_lab"] == {"kind": "exercise", "id": plan.id}:
            cell["source"] = "FAR = -np.inf\nSIZES = np.array([1, 2.5])\n" + "".join(cell["source"]).replace(
                "-np.inf", "FAR * SIZES[0]"
            )
        elif cell["metadata"]["ra3_lab"] == {"kind": "exercise", "id": discount.id}:
            cell["source"] = ENDLESS
    built["cells"].append({"cell_type": "code", "metadata": {}, "source": last})
    handed = read(tmp_path, hand_in(tmp_path, "ada", built, "a1_options.ipynb"))
    found, stuck, _ = sandbox.mark(handed, replace(discount, cpu_seconds=3), stuck=False)
    assert (found.mistake, stuck) == ("time_limit", False)
    found, stuck, _ = sandbox.mark(handed, replace(plan, cpu_seconds=3), stuck)
    assert (found.mistake, stuck) == ("", last != "x = 1")


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_right_and_wrong_answers_are_told_apart_in_the_sandbox_too(name, sandbox, tmp_path):
    """One answer a notebook: what one defines, another's cell may use."""
    known = answers(name)

    def mark(exercise, source):
        path = hand_in(tmp_path, "ada", notebook(name, sources={exercise.id: source}))
        return sandbox.mark(read(tmp_path, path), exercise, stuck=False)[0]

    for exercise in assignment(name).exercises:
        for source in known.RIGHT[exercise.id]:
            assert mark(exercise, source).mistake == "", (exercise.id, source)
        for kind, (source, mistake) in known.WRONG[exercise.id].items():
            found = mark(exercise, source)
            assert found.points == 0, (exercise.id, kind)
            assert mistake in (None, found.mistake), (exercise.id, kind, found)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("solved", [True, False])
def test_notebooks_run_in_a_kernel(name, solved, tmp_path, monkeypatch):
    """The solved one as it is; the student's to its first stub, and to the end with provided results."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    monkeypatch.setenv("PYTHONPATH", str(REPO_ROOT))
    built = nbformat.reads(json.dumps(notebook(name, solved)), as_version=4)

    def run():
        client = NotebookClient(
            built, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
        )
        client.execute(env=dict(os.environ))

    monkeypatch.setenv("RA3_COURSE_GO_ON", "0")
    if solved:
        run()
        return
    with pytest.raises(CellExecutionError, match=f"{assignment(name).exercises[0].id}: still to be written"):
        run()
    monkeypatch.setenv("RA3_COURSE_GO_ON", "1")
    run()
