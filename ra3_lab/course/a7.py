"""A7: an open project under a fixed budget. Milestones are checked; the result is ranked, not marked (`rank.py`)."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np

from ra3_lab.course.exercise import Assignment, Exercise, Mistake, Question
from ra3_lab.course.plain import array

# --- a7.affordable -------------------------------------------------------------------------------------------------


def _affordable_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for count in (4, 8, 12, 20):
        stages = ["estep", *rng.choice(["estep", "mstep", "validation"], count - 1)]
        plan = [
            [str(stage), int(rng.integers(2, 9)), int(rng.integers(2, 7)), int(rng.integers(80, 300))]
            for stage in stages
        ]
        plan[-2][1] *= 9  # a dear one near the end, cheaper ones behind it
        plan[-1] = ["mstep", 1, 1, 10]
        prices = np.cumsum([_price(*update) for update in plan])
        cases.append([plan, int(prices[count // 2])])  # fits exactly
        cases.append([plan, int(prices[-2]) - 1])
    return cases


def _price(stage: str, programs: int, group: int, tokens: int) -> int:
    return {"estep": programs * group * tokens, "mstep": programs * tokens, "validation": 0}[stage]


def _affordable(plan: list, budget: int, price: Any = _price, over: bool = False, skip: bool = False) -> list[int]:
    count = spent = 0
    for update in plan:
        cost = price(*update)
        if spent + cost > budget:
            if skip:
                continue
            if over:
                return [count + 1, spent + cost]
            break
        count, spent = count + 1, spent + cost
    return [count, spent]


AFFORDABLE = Exercise(
    id="a7.affordable",
    title="What the budget pays for",
    objective="Plan a run so that it ends inside the budget, E-step rollouts included.",
    minutes=15,
    difficulty=1,
    points=2,
    function="affordable",
    example=[[["mstep", 4, 1, 100], ["mstep", 4, 1, 150], ["mstep", 4, 1, 100]], 1100],
    make_inputs=_affordable_inputs,
    oracle=_affordable,
    mistakes=(
        Mistake(
            "group",
            "An E-step rolls out a whole group for each program: every member's tokens count.",
            wrong=lambda plan, budget: _affordable(
                plan, budget, lambda stage, p, g, t: 0 if stage == "validation" else p * t
            ),
        ),
        Mistake(
            "validation",
            "Looks at validation are not training and cost nothing of the budget.",
            wrong=lambda plan, budget: _affordable(
                plan, budget, lambda stage, p, g, t: p * t * (g if stage == "estep" else 1)
            ),
        ),
        Mistake(
            "over",
            "The update that breaks the budget is still done.",
            wrong=lambda plan, budget: _affordable(plan, budget, over=True),
        ),
        Mistake(
            "skip",
            "An update that is too dear is skipped: a run cannot leave one out, it ends there.",
            wrong=lambda plan, budget: _affordable(plan, budget, skip=True),
        ),
        Mistake(
            "strict",
            "A plan that uses the budget up exactly is allowed.",
            wrong=lambda plan, budget: _affordable(plan, budget - 1),
        ),
    ),
)

# --- a7.boundaries -------------------------------------------------------------------------------------------------


def _boundaries_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for count, tolerance in ((1, 1), (2, 0), (3, 2), (4, 1), (3, 0)):
        thoughts, starts = [], []
        for length in rng.integers(12, 22, count):
            starts.append([0, *sorted(int(i) for i in rng.choice(np.arange(1, length), 4, replace=False))])
            thoughts.append(
                sorted(int(i) for i in rng.choice(np.arange(1, length), int(rng.integers(2, 7)), replace=False))
            )
            if rng.random() < 0.7:
                thoughts[-1] = [0, *thoughts[-1]]
        cases.append([thoughts, starts, tolerance])
    cases.append([[[0], [0]], [[0, 3], [0]], 1])
    cases.append([[[2, 3, 9, 10]], [[0, 3, 10]], 1])
    # Whatever is drawn: the nearest start is what the next thought needs; so is the last one; one thought between two
    # starts; more thoughts after a start than before one.
    cases.append([[[3, 5]], [[0, 1, 4]], 2])
    cases.append([[[3, 6]], [[0, 3, 5]], 2])
    cases.append([[[4]], [[0, 3, 5]], 1])
    cases.append([[[4, 8, 12], [2]], [[0, 3, 9, 11], [0, 7]], 1])
    return cases


def _boundaries(
    thoughts: list,
    starts: list,
    tolerance: int,
    first: bool = False,
    reuse: bool = False,
    later: bool = True,
    take: Any = lambda line, near: near[0],
) -> list[float]:
    """`first` counts line 0; `reuse` lets a start be hit more than once; `later` also lets thoughts come after it;
    `take` chooses among the free starts near a line."""
    hits = placed = true = 0
    for own, real in zip(thoughts, starts, strict=True):
        own, real = sorted(set(own)), sorted(set(real))
        if not first:
            own, real = [i for i in own if i], [i for i in real if i]
        placed, true = placed + len(own), true + len(real)
        free = list(real)
        for line in own:
            near = [i for i in free if abs(i - line) <= tolerance and (later or line <= i)]
            if near:
                hits += 1
                if not reuse:
                    free.remove(take(line, near))
    return [_part(hits, placed), _part(hits, true), _part(2 * hits, placed + true)]


def _starts_near(thoughts: list, starts: list, tolerance: int) -> list[float]:
    """Counts starts that have a thought near; with starts and thoughts exchanged, that is what `reuse` counts."""
    recall, precision, f1 = _boundaries(starts, thoughts, tolerance, reuse=True)
    return [precision, recall, f1]


def _part(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _macro(thoughts: list, starts: list, tolerance: int) -> list[float]:
    single = [_boundaries([own], [real], tolerance) for own, real in zip(thoughts, starts, strict=True)]
    return [float(value) for value in np.mean(single, axis=0)]


BOUNDARIES = Exercise(
    id="a7.boundaries",
    title="Do thoughts stand where steps begin?",
    objective="Measure discovered abstractions against the known structure, without free hits.",
    minutes=25,
    difficulty=2,
    points=3,
    function="boundary_scores",
    example=[[[3, 6]], [[0, 3, 7]], 0],
    make_inputs=_boundaries_inputs,
    oracle=_boundaries,
    mistakes=(
        Mistake(
            "first_line",
            "Line 0 is counted: every program begins a step there, so it is a hit for nothing.",
            wrong=lambda *a: _boundaries(*a, first=True),
        ),
        Mistake(
            "hit_twice",
            "Two thoughts hit the same start: once it is matched, it is taken.",
            wrong=lambda *a: _boundaries(*a, reuse=True),
        ),
        Mistake(
            "nearest",
            "A thought takes the nearest free start, which may be all that the next one can reach: it takes the first.",
            wrong=lambda *a: _boundaries(*a, take=lambda line, near: min(near, key=lambda start: abs(start - line))),
        ),
        Mistake(
            "last",
            "A thought takes the last free start that is near enough; it takes the first.",
            wrong=lambda *a: _boundaries(*a, take=lambda line, near: near[-1]),
        ),
        Mistake(
            "two_starts",
            "One thought hits two starts: what is counted are pairs, and a thought is in one of them at most.",
            wrong=_starts_near,
        ),
        Mistake(
            "one_sided",
            "Only thoughts before a start are matched; the tolerance goes both ways.",
            wrong=lambda *a: _boundaries(*a, later=False),
        ),
        Mistake(
            "no_tolerance",
            "The tolerance is ignored.",
            wrong=lambda thoughts, starts, tolerance: _boundaries(thoughts, starts, 0),
        ),
        Mistake(
            "macro",
            "Scores are averaged over programs: add the counts of all programs first, then divide.",
            wrong=_macro,
        ),
        Mistake(
            "swapped",
            "Precision and recall are exchanged.",
            wrong=lambda *a: [_boundaries(*a)[1], _boundaries(*a)[0], _boundaries(*a)[2]],
        ),
    ),
    gives_away=("ra3_lab.evaluate.segmentation:segmentation_score",),
)

# --- a7.vocabulary -------------------------------------------------------------------------------------------------

_PHRASES = (
    "add {}",
    "keep values above {}",
    "reverse the list",
    "sort ascending",
    "multiply by {}",
    "return the count",
)


def _vocabulary_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases: list = []
    for count in (6, 12, 20, 30):
        thoughts = []
        for _ in range(count):
            phrase = _PHRASES[min(int(rng.exponential(1.3)), len(_PHRASES) - 1)]
            label = "abcdefgh"[int(rng.integers(8))]
            thoughts.append(f" {label} {phrase.format(int(rng.integers(-12, 40)))}")
        thoughts += [" a add 3", " b add -14", " c reverse the list", " do it"]
        cases.append([thoughts])
    cases.append([[]])
    return cases


def _vocabulary(thoughts: list, numbers: bool = True, label: bool = True, base: Any = np.log) -> float:
    words = [thought.split() for thought in thoughts]
    kinds = Counter(
        " ".join("N" if numbers and re.fullmatch(r"-?\d+", word) else word for word in row[1 if label else 0 :])
        for row in words
    )
    if not kinds:
        return 0.0
    share = np.array(list(kinds.values())) / len(thoughts)
    return float(np.exp(-(share * base(share)).sum()))


VOCABULARY = Exercise(
    id="a7.vocabulary",
    title="How many abstractions are there?",
    objective="Count thoughts by what they ask for, weighing each kind by its use.",
    minutes=20,
    difficulty=2,
    points=3,
    function="effective_number",
    example=[[" a reverse the list", " a sort ascending"]],
    make_inputs=_vocabulary_inputs,
    oracle=_vocabulary,
    mistakes=(
        Mistake(
            "numbers",
            "'add 3' and 'add 5' are counted as two abstractions; the number is a parameter (it may be negative, or "
            "have several digits).",
            wrong=lambda thoughts: _vocabulary(thoughts, numbers=False),
        ),
        Mistake(
            "label",
            "The step's letter is taken for a part of the abstraction.",
            wrong=lambda thoughts: _vocabulary(thoughts, label=False),
        ),
        Mistake(
            "distinct",
            "Kinds are counted alike, however rarely they are used.",
            wrong=lambda thoughts: _distinct(thoughts),
        ),
        Mistake(
            "bases",
            "Entropy in bits and exp do not go together: 2 to the bits, or e to the nats.",
            wrong=lambda thoughts: _vocabulary(thoughts, base=np.log2),
        ),
        Mistake(
            "entropy",
            "This is the entropy; its exponential is a number of abstractions.",
            wrong=lambda thoughts: float(np.log(_vocabulary(thoughts))) if thoughts else 0.0,
        ),
    ),
    gives_away=("ra3_lab.evaluate.segmentation:normalized_mutual_information",),
)


def _distinct(thoughts: list) -> float:
    return float(len({re.sub(r"-?\b\d+\b", "N", " ".join(thought.split()[1:])) for thought in thoughts}))


# --- a7.choose -----------------------------------------------------------------------------------------------------


def _scores(rng: np.random.Generator, mean: float, error: float) -> list[float]:
    """3 or 4 scores of this mean and standard error."""
    noise = rng.normal(0, 1, int(rng.integers(3, 5)))
    noise = (noise - noise.mean()) / (noise.std(ddof=1) / len(noise) ** 0.5)
    return [round(float(score), 9) for score in mean + error * noise]


def _choose_inputs(seed: int) -> list:
    """Trials at chosen distances below the best, in its standard errors, so that each mistake picks another one."""
    rng = np.random.default_rng(seed)
    cases = []
    for number in range(8):
        best, error = rng.uniform(0.4, 0.6), rng.uniform(0.01, 0.03)
        # (distance, own error): hopeless, noisy, beyond the error, just inside it, well inside, the best, too dear
        shape = [(9.0, 0.1), (3.0, 4.0), (1.3, 0.1), (0.95, 0.1), (0.5, 0.1), (0.0, 1.0), (-2.0, 0.2)]
        tokens = np.cumsum(rng.integers(1, 9, len(shape))) * 10_000
        names = [f"run{number}{letter}" for letter in rng.permutation(list("abcdefg"))]
        trials = [
            [name, int(cost), _scores(rng, best - far * error, own * error)]
            for name, cost, (far, own) in zip(names, tokens, shape, strict=True)
        ]
        cases.append([[trials[i] for i in rng.permutation(len(trials))], int(tokens[-2])])
    return cases


def _choose(trials: list, budget: int, slack: Any = None, best_only: bool = False) -> str:
    """`slack(best scores, own scores)`: how far below the best mean a trial may lie; None: the best's error."""
    fit = [trial for trial in trials if trial[1] <= budget]
    best = max(fit, key=lambda trial: np.mean(trial[2]))
    if best_only:
        return best[0]
    slack = slack or (lambda top, own: np.std(top, ddof=1) / len(top) ** 0.5)
    near = [trial for trial in fit if np.mean(trial[2]) >= np.mean(best[2]) - slack(best[2], trial[2])]
    return min(near, key=lambda trial: (trial[1], -np.mean(trial[2])))[0]


CHOOSE = Exercise(
    id="a7.choose",
    title="Choosing without fooling oneself",
    objective="Pick a setting on validation by the one-standard-error rule.",
    minutes=20,
    difficulty=2,
    points=3,
    function="choose",
    example=[[["a", 100, [0.30, 0.34, 0.32]], ["b", 300, [0.31, 0.33, 0.29]], ["c", 50, [0.10, 0.12, 0.11]]], 1000],
    make_inputs=_choose_inputs,
    oracle=_choose,
    mistakes=(
        Mistake(
            "budget",
            "A trial beyond the budget is chosen, or sets the mark for the others.",
            wrong=lambda trials, budget: _choose(trials, 10**12),
        ),
        Mistake(
            "best",
            "The best mean is taken: among many trials it is partly luck; a cheaper one as good within the error wins.",
            wrong=lambda trials, budget: _choose(trials, budget, best_only=True),
        ),
        Mistake(
            "spread",
            "The mark lies a standard deviation below the best; the error of a *mean* is smaller.",
            wrong=lambda trials, budget: _choose(trials, budget, lambda top, own: np.std(top, ddof=1)),
        ),
        Mistake(
            "biased",
            "The deviation divides by n: with few seeds that is too small.",
            wrong=lambda trials, budget: _choose(trials, budget, lambda top, own: np.std(top) / len(top) ** 0.5),
        ),
        Mistake(
            "own_error",
            "Each trial's own error is used: then a noisy trial qualifies because it is noisy.",
            wrong=lambda trials, budget: _choose(
                trials, budget, lambda top, own: np.std(own, ddof=1) / len(own) ** 0.5
            ),
        ),
    ),
)

# --- a7.paired_interval --------------------------------------------------------------------------------------------


def _interval_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for tasks, samples, draws, level in ((6, 4, 40, 0.9), (10, 2, 60, 0.95), (8, 3, 30, 0.8), (12, 5, 50, 0.5)):
        hard = rng.uniform(0, 1, (tasks, 1))
        own, other = ((rng.random((tasks, samples)) < hard * share).astype(int) for share in (0.9, 0.5))
        chosen = rng.integers(0, tasks, (draws, tasks))
        cases.append([array(own.tolist()), array(other.tolist()), array(chosen.tolist(), "int64"), level])
    return cases


def _paired_interval(own: np.ndarray, other: np.ndarray, chosen: np.ndarray, level: float) -> list[float]:
    gain = own.mean(1) - other.mean(1)
    low, high = np.quantile(gain[chosen].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return [float(gain.mean()), float(low), float(high)]


def _difference_of_ends(own: np.ndarray, other: np.ndarray, chosen: np.ndarray, level: float) -> list[float]:
    ends = [(1 - level) / 2, (1 + level) / 2]
    first, second = (np.quantile(part.mean(1)[chosen].mean(1), ends) for part in (own, other))
    return [float(own.mean() - other.mean()), float(first[0] - second[1]), float(first[1] - second[0])]


INTERVAL = Exercise(
    id="a7.paired_interval",
    title="Better than the base, and how surely?",
    objective="Give the gain over another model on the same tasks with a bootstrap interval.",
    minutes=20,
    difficulty=2,
    points=3,
    function="paired_interval",
    example=[
        array([[1, 0], [1, 1], [0, 0]]),
        array([[0, 0], [0, 0], [0, 0]]),
        array([[0, 1, 2], [0, 0, 1], [2, 2, 1], [1, 1, 1]], "int64"),
        0.95,
    ],
    make_inputs=_interval_inputs,
    oracle=_paired_interval,
    mistakes=(
        Mistake(
            "unpaired",
            "The ends of two intervals are subtracted: that adds the tasks' difficulty twice. Take differences first.",
            wrong=_difference_of_ends,
        ),
        Mistake(
            "one_sided",
            "All that may be left out lies on each side: half of 1 - level belongs to each.",
            wrong=lambda own, other, chosen, level: _paired_interval(own, other, chosen, 2 * level - 1),
        ),
        Mistake(
            "level",
            "The level is fixed at 95 %.",
            wrong=lambda own, other, chosen, level: _paired_interval(own, other, chosen, 0.95),
        ),
        Mistake(
            "sign",
            "The sign is flipped.",
            wrong=lambda own, other, chosen, level: _paired_interval(other, own, chosen, level),
        ),
        Mistake(
            "other_ignored",
            "The other model is left out: this is a rate, not a gain.",
            wrong=lambda own, other, chosen, level: _paired_interval(own, np.zeros_like(other), chosen, level),
        ),
        Mistake(
            "any_of_n",
            "A task counts as solved when any sample is right: that is pass@n, not pass@1.",
            wrong=lambda own, other, chosen, level: _paired_interval(
                own.max(1, keepdims=True), other.max(1, keepdims=True), chosen, level
            ),
        ),
    ),
    gives_away=("ra3_lab.evaluate.passk:paired_difference_ci", "ra3_lab.evaluate.passk:bootstrap_ci"),
)

ASSIGNMENT = Assignment(
    id="a7",
    title="Project: better abstractions under a fixed budget",
    notebook="a7_project",
    exercises=(AFFORDABLE, BOUNDARIES, VOCABULARY, CHOOSE, INTERVAL),
    questions=(
        Question("a7.why_rollouts", points=2),
        Question("a7.why_tolerance", points=2),
        Question("a7.why_few", points=2),
        Question("a7.why_validation", points=2),
        Question("a7.why_fresh", points=2),
        Question("a7.plan", points=6),
        Question("a7.evidence", points=8),
        Question("a7.failure", points=6),
    ),
)
