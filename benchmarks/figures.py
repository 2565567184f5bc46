"""Draw the pictures of docs/ from the records of studies and benchmarks, as SVG that reads on light and dark pages.

    python benchmarks/figures.py            # draws docs/figures/*.svg where a record changed; extra `browser`, Chromium
    python benchmarks/figures.py --check    # status 1 where a picture is not what the records say; needs no browser

A picture carries a digest of the figure that it was drawn from, by which both know.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import unquote

import aptness_tables
import margin_tables
import numpy as np
import plotly.graph_objects as go
import rlvr_tables as rlvr
import study_tables as study
import tyro
from cells import RESULTS, ROOT, percent
from estep_tables import DIED_OUT, default_size, levelled_off
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from ra3_lab.explore.figures import dress, styles
from ra3_lab.explore.findings import arm_label, in_order, join
from ra3_lab.midtrain.estep import EStepConfig
from ra3_lab.runs import read_json
from ra3_lab.study import read_study

FOLDER = ROOT / "docs" / "figures"
WIDTH = 760
MANY = 0.2
"""A share of lines with a thought that shows that an E-step is on its way."""
EARLIER = 36
"""E-step updates that were the default before."""
LONGER = "tasks longer than those of mid-training"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def passes(name: str, test: str) -> go.Figure:
    """pass@1 of every arm of a study at every seed, and the mean with its interval over seeds and tasks."""
    found = study.summary(name)["arms"]
    figure, arms, look = go.Figure(), in_order(found)[::-1], styles(in_order(found))
    for arm in arms:
        color, marker, _ = look[arm]
        values = [100 * value for value in found[arm]["by_seed"]]
        mean, (low, high) = 100 * found[arm]["pass@1"], (100 * end for end in found[arm]["ci95"])
        y, dots = arm_label(arm), {"symbol": marker, "size": 9, "color": color, "opacity": 0.6}
        bar = {"type": "data", "array": [high - mean], "arrayminus": [mean - low], "color": color, "thickness": 2}
        figure.add_trace(go.Scatter(x=values, y=[y] * len(values), mode="markers", marker=dots))
        line = {"symbol": "line-ns", "size": 22, "line": {"color": color, "width": 3}}
        figure.add_trace(go.Scatter(x=[mean], y=[y], mode="markers", marker=line, error_x=bar))
    most = 3 + 100 * max(row["ci95"][1] for row in found.values())
    figure.update_xaxes(title=f"pass@1 on {test} (%)", range=[-1, most])
    others = [arm for arm in found if arm != "ra3"]
    best = max(others, key=lambda arm: found[arm]["pass@1"])
    rates = {arm: percent(found[arm]["pass@1"]) for arm in ("ra3", best)}
    other = arm_label(best) if len(others) == 1 else f"the best of the others ({arm_label(best)})"
    title = f"RA3 passes {rates['ra3']}, {other} {rates[best]}"
    return _dressed(figure, title, 120 + 40 * len(arms)).update_layout(showlegend=False, margin_t=44)


def lengths() -> go.Figure:
    """pass@1 by number of steps, every seed and the mean."""
    record = read_json(RESULTS / "lengths.json")
    samples, (fewest, most) = record["settings"]["samples"], record["settings"]["steps"]
    steps = list(range(fewest, most + 1))
    figure, at_eight = go.Figure(), {}
    arms = in_order(dict.fromkeys(row["arm"] for row in record["rows"]))
    look = styles(arms)
    for arm in arms:
        rows = [row["steps"] for row in record["rows"] if row["arm"] == arm]
        seeds = [[100 * float(np.mean(row[str(n)]["passed"])) / samples for n in steps] for row in rows]
        at_eight[arm] = [values[steps.index(8)] for values in seeds]
        _lines(figure, arm, look[arm], steps, seeds)
    figure.add_vrect(x0=4.5, x1=7.5, fillcolor="rgba(128,128,128,0.15)", line_width=0)
    figure.add_annotation(x=6, y=103, text="lengths of mid-training", showarrow=False)
    figure.update_xaxes(title="steps in the pipeline", dtick=1)
    figure.update_yaxes(title="pass@1 (%)", range=[0, 107])
    beyond = {arm: percent(float(np.mean(values)) / 100) for arm, values in at_eight.items()}
    title = (
        f"At 8 steps, one beyond mid-training, RA3 passes {beyond['ra3']}, prior {beyond['prior']}, NTP {beyond['ntp']}"
    )
    return _dressed(figure, title, 400)


def learning() -> go.Figure:
    """Validation over updates of GRPO, every seed and the mean."""
    runs = read_json(RESULTS / "learning.json")["runs"]
    figure = go.Figure()
    look = styles(in_order(runs))
    for arm in in_order(runs):
        updates = [update for update, _ in runs[arm][0]["validation"]]
        seeds = [[100 * value for _, value in run["validation"]] for run in runs[arm]]
        _lines(figure, arm, look[arm], updates, seeds)
    figure.update_xaxes(title="updates of GRPO", dtick=9)
    figure.update_yaxes(title="validation pass@1 (%)", rangemode="tozero")
    ends = {
        arm: percent(float(np.mean([run["validation"][-1][1] for run in runs[arm]]))) for arm in in_order(runs)[::-1]
    }
    title = "After RLVR: " + ", ".join(f"{arm_label(arm)} {value}" for arm, value in ends.items())
    return _dressed(figure, title, 400)


def seconds() -> go.Figure:
    """Validation over the seconds of mid-training and GRPO together, every seed and the mean."""
    figure, starts = go.Figure(), {start.label: start for start in rlvr.READY}
    look, ends = styles(in_order(starts)), []
    for label in in_order(starts):
        x, scores = starts[label].curves
        _lines(figure, label, look[label], x, (100 * scores).tolist())
        ends.append(f"{arm_label(label)} {percent(float(scores[:, -1].mean()))} after {x[-1]:.0f} s")
    figure.update_xaxes(title="seconds of mid-training and GRPO", rangemode="tozero")
    figure.update_yaxes(title="validation pass@1 (%)", rangemode="tozero")
    return _dressed(figure, ", ".join(ends), 400)


def settings() -> go.Figure:
    """Share of watched lines with a thought over the E-step, as its cost and the size of an update change: the first
    seed, and faint, where they were run, the others."""
    costs = {"c 0": "0", "ra3": "0.1", "c 0.5": "0.5", "c 2": "2", "c 8": "8"}
    sizes = {"G 4": "16 x 4", "ra3": "8 x 8", "G 16": "4 x 16"}
    panels = {"cost of a thought, nats": costs, "programs x latents an update": sizes}
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, subplot_titles=list(panels), horizontal_spacing=0.05)
    legends = ("legend", "legend2")
    looks: dict[str, dict[int, list[dict]]] = {}
    for record in read_study(RESULTS / "ablations"):
        looks.setdefault(record["arm"], {})[record["seed"]] = record["monitor"]
    for column, arms in enumerate(panels.values(), 1):
        for arm, (color, marker, dash) in styles(arms).items():
            for seed, run in looks[arm].items():
                x, y = zip(*((look["update"], 100 * look["think_share"]) for look in run), strict=True)
                line, dots = {"color": color, "dash": dash, "width": 2}, {"symbol": marker, "size": 7}
                about = {"name": arms[arm], "legend": legends[column - 1], "showlegend": seed == 0}
                about["opacity"] = 0.35 if seed else 1
                trace = go.Scatter(x=x, y=y, mode="lines+markers", line=line, marker=dots, **about)
                figure.add_trace(trace, row=1, col=column)
    figure.update_xaxes(title="E-step updates")
    figure.update_yaxes(title="lines with a thought (%)", rangemode="tozero", col=1)
    gone = [
        cost for arm, cost in costs.items() if all(run[-1]["think_share"] < DIED_OUT for run in looks[arm].values())
    ]
    when = []
    for arm, size in sizes.items():
        reached = [[look["update"] for look in run if look["think_share"] >= MANY] for run in looks[arm].values()]
        first = [str(updates[0]) if updates else "never" for updates in reached]
        when.append(f"{' and '.join(first)} ({size})")
    dressed = _dressed(figure, f"Thoughts that cost {join(gone)} nats die out; those that cost less stay", 380)
    told = f"{MANY:.0%} of lines have one after so many updates: {', '.join(when)}; faint: seed 1"
    dressed.update_layout(title_subtitle_text=told, margin_t=112)
    for name, x in zip(legends, (0.46, 0.99), strict=True):  # each in the empty corner of its panel
        dressed.update_layout({name: {"x": x, "y": 0.08, "xanchor": "right", "yanchor": "bottom", "orientation": "v"}})
    return dressed


def readiness() -> go.Figure:
    """The return of every E-step with the default size of an update over its updates; bold where it had not levelled
    off after `EARLIER` ones."""
    color, marker, _ = styles(("ra3",))["ra3"]
    figure, level = go.Figure(), {seed: levelled_off(looks) for seed, looks in default_size().items()}
    late = sorted(seed for seed, update in level.items() if update is None or update > EARLIER)
    for seed, looks in sorted(default_size().items()):
        x, y = zip(*((look["update"], look["return"]) for look in looks), strict=True)
        bold = seed in late
        line, dots = {"color": color, "width": 2.5 if bold else 1.5}, {"symbol": marker, "size": 7 if bold else 4}
        about = {"name": f"seed {seed}", "opacity": 1 if bold else 0.35, "showlegend": bold}
        figure.add_trace(go.Scatter(x=x, y=y, mode="lines+markers", line=line, marker=dots, **about))
    for update in (EARLIER, EStepConfig().updates):
        dotted = {"color": "rgba(128,128,128,0.8)", "width": 1, "dash": "dot"}
        about = {"annotation_text": f"{update} updates", "annotation_position": "bottom right"}
        figure.add_vline(x=update, line=dotted, **about)
    figure.update_xaxes(title="E-step updates")
    figure.update_yaxes(title="return, nats a program")
    early = f"{len(level) - len(late)} of {len(level)} E-steps have levelled off after {EARLIER} updates"
    last = [f"seed {seed} after {level[seed] or 'more than were run'}" for seed in late]
    return _dressed(figure, ", ".join([early, *last]), 380)


def margins() -> go.Figure:
    """RA3's margins over NTP and prior under every condition: each seed faint, their mean bold; a row for each."""
    groups = margin_tables.groups()
    rows: list[tuple[str, margin_tables.Condition | None]] = []
    for name, found in groups.items():
        rows += [(f"<b>{name}</b>", None), *((condition.name, condition) for condition in found)]
    drawn = [(row, condition) for row, (_, condition) in enumerate(rows) if condition is not None]
    figure, look = go.Figure(), styles(("ntp", "prior"))
    for other, (color, marker, _) in look.items():
        every = [(value, row) for row, condition in drawn for value in condition.margin(other)]
        means = [(float(condition.margin(other).mean()), row) for row, condition in drawn]
        for points, size, opacity in ((every, 7, 0.35), (means, 12, 1)):
            x, y = zip(*points, strict=True)
            dots = {"symbol": marker, "color": color, "size": size, "opacity": opacity}
            about = {"name": f"RA3 - {arm_label(other)}", "showlegend": points is means}
            figure.add_trace(go.Scatter(x=x, y=y, mode="markers", marker=dots, **about))
    figure.add_vline(x=0, line={"color": "rgba(128,128,128,0.8)", "width": 1})
    figure.update_xaxes(title="points of pass@1 that RA3 is ahead")
    texts = [text for text, _ in rows]
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=texts, range=[len(rows) - 0.4, -0.6])
    level = {
        name: [condition.name for condition in found if not (condition.margin("ntp") > 0).all()]
        for name, found in groups.items()
    }
    exceptions = "; ".join(f"{name} {', '.join(values)}" for name, values in level.items() if values)
    dressed = _dressed(figure, "RA3 is ahead of NTP in every seed, with these exceptions", 164 + 24 * len(rows))
    return dressed.update_layout(margin_t=100, title_subtitle_text=exceptions)


def aptness() -> go.Figure:
    """pass@1 against the share of wrong thoughts in the M-step's data: annotators that err by chance, each seed and the
    mean; RA3's seeds from their first M-step's share to their last one's."""
    annotators, found = aptness_tables.annotators(), aptness_tables.discovered()
    figure, look = go.Figure(), styles(("annotator", "ra3"))
    color, marker, dash = look["annotator"]
    points = [(100 * wrong, 100 * rate) for wrong, rates in annotators.items() for rate in rates]
    x, y = zip(*points, strict=True)
    dots = {"symbol": marker, "size": 7, "color": color, "opacity": 0.4}
    figure.add_trace(go.Scatter(x=x, y=y, mode="markers", marker=dots, showlegend=False))
    x, y = [100 * wrong for wrong in annotators], [100 * float(rates.mean()) for rates in annotators.values()]
    dots, line = {"symbol": marker, "size": 10, "color": color}, {"color": color, "dash": dash, "width": 2.5}
    figure.add_trace(go.Scatter(x=x, y=y, mode="lines+markers", marker=dots, line=line, name="annotator"))
    _from_first_to_last(figure, look["ra3"], found, [100 * run.passed for run in found])
    figure.update_xaxes(title="thoughts in the M-step's data that are wrong (%)", range=[-1, 31])
    figure.update_yaxes(title="pass@1 (%)", rangemode="tozero")
    passed = join([f"{100 * run.passed:.0f}" for run in found])
    beside = join([f"{100 * aptness_tables.as_often_wrong(run):.0f}" for run in found])
    told = f"annotators as often wrong (mean of the M-steps, straight lines between) {beside} %"
    dressed = _dressed(figure, f"RA3's seeds pass {passed} %", 380)
    return dressed.update_layout(hovermode="closest", title_subtitle_text=told, margin_t=100)


def breaks() -> go.Figure:
    """Wrong thoughts in a policy's programs against those in its M-step's data: annotators that err by chance, and
    RA3's seeds from their first M-step's share to their last one's."""
    annotators, seeds = aptness_tables.thoughts_gone_wrong()
    figure, look = go.Figure(), styles(("annotator", "ra3"))
    same = {"color": "#767676", "dash": "dot", "width": 1.5}
    figure.add_trace(go.Scatter(x=[0, 31], y=[0, 31], mode="lines", line=same, name="as often as in the data"))
    color, marker, dash = look["annotator"]
    x, y = ([100 * value for value in values] for values in (annotators, annotators.values()))
    dots, line = {"symbol": marker, "size": 10, "color": color}, {"color": color, "dash": dash, "width": 2.5}
    figure.add_trace(go.Scatter(x=x, y=y, mode="lines+markers", marker=dots, line=line, name="annotator, seed 0"))
    found = aptness_tables.discovered()
    _from_first_to_last(figure, look["ra3"], found, [100 * seeds[run.seed] for run in found])
    figure.update_xaxes(title="thoughts in the M-step's data that are wrong (%)", range=[-1, 31])
    figure.update_yaxes(title="the policy's own that are wrong (%)", rangemode="tozero")
    title = "A policy's thoughts are wrong more often than the annotator's that it learned from"
    return _dressed(figure, title, 380).update_layout(hovermode="closest")


def _from_first_to_last(
    figure: go.Figure, style: tuple[str, str, str], found: Sequence[aptness_tables.Found], heights: Sequence[float]
) -> None:
    """A line for each of RA3's seeds from its first M-step's share of wrong thoughts to its last one's."""
    color, marker, _ = style
    for run, y in zip(found, heights, strict=True):
        x, sizes = [100 * wrong for wrong in run.wrong], [0, *[7] * (len(run.wrong) - 2), 12]
        dots, line = {"symbol": marker, "size": sizes, "color": color}, {"color": color, "width": 1.5}
        about = {"name": "RA3, from its first M-step to its last", "showlegend": run is found[0]}
        figure.add_trace(go.Scatter(x=x, y=[y] * len(x), mode="lines+markers", marker=dots, line=line, **about))


def _dressed(figure: go.Figure, title: str, height: int) -> go.Figure:
    """The common look, with room for the legend under the title."""
    return dress(figure, title, height).update_layout(margin_t=76, title_x=0.01, title_y=0.97, title_yanchor="top")


def _lines(
    figure: go.Figure, arm: str, style: tuple[str, str, str], x: Sequence[float], seeds: Sequence[Sequence[float]]
) -> None:
    """A thin line for every seed, and a thick one with markers for their mean."""
    color, marker, dash = style
    for values in seeds:
        thin = {"color": color, "width": 1}
        figure.add_trace(go.Scatter(x=x, y=values, mode="lines", line=thin, opacity=0.6, showlegend=False))
    thick = {"color": color, "dash": dash, "width": 2.5}
    dots = {"symbol": marker, "size": 9, "color": color}
    y = np.mean(seeds, axis=0).tolist()
    figure.add_trace(go.Scatter(x=x, y=y, name=arm_label(arm), mode="lines+markers", line=thick, marker=dots))


FIGURES: dict[str, Callable[[], go.Figure]] = {
    "final": partial(passes, "final", LONGER),
    "best": partial(passes, "best", LONGER),
    "ready": partial(passes, "ready", LONGER),
    "arms": partial(passes, "arms", LONGER),
    "aptness": aptness,
    "breaks": breaks,
    "mechanism": partial(passes, "mechanism", LONGER),
    "settings": settings,
    "readiness": readiness,
    "lengths": lengths,
    "margins": margins,
    "learning": learning,
    "seconds": seconds,
}


def digest(figure: go.Figure) -> str:
    """What tells a figure from another; a last digit that another processor rounds otherwise does not."""
    plain = json.loads(str(figure.to_json()), parse_float=lambda text: round(float(text), 6))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def draw(figures: dict[str, go.Figure]) -> None:
    """Have Chromium draw the figures into files."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        page = browser.new_page()
        page.set_content(f"<!DOCTYPE html><body><script>{get_plotlyjs()}</script></body>")
        for name, figure in figures.items():
            url = page.evaluate(
                "([figure, size]) => Plotly.toImage(figure, {format: 'svg', ...size})",
                [json.loads(str(figure.to_json())), {"width": WIDTH, "height": figure.layout.height}],
            )
            svg = unquote(url.partition(",")[2])
            FOLDER.mkdir(exist_ok=True)
            (FOLDER / f"{name}.svg").write_text(f"{svg}\n<!-- {digest(figure)} -->\n", encoding="utf-8")
        browser.close()


def main(check: bool = False) -> int:
    """Draw what is not drawn yet as the records say it, or compare.

    Args:
        check: Draw nothing; status 1 where a picture differs.
    """
    stale: dict[str, Any] = {}
    for name, make in FIGURES.items():
        file, figure = FOLDER / f"{name}.svg", make()
        if not (file.exists() and digest(figure) in file.read_text(encoding="utf-8")):
            stale[name] = figure
    if check and stale:
        print(f"not what the records say: {', '.join(stale)}; run python benchmarks/figures.py")
    elif stale:
        draw(stale)
    return int(check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(tyro.cli(main))
