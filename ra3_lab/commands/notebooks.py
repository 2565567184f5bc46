"""`ra3-lab notebooks`: build the notebooks from their sources."""

from __future__ import annotations

from pathlib import Path


def run(folder: Path | None = None, check: bool = False, force: bool = False) -> int:
    """Build notebooks/*.ipynb from the py:percent sources in notebooks/src/.

    Example: ra3-lab notebooks --check

    Args:
        folder: The notebooks folder; default: that of this checkout.
        check: Write nothing; status 1 where a notebook is not what its source gives.
        force: Overwrite notebooks that were run or edited.
    """
    from ra3_lab.notebooks import build
    from ra3_lab.resources import checkout_dir

    root = checkout_dir()
    if folder is None:
        if root is None:
            raise FileNotFoundError("the notebooks are not part of an installed ra3_lab: clone the repository.")
        folder = root / "notebooks"
    changed = build(folder, check=check, force=force)
    for path in changed:
        print(f"{path.name} {'is out of date' if check else 'built'}")
    if not changed:
        print("every notebook is what its source gives")
    return 1 if check and changed else 0
