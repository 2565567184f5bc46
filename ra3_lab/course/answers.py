"""Wrong answers made from right ones by one change: what tests/course/ is written with."""

from __future__ import annotations


def changed(source: str, *changes: tuple[str, str]) -> str:
    """The source with each (old, new) replaced once. ValueError where `old` does not stand in it exactly once.

    >>> changed("return a - b", ("a - b", "b - a"))
    'return b - a'
    """
    for old, new in changes:
        if source.count(old) != 1:
            raise ValueError(f"{old!r} stands {source.count(old)} times in the answer; it must be once:\n{source}")
        source = source.replace(old, new)
    return source
