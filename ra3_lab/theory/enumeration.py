"""The oracle by brute force: every sequence of choices, one after the other. Shares no sums with `oracle.py`.

(K + 1)^T sequences; meant for T up to about 6. The functions are what students can read as the definition.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from ra3_lab.theory.checks import check_count
from ra3_lab.theory.oracle import HiddenWorld


def sequences(world: HiddenWorld, length: int) -> np.ndarray:
    """((K + 1)^T, T) every sequence of choices. ValueError beyond 50,000.

    >>> from ra3_lab.theory.oracle import skill_world
    >>> sequences(skill_world(thoughts=1), 2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    check_count("number of sequences", (world.thoughts + 1) ** length, 1, 50_000)
    return np.array(list(product(range(world.thoughts + 1), repeat=length)))


def walk(world: HiddenWorld, program: np.ndarray, choices: np.ndarray, q: np.ndarray) -> tuple[float, float, float]:
    """(log p(choices), log p(lines | choices), log q(choices)) of one sequence; `q` is (T, K + 1, K + 1)."""
    z, before = 0, world.lines
    prior = emitted = chosen = 0.0
    with np.errstate(divide="ignore"):
        for t, (line, u) in enumerate(zip(program, choices, strict=True)):
            chosen += float(np.log(q[t, z, u]))
            prior += float(world.log_prior[u])
            z = int(u) if u else z
            emitted += float(np.log(world.emission[int(u > 0), z, before, line]))
            before = line
    return prior, emitted, chosen


def brute_force(world: HiddenWorld, program: np.ndarray, q: np.ndarray) -> dict[str, float]:
    """log-evidence, ELBO, its two terms, expected thoughts and KL(q || posterior) of one program, all by summing."""
    listed = sequences(world, len(program))
    terms = np.array([walk(world, program, choices, q) for choices in listed])
    joint = terms[:, 0] + terms[:, 1]
    log_evidence = float(np.log(np.exp(joint).sum()))
    likely = np.exp(terms[:, 2])
    some = likely > 0
    prior, emitted, chosen = terms[some].T
    weight = likely[some]
    return {
        "evidence": log_evidence,
        "likelihood": float(weight @ emitted),
        "divergence": float(weight @ (chosen - prior)),
        "elbo": float(weight @ (emitted + prior - chosen)),
        "thoughts": float(weight @ (listed[some] > 0).sum(1)),
        "posterior_kl": float(weight @ (chosen - (joint[some] - log_evidence))),
    }
