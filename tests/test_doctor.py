"""`ra3-lab doctor` as a user types it, and what it says where a layer is missing."""

import json

from sandboxes import hard

from ra3_lab.cli import main
from ra3_lab.commands.doctor import describe, examine, missing
from ra3_lab.sandbox import isolation


@hard
def test_doctor_says_what_holds_and_how_it_knows(tmp_path, capsys):
    assert main(["doctor", "--json", str(tmp_path / "doctor.json")]) == 0
    text = capsys.readouterr().out
    record = json.loads((tmp_path / "doctor.json").read_text())
    chosen = record["sandbox"]["chosen"]
    assert record["sandbox"]["isolations"][chosen]["holds"] and f"isolation {chosen!r}" in text
    assert "connect to a loopback port" in text and "refused" in text
    assert record["versions"]["torch"] in text and record["machine"]["torch_threads"] >= 1


def test_doctor_says_what_is_missing_and_how_to_get_it(monkeypatch):
    nothing = {name: {"holds": False, "reason": "not today", "found": {}} for name in isolation.LINUX}
    monkeypatch.setattr(isolation, "_found", {**nothing, "process": {"holds": True, "reason": "", "found": {}}})
    monkeypatch.setattr("sys.platform", "linux")
    record = examine()
    text = "\n".join(describe(record))
    assert record["sandbox"]["chosen"] == "" and "NO isolation for hostile programs" in text
    assert "user namespaces" in text and "apt install bubblewrap" in text and "lsm=landlock" in text


def test_bubblewrap_is_not_missed_where_it_is_not_needed():
    tried = {"namespaces": {"holds": True}, "bubblewrap": {"holds": False, "reason": "not installed"}}
    assert missing(tried) == []


def test_doctor_runs_where_no_process_can_fork(monkeypatch):
    monkeypatch.setattr(isolation, "HARD", {})
    monkeypatch.setattr(isolation, "_found", {})
    build = isolation.build
    monkeypatch.setattr(isolation, "build", lambda *given: build(*given) | {"forks": False})
    record = examine()
    text = "\n".join(describe(record))
    assert record["sandbox"]["chosen"] == "" and record["sandbox"]["layers"]["layers"] == ["guard", "limits"]
    assert record["sandbox"]["isolations"]["process"]["found"]["use its scratch folder"].startswith("did it")
    assert "NO isolation for hostile programs" in text and "WSL 2" in text
