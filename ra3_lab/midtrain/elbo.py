"""The arithmetic of the temporal ELBO: rewards, returns, baselines and the sticky prior's KL. Pure functions.

Shapes: L lines, B = P * G rows (P programs, G latent sequences of each, a program's rows side by side).
"""

from __future__ import annotations

import math

import torch


def rewards(
    line_logp: torch.Tensor,
    thoughts: torch.Tensor,
    malformed: torch.Tensor,
    cost: float,
    penalty: float = 0.0,
    floor: float | None = None,
) -> torch.Tensor:
    """(B, L) r_t = log pi(a_t | s_t, z_t) - c * [thought at t] - penalty * [malformed thought at t].

    `floor` (negative nats) bounds a line's log-likelihood from below: one hopeless line shall not drown the rest.

    >>> thoughts, malformed = torch.tensor([[True, False]]), torch.tensor([[False, False]])
    >>> rewards(torch.tensor([[-2.0, -9.0]]), thoughts, malformed, cost=0.5, floor=-5.0)
    tensor([[-2.5000, -5.0000]])
    """
    if not (cost >= 0 and penalty >= 0):
        raise ValueError(f"cost={cost}, penalty={penalty}: both are nats to pay, 0 or more.")
    if floor is not None:
        if not floor < 0:
            raise ValueError(f"floor={floor}: a log-likelihood bound, it must be negative.")
        line_logp = line_logp.clamp(min=floor)
    return line_logp - cost * thoughts.to(line_logp.dtype) - penalty * malformed.to(line_logp.dtype)


def reward_to_go(reward: torch.Tensor, discount: float = 1.0, horizon: int | None = None) -> torch.Tensor:
    """(B, L) returns R_t = sum_k discount^k r_{t+k}, over all later lines or the next `horizon` lines (t included).

    >>> reward_to_go(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[6., 5., 3.]])
    >>> reward_to_go(torch.tensor([[1.0, 2.0, 3.0]]), horizon=2)
    tensor([[3., 5., 3.]])
    """
    if not 0 <= discount <= 1:
        raise ValueError(f"discount={discount}: per line, between 0 and 1.")
    if horizon is not None and horizon < 1:
        raise ValueError(f"horizon={horizon}: at least one line, or None for all.")
    length = reward.shape[1]
    ahead = torch.arange(length)[None, :] - torch.arange(length)[:, None]  # (L, L): k = t' - t
    weight = torch.where(ahead >= 0, torch.tensor(discount, dtype=torch.float64) ** ahead.clamp(min=0), 0.0)
    if horizon is not None:
        weight = torch.where(ahead < horizon, weight, 0.0)
    return reward @ weight.to(reward.dtype).T


def leave_one_out(returns: torch.Tensor, group: int) -> torch.Tensor:
    """(B, L) mean return at the same line of the other G - 1 rows of the program.

    >>> leave_one_out(torch.tensor([[1.0], [3.0], [5.0]]), 3)
    tensor([[4.],
            [3.],
            [2.]])
    """
    if group < 2 or len(returns) % group:
        raise ValueError(
            f"group={group} for {len(returns)} rows: a leave-one-out baseline needs groups of 2 or more "
            "that divide the rows."
        )
    grouped = returns.view(-1, group, returns.shape[1])
    return ((grouped.sum(1, keepdim=True) - grouped) / (group - 1)).view_as(returns)


def _require_prior(alpha: float, size: int) -> None:
    if not 0 < alpha < 1 or size < 1:
        raise ValueError(f"alpha={alpha}, |Z|={size}: needs 0 < alpha < 1 and at least one latent.")


def sticky_prior(alpha: float, size: int, previous: int) -> torch.Tensor:
    """(|Z|,) p(z | z_prev) = alpha [z = z_prev] + (1 - alpha) / |Z|, float64."""
    _require_prior(alpha, size)
    prior = torch.full((size,), (1 - alpha) / size, dtype=torch.float64)
    prior[previous] += alpha
    return prior


def pair_kl(renew: float, choice: torch.Tensor, alpha: float) -> float:
    """KL of the pair (renewed?, z) under q from the sticky prior.

    KL( Bern(rho) || Bern(1 - alpha) ) + rho ( log|Z| - H[q(z | renew)] );
    `renew` is rho = q(renew), `choice` (|Z|,) is q(z | renew). An upper bound of `marginal_kl`.

    >>> round(pair_kl(0.1, torch.tensor([0.5, 0.5]), 0.9), 9)
    0.0
    """
    if not 0 <= renew <= 1:
        raise ValueError(f"renew={renew}: a probability.")
    _require_prior(alpha, len(choice))
    choice = choice.double()
    bernoulli = sum(a * math.log(a / b) for a, b in ((renew, 1 - alpha), (1 - renew, alpha)) if a > 0)
    entropy = -float(torch.special.xlogy(choice, choice).sum())
    return bernoulli + renew * (math.log(len(choice)) - entropy)


def marginal_kl(renew: float, choice: torch.Tensor, alpha: float, previous: int) -> float:
    """KL( q(z_t) || p(z_t | z_prev) ) on z alone: a renewal may draw the old z."""
    q = renew * choice.double()
    q[previous] += 1 - renew
    return float((torch.special.xlogy(q, q) - q * sticky_prior(alpha, len(q), previous).log()).sum())


def renewal_cost(alpha: float, size: int) -> float:
    """Nats that choosing one particular new z costs more than keeping: log(alpha |Z| / (1 - alpha)).

    >>> round(renewal_cost(0.5, 10), 4)
    2.3026
    """
    _require_prior(alpha, size)
    return math.log(alpha * size / (1 - alpha))
