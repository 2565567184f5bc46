"""Do right programs pass? Reference solutions of every benchmark in the sandbox; docs/benchmarks.md has the table.

    python benchmarks/canonical.py --data FOLDER --out benchmarks/results/canonical.json --only humaneval mbpp
    python benchmarks/canonical.py --out benchmarks/results/canonical.json --table

FOLDER holds the benchmarks' files as in `FILES`. The online-judge samples come without usable solutions; ours are in
oj_solutions/. Results of several runs are gathered in one file, an entry for each benchmark. Every failure has a
reason, found by looking at it, in `REASONS`; one without ends with status 1.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from collections import Counter
from pathlib import Path

FILES = {
    "humaneval": "humaneval/HumanEval.jsonl.gz",
    "humaneval+": "humanevalplus/HumanEvalPlus-v0.1.10.jsonl.gz",
    "mbpp": "mbpp/mbpp.jsonl",
    "mbpp-sanitized": "mbpp/sanitized-mbpp.json",
    "mbpp+": "mbppplus_dev2023/MbppPlus-767efcc.jsonl.gz",
    "livecodebench": "oj_samples/code_eval_live_code_bench_v1.jsonl",
    "codeforces": "oj_samples/code_eval_code_contests.jsonl",
    "own": "",
}
WITH_OUR_SOLUTIONS = ("livecodebench", "codeforces")
NO_SOLUTION = "no solution of ours: the problem is beyond a short one"
REASONS: dict[str, str] = {
    "codeforces 1109_F. Sasha and Algorithm of Silence's Sounds": "rated 3200: link-cut trees over a sliding window",
    "codeforces 1214_H. Tiles Placement": "any right colouring counts, though the statement does not say so",
    "mbpp+ Mbpp/255": "it lists all combinations; for one input they pass the 1 GB that a reference solution may use",
}
"""benchmark and task -> why its reference fails or is left out."""


def main() -> int:
    """Judge, gather, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the benchmarks' files")
    parser.add_argument("--out", type=Path, required=True, help="JSON file, made or added to")
    parser.add_argument("--only", nargs="+", choices=list(FILES), default=list(FILES))
    parser.add_argument("--table", action="store_true", help="only print the table of what the file holds")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--isolation", default=None)
    arguments = parser.parse_args()
    gathered = json.loads(arguments.out.read_text()) if arguments.out.exists() else {"schema_version": 1, "runs": {}}
    if not arguments.table:
        for name in arguments.only:
            gathered["runs"][name] = judge(name, arguments)
            arguments.out.write_text(json.dumps(gathered, indent=1) + "\n", encoding="utf-8")
            print(f"{name}: {gathered['runs'][name]['counts']}", flush=True)
    print(table(gathered["runs"]))
    unexplained = [f"{name} {task}" for name, run in gathered["runs"].items() for task in run["unexplained"]]
    print("\nwithout a reason: " + (", ".join(unexplained) or "none"))
    return 1 if unexplained else 0


def judge(name: str, arguments: argparse.Namespace) -> dict:
    """One benchmark's entry."""
    import ra3_lab
    from ra3_lab.evaluate.benchmark import judge_samples
    from ra3_lab.evaluate.samples import canonical_samples, read_samples
    from ra3_lab.sandbox import layers
    from ra3_lab.tasks.expected import with_expected
    from ra3_lab.tasks.registry import load_tasks

    start = time.time()
    if not FILES[name]:
        loaded = load_tasks(name)
    elif arguments.data is None:
        raise SystemExit("give --data FOLDER.")
    else:
        loaded = load_tasks(name, arguments.data / FILES[name])
    tasks = with_expected(loaded, arguments.workers, arguments.isolation)
    if name in WITH_OUR_SOLUTIONS:
        known = [*(task.task_id for task in tasks), *tasks.excluded]
        written = read_samples(Path(__file__).parent / "oj_solutions" / f"{name}.jsonl", known)
        samples = [sample for sample in written if sample.task_id not in tasks.excluded]
    else:
        samples = canonical_samples(tasks)
    records = judge_samples(tasks, samples, arguments.workers, arguments.isolation)
    problems = {record.task_id: f"{record.status}: {record.detail}" for record in records if not record.passed}
    given = {sample.task_id for sample in samples}
    problems |= {task.task_id: NO_SOLUTION for task in tasks if task.task_id not in given}
    problems |= {task_id: f"left out: {reason}" for task_id, reason in tasks.excluded.items()}
    loaded_excluded = set(loaded.excluded)  # these say for themselves why
    reasons = {task: REASONS.get(f"{name} {task}", "") for task in problems if task not in loaded_excluded}
    slowest = max(records, key=lambda record: record.seconds)
    return {
        "date": datetime.date.today().isoformat(),
        "versions": {"ra3_lab": ra3_lab.__version__, "python": sys.version.split()[0]},
        "layers": layers(arguments.isolation),
        "data": {"release": tasks.data.release, "sha256": tasks.data.sha256, "hash": tasks.hash},
        "tasks": len(loaded) + len(loaded.excluded),
        "judged": len(records),
        "passed": sum(record.passed for record in records),
        "counts": dict(Counter(record.status for record in records).most_common()),
        "slowest": {"task_id": slowest.task_id, "cpu_seconds": slowest.seconds},
        "wall_seconds": round(time.time() - start, 1),
        "problems": problems,
        "reasons": reasons,
        "unexplained": [t for t, why in reasons.items() if not why and problems[t] != NO_SOLUTION],
    }


def table(runs: dict[str, dict]) -> str:
    """Markdown: a row for each benchmark, then every task that did not pass."""
    rows = ["| benchmark | tasks | judged | passed | slowest, CPU s |", "|---|---|---|---|---|"]
    for name, run in runs.items():
        slowest = f"{run['slowest']['task_id']}, {run['slowest']['cpu_seconds']:.1f}"
        rows.append(f"| `{name}` | {run['tasks']} | {run['judged']} | {run['passed']} | {slowest} |")
    rows += ["", "| not passed | what happened | why |", "|---|---|---|"]
    for name, run in runs.items():
        for task, what in run["problems"].items():
            rows.append(f"| `{name}` {task} | {what:.110} | {run['reasons'].get(task) or 'as it says'} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
