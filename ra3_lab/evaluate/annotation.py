"""Programs with the latents a model proposes, and what they bought: plain records for text, JSON and HTML.

Latents are sampled causally: the model does not see the line that a thought precedes. Two figures, both in nats under
the same model, are told apart. A *line's* gain compares the program with all its thoughts and the program with none. A
*thought's* gain takes out that thought alone and counts the lines up to the next one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ra3_lab.midtrain.estep import score_traces
from ra3_lab.models.engines.interface import engine_of
from ra3_lab.models.rollout import LatentSampling, Rollout, sample_latents
from ra3_lab.models.sampling import MEASURING
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.trace import Trace, annotate, strip


def annotate_traces(
    model: Any,
    tokenizer: LineTokenizer,
    traces: Sequence[Trace],
    temperature: float = 0.5,
    samples: int = 1,
    cost: float = 0.0,
    seed: int = 0,
    precision: str = "auto",
    longest_thought: int = 16,
) -> list[dict[str, Any]]:
    """One record per program, with lists of one entry per line: `latents` (text or None), `line_logp` and
    `line_gain` (nats), and `gains`, what the thought before the line bought (nats, None without a thought).

    Of `samples` latent sequences the one with the highest log-likelihood of the lines, less `cost` nats per thought, is
    kept: with more than one the choice has seen the lines. Raises ValueError for samples < 1 and for a cost
    that is no price.
    """
    if samples < 1:
        raise ValueError(f"samples={samples}: at least one.")
    if not 0 <= cost < math.inf:
        raise ValueError(f"cost={cost}: nats per thought, 0 or more.")
    plain = [strip(trace) for trace in traces]
    repeated = [trace for trace in plain for _ in range(samples)]
    how = LatentSampling(temperature, longest_thought)
    rollouts = sample_latents(engine_of(model, precision), tokenizer, repeated, how, seed, MEASURING)
    with_thoughts = score_traces(model, [r.encode(tokenizer) for r in rollouts], tokenizer, precision=precision)
    without = score_traces(model, [tokenizer.encode_trace(t) for t in plain], tokenizer, precision=precision).line
    worth = (with_thoughts.line.sum(1) - cost * with_thoughts.thought.sum(1)).view(len(plain), samples)
    records = []
    for i, trace in enumerate(plain):
        row = i * samples + int(worth[i].argmax())
        lines = len(trace.lines)
        logp, base = with_thoughts.line[row, :lines], without[i, :lines]
        records.append(
            {
                "task_id": trace.trace_id,
                "prompt": trace.prompt,
                "lines": list(trace.lines),
                "marker": trace.marker,
                "latents": list(rollouts[row].trace.latents),
                "line_logp": [float(value) for value in logp],
                "line_gain": [float(value) for value in logp - base],
                "gains": thought_gains(model, tokenizer, rollouts[row], precision),
            }
        )
    return records


def thought_gains(pi: Any, tokenizer: LineTokenizer, rollout: Rollout, precision: str = "auto") -> list[float | None]:
    """Per line: nats by which the thought before it raised the likelihood of the lines up to the next thought.

    The same trace without that one thought is the comparison; everything else stays.
    """
    trace = rollout.trace
    places = trace.thought_lines
    if not places:
        return [None] * len(trace.lines)
    without = [annotate(trace, [None if i == t else z for i, z in enumerate(trace.latents)]) for t in places]
    scored = score_traces(
        pi, [tokenizer.encode_trace(t) for t in (trace, *without)], tokenizer, precision=precision
    ).line
    gains: list[float | None] = [None] * len(trace.lines)
    for row, (t, end) in enumerate(zip(places, [*places[1:], len(trace.lines)], strict=True), 1):
        gains[t] = float((scored[0, t:end] - scored[row, t:end]).sum())
    return gains


def annotation_text(record: dict[str, Any]) -> str:
    """One record for the terminal: per line its gain in nats, thoughts as comments with what each bought.

    >>> print(annotation_text({"task_id": "f", "prompt": "", "lines": ["x = 1\\n", "y = x\\n"], "marker": "#",
    ...     "latents": [None, " copy"], "line_logp": [-1.0, -0.5], "line_gain": [0.0, 1.5], "gains": [None, 1.5]}))
    f: 1 thought before 2 lines; log-likelihood -1.50 nats, +1.50 by thoughts
       nats
      +0.00  x = 1
             # copy   <- bought +1.50
      +1.50  y = x
    """
    thoughts = sum(latent is not None for latent in record["latents"])
    counted = f"{thoughts} thought{'s' * (thoughts != 1)} before {len(record['lines'])} lines"
    logp, gain = sum(record["line_logp"]), sum(record["line_gain"])
    rows = [
        f"{record['task_id'] or 'program'}: {counted}; log-likelihood {logp:.2f} nats, {gain:+.2f} by thoughts",
        "   nats",
        *(f"         {line}" for line in record["prompt"].splitlines()),
    ]
    for line, latent, nats, bought in zip(
        record["lines"], record["latents"], record["line_gain"], record["gains"], strict=True
    ):
        if latent is not None:
            shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in latent)
            rows.append(f"         {record['marker']}{shown}   <- bought {bought:+.2f}")
        first, *rest = line.rstrip("\r\n").split("\n")
        rows += [f"{round(nats, 2) + 0.0:+7.2f}  {first}".rstrip(), *(f"         {more}" for more in rest)]
    return "\n".join(rows)
