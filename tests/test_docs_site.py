"""The docs site: its parts at once, the whole build (slow) where the extra `docs` is installed."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

REPO_ROOT = Path(__file__).resolve().parent.parent
SITE = REPO_ROOT / "docs" / "site"


def load(name):
    sys.path.insert(0, str(SITE))
    try:
        spec = importlib.util.spec_from_file_location(name, SITE / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(SITE))


def test_every_package_has_a_page_with_its_public_functions(tmp_path):
    load("api_pages").write_api(REPO_ROOT / "ra3_lab", tmp_path)
    pages = {path.stem for path in tmp_path.glob("*.md")}
    assert {"index", "ra3_lab", "ra3_lab.midtrain", "ra3_lab.theory", "ra3_lab.sandbox"} <= pages
    page = (tmp_path / "ra3_lab.midtrain.md").read_text()
    assert "{py:function} ra3_lab.midtrain.elbo.rewards(" in page
    assert "- `cost`: `float` = `0.1`. Nats that a thought costs (c)." in page
    assert "._" not in page.replace("...", ""), "nothing private is listed"


def test_what_markdown_would_eat_is_escaped():
    pages = load("api_pages")
    assert pages.escaped("a*b <c> d_e $x$ `keep *this*`") == r"a\*b \<c> d\_e \$x\$ `keep *this*`"
    assert pages.markdown("Do.\n\nArgs:\n    seed: Of *all*\n        draws.\n") == (
        "Do.\n\n**Args:**\n\n- `seed`: Of \\*all\\* draws.\n"
    )


def test_a_page_that_loads_from_elsewhere_is_found(tmp_path):
    remote_assets = load("build").remote_assets
    (tmp_path / "good.html").write_text('<a href="https://arxiv.org/x">paper</a><script src="_static/a.js"></script>')
    assert remote_assets(tmp_path) == []
    (tmp_path / "bad.html").write_text('<script src="https://cdn.example/a.js"></script>')
    (tmp_path / "bad.css").write_text("@font-face{src:url(//fonts.example/a.woff)}")
    assert len(remote_assets(tmp_path)) == 2


def test_formulas_become_mathml():
    pytest.importorskip("latex2mathml", reason="the extra docs is missing: pip install -e '.[docs]'")
    pytest.importorskip("docutils", reason="the extra docs is missing: pip install -e '.[docs]'")
    drawn = load("mathml").to_mathml(r"\frac{1}{1-\bar\gamma}", "block")
    assert "<mfrac>" in drawn and 'display="block"' in drawn and 'aria-label="\\frac{1}{1-\\bar\\gamma}"' in drawn


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("myst_nb", reason="the extra docs is missing: pip install -e '.[docs]'")
    command = [sys.executable, str(SITE / "build.py"), "--no-execute", "--out", str(tmp_path)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    for page in ("index", "README", "notebooks/04_elbo", "api/ra3_lab.midtrain", "docs/install", "docs/glossary"):
        assert (tmp_path / "html" / f"{page}.html").is_file(), page
    assert "<math" in (tmp_path / "html" / "notebooks" / "04_elbo.html").read_text()
