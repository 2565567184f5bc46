"""Build the docs site: one Sphinx run over the repository's own pages, notebooks and docstrings.

    python docs/site/build.py                  # docs/_build/html; executes the notebooks (minutes, cached)
    python docs/site/build.py --no-execute     # seconds; notebooks without outputs

The sources are put together in docs/_build/source in the folders they have in the repository, so that links between
them hold. Needs the extra `docs`. Every warning is an error, and so is a page that loads anything from another host.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from pathlib import Path

from api_pages import write_api

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGES = (
    "README.md",
    "LICENSE",
    "docs/*.md",
    "docs/course/*.md",
    "docs/figures/*.svg",
    "notebooks/*.ipynb",
    "notebooks/README.md",
    "data/**/README.md",
    "benchmarks/README.md",
)
"""What the site is made of, as patterns in the repository."""
LOADED = re.compile(r"""<(?:script|img|iframe|link|source)\b[^>]*?(?:src|href)=["'](?:https?:)?//[^"']+["']""", re.I)
"""An element that loads something from another host; links that a reader may click are not among them."""
CANONICAL = re.compile(r"""rel=["'](?:canonical|license)["']""")


def assemble(source: Path) -> None:
    """Copy the pages to `source`, anew, and write the API reference."""
    shutil.rmtree(source, ignore_errors=True)
    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            target = source / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)  # the time stamp too: what did not change is not built again
    shutil.copy2(HERE / "index.md", source / "index.md")
    write_api(ROOT / "ra3_lab", source / "api")


def remote_assets(html: Path) -> list[str]:
    """What the built pages would load from another host."""
    found = []
    for page in sorted(html.rglob("*.html")):
        for tag in LOADED.findall(page.read_text(encoding="utf-8")):
            if not CANONICAL.search(tag):
                found.append(f"{page.relative_to(html)}: {tag}")
    for sheet in sorted(html.rglob("*.css")):
        for address in re.findall(r"""url\(["']?((?:https?:)?//[^)]+)\)""", sheet.read_text(encoding="utf-8")):
            found.append(f"{sheet.relative_to(html)}: {address}")
    return found


def main() -> int:
    """Build; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "_build", help="folder for source, cache and html")
    parser.add_argument("--no-execute", action="store_true", help="show the notebooks without their outputs")
    arguments = parser.parse_args()
    try:
        from sphinx.cmd.build import build_main
    except ModuleNotFoundError as error:
        print(f'{error.name} is missing: pip install -e ".[docs,notebook]", or `make docs`.', file=sys.stderr)
        return 2
    out = arguments.out.resolve()
    assemble(out / "source")
    os.environ.update({"RA3_STATIC": "1", "RA3_DOCS_CACHE": str(out / "cache"), "HF_HUB_OFFLINE": "1"})
    os.environ["RA3_DOCS_EXECUTE"] = "off" if arguments.no_execute else "cache"
    html = out / "html"
    options = ["-b", "html", "-c", str(HERE), "-d", str(out / "doctrees"), "-W", "--keep-going", "-q"]
    if status := build_main([*options, str(out / "source"), str(html)]):
        return status
    if remote := remote_assets(html):
        print("pages load from other hosts:", *remote, sep="\n  ", file=sys.stderr)
        return 1
    print(f"{html / 'index.html'}: {len(list(html.rglob('*.html')))} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
