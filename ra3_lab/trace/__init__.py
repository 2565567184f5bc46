"""A program as prompt, lines and latents; the rules of a language about lines and comments; files in and out.

`record` has the trace that every stage passes around, `language` the interface that a programming language fills in
(`python`, `sql`), `source` whole files: bytes in, the same bytes out.
"""

from ra3_lab.trace.language import Language, language_of, languages
from ra3_lab.trace.python import PYTHON
from ra3_lab.trace.record import MARKER, Trace, absent_marker, annotate, parse, strip
from ra3_lab.trace.source import Refused, Source, parse_source, read_source

split_logical_lines = PYTHON.split_logical_lines

__all__ = [
    "MARKER",
    "PYTHON",
    "Language",
    "Refused",
    "Source",
    "Trace",
    "absent_marker",
    "annotate",
    "language_of",
    "languages",
    "parse",
    "parse_source",
    "read_source",
    "split_logical_lines",
    "strip",
]
