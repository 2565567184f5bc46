"""`ra3-lab data`: the shipped pipelines splits."""

from __future__ import annotations

from pathlib import Path


def run(check: bool = False, out: Path | None = None) -> int:
    """Rebuild the pipelines splits from their seeds.

    Example: ra3-lab data --check

    Args:
        check: Compare with the shipped files instead of writing; status 1 where they differ.
        out: Folder to write to; it must not hold splits yet. Needed unless --check.
    """
    from ra3_lab.resources import data_dir
    from ra3_lab.runs import made_directory
    from ra3_lab.tasks.pipelines import build_splits, task_to_json

    if (out is None) != check:
        raise ValueError("give --check, or --out FOLDER to write to.")
    differing = []
    for name, tasks in build_splits().items():
        text = "".join(task_to_json(task) + "\n" for task in tasks)
        if out is None:
            shipped = data_dir() / "pipelines" / f"{name}.jsonl"
            same = shipped.read_text(encoding="utf-8") == text
            print(f"{name}: {len(tasks)} tasks, {'as shipped' if same else 'NOT as shipped'}")
            differing += [] if same else [name]
        else:
            path = out / f"{name}.jsonl"
            if path.exists():
                raise FileExistsError(f"{path} exists: choose another --out.")
            made_directory(out)
            path.write_text(text, encoding="utf-8")
            print(f"{path}: {len(tasks)} tasks")
    return 1 if differing else 0
