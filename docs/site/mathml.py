"""Formulas as MathML, made while the site is built: browsers draw it themselves, no script, no fonts, no network."""

from __future__ import annotations

from html import escape

from docutils import nodes
from latex2mathml.converter import convert


def to_mathml(tex: str, display: str) -> str:
    """MathML of a formula with its TeX as the text that is read where MathML is not. ValueError for what is no TeX."""
    try:
        drawn = convert(tex.strip(), display=display)
    except Exception as error:
        raise ValueError(f"formula {tex.strip()[:60]!r}: {type(error).__name__}: {error}") from error
    return drawn.replace("<math ", f'<math aria-label="{escape(" ".join(tex.split()), quote=True)}" ', 1)


def visit_inline(self, node):
    self.body.append(to_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_block(self, node):
    self.body.append(f'<div class="math">{to_mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
