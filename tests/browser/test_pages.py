"""Exported explorers, opened as files with the network off: they work, they are accessible, they are looked at."""

import json
import re

import pytest
from plotly.offline import get_plotlyjs

from ra3_lab.explore.abstractions import draw_map
from ra3_lab.explore.display import static_figure
from ra3_lab.explore.explorer import Control, Explorer
from ra3_lab.explore.findings import Twin
from ra3_lab.explore.gallery import GALLERY
from ra3_lab.explore.view import View
from ra3_lab.records import load_record

from .conftest import SIZES, SLOW, serious_violations

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Explorer name -> its page on disk, made when first asked for."""
    folder = tmp_path_factory.mktemp("pages")
    pages = {}

    def get(name):
        if name not in pages:
            pages[name] = GALLERY[name]().save(folder / f"{name}.html")
        return pages[name]

    return get


@pytest.fixture
def open_page(browser, saved):
    """Open an explorer's page offline; fails at the end if the page logged an error or asked for anything."""
    contexts, problems = [], []

    def opened(name, scheme="light", size=SIZES[0]):
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SLOW)
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else problems.append(r.url))
        page.goto(saved(name).as_uri(), wait_until="domcontentloaded")
        page.wait_for_selector("#figure .main-svg")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not problems


@pytest.mark.parametrize("name", GALLERY)
def test_a_page_is_accessible_and_fits_in_light_and_dark(name, open_page, artefacts):
    for scheme in ("light", "dark"):
        for size in SIZES:
            page = open_page(name, scheme, size)
            page.screenshot(path=artefacts / f"{name}-{scheme}-{size[0]}.png", full_page=True)
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{name} is {wide} pixels wider than a window of {size[0]}"
        assert not serious_violations(page, "main")


def test_dragging_the_slider_and_clicking_a_line_change_the_timeline(open_page):
    page = open_page("timeline")
    before = page.inner_text("#head .finding")
    page.focus("#control-look")
    page.keyboard.press("Home")
    page.wait_for_function("before => document.querySelector('#head .finding').textContent !== before", arg=before)
    assert "round 1, E-step update 0" in page.inner_text("#head .finding")
    assert page.get_attribute("#control-look", "aria-valuetext") == "round 1, E-step update 0"
    page.click('[data-set="line=2"]')
    assert page.is_visible('[data-when="line=2"]') and not page.is_visible('[data-when="line=0"]')
    assert page.get_attribute('[data-set="line=2"]', "aria-pressed") == "true"
    page.keyboard.press("End")  # the choice survives the next move
    page.focus("#control-look")
    page.keyboard.press("End")
    page.wait_for_function("document.querySelector('#head .finding').textContent.includes('the trained model')")
    assert page.is_visible('[data-when="line=2"]')


def test_a_figure_keeps_its_height_when_the_window_is_resized(open_page):
    page = open_page("timeline")
    height = "document.getElementById('figure').getBoundingClientRect().height"
    before = page.evaluate(height)
    page.focus("#control-look")
    for key, size in (("Home", (900, 900)), ("End", (1280, 700)), ("Home", (1280, 900))):
        page.keyboard.press(key)
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.wait_for_timeout(500)
        assert page.evaluate(height) == before, f"at {size}"


def test_lines_of_code_are_not_broken_where_a_notebook_is_narrow(open_page):
    page = open_page("timeline", size=(660, 900))  # as wide as an explorer in JupyterLab in a window of 800
    broken = page.evaluate(
        "[...document.querySelectorAll('.lines tr:not(.thought) td.code code')]"
        ".filter(code => code.getBoundingClientRect().height > 25).map(code => code.textContent)"
    )
    assert not broken


def opened_details(page):
    return page.evaluate(
        "[...document.querySelectorAll('#head .detail')].filter(x => !x.hidden).map(x => x.dataset.when)"
    )


def test_a_line_past_the_end_of_the_next_program_is_its_last_as_in_the_widget(open_page):
    page = open_page("timeline")
    programs = load_record("em")["programs"][:8]
    lengths = [len(program["lines"]) for program in programs]
    long, short = lengths.index(max(lengths)), lengths.index(min(lengths))
    page.select_option("#control-program", str(long))
    page.click(f'[data-set="line={lengths[long] - 1}"]')
    page.select_option("#control-program", str(short))
    assert opened_details(page) == [f"line={lengths[short] - 1}"]
    page.select_option("#control-program", str(long))
    assert opened_details(page) == [f"line={lengths[long] - 1}"], "the choice is kept"


def test_a_kind_that_a_look_lacks_opens_nothing_as_in_the_widget(open_page):
    page = open_page("map")
    kind = "clip at N"
    assert not re.search(r'data-when="[^"]*">', draw_map(load_record("em"), 0, kind).body)
    page.click(f'[data-set="kind={kind}"]')
    assert opened_details(page) == [f"kind={kind}"]
    page.focus("#control-look")
    page.keyboard.press("Home")
    page.wait_for_function("document.querySelector('#head .finding').textContent.includes('update 0')")
    assert opened_details(page) == []


SHOWN = """() => [document.querySelector('.finding').textContent, document.querySelector('output').textContent,
    document.querySelector('select').value, document.querySelector('#missing').textContent]"""


@pytest.fixture
def plain_page(browser, tmp_path):
    """A page without a figure: a slider, a choice, and a click that the page has two of four values of."""

    def draw(n, line, size):
        buttons = [
            f'<button data-set="line={t}" aria-pressed="{str(t == line).lower()}">{t}</button>' for t in range(4)
        ]
        return View(Twin(f"{n} {line} {size}", "", (), ()), "".join(buttons))

    controls = (
        Control("n", "N", (0, 1, 2, 3), 0),
        Control("line", "Line", (0, 1, 2, 3), 0, "click", exported=(0, 1)),
        Control("size", "Size", ("a", "b", "c"), "a", "choice"),
    )
    path = Explorer("e", "E", "", controls, draw).save(tmp_path / "page.html")
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.set_default_timeout(SLOW)
    page.goto(path.as_uri())
    yield page
    context.close()


def test_controls_and_drawing_agree_after_back_and_reload(plain_page):
    page = plain_page
    page.focus("#control-n")
    page.keyboard.press("End")
    page.select_option("select", "1")
    assert page.evaluate(SHOWN) == ["3 0 b", "3", "1", ""]
    for move in (lambda: (page.goto("about:blank"), page.go_back()), page.reload):
        move()
        page.wait_for_function("document.readyState === 'complete'")
        page.wait_for_timeout(300)  # fields are put back after the scripts have run
        finding, reading, size, _ = page.evaluate(SHOWN)
        n = page.input_value("#control-n")
        assert (finding, reading) == (f"{n} 0 {'abc'[int(size)]}", n)
        assert page.get_attribute("#control-n", "aria-valuetext") == n


def test_that_a_view_is_missing_is_said_until_another_is_shown(plain_page):
    page = plain_page
    page.click('[data-set="line=3"]')
    assert "holds no view" in page.evaluate(SHOWN)[3]
    page.focus("#control-n")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(SHOWN) == ["1 0 a", "1", "0", ""]
    page.click('[data-set="line=3"]')
    page.click('[data-set="line=1"]')
    assert page.evaluate(SHOWN) == ["1 1 a", "1", "0", ""]


def test_arrow_keys_walk_through_the_lines(open_page):
    page = open_page("timeline")
    page.focus('[data-set="line=0"]')
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.is_visible('[data-when="line=1"]')
    assert page.evaluate("document.activeElement.dataset.set") == "line=1"


def test_choosing_a_kind_shows_its_examples(open_page):
    page = open_page("map")
    buttons = page.locator("button.pick")
    name = buttons.nth(1).get_attribute("data-set")
    buttons.nth(1).click()
    assert page.is_visible(f'[data-when="{name}"]')


def test_choosing_a_line_in_the_editor_draws_its_comparison(open_page):
    page = open_page("editor")
    before = page.inner_text("#head .twin")
    lines = page.evaluate("axes.line.values")
    assert len(lines) > 1
    page.click(f'[data-set="line={lines[-1]}"]')
    page.wait_for_function("before => document.querySelector('#head .twin').textContent !== before", arg=before)
    other = next(str(t) for t in range(20) if str(t) not in lines)
    page.click(f'[data-set="line={other}"]')
    assert "the notebook has them all" in page.inner_text("#missing")


def test_opening_an_answer_shows_its_tokens(open_page):
    page = open_page("groups")
    before = page.inner_text("#head .tokens")
    other = page.evaluate("""() => [...document.querySelectorAll('[data-set^="answer="]')].length""") - 1
    page.click(f'[data-set="answer={other}"]')
    page.wait_for_function(
        "n => document.querySelector('#head .twin').textContent.startsWith(`Answer ${n}`)", arg=other + 1
    )
    assert page.get_attribute(f'[data-set="answer={other}"]', "aria-pressed") == "true"
    assert page.inner_text("#head .tokens") and before


def test_a_figure_of_the_docs_site_is_drawn_though_plotly_comes_last(browser, tmp_path):
    figure = static_figure(json.loads(GALLERY["oracle-knobs"]().view().figure_json()), "bounds")
    path = tmp_path / "page.html"
    path.write_text(f"<!DOCTYPE html><body>{figure}<script>{get_plotlyjs()}</script></body>", encoding="utf-8")
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("[aria-label=bounds] .main-svg")
    context.close()
