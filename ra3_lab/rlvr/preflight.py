"""Before training: one group per task for a few tasks, and in plain words whether it would learn anything.

Each finding says what was seen, why it matters and what to do. `stop` findings end the run (unless forced): nothing can
be learned, or rewards mean nothing. `warn` findings are printed and kept in the run's record.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from ra3_lab.models.engines.interface import engine_of
from ra3_lab.models.sampling import LOOKING_BEFORE
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.rlvr.groups import Group, JudgeAll, draw_groups
from ra3_lab.rlvr.loop import RLVRConfig
from ra3_lab.tasks.protocol import Task


@dataclass(frozen=True)
class Finding:
    """Something that will keep the run from learning, or slow it down."""

    level: Literal["stop", "warn"]
    """stop: do not start; warn: say it."""
    name: str
    """Short name."""
    text: str
    """What was seen and what to do."""


def look_at_groups(groups: Sequence[Group], longest: int, eos: int) -> list[Finding]:
    """What the sampled groups say. Pure: no model, no judge."""
    findings: list[Finding] = []
    answers = [answer for group in groups for answer in group.answers]
    count = len(answers)
    truncated = sum(answer.completion.reason == "length" for answer in answers)
    ends = sum(eos in answer.completion.ids for answer in answers)
    rewards = [answer.reward for answer in answers if answer.reward is not None]
    statuses = sorted({answer.status for answer in answers})
    odd = [reward for reward in rewards if not 0 <= reward <= 1]
    if odd:
        text = f"rewards lie between 0 and 1, but {odd[0]:g} was given: the judge or reward function is wrong."
        findings.append(Finding("stop", "reward out of range", text))
    if not rewards:
        text = f"the judge gave no verdict on any of {count} answers ({answers[0].detail}): run `ra3-lab doctor`."
        findings.append(Finding("stop", "no verdicts", text))
    elif len(rewards) < count:
        text = f"the judge gave no verdict on {count - len(rewards)} of {count} answers: run `ra3-lab doctor`."
        findings.append(Finding("warn", "missing verdicts", text))
    if truncated == count:
        level, advice = "stop", "raise sampling.max_new, or give the tasks stops"
        if not ends:
            advice += "; the model may never have learned to write its end token"
        findings.append(
            Finding(level, "all truncated", f"all {count} answers were cut at {longest} tokens unfinished: {advice}.")
        )
    elif truncated > count // 2:
        text = f"{truncated} of {count} answers were cut at {longest} tokens unfinished: raise sampling.max_new."
        findings.append(Finding("warn", "many truncated", text))
    if not ends and truncated < count:
        text = "no answer ends with the end token, only with stops: the end token gets no signal, often harmless."
        findings.append(Finding("warn", "no end token", text))
    if rewards and not any(group.informative for group in groups):
        same = "fail" if max(rewards) == 0 else "pass" if min(rewards) == max(rewards) else "of a group earn the same"
        advice = {
            "fail": "the tasks are too hard for this policy: start from a better one, or take easier tasks",
            "pass": "nothing is left to learn: take harder tasks",
        }.get(same, "raise the group or the temperature")
        findings.append(
            Finding("stop", "zero variance", f"all answers {same}, so there is no gradient: {advice}, or sample more.")
        )
    elif sum(group.informative for group in groups) * 4 < len(groups):
        some = sum(group.informative for group in groups)
        text = f"only {some} of {len(groups)} groups have different rewards: dynamic sampling (--dynamic) helps."
        findings.append(Finding("warn", "little variance", text))
    if rewards and max(rewards) == 0 and set(statuses) <= {"runtime_error", "forbidden"}:
        example = answers[0].completion.text[:60]
        text = (
            f"no answer runs at all ({answers[0].detail}); one begins {example!r}: is the prompt what the model knows?"
        )
        findings.append(Finding("stop", "wrong template", text))
    return findings


def look_at_prompts(tasks: Sequence[Task], tokenizer: LineTokenizer, context: int, longest: int) -> list[Finding]:
    """Whether prompts and answers fit, and whether a chat model is asked without its template."""
    findings: list[Finding] = []
    lengths = [len(tokenizer.encode_prompt(task.prompt)) for task in tasks]
    over = sum(length + longest > context for length in lengths)
    if max(lengths) >= context:
        text = f"a prompt of {max(lengths)} tokens does not fit the model's context of {context}: leave it out."
        findings.append(Finding("stop", "prompt too long", text))
    elif over:
        text = f"{over} of {len(tasks)} prompts leave less than max_new={longest} of the context of {context} tokens."
        findings.append(Finding("warn", "little room", text))
    if getattr(tokenizer.hf, "chat_template", None) and not any("<|" in task.prompt for task in tasks):
        text = "the tokenizer has a chat template, the prompts are plain text: right for base models only."
        findings.append(Finding("warn", "wrong template", text))
    return findings


def look_at_machine(threads: int, layers: dict[str, Any] | None = None) -> list[Finding]:
    """Thread settings that cost speed, and missing layers of the judge."""
    findings: list[Finding] = []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads > cores:
        text = f"{threads} threads on {cores} cores wait for each other: --threads {cores}."
        findings.append(Finding("warn", "too many threads", text))
    if threads > 1 and os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE":
        text = "OpenMP threads spin while they wait; beside other processes this costs many times the speed: set "
        findings.append(Finding("warn", "spinning threads", text + "OMP_WAIT_POLICY=PASSIVE before Python starts."))
    if layers is not None and not layers.get("hostile_programs", True):
        text = f"the judge runs with isolation {layers.get('isolation')!r}: programs can reach what this user can. "
        findings.append(Finding("warn", "judge layer missing", text + "`ra3-lab doctor` says what is missing and why."))
    return findings


def preflight(
    config: RLVRConfig,
    model: Any,
    tokenizer: LineTokenizer,
    tasks: Sequence[Task],
    judge: JudgeAll,
    layers: dict[str, Any] | None = None,
    groups: int = 4,
) -> tuple[list[Finding], list[Group]]:
    """Sample one group for each of `groups` tasks, spread over the set, and say what is wrong. Nothing is trained."""
    findings = look_at_prompts(tasks, tokenizer, model.config.max_position_embeddings, config.sampling.max_new)
    findings += look_at_machine(torch.get_num_threads(), layers)
    if any(finding.level == "stop" for finding in findings):
        return findings, []
    picked = [tasks[i * len(tasks) // min(groups, len(tasks))] for i in range(min(groups, len(tasks)))]
    sampler = engine_of(model, config.precision, config.engine)
    keys = (config.seed, LOOKING_BEFORE)
    found, _ = draw_groups(sampler, tokenizer, picked, config.group, config.sampling, *keys, judge)
    return findings + look_at_groups(found, config.sampling.max_new, tokenizer.eos), found
