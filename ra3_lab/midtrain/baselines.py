"""Latents that RA3's are compared with: an annotator's, the best of several drawn ones, and RA3's own taken apart.

Each is a function from traces to traces with the same code and other latents, so that every arm runs through the same
loop (`em.midtrain`). The arms of the study, by how they are set up:

    random     method prior, change random: the base's own thoughts before any line of any program
    annotator  method annotator: the true thought before every segment; `annotation_noise` spoils a share of them
    resampled  method resampled: K causal draws a program from pi itself, one kept by likelihood weight
    answer     method ra3 on `one_action` programs: a single latent before the whole answer
    hindsight  method ra3 with estep.hindsight: a thought is drawn with the line it explains in view
    moved, shuffled, filler   method ra3 with that change: segmentation, content or mere tokens taken away
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np

from ra3_lab.midtrain.estep import EStepConfig, score_traces
from ra3_lab.models.engines.interface import engine_of
from ra3_lab.models.rollout import LatentSampling, sample_latents
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.trace import Trace, annotate

Change = Literal["none", "moved", "shuffled", "filler", "random"]


def change_latents(traces: Sequence[Trace], change: Change, rng: np.random.Generator) -> list[Trace]:
    """The traces with their latents changed; how many there are in each program stays.

    moved: before lines of the same program that are drawn uniformly from all of them (so some had a thought before, and
    a few get their own back), in the same order. shuffled: at their places, but
    with the words of any thought of any of these programs. filler: at their places, a dot for every word. random: moved
    and shuffled. Raises ValueError for another change.

    >>> trace = Trace("def f():\\n", ("    x = 1\\n", "    return x\\n"), (None, " give it back"))
    >>> change_latents([trace], "filler", np.random.default_rng(0))[0].latents
    (None, ' . . .')
    """
    if change not in get_args(Change):
        raise ValueError(f"change={change!r}: one of {', '.join(get_args(Change))}.")
    changed = list(traces)
    if change in ("shuffled", "random"):
        words = [thought for trace in changed for thought in trace.latents if thought is not None]
        drawn = iter(rng.permutation(np.array(words, dtype=object)).tolist())
        changed = [annotate(t, [None if z is None else next(drawn) for z in t.latents]) for t in changed]
    if change in ("moved", "random"):
        changed = [_moved(trace, rng) for trace in changed]
    if change == "filler":
        changed = [annotate(t, [None if z is None else " ." * len(z.split()) for z in t.latents]) for t in changed]
    return changed


def _moved(trace: Trace, rng: np.random.Generator) -> Trace:
    thoughts = [thought for thought in trace.latents if thought is not None]
    free = [line for line, offered in enumerate(trace.offered) if offered]
    latents: list[str | None] = [None] * len(trace.lines)
    for line, thought in zip(sorted(rng.choice(free, len(thoughts), replace=False)), thoughts, strict=True):
        latents[line] = thought
    return annotate(trace, latents)


def own_annotations(traces: Sequence[Trace]) -> dict[str, Trace]:
    """The programs with the thoughts they bring along, by trace_id, for `annotated`.

    Raises ValueError where none has a thought, or two have the same trace_id.
    """
    if not any(trace.thought_lines for trace in traces):
        raise ValueError(
            f"method annotator, but none of the {len(traces)} programs has a thought: give rows of prompt, lines and "
            "latents (as in a run's traces.jsonl), or take another method."
        )
    found = {trace.trace_id: trace for trace in traces}
    if len(found) < len(traces):
        raise ValueError("method annotator: two programs have the same trace_id; give each one of its own.")
    return found


def annotated(
    traces: Sequence[Trace], annotations: Mapping[str, Trace], noise: float, rng: np.random.Generator
) -> list[Trace]:
    """The traces as an annotator comments them; with probability `noise` a thought has another one's words.

    annotations: trace_id -> the same code with the annotator's latents. Raises ValueError where one is missing.
    """
    missing = next((trace.trace_id for trace in traces if trace.trace_id not in annotations), None)
    if missing is not None:
        raise ValueError(f"there is no annotation of {missing!r}: the annotator's method needs one for every program.")
    found = [annotate(trace, annotations[trace.trace_id].latents) for trace in traces]
    words = [thought for trace in found for thought in trace.latents if thought is not None]
    if not noise or not words:
        return found

    def heard(thought: str | None) -> str | None:
        spoiled = thought is not None and rng.random() < noise
        return words[rng.integers(len(words))] if spoiled else thought

    return [annotate(trace, [heard(thought) for thought in trace.latents]) for trace in found]


def resampled(
    model: Any,
    tokenizer: LineTokenizer,
    traces: Sequence[Trace],
    config: EStepConfig,
    temperature: float,
    precision: str,
    seed: int,
    update: int,
) -> list[Trace]:
    """Of `config.group` latent sequences a program, all from the model itself, one drawn with weight
    exp(sum_t log p(a_t | s_t, z_t) - config.cost * thoughts): from the model's prior over latents to its posterior by
    sampling/importance resampling (Rubin 1987).

    Nothing is trained: what RL does in RA3's E-step, luck does here. With one draw it is the prior.
    """
    draws = config.group
    repeated = [trace for trace in traces for _ in range(draws)]
    how = LatentSampling(temperature, config.longest_thought)
    rollouts = sample_latents(engine_of(model, precision, config.engine), tokenizer, repeated, how, seed, update)
    encoded = [rollout.encode(tokenizer) for rollout in rollouts]
    scored = score_traces(model, encoded, tokenizer, config.tokens_at_once, precision)
    weight = (scored.line.sum(1) - config.cost * scored.thought.sum(1)).double().numpy().reshape(len(traces), draws)
    weight = np.exp(weight - weight.max(1, keepdims=True))
    rng = np.random.default_rng([seed, update, 0x5A])
    kept = [rng.choice(draws, p=row / row.sum()) for row in weight]
    return [rollouts[i * draws + k].trace for i, k in enumerate(kept)]


def one_action(trace: Trace) -> Trace:
    """The same program as a single raw action, so that the only latent stands before the whole answer.

    >>> one_action(Trace("def f():\\n", ("    x = 1\\n", "    return x\\n"))).lines
    ('    x = 1\\n    return x\\n',)
    """
    return replace(trace, lines=("".join(trace.lines),), latents=(trace.latents[0],))
