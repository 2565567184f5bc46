"""An explorer as one HTML page: every setting drawn in advance, no kernel, no network, nothing loaded from
elsewhere."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from typing import Any

from ra3_lab.explore.explorer import Control, Explorer

_CONFIG = {"displayModeBar": False, "displaylogo": False, "responsive": True}


def asset(name: str) -> str:
    """Text of a file beside this module."""
    return (files("ra3_lab.explore") / name).read_text(encoding="utf-8")


def render_page(explorer: Explorer) -> str:
    """The page as text; same explorer, same text."""
    views = []
    for values in explorer.grid():
        view = explorer.view(**values)
        figure = view.figure_json()
        views.append({"head": view.head(), "tail": view.tail(), "figure": json.loads(figure) if figure else None})
    axes = explorer.on_page()
    controls = [c for c in explorer.controls if c.kind in ("slider", "choice") and len(axes[c.name]) > 1]
    data = {
        "axes": [
            {"name": n, "values": list(map(str, axis)), "at": _place(explorer, n, axis)} for n, axis in axes.items()
        ],
        "clicks": {c.name: str(explorer.state[c.name]) for c in explorer.controls if c.kind == "click"},
        "views": views,
        "config": _CONFIG,
    }
    kernel = [c.label for c in explorer.controls if c.kind == "text"] + [a.label for a in explorer.actions]
    note = (
        f'<p class="intro">Only in the notebook, where a model runs: {escape("; ".join(kernel))}.</p>\n'
        if kernel
        else ""
    )
    plotly = ""
    if any(view["figure"] for view in views):
        from plotly.offline import get_plotlyjs

        plotly = f"<script>{get_plotlyjs()}</script>\n"
    fields = "".join(_field(explorer, control, axes[control.name]) for control in controls)
    form = f'<form class="controls" aria-label="Controls">{fields}</form>\n' if fields else ""
    title = escape(explorer.title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{title}</title>\n<style>\n{asset('explore.css')}</style>\n{plotly}</head>\n"
        f'<body class="ra3-page">\n<main class="ra3">\n<h1>{title}</h1>\n'
        f'<p class="intro">{escape(explorer.intro)}</p>\n{form}{note}<p id="missing" class="intro" role="status"></p>\n'
        "<noscript><p>Moving the controls needs JavaScript; what follows is the first setting.</p></noscript>\n"
        f'<div id="head">{_initial(explorer)}</div>\n'
        '<div id="figure" class="plot" role="img" aria-label="figure"></div>\n<div id="tail"></div>\n</main>\n'
        f'<script type="application/json" id="data">{_safe(data)}</script>\n'
        f"<script>\n{asset('pane.js')}{asset('page.js')}</script>\n</body>\n</html>\n"
    )


def _place(explorer: Explorer, name: str, axis: tuple[Any, ...]) -> int:
    """Where the control stands among the values that the page has, at the default where its own is not there."""
    value = explorer.state[name]
    return axis.index(value if value in axis else next(c.default for c in explorer.controls if c.name == name))


def _initial(explorer: Explorer) -> str:
    """The view that is there before any script runs."""
    return explorer.view(**{n: axis[_place(explorer, n, axis)] for n, axis in explorer.on_page().items()}).head()


def _field(explorer: Explorer, control: Control, axis: tuple[Any, ...]) -> str:
    """A labelled range input or select, counted in places of `axis`, its values on the page."""
    name, label, at = f"control-{control.name}", escape(control.label), _place(explorer, control.name, axis)
    which = f'id="{name}" data-axis="{control.name}"'
    readings = [control.reading(value) for value in axis]
    if control.kind == "slider":
        shown = escape(json.dumps(readings), quote=True)
        return (
            f'<div class="field"><label for="{name}">{label}</label><input type="range" {which} min="0" '
            f'max="{len(readings) - 1}" step="1" value="{at}" data-readings="{shown}" '
            f'aria-valuetext="{escape(readings[at])}"><output for="{name}">{escape(readings[at])}</output></div>'
        )
    options = "".join(
        f'<option value="{i}"{" selected" if i == at else ""}>{escape(reading)}</option>'
        for i, reading in enumerate(readings)
    )
    return f'<div class="field"><label for="{name}">{label}</label><select {which}>{options}</select></div>'


def _safe(data: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
