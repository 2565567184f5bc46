"""Latents against the truth: where thoughts stand, how long they last, whether their text names the skill.

A program's body, without comments, has lines 0..lines-1. A thought *at line i* stands directly before line i.
The truth is the set of lines at which a skill's segment starts. A hit is the exact line. Line 0 starts a
segment in every program and would be a free hit, so precision, recall and F1 leave it out of both sets; share
and duration count it.

Counts are added over programs before dividing (micro-average), so a long program weighs more than a short
one, and 0/0 is 0: who finds nothing earns nothing. Values over no thought at all are None, never NaN, so that
they survive JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class LatentPlacement:
    """Where thoughts stand in one program, beside the truth. ValueError for a line outside the body."""

    thoughts: frozenset[int]
    """Lines of the un-commented body before which a thought stands."""
    starts: frozenset[int]
    """Lines at which a true segment starts."""
    lines: int
    """Lines of the un-commented body, at least 1."""

    def __init__(self, thoughts: Iterable[int], starts: Iterable[int], lines: int) -> None:
        object.__setattr__(self, "thoughts", frozenset(thoughts))
        object.__setattr__(self, "starts", frozenset(starts))
        object.__setattr__(self, "lines", lines)
        if lines < 1:
            raise ValueError(f"lines is {lines}; a body has at least one line")
        for name in ("thoughts", "starts"):
            outside = sorted(line for line in getattr(self, name) if not 0 <= line < lines)
            if outside:
                raise ValueError(f"{name} holds line {outside[0]}; the body has lines 0 to {lines - 1}")


class SegmentationScore(NamedTuple):
    """Precision, recall and their harmonic mean, in 0..1."""

    precision: float
    recall: float
    f1: float


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def segmentation_score(programs: Iterable[LatentPlacement]) -> SegmentationScore:
    """Micro-averaged precision, recall and F1 of thought lines as segment starts; line 0 not counted.

    precision = hits / thoughts, recall = hits / starts, F1 = 2 hits / (thoughts + starts).

    >>> segmentation_score([LatentPlacement({0, 2, 3}, {0, 2, 5}, lines=6)])
    SegmentationScore(precision=0.5, recall=0.5, f1=0.5)
    """
    hits = thoughts = starts = 0
    for program in programs:
        placed, true = program.thoughts - {0}, program.starts - {0}
        hits, thoughts, starts = hits + len(placed & true), thoughts + len(placed), starts + len(true)
    return SegmentationScore(_ratio(hits, thoughts), _ratio(hits, starts), _ratio(2 * hits, thoughts + starts))


def random_placement_f1(programs: Iterable[LatentPlacement]) -> float:
    """Expected F1 of as many thoughts placed at random: what the rate alone earns.

    P thoughts fall on P different lines out of the L countable ones (all programs' lines but their first),
    all choices equally likely; T of these lines are true starts. Hits are hypergeometric with mean P T / L
    and F1's denominator P + T is fixed, so the expectation is exact: E[F1] = 2 P T / (L (P + T)).

    >>> random_placement_f1([LatentPlacement({0, 2, 3}, {0, 2, 5}, lines=6)])
    0.4
    """
    thoughts = starts = lines = 0
    for program in programs:
        thoughts += len(program.thoughts - {0})
        starts += len(program.starts - {0})
        lines += program.lines - 1
    return _ratio(2 * thoughts * starts, lines * (thoughts + starts))


def thought_durations(thoughts: Iterable[int], lines: int) -> list[int]:
    """Duration tau of each thought: body lines from it to the next thought or to the end of the program.

    Lines before the first thought are governed by "no thought" and belong to no duration. So the durations
    add up to `lines` minus those. ValueError for a line outside the body.

    >>> thought_durations({1, 4}, lines=6)
    [3, 2]
    """
    edges = [*sorted(LatentPlacement(thoughts, (), lines).thoughts), lines]
    return [end - start for start, end in pairwise(edges)]


def mean_duration(programs: Iterable[LatentPlacement]) -> float | None:
    """Mean duration in lines over all thoughts of all programs; None when there is no thought.

    >>> mean_duration([LatentPlacement({1, 4}, {0}, lines=6), LatentPlacement({0}, {0}, lines=4)])
    3.0
    """
    return _mean([tau for program in programs for tau in thought_durations(program.thoughts, program.lines)])


def think_share(programs: Iterable[LatentPlacement]) -> float:
    """Share of all body lines, the first included, before which a thought stands; 0.0 without lines.

    >>> think_share([LatentPlacement({0, 2}, {0}, lines=6), LatentPlacement({0}, {0}, lines=4)])
    0.3
    """
    placed = [(len(program.thoughts), program.lines) for program in programs]
    return _ratio(sum(thoughts for thoughts, _ in placed), sum(lines for _, lines in placed))


def mean_tokens(token_counts: Iterable[int]) -> float | None:
    """Mean number of tokens a thought, from one count per thought; None when there is no thought.

    >>> mean_tokens([3, 5])
    4.0
    """
    return _mean(list(token_counts))


def _mean(values: Sequence[int]) -> float | None:
    return float(np.mean(values)) if values else None


def _entropy(counts: Iterable[int]) -> float:
    """Entropy in nats of the distribution with these counts."""
    share = np.array(sorted(counts), dtype=np.float64)
    share /= share.sum()
    return max(0.0, float(-(share * np.log(share)).sum()))


def normalized_mutual_information(labels_a: Sequence[Hashable], labels_b: Sequence[Hashable]) -> float:
    """NMI = 2 I(A; B) / (H(A) + H(B)) of two labellings of the same items, in 0..1 (arithmetic mean).

    labels_a, labels_b: equally long, for example a thought's text and the true skill of the line it stands
    before. 1 when the labels are the same up to renaming. Edge cases: both constant gives 1.0 (they agree),
    only one constant 0.0; no items, or unequal lengths, ValueError. Rich free text scores high by chance (all
    texts different: I = H(B)), so quote `shuffled_mutual_information` beside it.

    >>> normalized_mutual_information(["x", "x", "y", "y"], [1, 1, 2, 2])
    1.0
    >>> normalized_mutual_information(["x", "x", "y", "y"], [1, 2, 1, 2])
    0.0
    """
    if len(labels_a) != len(labels_b) or not len(labels_a):
        raise ValueError(f"got {len(labels_a)} and {len(labels_b)} labels; give equally many, at least one")
    entropy_a, entropy_b = _entropy(Counter(labels_a).values()), _entropy(Counter(labels_b).values())
    if entropy_a + entropy_b == 0:
        return 1.0
    joint = _entropy(Counter(zip(labels_a, labels_b, strict=True)).values())
    value = 2 * (entropy_a + entropy_b - joint) / (entropy_a + entropy_b)
    return min(1.0, value) if value > 1e-12 else 0.0


def shuffled_mutual_information(
    labels_a: Sequence[Hashable], labels_b: Sequence[Hashable], draws: int = 100, seed: int = 0
) -> float:
    """Mean NMI after shuffling `labels_b`: what the numbers of labels alone earn. Same errors as NMI itself.

    >>> shuffled_mutual_information(["a", "b", "c"], [1, 2, 3])  # all different: always 1
    1.0
    """
    rng, total = np.random.default_rng(seed), 0.0
    for _ in range(draws):
        order = rng.permutation(len(labels_b))
        total += normalized_mutual_information(labels_a, [labels_b[place] for place in order])
    return total / draws
