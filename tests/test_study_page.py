"""The pages of results say what the records say."""

from __future__ import annotations

import subprocess
import sys


def test_the_tables_of_the_pages_are_made_from_the_records(repo_root):
    run = subprocess.run(
        [sys.executable, str(repo_root / "benchmarks" / "tables.py"), "--check"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert (repo_root / "docs" / "study.md").read_text().count("| --- |") >= 5
