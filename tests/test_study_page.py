"""The pages of results say what the records say."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("maker", ["tables", "figures"])
def test_the_pages_are_made_from_the_records(maker, repo_root):
    run = subprocess.run(
        [sys.executable, str(repo_root / "benchmarks" / f"{maker}.py"), "--check"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert (repo_root / "docs" / "study.md").read_text().count("| --- |") >= 5
    assert (repo_root / "docs" / "results.md").read_text().count("](figures/") >= 3


def test_a_picture_of_other_figures_is_found_out(repo_root, tmp_path):
    """Where a record has changed since a picture was drawn, the check says which."""
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv = ['figures.py']; import figures; from pathlib import Path;"
            f"figures.FOLDER = Path({str(tmp_path)!r}); sys.exit(figures.main(check=True))",
        ],
        cwd=repo_root / "benchmarks",
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1 and "final" in run.stdout and "learning" in run.stdout
