"""Labs on the exact oracle: how good each posterior is, what the price of a thought does, how noisy the E-step's
gradient is, and exact EM beside RA3's sampled EM. Each returns a record; sums over programs are exact unless a line
says sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from ra3_lab.theory import estep
from ra3_lab.theory.checks import check_count, check_share
from ra3_lab.theory.oracle import (
    HiddenWorld,
    all_programs,
    backward,
    bound,
    draw,
    evidence,
    expected_counts,
    line_logp,
    log_sum_exp,
    posterior,
    sample_programs,
    skill_world,
    with_counts,
)
from ra3_lab.theory.records import record


def expert_weights(world: HiddenWorld, lines: np.ndarray) -> np.ndarray:
    """(N,) p(lines | the expert starts with a skill), scaled to sum to 1 over these programs.

    The expert always has an intent; the learner's model starts at "no thought".
    """
    ahead = line_logp(world, lines)[:, 0, 0, 1:] + backward(world, lines)[:, 1, 1:]
    weights = np.exp(log_sum_exp(ahead))
    return weights / weights.sum()


@record
@dataclass(frozen=True)
class PosteriorRow:
    """One way to choose thoughts, all terms in nats per program."""

    name: str
    """Which q."""
    likelihood: float
    """E_q[ sum_t log pi(a_t | s_t, z_t) ]."""
    divergence: float
    """KL from the sticky prior, on the pair."""
    elbo: float
    """The bound."""
    gap: float
    """log-evidence minus ELBO: KL from the true posterior."""
    share: float
    """Thoughts per line."""


@record
@dataclass(frozen=True)
class PosteriorRecord:
    """What `posterior_lab` measured."""

    alpha: float
    """Of the sticky prior."""
    noise: float
    """Probability that a line does not follow its skill."""
    length: int
    """Lines of a program."""
    seed: int
    """Of the sampled E-step."""
    evidence: float
    """Mean log-evidence, nats per program."""
    rows: tuple[PosteriorRow, ...]
    """From the closest q to the farthest kind."""


def posterior_lab(
    alpha: float = 0.75, noise: float = 0.1, length: int = 6, updates: int = 40, seed: int = 0
) -> PosteriorRecord:
    """How far from the truth: exact posterior, best causal q, RA3's sampled E-step, the prior, and never thinking.

    On all 3^length programs, weighted by how likely an expert writes them. The E-step (tabular q over the last two
    lines) is the only sampled row: its training is, its score is exact.
    """
    check_count("length", length, 1, 7)
    world = skill_world(alpha=alpha, noise=noise)
    lines = all_programs(world.lines, length)
    weights = expert_weights(world, lines)
    where = estep.contexts(lines, world.lines, 2)
    logits = estep.train(world, lines, weights, where, updates, np.random.default_rng(seed))
    never = np.zeros((*lines.shape, world.thoughts + 1, world.thoughts + 1))
    never[..., 0] = 1.0
    found = {
        "exact posterior (hindsight)": posterior(world, lines),
        "best causal q": estep.best_causal(world, lines, weights),
        "causal q, RA3's E-step": estep.tabular(logits, where),
        "the prior": estep.tabular(estep.prior_logits(world, where.count), where),
        "never think": never,
    }
    truth = float(weights @ evidence(world, lines))
    rows = []
    for name, q in found.items():
        terms = bound(world, lines, q)
        elbo = float(weights @ terms.elbo)
        likelihood, divergence = float(weights @ terms.likelihood), float(weights @ terms.divergence)
        share = float(weights @ terms.thoughts) / length
        rows.append(PosteriorRow(name, likelihood, divergence, elbo, truth - elbo, share))
    return PosteriorRecord(alpha, noise, length, seed, truth, tuple(rows))


@record
@dataclass(frozen=True)
class PriceCurve:
    """One way to choose thoughts at every price."""

    name: str
    """Which q."""
    costs: tuple[float, ...]
    """c, nats per thought."""
    share: tuple[float, ...]
    """Thoughts per line."""
    likelihood: tuple[float, ...]
    """Nats per line."""


@record
@dataclass(frozen=True)
class PriceRecord:
    """What `price_lab` measured."""

    fade: float
    """Probability that a kept thought is not followed at a line."""
    length: int
    """Lines of a program."""
    updates: int
    """Of each sampled E-step."""
    seed: int
    """Of the sampled E-steps."""
    repeat: float
    """What thinking the same again is worth, nats, at a line before which the skill is known for sure (it may change
    at this line, as the expert's does): from this price on the best causal q repeats none; 0 or less: at no price."""
    silent: float
    """Likelihood without any thought, nats per line."""
    curves: tuple[PriceCurve, ...]
    """Hindsight, best causal, RA3's E-step."""


COSTS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 1.6, 2.0, 3.0)
TRAINED = (0.0, 0.05, 0.2, 0.8, 1.6, 3.0)


def price_lab(fade: float = 0.5, noise: float = 0.1, length: int = 5, updates: int = 48, seed: int = 0) -> PriceRecord:
    """Share of lines with a thought, and the likelihood, against the price c, pi fixed.

    Experts keep a skill for 20 lines on average. In the learner's pi a kept thought fades. The curves with hindsight
    and for the best causal q are exact optima; the points of RA3's E-step (tabular q over the last two lines) are
    trained by sampled policy gradient, one table a price, all of them at once.
    """
    check_count("length", length, 2, 7)
    expert = skill_world(alpha=0.95, noise=noise)
    world = skill_world(alpha=0.75, noise=noise, fade=fade)
    lines = all_programs(world.lines, length)
    weights = expert_weights(expert, lines)

    def curve(name: str, costs: tuple[float, ...], chosen: Iterable[np.ndarray]) -> PriceCurve:
        terms = [bound(world, lines, q) for q in chosen]
        share = tuple(float(weights @ term.thoughts) / length for term in terms)
        return PriceCurve(name, costs, share, tuple(float(weights @ term.likelihood) / length for term in terms))

    where, copies = estep.contexts(lines, world.lines, 2), len(TRAINED)
    logits = estep.train(
        world,
        np.tile(lines, (copies, 1)),
        np.tile(weights, copies),
        estep.stack_tables(where, copies),
        updates,
        np.random.default_rng(seed),
        cost=np.repeat(TRAINED, len(lines)),
        programs=20 * copies,
    )
    trained = (estep.tabular(table, where) for table in np.split(logits, copies))
    fresh, kept = world.emission[1, 1, 0], world.emission[0, 1, 0]
    # The expert's next line where its skill was the first: it keeps the skill, or draws one of all.
    ahead = expert.alpha * expert.emission[0, 1, 0] + (1 - expert.alpha) * expert.emission[1, 1:, 0].mean(0)
    return PriceRecord(
        fade=fade,
        length=length,
        updates=updates,
        seed=seed,
        repeat=float(ahead @ (np.log(fresh) - np.log(kept))),
        silent=float(np.log(1 / world.lines)),
        curves=(
            curve("hindsight", COSTS, (estep.best_with_hindsight(world, lines, weights, c) for c in COSTS)),
            curve("best causal", COSTS, (estep.best_causal(world, lines, weights, c) for c in COSTS)),
            curve("RA3's E-step", TRAINED, trained),
        ),
    )


@record
@dataclass(frozen=True)
class GradientRow:
    """One estimator of the E-step's gradient."""

    baseline: str
    """What is taken off the return."""
    group: int
    """G, latent sequences of each program."""
    projection: float
    """Mean estimate along the exact gradient, 1 where unbiased."""
    standard_error: float
    """Of the projection."""
    noise: float
    """Total variance of one latent sequence's share, over the squared size of the exact gradient."""


@record
@dataclass(frozen=True)
class GradientRecord:
    """What `gradient_lab` measured."""

    cost: float
    """c, nats per thought."""
    programs: int
    """Expert programs in each estimate."""
    repeats: int
    """Estimates."""
    seed: int
    """Of the rollouts."""
    rows: tuple[GradientRow, ...]
    """By baseline, then group size."""


BASELINES = ("none", "leave-one-out", "group mean")


def gradient_lab(
    cost: float = 0.2, groups: tuple[int, ...] = (2, 4, 8, 16), repeats: int = 60, programs: int = 8, seed: int = 0
) -> GradientRecord:
    """Bias and variance of REINFORCE at the start of the E-step, by baseline and group size, against the exact
    gradient.

    Eight programs, the same in every estimate, so that all the noise is that of the latents.
    """
    check_count("repeats", repeats, 2)
    rng = np.random.default_rng(seed)
    world = skill_world(alpha=0.75, fade=0.3)
    lines, _ = sample_programs(world, programs, 6, rng)
    weights = np.full(programs, 1 / programs)
    where = estep.contexts(lines, world.lines, 1)
    logits = estep.prior_logits(world, where.count)
    exact = estep.exact_gradient(world, lines, weights, logits, where, cost)
    size = float((exact**2).sum())
    logp = line_logp(world, lines)
    rows = []
    for group in groups:
        check_count("group", group, 2)
        each = np.repeat(np.arange(programs), group)
        rolls = estep.roll_out(world, logp, logits, where, np.tile(each, repeats), cost, rng)
        parts = [_part(rolls, slice(r * len(each), (r + 1) * len(each))) for r in range(repeats)]
        for kind in BASELINES:
            found = np.array([estep.sampled_gradient(part, logits, where, group, kind) for part in parts])
            along = (found * exact).sum((1, 2, 3)) / size
            noise = float(found.var(0, ddof=1).sum()) * len(each) / size
            error = float(along.std(ddof=1)) / np.sqrt(repeats)
            rows.append(GradientRow(kind, group, float(along.mean()), float(error), noise))
    rows.sort(key=lambda row: BASELINES.index(row.baseline))
    return GradientRecord(cost, programs, repeats, seed, tuple(rows))


def _part(rolls: estep.Rollouts, rows: slice) -> estep.Rollouts:
    return estep.Rollouts(rolls.program[rows], rolls.latent[rows], rolls.choice[rows], rolls.reward[rows])


@record
@dataclass(frozen=True)
class EMCurve:
    """One way to do the E-step, all else equal."""

    name: str
    """Which E-step."""
    evidence: tuple[float, ...]
    """Exact log-evidence of pi after 0, 1, .. rounds, nats per program."""
    objective: tuple[float, ...]
    """What its E-step maximises, at the q of each round: the exact ELBO, or likelihood minus c for each thought."""
    falls: int
    """Rounds after which the evidence was lower than before."""
    share: float
    """Thoughts per line in the last round."""


@record
@dataclass(frozen=True)
class EMRecord:
    """What `em_lab` measured."""

    programs: int
    """Expert programs."""
    length: int
    """Lines of each."""
    cost: float
    """c of the causal arms, nats per thought."""
    updates: int
    """Policy gradient updates of RA3's E-step in a round."""
    blur: float
    """How far the first pi is from the truth, 0 to 1."""
    seed: int
    """Of programs and sampling."""
    truth: float
    """Log-evidence of the world the programs come from, nats per program."""
    curves: tuple[EMCurve, ...]
    """Exact EM first."""


EStep = Callable[[HiddenWorld], np.ndarray]


def em_lab(
    blur: float = 0.5,
    cost: float = 0.3,
    rounds: int = 6,
    updates: int = 8,
    programs: int = 150,
    length: int = 6,
    seed: int = 0,
) -> EMRecord:
    """Exact EM beside RA3's: best causal q, causal q trained by sampled policy gradient, thoughts from the prior.

    pi starts as the true emissions mixed with `blur` parts of noise: a base model that knows something. Exact EM uses
    the posterior with hindsight and expected counts. The best causal q is exact as well, for the price c. RA3 trains
    q from where it stood and fits pi to one sampled latent sequence a program, and so do the thoughts from the prior.
    """
    check_share("blur", blur)
    check_count("rounds", rounds)
    check_count("programs", programs)
    check_count("length", length, 2, 7)
    rng = np.random.default_rng(seed)
    truth = skill_world(alpha=0.9)
    population = all_programs(truth.lines, length)
    counts = rng.multinomial(programs, expert_weights(truth, population))
    lines, weights = population[counts > 0], counts[counts > 0] / programs  # each different program once
    noise = rng.dirichlet(np.ones(truth.lines), truth.emission.shape[:3])
    first = replace(truth, emission=(1 - blur) * truth.emission + blur * noise)
    where = estep.contexts(lines, truth.lines, 2)
    tables = [estep.prior_logits(truth, where.count)]

    def train(world: HiddenWorld) -> np.ndarray:
        tables.append(estep.train(world, lines, weights, where, updates, rng, cost, programs=24, logits=tables[-1]))
        return estep.tabular(tables[-1], where)

    prior = estep.tabular(tables[0], where)
    arms: dict[str, tuple[EStep, float | None, bool]] = {
        "exact EM": (lambda world: posterior(world, lines), None, False),
        "best causal q, exact": (lambda world: estep.best_causal(world, lines, weights, cost), cost, False),
        "RA3, sampled causal q": (train, cost, True),
        "thoughts from the prior": (lambda world: prior, cost, True),
    }
    curves = [_em_curve(name, first, lines, counts[counts > 0], arm, rounds, rng) for name, arm in arms.items()]
    score = float(weights @ evidence(truth, lines))
    return EMRecord(programs, length, cost, updates, blur, seed, score, tuple(curves))


def _em_curve(
    name: str,
    world: HiddenWorld,
    lines: np.ndarray,
    counts: np.ndarray,
    arm: tuple[EStep, float | None, bool],
    rounds: int,
    rng: np.random.Generator,
) -> EMCurve:
    choose, cost, sampled = arm
    weights = counts / counts.sum()
    scores, objectives, share = [float(weights @ evidence(world, lines))], [], 0.0
    for _ in range(rounds):
        q = choose(world)
        terms = bound(world, lines, q)
        objectives.append(float(weights @ (terms.elbo if cost is None else terms.priced(cost))))
        share = float(weights @ terms.thoughts) / lines.shape[1]
        if sampled:  # one latent sequence for every program, the repeated ones too
            each = np.repeat(np.arange(len(lines)), counts)
            drawn, rows, even = _one_choice(q[each], rng), lines[each], np.full(len(each), 1 / len(each))
            world = with_counts(world, expected_counts(world, rows, even, drawn), 1e-4)
        else:
            world = with_counts(world, expected_counts(world, lines, weights, q))
        scores.append(float(weights @ evidence(world, lines)))
    falls = int((np.diff(scores) < -1e-10).sum())
    return EMCurve(name, tuple(scores), tuple(objectives), falls, share)


def _one_choice(q: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One draw of the choice at every line, whatever z came before, as a posterior that repeats it."""
    return np.eye(q.shape[-1])[draw(q, rng)]
