"""The explorers: what they say follows from the record, in every form, at every setting."""

import itertools
import json
import math
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from ra3_lab.evaluate.latents import true_trace
from ra3_lab.explore import editor, labs, rollouts
from ra3_lab.explore.abstractions import abstraction_map, kind_of, kinds, occurrences
from ra3_lab.explore.compare import read_records, run_comparison
from ra3_lab.explore.counterfactual import draw_comparison
from ra3_lab.explore.curves import draw_estep, draw_mstep
from ra3_lab.explore.discovery import draw_discovery
from ra3_lab.explore.explorer import Action, Control, Explorer
from ra3_lab.explore.figures import styles
from ra3_lab.explore.findings import Twin, number
from ra3_lab.explore.groups import group_browser
from ra3_lab.explore.knobs import LENGTH, TRUE_ALPHA, oracle_bounds, oracle_knobs, recorded_knobs
from ra3_lab.explore.session import start
from ra3_lab.explore.timeline import latent_timeline
from ra3_lab.explore.variants import Comparison, Variant
from ra3_lab.explore.view import View
from ra3_lab.midtrain.estep import EStep, EStepConfig
from ra3_lab.records import load_record, run_record
from ra3_lab.rlvr.rollouts import read_rollouts
from ra3_lab.tasks.pipelines import load_split
from ra3_lab.theory.closed_forms import renewal_cost
from ra3_lab.theory.oracle import HiddenWorld, evidence, skill_world
from ra3_lab.trace import Trace

PROMPT = 'def solve(xs):\n    """Steps a to b:\n    b return <xs>\n    a add 2\n    """\n'
LINES = [
    "    added = []\n",
    "    for x in xs:\n",
    "        added.append(x + 2)\n",
    "    xs = added\n",
    "    return xs\n",
]


def made_record() -> dict:
    """One program at three looks: no thought, one true and one wrong, both true."""

    def seen(latents, gains, logp):
        keys = [str(t) for t in latents]
        return {
            "latents": dict(zip(keys, latents.values(), strict=True)),
            "gains": dict(zip(keys, gains, strict=True)),
            "logp": logp,
            "plain": [-2.0, -0.1, -0.1, -0.1, -1.0],
        }

    looks = [
        (0, 0, seen({}, [], [-2.0, -0.1, -0.1, -0.1, -1.0]), {}),
        (0, 5, seen({0: " a add 2", 2: " b oh <no>"}, [1.5, -3.0], [-0.5, -0.1, -3.1, -0.1, -1.0]), {}),
        (
            0,
            5,
            seen({0: " a add 2", 4: " b return <xs>"}, [1.5, 0.75], [-0.5, -0.1, -0.1, -0.1, -0.25]),
            {"after": "em"},
        ),
    ]
    return {
        "schema_version": 1,
        "programs": [
            {
                "task_id": "expert/<0>",
                "prompt": PROMPT,
                "lines": LINES,
                "starts": [0, 4],
                "truth": [" a add 2", " b return <xs>"],
                "skills": ["add", "return_list"],
            }
        ],
        "looks": [
            {"round": r, "update": u, "scores": {"return": 0.0, "f1": 0.0}, "programs": [p], **more}
            for r, u, p, more in looks
        ],
    }


@pytest.fixture(scope="module")
def shipped() -> dict:
    return load_record("em")


def explorers(record: dict) -> list[Explorer]:
    return [latent_timeline(record), abstraction_map(record), recorded_knobs(record), oracle_knobs()]


# --- every explorer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(4))
def test_every_setting_has_text_table_and_drawing(place):
    explorer = explorers(made_record())[place]
    for values in list(explorer.grid())[::7]:
        view = explorer.view(**values)
        assert view.twin.title and view.twin.text
        assert all(len(row) == len(view.twin.columns) for row in view.twin.rows)
        assert view.twin.title in explorer.to_text(**values)
        assert "nan" not in (explorer.to_text(**values) + view.head() + view.tail()).lower().split()
        if figure := view.figure_json():
            assert json.loads(figure)["data"]
            assert not json.loads(figure)["layout"].get("title"), "the finding says it"


@pytest.mark.parametrize("place", range(4))
def test_the_page_is_whole_and_loads_nothing(place):
    explorer = explorers(made_record())[place]
    page = explorer.to_html()
    assert page == explorer.to_html(), "same explorer, same page"
    script = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert script
    data = json.loads(script[1])
    sizes = [len(axis["values"]) for axis in data["axes"]]
    assert len(data["views"]) == math.prod(sizes)
    ours = page.replace(__import__("plotly.offline", fromlist=["x"]).get_plotlyjs(), "")
    assert not re.search(r'(src|href)\s*=\s*"(?!data:)', ours), "something is loaded from elsewhere"
    for control in explorer.controls:
        if control.kind in ("slider", "choice") and len(control.on_page) > 1:
            assert f'for="control-{control.name}"' in page
    assert "<no>" not in page.replace("\\u003cno>", "<no>"), "a thought is escaped"


def test_the_shipped_record_draws_everywhere(shipped):
    for explorer in explorers(shipped):
        assert explorer.to_text()
        for control in explorer.controls:
            for value in (control.values[0], control.values[-1]):
                assert explorer.view(**{control.name: value}).twin.title


def test_what_a_control_cannot_be_is_named():
    explorer = latent_timeline(made_record())
    with pytest.raises(ValueError, match="timeline has no control 'colour'; there are program, look, line"):
        explorer.view(colour=1)
    with pytest.raises(ValueError, match="timeline: look=99 is not allowed; it can be 0, 1, 2"):
        explorer.set(look=99)
    with pytest.raises(ValueError, match="default 7 is not among"):
        Control("a", "A", (1, 2), 7)


def test_state_is_where_the_reader_put_it():
    explorer = latent_timeline(made_record())
    assert explorer.state["look"] == 2
    explorer.set(look=1)
    assert "update 5" in explorer.to_text() and "1 of 2 true steps" in explorer.to_text()
    assert "2 of 2 true steps" in explorer.to_text(look=2)
    assert explorer.state["look"] == 1, "asking does not move anything"


def plain(*controls: Control) -> Explorer:
    return Explorer("many", "Many", "", controls, lambda **values: View(Twin(str(values), "x", (), ())))


def test_of_too_many_settings_a_page_has_some_evenly_spread():
    long, short = Control("n", "n", tuple(range(500)), 249), Control("m", "m", (0, 1), 0, "choice")
    explorer = plain(long, short)
    kept = explorer.on_page()
    assert kept["m"] == (0, 1) and len(kept["n"]) == 200 and len(list(explorer.grid())) == 400
    assert kept["n"][0] == 0 and kept["n"][-1] == 499 and 249 in kept["n"]
    assert {b - a for a, b in itertools.pairwise(kept["n"])} <= {1, 2, 3, 4}
    explorer.set(n=next(n for n in range(500) if n not in kept["n"]))
    page = explorer.to_html()
    assert 'max="199"' in page and f'<output for="control-n">{long.default}</output>' in page
    with pytest.raises(ValueError, match="729 settings on one page, 400 at most"):
        plain(*(Control(name, name, (0, 1, 2), 0) for name in "abcdef")).to_html()


def test_long_runs_and_large_groups_fit_on_a_page(shipped):
    long = shipped | {"looks": [shipped["looks"][-2] | {"update": i} for i in range(60)]}
    for explorer in (recorded_knobs(long), latent_timeline(long)):
        looks = explorer.on_page()["look"]
        assert looks[0] == 0 and looks[-1] == 59 and len(looks) < 60
        assert len(list(explorer.grid())) <= 400
    groups = [replace(group, answers=group.answers * 8) for group in read_rollouts("hacking")]
    answers = group_browser(groups).on_page()["answer"]
    assert answers[0] == 0 and answers[-1] == len(groups[0].answers) - 1


def test_a_record_without_looks_is_named():
    for make in (latent_timeline, abstraction_map, recorded_knobs):
        with pytest.raises(ValueError, match="holds no looks at programs"):
            make({"schema_version": 1})


# --- one by one ---------------------------------------------------------------------------------------


def test_timeline_tells_keep_from_renew_and_what_a_line_owes():
    explorer = latent_timeline(made_record())
    modes = [row["z"] for row in explorer.table(look=1)]
    assert modes == ["renew", "keep", "renew", "keep", "keep"]
    assert [row["z"] for row in explorer.table(look=0)] == ["none"] * 5
    body = explorer.view(look=1, line=3).body
    assert "under the thought before line 3" in body and "b oh &lt;no&gt;" in body
    shown = re.findall(r'<div class="detail" data-when="line=(\d)">', body)
    assert shown == ["3"]
    assert "2 of 2 true steps announced in the true words" in explorer.view(look=2).twin.title
    assert "1 of 2 true steps announced in the true words" in explorer.view(look=1).twin.title


def test_timeline_adds_up():
    view = latent_timeline(made_record()).view(look=2)
    assert "the thoughts together bought 2.25 nats" in view.twin.text
    assert "the thoughts together lost 1.50 nats" in latent_timeline(made_record()).view(look=1).twin.text


def test_timeline_without_a_truth_has_no_column_for_it():
    record = made_record()
    record["programs"][0] |= {"starts": [], "truth": [], "skills": []}
    for made, cells in ((made_record(), 5), (record, 4)):
        view = latent_timeline(made).view(look=1)
        rows = re.findall(r"<tr.*?</tr>", view.body)
        assert {row.count("</td>") + row.count("</th>") for row in rows} == {cells}
        assert view.body.count("<col ") + view.body.count("<col>") == cells
        assert ("true step" in view.twin.columns) == ("True step?" in view.body) == (cells == 5)
        assert all(len(row) == len(view.twin.columns) for row in view.twin.rows)


def test_kinds_leave_labels_and_numbers_out():
    assert kind_of(" d keep the first 4") == kind_of(" k keep the first 7") == "keep the first N"
    assert kind_of(" a") == "a" and kind_of("") == "(empty)"
    found = occurrences(made_record(), 1)
    assert [(one.line, one.duration) for one in found] == [(0, 2), (2, 3)]
    assert list(kinds(found)) == ["add N", "oh <no>"]


def test_map_compares_with_the_first_look():
    explorer = abstraction_map(made_record())
    assert "New since the first look: add N and return <xs>" in explorer.view(look=2).twin.text
    assert explorer.view(look=0).twin.title.startswith("No thoughts at all")


def test_map_of_a_run_that_stops_thinking():
    record = made_record()
    record["looks"].reverse()
    assert abstraction_map(record).view().twin.title.startswith("No thoughts at all")
    assert "add N" in abstraction_map(record).view(look=0).body
    assert abstraction_map(load_record("failures")["runs"]["never thinks"]).to_text()


def test_recorded_knobs_count_what_pays():
    explorer = recorded_knobs(made_record())
    assert "1 of 2 thoughts pay" in explorer.view(look=2, cost=1.0).twin.title
    assert "2 of 2 thoughts pay" in explorer.view(look=2, cost=0.1).twin.title
    asked = number(renewal_cost(0.8, 100))
    assert f"would ask {asked} nats" in explorer.view(alpha=0.8, size=100).twin.text


def test_oracle_knobs_obey_the_bound():
    for alpha, cost, size in ((0.3, 0.0, 2), (0.8, 1.0, 3), (0.99, 5.0, 4)):
        log_p, ways = oracle_bounds(alpha, cost, size)
        values = {name: way.elbo for name, way in ways.items()}
        assert values["exact posterior"] == pytest.approx(log_p, abs=1e-9)
        assert all(value <= log_p + 1e-9 for value in values.values())
        assert values["causal, exact KL"] >= max(values["from the prior"], values["causal, priced at c"]) - 1e-9
    shares = [oracle_bounds(0.8, cost, 3)[1]["causal, priced at c"].share for cost in (0.0, 0.1, 0.2)]
    assert shares[0] > shares[1] > shares[2] == 0


@pytest.mark.parametrize(("alpha", "size"), [(0.8, 3), (0.5, 2)])
def test_the_causal_q_of_the_knobs_foresees_no_line(alpha, size):
    """The bound is that of a q that knows of the next line only how likely the world writes it after these."""
    true = skill_world(thoughts=size, lines=3, alpha=TRUE_ALPHA, noise=0.1)
    learner = HiddenWorld(alpha, true.emission)

    @cache
    def chance(*lines: int) -> float:
        return float(np.exp(evidence(true, np.array([lines])))[0]) if lines else 1.0

    @cache
    def best(lines: tuple[int, ...], z: int) -> float:
        if len(lines) == LENGTH:
            return 0.0
        before, brought = lines[-1] if lines else true.lines, []
        for u, log_prior in enumerate(learner.log_prior):
            logp = np.log(true.emission[int(u > 0), u or z, before])
            brought.append(
                log_prior
                + sum(chance(*lines, a) / chance(*lines) * (logp[a] + best((*lines, a), u or z)) for a in range(3))
            )
        return float(np.logaddexp.reduce(brought))

    assert oracle_bounds(alpha, 0.1, size)[1]["causal, exact KL"].elbo == pytest.approx(best((), 0), abs=1e-9)


def rates(monkeypatch, tokenizer, line: int, passed: int = 0) -> View:
    """Pass rates at a line of a task's true program; the model is replaced, `passed` of 2 pass after the true thought
    and after none."""
    task = load_split("expert")[0]
    bench = editor.Workbench(None, tokenizer, (true_trace(task),), (task,))

    def count(bench, trace, task, line, tried, samples, seed):
        return {name: passed * (name in ("as it is", "no thought")) for name in tried}

    monkeypatch.setattr(editor, "pass_counts", count)
    return editor.draw_rates(bench, 0, line, "", samples=2)


def test_pass_rates_try_each_text_once_and_name_the_program(monkeypatch, small_tokenizer):
    task = load_split("expert")[0]
    inside = next(t for t in range(len(task.lines)) if t not in task.starts)
    silent, told = rates(monkeypatch, small_tokenizer, inside), rates(monkeypatch, small_tokenizer, task.starts[0], 1)
    assert [row[0] for row in silent.twin.rows][:1] == ["no thought"]
    assert [row[0] for row in told.twin.rows][:2] == ["as it is", "no thought"]
    assert silent.twin.title == "No program passes after any of these"
    assert told.twin.title == "Most programs pass after as it is and no thought: 1 of 2 each"
    assert f"the rest of {task.task_id} from line {inside + 1} on" in silent.twin.text


def test_thoughts_in_another_language_begin_as_its_comments_do():
    trace = Trace("", ("SELECT a\n", "FROM t\n"), (" first", None), "query", "--")
    variants = (Variant("as it is", " first", (-1.0, -1.0)), Variant("no thought", None, (-2.0, -1.0)))
    view = draw_comparison(Comparison(trace, 0, variants))
    assert [row[2] for row in view.twin.rows] == ["-- first", "no thought"] and "(-- first)" in view.twin.title
    assert "<code>-- first</code>" in editor._listing(trace, 1, (0, 2))
    assert editor.Workbench(None, None, (trace,)).thoughts(0, 1, "-- my own")["yours"] == " my own"


@pytest.mark.parametrize("name", ["copies the next line", "always thinks"])
def test_the_timeline_begins_with_a_program_that_has_thoughts_where_one_has(name):
    run = load_record("failures")["runs"][name]
    assert "0 thoughts" not in latent_timeline(run).view().twin.title


def test_all_controls_are_hatched_and_doubt_a_thought():
    trace = Trace("", ("x = 1\n",), (" first",), "program")
    names = {"as it is": -0.1, "no thought": -2.0, "swapped": -1.0, "random": -3.0, "yours": -0.5}
    view = draw_comparison(
        Comparison(trace, 0, tuple(Variant(n, None if v == -2.0 else n, (v,)) for n, v in names.items()))
    )
    (bars,) = view.figure.data
    hatched = [name.strip() for name, shape in zip(bars.y, bars.marker.pattern.shape, strict=True) if shape]
    assert sorted(hatched) == ["random", "swapped"]
    assert "Controls that help too (swapped)" in view.twin.text


def made_seeds() -> list[dict]:
    """Two seeds of two arms; ra3's loss ends at 0.2 and 0.4, ntp's at 0.5 both times."""
    return [
        {
            "schema_version": 1,
            "seed": seed,
            "mstep": {
                "ntp": [{"update": i, "loss": 0.5 + 0.1 * (3 - i)} for i in range(4)],
                "ra3": [{"update": i, "loss": end} for i in range(4)],
            },
            "summary": {"arms": {"ra3": {"updates": 10, "tokens": 2_000_000, "seconds": 30.0 + seed}}},
        }
        for seed, end in ((0, 0.2), (1, 0.4))
    ]


def test_comparison_has_bands_over_seeds_and_the_cost(tmp_path):
    explorer = run_comparison(made_seeds())
    view = explorer.view(window=1)
    assert view.twin.title.startswith("M-step loss ends lowest for RA3: 0.300")
    rows = {row["arm"]: row for row in explorer.table()}
    assert rows["RA3"]["seeds"] == "2" and rows["RA3"]["tokens (millions)"] == "2.00"
    assert rows["RA3"]["95 % interval"] == "−0.971 to 1.571"  # 0.3 ± 12.706 * 0.1
    assert len(json.loads(view.figure_json())["data"]) == 4, "a band and a line an arm"
    looked = {"validation": {"ra3": [{"update": n, "score": n / 10} for n in (1, 2, 3)]}}
    assert list(run_comparison([looked]).view(window=10).figure.data[0].y) == [0.1, 0.2, 0.3], "looks are not smoothed"
    alone = run_comparison(made_seeds()[:1]).view()
    assert "One seed: no band" in alone.twin.text and len(json.loads(alone.figure_json())["data"]) == 2
    with pytest.raises(ValueError, match="nothing to compare"):
        run_comparison([{"schema_version": 1}])
    with pytest.raises(FileNotFoundError, match=r"no records\.jsonl"):
        read_records(tmp_path)


def test_the_editor_goes_where_a_thought_is_offered(tiny_thinker, small_tokenizer):
    commented = Trace("", ("x = 1\n", "# the expert's own\n", "y = x\n"), (None, None, " z done"), "commented")
    thinking = Trace("", ("x = 1\n", "y = x\n"), (None, " z done"), "thinking")
    comments = Trace("", ("# nothing\n", "# else\n"), (), "comments")
    explorer = editor.counterfactual_editor(
        editor.Workbench(tiny_thinker, small_tokenizer, (thinking, commented, comments))
    )
    assert explorer.to_html(), "line 2 has a thought in the first program and is a comment in the second"
    pressed = re.findall(r'data-set="line=(\d)" aria-pressed="true"', explorer.view(program=1, line=1).body)
    assert pressed == ["2"] and "before line 3" in explorer.view(program=1, line=1).twin.text
    nowhere = explorer.view(program=2)
    assert nowhere.twin.title == "No line of comments takes a thought" and "data-set" not in nowhere.body


def drawn_group(monkeypatch, model, tokenizer, returns=None, **settings) -> View:
    """A group of three, with these returns at the first line where given."""
    estep = EStep(model, model, tokenizer, EStepConfig(group=3, **settings), seed=0, precision="fp32")
    if returns:
        monkeypatch.setattr(rollouts, "group_returns", lambda *_: torch.tensor(returns)[:, None])
    return rollouts.draw_group(estep, Trace("", ("x = 1\n", "y = x\n")))


@pytest.mark.parametrize(
    ("returns", "title"),
    [
        ([-5.0, -5.0, -5.0], "All 3 latent sequences of one program earn the same: −5.00 nats"),
        ([-5.0, -6.0, -5.0], "Of 3 latent sequences of one program, numbers 1 and 3 earn most: −5.00 nats"),
        ([-5.0, -4.0, -5.0], "Of 3 latent sequences of one program, number 2 earns most: −4.00 nats"),
    ],
)
def test_of_a_group_all_that_earn_most_are_named(returns, title, monkeypatch, tiny_thinker, small_tokenizer):
    assert drawn_group(monkeypatch, tiny_thinker, small_tokenizer, returns).twin.title == title


def test_a_groups_return_is_told_with_the_settings_in_force(monkeypatch, tiny_thinker, small_tokenizer):
    settings = {"discount": 0.5, "horizon": 1, "kl": 0.1}
    text = drawn_group(monkeypatch, tiny_thinker, small_tokenizer, **settings).twin.text
    assert (
        "log-likelihood of its lines, each −10.00 nats at least (floor), minus 0.10 nats a thought and 1.00 more for "
        "an empty or cut one (penalty); only the first line counts (horizon); a line counts 0.5 times as much as the "
        "one before it (discount); without the E-step's kl." in text
    )
    masked = drawn_group(monkeypatch, tiny_thinker, small_tokenizer, cost=math.inf, floor=None)
    assert "is the log-likelihood of its lines. " in masked.twin.text
    assert {row[1] for row in masked.twin.rows} == {"no thought"} and "–" not in masked.twin.rows[0]


def validated(*seeds: dict[str, float]) -> list[dict]:
    """A record a seed: arm -> score at the second of two looks, 0 at the first."""
    return [
        {
            "validation": {
                arm: [{"update": 0, "score": 0.0}, {"update": 10, "score": score}] for arm, score in arms.items()
            }
        }
        for arms in seeds
    ]


def test_intervals_of_pass_rates_end_where_rates_do():
    view = run_comparison(
        validated({"ra3": 0.0, "ntp": 0.9}, {"ra3": 0.0, "ntp": 1.0}, {"ra3": 0.3, "ntp": 1.0})
    ).view()
    assert {row[0]: row[3] for row in view.twin.rows} == {"RA3": "0.000 to 0.530", "NTP": "0.823 to 1.000"}
    assert all(0 <= y <= 1 for trace in view.figure.data for y in trace.y)
    nats = run_comparison(validated({"ra3": -2.0}, {"ra3": -3.0})).view()
    assert nats.twin.rows[0][3] == "−8.853 to 3.853", "a score of one's own is no rate"


def test_arms_with_fewer_seeds_are_named():
    even = run_comparison(validated({"ra3": 0.1, "ntp": 0.2}, {"ra3": 0.2, "ntp": 0.2})).view()
    assert "over 2 seeds (Student's t). " in even.twin.text + " "
    odd = run_comparison(validated({"ra3": 0.1, "ntp": 0.2}, {"ra3": 0.2})).view()
    assert "over 2 seeds (Student's t; NTP has 1)." in odd.twin.text


def test_updates_of_both_steps_are_counted_with_and_without_a_summary(shipped):
    counted = {row["arm"]: row["E- and M-step updates"] for row in run_comparison([shipped]).table()}
    assert counted == {"NTP": "60", "RA3": "60"}, "RA3: 20 of the E-step, 40 of the M-step"
    assert {row["arm"]: row["E- and M-step updates"] for row in run_comparison(made_seeds()).table()}["RA3"] == "10"
    assert run_comparison([shipped]).view().figure.layout.xaxis.title.text == "M-step updates"


def test_many_arms_are_told_apart_and_few_are_named():
    arms = ["ra3", *(f"arm {n}" for n in range(30))]
    found = styles(arms)
    assert len(set(found.values())) == len(arms) and found["ra3"] == styles(["ra3"])["ra3"]
    (record, *_) = made_seeds()
    record["mstep"] = {arm: [{"update": 1, "loss": 1.0 + n}] for n, arm in enumerate(arms)}
    title = run_comparison([record]).view().twin.title
    assert title == "M-step loss ends lowest for RA3: 1.000 (arm 0 2.000, arm 1 3.000, arm 2 4.000, and 27 more)"


@pytest.mark.parametrize("make", [labs.regret_explorer, labs.pruning_explorer, labs.horizon_explorer])
def test_labs_move_with_their_sliders(make):
    explorer = make()
    first = explorer.view()
    other = explorer.view(**{explorer.controls[1].name: explorer.controls[1].values[0]})
    assert first.twin.text != other.twin.text
    assert len(list(explorer.grid())) <= 400


# --- in a notebook ------------------------------------------------------------------------------------


def test_widget_moves_with_its_controls_and_hears_clicks():
    pytest.importorskip("ipywidgets")
    explorer = latent_timeline(made_record())
    widget = explorer.widget()
    slider = widget._inputs["look"]
    slider.value = 1
    assert "round 1, E-step update 5" in widget.top.html
    widget.top.clicked = ["line", "3", 1]
    assert explorer.state == {"program": 0, "look": 1, "line": 3}
    assert widget.drawing.outputs[0]["data"]["application/vnd.plotly.v1+json"]["data"]
    assert not widget.errors


def test_an_error_in_a_callback_is_shown_and_kept():
    pytest.importorskip("ipywidgets")

    def draw(n):
        if n == 2:
            raise ValueError("n = 2 is <bad>: take 1")
        return View(Twin(f"n is {n}", "fine", (), ()))

    def press(n):
        raise RuntimeError("no model")

    explorer = Explorer("e", "E", "", (Control("n", "n", (1, 2, 3), 1),), draw, (Action("Try", press),))
    widget = explorer.widget()
    widget._inputs["n"].value = 2
    assert 'role="alert"' in widget.top.html and "n = 2 is &lt;bad&gt;: take 1" in widget.top.html
    assert len(widget.errors) == 1
    widget._inputs["n"].value = 3
    assert "n is 3" in widget.top.html, "the next move draws again"
    button = widget.children[-2].children[0]
    button.click()
    assert "RuntimeError: no model" in widget.answer.html


def test_an_answer_goes_when_what_it_answers_changes():
    pytest.importorskip("ipywidgets")

    def view(n, line):
        return View(Twin(f"{n} at {line}", "fine", (), ()))

    controls = (Control("n", "n", (1, 2), 1), Control("line", "Line", (0, 1), 0, "click", redraws=False))
    widget = Explorer("e", "E", "", controls, view, (Action("Try", view),)).widget()
    (button,) = widget.children[-2].children
    button.click()
    assert "1 at 0" in widget.answer.html
    widget.top.clicked = ["line", "0", 1]
    assert "1 at 0" in widget.answer.html, "nothing moved"
    widget.top.clicked = ["line", "1", 2]
    assert not widget.answer.html
    button.click()
    widget._inputs["n"].value = 2
    assert not widget.answer.html and not widget.errors


def test_text_controls_take_one_short_line():
    explorer = Explorer("e", "E", "", (Control("t", "t", (), "", "text"),), lambda t: View(Twin(t or "-", "x", (), ())))
    explorer.set(t="d add 3")
    assert explorer.view().twin.title == "d add 3"
    for bad in ("two\nlines", "x" * 201, 3):
        with pytest.raises(ValueError, match="one line of 200 characters"):
            explorer.set(t=bad)
    assert "Only in the notebook, where a model runs: t" in explorer.to_html()


# --- curves -------------------------------------------------------------------------------------------


def test_curves_of_a_run_come_from_its_folder_while_it_is_written(tmp_path):
    record = {"command": "midtrain", "started": "", "settings": {"method": "ra3"}, "inputs": {}, "versions": {}}
    (tmp_path / "run.json").write_text(json.dumps({"schema_version": 1, **record}))
    estep = {"schema_version": 1, "stage": "estep", "round": 0, "return": -4.0, "think_share": 0.1}
    mstep = {"schema_version": 1, "stage": "mstep", "round": 0, "update": 1, "loss": 0.25}
    rows = [estep | {"update": 0}, estep | {"update": 1, "return": -3.0}, mstep]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"torn')
    record = run_record(tmp_path)
    drawn = draw_estep(record).twin
    assert "rose from −4.0 to −3.0" in drawn.title and "Over 2 E-step updates in 1 round" in drawn.text
    assert "0.250" in draw_mstep(record).twin.title
    with pytest.raises(FileNotFoundError, match="is no run directory"):
        run_record(tmp_path / "nothing")


def test_discovery_averages_over_seeds_and_draws_each():
    looks = [(0, 0, 0.4), (0, 5, 0.8), (1, 5, 1.0)]
    seeds = [
        {"monitor": [{"round": r, "update": u, "return": -1.0, "f1": f1 - d, "think_share": 0.2} for r, u, f1 in looks]}
        for d in (0.0, 0.2)
    ]
    view = draw_discovery(seeds)
    assert view is not None and "F1 rose from 0.30 to 0.90" in view.twin.title and "2 seeds" in view.twin.text
    alone = draw_discovery(seeds[:1])
    assert alone is not None and len(view.figure.data) == len(alone.figure.data) + 6, "three lines a seed"
    assert draw_discovery([{"monitor": []}]) is None


# --- the first cell -----------------------------------------------------------------------------------


def test_the_first_cell_says_what_the_preset_needs(capsys):
    start("05", minutes=2, memory_gb=1)
    assert "about 2 minutes and 1 GB of memory on two CPU cores; no network" in capsys.readouterr().out
    start("05", minutes=2, memory_gb=1, preset="qwen-0.5b")
    said = capsys.readouterr().out
    assert "a GPU, and the network the first time; the embedded preset needs about 2 minutes" in said
    assert "no network" not in said
