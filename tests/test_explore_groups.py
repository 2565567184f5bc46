"""The group browser: what it says of answers, verdicts, advantages and tokens follows from the groups."""

import math
import re

import pytest

from ra3_lab.explore.groups import draw_answers, group_browser, token_values
from ra3_lab.rlvr.rollouts import SeenAnswer, SeenGroup, read_rollouts


def answer(advantage: float, reward: float | None = 1.0, kl: tuple[float, ...] | None = (0.0, 0.5, 0.0)) -> SeenAnswer:
    return SeenAnswer(
        text="a <b>\n",
        tokens=("a", " <b>\n", ""),
        reason="end",
        status="passed" if reward == 1 else "wrong_answer",
        reward=reward,
        detail="8 calls" if reward == 1 else "gave <4>, expected 1",
        advantage=advantage,
        logp=(-0.1, -2.0, -0.5),
        ratio=(1.0, math.e, 1 / math.e),
        kl=kl,
    )


def group(*answers: SeenAnswer) -> SeenGroup:
    return SeenGroup(3, "rlvr/<7>", "def solve(xs):\n", answers)


MIXED = group(answer(0.5), answer(-0.5, 0.0))


def test_the_finding_counts_what_passed_and_what_is_moved():
    view = draw_answers(MIXED, "ratio", 0)
    assert view.twin.title == "1 of 2 answers passed: 1 become likelier, 1 less likely"
    assert view.twin.rows[1][1:3] == ("wrong answer", "gave <4>, expected 1")
    assert "ended by itself; its advantage is +0.500" in view.twin.text and "at token 2" in view.twin.text


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_a_group_that_earned_the_same_is_said_to_teach_nothing(reward):
    assert "teaches nothing" in draw_answers(group(*[answer(0.0, reward)] * 3), "ratio", 0).twin.title


def test_tokens_stand_out_by_their_share_of_the_answers_largest_value():
    body = draw_answers(MIXED, "ratio", 1).body
    shown = re.search(r'<pre class="tokens">(.*?)</pre>', body, re.S)[1]
    assert shown == (
        'a<span class="up strong" title="1.0000 nats"> &lt;b&gt;↵\n</span>'
        '<span class="down strong" title="-1.0000 nats"><i>end</i></span>'
    )
    assert "<b>" not in body and "<4>" not in body, "what a program says is escaped"
    assert token_values(MIXED.answers[0], "surprise") == [0.1, 2.0, 0.5]


def test_without_an_initial_policy_there_is_no_kl_to_choose():
    without = group(answer(0.5, kl=None), answer(-0.5, 0.0, kl=None))
    assert "mean KL (nats)" in draw_answers(MIXED, "ratio", 0).twin.columns
    assert draw_answers(without, "ratio", 0).twin.columns[-1] == "mean ratio", "no column without a number in it"
    measures = {control.name: control.values for control in group_browser([without]).controls}["measure"]
    assert measures == ("ratio", "surprise")
    with pytest.raises(ValueError, match="only of a run with an initial policy"):
        draw_answers(without, "kl", 0)


def test_nothing_to_show_is_an_error():
    with pytest.raises(ValueError, match="groups_every is above 0"):
        group_browser([])


def test_an_answer_without_a_verdict_and_groups_of_different_sizes():
    browser = group_browser([MIXED, group(answer(0.0, None))])
    assert browser.view(group=1, answer=1).twin.rows[0][3] == "no verdict"  # past the last answer: the last


def test_answers_without_a_verdict_are_counted():
    title = lambda *rewards: draw_answers(group(*[answer(0.0, one) for one in rewards]), "ratio", 0).twin.title  # noqa: E731
    assert title(None, None) == "0 of 2 answers passed, 2 got no verdict: this group teaches nothing"
    assert title(1.0, 1.0, None) == (
        "2 of 3 answers passed, 1 got no verdict: all others earned the same, so this group teaches nothing"
    )


def test_the_recorded_groups_in_every_form():
    groups = read_rollouts("hacking")
    browser = group_browser(groups)
    for control in browser.controls:
        for value in control.values:
            assert browser.view(**{control.name: value}).to_text()
    assert 'data-set=\\"answer=' in group_browser(groups[:1]).to_html()
    advantages = [float(row["advantage"].replace("−", "-")) for row in browser.table(group=0)]
    assert abs(sum(advantages)) < 0.05, "the group's mean is the baseline"
