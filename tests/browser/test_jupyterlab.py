"""The notebooks as a reader has them: JupyterLab in a real browser, run all cells, drag, click, type."""

import re

import pytest

from .conftest import SIZES, SLOW, serious_violations

pytestmark = [pytest.mark.browser, pytest.mark.slow]
NOTEBOOK = ".jp-NotebookPanel:not(.lm-mod-hidden)"
GAVE_UP = "Failed to initialize model"
"""anywidget's words where a widget's script took more than 2 s to load, which it allows no longer. A reader on such a
machine runs the cell again (docs/install.md), and so do these tests."""
KERNEL_READY = """async () => {
  await jupyterapp.restored;
  const context = jupyterapp.shell.currentWidget.sessionContext;
  await context.ready;
  await context.session.kernel.info;
}"""


@pytest.fixture
def lab(browser, lab_url, artefacts):
    """Opens a notebook, runs all cells and gives the page; fails at the end if a page of ours raised an error."""
    problems, pages = [], []

    def opened(name, run=True):
        context = browser.new_context(viewport={"width": SIZES[0][0], "height": SIZES[0][1]}, reduced_motion="reduce")
        page = context.new_page()
        page.set_default_timeout(SLOW)
        page.on("pageerror", lambda error: problems.append(f"{name}: {error}"))
        elsewhere = re.compile(rf"^(?!{re.escape(lab_url)}|ws://127|data:|blob:|about:)")
        page.on("request", lambda r: problems.append(f"{name}: asked for {r.url}") if elsewhere.match(r.url) else None)
        pages.append((name, page))
        page.goto(f"{lab_url}/lab/workspaces/{name}/tree/{name}.ipynb", wait_until="domcontentloaded")
        page.wait_for_selector(f"{NOTEBOOK} .jp-CodeCell")
        page.evaluate(KERNEL_READY)  # cells that are run before the kernel is there are not run at all
        if run:
            run_all(page)
            if late := [problem for problem in problems if GAVE_UP in problem]:
                print(f"{name}: {len(late)} widgets gave up on a busy machine; the cells are run again")
                problems[:] = [problem for problem in problems if problem not in late]
                run_all(page)
        return page

    yield opened
    for name, page in pages:
        page.screenshot(path=artefacts / f"lab-{name}-end.png")  # where it stood, should it have failed
        page.context.close()
    assert not problems


def run_all(page):
    """Run all cells, to the end of the last one; no cell and no explorer shows an error."""
    page.evaluate("void jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
    prompts = f"[...document.querySelectorAll('{NOTEBOOK} .jp-CodeCell .jp-InputPrompt')]"
    page.wait_for_function(f"{prompts}.every((one) => /\\[\\d+\\]/.test(one.textContent))", timeout=600_000)
    assert page.locator(f"{NOTEBOOK} [data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert page.locator(f"{NOTEBOOK} .ra3 .error").count() == 0


def explorer(page, title):
    """The explorer of that title, scrolled into view."""
    box = page.locator(f"{NOTEBOOK} .jp-OutputArea-output", has=page.locator(".title", has_text=title)).last
    box.scroll_into_view_if_needed()
    box.locator(".finding").first.wait_for()
    return box


def drag(page, box, label, share):
    """Drag the slider of that label to a share of its length."""
    slider = box.locator(".widget-inline-hbox", has=page.locator("label", has_text=label))
    handle, track = slider.locator(".noUi-handle"), slider.locator(".noUi-target")
    handle.scroll_into_view_if_needed()
    start, whole = handle.bounding_box(), track.bounding_box()
    page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(whole["x"] + share * whole["width"], start["y"] + start["height"] / 2, steps=4)
    page.mouse.up()


def run_cell_with(page, text):
    """Run the code cell that holds this text; returns what it printed."""
    cell = page.locator(f"{NOTEBOOK} .jp-CodeCell", has_text=text).first
    cell.scroll_into_view_if_needed()
    before = cell.locator(".jp-InputPrompt").first.inner_text()
    cell.locator(".cm-content").first.click()
    page.keyboard.press("Control+Enter")
    prompt = cell.locator(".jp-InputPrompt").first
    page.wait_for_function(
        "([one, before]) => /\\d/.test(one.textContent) && one.textContent !== before",
        arg=[prompt.element_handle(), before],
    )
    return cell.locator(".jp-OutputArea-output").first.inner_text()


def shots(page, box, name, artefacts):
    """Screenshots of an explorer in both themes, at both widths, without the file browser beside it."""
    page.evaluate("jupyterapp.shell.collapseLeft()")
    for theme, scheme in (("JupyterLab Dark", "dark"), ("JupyterLab Light", "light")):
        page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
        page.wait_for_selector(
            f"body[data-jp-theme-light={'true' if scheme == 'light' else 'false'}]", state="attached"
        )
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(500)
            # A window in which the whole explorer has room: what is scrolled out of sight is not in a picture.
            page.set_viewport_size({"width": width, "height": int(box.bounding_box()["height"]) + 400})
            box.scroll_into_view_if_needed()
            page.wait_for_timeout(1_000)
            box.screenshot(path=artefacts / f"lab-{name}-{scheme}-{width}.png")
        assert not serious_violations(page, f"{NOTEBOOK} .ra3")
    page.set_viewport_size({"width": SIZES[0][0], "height": SIZES[0][1]})


def test_00_the_tour_runs_and_its_timeline_is_dragged_and_clicked(lab):
    page = lab("00_tour")
    box = explorer(page, "Latent timeline")
    drag(page, box, "Training", 0.0)
    box.locator(".finding", has_text="round 1, E-step update 0").wait_for()
    box.locator('[data-set="line=4"]').click()
    box.locator('[data-when="line=4"]').wait_for(state="visible")
    runs = explorer(page, "Run comparison")
    assert "M-step loss" in runs.locator(".finding").first.inner_text()


def test_05_the_timeline_follows_the_slider_and_hears_clicks(lab, artefacts):
    page = lab("05_estep")
    box = explorer(page, "Latent timeline")
    assert "the trained model" in box.locator(".finding").first.inner_text()
    drag(page, box, "Training", 0.0)
    box.locator(".finding", has_text="round 1, E-step update 0").wait_for()
    box.locator('[data-set="line=2"]').click()
    box.locator('[data-when="line=2"]').wait_for(state="visible")
    assert box.locator('[data-when="line=0"]').is_hidden()
    assert "E-step update 0" in run_cell_with(page, "print(timeline.to_text())"), "the kernel knows what was dragged"
    for width, height in ((1280, 700), (1000, 2000), (1280, 900)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(1_000)
        assert box.locator(".js-plotly-plot").bounding_box()["height"] == 300, "a resized window keeps the figure"
    shots(page, box, "timeline", artefacts)


def test_08_a_click_reaches_python_and_a_thought_can_be_edited(lab, artefacts):
    page = lab("08_exploring_latents")
    box = explorer(page, "Latent timeline")
    box.locator('[data-set="line=3"]').click()
    assert "'line': 3" in run_cell_with(page, "print(timeline.state)")

    editor = explorer(page, "Counterfactual editor")
    assert editor.locator(".twin", has_text="yours").count() == 0
    field = editor.locator(".widget-text input")
    field.fill("z give the largest")
    field.press("Enter")
    editor.locator(".twin", has_text="yours").first.wait_for()
    assert "before line 1:" not in editor.locator(".twin").first.inner_text()
    editor.locator('[data-set="line=0"]').click()
    editor.locator(".twin", has_text="before line 1:").first.wait_for()
    shots(page, editor, "editor", artefacts)

    kinds = explorer(page, "Abstraction map")
    kinds.locator("button.pick").nth(1).click()
    assert kinds.locator("button.pick").nth(1).get_attribute("aria-pressed") == "true"
    shots(page, kinds, "map", artefacts)


def test_an_error_in_the_editor_is_shown_to_the_reader(lab):
    page = lab("08_exploring_latents")
    editor = explorer(page, "Counterfactual editor")
    field = editor.locator(".widget-text input")
    field.fill("x" * 300)
    field.press("Enter")
    editor.locator('[role="alert"]', has_text="one line of 200 characters").wait_for()
    field.fill("a add 3")
    field.press("Enter")
    editor.locator(".twin", has_text="yours").first.wait_for()


def test_a_reload_and_a_restart_lose_no_metrics(lab, lab_url):
    page = lab("long_run", run=False)

    def updates_on_disk(at_least):
        for _ in range(SLOW // 1_000):
            metrics = page.request.get(f"{lab_url}/files/long_run/metrics.jsonl")
            if metrics.ok and (count := metrics.text().count("\n")) >= at_least:
                return count
            page.wait_for_timeout(1_000)
        raise AssertionError(f"no {at_least} updates")

    page.locator(f"{NOTEBOOK} .jp-CodeCell", has_text="updates=2_000").locator(".cm-content").first.click()
    page.keyboard.press("Control+Enter")
    before = updates_on_disk(2)
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(f"{NOTEBOOK} .jp-CodeCell")
    before = updates_on_disk(before + 2)  # the run went on without the page
    page.evaluate("jupyterapp.restored.then(() => jupyterapp.shell.currentWidget.sessionContext.ready)")
    # In the middle of an update:
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    page.evaluate(KERNEL_READY)
    told = run_cell_with(page, "draw_estep")
    rows = re.findall(r"^(\d+) +1 ", told, re.M)
    assert rows and int(rows[-1]) >= before - 1, told
