"""Every explorer on shipped records and the embedded model: what benchmarks time and tests look at in a browser."""

from __future__ import annotations

from collections.abc import Callable

from ra3_lab.explore import labs
from ra3_lab.explore.abstractions import abstraction_map
from ra3_lab.explore.compare import run_comparison
from ra3_lab.explore.editor import counterfactual_editor, workbench
from ra3_lab.explore.explorer import Explorer
from ra3_lab.explore.groups import group_browser
from ra3_lab.explore.knobs import oracle_knobs, recorded_knobs
from ra3_lab.explore.rewards import rlvr_curves
from ra3_lab.explore.timeline import latent_timeline
from ra3_lab.records import load_record
from ra3_lab.rlvr.rollouts import read_rollouts


def _editor() -> Explorer:
    from ra3_lab.models.load import load_model
    from ra3_lab.tasks.pipelines import load_split

    model, tokenizer = load_model("embedded", "cpu")
    return counterfactual_editor(workbench(model, tokenizer, load_record("em"), load_split("expert")), exported=1)


GALLERY: dict[str, Callable[[], Explorer]] = {
    "timeline": lambda: latent_timeline(load_record("em")),
    "map": lambda: abstraction_map(load_record("em")),
    "recorded-knobs": lambda: recorded_knobs(load_record("em")),
    "oracle-knobs": oracle_knobs,
    "comparison": lambda: run_comparison([load_record("em")]),
    "groups": lambda: group_browser(read_rollouts("hacking")),
    "rlvr-curves": lambda: rlvr_curves(load_record("hacking")),
    "regret-lab": labs.regret_explorer,
    "pruning-lab": labs.pruning_explorer,
    "horizon-lab": labs.horizon_explorer,
    "editor": _editor,
}
"""Name -> what makes it; only the editor loads a model."""
