"""The EM loop of RA3, and the arms it is compared with, as one function.

A round of RA3: E-step (q starts from pi and is trained by RL, pi frozen), then M-step (q fixed; pi goes on from its
own weights with next-token prediction on freshly annotated programs). The M-step's optimiser, schedule and program
order run through all rounds.

The arms differ in where latents come from, never in code path: `ra3` from q, `prior` from the base model as it was,
`ntp` from nowhere. NTP and prior spend RA3's E-step updates as further M-step updates. With cost = infinity, `ra3`
masks thinking and gives NTP's batches and weights bit for bit.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from ra3_lab.midtrain.estep import EStep, EStepConfig
from ra3_lab.midtrain.mstep import FineTuner, MStepConfig, program_order
from ra3_lab.models.decoder import Decoder
from ra3_lab.models.load import LoraSettings, add_lora, dtype_of
from ra3_lab.models.rollout import LatentSampling, sample_latents
from ra3_lab.models.scoring import check_lengths
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.trace import Trace

METHODS = ("ntp", "prior", "ra3")


@dataclass(frozen=True)
class MidtrainConfig:
    """One mid-training run."""

    method: Literal["ntp", "prior", "ra3"] = "ra3"
    """ntp (no latents), prior (latents sampled from the model itself) or ra3 (latents discovered by RL)."""
    seed: int = 0
    """Seed of sampling, data order and adapters."""
    rounds: int = 3
    """EM rounds; updates of both steps are spread evenly over them."""
    infuse_temperature: float = 0.5
    """Temperature at which the M-step's latents are sampled."""
    evaluate_every: int = 40
    """M-step updates between two looks at validation; the best checkpoint is kept."""
    lora: LoraSettings = field(default_factory=LoraSettings)
    """Adapters instead of full fine-tuning, where the rank is above 0."""
    precision: str = "auto"
    """bf16, fp32 or auto."""
    estep: EStepConfig = field(default_factory=EStepConfig)
    """E-step."""
    mstep: MStepConfig = field(default_factory=MStepConfig)
    """M-step."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r}: one of {', '.join(METHODS)}.")
        if self.rounds < 1 or self.rounds > self.mstep.updates:
            raise ValueError(
                f"rounds={self.rounds}: between 1 and the number of M-step updates ({self.mstep.updates})."
            )
        thinks = self.method == "ra3" and math.isfinite(self.estep.cost)
        if thinks and self.estep.updates < self.rounds:
            raise ValueError(
                f"estep.updates={self.estep.updates} for rounds={self.rounds}: ra3 needs an E-step update per "
                "round; lower rounds, or use method prior for thoughts without an E-step."
            )
        if self.infuse_temperature < 0:
            raise ValueError(f"infuse_temperature={self.infuse_temperature}: 0 or more.")


@dataclass
class MidtrainResult:
    """What a run leaves behind."""

    model: Any
    """pi at its best validation checkpoint (or the last one, without validation)."""
    updates: int
    """E-step and M-step updates spent."""
    tokens: int
    """Tokens trained on, E-step rollouts included."""
    seconds: float
    """Wall-clock time, validation not counted."""
    validation: float | None
    """Best validation score."""
    q: Any = None
    """The last posterior (ra3 only)."""
    history: list[dict] = field(default_factory=list)
    """One record per update."""


Report = Callable[[dict], None]


def _split(total: int, rounds: int) -> list[int]:
    """`total` spread over rounds as evenly as whole numbers allow."""
    marks = [round(total * i / rounds) for i in range(rounds + 1)]
    return [b - a for a, b in pairwise(marks)]


def midtrain(
    config: MidtrainConfig,
    model: Any,
    tokenizer: LineTokenizer,
    corpus: Sequence[Trace],
    validate: Callable[[Any], float] | None = None,
    report: Report | None = None,
    monitor: Callable[[Any, Any], dict] | None = None,
) -> MidtrainResult:
    """Mid-train a copy of `model` on the expert corpus by the configured method.

    `validate(model)` gives the score by which the best checkpoint is kept; `report(record)` is called after each
    update; `monitor(q, pi)` looks at q on fixed held-out programs before the first E-step update and after each fifth
    one. Raises ValueError for an empty corpus.
    """
    if not corpus:
        raise ValueError("the expert corpus is empty: mid-training needs at least one program.")
    names = [trace.trace_id or f"number {i}" for i, trace in enumerate(corpus)]
    check_lengths([tokenizer.encode_trace(trace) for trace in corpus], model.config.max_position_embeddings, names)
    pi = copy.deepcopy(model)
    if config.lora.rank:
        pi = add_lora(pi, config.lora, config.seed)
    base = copy.deepcopy(pi) if config.method == "prior" else None
    esteps = config.estep.updates if config.method == "ra3" and math.isfinite(config.estep.cost) else 0
    msteps = config.mstep.updates + (config.estep.updates if config.method != "ra3" else 0)
    tuner = FineTuner(pi, tokenizer, replace(config.mstep, updates=msteps), config.precision)
    order = program_order(config.seed, len(corpus), msteps, config.mstep.programs)
    chooser = np.random.default_rng([config.seed, 0xE57E])
    result = MidtrainResult(pi, 0, 0, 0.0, None)
    best: tuple[float, dict] | None = None
    start, paused, number = time.perf_counter(), 0.0, 0

    def note(record: dict) -> None:
        record = {**record, "seconds": round(time.perf_counter() - start - paused, 2)}
        result.history.append(record)
        if report is not None:
            report(record)

    for index, (e_updates, m_updates) in enumerate(
        zip(_split(esteps, config.rounds), _split(msteps, config.rounds), strict=True)
    ):
        source = base
        if e_updates:
            source = result.q = copy.deepcopy(pi)
            estep = EStep(source, pi, tokenizer, config.estep, config.seed, config.precision)
            for i in range(e_updates):
                record = {"stage": "estep", "round": index, "update": number}
                if monitor is not None and i % 5 == 0:
                    pause = time.perf_counter()
                    record |= monitor(source, pi)
                    paused += time.perf_counter() - pause
                chosen = chooser.choice(len(corpus), size=min(config.estep.programs, len(corpus)), replace=False)
                record |= estep.update([corpus[j] for j in chosen], number)
                number += 1
                note(record)
            if monitor is not None:
                pause = time.perf_counter()
                note({"stage": "monitor", "round": index, "update": number, **monitor(source, pi)})
                paused += time.perf_counter() - pause
            result.tokens += estep.tokens
            result.updates += e_updates
        visits = order[tuner.updates : tuner.updates + m_updates]
        traces = _infuse(source, tokenizer, [corpus[j] for j in visits.ravel()], config, index)
        for i in range(m_updates):
            encoded = [tokenizer.encode_trace(t) for t in traces[i * visits.shape[1] : (i + 1) * visits.shape[1]]]
            loss = tuner.update(encoded)
            note({"stage": "mstep", "round": index, "update": tuner.updates, "loss": loss})
            last = tuner.updates == msteps
            if validate is not None and (last or tuner.updates % config.evaluate_every == 0):
                pause = time.perf_counter()
                score = validate(pi)
                paused += time.perf_counter() - pause
                note({"stage": "validation", "round": index, "update": tuner.updates, "score": score})
                if best is None or score > best[0]:
                    best = (score, {k: v.detach().clone() for k, v in pi.state_dict().items()})
    if best is not None:
        pi.load_state_dict(best[1])
        result.validation = best[0]
    result.updates += tuner.updates
    result.tokens += tuner.tokens
    result.seconds = time.perf_counter() - start - paused
    return result


def _infuse(
    source: Any, tokenizer: LineTokenizer, traces: list[Trace], config: MidtrainConfig, round_index: int
) -> list[Trace]:
    """The traces with latents sampled from `source`, each visit anew; without a source as they are."""
    if source is None:
        return traces
    how = LatentSampling(config.infuse_temperature, config.estep.longest_thought)
    decoder = Decoder(source, dtype_of(config.precision))
    return [
        rollout.trace
        for rollout in sample_latents(decoder, tokenizer, traces, how, config.seed, 1_000_000 + round_index)
    ]
