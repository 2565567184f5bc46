"""A2, first half: the sticky prior, the price of a thought, the KL in parts. The assignment is in `a2.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ra3_lab.course.exercise import Exercise, Mistake
from ra3_lab.course.plain import array
from ra3_lab.theory.closed_forms import bernoulli_kl, marginal_kl, pair_kl

# --- a2.path_prior ---------------------------------------------------------------------------------------------------


def _path_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases: list = [[[3, 3, 3, 3], float(rng.uniform(0.2, 0.9)), 4], [[0, 0, 0], float(rng.uniform(0.2, 0.9)), 5]]
    for length, size in ((5, 2), (9, 3), (600, 7)):
        chosen = rng.integers(1, size + 1, length)
        keep = rng.random(length) < 0.4
        path = [0, int(chosen[1])]
        for z, kept in zip(chosen[2:], keep[2:], strict=True):
            path.append(path[-1] if kept else int(z))
        cases.append([path, float(rng.uniform(0.2, 0.9)), size])
    cases.append([[0, 1, 2, 1, 1, 2], float(rng.uniform(0.2, 0.9)), 2])
    return cases


def _path_prior(
    path: Sequence[int], alpha: float, size: int, none_redrawn: bool = False, returns: Callable | None = None
) -> float:
    """log p(z_0 .. z_T); `returns(before, z)` overrides which earlier latent counts as the one that is kept."""
    fresh, total = (1 - alpha) / size, 0.0
    for t, z in enumerate(path):
        before = [0, *path[:t]]
        kept = z == before[-1] if returns is None else returns(before, z)
        drawn = fresh if z > 0 or none_redrawn else 0.0
        total += math.log(alpha * kept + drawn)
    return total


PATH = Exercise(
    id="a2.path_prior",
    title="What the sticky prior thinks of a path",
    objective="Compute the log-probability of a sequence of latents under the temporal consistency prior.",
    minutes=15,
    difficulty=1,
    points=2,
    function="path_log_prior",
    example=[[0, 2], 0.5, 4],
    make_inputs=_path_inputs,
    oracle=_path_prior,
    mistakes=(
        Mistake(
            "underflow",
            "The probability of a long path is smaller than any float: add logarithms instead of multiplying.",
            matches=lambda a, expected, result: len(a[0]) > 300 and result == -math.inf,
        ),
        Mistake(
            "keep_is_alpha",
            "Staying at a thought has probability alpha here; but a new draw may give the old thought again.",
            wrong=lambda path, alpha, size: sum(
                math.log(alpha if z == before else (1 - alpha) / size)
                for before, z in zip([0, *path], path, strict=False)
            ),
        ),
        Mistake(
            "first_line",
            "The first line is left out: before it stands 'no thought', and its latent is chosen like any other.",
            wrong=lambda path, alpha, size: _path_prior(path, alpha, size) - _path_prior(path[:1], alpha, size),
        ),
        Mistake(
            "no_thought_drawn",
            "'No thought' is treated like a thought that a new draw may give: a draw gives one of the thoughts.",
            wrong=lambda path, alpha, size: _path_prior(path, alpha, size, none_redrawn=True),
        ),
        Mistake(
            "seen_before",
            "A thought that occurred earlier counts as kept: only the *last* latent can be kept.",
            wrong=lambda path, alpha, size: _path_prior(path, alpha, size, returns=lambda before, z: z in before),
        ),
        Mistake(
            "against_first",
            "Each latent is compared with the one before the first line, not with the one before it.",
            wrong=lambda path, alpha, size: _path_prior(path, alpha, size, returns=lambda before, z: z == before[0]),
        ),
    ),
    gives_away=("ra3_lab.midtrain.elbo:sticky_prior", "ra3_lab.theory.closed_forms:sticky_prior"),
)

# --- a2.alpha_of_cost ------------------------------------------------------------------------------------------------


def _alpha_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases: list = [[float(rng.uniform(0, 6)), int(rng.integers(2, 200))] for _ in range(5)]
    return [*cases, [float(rng.uniform(750, 900)), 50], [0.05, int(rng.integers(2, 50))], [float(rng.uniform(1, 3)), 1]]


def _alpha(cost: float, size: int, sign: int = 1) -> float:
    gap = sign * (cost - math.log(size))
    return 1 / (1 + math.exp(-gap)) if gap > -700 else 0.0


ALPHA = Exercise(
    id="a2.alpha_of_cost",
    title="The stickiness behind a price",
    objective="Invert the cost of a new thought: which alpha makes one thought cost c nats?",
    minutes=10,
    difficulty=1,
    points=2,
    function="alpha_of_cost",
    example=[math.log(10), 10],
    make_inputs=_alpha_inputs,
    oracle=_alpha,
    mistakes=(
        Mistake(
            "overflow",
            "exp(c) leaves the range of floats for a large price: write it with exp(-c).",
            matches=lambda a, expected, result: a[0] > 700 and not math.isfinite(result),
        ),
        Mistake(
            "upside_down",
            "Upside down: a *stickier* prior makes a thought dearer, so alpha must grow with c.",
            wrong=lambda cost, size: _alpha(cost, size, sign=-1),
        ),
        Mistake(
            "no_size",
            "The number of thoughts is missing: the more there are, the dearer it is to choose one of them.",
            wrong=lambda cost, size: _alpha(cost, 1),
        ),
        Mistake(
            "size_upside_down",
            "|Z| stands on the wrong side: cost = log(alpha |Z| / (1 - alpha)).",
            wrong=lambda cost, size: 1 / (1 + math.exp(-cost - math.log(size))),
        ),
    ),
    gives_away=("ra3_lab.midtrain.elbo:renewal_cost", "ra3_lab.theory.closed_forms:renewal_cost"),
)

# --- a2.kl_parts -----------------------------------------------------------------------------------------------------


def _parts_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for logit, size, scale in ((1.5, 2, 1.0), (-2.0, 4, 2.0), (45.0, 3, 1.0), (-820.0, 5, 1.0), (900.0, 3, 900.0)):
        choice = rng.normal(0, scale, size)
        choice[0] = scale * rng.uniform(0.9, 1.1)
        cases.append([float(logit * rng.uniform(0.9, 1.1)), array(choice.tolist()), float(rng.uniform(0.6, 0.95))])
    cases.append([float(rng.normal()), array([0.0] * 6), float(rng.uniform(0.1, 0.4))])
    return cases


def _parts(
    logit: float, choice: np.ndarray, alpha: float, swapped: bool = False, backwards: bool = False, weight: bool = True
) -> list[float]:
    renew = 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
    prior = alpha if swapped else 1 - alpha
    if backwards:
        bernoulli = bernoulli_kl(prior, renew)
    else:
        bernoulli = bernoulli_kl(renew, prior)
    shifted = choice - choice.max()
    logp = shifted - math.log(np.exp(shifted).sum())
    spread = math.log(len(choice)) + float(np.exp(logp) @ logp)
    return [bernoulli, (renew if weight else 1.0) * spread]


def _entropy_sign(logit: float, choice: np.ndarray, alpha: float) -> list[float]:
    bernoulli, spread = _parts(logit, choice, alpha)
    renew = 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
    return [bernoulli, 2 * renew * math.log(len(choice)) - spread]


PARTS = Exercise(
    id="a2.kl_parts",
    title="The KL in two parts, from logits",
    objective="Split the KL from the sticky prior into 'when to think' and 'what to think', also where q is sure.",
    minutes=25,
    difficulty=2,
    points=3,
    function="kl_parts",
    example=[0.0, array([0.0, math.log(3)]), 0.5],
    make_inputs=_parts_inputs,
    oracle=_parts,
    mistakes=(
        Mistake(
            "unstable",
            "nan or infinity where the policy is sure: 0 log 0 is 0, and log(1 - rho) must not be formed from a "
            "rounded rho.",
            matches=lambda a, expected, result: not np.isfinite(np.array(result, float)).all(),
        ),
        Mistake(
            "alpha_swapped",
            "alpha is the prior's chance to *keep*; rho is the chance to renew.",
            wrong=lambda *a: _parts(*a, swapped=True),
        ),
        Mistake(
            "no_rho",
            "The second part is paid only when q renews: it carries the weight rho.",
            wrong=lambda *a: _parts(*a, weight=False),
        ),
        Mistake("entropy_sign", "The entropy enters with the wrong sign: spreading out is cheap.", wrong=_entropy_sign),
        Mistake(
            "backwards",
            "The first KL is the wrong way round: the expectation is over q, not over the prior.",
            matches=lambda a, expected, result: (
                abs(result[1] - expected[1]) < 1e-6
                and (abs(a[0]) > 30 or abs(result[0] - _parts(*a, backwards=True)[0]) < 1e-6)
            ),
        ),
    ),
    gives_away=("ra3_lab.midtrain.elbo:pair_kl", "ra3_lab.theory.closed_forms:pair_kl"),
)

# --- a2.overcharge ---------------------------------------------------------------------------------------------------


def _overcharge_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for size in (2, 3, 5, 8):
        previous = int(rng.integers(1, size))
        choice = rng.dirichlet(np.ones(size))
        cases.append([float(rng.uniform(0.1, 0.9)), array(choice.tolist()), float(rng.uniform(0.3, 0.9)), previous])
    cases.append([1.0, array([0.4, 0.6, 0.0]), float(rng.uniform(0.3, 0.9)), 2])  # z_prev never comes again
    cases.append([0.0, array([0.4, 0.6]), float(rng.uniform(0.3, 0.9)), 1])  # never renews
    return cases


def _overcharge(renew: float, choice: np.ndarray, alpha: float, previous: int) -> float:
    return pair_kl(renew, choice, alpha) - marginal_kl(renew, choice, alpha, previous)


def _hidden(renew: float, choice: np.ndarray, alpha: float, previous: int) -> tuple[float, float, float]:
    """q(z = z_prev), and the chance under q and under the prior that this was a renewal."""
    back, drawn = renew * float(choice[previous]), (1 - alpha) / len(choice)
    stays = 1 - renew + back
    return stays, back / stays if stays else 0.0, drawn / (alpha + drawn)


def _backwards_gap(renew: float, choice: np.ndarray, alpha: float, previous: int) -> float:
    stays, under_q, under_p = _hidden(renew, choice, alpha, previous)
    return stays * bernoulli_kl(under_p, under_q) if 0 < under_q < 1 else math.nan


OVERCHARGE = Exercise(
    id="a2.overcharge",
    title="What the split charges too much",
    objective="Compute by the chain rule how far the KL of the pair lies above the KL of the latent alone.",
    minutes=30,
    difficulty=3,
    points=4,
    function="overcharge",
    example=[0.75, array([1.0, 0.0]), 0.6, 0],
    make_inputs=_overcharge_inputs,
    oracle=_overcharge,
    atol=1e-9,
    mistakes=(
        Mistake(
            "undefined",
            "nan, infinity or nothing where q never stays at the old thought, or never renews: what is never seen "
            "costs nothing.",
            matches=lambda a, expected, result: (
                (a[0] in (0.0, 1.0)) and (result is None or not math.isfinite(float(result)))
            ),
        ),
        Mistake(
            "pair",
            "This is the KL of the pair itself: asked is what it charges too much.",
            wrong=lambda *a: pair_kl(*a[:3]),
        ),
        Mistake(
            "marginal", "This is the KL on the latent alone: asked is what the pair charges more.", wrong=marginal_kl
        ),
        Mistake(
            "weight",
            "The inner KL is right; it is paid only when the latent stays the same, with that probability under q.",
            matches=lambda a, expected, result: (
                (expected == 0 or abs(result - expected / _hidden(*a)[0]) <= 1e-6 * abs(result)) or _hidden(*a)[0] == 0
            ),
        ),
        Mistake(
            "ends",
            "Wrong only where q never renews, or always does: the formula holds there as well, with 0 log 0 = 0.",
            matches=lambda a, expected, result: a[0] in (0.0, 1.0),
        ),
        Mistake(
            "backwards",
            "The inner KL is the wrong way round: the expectation is over q.",
            matches=lambda a, expected, result: (
                a[0] in (0.0, 1.0) or abs(result - _backwards_gap(*a)) <= 1e-6 * abs(result)
            ),
        ),
        Mistake(
            "sign",
            "The sign is flipped: knowing more (renewed or not) can only raise a KL.",
            wrong=lambda *a: -_overcharge(*a),
        ),
        Mistake(
            "previous",
            "The thought before is taken to be number 0: `previous` says which it is.",
            wrong=lambda renew, choice, alpha, previous: _overcharge(renew, choice, alpha, 0),
        ),
    ),
    gives_away=("ra3_lab.midtrain.elbo:pair_kl", "ra3_lab.midtrain.elbo:marginal_kl"),
)
