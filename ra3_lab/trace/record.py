"""The record that every stage of ra3_lab passes around: a prompt, the expert's lines, the latents before them.

One raw action is one *logical* line of code. A latent stands directly before a line, as a comment flush left ("\\n#" in
the paper), at most one per line. The trace, not the text, knows which comments are latents; text is only its rendering,
and stripping the latents gives the expert's code back byte for byte.

Text alone can be read back with `parse` when the latents were written with a marker that no line of the expert's code
begins with ("#:" or whatever `absent_marker` finds).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ra3_lab.trace.language import Language

MARKER = "#"
"""What begins a comment line in Python, the default of every trace."""

_TAILS = (":", "~", ":~", "=>", "@@", "<:", ":>:", "~>~")


@dataclass(frozen=True)
class Trace:
    """A prompt, the expert's lines and the latents written before them.

    >>> trace = Trace("def f():\\n", ("    x = 1\\n", "    return x\\n"), (None, " give it back"))
    >>> print(trace.text, end="")
    def f():
        x = 1
    # give it back
        return x
    >>> trace.code == strip(trace).text
    True
    """

    prompt: str
    """What is given (s_0); empty or ended by a newline."""
    lines: tuple[str, ...]
    """The raw actions a_0..a_T, each ended by a newline."""
    latents: tuple[str | None, ...] = ()
    """Per line the thought before it (the text after the marker, no newline) or None; () means none at all."""
    trace_id: str = ""
    """Where it comes from, for messages and records."""
    marker: str = MARKER
    """What begins a comment line in this language, and so a thought."""

    def __post_init__(self) -> None:
        if not self.latents:
            object.__setattr__(self, "latents", (None,) * len(self.lines))
        if len(self.latents) != len(self.lines):
            raise ValueError(
                f"trace {self.trace_id!r}: {len(self.latents)} latents for {len(self.lines)} lines; "
                "one per line is needed."
            )
        if not self.lines:
            raise ValueError(f"trace {self.trace_id!r} has no line of code to learn from.")
        for text in (self.prompt or "\n", *self.lines):
            if not text.endswith("\n"):
                raise ValueError(
                    f"trace {self.trace_id!r}: {text!r} does not end with a newline; prompt and lines must."
                )
        for thought in self.latents:
            if thought is not None and ("\n" in thought or "\r" in thought):
                raise ValueError(
                    f"trace {self.trace_id!r}: thought {thought!r} holds a newline; a thought is one comment line."
                )

    @property
    def code(self) -> str:
        """The program without latents."""
        return self.prompt + "".join(self.lines)

    @property
    def text(self) -> str:
        """The program with its latents, as a model reads and writes it: each thought closed by a plain newline."""
        return self.render()

    def render(self, marker: str | None = None, newline: str = "\n") -> str:
        """The program with its latents, each begun by `marker` (default: the trace's own) and closed by `newline`."""
        mark = self.marker if marker is None else marker
        parts = [self.prompt]
        for line, thought in zip(self.lines, self.latents, strict=True):
            if thought is not None:
                parts.append(f"{mark}{thought}{newline}")
            parts.append(line)
        return "".join(parts)

    @property
    def thought_lines(self) -> tuple[int, ...]:
        """Indices of the lines that have a thought."""
        return tuple(i for i, thought in enumerate(self.latents) if thought is not None)

    @property
    def offered(self) -> tuple[bool, ...]:
        """Per line whether a latent is offered: not where the expert's own comment stands flush left."""
        return tuple(not line.startswith(self.marker) for line in self.lines)


def annotate(trace: Trace, latents: Sequence[str | None]) -> Trace:
    """The same code with these latents."""
    return replace(trace, latents=tuple(latents))


def strip(trace: Trace) -> Trace:
    """The same code without latents."""
    return replace(trace, latents=())


def absent_marker(traces: Iterable[Trace], marker: str | None = None) -> str:
    """A marker that no line of these traces begins with, so that latents written with it can be told from the
    expert's comments.

    Given a `marker`, it is checked and returned; otherwise the first of a few is taken ("#:", "#~", ...). Raises
    ValueError where the marker is no comment in the language, where a line begins with it (trace and line named), or
    where none of the few is absent.

    >>> absent_marker([Trace("", ("#: documented\\n", "x = 1\\n"))])
    '#~'
    """
    candidates: list[str] | None = None if marker is None else [marker]
    trace = None
    for trace in traces:
        if candidates is None:
            candidates = [trace.marker + tail for tail in _TAILS]
        if marker is not None and not marker.startswith(trace.marker):
            raise ValueError(f"marker {marker!r} begins no comment here: it must start with {trace.marker!r}.")
        for number, line in enumerate(trace.lines, 1):
            if not line.startswith(trace.marker):
                continue
            taken = [candidate for candidate in candidates if line.startswith(candidate)]
            if taken and marker is not None:
                raise ValueError(
                    f"marker {marker!r} is not free: action {number} of {trace.trace_id!r} begins with it "
                    f"({line[:60]!r}); choose another."
                )
            candidates = [candidate for candidate in candidates if candidate not in taken]
            if not candidates:
                raise ValueError(
                    f"none of the markers tried is free ({', '.join(trace.marker + tail for tail in _TAILS)}): "
                    "name one that no comment of the corpus begins with."
                )
    if candidates is None:
        raise ValueError("no traces to find a marker for.")
    return candidates[0]


def parse(text: str, marker: str, prompt: str = "", trace_id: str = "", language: Language | None = None) -> Trace:
    """Read a trace back from its text: logical lines that begin with `marker` are latents.

    `text` is `trace.render(marker)` and `prompt` the trace's own, with which the text must begin. Whether the marker
    is absent from the expert's code only the corpus can tell: see `absent_marker`. Raises ValueError, naming the line,
    for two thoughts in a row and for a thought after the last line, and SyntaxError where the text cannot be cut.

    >>> trace = Trace("", ("x = (1,\\n     2)\\n", "# mine\\n", "y = 3\\n"), (None, None, " sum"))
    >>> parse(trace.render("#:"), "#:") == trace
    True
    """
    if language is None:
        from ra3_lab.trace.python import PYTHON as language
    if not marker.startswith(language.marker):
        raise ValueError(f"marker {marker!r} begins no comment in {language.name}: start it with {language.marker!r}.")
    if not text.startswith(prompt):
        raise ValueError(f"{trace_id or 'the text'} does not begin with the prompt {prompt[:60]!r}.")
    lines: list[str] = []
    latents: list[str | None] = []
    pending: str | None = None
    number = prompt.count("\n") + 1
    for piece in language.split_logical_lines(text[len(prompt) :]):
        if piece.startswith(marker):
            if pending is not None:
                raise ValueError(f"{trace_id or 'text'}:{number}: a second thought before the same line.")
            pending = piece[len(marker) :].rstrip("\r\n")
        else:
            lines.append(piece)
            latents.append(pending)
            pending = None
        number += piece.count("\n")
    if pending is not None:
        raise ValueError(f"{trace_id or 'text'}:{number - 1}: a thought with no line after it.")
    return Trace(prompt, tuple(lines), tuple(latents), trace_id, language.marker)
