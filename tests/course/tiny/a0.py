"""A0: a tiny assignment that shows every part."""

import random

from ra3_lab.course.exercise import Assignment, Exercise, Mistake, Question
from ra3_lab.course.plain import array


def _inputs(seed):
    draw = random.Random(seed)
    return [[array([draw.uniform(-2, 2) for _ in range(n)]), draw.uniform(0.5, 0.99)] for n in (1, 2, 5, 9)]


def _return(rewards, gamma):
    return float(sum(gamma**t * reward for t, reward in enumerate(rewards)))


ASSIGNMENT = Assignment(
    id="a0",
    title="A tiny one",
    notebook="a0_tiny",
    exercises=(
        Exercise(
            id="a0.discount",
            title="The discounted return",
            objective="Turn a sum over time into code.",
            minutes=5,
            difficulty=1,
            points=2,
            function="discounted_return",
            example=[array([1.0, 1.0]), 1.0],
            make_inputs=_inputs,
            oracle=_return,
            mistakes=(
                Mistake("sign", "The sign is flipped.", wrong=lambda rewards, gamma: -_return(rewards, gamma)),
                Mistake(
                    "off_by_one",
                    "Every power of gamma is one too high: the first reward is not discounted.",
                    wrong=lambda rewards, gamma: gamma * _return(rewards, gamma),
                ),
            ),
            gives_away=("ra3_lab.course.exercise:shape_of",),
            cpu_seconds=1.0,
        ),
    ),
    questions=(Question("a0.why_gamma", points=1),),
)
