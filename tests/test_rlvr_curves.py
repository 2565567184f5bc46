"""Learning curves: what they come to, which runs belong together, and the command that compares them."""

from __future__ import annotations

import json
import math

import pytest

from ra3_lab.cli import main
from ra3_lab.explore.learning import figure_learning, learning_title
from ra3_lab.rlvr.curves import Curve, CurveGroup, common_end, over_seeds, read_groups


def test_area_final_and_steps():
    curve = Curve(0, (0, 10, 30), (0.0, 0.4, 0.4))
    assert curve.area == pytest.approx((10 * 0.2 + 20 * 0.4) / 30)
    assert curve.final == 0.4
    assert curve.steps_to(0.1) == pytest.approx(2.5)
    assert curve.steps_to(0.0) == 0 and curve.steps_to(0.41) == math.inf
    assert Curve(0, (5,), (0.3,)).area == 0.3


def test_intervals_over_seeds_are_student_t():
    """By hand: mean 2, deviation 1, half width 4.3027 / sqrt(3)."""
    mean, low, high = over_seeds([1.0, 2.0, 3.0])
    assert (mean, round(low, 4), round(high, 4)) == (2.0, -0.4841, 4.4841)
    assert math.isnan(over_seeds([1.0]).low)


def test_intervals_of_rates_stay_within_0_and_1():
    low, high = (
        CurveGroup("x", tuple(Curve(i, (0,), (v,)) for i, v in enumerate(row))) for row in ((0, 0.2), (0.7, 1))
    )
    assert low.band()[0][1].low == 0.0 and low.summary(0.5)["final"]["low"] == 0.0 < low.summary(0.5)["final"]["mean"]
    assert high.band()[0][1].high == 1.0 and high.summary(0.5)["area"]["high"] == 1.0
    alone = CurveGroup("x", (Curve(0, (0,), (0.5,)),)).band()[0][1]
    assert alone.mean == 0.5 and math.isnan(alone.low) and math.isnan(alone.high)


def _write(folder, seed, values, init="runs/ra3", validation="v", **settings):
    folder.mkdir()
    given = {"init": init, "seed": seed, "validation_tasks": 5, "prompts": 8, **settings}
    inputs = {"validation_hash": validation, "model_sha256": init}
    record = {"command": "rlvr", "started": "", "settings": given, "inputs": inputs, "versions": {}}
    (folder / "run.json").write_text(json.dumps({"schema_version": 1, **record}))
    rows = [{"stage": "rlvr", "update": 0, "reward": 0.1}]
    rows += [{"stage": "validation", "update": 10 * i, "pass@1": value} for i, value in enumerate(values)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_runs_that_differ_in_the_seed_are_one_group(tmp_path):
    paths = [
        _write(tmp_path / "a0", 0, [0.1, 0.5]),
        _write(tmp_path / "b0", 0, [0.1, 0.2], init="runs/ntp"),
        _write(tmp_path / "a1", 1, [0.1, 0.7, 0.8]),
        _write(tmp_path / "c0", 0, [0.1, 0.3], init="runs/ntp", prompts=4),
    ]
    groups = read_groups(paths)
    assert [(g.label, [c.seed for c in g.curves]) for g in groups] == [("ra3", [0, 1]), ("b0", [0]), ("c0", [0])]
    assert [update for update, _ in groups[0].band()] == [0, 10], "where all seeds were looked at"
    with pytest.raises(ValueError, match=r"seed 0 .*twice"):
        read_groups([paths[0], paths[0]])
    with pytest.raises(ValueError, match="cannot be compared"):
        read_groups([paths[0], _write(tmp_path / "d", 0, [0.1], validation="other")])
    with pytest.raises(ValueError, match="no look at validation"):
        read_groups([_write(tmp_path / "e", 0, [])])


def test_groups_have_names_of_their_own_and_runs_that_go_on_are_not_mixed_with_ended_ones(tmp_path, capsys):
    (tmp_path / "exp1").mkdir()
    (tmp_path / "exp2").mkdir()
    paths = [
        _write(tmp_path / "exp1" / "ra3-0", 0, [0.1, 0.5, 0.9], init="exp1/ra3"),
        _write(tmp_path / "exp1" / "ra3-1", 1, [0.1, 0.3], init="exp1/ra3"),
        _write(tmp_path / "exp2" / "ra3-0", 0, [0.1, 0.7, 0.8], init="exp2/ra3"),
    ]
    one, other = read_groups(paths)
    assert (one.label, other.label) == (str(paths[0]), str(paths[2]))
    row = one.summary(0.4)
    assert row["updates"] == 10 and row["final"]["mean"] == pytest.approx(0.4)
    assert row["area"]["mean"] == pytest.approx((0.3 + 0.2) / 2) and row["reached_level"] == 1
    assert other.summary(0.4)["updates"] == 20
    assert main(["compare", *map(str, paths)]) == 0
    assert f"taken up to update 10, the last at which every run was looked at; further went {paths[0]} to 20, " in (
        capsys.readouterr().out
    )


def test_groups_of_different_length_are_compared_at_the_same_update(tmp_path, capsys):
    """The long group's figures are those that it had where the short one ended, whatever came after."""
    short = [str(_write(tmp_path / f"b{s}", s, [0.3, 0.4 + s / 10], init="runs/ra3", updates=10)) for s in range(2)]
    for name, after in (("a", [0.3, 0.9]), ("c", [])):
        long = [str(_write(tmp_path / f"{name}{s}", s, [0.1, 0.2, *after], init="runs/ntp")) for s in range(2)]
        assert main(["compare", *long, *short, "--json", str(tmp_path / f"{name}.json")]) == 0
    told = capsys.readouterr().out
    assert told.count("note: taken up to update 10") == 1 and "further went ntp to 30." in told
    cut, even = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ac")
    assert cut["groups"] == even["groups"] and cut["level"] == even["level"] == pytest.approx(0.2)
    assert cut["notes"] and even["notes"] == []


def test_the_common_end_is_an_update_at_which_all_were_looked_at():
    tens, fifteens = Curve(0, (0, 10, 20, 30, 40), (0.1,) * 5), Curve(0, (0, 15, 30, 45), (0.1,) * 4)
    groups = [CurveGroup("a", (tens,)), CurveGroup("b", (fifteens,))]
    assert common_end(groups) == 30
    with pytest.raises(ValueError, match="no update at which all runs were looked at"):
        common_end([*groups, CurveGroup("c", (Curve(0, (7,), (0.1,)),))])


def test_no_two_groups_have_one_name(tmp_path):
    """One group's folder is called as another one's start."""
    starts = (("ra3", "embedded"), ("x", "embedded"), ("y", "runs/ra3"))
    groups = read_groups(
        [_write(tmp_path / name, 0, [0.1], init=init, prompts=i) for i, (name, init) in enumerate(starts)]
    )
    assert [group.label for group in groups] == [str(tmp_path / "ra3"), "x", "y"]


def test_the_figures_title_is_the_finding():
    def group(label, *finals):
        return CurveGroup(label, tuple(Curve(i, (0, 10), (0.1, final)) for i, final in enumerate(finals)))

    high, low = group("ra3", 0.8, 0.81, 0.82), group("ntp", 0.3, 0.31, 0.32)
    assert learning_title([low, high]) == "ra3 ends at pass@1 0.81, ntp at 0.31 (intervals apart)"
    assert "overlap" in learning_title([group("a", 0.1, 0.9), group("b", 0.2, 0.7)])
    assert "no evidence" in learning_title([group("a", 0.1), group("b", 0.2)])
    figure = figure_learning([low, high])
    assert len(figure.data) == 4 and figure.data[1].y[-1] == pytest.approx(0.31)
    assert len(figure_learning([group("a", 0.1)]).data) == 1, "no band of one seed"


def test_groups_are_compared_where_all_of_them_were_looked_at():
    ahead = CurveGroup("b", tuple(Curve(i, (0, 10, 40), (0.1, 0.3, 0.8)) for i in range(3)))
    short = CurveGroup("a", (Curve(0, (0, 10), (0.1, 0.5)),))
    expected = "After 10 updates a is at pass@1 0.50, b at 0.30 (a has one seed: no evidence)"
    assert learning_title([short, ahead]) == learning_title([ahead, short]) == expected
    both = [short, CurveGroup("b", ahead.curves[:1])]
    assert learning_title(both).endswith("b at 0.30 (one seed each: no evidence)")
    assert learning_title([short]) == "a ends at pass@1 0.50"
    apart = CurveGroup("c", (Curve(0, (5,), (0.1,)),))
    with pytest.raises(ValueError, match="no update at which all runs were looked at"):
        learning_title([short, apart])
    assert [trace.name for trace in figure_learning([short, ahead]).data if trace.name] == ["a (1 seed)", "b (3 seeds)"]


def test_the_command_prints_and_draws(tmp_path, capsys):
    runs = [str(_write(tmp_path / f"a{s}", s, [0.1, 0.5 + s / 10])) for s in range(2)]
    runs.append(str(_write(tmp_path / "b", 0, [0.1, 0.3], init="runs/ntp")))
    assert main(["compare", *runs, "--figure", str(tmp_path / "c.html"), "--json", str(tmp_path / "c.json")]) == 0
    text = capsys.readouterr().out
    assert "updates to 0.300" in text and "one seed" in text
    record = json.loads((tmp_path / "c.json").read_text())
    assert record["groups"][0]["final"]["mean"] == pytest.approx(0.55) and record["groups"][1]["seeds"] == [0]
    page = (tmp_path / "c.html").read_text()
    assert "Plotly.newPlot" in page and 'src="http' not in page
    assert main(["compare", runs[0], "--figure", str(tmp_path / "c.png")]) == 2
    assert main(["compare", str(tmp_path)]) == 2
