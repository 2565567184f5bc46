"""Whose code it is: the licence of a file, from the nearest place that says it.

In this order: an SPDX line in the file's head; then, going up from the file's folder, a licence file, or the metadata
of the installed distribution that the file belongs to; above the folder that was given only as far as the root of the
project it is in (`pyproject.toml`, `setup.py`, `.git`), or the folder it was installed into. A note for people who
choose what to train on, not a lawyer's opinion: what a licence text is called goes by its first tell-tale words, and
"unrecognised" and "none found" are said as such.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.parser import HeaderParser
from functools import lru_cache
from pathlib import Path

_SPDX = re.compile(r"SPDX-License-Identifier:[ \t]*([\w.+() -]*[\w.+)])")
_FILE = re.compile(r"(?i)^(un)?(licen[cs]e|copying)([-._ ].*)?$")
_CODE_SUFFIXES = (".py", ".pyc", ".js", ".ts", ".c", ".h")
_TELL_TALES = (
    ("Apache-2.0", r"apache license,? version 2\.0|apache license version 2\.0"),
    ("AGPL-3.0", r"gnu affero general public license"),
    ("LGPL", r"gnu (lesser|library) general public license"),
    ("GPL-3.0", r"gnu general public license (as published .{0,80})?version 3"),
    ("GPL-2.0", r"gnu general public license (as published .{0,80})?version 2"),
    ("MPL-2.0", r"mozilla public license,? (version|v\.) ?2\.0"),
    ("PSF-2.0", r"python software foundation license|psf license agreement"),
    ("Unlicense", r"this is free and unencumbered software"),
    ("BSL-1.0", r"boost software license"),
    ("CC0-1.0", r"cc0 1\.0"),
    ("Zlib", r"this software is provided 'as-is', without any express or implied warranty"),
    ("MIT", r"permission is hereby granted, free of charge"),
    ("ISC", r"permission to use, copy, modify,? and(/or)? distribute"),
    ("BSD", r"redistribution and use in source and binary forms"),
)
# Licences that begin with another's tell-tale words: its name, what tells them apart, within how many characters, name.
_KIN = (
    ("MIT", r"mit no attribution|\bmit-0\b|furnished to do so\.", 450, "MIT-0"),
    ("ISC", r"without a written agreement", 250, "PostgreSQL"),
    ("ISC", r"distribute (and sell )?this software and its documentation", 150, "HPND"),
    ("ISC", r"zero[- ]clause|\b0bsd\b|hereby granted\.", 150, "0BSD"),
    ("BSD", r"all advertising materials mentioning", 1_500, "BSD-4-Clause"),
)
_BEFORE = 200  # characters, in which a title may stand
_FREE_NAMES = (
    ("Apache-2.0", r"apache( software)?( license)?,?( version)?( 2(\.0)?)?( license)?"),
    ("MIT", r"(the )?mit( license)?"),
    ("BSD-3-Clause", r"(bsd )?3-clause( bsd)?( license)?|modified bsd( license)?"),
    ("BSD-2-Clause", r"(bsd )?2-clause( bsd)?( license)?|simplified bsd( license)?"),
    ("BSD", r"(new )?bsd( license)?"),
    ("PSF-2.0", r"(psf|python software foundation)( license)?"),
    ("ISC", r"isc( license)?( \(iscl\))?"),
    ("MPL-2.0", r"mozilla public license 2\.0( \(mpl 2\.0\))?"),
    ("LGPL-3.0", r"gnu lesser general public license v3.*"),
    ("GPL-3.0", r"gnu general public license v3.*"),
    ("GPL-2.0", r"gnu general public license v2.*"),
    ("Unlicense", r"the unlicense( \(unlicense\))?"),
)
_ROOTS = ("pyproject.toml", "setup.py", "setup.cfg", ".git")
NONE = "none found"
UNRECOGNISED = "unrecognised"


def named(text: str) -> str:
    """What a licence text is called (SPDX where there is one name), or 'unrecognised'.

    >>> named("Permission is hereby granted,\\n free of charge, to any person")
    'MIT'
    """
    words = " ".join(text[:12_000].lower().split())
    found = [(match.start(), name) for name, pattern in _TELL_TALES if (match := re.search(pattern, words))]
    if not found:
        return UNRECOGNISED
    at, name = min(found)
    for first, pattern, reach, other in _KIN:
        if first == name and re.search(pattern, words[max(0, at - _BEFORE) : at + reach]):
            return other
    if name == "BSD":
        return "BSD-3-Clause" if "neither the name" in words or "names of its contributors" in words else "BSD-2-Clause"
    return name


def tidy(name: str) -> str:
    """A licence as people write it in metadata, by its SPDX name where it is one of the common ones.

    >>> tidy("Apache License, Version 2.0"), tidy("MIT OR Apache-2.0")
    ('Apache-2.0', 'MIT OR Apache-2.0')
    """
    words = " ".join(name.lower().split())
    return next((spdx for spdx, pattern in _FREE_NAMES if re.fullmatch(pattern, words)), name)


def licence_of(path: Path, root: Path, head: str) -> tuple[str, str]:
    """Name of the licence of the file `path` somewhere under `root`, and where that is said (relative to `root` where
    it is inside). `head` is the beginning of the file's text.
    """
    if spdx := _SPDX.search(head):
        return spdx[1], "SPDX line"
    folder = path.parent
    return _nearest(folder, root, path.name if _owners(folder) else "")


@lru_cache(maxsize=4096)
def _nearest(folder: Path, root: Path, name: str) -> tuple[str, str]:
    """The licence that holds in `folder`; `name` is a file's where distributions are installed right there."""
    for place in _places(folder, root):
        if files := _licence_files(place):
            return ", ".join(sorted({named(_read(file)) for file in files})), _shown(files[0], root)
        if found := _distribution(place, folder / name):
            return found
    return NONE, ""


def _places(folder: Path, root: Path) -> Iterator[Path]:
    """The folder and those above it, up to the one that was given, or to the top of what that is part of."""
    top = next((place for place in (root, *root.parents) if _is_project(place) or _owners(place)), root)
    for place in (folder, *folder.parents):
        yield place
        if place == top:
            return


def _is_project(folder: Path) -> bool:
    return any((folder / name).exists() for name in _ROOTS)


def _licence_files(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    return [e for e in entries if _FILE.match(e.name) and e.suffix not in _CODE_SUFFIXES and e.is_file()][:4]


def _read(path: Path) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(20_000)
    except OSError:
        return ""


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _distribution(site: Path, child: Path) -> tuple[str, str] | None:
    """Licence by the metadata of the distribution that installed `child` into `site`."""
    owners = _owners(site)
    if not owners:
        return None
    parts = child.relative_to(site).parts
    for length in (2, 1):
        owner = owners.get("/".join(parts[:length]))
        if owner:
            return _metadata_licence(site / owner), f"metadata of {owner.removesuffix('.dist-info')}"
    return None


@lru_cache(maxsize=4096)
def _owners(site: Path) -> dict[str, str]:
    """Per entry of a site-packages folder (and of its namespace packages) the .dist-info that installed it."""
    owners: dict[str, str] = {}
    shared: set[str] = set()
    for info in sorted(site.glob("*.dist-info")):
        try:
            record = (info / "RECORD").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        entries = {"/".join(line.split(",", 1)[0].strip('"').split("/")[:2]) for line in record.splitlines()}
        for top in {entry.split("/")[0] for entry in entries}:
            if owners.setdefault(top, info.name) != info.name:
                shared.add(top)
        for entry in entries:
            owners.setdefault(entry, info.name)
    for top in shared:  # which distribution is meant, only the second part can tell
        owners.pop(top, None)
    return owners


@lru_cache(maxsize=1024)
def _metadata_licence(info: Path) -> str:
    metadata = HeaderParser().parsestr(_read(info / "METADATA"))
    if expression := metadata.get("License-Expression"):
        return expression.strip()
    text = (metadata.get("License") or "").strip()
    said = [c.split(" :: ")[-1] for c in metadata.get_all("Classifier", []) if c.startswith("License :: ")]
    said += [text] if text and "\n" not in text and len(text) < 60 else []
    names = [tidy(name) for name in said if name != "OSI Approved"]
    if names and names[0] != "BSD":  # of which there are several
        return names[0]
    files = sorted([*_licence_files(info), *_licence_files(info / "licenses")])
    if files:
        return ", ".join(sorted({named(_read(file)) for file in files}))
    return names[0] if names else named(text) if text else NONE
