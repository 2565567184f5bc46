"""The losses of GRPO and its relatives, by name: one surrogate per token, one weight per token, and their sum.

    loss = sum_{i,t} w_it ( -surrogate_it * tis_it + beta KL_it - entropy_coef H_it )

i runs over the N answers of an update, t over the tokens of answer o_i. Ratio r_it = pi(o_it) / old(o_it); A_i is the
answer's advantage. The weights are computed once for the whole update, so no loss but bnpo depends on how it is cut
into micro-batches, and none on padding.

    name      surrogate                                      weight w_it                  source
    grpo      min(r A, clip(r, 1-e, 1+e) A)                  1 / (N |o_i|)                Shao et al. 2024, eq. 3
    dr_grpo   the same                                       1 / (N longest)              Liu et al. 2025 (Dr. GRPO)
    dapo      the same, upper clip wider (0.28)              1 / sum_i |o_i|              Yu et al. 2025, eq. 8
    bnpo      the same                                       1 / (M sum_{i in m} |o_i|)   m: i's micro-batch, of M (TRL)
    gspo      min(s A, clip(s, ...) A), s = exp(mean_t log r_it)   1 / (N |o_i|)          Zheng et al. 2025, eq. 5
    cispo     stop-gradient(min(r, cap)) A log pi            1 / sum_i |o_i|              MiniMax-M1 2025, eq. 4

The advantage's scale that belongs to a name is in `SCALE`: none for dr_grpo, the group's deviation for the others.
Answers without a verdict have an all-false mask and are counted in no N and no sum. `longest` is the limit on an
answer's length, a constant, so that long and short answers weigh alike per token.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from ra3_lab.rlvr.kl import ESTIMATORS, kl_estimate

LOSSES = ("grpo", "dr_grpo", "dapo", "bnpo", "gspo", "cispo")
SCALE = {name: "none" if name == "dr_grpo" else "group" for name in LOSSES}
"""How each loss scales its advantages, unless told otherwise."""
CLIP = {
    "grpo": (0.2, 0.2),
    "dr_grpo": (0.2, 0.2),
    "dapo": (0.2, 0.28),
    "bnpo": (0.2, 0.2),
    "gspo": (3e-4, 4e-4),  # of a sequence's ratio per token: two orders of magnitude narrower (its section 5.1)
    "cispo": (1.0, 4.0),  # no lower bound; the weight is capped at 5 (ScaleRL, Khatri et al. 2025)
}
"""The lower and upper clip of each loss, unless told otherwise."""


@dataclass(frozen=True)
class LossConfig:
    """Which loss, and what is added to it."""

    name: Literal["grpo", "dr_grpo", "dapo", "bnpo", "gspo", "cispo"] = "dr_grpo"
    """grpo, dr_grpo, dapo, bnpo, gspo or cispo."""
    clip_low: float | None = None
    """Ratios count down to 1 - clip_low; None: the loss's own value."""
    clip_high: float | None = None
    """Ratios count up to 1 + clip_high; None: the loss's own value."""
    beta: float = 0.0
    """Weight of the KL divergence to the initial policy; 0 needs no reference model."""
    kl: Literal["k1", "k2", "k3"] = "k3"
    """Estimator of the KL; k1 belongs into the reward, where it is exact."""
    kl_in: Literal["loss", "reward"] = "loss"
    """Where the KL goes: differentiated in the loss, or summed over an answer and taken from its reward."""
    kl_importance: bool = False
    """Weigh a KL in the loss by the ratio pi / old (see kl.py)."""
    entropy: float = 0.0
    """Weight of the entropy bonus, per token."""
    truncate: float | None = None
    """Cap C of truncated importance sampling, min(old / sampler, C) per token; None for none."""

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise ValueError(f"loss {self.name!r} is unknown: one of {', '.join(LOSSES)}.")
        if self.kl not in ESTIMATORS or self.kl_in not in ("loss", "reward"):
            raise ValueError(f"kl={self.kl!r} in {self.kl_in!r}: one of {', '.join(ESTIMATORS)}, in loss or reward.")
        if self.beta and self.kl == "k1" and self.kl_in == "loss" and not self.kl_importance:
            warnings.warn(
                "kl=k1 in the loss has gradient 0 on average, it only adds noise: use k2 or k3, kl_in=reward, or "
                "kl_importance.",
                stacklevel=2,
            )
        for name, (value, least) in {
            "clip_low": (self.clip_low, 0.0),
            "clip_high": (self.clip_high, 0.0),
            "beta": (self.beta, 0.0),
            "truncate": (self.truncate, 1e-9),
        }.items():
            if value is not None and not value >= least:
                raise ValueError(f"{name}={value}: must be at least {least:g}.")
        if not (math.isfinite(self.beta) and math.isfinite(self.entropy)):
            raise ValueError(f"beta={self.beta}, entropy={self.entropy}: weights, finite numbers.")

    @property
    def clip(self) -> tuple[float, float]:
        """Lower and upper clip, the loss's own where none was given."""
        low, high = CLIP[self.name]
        return (low if self.clip_low is None else self.clip_low, high if self.clip_high is None else self.clip_high)


@dataclass(frozen=True)
class Tokens:
    """What the loss reads of a micro-batch; all (B, T) over answer tokens, right-padded, unless said otherwise."""

    logp: torch.Tensor
    """log pi of each token; carries the gradient."""
    old: torch.Tensor
    """The same before the first update on these samples."""
    mask: torch.Tensor
    """Tokens that count; all false for an answer without a verdict."""
    advantage: torch.Tensor
    """(B,) advantage of each answer."""
    reference: torch.Tensor | None = None
    """log-probabilities under the initial policy, where there is a KL term in the loss."""
    sampler: torch.Tensor | None = None
    """log-probabilities that the sampler reported, for truncated importance sampling."""
    entropy: torch.Tensor | None = None
    """Entropy of the distribution each token was drawn from, nats, where it earns a bonus; carries the gradient."""


def token_weights(name: str, mask: torch.Tensor, longest: int, micro: Sequence[torch.Tensor] = ()) -> torch.Tensor:
    """(B, T) weights w_it of a whole update, float64, 0 where the mask is; see the table above.

    `micro` lists the rows of each micro-batch; only bnpo looks at it (none: one micro-batch).

    >>> mask = torch.tensor([[True, True], [True, False]])
    >>> {name: token_weights(name, mask, longest=4).tolist() for name in ("grpo", "dr_grpo")}
    {'grpo': [[0.25, 0.25], [0.5, 0.0]], 'dr_grpo': [[0.125, 0.125], [0.125, 0.0]]}
    """
    counted = mask.double()
    lengths = counted.sum(1, keepdim=True)  # (B, 1)
    answers = (lengths > 0).sum().clamp(min=1)
    if name in ("grpo", "gspo"):
        return counted / (answers * lengths.clamp(min=1))
    if name == "dr_grpo":
        return counted / (answers * longest)
    if name in ("dapo", "cispo"):
        return counted / lengths.sum().clamp(min=1)
    if name == "bnpo":
        parts = [rows for rows in micro or [torch.arange(len(mask))] if lengths[rows].sum() > 0]
        weights = torch.zeros_like(counted)
        for rows in parts:
            weights[rows] = counted[rows] / (len(parts) * lengths[rows].sum())
        return weights
    raise ValueError(f"loss {name!r} is unknown: one of {', '.join(LOSSES)}.")


def surrogate(config: LossConfig, tokens: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
    """The surrogate objective per token (to be made large), and where the clip took its gradient; both (B, T).

    Expects 0 in `logp` and `old` where the mask is false, as `loss_of` makes it.
    """
    low, high = config.clip
    advantage = tokens.advantage[:, None]
    log_ratio = tokens.logp - tokens.old
    if config.name == "gspo":
        lengths = tokens.mask.sum(1, keepdim=True).clamp(min=1)
        log_ratio = (log_ratio.sum(1, keepdim=True) / lengths).expand_as(log_ratio)
    ratio = log_ratio.exp()
    if config.name == "cispo":
        capped = ratio.detach().clamp(1 - low, 1 + high)
        return capped * advantage * tokens.logp, (ratio > 1 + high) & tokens.mask
    clipped = ratio.clamp(1 - low, 1 + high)
    idle = ((ratio < 1 - low) & (advantage < 0)) | ((ratio > 1 + high) & (advantage > 0))
    return torch.minimum(ratio * advantage, clipped * advantage), idle & tokens.mask


def truncated_importance(old: torch.Tensor, sampler: torch.Tensor, cap: float) -> torch.Tensor:
    """min(old / sampler, cap) per token, without gradient (Yao et al. 2025: the sampler is not quite the policy).

    >>> truncated_importance(torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -3.0]), cap=2.0)
    tensor([1., 2.])
    """
    return (old - sampler).exp().clamp(max=cap).detach()


def loss_of(config: LossConfig, tokens: Tokens, weights: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
    """The micro-batch's part of the loss, and its sums for the record: `tokens`, `clipped`, `kl` (all token sums).

    Micro-batches' losses add up to the update's, as do the records. `weights` (B, T) are these rows' weights.
    """
    tokens = _zero_outside(tokens)
    value, idle = surrogate(config, tokens)
    if config.truncate is not None:
        if tokens.sampler is None:
            raise ValueError("truncated importance sampling needs the sampler's log-probabilities.")
        value = value * truncated_importance(tokens.old, tokens.sampler, config.truncate)
    per_token, kl = -value, None
    if config.beta and config.kl_in == "loss":
        if tokens.reference is None:
            raise ValueError(f"beta={config.beta} needs the reference's log-probabilities.")
        kl = kl_estimate(config.kl, tokens.logp, tokens.reference)
        if config.kl_importance:
            kl = kl * (tokens.logp - tokens.old).exp()
        per_token = per_token + config.beta * kl
    if config.entropy:
        if tokens.entropy is None:
            raise ValueError("an entropy bonus needs the tokens' entropies.")
        per_token = per_token - config.entropy * tokens.entropy
    loss = (per_token * weights.to(per_token)).sum()
    record = {"tokens": float(tokens.mask.sum()), "clipped": float(idle.sum())}
    if kl is not None:
        record["kl"] = float((kl.detach() * tokens.mask).sum())
    return loss, record


def _zero_outside(tokens: Tokens) -> Tokens:
    """Zeros where the mask is false, before any arithmetic: what padding holds may overflow, and 0 * inf is nan."""

    def kept(values: torch.Tensor | None) -> torch.Tensor | None:
        return None if values is None else torch.where(tokens.mask, values, 0.0)

    names = ("logp", "old", "reference", "sampler", "entropy")
    return replace(tokens, **{name: kept(getattr(tokens, name)) for name in names})
