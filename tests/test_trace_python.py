"""Where a latent may stand in Python, and what of it can be read back: generated programs and named cases."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trace_files import check_round_trip

from ra3_lab.trace import (
    Refused,
    Trace,
    absent_marker,
    annotate,
    language_of,
    parse,
    parse_source,
    read_source,
    split_logical_lines,
    strip,
)
from ra3_lab.trace.python import PYTHON

NAMES = st.sampled_from(["x", "größe", "变量", "ℌ", "_a1", "value", "µ", "x\u0301"])
STRINGS = st.sampled_from(
    [
        "'a'",
        '"#: no comment"',
        "'''one\n# two\n\n    three'''",
        '"""\n#: a\n"""',
        "rb'\\n'",
        "f'{1 +  2!r:>{4}} #'",
        "'a\\\n# b'",
        "u'é\u2028\x0c'",
        'r"""\\\\"""',
    ]
)
BREAKS = st.sampled_from(["", "\n", "\n# inside\n", "\n\n   #: inside\n", " \\\n  ", "\n\x0c\n"])


@st.composite
def expressions(draw: st.DrawFn, depth: int = 2) -> str:
    """An expression, often over several lines."""
    kind = draw(st.integers(0, 5 if depth else 1))
    if kind == 0:
        return draw(NAMES)
    if kind == 1:
        return draw(STRINGS)
    one, other, gap = draw(expressions(depth - 1)), draw(expressions(depth - 1)), draw(BREAKS)
    if kind == 2:
        return f"[{gap}{one},{gap}{other}{gap}]"
    if kind == 3:
        return f"({one}{draw(st.sampled_from([' ', ' ' + chr(92) + chr(10)]))}+{gap} {other})"
    if kind == 4:
        return f"{{{one}:{gap} {other},}}"
    return f"{draw(NAMES)}({gap}{one}, key={other},{gap})"


@st.composite
def blocks(draw: st.DrawFn, depth: int = 2, tab: str = "    ") -> str:
    """Statements at the left margin; deeper ones are indented by the caller, never inside a string."""
    parts: list[str] = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.integers(0, 9 if depth else 5))
        if kind <= 1:
            parts.append(f"{draw(NAMES)} = {draw(expressions())}")
        elif kind == 2:
            parts.append(draw(st.sampled_from(["# note", "#: doc", "", "   ", "\x0c", "#!x", "# coding: utf-8"])))
            parts.append(f"{draw(NAMES)} = 1; pass  # end \\")
        elif kind == 3:
            parts.append(f"assert {draw(expressions())}, \\\n      {draw(NAMES)}")
        elif kind == 4:
            parts.append(draw(STRINGS))
        elif kind == 5:
            parts.append(f"if {draw(expressions(1))}: x = 1")
        else:
            body = draw(blocks(depth - 1, tab))
            head = draw(
                st.sampled_from(
                    [
                        "@decorated\n# between\n@again(1,\n  2)\nasync def f(a,\n  *, b=1):",
                        "def größe(x): # why",
                        "class A(B,\n\n  C):",
                        "while True:",
                        "try:\n    pass\nfinally:",
                        "match x:\n  case [1,\n    2]:\n    pass\n  case _:\n    pass\nif x:",
                    ]
                )
            )
            parts.append(head + "\n" + indent(body, tab))
    return "\n".join(parts) + "\nx = 1\n"


def indent(body: str, tab: str) -> str:
    """Push a block to the right at its logical lines only, so that no string changes."""
    return "".join(tab + piece if piece.strip() else piece for piece in split_logical_lines(body)).rstrip("\n")


@st.composite
def programs(draw: st.DrawFn) -> bytes:
    """A file: header, body, line ends, last line and encoding as they come."""
    header = draw(st.sampled_from(["", "#!/usr/bin/env python\n", "# -*- coding: utf-8 -*-\n", "\n# coding=utf-8\n"]))
    body = draw(blocks(tab=draw(st.sampled_from(["    ", "\t", "  ", " \t"]))))
    text = header + body
    end = draw(st.sampled_from(["\n", "\r\n", "mixed"]))
    if end == "mixed":
        text = "".join(line[:-1] + ("\r\n" if i % 3 else "\n") for i, line in enumerate(io.StringIO(text)))
    elif end == "\r\n":
        text = text.replace("\n", "\r\n")
    if draw(st.booleans()):
        text = text.rstrip("\r\n")
    return (b"\xef\xbb\xbf" if draw(st.booleans()) else b"") + text.encode()


@settings(max_examples=150, deadline=None)
@given(programs(), st.integers(0, 10))
def test_generated_programs_come_back_with_and_without_latents(data, seed):
    check_round_trip(data, "generated.py", seed)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=["Cs"])) | st.none(), min_size=5
    ),
    st.integers(0, 3),
)
def test_any_text_of_one_line_can_be_a_thought(thoughts, cut):
    trace = Trace("", ("def f(x):\n", '    s = """\n#: a\n"""\n', "# own\n", "    return (x,\n# in\n 1)\n", "y = 1\n"))
    latents = [thought if free else None for thought, free in zip(thoughts, trace.offered, strict=False)]
    noted = annotate(trace, latents)
    assert parse(noted.render("#~"), "#~") == noted
    assert strip(noted).text == trace.code
    assert PYTHON.same_program(noted.text, trace.code)


CASES = {
    "a comment and a blank line inside brackets": "x = [\n    # one\n    1,\n\n    2,\n]\n",
    "a backslash at the end of a comment ends nothing": "# c \\\nx = 1\n",
    "a string with a backslash break": "x = 'a\\\n# b'\n",
    "a line break in an f-string's braces": "x = f'''{\n1}'''\n",
    "a decorator stack": "@a\n@b(1,\n   2)\ndef f():\n    pass\n",
    "a form feed at the margin": "\f\ndef f():\n\f    pass\n",
    "odd separators that break no line": "x = '\u2028\x85\x1c'  # \x0b\ny = 2\n",
    "tabs": "if 1:\n\tif 2:\n\t\tx = 1\n\telse:\n\t\ty = 2\n",
}


@pytest.mark.parametrize("code", CASES.values(), ids=CASES.keys())
def test_a_latent_may_stand_before_every_piece(code):
    pieces = split_logical_lines(code)
    assert "".join(pieces) == code
    trace = Trace("", tuple(pieces))
    noted = annotate(trace, [" t" if free else None for free in trace.offered])
    assert noted.thought_lines
    assert PYTHON.same_program(noted.text, code)


def test_how_many_pieces():
    expected = dict(zip(CASES, (1, 2, 1, 1, 4, 3, 2, 5), strict=True))
    assert {name: len(split_logical_lines(code)) for name, code in CASES.items()} == expected


@pytest.mark.parametrize(
    ("data", "prompt"),
    [
        (b"#!/bin/python\n# -*- coding: latin-1 -*-\nx = '\xe9'\n", "#!/bin/python\n# -*- coding: latin-1 -*-\n"),
        (b"\r\n# vim: set fileencoding=cp1252 :\r\nx = '\x80'\r\n", "\r\n# vim: set fileencoding=cp1252 :\r\n"),
        (b"# plain\n# coding: utf-8\nx = 1\n", "# plain\n# coding: utf-8\n"),
        (b"x = 1\n# coding: latin-1\n", ""),
        (b"# plain\nx = 1\n", ""),
    ],
)
def test_shebang_and_coding_cookie_stay_first(data, prompt):
    source = read_source(data)
    assert source.trace.prompt == prompt
    noted = source.annotate([" t"] * len(source.trace.lines))
    assert noted.encode("#:").startswith(prompt.encode() + b"#: t")
    assert parse_source(noted.encode("#:"), "#:", "source") == noted


def test_latents_take_the_line_end_of_a_crlf_file_and_a_plain_one_for_the_model():
    source = read_source(b"x = 1\r\ny = 2").annotate((None, " next"))
    assert source.encode() == b"x = 1\r\n# next\r\ny = 2"
    assert source.trace.text == "x = 1\r\n# next\ny = 2\n"
    assert parse_source(source.encode("#:"), "#:", "source") == source


@pytest.mark.parametrize(
    ("thought", "message"),
    [(" coding: latin-1", "coding cookie"), ("!/bin/sh", "shebang"), (" →", "cannot be written"), (" \0", "null")],
)
def test_a_latent_that_would_change_the_file_is_refused(thought, message):
    data = b"# coding: latin-1\nx = 1\n" if "written" in message else b"x = 1\n"
    with pytest.raises(ValueError, match=message):
        read_source(data).annotate((thought,)).encode()


@pytest.mark.parametrize(
    ("data", "line", "reason"),
    [
        (b"x = 1\ny = (\n", 2, "does not parse"),
        (b"x = 1\n\0\n", 0, "does not parse"),
        (b"x = " + b"(" * 5000 + b")" * 5000, None, "does not parse"),
        (b"# coding: nonsense\nx = 1\n", 0, "encoding unknown or wrong"),
        (b"# ok\n\n\nx = '\xff'\n", 4, "encoding unknown or wrong"),
        (b"# coding: utf-7\nx = '+AGE-'\n", 0, "encoding unknown or wrong"),
        (b"", 0, "empty"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_line_and_reason(data, line, reason, tmp_path):
    path = tmp_path / "bad.py"
    path.write_bytes(data)
    with pytest.raises(Refused) as refused:
        read_source(path)
    assert refused.value.file == str(path) and refused.value.reason == reason
    assert line is None or refused.value.line == line
    assert reason in str(refused.value) and str(path) in str(refused.value)


def test_the_marker_must_be_free_and_a_comment():
    traces = [Trace("", ("#: x\n", "y = 1\n"), trace_id="a.py"), Trace("", ("#~ x\n",))]
    assert absent_marker(traces) == "#:~"
    with pytest.raises(ValueError, match=r"'#:' is not free: action 1 of 'a\.py'"):
        absent_marker(traces, "#:")
    with pytest.raises(ValueError, match="must start with '#'"):
        absent_marker(traces, "//")
    assert absent_marker(traces, "#>>") == "#>>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n#: a\n#: b\ny = 2\n", r"t:3: a second thought"),
        ("x = 1\n#: a\n", r"t:2: a thought with no line"),
    ],
)
def test_text_that_is_no_trace(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text, "#:", trace_id="t")


def test_languages_are_found_by_name_and_suffix():
    assert language_of("a/b.py") is language_of("python") is PYTHON
    with pytest.raises(ValueError, match=r"no language for 'a\.txt'"):
        language_of("a.txt")


@pytest.mark.parametrize("text", ["plain", 'ends in "quotes"', 'a """ b', "\\", "\\N{nothing}", "a\\", "x\0y"])
def test_a_description_becomes_a_valid_docstring(text):
    assert PYTHON.same_program(PYTHON.describe(text) + "x = 1\n", PYTHON.describe(text) + "# c\nx = 1\n")


def test_reading_lines_counts_as_python_does():
    source = read_source(io.BytesIO(b"x = '\x0c'\r# c\ry = 2\n").read())
    assert source.trace.lines == ("x = '\x0c'\r# c\ry = 2\n",)
    assert source.encode() == b"x = '\x0c'\r# c\ry = 2\n"
