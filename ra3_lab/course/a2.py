"""A2: the temporal ELBO and its KL split. Its first half is in `a2_prior.py`.

Here the prior is any matrix p(z' | z), latents are numbered, and the one before the first line is 0.
"""

from __future__ import annotations

import math

import numpy as np

from ra3_lab.course.a2_prior import ALPHA, OVERCHARGE, PARTS, PATH
from ra3_lab.course.exercise import Assignment, Exercise, Mistake, Question
from ra3_lab.course.plain import array
from ra3_lab.theory.oracle import log_sum_exp

# --- a2.elbo ---------------------------------------------------------------------------------------------------------


def _chain(rng: np.random.Generator, length: int, size: int, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihoods of lines (T, K) and a prior (K, K) without symmetry."""
    prior = 0.9 * rng.dirichlet(np.ones(size), size) + 0.1 / size
    return -rng.gamma(2.0, scale, (length, size)), prior


def _elbo_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for length, size, sure in ((2, 2, False), (3, 3, False), (5, 4, True), (7, 2, True)):
        loglik, prior = _chain(rng, length, size)
        q = rng.dirichlet(np.ones(size), (length, size))
        if sure:
            q[0] = np.eye(size)[rng.integers(0, size, size)]
            q[-1, 0] = np.eye(size)[0]
        cases.append([array(loglik.tolist()), array(prior.tolist()), array(q.tolist())])
    return cases


def _elbo(loglik: np.ndarray, prior: np.ndarray, q: np.ndarray, moves: bool = True) -> list[float]:
    """E_q[log-likelihood] and KL; `moves`: whether the distribution of the latent before moves along."""
    seen, likelihood, divergence = np.eye(len(prior))[0], 0.0, 0.0
    for scores, table in zip(loglik, q, strict=True):
        joint = seen[:, None] * table
        ratio = np.log(np.where(table > 0, table, 1.0)) - np.where(table > 0, np.log(prior), 0.0)
        likelihood += float((joint * scores).sum())
        divergence += float((joint * ratio).sum())
        seen = joint.sum(0) if moves else seen
    return [likelihood, divergence]


def _last_table_transposed(loglik: np.ndarray, prior: np.ndarray, q: np.ndarray) -> list[float]:
    return _elbo(loglik, prior.T, q.transpose(0, 2, 1))


ELBO = Exercise(
    id="a2.elbo",
    title="The temporal ELBO, exactly",
    objective="Take the expectation over all latent sequences of a Markov posterior without listing them.",
    minutes=25,
    difficulty=2,
    points=3,
    function="elbo_terms",
    example=[
        array([[-1.0, -2.0]]),
        array([[0.75, 0.25], [0.25, 0.75]]),
        array([[[0.5, 0.5], [0.5, 0.5]]]),
    ],
    make_inputs=_elbo_inputs,
    oracle=_elbo,
    mistakes=(
        Mistake(
            "start_only",
            "Every line uses the row of the first latent: the latent before a line has a distribution that moves.",
            wrong=lambda *a: _elbo(*a, moves=False),
        ),
        Mistake(
            "mean",
            "Both terms are means over lines: the log-likelihood of a program is a sum.",
            wrong=lambda loglik, prior, q: [term / len(loglik) for term in _elbo(loglik, prior, q)],
        ),
        Mistake(
            "nan",
            "nan where q is 0: a choice that is never made costs nothing, 0 log 0 = 0.",
            matches=lambda a, expected, result: bool(
                (a[2] == 0).any() and not np.isfinite(np.array(result, float)).all()
            ),
        ),
        Mistake(
            "kl_sign",
            "The KL is negative: it is E_q[log q - log p].",
            wrong=lambda *a: [_elbo(*a)[0], -_elbo(*a)[1]],
        ),
        Mistake(
            "axis",
            "Rows and columns are exchanged: q[t, z, z'] goes from z to z'.",
            wrong=_last_table_transposed,
        ),
        Mistake(
            "bound",
            "The two terms are asked for apart: expected log-likelihood first, KL second.",
            matches=lambda a, expected, result: isinstance(result, float),
        ),
    ),
    gives_away=("ra3_lab.theory.oracle:bound", "ra3_lab.theory.oracle:visits"),
)

# --- a2.evidence -----------------------------------------------------------------------------------------------------


def _evidence_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for length, size, scale in ((2, 2, 1.0), (3, 3, 1.0), (6, 4, 2.0), (60, 3, 20.0), (1, 4, 1500.0)):
        loglik, prior = _chain(rng, length, size, scale)
        cases.append([array(loglik.tolist()), array(prior.tolist())])
    return cases


def _back(loglik: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """(T + 1, K) log p(a_t .. | z_(t-1))."""
    messages = np.zeros((len(loglik) + 1, len(prior)))
    for t in reversed(range(len(loglik))):
        messages[t] = log_sum_exp(np.log(prior) + loglik[t] + messages[t + 1])
    return messages


def _evidence(loglik: np.ndarray, prior: np.ndarray) -> float:
    return float(_back(loglik, prior)[0, 0])


def _best_path(loglik: np.ndarray, prior: np.ndarray) -> float:
    value = np.zeros(len(prior))
    for scores in loglik[::-1]:
        value = (np.log(prior) + scores + value).max(1)
    return float(value[0])


def _independent(loglik: np.ndarray, prior: np.ndarray) -> float:
    return float(sum(log_sum_exp(np.log(prior[0]) + scores) for scores in loglik))


def _uniform_start(loglik: np.ndarray, prior: np.ndarray) -> float:
    return float(log_sum_exp(_back(loglik, prior)[0]) - math.log(len(prior)))


EVIDENCE = Exercise(
    id="a2.evidence",
    title="What the bound is a bound of",
    objective="Sum over all latent sequences in time linear in the number of lines, without underflow.",
    minutes=20,
    difficulty=2,
    points=3,
    function="log_evidence",
    example=[array([[-1.0, -2.0]]), array([[0.75, 0.25], [0.25, 0.75]])],
    make_inputs=_evidence_inputs,
    oracle=_evidence,
    mistakes=(
        Mistake(
            "underflow",
            "exp of a log-likelihood of -1500 is 0: take the largest exponent out before exp.",
            matches=lambda a, expected, result: expected < -500 and not math.isfinite(result),
        ),
        Mistake(
            "best_path",
            "This is the best single sequence: all sequences count, weighted by their probability.",
            wrong=_best_path,
        ),
        Mistake(
            "independent",
            "Every line starts from the first latent again: a latent depends on the one before it.",
            wrong=_independent,
        ),
        Mistake(
            "axis",
            "Rows and columns of the prior are exchanged: prior[z, z'] goes from z to z'.",
            wrong=lambda loglik, prior: _evidence(loglik, prior.T),
        ),
        Mistake(
            "uniform_start",
            "The first latent is drawn as if any could stand before it: before the first line stands latent 0.",
            wrong=_uniform_start,
        ),
        Mistake("sign", "The sign is flipped: a log-probability is negative.", wrong=lambda *a: -_evidence(*a)),
    ),
    gives_away=("ra3_lab.theory.oracle:evidence", "ra3_lab.theory.oracle:backward"),
)

# --- a2.posterior ----------------------------------------------------------------------------------------------------


def _posterior(loglik: np.ndarray, prior: np.ndarray) -> np.ndarray:
    messages = _back(loglik, prior)
    ahead = np.log(prior) + loglik[:, None, :] + messages[1:, None, :]
    return np.exp(ahead - messages[:-1, :, None])


def _causal(loglik: np.ndarray, prior: np.ndarray) -> np.ndarray:
    ahead = np.log(prior) + loglik[:, None, :]
    return np.exp(ahead - log_sum_exp(ahead)[..., None])


def _no_prior(loglik: np.ndarray, prior: np.ndarray) -> np.ndarray:
    flat = np.full_like(prior, 1 / len(prior))
    ahead = np.zeros_like(prior) + loglik[:, None, :] + _back(loglik, flat)[1:, None, :]
    return np.exp(ahead - log_sum_exp(ahead)[..., None])


POSTERIOR = Exercise(
    id="a2.posterior",
    title="The q that makes the bound tight",
    objective="Find the posterior over latents that makes ELBO and evidence equal, and see that it looks ahead.",
    minutes=30,
    difficulty=3,
    points=4,
    function="tight_q",
    example=[array([[-1.0, -2.0]]), array([[0.75, 0.25], [0.25, 0.75]])],
    make_inputs=_evidence_inputs,
    oracle=_posterior,
    atol=1e-8,
    mistakes=(
        Mistake(
            "underflow",
            "nan or infinity where log-likelihoods are very negative: stay with logarithms until the rows are formed.",
            matches=lambda a, expected, result: bool(
                np.min(a[0]) < -100 and not np.isfinite(np.array(result, float)).all()
            ),
        ),
        Mistake(
            "causal",
            "Each row weighs prior and the line at hand only: the posterior also asks what the choice does to later "
            "lines.",
            wrong=_causal,
        ),
        Mistake(
            "axis",
            "The prior's rows and columns are exchanged: q[t, z, z'] and prior[z, z'] both go from z to z'.",
            wrong=lambda loglik, prior: _posterior(loglik, prior.T),
        ),
        Mistake(
            "no_prior", "The prior is left out: likely latents come first before any line is seen.", wrong=_no_prior
        ),
        Mistake(
            "not_normalised",
            "The rows do not sum to 1: q[t, z] is a distribution for every z, also for one that q never reaches.",
            matches=lambda a, expected, result: bool(
                np.shape(result) == np.shape(expected) and np.abs(np.sum(result, -1) - 1).max() > 1e-6
            ),
        ),
    ),
    gives_away=("ra3_lab.theory.oracle:posterior", "ra3_lab.theory.oracle:backward"),
)

ASSIGNMENT = Assignment(
    id="a2",
    title="The temporal ELBO and its KL split",
    notebook="a2_elbo",
    exercises=(PATH, ALPHA, PARTS, OVERCHARGE, ELBO, EVIDENCE, POSTERIOR),
    questions=(
        Question("a2.why_sticky", points=2),
        Question("a2.why_constant", points=2),
        Question("a2.why_two_parts", points=2),
        Question("a2.why_pair", points=1),
        Question("a2.why_direction", points=2),
        Question("a2.why_not_best", points=2),
        Question("a2.why_causal", points=2),
    ),
)
