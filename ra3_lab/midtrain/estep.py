"""E-step: RL discovers latents that make the expert's lines likelier.

One update, top to bottom: sample G latent sequences for each of P expert programs from q (`update`); let the frozen
pi score the expert's lines; reward r_t = log pi(a_t | s_t, z_t) - c [thought at t]; return-to-go; subtract the mean
return of the group's other members at the same line (`credit`); one policy-gradient step on log q(z_t | s_t), where
both branches count: the thought's tokens when thinking, log(1 - q(#)) when not (`accumulate`). (Method: "E-step";
temporal ELBO with the KL tuned to a cost c per thought.)

Departures and options. No division by the standard deviation. `kl` adds the ELBO's pull towards pi's own latents: r_t
-= kl * (log q(z_t) - log pi(z_t)), whose expected gradient is that of -kl * KL(q || pi). `floor` bounds a line's
log-likelihood. `per_token` takes a line's mean instead of its sum. Thoughts that are empty or cut for length pay
`penalty`. q is causal: it never sees the line it explains, unless `hindsight` lets it write the thought one line later.
Importance resampling instead of RL is in `baselines.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ra3_lab.distributed import share, sum_gradients, summed
from ra3_lab.midtrain.elbo import leave_one_out, reward_to_go, rewards
from ra3_lab.models.adapters import make_optimizer
from ra3_lab.models.engines.interface import check_engine, engine_of
from ra3_lab.models.load import autocast
from ra3_lab.models.packed import onednn
from ra3_lab.models.rollout import LatentSampling, Rollout, sample_latents
from ra3_lab.models.scoring import (
    Batch,
    collate,
    latent_logp,
    line_logp,
    line_mask,
    padding_free,
    score_batch,
    thought_mask,
)
from ra3_lab.models.tokenizer import FIRST_ACT, FIRST_THOUGHT, LINE, Encoded, LineTokenizer
from ra3_lab.trace import Trace, annotate


@dataclass(frozen=True)
class EStepConfig:
    """RL on the latents."""

    updates: int = 60
    """Updates in all, over every round."""
    programs: int = 16
    """Expert programs per update (P)."""
    group: int = 4
    """Latent sequences per program (G)."""
    temperature: float = 0.5
    """Temperature of q: latents are drawn, and their probabilities taken, from its logits divided by this."""
    cost: float = 0.1
    """Nats that a thought costs (c)."""
    learning_rate: float = 2e-4
    """Learning rate of q."""
    floor: float | None = -10.0
    """Bound on a line's log-likelihood in nats; None for none (in a file: "none")."""
    discount: float = 1.0
    """Discount per line."""
    horizon: int | None = None
    """Lines that a latent is credited with; None for all that follow (in a file: "none")."""
    penalty: float = 1.0
    """Nats that an empty or over-long thought costs on top."""
    kl: float = 0.0
    """Weight of KL(q || pi) on the latents."""
    hindsight: bool = False
    """Draw a thought with the line it explains in view: q writes it after the line, pi reads it before."""
    per_token: bool = False
    """Reward a line's mean log-likelihood per token instead of its sum."""
    longest_thought: int = 16
    """Most tokens of a thought."""
    engine: str = "auto"
    """What samples latents: auto, decoder (ours), generate or vllm."""
    clip: float = 1.0
    """Largest gradient norm."""
    tokens_at_once: int = 8_192
    """Padded tokens in one forward pass; changes memory, not the update."""

    def __post_init__(self) -> None:
        if self.group < 2:
            raise ValueError(
                f"group={self.group}: the leave-one-out baseline needs at least 2 latent sequences per program."
            )
        if self.updates < 0 or self.programs < 1:
            raise ValueError(f"updates={self.updates}, programs={self.programs}: updates >= 0 and programs >= 1.")
        if self.temperature <= 0:
            raise ValueError(f"temperature={self.temperature}: above 0 (the policy gradient needs chance).")
        if self.cost < 0 or math.isnan(self.cost):
            raise ValueError(f"cost={self.cost}: nats per thought, 0 or more (infinity masks thinking).")
        if not (self.learning_rate > 0 and self.clip > 0):
            raise ValueError(f"learning_rate={self.learning_rate}, clip={self.clip}: must be positive.")
        if not self.kl >= 0:
            raise ValueError(f"kl={self.kl}: a weight, 0 or more.")
        if self.tokens_at_once < 1:
            raise ValueError(f"tokens_at_once={self.tokens_at_once}: at least 1.")
        check_engine(self.engine)
        LatentSampling(self.temperature, self.longest_thought)  # these say themselves what they do not take
        nothing = torch.zeros(1, 1)
        reward = rewards(nothing, nothing, nothing, 0.0, self.penalty, self.floor)
        reward_to_go(reward, self.discount, self.horizon)
        if self.hindsight and self.kl:
            raise ValueError(f"hindsight with kl={self.kl}: pi has no latents of its own in hindsight; set kl to 0.")


@dataclass(frozen=True)
class Scored:
    """What a model makes of a batch of traces, all (B, L)."""

    line: torch.Tensor
    """log p(a_t | s_t, z_t)."""
    latent: torch.Tensor
    """log p(z_t | s_t)."""
    thought: torch.Tensor
    """Whether a thought stands before the line."""
    exists: torch.Tensor
    """Whether the trace has this line."""


def _pad(parts: list[torch.Tensor], groups: list[np.ndarray], lines: int) -> torch.Tensor:
    """Put the parts' rows back in order, padded with zeros to `lines`."""
    order = np.argsort(np.concatenate(groups))
    padded = [torch.nn.functional.pad(part, (0, lines - part.shape[1])) for part in parts]
    return torch.cat(padded)[torch.from_numpy(order)]


@onednn()
@torch.no_grad()
def score_traces(
    model: Any,
    encoded: Sequence[Encoded],
    tokenizer: LineTokenizer,
    tokens_at_once: int = 8_192,
    precision: str = "auto",
    temperature: float = 1.0,
) -> Scored:
    """Score traces without gradients, in groups of similar length."""
    groups = padding_free(encoded, tokens_at_once)
    parts: list[list[torch.Tensor]] = [[], [], [], []]
    for group in groups:
        picked = [encoded[i] for i in group]
        batch = collate(picked, tokenizer.pad)
        with autocast(model, precision):
            scores = score_batch(model, batch, tokenizer, temperature)
        for part, value in zip(
            parts,
            (line_logp(scores, batch), latent_logp(scores, batch), thought_mask(batch), line_mask(batch, picked)),
            strict=True,
        ):
            part.append(value)
    lines = max(e.lines for e in encoded)
    return Scored(*(_pad(part, groups, lines) for part in parts))


def malformed_mask(rollouts: Sequence[Rollout], lines: int) -> torch.Tensor:
    """(B, lines) whether the thought before the line is empty or was cut."""
    mask = torch.zeros((len(rollouts), lines), dtype=torch.bool)
    for row, rollout in enumerate(rollouts):
        for t, thought in enumerate(rollout.trace.latents):
            mask[row, t] = thought is not None and (rollout.cut[t] or not thought.strip())
    return mask


def decided_mask(rollouts: Sequence[Rollout], lines: int) -> torch.Tensor:
    """(B, lines) whether q decided about the latent there, having room for one in the context."""
    mask = torch.ones((len(rollouts), lines), dtype=torch.bool)
    for row, rollout in enumerate(rollouts):
        mask[row, : len(rollout.no_room)] = ~torch.tensor(rollout.no_room, dtype=torch.bool)
    return mask


def line_lengths(encoded: Sequence[Encoded], lines: int) -> torch.Tensor:
    """(B, lines) tokens of each line, latents not counted; 1 where there is no line."""
    counts = torch.zeros((len(encoded), lines))
    for row, e in enumerate(encoded):
        of_line = np.isin(e.roles, (LINE, FIRST_ACT, FIRST_THOUGHT))
        counts[row] = torch.from_numpy(np.bincount(e.line[of_line], minlength=lines)[:lines])
    return counts.clamp(min=1)


def explain_before(trace: Trace) -> Trace:
    """A trace whose thoughts were drawn in hindsight with each moved before the line that it explains: from the next
    line's place to this one's.

    What was drawn before the first line, or after a line where no latent is offered, explains nothing and is dropped.
    """
    moved = [*trace.latents[1:], None]
    return annotate(trace, [z if offered else None for z, offered in zip(moved, trace.offered, strict=True)])


def in_hindsight(rollout: Rollout) -> Rollout:
    """`explain_before` of a rollout."""
    return Rollout(explain_before(rollout.trace), (*rollout.cut[1:], False), (*rollout.thought_ids[1:], None))


def wasted_mask(rollouts: Sequence[Rollout], lines: int) -> torch.Tensor:
    """(B, lines) whether a thought was drawn before the line that `explain_before` drops."""
    mask = torch.zeros((len(rollouts), lines), dtype=torch.bool)
    for row, rollout in enumerate(rollouts):
        explains = (False, *rollout.trace.offered)
        for t, thought in enumerate(rollout.trace.latents):
            mask[row, t] = thought is not None and not explains[t]
    return mask


class EStep:
    """q, its optimiser and the frozen pi it is rewarded by, an update at a time."""

    def __init__(
        self, q: Any, pi: Any, tokenizer: LineTokenizer, config: EStepConfig, seed: int, precision: str = "auto"
    ) -> None:
        self.q, self.pi, self.tokenizer, self.config = q, pi, tokenizer, config
        self.seed, self.precision = seed, precision
        self.parameters = [p for p in q.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(q, config.learning_rate)
        self.how = LatentSampling(config.temperature, config.longest_thought, think=math.isfinite(config.cost))
        self.tokens = 0

    def update(self, traces: Sequence[Trace], number: int) -> dict[str, float]:
        """One policy-gradient update on these programs; `number` keys the draws. Returns what happened.

        Where several processes train, all are given the same programs and each samples its share of them.
        """
        group = self.config.group
        own = share([sum(map(len, trace.lines)) for trace in traces])
        keys = [i * group + k for i in own for k in range(group)]
        engine = engine_of(self.q, self.precision, self.config.engine)
        repeated = [traces[key // group] for key in keys]
        rollouts = sample_latents(engine, self.tokenizer, repeated, self.how, self.seed, number, keys)
        encoded, advantage, counts = self.credit(rollouts)
        counts = summed(counts)
        self.accumulate(encoded, advantage, len(traces) * group)
        sum_gradients(self.parameters)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        if not torch.isfinite(norm):
            rate = self.config.learning_rate
            raise FloatingPointError(
                f"E-step update {number}: the gradient is not finite; lower learning_rate ({rate})."
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.tokens += int(counts["tokens"])
        return {
            "return": counts["return"] / counts["rows"],
            "line_logp": counts["line_logp"] / counts["rows"],
            "think_share": counts["thoughts"] / counts["lines"],
            "malformed": counts["malformed"] / max(counts["thoughts"], 1.0),
            "gradient_norm": float(norm),
        }

    def credit(self, rollouts: Sequence[Rollout]) -> tuple[list[Encoded], torch.Tensor, dict[str, float]]:
        """The rollouts encoded, the advantage (B, L) of their latents, and sums over the rollouts for the report; a
        group's rows side by side."""
        config = self.config
        encoded = [rollout.encode(self.tokenizer) for rollout in rollouts]
        lines = max(e.lines for e in encoded)
        read, wasted, decided = encoded, wasted_mask(rollouts, lines), decided_mask(rollouts, lines)
        if config.hindsight:
            rollouts = [in_hindsight(rollout) for rollout in rollouts]
            read = [rollout.encode(self.tokenizer) for rollout in rollouts]
        under_pi = score_traces(self.pi, read, self.tokenizer, config.tokens_at_once, self.precision)
        line = under_pi.line
        if config.per_token:
            line = line / line_lengths(encoded, line.shape[1])
        cost = config.cost if math.isfinite(config.cost) else 0.0
        malformed = malformed_mask(rollouts, line.shape[1])
        reward = rewards(line, under_pi.thought, malformed, cost, config.penalty, config.floor)
        if config.kl:
            q_latent, pi_latent = (
                score_traces(
                    model, encoded, self.tokenizer, config.tokens_at_once, self.precision, config.temperature
                ).latent
                for model in (self.q, self.pi)
            )
            reward = reward - config.kl * (q_latent - pi_latent) * decided
        if config.hindsight:
            waste = (cost + config.penalty) * wasted
            reward = reward - torch.nn.functional.pad(waste[:, 1:], (0, 1))
        returns = reward_to_go(reward, config.discount, config.horizon)  # (B, L)
        if config.hindsight:  # the decision before line t is about line t - 1
            returns = torch.cat([returns[:, :1] - waste[:, :1], returns[:, :-1]], 1)
        advantage = (returns - leave_one_out(returns, config.group)) * under_pi.exists * decided
        counts = {
            "rows": len(encoded),
            "tokens": sum(len(e.ids) for e in encoded),
            "return": float(reward.sum()),
            "line_logp": float(under_pi.line.sum()),
            "thoughts": float(under_pi.thought.sum()),
            "lines": float(under_pi.exists.sum()),
            "malformed": float(malformed.sum()),
        }
        return encoded, advantage, counts

    @onednn()
    def accumulate(self, encoded: Sequence[Encoded], advantage: torch.Tensor, rows: int | None = None) -> None:
        """Add the gradient of the loss -1/B sum_b sum_t advantage[b, t] log q(z_t | s_t) to q's parameters; B is `rows`
        where these are only some of an update's rows."""
        self.q.train()
        for group in padding_free(encoded, self.config.tokens_at_once):
            batch: Batch = collate([encoded[i] for i in group], self.tokenizer.pad)
            with autocast(self.q, self.precision):
                scores = score_batch(self.q, batch, self.tokenizer, self.config.temperature)
            chosen = latent_logp(scores, batch)
            loss = -(chosen * advantage[torch.from_numpy(group), : batch.lines]).sum() / (rows or len(encoded))
            loss.backward()
        self.q.eval()
