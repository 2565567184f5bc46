"""M-step and NTP: plain next-token prediction on programs, with or without latents. One code path for both.

The loss counts lines, latents and the end of text, never the prompt, and no token is renormalised. Which programs an
update sees comes from a generator of its own, so every arm meets the same programs in the same order; what differs is
the latents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ra3_lab.distributed import share, sum_gradients, summed
from ra3_lab.models.adapters import make_optimizer
from ra3_lab.models.load import autocast
from ra3_lab.models.packed import onednn
from ra3_lab.models.scoring import collate, padding_free, score_batch
from ra3_lab.models.tokenizer import PROMPT, Encoded, LineTokenizer


@dataclass(frozen=True)
class MStepConfig:
    """Fine-tuning on annotated (or plain) expert code."""

    updates: int = 80
    """Updates in all, over every round."""
    programs: int = 16
    """Expert programs per update."""
    learning_rate: float = 1e-3
    """Peak learning rate; 5 % linear warm-up, then cosine to a tenth."""
    weight_decay: float = 0.01
    """AdamW weight decay."""
    clip: float = 1.0
    """Largest gradient norm."""
    tokens_at_once: int = 8_192
    """Padded tokens in one forward pass; changes memory, not the update."""

    def __post_init__(self) -> None:
        if self.updates < 1 or self.programs < 1:
            raise ValueError(f"updates={self.updates}, programs={self.programs}: at least 1 each.")
        if not (self.learning_rate > 0 and self.clip > 0):
            raise ValueError(f"learning_rate={self.learning_rate}, clip={self.clip}: must be positive.")
        if not self.weight_decay >= 0 or self.tokens_at_once < 1:
            raise ValueError(
                f"weight_decay={self.weight_decay}, tokens_at_once={self.tokens_at_once}: at least 0 and 1."
            )


def program_order(seed: int, corpus: int, updates: int, programs: int) -> np.ndarray:
    """(updates, programs) indices into the corpus: reshuffled epochs, nothing else drawn from this generator."""
    rng = np.random.default_rng([seed, 0x0DE5])
    epochs = math.ceil(updates * programs / corpus)
    order = np.concatenate([rng.permutation(corpus) for _ in range(epochs)])
    return order[: updates * programs].reshape(updates, programs)


class FineTuner:
    """Model, optimiser and schedule of one NTP fine-tuning run, an update at a time."""

    def __init__(self, model: Any, tokenizer: LineTokenizer, config: MStepConfig, precision: str = "auto") -> None:
        self.model, self.tokenizer, self.config, self.precision = model, tokenizer, config, precision
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(model, config.learning_rate, config.weight_decay)
        self.updates = 0
        self.tokens = 0

    def _rate(self) -> float:
        done = (self.updates + 1) / self.config.updates
        cosine = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        return self.config.learning_rate * min(done / 0.05, 1.0) * cosine

    @onednn()
    def update(self, encoded: Sequence[Encoded]) -> float:
        """One update on these traces; returns the mean loss in nats per counted token. A loss or gradient that is
        not finite raises FloatingPointError and changes nothing.

        Where several processes train, all are given the same traces and each computes its share.
        """
        counted = sum(int((e.roles != PROMPT).sum()) for e in encoded)
        self.model.train()
        total = 0.0
        own = [encoded[i] for i in share([len(e.ids) for e in encoded])]
        for group in padding_free(own, self.config.tokens_at_once):
            batch = collate([own[i] for i in group], self.tokenizer.pad)
            with autocast(self.model, self.precision):
                scores = score_batch(self.model, batch, self.tokenizer)
            loss = -(scores.token * (batch.roles[:, 1:] != PROMPT)).sum() / counted
            loss.backward()
            total += loss.item()
        total = summed({"loss": total})["loss"]
        sum_gradients(self.parameters)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip))
        for what, value in (("loss", total), ("gradient's norm", norm)):
            if not math.isfinite(value):
                self.optimizer.zero_grad(set_to_none=True)
                raise FloatingPointError(
                    f"update {self.updates}: the {what} is {value}; lower learning_rate ({self.config.learning_rate})."
                )
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.updates += 1
        self.tokens += sum(len(e.ids) for e in encoded)
        self.model.eval()
        return total
