"""The counterfactual editor: change a thought of a program and see what the next lines' likelihood makes of it.

Click a line to choose it; its thought is scored as it stands, deleted, swapped for the next one of the program, and
beside the controls (another program's thought, the words shuffled, filler); type one's own. A button writes the rest
of the program many times after each thought and runs it on the task's tests: pass rate with n and interval, controls
included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from ra3_lab.explore.counterfactual import draw_comparison, said_thought
from ra3_lab.explore.explorer import Action, Control, Explorer
from ra3_lab.explore.findings import Twin, join, percent
from ra3_lab.explore.markup import data_table
from ra3_lab.explore.variants import controls, score_thoughts
from ra3_lab.explore.view import View
from ra3_lab.models.tokenizer import LineTokenizer
from ra3_lab.tasks.pipelines import Task
from ra3_lab.trace import Trace

SAMPLES = 24
"""Programs written after each thought by the pass-rate button."""


@dataclass(frozen=True)
class Workbench:
    """A model, programs with thoughts, and what is needed to judge a change."""

    model: Any
    """pi: scores lines and writes programs."""
    tokenizer: LineTokenizer
    """Its tokenizer."""
    traces: tuple[Trace, ...]
    """Programs with their thoughts."""
    tasks: tuple[Task, ...] = ()
    """Their tasks, in the same order, with tests; () where there are none."""

    def thoughts(self, program: int, line: int, text: str = "") -> dict[str, str | None]:
        """The thoughts to try before this line, by name: the truth, a swap, controls, and the reader's own."""
        trace, tried = self.traces[program], {}
        here = trace.latents[line]
        truth = self.truth(program).get(line)
        if truth is not None and truth != here:
            tried["true"] = truth
        later = [t for t in trace.thought_lines if t > line]
        if here is not None and later:
            tried["swapped"] = trace.latents[later[0]]
        own = text.strip().removeprefix(trace.marker).strip()
        own = f" {own}" if own else ""
        others = [z for i, t in enumerate(self.traces) if i != program for z in t.latents if z is not None]
        model = own or here or truth or " note"
        tried |= controls(model, others, self.tokenizer, seed=program)
        return tried | ({"yours": own} if own else {})

    def truth(self, program: int) -> dict[int, str]:
        """Line -> the step that really starts there; empty where nobody knows."""
        if not self.tasks:
            return {}
        task = self.tasks[program]
        return dict(zip(task.starts, (step.thought for step in task.steps), strict=True))


def workbench(model: Any, tokenizer: LineTokenizer, record: Mapping[str, Any], tasks: Sequence[Task]) -> Workbench:
    """A workbench of a recorded run's programs, with the thoughts of its last look; `tasks` bring the tests."""
    last, by_id = record["looks"][-1]["programs"], {task.task_id: task for task in tasks}
    traces = tuple(
        Trace(
            p["prompt"],
            tuple(p["lines"]),
            tuple(seen["latents"].get(str(t)) for t in range(len(p["lines"]))),
            p["task_id"],
        )
        for p, seen in zip(record["programs"], last, strict=True)
    )
    known = tuple(by_id[trace.trace_id] for trace in traces if trace.trace_id in by_id)
    return Workbench(model, tokenizer, traces, known if len(known) == len(traces) else ())


def counterfactual_editor(bench: Workbench, exported: int = 3) -> Explorer:
    """The explorer; an exported page holds the first `exported` programs at their lines with thoughts."""
    traces = bench.traces
    longest = max(len(trace.lines) for trace in traces)
    kept = range(min(exported, len(traces)))
    lines = tuple(sorted({t for i in kept for t in traces[i].thought_lines}))
    first = next(
        (t for t in traces[0].thought_lines if t), traces[0].thought_lines[0] if traces[0].thought_lines else 0
    )
    seen: dict[tuple, View] = {}

    def draw(program: int, line: int, text: str) -> View:
        key = (program, line, text)
        if key not in seen:
            seen[key] = draw_editor(bench, program, line, text)
        return seen[key]

    def rate(program: int, line: int, text: str) -> View:
        place = nearest_offered(traces[program], line)
        return nowhere(traces[program]) if place is None else draw_rates(bench, program, place, text)

    return Explorer(
        "editor",
        "Counterfactual editor",
        "Click a line to choose it, then type a thought for it and press Enter. The bars say what each thought is "
        "worth to "
        "the lines it governs, against no thought there. Grey, hatched bars are controls: if they help as much, it is "
        "not what the thought says that helps.",
        (
            Control(
                "program",
                "Program",
                tuple(range(len(traces))),
                0,
                "choice",
                tuple(t.trace_id for t in traces),
                tuple(kept),
            ),
            Control("line", "Line", tuple(range(longest)), first, "click", exported=lines),
            Control("text", "Your thought", (), "", "text"),
        ),
        draw,
        (Action(f"Pass rate: write the rest {SAMPLES} times after each thought", rate),) if bench.tasks else (),
    )


def draw_editor(bench: Workbench, program: int, line: int, text: str) -> View:
    """The comparison at this line, or the nearest one where a thought is offered; above it the program to click in."""
    trace = bench.traces[program]
    place = nearest_offered(trace, line)
    if place is None:
        return replace(nowhere(trace), body=_listing(trace, -1, (0, 0)))
    comparison = score_thoughts(bench.model, bench.tokenizer, trace, place, bench.thoughts(program, place, text))
    view = draw_comparison(comparison)
    return replace(view, body=_listing(trace, place, comparison.window))


def nearest_offered(trace: Trace, line: int) -> int | None:
    """The line nearest to this one before which a thought may stand, of two the later; None where there is none.

    >>> nearest_offered(Trace("", ("x = 1\\n", "# the expert's own\\n", "y = 2\\n")), 1)
    2
    """
    return min(
        (t for t, offered in enumerate(trace.offered) if offered), key=lambda t: (abs(t - line), -t), default=None
    )


def nowhere(trace: Trace) -> View:
    """Said of a program in which no thought can be tried."""
    text = "Each of its lines is a comment of the expert's that stands flush left: no thought is offered before those."
    return View(Twin(f"No line of {trace.trace_id or 'this program'} takes a thought", text, (), ()))


def draw_rates(bench: Workbench, program: int, line: int, text: str, samples: int = SAMPLES, seed: int = 0) -> View:
    """Pass rates of programs written on after each thought, with n and a 95 % interval (Wilson 1927)."""
    trace, task = bench.traces[program], bench.tasks[program]
    here = trace.latents[line]
    tried: dict[str, str | None] = {} if here is None else {"as it is": here}
    tried |= {"no thought": None, **bench.thoughts(program, line, text)}
    passed = pass_counts(bench, trace, task, line, tried, samples, seed)
    rows = []
    for name, z in tried.items():
        low, high = wilson(passed[name], samples)
        said = said_thought(z, trace.marker)
        interval = f"{percent(low, 0)} to {percent(high, 0)}"
        rows.append((name, said, f"{passed[name]} of {samples}", percent(passed[name] / samples, 0), interval))
    most = max(passed.values())
    best = [name for name in tried if passed[name] == most]
    title = f"Most programs pass after {join(best)}: {most} of {samples}{' each' if len(best) > 1 else ''}"
    if not most:
        title = "No program passes after any of these"
    text = (
        f"The model wrote the rest of {trace.trace_id or 'the program'} from line {line + 1} on {samples} times after "
        "each thought, at temperature 1; a program passes if it passes all tests of the task. Intervals that overlap "
        "leave the order open."
    )
    columns = ("variant", "thought", "passed", "pass rate", "95 % interval")
    cells = [tuple(map(escape, row)) for row in rows]
    return View(Twin(title, text, columns, tuple(rows)), data_table("Pass rates", columns, cells, (1,)), words=(1,))


def pass_counts(
    bench: Workbench, trace: Trace, task: Task, line: int, tried: Mapping[str, str | None], samples: int, seed: int
) -> dict[str, int]:
    """How many of `samples` continuations from `line` pass, by name of the thought."""
    from ra3_lab.models.decoder import Decoder
    from ra3_lab.models.rollout import generate
    from ra3_lab.sandbox import Calls, Limits, Program, judge_batch
    from ra3_lab.tasks.pipelines import ENTRY_POINT

    before = replace(trace, lines=trace.lines[:line], latents=trace.latents[:line]).text if line else trace.prompt
    prefixes = {name: before + ("" if z is None else f"{trace.marker}{z}\n") for name, z in tried.items()}
    written = generate(Decoder(bench.model), bench.tokenizer, list(prefixes.values()), samples, 1.0, 320, seed)
    programs = [
        Program(prefix + completion.text, Calls(ENTRY_POINT, task.pairs))
        for prefix, row in zip(prefixes.values(), written, strict=True)
        for completion in row
    ]
    verdicts = judge_batch(programs, Limits())
    return {name: sum(v.passed for v in verdicts[i * samples : (i + 1) * samples]) for i, name in enumerate(prefixes)}


def wilson(passed: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a rate.

    >>> [round(x, 2) for x in wilson(0, 24)], [round(x, 2) for x in wilson(12, 24)]
    ([0.0, 0.14], [0.31, 0.69])
    """
    if not 0 <= passed <= count or count < 1:
        raise ValueError(f"{passed} of {count}: needs 0 <= passed <= count and count >= 1.")
    rate, square = passed / count, z * z / count
    centre = (rate + square / 2) / (1 + square)
    half = z * ((rate * (1 - rate) + z * z / (4 * count)) / count) ** 0.5 / (1 + square)
    return max(0.0, centre - half), min(1.0, centre + half)


def _listing(trace: Trace, picked: int, window: tuple[int, int]) -> str:
    """The program with a button before each line that a thought may stand before."""
    rows = []
    for t, line in enumerate(trace.lines):
        if (thought := trace.latents[t]) is not None:
            said = escape(trace.marker + thought)
            rows.append(f'<tr class="thought"><td></td><td class="code"><code>{said}</code></td></tr>')
        button = (
            f'<button type="button" class="pick" data-set="line={t}" aria-pressed="{str(t == picked).lower()}" '
            f'aria-label="Line {t + 1}: change the thought before it">{t + 1}</button>'
            if trace.offered[t]
            else str(t + 1)
        )
        governed = ' class="governed"' if window[0] <= t < window[1] else ""
        rows.append(
            f'<tr{governed}><td>{button}</td><td class="code"><code>{escape(line.rstrip(chr(10)))}</code></td></tr>'
        )
    prompt = f'<pre aria-label="Prompt">{escape(trace.prompt.rstrip())}</pre>' if trace.prompt else ""
    return (
        f'{prompt}<div class="scroll" tabindex="0" role="region" aria-label="The program, a button a line">'
        '<table class="lines narrow">'
        '<caption class="unseen">The program; shaded lines are governed by the thought</caption>'
        '<colgroup><col class="no"><col></colgroup><thead class="unseen"><tr><th scope="col">Line</th>'
        f'<th scope="col">Code and thoughts</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )
