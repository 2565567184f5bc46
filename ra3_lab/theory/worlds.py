"""Four rooms: a grid world that people can picture, with walks to landmarks as options.

A treasure is buried at one of the landmarks (that is the task), and the map says where. The agent starts in the top
left room, walks through doorways on ground that slips, and may dig once: 1 if the treasure is there, and the episode
ends. So V* is E[gamma^(steps until the dig)]. Options walk to a landmark by a shortest path; slipping makes their
duration random.

The second world, programs made of skills, is in `programs.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ra3_lab.theory.checks import check_positive, check_probability
from ra3_lab.theory.mdp import Family, MarkovOption

PLAN = (
    "#########",
    "#...#..e#",
    "#.s.A...#",
    "#...#...#",
    "##B###C##",
    "#...#...#",
    "#...D...#",
    "#f..#..g#",
    "#########",
)
"""Walls '#', floor '.', the start 's', doorways A to D, and three corners e, f, g worth a walk."""
LANDMARKS = "ABCDefg"
_MOVES: Mapping[str, tuple[int, int]] = {"north": (-1, 0), "south": (1, 0), "west": (0, -1), "east": (0, 1)}
DIG = "dig"


def rooms_family(
    gamma: float = 0.95,
    slip: float = 0.1,
    common: float = 0.7,
    plan: tuple[str, ...] = PLAN,
    landmarks: str = LANDMARKS,
) -> Family:
    """The family of treasure maps: one task a landmark, the i-th as likely as common^i (then scaled to sum to 1).

    `slip` is the probability that a step goes nowhere; `common` in (0, 1] says how unevenly treasures are buried.

    >>> family = rooms_family()
    >>> len(family.states), family.actions, len(family.tasks)
    (40, ('north', 'south', 'west', 'east', 'dig'), 7)
    """
    check_probability("slip", slip)
    if slip == 1:
        raise ValueError("slip=1.0: needs less than 1, or nobody ever moves.")
    check_positive("common", common)
    cells = _cells(plan)
    places = {cell: i for i, cell in enumerate(cells)}
    transition = np.zeros((len(_MOVES) + 1, len(cells), len(cells)))  # the last action, dig, ends the episode
    for a, (down, right) in enumerate(_MOVES.values()):
        for (row, column), i in places.items():
            target = places.get((row + down, column + right), i)
            transition[a, i, target] += 1 - slip
            transition[a, i, i] += slip
    reward = np.zeros((len(landmarks), len(cells), len(_MOVES) + 1))
    for task, mark in enumerate(landmarks):
        reward[task, places[_find(plan, mark)], -1] = 1.0
    weights = common ** np.arange(len(landmarks))
    start = np.zeros(len(cells))
    start[places[_find(plan, "s")]] = 1.0
    return Family(
        transition=transition,
        reward=reward,
        weights=weights / weights.sum(),
        start=start,
        gamma=gamma,
        actions=(*_MOVES, DIG),
        states=tuple(f"{row},{column}" for row, column in cells),
        tasks=tuple(f"treasure at {mark}" for mark in landmarks),
    )


def walks(family: Family, plan: tuple[str, ...] = PLAN, landmarks: str = LANDMARKS) -> list[MarkovOption]:
    """One option a landmark: walk there by a shortest path and stop on arrival.

    At the landmark itself an option still has to run (tau >= 1): it steps away and comes back.
    """
    cells = _cells(plan)
    places = {cell: i for i, cell in enumerate(cells)}
    options = []
    for mark in landmarks:
        goal = _find(plan, mark)
        distance = _distances(cells, goal)
        policy, stop = np.zeros((len(cells), len(_MOVES) + 1)), np.zeros(len(cells))
        stop[places[goal]] = 1.0
        for (row, column), i in places.items():
            # A wall leaves one in place, which is never a way nearer.
            next_to = [places.get((row + down, column + right)) for down, right in _MOVES.values()]
            ahead = [np.inf if j is None else distance[j] for j in next_to]
            policy[i, int(np.argmin(ahead))] = 1.0
        options.append(MarkovOption(f"walk to {mark}", policy, stop))
    return options


def _cells(plan: tuple[str, ...]) -> list[tuple[int, int]]:
    return [(row, column) for row, line in enumerate(plan) for column, mark in enumerate(line) if mark != "#"]


def _find(plan: tuple[str, ...], mark: str) -> tuple[int, int]:
    for row, line in enumerate(plan):
        if mark in line:
            return row, line.index(mark)
    raise ValueError(f"no {mark!r} on the plan: landmarks and the start 's' must be drawn on it.")


def _distances(cells: list[tuple[int, int]], goal: tuple[int, int]) -> np.ndarray:
    """(S,) steps to the goal without slipping."""
    distance, frontier, places = np.full(len(cells), np.inf), [goal], {cell: i for i, cell in enumerate(cells)}
    distance[places[goal]] = 0
    while frontier:
        row, column = frontier.pop(0)
        for down, right in _MOVES.values():
            place = places.get((row + down, column + right))
            if place is not None and distance[place] == np.inf:
                distance[place] = distance[places[row, column]] + 1
                frontier.append((row + down, column + right))
    return distance
