"""GRPO's update on one page: groups in, one or several steps of the optimiser, what happened out.

    rewards -> advantages -> for each iteration: for each micro-batch: log-probabilities, loss, backward; clip; step

The first iteration's log-probabilities are themselves `old`, so the ratio is exactly 1 there. Answers whose advantage
is 0 have no gradient (without KL and entropy terms) and are not computed at all (but in bnpo, which counts them); when
that is all of them, the optimiser rests, too. Micro-batches put answers of similar length together, right-padded, and
change memory only. Where several processes train, all are given the same groups, and each computes its share of the
answers.

Departures from the papers: no KL term by default (as Dr. GRPO and DAPO), one iteration per rollout, log-probabilities
at the sampling temperature (what was drawn is what is differentiated). Not here: a value model, per-token rewards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from ra3_lab.distributed import rank, shares, sum_gradients, summed, total
from ra3_lab.models.adapters import make_optimizer
from ra3_lab.models.generation import Sampling
from ra3_lab.models.load import autocast
from ra3_lab.models.packed import onednn
from ra3_lab.models.scoring import answer_logps
from ra3_lab.rlvr.advantages import group_advantages, overlong_penalty, zero_variance
from ra3_lab.rlvr.groups import Group, rewards_of
from ra3_lab.rlvr.kl import kl_estimate
from ra3_lab.rlvr.losses import SCALE, LossConfig, Tokens, loss_of, token_weights


@dataclass(frozen=True)
class UpdateConfig:
    """One update."""

    learning_rate: float = 1e-4
    """Learning rate of AdamW, constant after the warm-up."""
    warmup: int = 5
    """Updates over which the learning rate rises."""
    weight_decay: float = 0.0
    """AdamW weight decay."""
    clip_norm: float = 1.0
    """Largest gradient norm."""
    iterations: int = 1
    """Steps of the optimiser on the same samples."""
    scale: Literal["group", "batch", "none"] | None = None
    """What advantages are divided by; None: what belongs to the loss."""
    baseline: Literal["mean", "others"] = "mean"
    """mean (the whole group's) or others (leave one out)."""
    overlong: int = 0
    """Length in tokens of the zone before the limit in which answers lose up to 1 of their reward (DAPO); 0: none."""
    mask_truncated: bool = False
    """Keep answers that were cut at the limit out of baseline and loss (DAPO's overlong filtering)."""
    tokens_at_once: int = 8_192
    """Padded tokens in one forward pass; changes memory, not the update (but for bnpo)."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The loss."""

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.warmup < 0 or self.tokens_at_once < 1:
            raise ValueError(
                f"iterations={self.iterations}, warmup={self.warmup}, tokens_at_once={self.tokens_at_once}: at least "
                "1, 0 and 1."
            )
        if not self.learning_rate > 0 or not self.clip_norm > 0:
            raise ValueError(f"learning_rate={self.learning_rate}, clip_norm={self.clip_norm}: must be positive.")
        if not self.weight_decay >= 0 or self.overlong < 0:
            raise ValueError(f"weight_decay={self.weight_decay}, overlong={self.overlong}: 0 or more each.")


@dataclass(frozen=True)
class Rows:
    """The answers of an update, or some of them, as tensors."""

    ids: torch.Tensor
    """(B, T) prompt and answer, right-padded."""
    prompts: torch.Tensor
    """(B,) tokens of each prompt."""
    lengths: torch.Tensor
    """(B,) tokens of each answer."""
    sampler: torch.Tensor
    """(B, A) log-probabilities the tokens were drawn at."""

    @property
    def exists(self) -> torch.Tensor:
        """(B, A) where there is a token."""
        return torch.arange(self.sampler.shape[1]) < self.lengths[:, None]

    def take(self, rows: torch.Tensor) -> Rows:
        """These rows, with no more padding than they need."""
        prompts, lengths = self.prompts[rows], self.lengths[rows]
        width = int((prompts + lengths).max())
        return Rows(self.ids[rows, :width], prompts, lengths, self.sampler[rows, : int(lengths.max())])


def rows_of(groups: Sequence[Group]) -> Rows:
    """All answers, a group's side by side."""
    pairs = [(group.prompt_ids, answer.completion) for group in groups for answer in group.answers]
    prompts = torch.tensor([len(prompt) for prompt, _ in pairs])
    lengths = torch.tensor([len(completion.ids) for _, completion in pairs])
    ids = torch.zeros((len(pairs), int((prompts + lengths).max())), dtype=torch.long)
    sampler = torch.zeros((len(pairs), int(lengths.max())))
    for row, (prompt, completion) in enumerate(pairs):
        ids[row, : len(prompt) + len(completion.ids)] = torch.tensor([*prompt, *completion.ids])
        sampler[row, : len(completion.logp)] = torch.tensor(completion.logp)
    return Rows(ids, prompts, lengths, sampler)


def micro_batches(lengths: torch.Tensor, tokens: int) -> list[torch.Tensor]:
    """Row numbers in groups whose padded size stays under `tokens`, similar lengths together."""
    order = torch.argsort(lengths, stable=True).tolist()
    parts: list[list[int]] = [[]]
    for row in order:
        if parts[-1] and (len(parts[-1]) + 1) * int(lengths[row]) > tokens:
            parts.append([])
        parts[-1].append(row)
    return [torch.tensor(part) for part in parts if part]


class GRPO:
    """Policy, reference and optimiser, an update at a time. `reference` is needed for a KL term only."""

    def __init__(
        self, model: Any, config: UpdateConfig, sampling: Sampling, precision: str = "auto", reference: Any = None
    ) -> None:
        if config.loss.beta and reference is None:
            raise ValueError(f"loss.beta={config.loss.beta} needs a reference model.")
        self.model, self.reference, self.config, self.precision = model, reference, config, precision
        self.longest, self.temperature = sampling.max_new, sampling.temperature or 1.0
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(model, config.learning_rate, config.weight_decay)
        self.updates = 0
        self.advantages = torch.zeros(0, 0)  # (P, G) of the last update

    def update(self, groups: Sequence[Group], measure_kl: bool = False) -> dict[str, float]:
        """One update on these groups. A loss or gradient that is not finite raises FloatingPointError, before the
        step.

        `measure_kl` adds kl_to_initial, over all answers that count; the other means over tokens (entropy, clip_share,
        mismatch) are of the rows that had a gradient.
        """
        config, loss_config = self.config, self.config.loss
        rows = rows_of(groups)
        if not bool(torch.isfinite(rows.sampler).all()):
            raise FloatingPointError(
                f"update {self.updates}: the policy's probabilities are not finite, so its weights are spoilt: go back "
                f"to a checkpoint, and lower learning_rate ({config.learning_rate})."
            )
        rewards, valid = rewards_of(groups)  # (P, G)
        if config.mask_truncated:
            valid &= torch.tensor([[a.completion.reason != "length" for a in group.answers] for group in groups])
        lengths = rows.lengths.view(rewards.shape)
        shaped = rewards + overlong_penalty(lengths, self.longest, min(config.overlong, self.longest))
        reference = self._score(self.reference, rows) if loss_config.beta else None  # (B, A)
        if reference is not None and loss_config.kl_in == "reward":
            kl = kl_estimate(loss_config.kl, self._score(self.model, rows), reference)
            shaped = shaped - loss_config.beta * (kl * rows.exists).sum(1).view(rewards.shape)
        scale = config.scale or SCALE[loss_config.name]
        self.advantages = group_advantages(shaped, valid, scale, config.baseline)  # (P, G)
        advantage = self.advantages.flatten()  # (B,)
        mask = rows.exists & valid.flatten()[:, None]  # (B, A)

        needed = valid.flatten().clone()
        in_loss = loss_config.beta and loss_config.kl_in == "loss"
        if not (in_loss or loss_config.entropy or loss_config.name == "bnpo"):
            needed &= advantage != 0
        numbers = needed.nonzero()[:, 0]
        every = self._parts(rows, numbers)
        weights = token_weights(loss_config.name, mask, self.longest, [part for micro in every for part in micro])
        micro = every[rank()]
        old: list[torch.Tensor] = []
        record: dict[str, float] = {}
        for iteration in range(config.iterations if len(numbers) else 0):
            sums: dict[str, float] = {}
            self.model.train()
            for number, part in enumerate(micro):
                some = rows.take(part)
                with onednn(), autocast(self.model, self.precision):
                    logp, entropy = answer_logps(
                        self.model, some.ids, some.prompts, some.lengths, self.temperature, bool(loss_config.entropy)
                    )
                if iteration == 0:
                    old.append(logp.detach())
                width = logp.shape[1]
                tokens = Tokens(
                    logp,
                    old[number],
                    mask[part, :width],
                    advantage[part].to(logp),
                    reference[part, :width] if reference is not None and in_loss else None,
                    some.sampler.to(logp) if loss_config.truncate is not None else None,
                    entropy,
                )
                loss, found = loss_of(loss_config, tokens, weights[part, :width])
                with onednn():
                    loss.backward()
                found |= {"loss": loss.item(), "entropy": float((entropy.detach() * tokens.mask).sum())}
                found |= _mismatch(tokens.mask, old[number], some.sampler)
                for key, value in found.items():
                    sums[key] = max(sums.get(key, 0.0), value) if key.endswith("_max") else sums.get(key, 0.0) + value
            self.model.eval()
            sums = summed(sums)
            sum_gradients(self.parameters)
            norm = torch.nn.utils.clip_grad_norm_(self.parameters, config.clip_norm)
            self._require_finite(sums["loss"], float(norm))
            for options in self.optimizer.param_groups:
                options["lr"] = config.learning_rate * min(1.0, (self.updates + 1) / max(config.warmup, 1))
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            record = _means(sums) | {"gradient_norm": float(norm)}
        self.updates += 1
        judged = valid.flatten().nonzero()[:, 0]
        if measure_kl and self.reference is not None and len(judged):
            some = rows.take(judged)
            kl = kl_estimate("k3", self._score(self.model, some), self._score(self.reference, some))
            record["kl_to_initial"] = float((kl * some.exists).sum() / some.exists.sum())
        return record | {
            "shaped_reward": float(shaped[valid].mean()) if valid.any() else math.nan,
            "zero_variance": float(zero_variance(shaped, valid).double().mean()),
            "rows_with_gradient": len(numbers),
        }

    def score(self, model: Any, groups: Sequence[Group]) -> torch.Tensor:
        """(P * G, longest answer) log-probabilities of the groups' tokens, no gradient, 0 beyond an answer's end."""
        return self._score(model, rows_of(groups))

    @torch.no_grad()
    def _score(self, model: Any, rows: Rows) -> torch.Tensor:
        """(B, A) log-probabilities without gradient."""
        kind = torch.promote_types(torch.float32, next(model.parameters()).dtype)  # half types up; float64 stays
        scores = torch.zeros(rows.sampler.shape, dtype=kind)
        for part in self._parts(rows, torch.arange(len(rows.lengths)))[rank()]:
            some = rows.take(part)
            with onednn(), autocast(model, self.precision):
                logp, _ = answer_logps(model, some.ids, some.prompts, some.lengths, self.temperature)
            scores[part, : logp.shape[1]] = logp
        return total(scores)

    def _parts(self, rows: Rows, numbers: torch.Tensor) -> list[list[torch.Tensor]]:
        """For every process its micro-batches of these rows, by their numbers."""
        sizes = rows.prompts + rows.lengths
        split = [numbers[own] for own in shares(sizes[numbers].tolist())]
        return [[own[part] for part in micro_batches(sizes[own], self.config.tokens_at_once)] for own in split]

    def _require_finite(self, loss: float, norm: float) -> None:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.optimizer.zero_grad(set_to_none=True)
            raise FloatingPointError(
                f"update {self.updates}: loss {loss}, gradient norm {norm}; the weights were not touched by it. Lower "
                f"learning_rate ({self.config.learning_rate}), or look for bad log-probabilities in the batch."
            )


def _mismatch(mask: torch.Tensor, old: torch.Tensor, sampler: torch.Tensor) -> dict[str, float]:
    """How far the sampler's log-probabilities are from the policy's own: sum and largest of the distances, and the sum
    of KL(sampler || policy) by k3, in nats."""
    log_ratio = torch.where(mask, old - sampler.to(old), 0.0)
    distance = log_ratio.abs()
    kl = torch.expm1(log_ratio) - log_ratio
    return {"mismatch": float(distance.sum()), "mismatch_max": float(distance.max()), "mismatch_kl": float(kl.sum())}


def _means(sums: dict[str, float]) -> dict[str, float]:
    """Token sums as means; the loss is a sum already."""
    names = {
        "clipped": "clip_share",
        "mismatch": "mismatch",
        "mismatch_kl": "mismatch_kl",
        "entropy": "entropy",
        "kl": "kl",
    }
    means = {name: sums[key] / max(sums["tokens"], 1.0) for key, name in names.items() if key in sums}
    return means | {"loss": sums["loss"], "mismatch_max": sums["mismatch_max"]}
