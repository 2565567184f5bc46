"""Explorers in a notebook: ipywidgets for the controls, one anywidget for drawings whose clicks must reach Python.

The only module that imports ipywidgets and anywidget (the notebook extra). An exception in a callback would vanish in
Jupyter, so every callback is guarded: the reader sees what went wrong in place of the drawing, and `errors` of the
widget keeps it for tests.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from html import escape
from typing import Any

try:
    import anywidget
    import ipywidgets
    import traitlets
except ModuleNotFoundError as error:  # the core works without them
    raise ModuleNotFoundError(
        f"{error.name} is missing: the explorers' controls need the notebook extra; run "
        '`pip install "ra3-lab[notebook]"`. `to_html()` and `to_text()` work without it.'
    ) from error

from ra3_lab.explore.display import LAB_CONFIG
from ra3_lab.explore.explorer import Action, Control, Explorer
from ra3_lab.explore.page import asset

_ESM = """
{pane}
function render({{ model, el }}) {{
  const root = document.createElement("div");
  root.className = "ra3 pane";
  el.append(root);
  const draw = () => fill(root, model.get("html"));
  model.on("change:html", draw);
  wire(root, (name, value) => {{
    model.set("clicked", [name, value, (model.get("clicked")[2] || 0) + 1]);
    model.save_changes();
  }});
  draw();
}}
export default {{ render }};
"""


class Pane(anywidget.AnyWidget):
    """A piece of HTML; clicks on elements marked data-set reach Python as `clicked`."""

    _esm = _ESM.format(pane=asset("pane.js"))
    _css = asset("explore.css")
    html = traitlets.Unicode("").tag(sync=True)
    """What it shows."""
    clicked = traitlets.List([]).tag(sync=True)
    """The last click: control, value, running number."""


class ExplorerWidget(ipywidgets.VBox):
    """Controls above, drawing below."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.errors: list[str] = []
        self._inputs = {c.name: _input(c, explorer.state[c.name]) for c in explorer.controls if c.kind != "click"}
        self._clicks = {c.name: c for c in explorer.controls if c.kind == "click"}
        self.top, self.bottom, self.answer = Pane(), Pane(), Pane()
        self.drawing = ipywidgets.Output()
        title = f'<h2 class="title">{escape(explorer.title)}</h2><p class="intro">{escape(explorer.intro)}</p>'
        intro = ipywidgets.HTML(f'<div class="ra3">{title}</div>')
        controls = ipywidgets.Box(tuple(self._inputs.values()), layout={"flex_flow": "row wrap", "grid_gap": "0 24px"})
        buttons = tuple(ipywidgets.Button(description=a.label, layout={"width": "auto"}) for a in explorer.actions)
        parts = (intro, controls, self.top, self.drawing, self.bottom)
        super().__init__((*parts, ipywidgets.HBox(buttons), self.answer) if buttons else parts)
        for button, action in zip(buttons, explorer.actions, strict=True):
            button.on_click(self.guarded(lambda _, action=action: self.act(action), self.answer))
        for name, one in self._inputs.items():
            one.observe(self.guarded(lambda change, name=name: self.put(name, change["new"]), self.top), "value")
        self.top.observe(self.guarded(lambda change: self.click(*change["new"][:2]), self.top), "clicked")
        self.add_class("ra3-explorer")
        self.guarded(lambda _: self.redraw(), self.top)(None)

    def put(self, name: str, value: Any) -> None:
        """A control was moved."""
        self._move(name, value)
        self.redraw()

    def click(self, name: str, value: str) -> None:
        """Something was clicked; where the drawing answers by itself, the browser has already shown it."""
        control = self._clicks[name]
        self._move(name, next(one for one in control.values if str(one) == value))
        if control.redraws:
            self.redraw()

    def _move(self, name: str, value: Any) -> None:
        """Set a control; an answer that was given where the controls stood before goes."""
        if value != self.explorer.state[name]:
            self.explorer.set(**{name: value})
            self.answer.html = ""

    def act(self, action: Action) -> None:
        """A button was pressed."""
        self.answer.html = '<p class="intro" role="status">Working …</p>'
        view = action.run(**self.explorer.state)
        self.answer.html = view.head() + view.tail()

    def redraw(self) -> None:
        """Draw where the controls stand."""
        view = self.explorer.view()
        figure = view.figure_json()
        self.top.html = view.head()
        self.drawing.layout.display = None if figure else "none"
        if figure:
            self.drawing.outputs = (_plotly_output(json.loads(figure), view.twin.title),)
        self.bottom.html = view.tail()

    def guarded(self, callback: Callable[[Any], None], place: Pane) -> Callable[[Any], None]:
        """The callback, with its exceptions shown to the reader in `place`."""

        def call(change: Any) -> None:
            try:
                callback(change)
            except Exception as error:
                self.errors.append("".join(traceback.format_exception(error)))
                told = f"{type(error).__name__}: {error}"
                place.html = (
                    f'<div class="error" role="alert"><strong>This did not work.</strong> {escape(told)}'
                    f"<details><summary>Where</summary><pre>{escape(self.errors[-1])}</pre></details></div>"
                )

        return call


def explorer_widget(explorer: Explorer) -> ExplorerWidget:
    """The notebook version of an explorer."""
    return ExplorerWidget(explorer)


def _input(control: Control, value: Any) -> Any:
    common = {
        "value": value,
        "description": control.label,
        "style": {"description_width": "initial"},
        "layout": {"width": "26rem", "max_width": "100%"},
    }
    if control.kind == "text":
        return ipywidgets.Text(continuous_update=False, placeholder="type, then press Enter", **common)
    if control.kind == "slider":  # room for the longest reading behind it
        common["layout"]["width"] = f"{20 + max(len(control.reading(one)) for one in control.values) // 2}rem"
    kind = ipywidgets.SelectionSlider if control.kind == "slider" else ipywidgets.Dropdown
    return kind(options=[(control.reading(one), one) for one in control.values], **common)


def _plotly_output(figure: dict[str, Any], alt: str) -> dict[str, Any]:
    """A display of the figure, as the kernel would send it."""
    figure["config"] = LAB_CONFIG
    data = {"application/vnd.plotly.v1+json": figure, "text/plain": alt}
    return {"output_type": "display_data", "data": data, "metadata": {}}
