"""The EM loop of RA3, and the arms it is compared with, as one function.

A round of RA3: E-step (q starts from pi and is trained by RL, pi frozen), then M-step (q fixed; pi goes on from its
own weights with next-token prediction on freshly annotated programs). The M-step's optimiser, schedule and program
order run through all rounds.

The arms differ in where latents come from, never in code path: `ra3` from q, `prior` from the base model as it was,
`ntp` from nowhere. NTP and prior spend RA3's E-step updates as further M-step updates. With cost = infinity, `ra3`
masks thinking and leaves the E-step out: its batches and weights are bit for bit those of NTP with `estep.updates` = 0,
while NTP at the same settings makes `estep.updates` more updates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal, Protocol

import tyro

from ra3_lab.distributed import from_first, require_shares
from ra3_lab.midtrain.baselines import Change, own_annotations
from ra3_lab.midtrain.estep import EStepConfig
from ra3_lab.midtrain.loop import Clock, EMLoop
from ra3_lab.midtrain.mstep import MStepConfig
from ra3_lab.models.load import Precision
from ra3_lab.models.sampling import check_seed
from ra3_lab.models.scoring import check_lengths
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.models.variants import Variant
from ra3_lab.runs.checkpoint import TrainerState, load_module, module_tensors
from ra3_lab.runs.memory import Mark, saved_when_out_of_memory
from ra3_lab.trace import Trace, strip

METHODS = ("ntp", "prior", "ra3", "annotator", "resampled")
LOOK_EVERY = 5  # E-step updates from one look of `monitor` at q to the next
SHOWN = 8  # programs per round whose latents a run keeps for people to look at


@dataclass(frozen=True)
class MidtrainConfig:
    """One mid-training run."""

    method: Literal["ntp", "prior", "ra3", "annotator", "resampled"] = "ra3"
    """ntp (no latents), prior (the model's), ra3 (found by RL), annotator (the programs' own), resampled (kept
    by likelihood)."""
    seed: int = 0
    """Seed of sampling, data order and adapters."""
    rounds: int = 1
    """EM rounds; updates of both steps are spread evenly over them."""
    infuse_temperature: float = 0.5
    """Temperature at which the M-step's latents are sampled."""
    change: Change = "none"
    """What is done to the latents before the M-step: none, or moved, shuffled, filler, random (to take them apart)."""
    annotation_noise: float = 0.0
    """Share of an annotator's thoughts that have another one's words (method annotator)."""
    evaluate_every: int = 40
    """M-step updates between two looks at validation; the best checkpoint is kept, of equals the last. Without a
    validation (ra3-lab midtrain has none) the last weights are kept."""
    variant: Annotated[Variant, tyro.conf.arg(name="")] = field(default_factory=Variant)
    """4-bit weights and adapters (--quant, --adapter); by default the model as it was loaded."""
    precision: Precision = "auto"
    """bf16, fp32 or auto."""
    estep: EStepConfig = field(default_factory=EStepConfig)
    """E-step."""
    mstep: MStepConfig = field(default_factory=MStepConfig)
    """M-step."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r}: one of {', '.join(METHODS)}.")
        check_seed(self.seed)
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
        if not 0 <= self.annotation_noise <= 1:
            raise ValueError(f"annotation_noise={self.annotation_noise}: a share, 0 to 1.")
        if self.method == "resampled" and not math.isfinite(self.estep.cost):
            raise ValueError("method resampled with estep.cost=inf: latents are weighed by it; give a finite cost.")
        if not self.infuse_temperature >= 0:
            raise ValueError(f"infuse_temperature={self.infuse_temperature}: 0 or more.")
        if self.evaluate_every < 1:
            raise ValueError(f"evaluate_every={self.evaluate_every}: updates between two looks, at least 1.")


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


class Keeper(Protocol):
    """What makes a run survive: keeps metrics and checkpoints. `runs.RunDirectory` is one."""

    def latest(self) -> TrainerState | None:
        """The state to go on from, if there is one."""
        ...

    def history(self) -> list[dict]:
        """The records up to that state."""
        ...

    def metrics(self, record: dict, /) -> None:
        """Keep a record."""
        ...

    def traces(self, record: dict, /) -> None:
        """Keep a sampled trace."""
        ...

    def after_update(self, step: int, capture: Callable[[], TrainerState], last: bool) -> None:
        """Called after each update, the last one too; captures and keeps the state when it is time."""
        ...

    def note_logs(self, state: TrainerState) -> None:
        """Write into the state how far what was kept has come, unless it says so already."""
        ...

    def save(self, state: TrainerState) -> None:
        """Keep this state now."""
        ...

    def standing(self) -> str:
        """Where the run stands and how to go on."""
        ...


def midtrain(
    config: MidtrainConfig,
    model: Any,
    tokenizer: LineTokenizer,
    corpus: Sequence[Trace],
    validate: Callable[[Any], float] | None = None,
    report: Report | None = None,
    monitor: Callable[[Any, Any], dict] | None = None,
    keeper: Keeper | None = None,
    annotations: Mapping[str, Trace] | None = None,
) -> MidtrainResult:
    """Mid-train a copy of `model` on the expert corpus by the configured method.

    `validate(model)` gives the score by which the best checkpoint is kept; `report(record)` is called after each
    update; `monitor(q, pi)` looks at q on fixed held-out programs before the first E-step update and after each fifth
    one. With a `keeper` the run goes on from its latest state, if there is one, to the same result as without the
    break. `annotations` (trace_id -> annotated trace) is what method annotator reads, by default the latents that the
    programs bring along; the other methods know none of those. Where several processes train
    (`ra3_lab.distributed`), all call this alike; the first one validates and monitors. Raises ValueError for an empty
    corpus and for a missing annotation.
    """
    if not corpus:
        raise ValueError("the expert corpus is empty: mid-training needs at least one program.")
    names = [trace.trace_id or f"number {i}" for i, trace in enumerate(corpus)]
    bare = [tokenizer.encode_trace(strip(trace)) for trace in corpus]  # thoughts without room are left out later
    check_lengths(bare, model.config.max_position_embeddings, names)
    require_shares(corpus=len(corpus), mstep__programs=config.mstep.programs)
    if config.method == "ra3":
        require_shares(estep__programs=config.estep.programs)
    if config.method == "annotator" and annotations is None:
        annotations = own_annotations(corpus)
    loop, clock = EMLoop(config, model, tokenizer, corpus, annotations), Clock()
    result = MidtrainResult(loop.pi, 0, 0, 0.0, None)
    if keeper is not None and (saved := keeper.latest()) is not None:
        seconds = loop.restore(saved)
        clock.add(seconds)
        result.history = keeper.history()

    def note(record: dict) -> None:
        record = {**record, "seconds": round(clock.seconds, 2)}
        result.history.append(record)
        if keeper is not None:
            keeper.metrics(record)
        if report is not None:
            report(record)

    def kept(mark: Mark) -> None:
        if keeper is not None:
            seconds, last = clock.seconds, loop.tuner.updates == loop.msteps
            with clock.paused():
                keeper.after_update(loop.step, lambda: loop.capture(seconds), last)
                mark.set(loop.capture(seconds))

    with saved_when_out_of_memory(keeper, loop.advice) as mark:
        if keeper is not None:
            mark.set(loop.capture(clock.seconds))
        while loop.round < config.rounds:
            e_updates, m_updates = loop.plan[loop.round]
            while loop.estep_done < e_updates:
                estep = loop.estep or loop.begin_estep()
                record = {"stage": "estep", "round": loop.round, "update": loop.estep_updates}
                if monitor is not None and loop.estep_done % LOOK_EVERY == 0:
                    with clock.paused():
                        record |= from_first(lambda: monitor(loop.q, loop.pi))
                record |= estep.update(loop.choose(), loop.estep_updates)
                loop.estep_done += 1
                loop.estep_updates += 1
                note(record)
                kept(mark)
            if loop.infused is None:
                if monitor is not None and e_updates:
                    with clock.paused():
                        look = from_first(lambda: monitor(loop.q, loop.pi))
                    note({"stage": "monitor", "round": loop.round, "update": loop.estep_updates, **look})
                loop.end_estep()
                if keeper is not None and config.method != "ntp":
                    for trace in (loop.infused or [])[:SHOWN]:
                        keeper.traces({"stage": "mstep", "round": loop.round, **asdict(trace)})
            while loop.mstep_done < m_updates:
                programs = config.mstep.programs
                assert loop.infused is not None
                batch = loop.infused[loop.mstep_done * programs : (loop.mstep_done + 1) * programs]
                loss = loop.tuner.update([tokenizer.encode_trace(trace) for trace in batch])
                loop.mstep_done += 1
                done = {"round": loop.round, "update": loop.tuner.updates}
                note({"stage": "mstep", **done, "loss": loss})
                last = loop.tuner.updates == loop.msteps
                if validate is not None and (last or loop.tuner.updates % config.evaluate_every == 0):
                    with clock.paused():
                        score = from_first(lambda: validate(loop.pi))
                    note({"stage": "validation", **done, "score": score})
                    if loop.best is None or math.isnan(loop.best[0]) or score >= loop.best[0]:
                        loop.best = (score, {k: v.clone() for k, v in module_tensors(loop.pi).items()})
                kept(mark)
            loop.next_round()
    if loop.best is not None:
        load_module(loop.pi, loop.best[1])
        result.validation = loop.best[0]
    result.q = loop.q
    result.updates, result.tokens, result.seconds = loop.step, loop.tokens, clock.seconds
    return result
