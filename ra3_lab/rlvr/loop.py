"""The RLVR run: draw groups, judge, update, look at validation, keep what is needed to go on.

What the next update depends on: the weights, the optimiser, how many tasks were drawn so far, torch's random state.
Samples are keyed by (seed, update, number) and the order of tasks is a function of the seed, so a run that was killed
goes on to the same weights, bit for bit. Every update uses up what it drew: there is no buffer of rollouts to keep.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np
import tyro

from ra3_lab.distributed import collect, require_shares, share
from ra3_lab.midtrain.em import Keeper
from ra3_lab.models.adapters import prepare, twin
from ra3_lab.models.engines.interface import check_engine, engine_of
from ra3_lab.models.generation import Sampling
from ra3_lab.models.load import Precision
from ra3_lab.models.plan import Job
from ra3_lab.models.room import advice
from ra3_lab.models.sampling import VALIDATING, check_seed
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.models.variants import Variant
from ra3_lab.rlvr.groups import Group, JudgeAll, count_thoughts, draw_groups
from ra3_lab.rlvr.rollouts import GroupLook
from ra3_lab.rlvr.update import GRPO, UpdateConfig
from ra3_lab.runs.checkpoint import TrainerState, capture, restore
from ra3_lab.runs.memory import saved_when_out_of_memory
from ra3_lab.sandbox import judge_each, verdict_trouble
from ra3_lab.tasks.protocol import Task

WINDOW = 20
"""Updates over whose answers the share without a verdict is taken; a run stops where it is too large."""


@dataclass(frozen=True)
class RLVRConfig:
    """One RLVR run."""

    seed: int = 0
    """Seed of sampling, task order and adapters."""
    updates: int = 50
    """Updates."""
    prompts: int = 8
    """Tasks per update (P)."""
    group: int = 8
    """Answers per task (G)."""
    sampling: Sampling = field(default_factory=Sampling)
    """How answers are drawn; max_new is the limit on an answer's length."""
    dynamic: bool = False
    """Draw further tasks until `prompts` groups have two different rewards of the judge (DAPO's dynamic sampling)."""
    most_draws: int = 4
    """With `dynamic`, at most this many times `prompts` tasks per update; then the update takes what it has."""
    evaluate_every: int = 10
    """Updates between two looks at validation; the first is before training."""
    validation_samples: int = 2
    """Answers per validation task."""
    kl_every: int = 10
    """Updates between two measurements of the KL to the initial policy; 0 for none. Needs a copy of what is trained."""
    groups_every: int = 10
    """Updates between two in which groups are kept for reading (groups.jsonl); 0 for none."""
    groups_kept: int = 2
    """Groups kept then, those with two different rewards first."""
    precision: Precision = "auto"
    """bf16, fp32 or auto."""
    engine: str = "auto"
    """What samples answers: auto, decoder (ours), generate or vllm."""
    variant: Annotated[Variant, tyro.conf.arg(name="")] = field(default_factory=Variant)
    """4-bit weights and adapters (--quant, --adapter); by default the model as it was loaded."""
    grpo: UpdateConfig = field(default_factory=UpdateConfig)
    """The update and its loss."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_engine(self.engine)
        if self.group < 2:
            raise ValueError(f"group={self.group}: an advantage compares answers to the same task; at least 2.")
        for name in ("updates", "prompts", "most_draws", "evaluate_every", "validation_samples", "groups_kept"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: at least 1.")
        for name in ("kl_every", "groups_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: updates between two, or 0 for none.")
        if self.grpo.overlong > self.sampling.max_new:
            raise ValueError(
                f"grpo.overlong={self.grpo.overlong}: a zone before sampling.max_new={self.sampling.max_new}, so no "
                "longer than that."
            )
        if self.sampling.temperature == 0:
            raise ValueError("sampling.temperature=0: greedy answers to one task are all the same; above 0.")
        if self.variant.adapter == "eva":
            raise ValueError("adapter eva reads programs before training, and there are none here: use lora.")


def fixed_settings(config: RLVRConfig) -> tuple[str, ...]:
    """What must stay when this run goes on although in other runs only the last bits depend on it: bnpo weighs answers
    by micro-batch."""
    return ("tokens_at_once", "processes") if config.grpo.loss.name == "bnpo" else ()


@dataclass
class RLVRResult:
    """What a run leaves behind."""

    model: Any
    """The policy after the last update."""
    updates: int
    """Updates done."""
    tokens: int
    """Tokens sampled for training."""
    seconds: float
    """Wall-clock time of sampling, judging and updating."""
    validation: list[tuple[int, float]] = field(default_factory=list)
    """(update, validation pass@1) of every look."""
    history: list[dict] = field(default_factory=list)
    """One record per update and per look."""


Save = Callable[[dict[str, Any]], None]
"""Takes a group's record, or the dump of a bad batch."""


def task_numbers(seed: int, count: int, first: int, wanted: int) -> list[int]:
    """The numbers of the tasks drawn as `first`, first + 1, ...: reshuffled passes over all `count` tasks.

    >>> drawn = task_numbers(0, 5, 0, 10)
    >>> sorted(drawn[:5]), drawn[3:7] == task_numbers(0, 5, 3, 4)
    ([0, 1, 2, 3, 4], True)
    """
    return [
        int(np.random.default_rng([seed, 0x7A5C, place // count]).permutation(count)[place % count])
        for place in range(first, first + wanted)
    ]


class Standing:
    """Where a run stands."""

    def __init__(self, config: RLVRConfig, model: Any, tokenizer: LineTokenizer, tasks: Sequence[Task]) -> None:
        self.config, self.tokenizer, self.tasks = config, tokenizer, tasks
        policy = prepare(model, config.variant, config.seed)
        wants_reference = bool(config.grpo.loss.beta or config.kl_every)
        reference = twin(policy).eval().requires_grad_(False) if wants_reference else None
        self.grpo = GRPO(policy, config.grpo, config.sampling, config.precision, reference)
        self.drawn = 0  # tasks so far
        self.seconds = 0.0
        self.tokens = 0  # sampled for training, groups that dynamic sampling dropped included
        self.no_verdicts: list[int] = []  # answers without a verdict per update, for the limit
        self.answers: list[int] = []  # of so many
        self.validation: list[tuple[int, float]] = []

    def draw(self, judge: JudgeAll) -> tuple[list[Group], list[Group], dict[str, float]]:
        """The groups of the next update; all that were drawn for it; and the seconds and counts of drawing them."""
        config, update = self.config, self.grpo.updates
        begin, judging, groups, kept = time.perf_counter(), 0.0, [], []
        sampler = engine_of(self.grpo.model, config.precision, config.engine)
        rounds = config.most_draws if config.dynamic else 1
        for _ in range(rounds):
            numbers = task_numbers(config.seed, len(self.tasks), self.drawn, config.prompts)
            self.drawn += len(numbers)
            drawn = [self.tasks[n] for n in numbers]
            found, seconds = self._sample(sampler, drawn, config.group, update, judge, len(groups))
            judging += seconds
            groups += found
            kept += [group for group in found if group.informative or not config.dynamic]
            if len(kept) >= config.prompts:
                break
        kept = kept[: config.prompts] or groups[: config.prompts]  # none at all: an update without gradient
        sampling = time.perf_counter() - begin - judging
        return kept, groups, {"seconds_sampling": sampling, "seconds_judging": judging, "groups_drawn": len(groups)}

    def _sample(
        self, sampler: Any, tasks: Sequence[Task], size: int, update: int, judge: JudgeAll, before: int = 0
    ) -> tuple[list[Group], float]:
        """Groups of `size` for these tasks, `before` having been drawn already, and the seconds of judging. Where
        several processes train, each samples and judges its share."""
        own, config = share([1] * len(tasks)), self.config
        found, seconds = draw_groups(
            sampler,
            self.tokenizer,
            [tasks[i] for i in own],
            size,
            config.sampling,
            config.seed,
            update,
            judge,
            [before + i for i in own],
        )
        return collect(own, found), seconds

    def look(self, tasks: Sequence[Task], judge: JudgeAll) -> float:
        """Validation pass@1. Raises ChildProcessError as `rlvr` does."""
        config = self.config
        sampler = engine_of(self.grpo.model, config.precision, config.engine)
        groups, _ = self._sample(sampler, tasks, config.validation_samples, VALIDATING, judge)
        answers = [answer for group in groups for answer in group.answers]
        missing = [answer.detail for answer in answers if answer.reward is None]
        if trouble := verdict_trouble(len(missing), len(answers), next(iter(missing), "")):
            raise ChildProcessError(f"validation: {trouble}")
        return float(np.mean([answer.reward for answer in answers if answer.reward is not None]))

    def advice(self) -> str:
        """What to do where memory ends."""
        config = self.config
        prompt = max(len(self.tokenizer.encode_prompt(task.prompt)) for task in self.tasks)
        rows = min(128, config.prompts * config.group)
        job = Job(
            config.grpo.tokens_at_once,
            prompt + config.sampling.max_new,
            rows,
            reference=self.grpo.reference is not None,
        )
        return advice(self.grpo.model, job, ("grpo.",) if "tokens_at_once" not in fixed_settings(config) else ())

    def capture(self) -> TrainerState:
        """The state between two updates."""
        values = {
            "updates": self.grpo.updates,
            "tokens": self.tokens,
            "drawn": self.drawn,
            "seconds": self.seconds,
            "no_verdicts": self.no_verdicts,
            "answers": self.answers,
            "validation": self.validation,
        }
        return capture(self.grpo.updates, {"policy": self.grpo.model}, {"policy": self.grpo.optimizer}, {}, values)

    def restore(self, state: TrainerState) -> None:
        """Take a captured state up."""
        values = restore(state, {"policy": self.grpo.model}, {"policy": self.grpo.optimizer}, {})
        self.grpo.updates, self.tokens = values["updates"], values["tokens"]
        self.drawn, self.seconds = values["drawn"], values["seconds"]
        self.no_verdicts = list(values["no_verdicts"])
        of = self.config.prompts * self.config.group  # checkpoints of before 2026-11-21 have the kept groups only
        self.answers = list(values.get("answers") or [of] * len(self.no_verdicts))
        self.validation = [(int(update), float(score)) for update, score in values["validation"]]


def describe_groups(groups: Sequence[Group]) -> dict[str, Any]:
    """What was drawn: reward, verdicts, lengths, thoughts."""
    answers = [answer for group in groups for answer in group.answers]
    rewards = [answer.reward for answer in answers if answer.reward is not None]
    thoughts = count_thoughts([answer.completion.text for answer in answers])
    return {
        "reward": float(np.mean(rewards)) if rewards else float("nan"),
        "length": float(np.mean([answer.completion.tokens for answer in answers])),
        "truncated": float(np.mean([answer.completion.reason == "length" for answer in answers])),
        "statuses": dict(sorted(Counter(answer.status for answer in answers).items())),
        "thought_share": thoughts.share,
        "thought_words": thoughts.words,
        "thought_duration": thoughts.duration,
    }


def rlvr(
    config: RLVRConfig,
    model: Any,
    tokenizer: LineTokenizer,
    tasks: Sequence[Task],
    validation: Sequence[Task] = (),
    judge: JudgeAll = judge_each,
    report: Callable[[dict], None] | None = None,
    keeper: Keeper | None = None,
    save_group: Save | None = None,
    save_bad: Save | None = None,
) -> RLVRResult:
    """Train a copy of `model` on the tasks by GRPO.

    `report(record)` is called after each update and look at validation; `save_group` gets a sampled group now and then,
    `save_bad` the whole batch of an update whose loss or gradient was not finite, before FloatingPointError is raised.
    With a `keeper` the run goes on from its latest state. ValueError without tasks, ChildProcessError where the judge
    gives no verdict on more than 1 % of the answers, of the last updates or of a look at validation.
    """
    if not tasks:
        raise ValueError("no tasks to train on.")
    require_shares(prompts=config.prompts, validation_tasks=len(validation) or config.prompts)
    run = Standing(config, model, tokenizer, tasks)
    result = RLVRResult(run.grpo.model, 0, 0, 0.0)
    if keeper is not None and (saved := keeper.latest()) is not None:
        run.restore(saved)
        result.history = keeper.history()

    def note(record: dict) -> None:
        record = {**record, "seconds": round(run.seconds, 2)}
        result.history.append(record)
        if keeper is not None:
            keeper.metrics(record)
        if report is not None:
            report(record)

    def look() -> None:
        if validation:
            begin = time.perf_counter()
            score = run.look(validation, judge)
            run.validation.append((run.grpo.updates, score))
            took = round(time.perf_counter() - begin, 3)
            note({"stage": "validation", "update": run.grpo.updates, "pass@1": score, "seconds_validation": took})

    if run.grpo.updates == 0 and not run.validation:
        look()
    with saved_when_out_of_memory(keeper, run.advice) as mark:
        if keeper is not None:
            mark.set(run.capture())
        while run.grpo.updates < config.updates:
            begin, update = time.perf_counter(), run.grpo.updates
            groups, drawn, timing = run.draw(judge)
            wanted = save_group is not None and config.groups_every and update % config.groups_every == 0
            shown = GroupLook(run.grpo, groups, config.groups_kept) if wanted else None
            measure = bool(config.kl_every) and (update + 1) % config.kl_every == 0
            middle = time.perf_counter()
            try:
                found = run.grpo.update(groups, measure)
            except FloatingPointError as error:
                if save_bad is not None:
                    whole = [group.record() for group in groups]
                    save_bad({"update": update, "error": str(error), "config": asdict(config), "groups": whole})
                raise
            now = time.perf_counter()
            run.seconds += now - begin
            run.tokens += sum(answer.completion.tokens for group in drawn for answer in group.answers)
            timing["seconds_update"] = now - middle
            if shown is not None and save_group is not None:
                for record in shown.records(tokenizer):
                    save_group(record)
            what = describe_groups(drawn)
            note({"stage": "rlvr", "update": update, **what, **found, **{k: round(v, 3) for k, v in timing.items()}})
            _require_verdicts(run, drawn)
            if run.grpo.updates % config.evaluate_every == 0 or run.grpo.updates == config.updates:
                look()
            if keeper is not None:
                keeper.after_update(run.grpo.updates, run.capture, run.grpo.updates == config.updates)
                mark.set(run.capture())
    result.updates, result.tokens, result.seconds = run.grpo.updates, run.tokens, run.seconds
    result.validation = run.validation
    return result


def _require_verdicts(run: Standing, drawn: Sequence[Group]) -> None:
    """Count this update's answers without a verdict; one among the last updates' is spared."""
    details = [answer.detail for group in drawn for answer in group.answers if answer.reward is None]
    run.no_verdicts = [*run.no_verdicts, len(details)][-WINDOW:]
    run.answers = [*run.answers, sum(len(group.answers) for group in drawn)][-WINDOW:]
    if trouble := verdict_trouble(sum(run.no_verdicts), sum(run.answers), next(iter(details), ""), spared=1):
        raise ChildProcessError(trouble)
