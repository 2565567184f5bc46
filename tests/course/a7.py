"""Answers to A7's milestones that must be accepted and rejected."""

from course_answers import changed

AFFORDABLE = """
def affordable(plan, budget):
    count = spent = 0
    for stage, programs, group, tokens in plan:
        if stage == "estep":
            price = programs * group * tokens
        elif stage == "mstep":
            price = programs * tokens
        else:
            price = 0
        if spent + price > budget:
            break
        spent += price
        count += 1
    return count, spent
"""

BOUNDARIES = """
def boundary_scores(thoughts, starts, tolerance):
    hits = placed = true = 0
    for own, real in zip(thoughts, starts):
        own = sorted(set(own) - {0})
        real = sorted(set(real) - {0})
        placed += len(own)
        true += len(real)
        for line in own:
            near = [start for start in real if abs(start - line) <= tolerance]
            if near:
                hits += 1
                real.remove(near[0])
    precision = hits / placed if placed else 0.0
    recall = hits / true if true else 0.0
    f1 = 2 * hits / (placed + true) if placed + true else 0.0
    return precision, recall, f1
"""

VOCABULARY = """
import re
from collections import Counter
import numpy as np

def effective_number(thoughts):
    kinds = Counter()
    for thought in thoughts:
        words = thought.split()[1:]
        kinds[" ".join("N" if re.fullmatch(r"-?[0-9]+", word) else word for word in words)] += 1
    if not kinds:
        return 0.0
    share = np.array(list(kinds.values())) / len(thoughts)
    return float(np.exp(-(share * np.log(share)).sum()))
"""

CHOOSE = """
import numpy as np

def choose(trials, budget):
    fit = [trial for trial in trials if trial[1] <= budget]
    best = max(fit, key=lambda trial: np.mean(trial[2]))
    scores = best[2]
    mark = np.mean(scores) - np.std(scores, ddof=1) / np.sqrt(len(scores))
    near = [trial for trial in fit if np.mean(trial[2]) >= mark]
    return min(near, key=lambda trial: trial[1])[0]
"""

INTERVAL = """
import numpy as np

def paired_interval(own, other, chosen, level):
    gain = own.mean(1) - other.mean(1)
    means = gain[chosen].mean(1)
    rest = (1 - level) / 2
    return gain.mean(), np.quantile(means, rest), np.quantile(means, 1 - rest)
"""

RIGHT = {
    "a7.affordable": [
        AFFORDABLE,
        """
from itertools import accumulate

def affordable(plan, budget):
    factor = {"estep": lambda p, g: p * g, "mstep": lambda p, g: p, "validation": lambda p, g: 0}
    totals = list(accumulate(factor[stage](p, g) * t for stage, p, g, t in plan))
    fit = [total for total in totals if total <= budget]
    return [len(fit), fit[-1] if fit else 0]
""",
    ],
    "a7.boundaries": [
        BOUNDARIES,
        """
import numpy as np

def boundary_scores(thoughts, starts, tolerance):
    counts = np.zeros(3)
    for own, real in zip(thoughts, starts):
        own, real = sorted(i for i in own if i > 0), sorted(i for i in real if i > 0)
        i = j = hits = 0
        while i < len(own) and j < len(real):
            if abs(own[i] - real[j]) <= tolerance:
                hits, i, j = hits + 1, i + 1, j + 1
            elif own[i] < real[j]:
                i += 1
            else:
                j += 1
        counts += [hits, len(own), len(real)]
    hits, placed, true = counts
    return [hits / max(placed, 1), hits / max(true, 1), 2 * hits / max(placed + true, 1)]
""",
    ],
    "a7.vocabulary": [
        VOCABULARY,
        """
import math

def effective_number(thoughts):
    counts = {}
    for thought in thoughts:
        _, _, text = thought.strip().partition(" ")
        kind = tuple("N" if word.lstrip("-").isdigit() else word for word in text.split())
        counts[kind] = counts.get(kind, 0) + 1
    if not counts:
        return 0.0
    return 2 ** sum(-n / len(thoughts) * math.log2(n / len(thoughts)) for n in counts.values())
""",
    ],
    "a7.choose": [
        CHOOSE,
        """
from statistics import mean, stdev

def choose(trials, budget):
    ranked = sorted((t for t in trials if t[1] <= budget), key=lambda t: mean(t[2]), reverse=True)
    top = ranked[0][2]
    mark = mean(top) - stdev(top) / len(top) ** 0.5
    cheap = sorted(ranked, key=lambda t: t[1])
    return next(name for name, tokens, scores in cheap if mean(scores) >= mark - 1e-12)
""",
    ],
    "a7.paired_interval": [
        INTERVAL,
        """
import torch

def paired_interval(own, other, chosen, level):
    gain = torch.tensor((own - other).mean(axis=1))
    means = torch.stack([gain[torch.tensor(row)].mean() for row in chosen])
    ends = torch.quantile(means, torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64))
    return [gain.mean(), ends[0], ends[1]]
""",
    ],
}

WRONG = {
    "a7.affordable": {
        "group ignored": (changed(AFFORDABLE, ("programs * group * tokens", "programs * tokens")), "group"),
        "validation counted": (changed(AFFORDABLE, ("price = 0", "price = programs * tokens")), "validation"),
        "over by one": (
            changed(AFFORDABLE, ("            break\n", "            return count + 1, spent + price\n")),
            "over",
        ),
        "skipped": (changed(AFFORDABLE, ("break", "continue")), "skip"),
        "strict": (changed(AFFORDABLE, ("> budget", ">= budget")), "strict"),
        "group for all": (
            changed(AFFORDABLE, ("price = programs * tokens", "price = programs * group * tokens")),
            None,
        ),
        "whole plan": (changed(AFFORDABLE, ("if spent + price > budget:", "if False:")), None),
        "hard-coded": ("def affordable(plan, budget):\n    return 2, 1000", None),
    },
    "a7.boundaries": {
        "line 0": (
            changed(
                BOUNDARIES,
                ("own = sorted(set(own) - {0})", "own = sorted(own)"),
                ("real = sorted(set(real) - {0})", "real = sorted(real)"),
            ),
            "first_line",
        ),
        "hit twice": (changed(BOUNDARIES, ("                real.remove(near[0])\n", "")), "hit_twice"),
        "nearest": (
            changed(BOUNDARIES, ("remove(near[0])", "remove(min(near, key=lambda start: abs(start - line)))")),
            "nearest",
        ),
        "nearest, of two the later": (
            changed(BOUNDARIES, ("near[0]", "min(near, key=lambda start: (abs(start - line), -start))")),
            None,
        ),
        "last": (changed(BOUNDARIES, ("near[0]", "near[-1]")), "last"),
        "two starts": (
            changed(
                BOUNDARIES,
                ("for line in own", "for line in real"),
                ("for start in real if", "for start in own if"),
                ("                real.remove(near[0])\n", ""),
            ),
            "two_starts",
        ),
        "one-sided": (
            changed(BOUNDARIES, ("abs(start - line) <= tolerance", "0 <= start - line <= tolerance")),
            "one_sided",
        ),
        "thoughts after a start only": (
            changed(BOUNDARIES, ("abs(start - line) <= tolerance", "0 <= line - start <= tolerance")),
            None,
        ),
        "no tolerance": (changed(BOUNDARIES, ("abs(start - line) <= tolerance", "start == line")), "no_tolerance"),
        "averaged over programs": (
            """
def boundary_scores(thoughts, starts, tolerance):
    rows = []
    for own, real in zip(thoughts, starts):
        own, free = sorted(set(own) - {0}), sorted(set(real) - {0})
        true, hits = len(free), 0
        for line in own:
            near = [start for start in free if abs(start - line) <= tolerance]
            if near:
                hits += 1
                free.remove(near[0])
        rows.append((hits / max(len(own), 1), hits / max(true, 1), 2 * hits / max(len(own) + true, 1)))
    return [sum(column) / len(rows) for column in zip(*rows)]
""",
            "macro",
        ),
        "exchanged": (changed(BOUNDARIES, ("return precision, recall, f1", "return recall, precision, f1")), "swapped"),
        "no thought divides by zero": (
            changed(BOUNDARIES, ("hits / placed if placed else 0.0", "hits / placed")),
            None,
        ),
        "smaller than": (changed(BOUNDARIES, ("<= tolerance", "< tolerance + 0.5 * (tolerance < 1)")), None),
    },
    "a7.vocabulary": {
        "numbers kept": (
            changed(VOCABULARY, ('"N" if re.fullmatch(r"-?[0-9]+", word) else word', "word")),
            "numbers",
        ),
        "label kept": (changed(VOCABULARY, ("thought.split()[1:]", "thought.split()")), "label"),
        "distinct kinds": (
            changed(VOCABULARY, ("float(np.exp(-(share * np.log(share)).sum()))", "float(len(share))")),
            "distinct",
        ),
        "bits and exp": (changed(VOCABULARY, ("np.log(share)", "np.log2(share)")), "bases"),
        "entropy": (
            changed(VOCABULARY, ("np.exp(-(share * np.log(share)).sum())", "-(share * np.log(share)).sum()")),
            "entropy",
        ),
        "negative numbers kept": (changed(VOCABULARY, ("-?[0-9]+", "[0-9]+")), None),
        "single digits": (changed(VOCABULARY, ("-?[0-9]+", "-?[0-9]")), None),
        "inverse Simpson": (
            changed(VOCABULARY, ("np.exp(-(share * np.log(share)).sum())", "1 / (share**2).sum()")),
            None,
        ),
        "nothing at all": (changed(VOCABULARY, ("return 0.0", "return 1.0")), None),
    },
    "a7.choose": {
        "beyond the budget": (changed(CHOOSE, ("if trial[1] <= budget", "")), "budget"),
        "the best": (changed(CHOOSE, ("return min(near, key=lambda trial: trial[1])[0]", "return best[0]")), "best"),
        "the cheapest": (changed(CHOOSE, (">= mark", ">= 0")), None),
        "deviation": (changed(CHOOSE, (" / np.sqrt(len(scores))", "")), "spread"),
        "biased deviation": (changed(CHOOSE, (", ddof=1", "")), "biased"),
        "own error": (
            changed(
                CHOOSE,
                (
                    "np.mean(trial[2]) >= mark",
                    "np.mean(trial[2]) + np.std(trial[2], ddof=1) / np.sqrt(len(trial[2])) >= np.mean(scores)",
                ),
            ),
            "own_error",
        ),
        "best of all runs": (
            changed(CHOOSE, ("key=lambda trial: np.mean(trial[2])", "key=lambda trial: max(trial[2])")),
            None,
        ),
        "hard-coded": ("def choose(trials, budget):\n    return 'a'", None),
    },
    "a7.paired_interval": {
        "unpaired": (
            """
import numpy as np

def paired_interval(own, other, chosen, level):
    rest = (1 - level) / 2
    a, b = own.mean(1)[chosen].mean(1), other.mean(1)[chosen].mean(1)
    low = np.quantile(a, rest) - np.quantile(b, 1 - rest)
    high = np.quantile(a, 1 - rest) - np.quantile(b, rest)
    return own.mean() - other.mean(), low, high
""",
            "unpaired",
        ),
        "one-sided": (changed(INTERVAL, ("(1 - level) / 2", "1 - level")), "one_sided"),
        "fixed level": (changed(INTERVAL, ("(1 - level) / 2", "0.025")), "level"),
        "sign": (changed(INTERVAL, ("own.mean(1) - other.mean(1)", "other.mean(1) - own.mean(1)")), "sign"),
        "other ignored": (changed(INTERVAL, (" - other.mean(1)", "")), "other_ignored"),
        "any of n": (changed(INTERVAL, ("own.mean(1) - other.mean(1)", "own.max(1) - other.max(1)")), "any_of_n"),
        "normal approximation": (
            """
from statistics import NormalDist
import numpy as np

def paired_interval(own, other, chosen, level):
    gain = own.mean(1) - other.mean(1)
    z = NormalDist().inv_cdf((1 + level) / 2) * gain.std(ddof=1) / np.sqrt(len(gain))
    return gain.mean(), gain.mean() - z, gain.mean() + z
""",
            None,
        ),
        "draws instead of tasks": (changed(INTERVAL, ("gain[chosen].mean(1)", "gain[chosen].mean(0)")), None),
    },
}
