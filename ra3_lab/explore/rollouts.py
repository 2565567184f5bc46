"""A group of latent sequences of one program, as the E-step sees it: where each thinks, what it earns, its
advantage."""

from __future__ import annotations

import math
from html import escape

import torch

from ra3_lab.explore.findings import Twin, join, number
from ra3_lab.explore.markup import data_table
from ra3_lab.explore.view import View
from ra3_lab.midtrain.elbo import leave_one_out, reward_to_go, rewards
from ra3_lab.midtrain.estep import EStep, EStepConfig, malformed_mask, score_traces
from ra3_lab.models.engines.interface import engine_of
from ra3_lab.models.rollout import Rollout, sample_latents
from ra3_lab.trace import Trace

COLUMNS = ("sequence", "line: thought", "return (nats)", "advantage (nats)")


def draw_group(estep: EStep, trace: Trace, update: int = 0) -> View:
    """Sample a group of latent sequences for the program from the E-step's q and show what each earns.

    Return and advantage are those at the first line: of the whole sequence.
    """
    group = estep.config.group
    engine = engine_of(estep.q, estep.precision, estep.config.engine)
    rollouts = sample_latents(engine, estep.tokenizer, [trace] * group, estep.how, estep.seed, update)
    returns = group_returns(estep, rollouts)
    advantage = returns - leave_one_out(returns, group)
    rows = []
    for i, rollout in enumerate(rollouts):
        thoughts = "; ".join(
            f"{t + 1}: {rollout.trace.marker}{rollout.trace.latents[t]}" for t in rollout.trace.thought_lines
        )
        row = (str(i + 1), thoughts or "no thought", number(float(returns[i, 0])))
        rows.append((*row, number(float(advantage[i, 0]), 2, sign=True)))
    most = rows[int(returns[:, 0].argmax())][2]
    best = [row[0] for row in rows if row[2] == most]  # to the digits shown
    who = f"number {best[0]} earns" if len(best) == 1 else f"numbers {join(best)} earn"
    title = f"Of {group} latent sequences of one program, {who} most: {most} nats"
    if len(best) == group:
        title = f"All {group} latent sequences of one program earn the same: {most} nats"
    text = (
        f"Each row is the same expert program with its latents drawn afresh. {told_return(estep.config)} The advantage "
        "is the return minus the mean return of the other sequences. A positive advantage makes a sequence's choices "
        "likelier, a negative one less likely."
    )
    table = data_table("The group", COLUMNS, [tuple(map(escape, row)) for row in rows], (1,))
    return View(Twin(title, text, COLUMNS, tuple(rows)), table, words=(1,), table_label="The group once more, to copy")


def told_return(config: EStepConfig) -> str:
    """What `group_returns` counts at the first line, in words: the settings that are in force.

    >>> told_return(EStepConfig(floor=None, penalty=0.0))
    'The return is the log-likelihood of its lines minus 0.10 nats a thought.'
    """
    text = "The return is the log-likelihood of its lines"
    if config.floor is not None:
        text += f", each {number(config.floor)} nats at least (floor),"
    if math.isfinite(config.cost):
        text += f" minus {number(config.cost)} nats a thought"
        text += f" and {number(config.penalty)} more for an empty or cut one (penalty)" if config.penalty else ""
    text = text.removesuffix(",")
    if config.horizon is not None:
        first = "line counts" if config.horizon == 1 else f"{config.horizon} lines count"
        text += f"; only the first {first} (horizon)"
    if config.discount != 1:
        text += f"; a line counts {config.discount:g} times as much as the one before it (discount)"
    left_out = [name for name in ("kl", "per_token", "hindsight") if getattr(config, name)]
    return text + (f"; without the E-step's {join(left_out)}." if left_out else ".")


def group_returns(estep: EStep, rollouts: list[Rollout]) -> torch.Tensor:
    """(B, L) reward-to-go of every line of these rollouts, in nats, as the E-step counts it, but for `kl`, `per_token`
    and `hindsight`."""
    config = estep.config
    encoded = [rollout.encode(estep.tokenizer) for rollout in rollouts]
    under_pi = score_traces(estep.pi, encoded, estep.tokenizer, config.tokens_at_once, estep.precision)
    malformed = malformed_mask(rollouts, under_pi.line.shape[1])
    cost = config.cost if math.isfinite(config.cost) else 0.0  # no thought is drawn
    reward = rewards(under_pi.line, under_pi.thought, malformed, cost, config.penalty, config.floor)
    return reward_to_go(reward, config.discount, config.horizon)
