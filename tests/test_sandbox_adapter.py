"""`run_one`, as an outside test suite calls it."""

import time

import pytest
from sandboxes import ISOLATIONS, hard, own_temporary_folder, processes, settle

from ra3_lab.sandbox import NoVerdict, Verdict, adapter
from ra3_lab.sandbox.adapter import run_one

pytestmark = hard
PAIRS = {"entry_point": "f", "pairs": [[[3], 6], [[0], 0]]}


@pytest.fixture(scope="module", autouse=True)
def closed(tmp_path_factory):
    tmp_path_factory.getbasetemp()  # pytest's own, before ours
    with own_temporary_folder() as left:
        before = left()
        yield
        adapter.close()
        assert settle(lambda: not (left() - before or processes()))


@pytest.mark.parametrize(
    ("source", "task", "reward"),
    [
        ("def f(x): return 2 * x", PAIRS, 1.0),
        ("def f(x): return 2.0 * x", PAIRS, 1.0),
        ("def f(x): return 6", PAIRS, 0.0),
        ("def f(x): return 2 * x", {"entry_point": "f", "tests": "assert f(3) == 6\nassert f('a') == 'aa'\n"}, 1.0),
        ("def f(x): return 2 * x", {"entry_point": "f", "tests": "assert f(3) == 7\n"}, 0.0),
        ("print(2 * int(input()))", {"stdin": [["3\n", "6\n"], ["4", "8"]]}, 1.0),
        ("print(6)", {"stdin": [["3\n", "6\n"], ["4", "8"]]}, 0.0),
        ("def f(x: return 6", PAIRS, 0.0),
        ("def f(x): return bytearray(300 << 20) and 2 * x", PAIRS, 0.0),
    ],
)
def test_one_reward_for_each_form(source, task, reward):
    assert run_one(source, task, 5.0, 256) == reward


def test_the_deadline_is_wall_time_for_all_calls_together_and_for_each_case():
    nap = "import time\ntime.sleep(1.2)\n"
    assert run_one(nap + "print(6)", {"stdin": [["", "6"]] * 3}, 3.0, 256) == 1.0
    slow = "import time\ndef f(x):\n    time.sleep(1.6)\n    return 2 * x"
    assert run_one(slow, PAIRS, 3.0, 256) == 0.0


def test_a_sleeper_is_killed_at_the_deadline():
    run_one("def f(x): return 6", PAIRS, 1.0, 256)  # warm
    for task in (PAIRS, {"entry_point": "f", "tests": "assert f(3) == 6"}):
        start = time.monotonic()
        assert run_one("import time\ndef f(x): time.sleep(60)", task, 1.0, 256) == 0.0
        assert 1.0 <= time.monotonic() - start < 5.0  # how exactly: test_sandbox_limits.py


def test_the_memory_limit_is_the_one_given():
    source = "def f(x): return len(bytearray(300 << 20)) and 2 * x"
    assert [run_one(source, PAIRS, 20.0, size) for size in (200, 400)] == [0.0, 1.0]


def test_no_verdict_is_raised_and_a_wrong_task_is_named(monkeypatch):
    with pytest.raises(ValueError, match="none of the three forms"):
        run_one("", {"entry_point": "f"}, 1.0, 256)
    with pytest.raises(ValueError, match="zero tests"):
        run_one("", {"stdin": []}, 1.0, 256)
    monkeypatch.setattr(
        "ra3_lab.sandbox.judge.Judge.batch", lambda *_: [Verdict(False, "no_verdict", 0.0, "the worker ended")]
    )
    with pytest.raises(NoVerdict, match="the worker ended"):
        run_one("def f(x): return 6", PAIRS, 1.0, 256, ISOLATIONS[0])
