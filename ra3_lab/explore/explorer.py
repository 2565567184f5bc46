"""Explorers: controls on a pure function that draws a `View`.

    controls (a slider, a choice, something to click)  ->  draw(**values)  ->  View

An `Explorer` knows nothing of notebooks. In one it shows itself through ipywidgets (`widgets`, imported when first
shown); `to_html` writes a page that works without kernel and network (`page`); `to_text` and `table` give the same in
words and numbers. A control of kind "click" is set by clicking in the drawing: elements marked `data-set="name=value"`
set it, elements marked `data-when="name=value"` are shown while it has that value. An `Action` is what a button does:
something slower, drawn below.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ra3_lab.explore.view import View

LARGEST_PAGE = 400  # views that an exported page may hold
LONGEST_TEXT = 200  # characters that a text control takes


def evenly(count: int, most: int, kept: int = 0) -> list[int]:
    """`most` of the places 0 to count - 1, evenly spread, with the first, the last and `kept`; 3 <= most <= count.

    >>> evenly(11, 5), evenly(11, 5, kept=6)
    ([0, 2, 5, 8, 10], [0, 2, 6, 8, 10])
    """
    places = [round(i * (count - 1) / (most - 1)) for i in range(most)]
    if kept not in places:
        places[min(range(1, most - 1), key=lambda i: abs(places[i] - kept))] = kept
    return places


@dataclass(frozen=True)
class Control:
    """Something that a reader can set."""

    name: str
    """Keyword of the drawing function."""
    label: str
    """What the reader sees beside it."""
    values: tuple[Any, ...]
    """What it can be set to, in order."""
    default: Any
    """What it is at first; one of `values`."""
    kind: Literal["slider", "choice", "click", "text"] = "slider"
    """A slider over ordered values, a choice among names, set by clicking in the drawing, or any one line of text."""
    shown: tuple[str, ...] = ()
    """How each value reads; () for the values themselves."""
    exported: tuple[Any, ...] = ()
    """The values that an exported page has, fewer where these make too many views; () for all."""
    redraws: bool = True
    """False for a click that the drawing answers by itself, through `data-when`."""

    def __post_init__(self) -> None:
        if self.kind == "text":
            return
        if self.default not in self.values:
            raise ValueError(f"control {self.name!r}: the default {self.default!r} is not among its values.")
        if self.shown and len(self.shown) != len(self.values):
            raise ValueError(f"control {self.name!r}: {len(self.shown)} readings of {len(self.values)} values.")
        if not set(self.exported) <= set(self.values):
            raise ValueError(f"control {self.name!r}: exported values must be among its values.")

    def reading(self, value: Any) -> str:
        """How this value reads."""
        return self.shown[self.values.index(value)] if self.shown else str(value)

    def accepts(self, value: Any) -> bool:
        """Whether it can be set to this."""
        if self.kind == "text":
            return isinstance(value, str) and len(value) <= LONGEST_TEXT and not set("\n\r") & set(value)
        return value in self.values

    @property
    def on_grid(self) -> bool:
        """Whether an exported page has a view for each of its values."""
        return self.kind in ("slider", "choice") or (self.kind == "click" and self.redraws)

    @property
    def on_page(self) -> tuple[Any, ...]:
        """The values to export, the default always among them."""
        kept = {*self.exported, self.default} if self.exported else set(self.values)
        return tuple(value for value in self.values if value in kept)


@dataclass(frozen=True)
class Action:
    """A button: something that takes longer than a moment."""

    label: str
    """What stands on it."""
    run: Callable[..., View]
    """The values of all controls by name -> what to show below the drawing."""


@dataclass(frozen=True)
class Explorer:
    """A drawing with controls."""

    name: str
    """Short name: file names and ids are made of it."""
    title: str
    """What it is called."""
    intro: str
    """One or two sentences: what to do with it and what to look for."""
    controls: tuple[Control, ...]
    """What can be set."""
    draw: Callable[..., View]
    """Pure: the values of all controls by name -> what to show."""
    actions: tuple[Action, ...] = ()
    """Buttons."""
    state: dict[str, Any] = field(default_factory=dict)
    """Where the reader has put the controls; the widget keeps it up to date."""

    def __post_init__(self) -> None:
        for control in self.controls:
            self.state.setdefault(control.name, control.default)

    def view(self, **values: Any) -> View:
        """What it shows; controls that are not named are where they stand. Raises ValueError for an unknown control
        or value, naming those there are.
        """
        return self.draw(**{**self.state, **self._checked(values)})

    def set(self, **values: Any) -> None:
        """Put controls somewhere, as if by hand."""
        self.state.update(self._checked(values))

    def to_text(self, **values: Any) -> str:
        """In words and as a plain table."""
        return f"{self.title}\n{self.setting(**values)}\n\n{self.view(**values).to_text()}"

    def table(self, **values: Any) -> list[dict[str, str]]:
        """The numbers behind it, a dict a row."""
        twin = self.view(**values).twin
        return [dict(zip(twin.columns, row, strict=True)) for row in twin.rows]

    def setting(self, **values: Any) -> str:
        """Where the controls stand, in words."""
        at = {**self.state, **self._checked(values)}
        return "; ".join(
            f"{c.label}: {c.reading(at[c.name])}" for c in self.controls if c.kind not in ("click", "text")
        )

    def to_html(self) -> str:
        """A page of its own: works from a file, offline, without a kernel."""
        from ra3_lab.explore.page import render_page

        return render_page(self)

    def save(self, path: str | Path) -> Path:
        """Write that page; returns its path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.to_html(), encoding="utf-8")
        return path

    def widget(self) -> Any:
        """The ipywidgets version; raises ModuleNotFoundError, with what to install, where ipywidgets is missing."""
        from ra3_lab.explore.widgets import explorer_widget

        return explorer_widget(self)

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every setting that an exported page has, clicks that the drawing answers by itself at their default."""
        axes = self.on_page()
        for values in itertools.product(*(axes.get(c.name, (c.default,)) for c in self.controls)):
            yield {control.name: value for control, value in zip(self.controls, values, strict=True)}

    def on_page(self) -> dict[str, tuple[Any, ...]]:
        """Control -> its values on an exported page; the longest are thinned until the page holds `LARGEST_PAGE` views
        at most. Raises ValueError where there are too many controls for that.
        """
        every = {c.name: c.on_page for c in self.controls if c.on_grid}
        default = {c.name: c.on_page.index(c.default) for c in self.controls if c.on_grid}
        kept = dict(every)
        while (count := math.prod(map(len, kept.values()))) > LARGEST_PAGE:
            name = max(kept, key=lambda one: len(kept[one]))
            size = len(kept[name]) - 1
            if size < 3:  # the ends and the default stay
                raise ValueError(
                    f"explorer {self.name!r}: {count} settings on one page, {LARGEST_PAGE} at most, and two or three "
                    "values a control: leave out a control."
                )
            kept[name] = tuple(every[name][i] for i in evenly(len(every[name]), size, default[name]))
        return kept

    def _checked(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        known = {control.name: control for control in self.controls}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"{self.name} has no control {name!r}; there are {', '.join(known)}.")
            if not known[name].accepts(value):
                allowed = ", ".join(map(str, known[name].values[:12])) or f"one line of {LONGEST_TEXT} characters"
                raise ValueError(f"{self.name}: {name}={value!r} is not allowed; it can be {allowed}.")
        return values

    def _ipython_display_(self) -> None:
        from ra3_lab.explore.display import show

        show(self)
