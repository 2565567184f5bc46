"""Where do programs break, at a thought or at the lines after it? Sampled programs walked along the expert's segments.

    ra3-lab study arms --out runs/arms --keep-models
    ra3-lab study aptness --out runs/aptness --keep-models
    python benchmarks/breaks.py --models ra3=runs/arms/models/ra3-{seed} annotator=runs/arms/models/annotator-{seed} \\
        "10 % wrong=runs/aptness/models/10 % wrong-{seed}" --seeds 0 1 --out benchmarks/results/breaks.json

Tasks of the split `test`, as in those studies.
"""

from __future__ import annotations

from typing import Any

import over_models
import torch

from ra3_lab.evaluate.breaks import BEGUN, Segment, count_breaks, walk
from ra3_lab.evaluate.programs import evaluate_programs
from ra3_lab.models.load import load_model
from ra3_lab.tasks.pipelines import load_split

SEED = 8_300


def measure(source: str, tasks: int, samples: int) -> dict[str, Any]:
    """One model: how its segments begin, the first of every program by itself, and how many are right; programs that
    pass, and those that are right to the expert's last line. `skills` has the segments of every skill by itself."""
    model, tokenizer = load_model(source, "cpu")
    picked = load_split("test")[:tasks]
    scores = evaluate_programs(model, tokenizer, picked, samples, 1.0, SEED, "fp32")
    written = [(text, task) for texts, task in zip(scores.programs, picked, strict=True) for text in texts]
    walks = [walk(text, task) for text, task in written]
    skills: dict[str, list[Segment]] = {}
    for found, (_, task) in zip(walks, written, strict=True):
        for segment, step in zip(found, task.steps, strict=False):
            skills.setdefault(step.skill, []).append(segment)
    whole = [len(found) == len(task.steps) and found[-1].right for found, (_, task) in zip(walks, written, strict=True)]
    return {
        "model": source,
        "programs": len(written),
        "passed": int(scores.correct.sum()),
        "right": sum(whole),
        "first": {how: sum(found[0].begun == how for found in walks) for how in BEGUN},
        "segments": count_breaks(walks),
        "skills": {skill: count_breaks([skills[skill]]) for skill in sorted(skills)},
    }


def main() -> None:
    """Measure every model at every seed."""
    arguments = over_models.parser(__doc__)
    arguments.add_argument("--tasks", type=int, default=200)
    arguments.add_argument("--samples", type=int, default=4)
    a = arguments.parse_args()
    torch.set_num_threads(a.threads)

    def shown(row: dict[str, Any]) -> str:
        counts = row["segments"]
        segments = [f"{how}: {counts['right'][how]} of {counts['reached'][how]} right" for how in BEGUN]
        return f"{row['passed']} of {row['programs']} pass  " + "  ".join(segments)

    settings = {"split": "test", "tasks": a.tasks, "samples": a.samples, "seed": SEED}
    over_models.measure_all(a, settings, lambda source: measure(source, a.tasks, a.samples), shown)


if __name__ == "__main__":
    main()
