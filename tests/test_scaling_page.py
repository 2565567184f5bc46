"""docs/scaling.md shows what the commands on it print."""

from __future__ import annotations

import re

from ra3_lab import cli


def test_the_page_shows_what_the_commands_print(repo_root, capsys):
    page = (repo_root / "docs" / "scaling.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n\$ ra3-lab (.*?)\n(.*?)^```", page, re.S | re.M)
    assert len(blocks) == 2
    for command, shown in blocks:
        assert cli.main(command.split()) == 0
        assert capsys.readouterr().out.rstrip() == shown.rstrip(), f"run ra3-lab {command} and paste its output"
