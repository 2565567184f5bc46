"""Where the EM loop stands: models, optimisers, generator, counters and this round's latents, to be captured and
restored between any two updates. The loop itself is `em.midtrain`.

What a checkpoint holds follows from what the next update depends on: pi and its optimiser; during an E-step q and its
optimiser, afterwards the latents drawn from it; the generator that chooses the E-step's programs (the M-step's order is
a function of the seed); torch's random state, for models with dropout.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ra3_lab.distributed import collect, from_first, share
from ra3_lab.midtrain.baselines import annotated, change_latents, resampled
from ra3_lab.midtrain.estep import EStep, explain_before
from ra3_lab.midtrain.mstep import FineTuner, program_order
from ra3_lab.models.adapters import prepare, twin
from ra3_lab.models.engines.interface import engine_of
from ra3_lab.models.plan import Job
from ra3_lab.models.rollout import LatentSampling, sample_latents
from ra3_lab.models.room import advice
from ra3_lab.models.sampling import INFUSING
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.runs.checkpoint import TrainerState, capture, restore
from ra3_lab.trace import Trace, annotate, strip

if TYPE_CHECKING:
    from ra3_lab.midtrain.em import MidtrainConfig


def split_evenly(total: int, rounds: int) -> list[int]:
    """`total` spread over rounds as evenly as whole numbers allow."""
    marks = [round(total * i / rounds) for i in range(rounds + 1)]
    return [b - a for a, b in pairwise(marks)]


class Clock:
    """Seconds of training, looks at validation and checkpoints not counted."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self.start

    def add(self, seconds: float) -> None:
        """Count seconds of an earlier part of the run."""
        self.start -= seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens meanwhile is not counted."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.start += time.perf_counter() - begin


class EMLoop:
    """Where the EM loop stands: models, optimisers, generator, counters; can be captured and restored between
    updates."""

    def __init__(
        self,
        config: MidtrainConfig,
        model: Any,
        tokenizer: LineTokenizer,
        corpus: Sequence[Trace],
        annotations: Mapping[str, Trace] | None = None,
    ) -> None:
        self.config, self.tokenizer, self.annotations = config, tokenizer, annotations or {}
        self.corpus = [strip(trace) for trace in corpus]
        examples = [tokenizer.encode_trace(trace).ids.tolist() for trace in self.corpus[:64]]  # for --adapter eva
        self.pi = prepare(model, config.variant, config.seed, examples=examples)
        self.base = twin(self.pi) if config.method == "prior" else None
        self.q: Any = None  # the posterior of this round, or of the last one before its E-step begins
        self.estep: EStep | None = None  # only while an E-step is under way
        self.estep_tokens = 0  # of finished E-steps
        esteps = config.estep.updates if config.method == "ra3" and math.isfinite(config.estep.cost) else 0
        self.msteps = config.mstep.updates + (config.estep.updates if config.method != "ra3" else 0)
        self.plan = list(
            zip(split_evenly(esteps, config.rounds), split_evenly(self.msteps, config.rounds), strict=True)
        )
        self.tuner = FineTuner(self.pi, tokenizer, replace(config.mstep, updates=self.msteps), config.precision)
        self.order = program_order(config.seed, len(corpus), self.msteps, config.mstep.programs)
        self.chooser = estep_generator(config.seed)
        self.round = self.estep_done = self.mstep_done = 0  # updates of this round
        self.estep_updates = 0  # E-step updates of all rounds
        self.infused: list[Trace] | None = None  # what this round's M-step trains on
        self.latents: list[dict[int, str]] | None = None  # its thoughts, as checkpoints have them
        self.best: tuple[float, dict[str, torch.Tensor]] | None = None

    @property
    def step(self) -> int:
        """Updates done, of both kinds."""
        return self.estep_updates + self.tuner.updates

    @property
    def tokens(self) -> int:
        """Tokens trained on, E-step rollouts included."""
        return self.estep_tokens + (self.estep.tokens if self.estep else 0) + self.tuner.tokens

    def begin_estep(self) -> EStep:
        """A fresh q, a copy of pi, with an optimiser of its own."""
        self.q = twin(self.pi)
        self.estep = EStep(self.q, self.pi, self.tokenizer, self.config.estep, self.config.seed, self.config.precision)
        return self.estep

    def choose(self) -> list[Trace]:
        """The programs of the next E-step update."""
        count = len(self.corpus)
        chosen = self.chooser.choice(count, size=min(self.config.estep.programs, count), replace=False)
        return [self.corpus[j] for j in chosen]

    def end_estep(self) -> None:
        """Sample this round's latents for the M-step; q stays, its optimiser goes."""
        if self.estep is not None:
            self.estep_tokens += self.estep.tokens
            self.estep = None
        config, visits = self.config, self.visits()
        rng = np.random.default_rng([config.seed, self.round, 0xBA5E])
        if config.method == "annotator":
            infused = annotated(visits, self.annotations, config.annotation_noise, rng)
        else:
            infused = self._drawn(visits)
        changed = change_latents(infused, config.change, rng)
        self.take(fit_context(changed, self.tokenizer, self.pi.config.max_position_embeddings))

    def take(self, infused: list[Trace] | None) -> None:
        """What the M-step trains on from now on; None between rounds."""
        self.infused, self.latents = infused, None if infused is None else [_sparse(trace) for trace in infused]

    def _drawn(self, visits: list[Trace]) -> list[Trace]:
        """Latents for these visits, each drawn anew: from q, from the base (prior), from pi by likelihood (resampled);
        none for NTP."""
        config, update = self.config, INFUSING + self.round
        source = self.q if self.plan[self.round][0] else self.pi if config.method == "resampled" else self.base
        temperature, precision, seed = config.infuse_temperature, config.precision, config.seed
        if config.method == "resampled":
            return from_first(  # one generator keeps latents for all programs: not shared
                lambda: resampled(source, self.tokenizer, visits, config.estep, temperature, precision, seed, update)
            )
        draw = (temperature, config.estep.longest_thought, precision, seed)
        drawn = infuse(source, self.tokenizer, visits, *draw, self.round, config.estep.engine)
        if config.method == "ra3" and config.estep.hindsight:
            drawn = [explain_before(trace) for trace in drawn]
        return drawn

    def visits(self) -> list[Trace]:
        """The programs of this round's M-step in order; they have no latents yet."""
        begin = self.tuner.updates - self.mstep_done
        rows = self.order[begin : begin + self.plan[self.round][1]]
        return [self.corpus[j] for j in rows.ravel()]

    def next_round(self) -> None:
        """Forget what belongs to a round."""
        self.round, self.estep_done, self.mstep_done = self.round + 1, 0, 0
        self.take(None)

    def advice(self) -> str:
        """What to do where memory ends."""
        config = self.config
        longest = max(len(self.tokenizer.encode_trace(trace).ids) for trace in self.corpus)
        rl = self.plan[0][0] > 0
        tokens = max(config.mstep.tokens_at_once, config.estep.tokens_at_once if rl else 0)
        job = Job(tokens, longest, min(64, config.estep.programs * config.estep.group), rl=rl)
        return advice(self.pi, job, ("estep.", "mstep.") if rl else ("mstep.",))

    def capture(self, seconds: float) -> TrainerState:
        """The state between two updates."""
        modules = {"pi": self.pi} | ({"q": self.q} if self.q is not None else {})
        optimizers = {"pi": self.tuner.optimizer} | ({"q": self.estep.optimizer} if self.estep else {})
        counters = (
            "round",
            "estep_done",
            "mstep_done",
            "estep_updates",
            "estep_tokens",
        )
        values = {name: getattr(self, name) for name in counters} | {
            "tuner_updates": self.tuner.updates,
            "tuner_tokens": self.tuner.tokens,
            "tokens_of_this_estep": self.estep.tokens if self.estep else None,
            "latents": self.latents,
            "best_score": None if self.best is None else self.best[0],
            "seconds": seconds,
        }
        state = capture(self.step, modules, optimizers, {"chooser": self.chooser}, values)
        if self.best is not None:
            state.tensors |= {f"best/{name}": tensor for name, tensor in self.best[1].items()}
        return state

    def restore(self, state: TrainerState) -> float:
        """Go on from a captured state; returns its seconds."""
        values = state.values["own"]
        self.round, self.estep_done, self.mstep_done = (values[name] for name in ("round", "estep_done", "mstep_done"))
        self.estep_updates, self.estep_tokens = values["estep_updates"], values["estep_tokens"]
        self.tuner.updates, self.tuner.tokens = values["tuner_updates"], values["tuner_tokens"]
        optimizers = {"pi": self.tuner.optimizer}
        if values["tokens_of_this_estep"] is not None:
            estep = self.begin_estep()
            estep.tokens = values["tokens_of_this_estep"]
            optimizers["q"] = estep.optimizer
        elif state.under("module/q"):
            self.q = twin(self.pi)
        modules = {"pi": self.pi} | ({"q": self.q} if self.q is not None else {})
        restore(state, modules, optimizers, {"chooser": self.chooser})
        if values["latents"] is not None:
            self.take([_dense(t, latents) for t, latents in zip(self.visits(), values["latents"], strict=True)])
        if values["best_score"] is not None:
            self.best = (float(values["best_score"]), state.under("best"))
        return values["seconds"]


def _sparse(trace: Trace) -> dict[int, str]:
    """A trace's thoughts by line, for a checkpoint."""
    return {i: thought for i, thought in enumerate(trace.latents) if thought is not None}


def _dense(trace: Trace, latents: Mapping[str, str]) -> Trace:
    """The trace with the thoughts of `_sparse`, as JSON gives them back."""
    return annotate(trace, [latents.get(str(i)) for i in range(len(trace.lines))]) if latents else trace


def fit_context(traces: Sequence[Trace], tokenizer: LineTokenizer, context: int) -> list[Trace]:
    """The traces, those that pass the context without their last thoughts; a warning says how many these are.

    An annotator knows no context, thoughts that changed places with others have other lengths, and a thought's text
    may take more tokens than were sampled.
    """
    fitted = list(traces)
    for i, trace in enumerate(fitted):
        while trace.thought_lines and len(tokenizer.encode_trace(trace).ids) > context:
            last = trace.thought_lines[-1]
            trace = annotate(trace, [*trace.latents[:last], *[None] * (len(trace.lines) - last)])
        fitted[i] = trace
    if short := sum(a is not b for a, b in zip(fitted, traces, strict=True)):
        warnings.warn(
            f"{short} of {len(fitted)} programs have no room for all their thoughts in a context of {context} tokens; "
            "their last ones are left out. Leave out long programs (--max-tokens) or shorten thoughts.",
            stacklevel=2,
        )
    return fitted


def estep_generator(seed: int) -> np.random.Generator:
    """What chooses the programs of the E-step, and nothing else."""
    return np.random.default_rng([seed, 0xE57E])


def infuse(
    source: Any,
    tokenizer: LineTokenizer,
    traces: list[Trace],
    temperature: float,
    longest_thought: int,
    precision: str,
    seed: int,
    round_index: int,
    engine: str = "auto",
) -> list[Trace]:
    """The traces with latents sampled from `source`, each visit anew; without a source as they are. Where several
    processes train, each samples its share and all return the whole."""
    if source is None or not traces:
        return traces
    how, own = LatentSampling(temperature, longest_thought), share([sum(map(len, trace.lines)) for trace in traces])
    decoder = engine_of(source, precision, engine)
    visits = [traces[i] for i in own]
    rollouts = sample_latents(decoder, tokenizer, visits, how, seed, INFUSING + round_index, own)
    return collect(own, [rollout.trace for rollout in rollouts])
