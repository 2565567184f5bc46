"""The skills that pipelines are made of: phrase in, plain Python lines out.

A *skill* turns the list `xs` into a new list `xs` (a transform) or returns a value from it (a terminal). `{k}` stands
for the skill's parameter. Each skill names two ways to say it (paraphrases) and one way to write it, so that once a
skill and its parameter are known every line of its block is determined: several lines depend on one decision.

`RARE` skills are almost never shown in pre-training (knob `rare_rate`) and as common as the others in expert data:
they are what mid-training has to teach.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Skill:
    """One reusable piece of behaviour, the ground-truth abstraction of the pipelines world."""

    name: str
    """Stable identifier, used as the true label of a segment."""
    phrases: tuple[str, ...]
    """How a docstring may name it."""
    code: tuple[str, ...]
    """Body lines without indentation of the function, `{k}` filled with the parameter."""
    values: tuple[int, ...] = ()
    """Allowed parameters; empty for a skill without one."""
    terminal: bool = False
    """Whether the block returns from the function."""

    def lines(self, value: int | None) -> tuple[str, ...]:
        """The block's lines, indented by four spaces and ended by a newline.

        >>> BY_NAME["negate"].lines(None)[0]
        '    flipped = []\\n'
        """
        return tuple(f"    {line.replace('{k}', str(value))}\n" for line in self.code)

    def phrase(self, value: int | None, paraphrase: int = 0) -> str:
        """The step as a docstring says it.

        >>> BY_NAME["add"].phrase(3)
        'add 3'
        """
        return self.phrases[paraphrase % len(self.phrases)].replace("{k}", str(value))


def _loop(
    name: str, phrases: tuple[str, ...], target: str, body: tuple[str, ...], values: tuple[int, ...] = ()
) -> Skill:
    """A skill of the common shape: fresh list, loop over xs, body, rebind xs."""
    code = (f"{target} = []", "for x in xs:", *(f"    {line}" for line in body), f"xs = {target}")
    return Skill(name, phrases, code, values)


_K = tuple(range(2, 10))

COMMON: tuple[Skill, ...] = (
    _loop(
        "keep_multiples",
        ("keep multiples of {k}", "only multiples of {k}"),
        "kept",
        ("if x % {k} == 0:", "    kept.append(x)"),
        (2, 3, 4, 5),
    ),
    _loop(
        "drop_multiples",
        ("drop multiples of {k}", "no multiples of {k}"),
        "left",
        ("if x % {k} != 0:", "    left.append(x)"),
        _K,
    ),
    _loop(
        "keep_above",
        ("keep values above {k}", "only values over {k}"),
        "high",
        ("if x > {k}:", "    high.append(x)"),
        _K,
    ),
    _loop(
        "keep_below",
        ("keep values below {k}", "only values under {k}"),
        "low",
        ("if x < {k}:", "    low.append(x)"),
        _K,
    ),
    _loop("add", ("add {k}", "increase by {k}"), "added", ("added.append(x + {k})",), _K),
    _loop("subtract", ("subtract {k}", "decrease by {k}"), "less", ("less.append(x - {k})",), _K),
    _loop("multiply", ("multiply by {k}", "scale by {k}"), "scaled", ("scaled.append(x * {k})",), (2, 3, 4, 5)),
    _loop("negate", ("negate each", "flip every sign"), "flipped", ("flipped.append(-x)",)),
    Skill(
        "reverse",
        ("reverse the list", "turn it around"),
        ("back = []", "for x in xs:", "    back.insert(0, x)", "xs = back"),
    ),
    Skill(
        "running_sum",
        ("running sum", "cumulative total"),
        (
            "total = 0",
            "sums = []",
            "for x in xs:",
            "    total = total + x",
            "    sums.append(total)",
            "xs = sums",
        ),
    ),
    Skill("sort", ("sort ascending", "order from low to high"), ("xs = list(xs)", "xs.sort()")),
    Skill(
        "take",
        ("take the first {k}", "keep the first {k}"),
        ("n = min({k}, len(xs))", "xs = xs[:n]"),
        (4, 5, 6, 7, 8),
    ),
    Skill(
        "skip",
        ("skip the first {k}", "leave out the first {k}"),
        ("n = min({k}, len(xs))", "xs = xs[n:]"),
        (1, 2, 3),
    ),
    _loop(
        "clip",
        ("clip at {k}", "cap at {k}"),
        "capped",
        ("if x > {k}:", "    x = {k}", "capped.append(x)"),
        _K,
    ),
)

RARE: tuple[Skill, ...] = (
    Skill(
        "rotate",
        ("rotate left by {k}", "shift around by {k}"),
        ("n = min({k}, len(xs))", "head = xs[:n]", "tail = xs[n:]", "xs = tail + head"),
        (1, 2, 3),
    ),
    _loop(
        "twice",
        ("repeat each twice", "double every entry"),
        "doubled",
        ("doubled.append(x)", "doubled.append(x)"),
    ),
    Skill("mirror", ("append the mirror", "add a reflection"), ("flip = xs[::-1]", "xs = xs + flip")),
    Skill(
        "differences",
        ("neighbour differences", "gaps between neighbours"),
        (
            "gaps = []",
            "for i in range(1, len(xs)):",
            "    gap = xs[i] - xs[i - 1]",
            "    gaps.append(gap)",
            "xs = gaps",
        ),
    ),
    Skill(
        "running_max",
        ("running maximum", "highest so far"),
        (
            "best = min(xs, default=0)",
            "tops = []",
            "for x in xs:",
            "    best = max(best, x)",
            "    tops.append(best)",
            "xs = tops",
        ),
    ),
    _loop(
        "unique",
        ("remove duplicates", "first occurrences only"),
        "seen",
        ("if x not in seen:", "    seen.append(x)"),
    ),
)

TERMINAL: tuple[Skill, ...] = (
    Skill("return_list", ("return the list", "give the list"), ("return xs",), terminal=True),
    Skill(
        "return_count",
        ("return the count", "give the length"),
        ("count = len(xs)", "return count"),
        terminal=True,
    ),
    Skill(
        "return_sum",
        ("return the sum", "give the total"),
        ("result = 0", "for x in xs:", "    result += x", "return result"),
        terminal=True,
    ),
    Skill(
        "return_max",
        ("return the maximum", "give the largest"),
        ("top = max(xs, default=0)", "return top"),
        terminal=True,
    ),
)

BY_NAME: dict[str, Skill] = {skill.name: skill for skill in COMMON + RARE + TERMINAL}
"""Every skill by its name."""
