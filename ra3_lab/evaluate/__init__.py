"""Scores of programs and of latents. What is named below is pure maths on numpy: no model, no files.

`passk.py`: pass@k and intervals over tasks and seeds. `segmentation.py`: latents against the true segments.
`seeds.py`: the arms over several training seeds. The other modules here run a model.

The package can be called: `ra3_lab.evaluate(model, tokenizer, data)` is `ra3_lab.api.evaluate`. A function of that name
would be hidden by this package, or hide it, depending on what is imported first.
"""

import sys
from types import ModuleType
from typing import Any

from ra3_lab.evaluate.passk import Interval, bootstrap_ci, paired_difference_ci, pass_at_k, pass_at_k_tasks
from ra3_lab.evaluate.seeds import summarise_seeds
from ra3_lab.evaluate.segmentation import (
    LatentPlacement,
    SegmentationScore,
    mean_duration,
    mean_tokens,
    normalized_mutual_information,
    random_placement_f1,
    segmentation_score,
    shuffled_mutual_information,
    think_share,
    thought_durations,
)

__all__ = [
    "Interval",
    "LatentPlacement",
    "SegmentationScore",
    "bootstrap_ci",
    "mean_duration",
    "mean_tokens",
    "normalized_mutual_information",
    "paired_difference_ci",
    "pass_at_k",
    "pass_at_k_tasks",
    "random_placement_f1",
    "segmentation_score",
    "shuffled_mutual_information",
    "summarise_seeds",
    "think_share",
    "thought_durations",
]


class _Callable(ModuleType):
    """This package, with a call operator."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        from ra3_lab.api import evaluate

        return evaluate(*arguments, **settings)


sys.modules[__name__].__class__ = _Callable
