"""The arms over several training seeds: mean rates, and paired differences with intervals over seeds and tasks.

Input is one record a seed, as `ra3-lab study` writes it. Every arm met the same tasks at every seed, so two arms are
compared task by task and seed by seed (`passk.paired_difference_ci`); differences of unpaired means would add the
spread of the tasks. An arm's own interval, `ci95`, is over seeds and tasks as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ra3_lab.evaluate.passk import crossed_mean_ci, paired_difference_ci

PAIRS = (("ra3", "prior"), ("ra3", "ntp"), ("ra3", "base"), ("prior", "ntp"), ("prior", "base"), ("ntp", "base"))
"""Differences that are reported unless others are asked for, first minus second."""

ARM_MEANS = ("thoughts_per_program", "updates", "tokens", "seconds")
"""An arm's costs, averaged over seeds."""

LATENT_MEANS = (
    "precision",
    "recall",
    "f1",
    "random_f1",
    "think_share",
    "apt",
    "nmi",
    "duration",
    "tokens_per_thought",
)
"""Scores of an arm's latents (`latents.describe_latents`), averaged over seeds."""


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    """Mean over the seeds that have a value; None where none has (an arm that never thinks has no apt thoughts)."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _arm(rows: Sequence[dict[str, Any]], passed: np.ndarray) -> dict[str, Any]:
    """One arm's row. `rows`: its summaries, one a seed; `passed`: (seeds, tasks) share of samples that passed."""
    mean, low, high = crossed_mean_ci(passed)
    return {
        "pass@1": mean,
        "ci95": [max(low, 0.0), min(high, 1.0)],
        "by_seed": passed.mean(axis=1).tolist(),
        "pass@4": _mean_of_known([row["pass@4"] for row in rows]),
        **{key: float(np.mean([row[key] for row in rows])) for key in ARM_MEANS},
        **{
            group: {name: float(np.mean([row[group][name] for row in rows])) for name in rows[0][group]}
            for group in ("by_length", "by_listing")
        },
    }


def summarise_seeds(records: Sequence[dict[str, Any]], pairs: Sequence[tuple[str, str]] = PAIRS) -> dict[str, Any]:
    """The table over seeds: each arm's means, paired differences, and the scores of the latents.

    records: one a seed, all with the same arms on the same tasks. Read from each: `seed`, `versions`, `correct`
    (arm -> (tasks, samples) bool), `summary.arms` and `segmentation` (arm -> scores). Rates are in 0..1; a difference
    is {a, b, mean, low, high} of pass@1 of a minus b, for every pair of which both arms were run. Raises ValueError
    without records, or where two arms were not scored on equally many tasks.
    """
    if not records:
        raise ValueError("no records to summarise: one per seed is needed.")
    first = records[0]
    passed = {arm: np.array([np.mean(r["correct"][arm], axis=1) for r in records]) for arm in first["correct"]}
    return {
        "schema_version": 1,
        "seeds": [r["seed"] for r in records],
        "arms": {arm: _arm([r["summary"]["arms"][arm] for r in records], values) for arm, values in passed.items()},
        "differences": [
            {"a": a, "b": b, **paired_difference_ci(passed[a], passed[b])._asdict()}
            for a, b in pairs
            if a in passed and b in passed
        ],
        "segmentation": {
            arm: {key: _mean_of_known([r["segmentation"][arm][key] for r in records]) for key in LATENT_MEANS}
            for arm in first["segmentation"]
        },
        "versions": first["versions"],
    }
