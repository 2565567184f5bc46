"""Showing explorers, views and text in a notebook; without IPython, as plain text.

With RA3_STATIC set (the docs site is built so, without a kernel behind the page) an explorer is drawn where its
controls stand, without controls.
"""

from __future__ import annotations

import json
import os
import sys
from html import escape
from typing import Any

from ra3_lab.explore.explorer import Explorer
from ra3_lab.explore.page import asset
from ra3_lab.explore.view import View

LAB_CONFIG = {"displayModeBar": False, "responsive": False}
"""Plotly's settings in JupyterLab, which has figures follow the width of the notebook by itself; plotly's own way
forgets the height of a figure that was drawn twice when the window is resized, and it disappears."""


def show(thing: Explorer | View) -> None:
    """Show it in the notebook cell, or print it."""
    if not in_notebook():
        print(thing.to_text())
    elif isinstance(thing, View):
        show_view(thing)
    elif os.environ.get("RA3_STATIC"):
        show_html(f'<h2 class="title">{escape(thing.title)}</h2><p>{escape(thing.setting())}</p>')
        show_view(thing.view())
    else:
        from IPython.display import display

        display(thing.widget())


def show_view(view: View) -> None:
    """Finding, paragraph, drawing, figure and table in a cell's output."""
    from IPython.display import display

    show_html(view.head(), view.to_text())
    if figure := view.figure_json():
        record = json.loads(figure)
        if os.environ.get("RA3_STATIC"):
            record["config"] = LAB_CONFIG | {"responsive": True}
            show_html(static_figure(record, view.twin.title), view.twin.title)
        else:
            record["config"] = LAB_CONFIG
            bundle = {"application/vnd.plotly.v1+json": record, "text/plain": view.twin.title}
            display(bundle, raw=True)
    if tail := view.tail():
        show_html(tail)


def static_figure(record: dict[str, Any], alt: str) -> str:
    """The figure for a page that loads plotly.js, wherever: it is drawn when the page is whole."""
    drawn = json.dumps(record, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'<div class="plot" role="img" aria-label="{escape(alt)}"></div>'
        "<script>{const place = document.currentScript.previousElementSibling;"
        f"addEventListener('load', () => Plotly.newPlot(place, {drawn}));}}</script>"
    )


def show_html(fragment: str, text: str = "") -> None:
    """A fragment of HTML in the project's style."""
    from IPython.display import display

    display({"text/html": f'<div class="ra3">{fragment}</div>', "text/plain": text or "(see above)"}, raw=True)


def show_style() -> None:
    """The project's style sheet, once for a notebook; it follows the light or dark theme of the page."""
    from IPython.display import display

    display({"text/html": f"<style>{asset('explore.css')}</style>", "text/plain": ""}, raw=True)


def in_notebook() -> bool:
    """Whether output goes to a notebook."""
    ipython = sys.modules.get("IPython")  # a kernel has imported it
    shell: Any = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"
