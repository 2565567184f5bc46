"""Sphinx's settings of the docs site; `build.py` beside this runs it."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import ra3_lab  # noqa: E402
from ra3_lab.explore.page import asset  # noqa: E402

project, author, copyright = "ra3_lab", "ra3_lab authors", "ra3_lab authors, Apache-2.0"
release = ra3_lab.__version__
extensions = ["myst_nb", "mathml"]
root_doc = "index"
exclude_patterns = ["_build"]

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = os.environ.get("RA3_DOCS_EXECUTE", "off")
nb_execution_cache_path = os.environ.get("RA3_DOCS_CACHE", "")
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

html_theme = "furo"
html_title = "ra3_lab"
html_static_path = ["static"]
html_css_files = ["ra3.css", "site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"footer_icons": []}
# Code blocks of docs are shells, TOML, JSON and Python; what does not parse is shown as it is.
highlight_language = "none"
# Annotations name types by their last word (Task, Program); where two modules have one, no link is missed much.
suppress_warnings = ["misc.highlighting_failure", "ref.python"]


def _write_assets(app):
    """The explorers' style and plotly's script come from the installed packages: nothing is loaded from elsewhere."""
    from plotly.offline import get_plotlyjs

    static = Path(app.outdir) / "_static"
    static.mkdir(parents=True, exist_ok=True)
    (static / "ra3.css").write_text(asset("explore.css"), encoding="utf-8")
    (static / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")


def _plotly_where_needed(app, page, template, context, doctree):
    """Only pages with figures load plotly."""
    if page.startswith("notebooks/"):
        app.add_js_file("plotly.min.js")


def setup(app):
    app.connect("builder-inited", _write_assets)
    app.connect("html-page-context", _plotly_where_needed)
