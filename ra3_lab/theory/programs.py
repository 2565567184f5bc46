"""Programs in the small: skills that expand into lines of code, and tasks that need certain skills.

The program keeps a short list `xs`; a *skill* (of `ra3_lab/tasks/skills.py`, its real code) changes it, writing its
block line by line. A task gives the list at the start and the list wanted at the end; `return xs` ends the episode
and pays 1 if the list is right. Inside a block a typo (probability `typo`) costs a step and the line is tried again, so
tau is random: 1 for the first line of a block, which is always right, and a geometric time for each further one.

- *Primitive actions* are lines. A state is (value of xs, lines of an unfinished block). Lines that begin no block, or
  go on with none, break the program: the episode ends with 0.
- *Options* are skills: they write a block, or the rest of one if it is begun. Between blocks only the value of xs is
  left as a state, which is what makes the set of skills small: `skill_model` is that SMDP,
  `option_model(*line_world(...))` the one over lines; a test holds the two equal.

Values beyond the caps below (longer or larger lists) also break the program, so that the world stays finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ra3_lab.tasks.skills import BY_NAME
from ra3_lab.theory.checks import check_count, check_discount, check_probability, is_distribution
from ra3_lab.theory.mdp import Family, MarkovOption, OptionModel

SKILLS = ("reverse", "sort", "skip:1", "rotate:1", "rotate:2", "take:4")
"""The default set: a skill of the pipelines world and its parameter."""
START = (1, 3, 2)
RETURN = "return_list"
_LARGEST, _LONGEST = 9, 4


@dataclass(frozen=True)
class Programs:
    """What skills do to values: the skeleton of the world."""

    skills: tuple[str, ...]
    """(Z - 1,) names with parameters; `return_list` is always the last option and not listed here."""
    values: tuple[tuple[int, ...], ...]
    """(X,) every list that the skills can reach; the first is the start."""
    after: np.ndarray
    """(Z - 1, X) index of the value after the skill, -1 where it breaks the program."""
    blocks: tuple[tuple[str, ...], ...]
    """(Z,) lines of each skill's block, those of `return_list` last."""
    weights: np.ndarray
    """(X,) p(M): how likely each value is the one wanted."""

    @property
    def options(self) -> tuple[str, ...]:
        """(Z,) names of all options."""
        return (*self.skills, RETURN)


@lru_cache(maxsize=256)
def programs(
    skills: tuple[str, ...] = SKILLS,
    usage: tuple[float, ...] | None = None,
    steps: tuple[int, int] = (1, 2),
    start: tuple[int, ...] = START,
) -> Programs:
    """The world of these skills, its tasks drawn from random pipelines of them.

    p(M) is exact: the distribution of the value after a number of steps drawn uniformly from `steps`, each step a skill
    drawn with the probabilities `usage` (None: all alike), given that it is not the start. A skill with usage 0 is
    what pruning should find and drop.

    >>> world = programs(("reverse", "sort"), start=(1, 3, 2))
    >>> world.values
    ((1, 3, 2), (2, 3, 1), (1, 2, 3), (3, 2, 1))
    """
    check_count("fewest steps", steps[0], 1, steps[1])
    if not skills or len(set(skills)) < len(skills):
        raise ValueError(f"skills={skills}: needs at least one, and no skill twice.")
    drawn = np.full(len(skills), 1 / len(skills)) if usage is None else np.array(usage, float)
    if drawn.shape != (len(skills),) or not is_distribution(drawn):
        raise ValueError(f"usage={usage}: needs a probability for each of the {len(skills)} skills, summing to 1.")
    run = [_compiled(name) for name in skills]
    values, table = [start], []
    for value in values:  # grows while it is walked
        row = []
        for function in run:
            result = tuple(function(list(value)))
            if len(result) > _LONGEST or any(abs(v) > _LARGEST for v in result):
                row.append(-1)
                continue
            if result not in values:
                values.append(result)
            row.append(values.index(result))
        table.append(row)
        check_count("number of reachable values", len(values), 1, 400)
    after = np.array(table).T
    spread, total = np.eye(1, len(values))[0], np.zeros(len(values))
    for step in range(1, steps[1] + 1):
        moved = np.zeros(len(values))
        for share, to in zip(drawn, after, strict=True):
            np.add.at(moved, to[to >= 0], share * spread[to >= 0])
        spread = moved
        if step >= steps[0]:
            total += spread
    total[0] = 0.0
    if total.sum() == 0:
        raise ValueError(f"skills {skills} with usage {usage} never change {start}: choose others or another start.")
    blocks = (*(_lines(name) for name in skills), _lines(RETURN))
    return Programs(skills, tuple(values), after, blocks, total / total.sum())


def skill_model(world: Programs, gamma: float = 0.97, typo: float = 0.1) -> OptionModel:
    """The SMDP over skills, states are the values of xs between blocks; closed form, no linear solve.

    A block of n lines: E[gamma^tau] = gamma d^(n - 1) with d = gamma (1 - typo) / (1 - gamma typo), and
    E[tau] = 1 + (n - 1) / (1 - typo).
    """
    line = _line_discount(gamma, typo)
    further = np.array([len(block) - 1 for block in world.blocks])
    count, size, tasks = len(world.options), len(world.values), np.flatnonzero(world.weights)
    discount = gamma * line**further
    kernel = np.zeros((size, count, size))
    for z, to in enumerate(world.after):
        here = np.flatnonzero(to >= 0)
        kernel[here, z, to[here]] = discount[z]
    reward = np.zeros((len(tasks), size, count))
    reward[np.arange(len(tasks)), tasks, -1] = 1.0  # `return xs` is one line
    return OptionModel(
        kernel=kernel,
        reward=reward,
        discount=np.tile(discount, (size, 1)),
        duration=np.tile(1 + further / (1 - typo), (size, 1)),
        weights=world.weights[tasks],
        start=np.eye(1, size)[0],
        gamma=gamma,
        options=world.options,
        states=tuple(map(str, world.values)),
        tasks=tuple(f"make {world.values[x]}" for x in tasks),
    )


def line_world(world: Programs, gamma: float = 0.97, typo: float = 0.1) -> tuple[Family, list[MarkovOption]]:
    """The same world over lines: the family whose primitive actions are lines, and the skills as Markov options.

    States: every value of xs with every beginning of a block, X * (number of beginnings) of them.
    """
    _line_discount(gamma, typo)
    actions = distinct_lines(world)
    begun = sorted({block[:n] for block in world.blocks for n in range(len(block))}, key=lambda part: (len(part), part))
    size, kinds, tasks = len(world.values), len(begun), np.flatnonzero(world.weights)
    transition = np.zeros((len(actions), size * kinds, size * kinds))
    reward = np.zeros((len(tasks), size * kinds, len(actions)))
    for p, part in enumerate(begun):
        slip = typo if part else 0.0
        for a, line in enumerate(actions):
            written = (*part, line)
            for x in range(size):
                here = x * kinds + p
                transition[a, here, here] += slip
                target = None
                if written in begun:
                    target = x * kinds + begun.index(written)
                elif written in world.blocks[:-1]:
                    after = world.after[world.blocks.index(written), x]
                    target = int(after) * kinds if after >= 0 else None
                elif written == world.blocks[-1] and x in tasks:
                    reward[np.flatnonzero(tasks == x)[0], here, a] = 1 - slip
                if target is not None:
                    transition[a, here, target] += 1 - slip
    family = Family(
        transition=transition,
        reward=reward,
        weights=world.weights[tasks],
        start=np.eye(1, size * kinds)[0],
        gamma=gamma,
        actions=actions,
        states=tuple(f"{value} after {len(part)} lines" for value in world.values for part in begun),
        tasks=tuple(f"make {world.values[x]}" for x in tasks),
    )
    return family, [_skill_option(name, block, begun, actions, size) for name, block in _named(world)]


def distinct_lines(world: Programs) -> tuple[str, ...]:
    """The lines that any block uses, each once, in order of first use: the primitive actions."""
    return tuple(dict.fromkeys(line for block in world.blocks for line in block))


def _named(world: Programs) -> list[tuple[str, tuple[str, ...]]]:
    return list(zip(world.options, world.blocks, strict=True))


def _skill_option(
    name: str, block: tuple[str, ...], begun: list[tuple[str, ...]], actions: tuple[str, ...], size: int
) -> MarkovOption:
    """Write the block, or the rest of it; in the middle of another block, its first line (which breaks the program)."""
    policy, stop = np.zeros((len(begun), len(actions))), np.zeros(len(begun))
    for p, part in enumerate(begun):
        following = block[len(part)] if part == block[: len(part)] else block[0]
        policy[p, actions.index(following)] = 1.0
        stop[p] = 1.0 if not part else 0.0
    return MarkovOption(name, np.tile(policy, (size, 1)), np.tile(stop, size))


def _line_discount(gamma: float, typo: float) -> float:
    check_discount(gamma)
    check_probability("typo", typo)
    if typo == 1:
        raise ValueError("typo=1.0: needs less than 1, or no line is ever finished.")
    return gamma * (1 - typo) / (1 - gamma * typo)


def _parse(name: str) -> tuple[str, int | None]:
    skill, _, value = name.partition(":")
    if skill not in BY_NAME:
        raise ValueError(f"no skill named {skill!r}: choose from {sorted(BY_NAME)}, with ':k' for a parameter.")
    if bool(value) != bool(BY_NAME[skill].values):
        raise ValueError(f"skill {name!r}: {'needs' if BY_NAME[skill].values else 'takes no'} parameter after a colon.")
    return skill, int(value) if value else None


def _lines(name: str) -> tuple[str, ...]:
    skill, value = _parse(name)
    return BY_NAME[skill].lines(value)


def _compiled(name: str):
    """The skill as a function from list to list. Only our own text is executed here."""
    if BY_NAME[_parse(name)[0]].terminal:
        raise ValueError(f"skill {name!r} returns: {RETURN} is added by itself, list only skills that change xs.")
    scope: dict = {}
    exec("def run(xs):\n" + "".join(_lines(name)) + "    return xs\n", scope)
    return scope["run"]
