"""Scores of programs and of latents. What is named below is pure maths on numpy: no model, no files.

`passk.py`: pass@k and intervals over tasks and seeds. `segmentation.py`: latents against the true segments.
`seeds.py`: the arms over several training seeds. The other modules here run a model.
"""

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
