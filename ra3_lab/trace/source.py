"""Whole files as traces: bytes in, the same bytes out, whatever encoding, line ends or last line they have.

What the file is beyond its text is beside the trace: the codec, and whether the last line had an end. Shebang and
coding cookie are the trace's prompt, so that no latent comes before them. In a file whose first line ends with
"\\r\\n" latents do too; in `Trace.text`, which is what a model reads, always with "\\n".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ra3_lab.trace.language import Language, language_of
from ra3_lab.trace.python import PYTHON
from ra3_lab.trace.record import Trace, annotate, parse


class Refused(ValueError):
    """A file that cannot be used, and why.

    `file` and `line` (0 where none can be named) say where, `reason` is one of a few that runs count by, `detail` is
    what there is to say about this file.
    """

    def __init__(self, file: str, line: int, reason: str, detail: str = "") -> None:
        self.file, self.line, self.reason, self.detail = file, line, reason, detail
        super().__init__(f"{file}{f':{line}' if line else ''}: {reason}{f' ({detail})' if detail else ''}")

    def __reduce__(self) -> tuple:
        return type(self), (self.file, self.line, self.reason, self.detail)


@dataclass(frozen=True)
class Source:
    """A file as a trace, with what else it takes to write the file again."""

    trace: Trace
    """Its code; the prompt is the header that has to stay first."""
    encoding: str = "utf-8"
    """Codec of the file."""
    final_newline: bool = True
    """Whether the file's last line ends with a newline; in the trace it always does."""
    language: str = PYTHON.name
    """Name of its language."""

    def annotate(self, latents: Sequence[str | None]) -> Source:
        """The same file with these latents."""
        return replace(self, trace=annotate(self.trace, latents))

    def encode(self, marker: str | None = None) -> bytes:
        """The file with the trace's latents, each begun by `marker` (default: the language's comment marker).

        Without latents these are the bytes that were read. Raises ValueError where a latent cannot stand in this file:
        the codec does not have its letters, it would be read as shebang or coding cookie, or holds a null character.
        """
        trace = self.trace
        first = trace.code[: trace.code.index("\n")]
        text = trace.render(marker, "\r\n" if first.endswith("\r") else "\n")
        try:
            data = (text if self.final_newline else text[:-1]).encode(self.encoding)
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{trace.trace_id}: {text[error.start : error.end]!r} cannot be written in {self.encoding}: "
                "strip that latent, or write `trace.text` as UTF-8."
            ) from error
        if trace.thought_lines:
            self._check_latents(text, data)
        return data

    def _check_latents(self, text: str, data: bytes) -> None:
        trace, language = self.trace, language_of(self.language)
        if any("\0" in thought for thought in trace.latents if thought):
            raise ValueError(f"{trace.trace_id}: a latent holds a null character, which no source file may: strip it.")
        try:
            same = language.encoding(data) == self.encoding and language.header(text) == trace.prompt
        except SyntaxError:  # a coding cookie for a codec that does not exist
            same = False
        if not same:
            raise ValueError(
                f"{trace.trace_id}: a latent in the first two lines reads as a shebang or a coding cookie: "
                "strip or change it."
            )


def read_source(source: str | Path | bytes, name: str = "", language: Language | None = None) -> Source:
    """A file (path or bytes) as a trace without latents; `name` stands for it in messages, default its path.

    The language goes by the file's suffix; bytes are Python where nothing is said. Raises Refused, with line and
    reason, for what is no program of the language or would not come back byte for byte.

    >>> source = read_source(b"#!/usr/bin/env python\\r\\nx = 1", "tool.py")
    >>> source.trace.prompt, source.trace.lines, source.final_newline
    ('#!/usr/bin/env python\\r\\n', ('x = 1\\n',), False)
    >>> source.encode()
    b'#!/usr/bin/env python\\r\\nx = 1'
    """
    return _read(source, name, language, _cut)


def parse_source(source: str | Path | bytes, marker: str, name: str = "", language: Language | None = None) -> Source:
    """Read a file that `Source.encode(marker)` wrote: the same trace, latents told from comments by the marker.

    Raises ValueError as `parse` does, and Refused as `read_source` does.
    """
    return _read(source, name, language, lambda lang, head, body, at: parse(head + body, marker, head, at, lang))


def _cut(language: Language, header: str, body: str, name: str) -> Trace:
    return Trace(header, tuple(language.split_logical_lines(body)), (), name, language.marker)


def _read(
    source: str | Path | bytes,
    name: str,
    language: Language | None,
    build: Callable[[Language, str, str, str], Trace],
) -> Source:
    if isinstance(source, bytes):
        data, name = source, name or "source"
    else:
        data, name = Path(source).read_bytes(), name or str(source)
    language = language or (PYTHON if isinstance(source, bytes) else language_of(source))
    text, encoding = decode(data, name, language)
    try:
        language.check(text)
    except SyntaxError as error:
        raise Refused(name, error.lineno or 0, "does not parse", error.msg or "") from error
    if not text:
        raise Refused(name, 0, "empty")
    final = text.endswith("\n")
    text = text if final else text + "\n"
    header = language.header(text)
    if header == text:  # nothing but a header: then its lines are the actions
        header = ""
    try:
        trace = build(language, header, text[len(header) :], name)
    except SyntaxError as error:
        raise Refused(name, error.lineno or 0, "cannot be cut into logical lines", error.msg or "") from error
    return Source(trace, encoding, final, language.name)


def decode(data: bytes, name: str, language: Language = PYTHON) -> tuple[str, str]:
    """A file's text and codec. Raises Refused where the codec is unknown, wrong, or loses bytes on the way back."""
    try:
        encoding = language.encoding(data)
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Refused(name, line, "encoding unknown or wrong", str(error)) from error
    except (SyntaxError, UnicodeError, LookupError) as error:
        raise Refused(name, 0, "encoding unknown or wrong", str(error)) from error
    if text.encode(encoding, errors="replace") != data:
        raise Refused(name, 0, "encoding unknown or wrong", f"{encoding} does not give the same bytes back")
    return text, encoding
