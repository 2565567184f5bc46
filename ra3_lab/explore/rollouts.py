"""A group of latent sequences of one program, as the E-step sees it: where each thinks, what it earns, its
advantage."""

from __future__ import annotations

from html import escape

import torch

from ra3_lab.explore.findings import Twin, number
from ra3_lab.explore.markup import data_table
from ra3_lab.explore.view import View
from ra3_lab.midtrain.elbo import leave_one_out, reward_to_go, rewards
from ra3_lab.midtrain.estep import EStep, malformed_mask, score_traces
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
    best = int(returns[:, 0].argmax())
    title = f"Of {group} latent sequences of one program, number {best + 1} earns most: {rows[best][2]} nats"
    text = (
        "Each row is the same expert program with its latents drawn afresh. The return is the log-likelihood of its "
        f"lines minus {number(estep.config.cost)} nats a thought; the advantage is the return minus the mean return "
        f"of the "
        "other sequences. A positive advantage makes a sequence's choices likelier, a negative one less likely."
    )
    table = data_table("The group", COLUMNS, [tuple(map(escape, row)) for row in rows], (1,))
    return View(Twin(title, text, COLUMNS, tuple(rows)), table, words=(1,), table_label="The group once more, to copy")


def group_returns(estep: EStep, rollouts: list[Rollout]) -> torch.Tensor:
    """(B, L) reward-to-go of every line of these rollouts, in nats, as the E-step counts it."""
    config = estep.config
    encoded = [rollout.encode(estep.tokenizer) for rollout in rollouts]
    under_pi = score_traces(estep.pi, encoded, estep.tokenizer, config.tokens_at_once, estep.precision)
    malformed = malformed_mask(rollouts, under_pi.line.shape[1])
    reward = rewards(under_pi.line, under_pi.thought, malformed, config.cost, config.penalty, config.floor)
    return reward_to_go(reward, config.discount, config.horizon)
