"""Programs walked along the expert's segments (`ra3_lab/evaluate/breaks.py`)."""

from ra3_lab.evaluate.breaks import Segment, count_breaks, walk
from ra3_lab.evaluate.latents import true_trace
from ra3_lab.tasks.pipelines import load_split

TASK = load_split("validation")[0]
CODE = "".join(TASK.lines)
THOUGHT_OUT = true_trace(TASK).render().removeprefix(TASK.prompt)


def test_right_program_is_walked_to_its_end():
    assert walk(CODE, TASK) == [Segment("none", True)] * len(TASK.steps)
    assert walk(THOUGHT_OUT, TASK) == [Segment("right", True)] * len(TASK.steps)
    assert walk(THOUGHT_OUT + "    more\n", TASK) == walk(THOUGHT_OUT, TASK)


def test_walk_ends_at_the_first_wrong_line():
    third = TASK.starts[2]
    changed = [*TASK.lines]
    changed[third + 1] = "    pass\n"
    assert walk("".join(changed), TASK) == [Segment("none", True)] * 2 + [Segment("none", False)]
    left_out = [line for place, line in enumerate(TASK.lines) if place != third]
    assert walk("".join(left_out), TASK) == [Segment("none", True)] * 2 + [Segment("none", False)]


def test_other_thought_is_told_apart_and_lines_may_still_be_right():
    first = f"#{TASK.steps[0].thought}\n"
    other = f"#{TASK.steps[1].thought}\n"
    assert walk(THOUGHT_OUT.replace(first, other, 1), TASK)[0] == Segment("another", True)
    assert walk(other + first + CODE, TASK)[0] == Segment("right", True), "of several in a row the last"
    inside = "".join([TASK.lines[0], other, *TASK.lines[1:]])
    assert walk(inside, TASK)[0] == Segment("none", True), "thoughts between the lines of a segment do not count"


def test_program_that_stops_early_breaks_where_it_stops():
    before = "".join(TASK.lines[: TASK.starts[1]])
    assert walk("", TASK) == [Segment("none", False)]
    assert walk(before, TASK) == [Segment("none", True), Segment("none", False)]
    assert walk(f"{before}#{TASK.steps[1].thought}\n", TASK)[-1] == Segment("right", False)


def test_counts_add_up_over_programs():
    counts = count_breaks([walk(THOUGHT_OUT, TASK), walk("", TASK)])
    steps = len(TASK.steps)
    assert counts == {
        "reached": {"right": steps, "another": 0, "none": 1},
        "right": {"right": steps, "another": 0, "none": 0},
    }
