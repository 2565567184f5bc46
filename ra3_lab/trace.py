"""A program as prompt, lines and latents: the record that every stage of ra3_lab passes around.

One raw action is one *logical* line of code. A latent stands directly before a line, as a comment flush left ("\\n#" in
the paper), at most one per line. The trace, not the text, knows which comments are latents; text is only its rendering,
and stripping the latents gives the expert's code back byte for byte.

Not handled yet: parsing latents back out of free text, other languages than Python.
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass, replace

MARKER = "#"


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
    """Per line the thought before it (the text after '#', no newline) or None; () means none at all."""
    trace_id: str = ""
    """Where it comes from, for messages and records."""

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
            if thought is not None and "\n" in thought:
                raise ValueError(
                    f"trace {self.trace_id!r}: thought {thought!r} holds a newline; a thought is one comment line."
                )

    @property
    def code(self) -> str:
        """The program without latents."""
        return self.prompt + "".join(self.lines)

    @property
    def text(self) -> str:
        """The program with its latents."""
        parts = [self.prompt]
        for line, thought in zip(self.lines, self.latents, strict=True):
            if thought is not None:
                parts.append(f"{MARKER}{thought}\n")
            parts.append(line)
        return "".join(parts)

    @property
    def thought_lines(self) -> tuple[int, ...]:
        """Indices of the lines that have a thought."""
        return tuple(i for i, thought in enumerate(self.latents) if thought is not None)


def annotate(trace: Trace, latents: Sequence[str | None]) -> Trace:
    """The same code with these latents."""
    return replace(trace, latents=tuple(latents))


def strip(trace: Trace) -> Trace:
    """The same code without latents."""
    return replace(trace, latents=())


def split_logical_lines(code: str) -> list[str]:
    """Cut Python source into logical lines: a triple-quoted string or a bracketed continuation stays in one piece.

    Blank lines and comments before a statement belong to no statement and are pieces of their own; the pieces add up
    to the code. Raises SyntaxError where Python cannot tokenize it.

    >>> split_logical_lines("x = (1,\\n     2)\\n# c\\ny = 3\\n")
    ['x = (1,\\n     2)\\n', '# c\\n', 'y = 3\\n']
    """
    if not code.endswith("\n"):
        raise ValueError("code must end with a newline: add one.")
    physical = io.StringIO(code).readlines()
    if sum(line.count("\n") for line in physical) != code.count("\n") or "\r" in code.replace("\r\n", ""):
        raise ValueError("code has a bare carriage return: use \\n or \\r\\n line ends.")
    ends = set()
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type in (tokenize.NEWLINE, tokenize.NL):
                ends.add(token.start[0])
            if token.type == tokenize.NL and token.line.strip() and not token.line.lstrip().startswith("#"):
                ends.discard(token.start[0])  # a line break inside brackets
    except tokenize.TokenError as error:
        raise SyntaxError(f"not Python: {error}") from error
    pieces, current = [], ""
    for number, line in enumerate(physical, 1):
        current += line
        if number in ends:
            pieces.append(current)
            current = ""
    if current:
        pieces.append(current)
    return pieces
