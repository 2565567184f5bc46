"""From rewards to advantages: group baselines, scales, overlong shaping, and which groups can teach anything.

Shapes: P prompts, G samples of each. `valid` (P, G) marks samples that have a verdict; the others count nowhere.
"""

from __future__ import annotations

import torch

SCALES = ("group", "batch", "none")
BASELINES = ("mean", "others")
_EPS = 1e-4  # as in TRL: keeps a nearly constant group's advantages from exploding


def group_advantages(
    rewards: torch.Tensor, valid: torch.Tensor, scale: str = "group", baseline: str = "mean"
) -> torch.Tensor:
    """(P, G) advantages A_i = (R_i - b_i) / s; 0 where there is no verdict or nobody to compare with.

    baseline "mean": b is the group's mean, R_i included (GRPO, Shao et al. 2024, eq. 4). E[A_i grad log pi] is then
    (G - 1)/G grad E[R]. "others": the mean of the other members (RLOO, Ahmadian et al. 2024): the constant is 1.
    scale "group": s is the group's standard deviation (with G - 1) plus 1e-4; "batch": that of all samples of the
    update (Hu et al. 2025, REINFORCE++); "none": s = 1 (Dr. GRPO, Liu et al. 2025: dividing by the group's own
    deviation overweights tasks that are nearly solved or nearly hopeless). Raises ValueError for groups of one or an
    unknown name.

    >>> group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.ones(1, 4, dtype=torch.bool), scale="none")
    tensor([[ 0.7500, -0.2500, -0.2500, -0.2500]])
    """
    if rewards.shape[1] < 2:
        raise ValueError(f"groups of {rewards.shape[1]}: an advantage compares at least 2 samples of a prompt.")
    if scale not in SCALES or baseline not in BASELINES:
        raise ValueError(f"scale={scale!r}, baseline={baseline!r}: one of {SCALES} and one of {BASELINES}.")
    kept = torch.where(valid, rewards, 0.0)
    count = valid.sum(1, keepdim=True).to(rewards.dtype)  # (P, 1)
    mean = kept.sum(1, keepdim=True) / count.clamp(min=1)
    centred = torch.where(valid & ~zero_variance(rewards, valid)[:, None], rewards - mean, 0.0)
    if scale == "group":
        deviation = (centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt() + _EPS
    elif scale == "batch":
        spread = kept - kept.sum() / count.sum().clamp(min=1)
        deviation = ((spread.square() * valid).sum() / (count.sum() - 1).clamp(min=1)).sqrt() + _EPS
    else:
        deviation = 1.0
    if baseline == "others":  # R_i - mean of the others = (R_i - mean of all) * n / (n - 1)
        centred = centred * count / (count - 1).clamp(min=1)
    return centred / deviation


def zero_variance(rewards: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """(P,) whether all valid samples of a group earned the same: such a group has no gradient.

    >>> zero_variance(torch.tensor([[1.0, 1.0], [1.0, 0.0]]), torch.tensor([[True, True], [True, False]]))
    tensor([True, True])
    """
    high = torch.where(valid, rewards, -torch.inf).amax(1)
    low = torch.where(valid, rewards, torch.inf).amin(1)
    return high <= low


def overlong_penalty(lengths: torch.Tensor, longest: int, buffer: int) -> torch.Tensor:
    """Soft punishment of long answers, 0 to -1, the shape of `lengths` (tokens): DAPO, Yu et al. 2025, eq. 13.

    0 up to longest - buffer, then falling linearly to -1 at `longest`. A buffer of 0 switches it off.

    >>> overlong_penalty(torch.tensor([70, 90, 100]), longest=100, buffer=20)
    tensor([ 0.0000, -0.5000, -1.0000])
    """
    if not 0 <= buffer <= longest:
        raise ValueError(f"overlong buffer={buffer}: tokens, between 0 and the longest answer ({longest}).")
    if buffer == 0:
        return torch.zeros(lengths.shape)
    return ((longest - buffer - lengths) / buffer).clamp(-1.0, 0.0) + 0.0  # + 0.0: no negative zero
