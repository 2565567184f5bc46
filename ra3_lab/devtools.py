"""What the Makefile's test and lab targets run, for machines without make.

Each function prints a plain sentence and returns 2 when something it needs is missing, otherwise the exit
status of the program it started.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

from ra3_lab.resources import checkout_dir

_CANNOT_START = 2


def run_tests(all: bool = False) -> int:
    """Run the project's tests: the fast ones, or with `all` the slow, browser and GPU tests too."""
    root = checkout_dir()
    if root is None or not (root / "tests").is_dir():
        return _complain(
            "the tests are not part of an installed ra3_lab",
            'clone the repository and run `pip install -e ".[dev]"` in it, then this command again',
        )
    if not _installed("pytest", "hypothesis"):
        return _complain("pytest or hypothesis is missing", 'run `pip install -e ".[dev]"` in the repository')
    # pyproject.toml's addopts choose the fast tests; a later -m replaces that choice.
    selection = ["-m", ""] if all else []
    return _run_module("pytest", selection, root)


def open_lab(port: int | None = None, browser: bool = True) -> int:
    """Open JupyterLab on the notebooks of the checkout, or in the current folder for an installed ra3_lab."""
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"port {port}: a whole number from 1 to 65535 is needed.")
    if not _installed("jupyterlab"):
        return _complain("JupyterLab is missing", 'run `pip install "ra3-lab[notebook]"`, or `make lab`')
    root = checkout_dir() or Path.cwd()
    notebooks = root / "notebooks"
    options = [f"--port={port}"] * (port is not None) + ["--no-browser"] * (not browser)
    if not notebooks.is_dir():
        return _run_module("jupyter", ["lab", *options], root)
    return _run_module("jupyter", ["lab", "00_tour.ipynb", *options], notebooks)


def _installed(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) is not None for module in modules)


def _complain(missing: str, remedy: str) -> int:
    print(f"ra3-lab: {missing}; {remedy}.", file=sys.stderr)
    return _CANNOT_START


def _run_module(module: str, arguments: list[str], folder: Path) -> int:
    # A process of its own inherits the OpenMP settings made by `import ra3_lab` before it loads torch.
    try:
        return subprocess.run([sys.executable, "-m", module, *arguments], cwd=folder).returncode
    except KeyboardInterrupt:
        return 130
