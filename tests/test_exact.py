"""The E-step against brute force: every latent sequence of a tiny model is enumerated, in float64.

The oracle below shares no code with `scoring.py` or `estep.py`: it walks token by token over the model's
softmax.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from ra3_lab.midtrain import estep
from ra3_lab.midtrain.elbo import (
    leave_one_out,
    marginal_kl,
    pair_kl,
    renewal_cost,
    reward_to_go,
    rewards,
    sticky_prior,
)
from ra3_lab.midtrain.estep import EStep, EStepConfig
from ra3_lab.models import scoring
from ra3_lab.models.decoder import Decoder
from ra3_lab.models.rollout import LatentSampling, Rollout, sample_latents
from ra3_lab.models.scoring import collate, latent_logp, line_logp, score_batch
from ra3_lab.models.tokenizer import FIRST_ACT, LineTokenizer
from ra3_lab.trace import Trace, annotate


class FiveTokens(LineTokenizer):
    """A tokenizer of five tokens, one a character: newline, '#', end of text, 'a', 'b'."""

    def __init__(self) -> None:
        self.newline, self.marker, self.eos = 0, 1, 2
        self.pad = self.bos = self.eos
        self.specials = self.banned = (self.eos,)

    def _encode(self, text, specials):
        return ["\n#.ab".index(character) for character in text]

    def decode(self, ids):
        return "".join("\n#.ab"[int(i)] for i in ids)


TOKENIZER = FiveTokens()
THOUGHT_TOKENS = (1, 3, 4)  # a thought holds '#', 'a' and 'b'


def tiny(seed: int):
    """A float64 Llama of a few hundred parameters; torch's norm, as the original computes in float32."""
    torch.manual_seed(seed)
    shape = LlamaConfig(
        vocab_size=5,
        hidden_size=8,
        num_hidden_layers=1,
        intermediate_size=8,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(shape).double().eval()
    block = model.model.layers[0]
    block.input_layernorm = torch.nn.RMSNorm(8, 1e-6, dtype=torch.float64)
    block.post_attention_layernorm = torch.nn.RMSNorm(8, 1e-6, dtype=torch.float64)
    model.model.norm = torch.nn.RMSNorm(8, 1e-6, dtype=torch.float64)
    for parameter in model.parameters():
        parameter.data.normal_(std=0.6)
    return model


@dataclass(frozen=True)
class Thought:
    """One value of a latent: None for no thought."""

    tokens: tuple[int, ...] | None
    cut: bool = False
    no_room: bool = False


def all_latents(trace: Trace, longest: int, context: int = 256) -> list[tuple[Thought, ...]]:
    """Every latent sequence: at each offered line no thought, one that ends itself, one cut at `longest`; nothing is
    offered where the longest thought would push the rest of the program out of the context."""
    thoughts = [Thought(None)]
    for length in range(longest + 1):
        thoughts += [Thought(t) for t in itertools.product(THOUGHT_TOKENS, repeat=length)]
    thoughts += [Thought(t, cut=True) for t in itertools.product(THOUGHT_TOKENS, repeat=longest)]
    size = 2 + len(trace.prompt) + sum(map(len, trace.lines))  # with the tokens of beginning and end
    found: list[tuple[Thought, ...]] = [()]
    for line in trace.lines:

        def choices(before: tuple[Thought, ...], line: str = line) -> list[Thought]:
            taken = sum(len(z.tokens) + 2 for z in before if z.tokens is not None)
            if line.startswith("#"):
                return [Thought(None)]
            return thoughts if size + taken + longest + 2 <= context else [Thought(None, no_room=True)]

        found = [(*before, z) for before in found for z in choices(before)]
    return found


def as_rollout(trace: Trace, latents: tuple[Thought, ...]) -> Rollout:
    texts = [None if z.tokens is None else TOKENIZER.decode(z.tokens) for z in latents]
    ids = tuple(None if z.tokens is None else list(z.tokens) for z in latents)
    return Rollout(annotate(trace, texts), tuple(z.cut for z in latents), ids, tuple(z.no_room for z in latents))


def walk(model, trace: Trace, latents: tuple[Thought, ...], temperature: float = 1.0) -> tuple[list, list]:
    """The definition, token by token: per line log p(a_t | s_t, z_t) and log p(z_t | s_t), latents at `temperature`."""
    ids = TOKENIZER.encode_prompt(trace.prompt)
    events = []  # (kind, place of the token, line, token)
    for t, (line, z) in enumerate(zip(trace.lines, latents, strict=True)):
        offered = not line.startswith("#")
        if z.tokens is not None:
            events.append(("mark", len(ids), t, 1))
            ids.append(1)
            for token in z.tokens:
                events.append(("thought", len(ids), t, token))
                ids.append(token)
            events.append(("forced" if z.cut else "thought", len(ids), t, 0))
            ids.append(0)
        elif offered and not z.no_room:
            events.append(("act", len(ids), t, 1))
        for i, token in enumerate(TOKENIZER.encode_line(line)):
            events.append(("first" if offered and i == 0 else "line", len(ids), t, token))
            ids.append(token)
    logits = model(input_ids=torch.tensor([ids])).logits[0]
    of_lines, of_latents = torch.softmax(logits, -1), torch.softmax(logits / temperature, -1)
    line_sums = [torch.zeros((), dtype=torch.float64) for _ in trace.lines]
    latent_sums = [torch.zeros((), dtype=torch.float64) for _ in trace.lines]
    for kind, place, t, token in events:
        p = (of_lines if kind in ("line", "first") else of_latents)[place - 1]
        if kind == "line":
            line_sums[t] = line_sums[t] + p[token].log()
        elif kind == "first":
            line_sums[t] = line_sums[t] + (p[token] / (1 - p[1])).log()
        elif kind == "mark":
            latent_sums[t] = latent_sums[t] + p[1].log()
        elif kind == "act":
            latent_sums[t] = latent_sums[t] + (1 - p[1]).log()
        elif kind == "thought":
            latent_sums[t] = latent_sums[t] + (p[token] / (1 - p[2])).log()
        else:  # a token other than newline was drawn
            latent_sums[t] = latent_sums[t] + (1 - p[0] / (1 - p[2])).log()
    return line_sums, latent_sums


COST, PENALTY = 0.3, 0.7


def objective_gradient(
    q,
    pi,
    trace: Trace,
    longest: int,
    kl: float,
    floor: float | None,
    temperature: float = 1.0,
    hindsight: bool = False,
    context: int = 256,
) -> torch.Tensor:
    """Autograd's gradient of E_q[sum_t log pi(a_t|s_t,z_t) - c thoughts - penalty malformed] - kl KL.

    In hindsight pi reads the thought drawn before line t + 1 before line t; one that explains nothing is malformed.
    """
    objective = torch.zeros((), dtype=torch.float64)
    for latents in all_latents(trace, longest, context):
        explains = [t > 0 and not trace.lines[t - 1].startswith("#") for t in range(len(latents))]
        moved = [z if e else Thought(None) for z, e in zip(latents, explains, strict=True)][1:]
        read = (*moved, Thought(None)) if hindsight else latents
        with torch.no_grad():
            lines, prior = walk(pi, trace, read, temperature)
        score = sum(max(float(line), floor) if floor is not None else float(line) for line in lines)
        for z, explaining in zip(latents, explains, strict=True):
            if z.tokens is not None:
                useless = hindsight and not explaining
                score -= COST + PENALTY * (z.cut or not z.tokens or useless)
        posterior = torch.stack(walk(q, trace, latents, temperature)[1]).sum()
        divergence = posterior - sum(float(p) for p in prior)
        objective = objective + posterior.exp() * (score - kl * divergence)
    return torch.cat([g.flatten() for g in torch.autograd.grad(objective, list(q.parameters()))])


def expected_update(
    q,
    pi,
    trace: Trace,
    longest: int,
    kl: float,
    floor: float | None,
    temperature: float = 1.0,
    hindsight: bool = False,
    context: int = 256,
) -> torch.Tensor:
    """The gradient of `EStep`, expected over all groups of two: one call on all pairs of latent sequences.

    The gradient is linear in the advantage, so each pair's advantage is weighed by the pair's probability.
    """
    config = EStepConfig(
        group=2,
        temperature=temperature,
        cost=COST,
        penalty=PENALTY,
        kl=kl,
        floor=floor,
        longest_thought=longest,
        hindsight=hindsight,
        tokens_at_once=50_000,
    )
    step = EStep(q, pi, TOKENIZER, config, seed=0, precision="fp32")
    latents = all_latents(trace, longest, context)
    with torch.no_grad():
        weight = [float(torch.stack(walk(q, trace, z, temperature)[1]).sum().exp()) for z in latents]
    assert sum(weight) == pytest.approx(1, abs=1e-12)
    pairs = list(itertools.product(range(len(latents)), repeat=2))
    rollouts = [as_rollout(trace, latents[i]) for pair in pairs for i in pair]
    encoded, advantage, _ = step.credit(rollouts)
    assert advantage.dtype == torch.float64
    share = torch.tensor([weight[i] * weight[j] for i, j in pairs], dtype=torch.float64).repeat_interleave(2)
    q.zero_grad()
    step.accumulate(encoded, advantage * share[:, None] * len(pairs))  # the loss is a mean over groups
    return -torch.cat([p.grad.flatten() for p in q.parameters()])


SHORT = Trace("ab\n", ("a\n", "#b\n", "ba\n"))  # 8 x 1 x 8 latent sequences of at most one token
SINGLE = Trace("", ("ab\n",))  # 23 latents of at most two tokens


@pytest.mark.parametrize(
    ("trace", "longest", "kl", "floor", "temperature"),
    [
        (SHORT, 1, 0.0, None, 1.0),
        (SHORT, 1, 0.4, -3.0, 1.0),
        (SINGLE, 2, 0.0, None, 1.0),
        (SINGLE, 2, 0.4, None, 1.0),
        (SINGLE, 2, 0.4, None, 0.5),
    ],
)
def test_expected_gradient_is_the_gradient_of_the_objective(trace, longest, kl, floor, temperature):
    q, pi = tiny(1), tiny(2)
    expected = objective_gradient(q, pi, trace, longest, kl, floor, temperature)
    got = expected_update(q, pi, trace, longest, kl, floor, temperature)
    assert float(expected.norm()) > 0.05
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kl", [0.0, 0.4])
def test_expected_gradient_where_the_context_has_room_for_one_thought(kl):
    """What was not offered was not chosen: it has no gradient and no price, though the line reads the same."""
    q, pi, context = tiny(1), tiny(2), 17
    barred = [any(z.no_room for z in latents) for latents in all_latents(SHORT, 1, context)]
    assert any(barred) and not all(barred)
    expected = objective_gradient(q, pi, SHORT, 1, kl, None, context=context)
    got = expected_update(q, pi, SHORT, 1, kl, None, context=context)
    assert float(expected.norm()) > 0.05
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("trace", [SHORT, Trace("ab\n", ("a\n", "ba\n"))])
def test_expected_gradient_in_hindsight(trace):
    q, pi = tiny(1), tiny(2)
    expected = objective_gradient(q, pi, trace, 1, 0.0, None, hindsight=True)
    got = expected_update(q, pi, trace, 1, 0.0, None, hindsight=True)
    assert float(expected.norm()) > 0.05
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("role", [FIRST_ACT, scoring.FORCED])
def test_the_gradient_is_wrong_without_the_act_branch_or_the_cut(role, monkeypatch):
    def without(scores, batch):
        kept = scoring.Batch(
            batch.ids,
            torch.where(batch.roles == role, scoring.PROMPT, batch.roles),
            batch.line,
            batch.lengths,
            batch.lines,
        )
        return latent_logp(scores, kept)

    q, pi = tiny(1), tiny(2)
    expected = objective_gradient(q, pi, SHORT, 1, 0.0, None)
    monkeypatch.setattr(estep, "latent_logp", without)
    got = expected_update(q, pi, SHORT, 1, 0.0, None)
    assert float((got - expected).norm() / expected.norm()) > 0.05


@pytest.mark.parametrize(("trace", "longest"), [(SHORT, 1), (SINGLE, 2)])
def test_scores_equal_a_walk_and_all_latents_have_probability_one(trace, longest):
    model = tiny(3)
    latents = all_latents(trace, longest)
    encoded = [as_rollout(trace, z).encode(TOKENIZER) for z in latents]
    batch = collate(encoded, TOKENIZER.pad)
    with torch.no_grad():
        scores = score_batch(model, batch, TOKENIZER)
        walked = [walk(model, trace, z) for z in latents]
    lines = torch.stack([torch.stack(line) for line, _ in walked])
    chosen = torch.stack([torch.stack(latent) for _, latent in walked])
    torch.testing.assert_close(line_logp(scores, batch), lines, rtol=0, atol=1e-12)
    torch.testing.assert_close(latent_logp(scores, batch), chosen, rtol=0, atol=1e-12)
    assert float(latent_logp(scores, batch).sum(-1).exp().sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("trace", "longest"), [(SHORT, 1), (SINGLE, 2)])
def test_sampled_latents_have_these_probabilities(trace, longest):
    model, count = tiny(4), 20_000
    latents = all_latents(trace, longest)
    with torch.no_grad():
        expected = [count * float(torch.stack(walk(model, trace, z)[1]).sum().exp()) for z in latents]
    rollouts = sample_latents(
        Decoder(model), TOKENIZER, [trace] * count, LatentSampling(1.0, longest), 0, 0, rows_at_once=5_000
    )
    number = {repr(as_rollout(trace, z)): i for i, z in enumerate(latents)}
    seen = np.bincount([number[repr(r)] for r in rollouts], minlength=len(latents))
    rare = np.array(expected) < 10  # pooled, as the chi-square statistic wants
    observed = np.append(seen[~rare], seen[rare].sum())
    predicted = np.append(np.array(expected)[~rare], np.array(expected)[rare].sum() or 1)
    statistic, freedom = float(((observed - predicted) ** 2 / predicted).sum()), len(predicted) - 1
    assert freedom > 7
    assert statistic < freedom + 3.1 * math.sqrt(2 * freedom) + 6  # beyond the 99.9 % point


def test_first_tokens_of_a_line_share_probability_one():
    model = tiny(5)
    traces = [Trace("ab\n", (character + "\n",)) for character in "ab"] + [Trace("ab\n", ("\n",))]
    encoded = [TOKENIZER.encode_trace(trace) for trace in traces]
    batch = collate(encoded, TOKENIZER.pad)
    with torch.no_grad():
        scores = score_batch(model, batch, TOKENIZER)
        end = torch.softmax(model(input_ids=batch.ids[:1, :4]).logits[0, -1], -1)
    first = (scores.token - torch.log(-torch.expm1(scores.marker)))[:, 3].exp()
    assert float(first.sum() + end[2] / (1 - end[1])) == pytest.approx(1, abs=1e-12)
    closing = line_logp(scores, batch)[:2, 0] - scores.token[:2, 4]  # minus the newline after 'a' or 'b'
    torch.testing.assert_close(closing.exp(), first[:2], rtol=1e-12, atol=0)


numbers = st.floats(-5, 5, allow_nan=False)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(numbers, min_size=8, max_size=8),
    st.floats(0, 1),
    st.one_of(st.none(), st.integers(1, 5)),
    st.booleans(),
)
def test_returns_and_baseline_equal_plain_sums(values, discount, horizon, floored):
    logp = torch.tensor(values, dtype=torch.float64).view(2, 4)
    thoughts = torch.tensor([[True, False, True, False], [False] * 4])
    malformed = thoughts & torch.tensor([[True, True, False, False], [False] * 4])
    floor = -2.0 if floored else None
    reward = rewards(logp, thoughts, malformed, 0.3, 0.7, floor)
    returns = reward_to_go(reward, discount, horizon)
    for b, t in itertools.product(range(2), range(4)):
        total = 0.0
        for later in range(t, 4 if horizon is None else min(4, t + horizon)):
            value = float(logp[b, later]) if floor is None else max(float(logp[b, later]), floor)
            value -= 0.3 * bool(thoughts[b, later]) + 0.7 * bool(malformed[b, later])
            total += discount ** (later - t) * value
        assert float(returns[b, t]) == pytest.approx(total, abs=1e-9)
    torch.testing.assert_close(leave_one_out(returns, 2), returns.flip(0))


def brute_pair_kl(renew: float, choice: torch.Tensor, alpha: float) -> float:
    """KL of (renewed?, z), one outcome after the other."""
    outcomes = [(1 - renew, alpha)]
    outcomes += [(renew * float(c), (1 - alpha) / len(choice)) for c in choice]
    return sum(q * math.log(q / p) for q, p in outcomes if q > 0)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6), st.integers(1, 6), st.floats(0, 1), st.floats(0.01, 0.99))
def test_pair_kl_is_exact_and_bounds_the_marginal_kl(seed, size, renew, alpha):
    choice = torch.from_numpy(np.random.default_rng(seed).dirichlet(np.full(size, 0.5)))
    previous = seed % size
    pair, marginal = pair_kl(renew, choice, alpha), marginal_kl(renew, choice, alpha, previous)
    assert pair == pytest.approx(brute_pair_kl(renew, choice, alpha), abs=1e-9)
    assert -1e-9 <= marginal <= pair + 1e-9
    assert float(sticky_prior(alpha, size, previous).sum()) == pytest.approx(1)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.5, float("nan")])
def test_a_prior_that_never_keeps_or_never_renews_is_refused(alpha):
    choice = torch.tensor([0.5, 0.5])
    for price in (
        lambda: sticky_prior(alpha, 2, 0),
        lambda: pair_kl(0.5, choice, alpha),
        lambda: marginal_kl(0.5, choice, alpha, 0),
        lambda: renewal_cost(alpha, 2),
    ):
        with pytest.raises(ValueError, match=f"alpha={alpha}.*needs 0 < alpha < 1"):
            price()


def test_one_new_latent_costs_the_stated_nats():
    point = torch.tensor([0.0, 1.0, 0.0])
    cost = pair_kl(1.0, point, 0.8) - pair_kl(0.0, point, 0.8)
    assert cost == pytest.approx(renewal_cost(0.8, 3))


def elbo_and_evidence(seed: int, alpha: float, exact: bool) -> tuple[float, float, float]:
    """ELBO with the KL on z alone, with the KL on pairs, and log-evidence; 3 lines, 3 latents, any or best q.

    log pi(a_t | s_t, z_t) may depend on all latents so far (they are in s_t), and so may q.
    """
    rng, size, lines = np.random.default_rng(seed), 3, 3
    logp = {z: rng.normal(-2, 2) for t in range(lines) for z in itertools.product(range(size), repeat=t + 1)}

    def value(history: tuple[int, ...]) -> float:
        """log p(a_t.. | history): the evidence of what follows."""
        if len(history) == lines:
            return 0.0
        prior = sticky_prior(alpha, size, history[-1] if history else 0)
        terms = [float(prior[z].log()) + logp[(*history, z)] + value((*history, z)) for z in range(size)]
        return float(np.logaddexp.reduce(terms))

    def bounds(history: tuple[int, ...]) -> tuple[float, float]:
        if len(history) == lines:
            return 0.0, 0.0
        previous = history[-1] if history else 0
        prior = sticky_prior(alpha, size, previous)
        if exact:  # p(z_t | s_t, a_t..): renewal is certain, so that q(z) is the choice itself
            terms = [float(prior[z].log()) + logp[(*history, z)] + value((*history, z)) for z in range(size)]
            renew, choice = 1.0, torch.softmax(torch.tensor(terms, dtype=torch.float64), -1)
        else:
            renew, choice = rng.uniform(), torch.from_numpy(rng.dirichlet(np.ones(size)))
        q = renew * choice
        q[previous] += 1 - renew
        alone = -marginal_kl(renew, choice, alpha, previous)
        pair = -pair_kl(renew, choice, alpha)
        for z in range(size):
            later = bounds((*history, z))
            alone += float(q[z]) * (logp[(*history, z)] + later[0])
            pair += float(q[z]) * (logp[(*history, z)] + later[1])
        return alone, pair

    return *bounds(()), value(())


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.floats(0.05, 0.95))
def test_elbo_is_never_above_the_log_evidence(seed, alpha):
    alone, pair, evidence = elbo_and_evidence(seed, alpha, exact=False)
    assert pair <= alone + 1e-9 <= evidence + 2e-9


def test_elbo_is_the_log_evidence_under_the_exact_posterior():
    alone, _, evidence = elbo_and_evidence(5, 0.7, exact=True)
    assert alone == pytest.approx(evidence, abs=1e-10)


def test_a_long_line_beside_short_ones_fits_the_cache():
    traces = [Trace("a\n", ("b\n", "ab" * 50 + "\n", "a\n", "b\n")), Trace("a\n" * 50, ("b\n", "a\n"))]
    how = LatentSampling(1.0, 1)
    together = sample_latents(Decoder(tiny(1)), TOKENIZER, traces, how, 0, 0)
    alone = [sample_latents(Decoder(tiny(1)), TOKENIZER, [t], how, 0, 0, [i])[0] for i, t in enumerate(traces)]
    assert together == alone
