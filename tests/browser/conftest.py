"""A real browser: Debian's or anybody's Chromium, driven by playwright; and a JupyterLab on loopback."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from ra3_lab.notebooks import notebook_text

REPO_ROOT = Path(__file__).resolve().parents[2]
SLOW = 240_000
"""Milliseconds to wait for anything: a busy machine must not fail a claim that is not about time."""
SIZES = ((1280, 900), (800, 900))
LONG_RUN = """# %%
import ra3_lab

model, tokenizer = ra3_lab.load_model("embedded")
traces = ra3_lab.load_traces("pipelines")[:8]
estep = ra3_lab.EStepConfig(updates=2_000, programs=1, group=2)
ra3_lab.em(model, tokenizer, traces, ra3_lab.MidtrainConfig(rounds=1, estep=estep), out="long_run")

# %%
from ra3_lab.explore.curves import draw_estep
from ra3_lab.records import run_record

print(draw_estep(run_record("long_run")).to_text())
"""
"""A run that no test waits for, and a cell that shows how far it came."""


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(None, map(shutil.which, names)))
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """Where screenshots go: $RA3_SCREENSHOTS, or runs/screenshots, which git ignores."""
    folder = Path(os.environ.get("RA3_SCREENSHOTS") or REPO_ROOT / "runs" / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def serious_violations(page, within: str) -> list[str]:
    """What axe-core finds of impact serious or critical inside a selector."""
    axe = pytest.importorskip("axe_playwright_python.base", reason="pip install axe-playwright-python")
    script = Path(axe.__file__).with_name("axe.min.js").read_text()
    page.evaluate(script)
    found = page.evaluate("within => axe.run(within, {resultTypes: ['violations']})", within)
    return [
        f"{one['impact']}: {one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.fixture(scope="session")
def lab_url(tmp_path_factory) -> str:
    """The address of a JupyterLab that serves a copy of notebooks/, offline."""
    pytest.importorskip("jupyterlab", reason='JupyterLab is missing: pip install -e ".[notebook]"')
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(REPO_ROOT / "notebooks", home / "notebooks")
    (home / "notebooks" / "long_run.ipynb").write_text(notebook_text(LONG_RUN, "long_run"))
    settings = {
        "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is in the page, also those out of sight
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},  # nothing pops up
    }
    for name, values in settings.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": str(REPO_ROOT),
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
    command += [f"--port={port}", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"]
    command += [
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    log = open(home / "log.txt", "w")  # noqa: SIM115  (open as long as the server runs)
    server = subprocess.Popen(command, cwd=home / "notebooks", env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{url}/api/status", timeout=5)
                break
            except OSError:
                assert server.poll() is None, (home / "log.txt").read_text()[-2000:]
                time.sleep(1)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()
