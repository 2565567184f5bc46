"""docs/your_code.md, word for word: every command block after the installation, in one shell, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def blocks(repo_root: Path) -> list[str]:
    return re.findall(
        r"^```sh\n(.*?)^```", (repo_root / "docs" / "your_code.md").read_text(encoding="utf-8"), re.S | re.M
    )


def test_every_flag_that_the_page_uses_exists(repo_root, capsys):
    from ra3_lab.cli import main

    script = "\n".join(blocks(repo_root))
    for command in sorted(set(re.findall(r"^ra3-lab (\w+)", script, re.M))):
        with pytest.raises(SystemExit):
            main([command, "--help"] if command != "runs" else ["runs", "compare", "--help"])
        known = capsys.readouterr().out
        flags = {
            flag for line in re.findall(rf"^ra3-lab {command} .*", script, re.M) for flag in re.findall(r"--\w+", line)
        }
        assert all(flag in known for flag in flags), command


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the page is for a Unix shell")
def test_the_page_runs_word_for_word(repo_root, tmp_path):
    install, *rest = blocks(repo_root)
    assert "pip install" in install and not any("pip install" in block for block in rest)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(rest)],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "runs/ra3 is finished already" in done.stdout and "<- bought" in done.stdout
    figures = json.loads((tmp_path / "compared.json").read_text())["figures"]
    assert all(value < 0 for value in figures["nats_per_line.after.k4"])
    assert (tmp_path / "annotated.html").stat().st_size > 2_000
