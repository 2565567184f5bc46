"""Do wrong programs fail? Mutants of HumanEval+ solutions, judged here and by evalplus' own harness, side by side.

    python -m venv /tmp/evalplus && /tmp/evalplus/bin/pip install evalplus==0.3.1
    python benchmarks/mutants.py --data HumanEvalPlus-v0.1.10.jsonl.gz --evalplus /tmp/evalplus/bin/python \\
        --out benchmarks/results/mutants.json

From every canonical solution the same seed draws up to `--per-task` mutants (mutate.py). Both harnesses run all base
and plus inputs; a mutant passes where both parts pass. Where the two disagree the program stands in the result, with
the reason that was found by looking at it (`EXPLAINED`); a disagreement without a reason ends with status 1.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

_FIND_ZERO = (
    "equivalent to the canonical solution. evalplus goes on to the next input of find_zero before it marks one as "
    "passed, and so fails every program there, the canonical one too"
)
EXPLAINED = {
    "HumanEval/32 #11 36: without If": _FIND_ZERO,
    "HumanEval/32 #19 33: 1000 -> 1001": _FIND_ZERO,
    "HumanEval/39 #77 39: Continue -> Break": "the program draws random witnesses for its test of primes and now "
    "looks at one instead of ten: its results depend on luck. Here programs start from the same seed, there from none",
}
"""mutant -> why the harnesses disagree."""
_TEXT, _DATE = "a blank among its characters", "a date that is none"
MISSED = {
    "HumanEval/64 #15 21: 'yY' -> 'yY '": f"{_TEXT}, at the end of the word",
    "HumanEval/76 #46 18: 1 -> 2": "n = -1",
    "HumanEval/90 #8 14: 1 -> 2": "a list of two different numbers",
    "HumanEval/91 #3 15: '.' -> '. '": "a full stop without a blank after it",
    "HumanEval/91 #11 15: '?' -> '? '": "a question mark without a blank after it",
    "HumanEval/94 #14 18: 2 -> 1": "a list without a prime, but with 1",
    "HumanEval/98 #18 14: 'AEIOU' -> 'AEIOU '": f"{_TEXT}, at an even place",
    "HumanEval/99 #14 25: 0 -> -1": "-0.5",
    "HumanEval/101 #7 13: '' -> 'x'": "the word x",
    "HumanEval/124 #36 23: 30 -> 29": "30 June",
    "HumanEval/124 #37 23: 31 -> 32": f"{_DATE}: 32 July",
    "HumanEval/124 #39 23: 31 -> 32": f"{_DATE}: 32 August",
}
"""Survivors of both harnesses that are wrong: an input that would show it and is not among the tests."""
ALIKE = {
    "HumanEval/24 #15 11: FloorDiv -> Div": "a float instead of an equal whole number",
    "HumanEval/25 #17 22: FloorDiv -> Div": "a float instead of an equal whole number",
    "HumanEval/60 #1 18: FloorDiv -> Div": "a float instead of an equal whole number",
    "HumanEval/39 #71 31: 0 -> -1": "a weaker random test of primes, right on the Fibonacci numbers",
    "HumanEval/39 #104 36: 2 -> 3": "one witness less to draw from in a random test of primes",
}
"""Survivors that differ from the original in what no input of the task shows."""
EQUIVALENT = "the same result on every valid input, by looking at it"


def main() -> int:
    """Draw, judge twice, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="HumanEvalPlus-*.jsonl.gz")
    parser.add_argument("--evalplus", default="", help="Python of an environment with evalplus 0.3.1")
    parser.add_argument("--theirs", type=Path, help="keep evalplus' verdicts in this file, or use those that it holds")
    parser.add_argument("--per-task", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--isolation", default=None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reasons", action="store_true", help="only fill the reasons into the result that --out holds")
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        return evalplus_side(arguments.data)
    if arguments.reasons:
        return report(arguments.out, json.loads(arguments.out.read_text()))
    drawn = draw(arguments.data, arguments.per_task, arguments.seed)
    print(f"{len(drawn)} mutants of {len({m['task_id'] for m in drawn})} solutions", flush=True)
    if arguments.theirs is not None and arguments.theirs.exists():
        theirs = json.loads(arguments.theirs.read_text())
    else:
        theirs = run_evalplus(arguments, drawn)
        if arguments.theirs is not None:
            arguments.theirs.write_text(json.dumps(theirs))
    return compare(arguments, drawn, theirs)


def draw(data: Path, per_task: int, seed: int) -> list[dict]:
    """Mutants as {"id", "task_id", "change", "source"}; the same seed gives the same."""
    from mutate import mutants

    drawn = []
    with gzip.open(data, "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            first = row["prompt"].count("\n") + 1
            found = list(mutants(row["prompt"] + row["canonical_solution"], first))
            picked = random.Random(f"{seed} {row['task_id']}").sample(found, min(per_task, len(found)))
            for mutant in sorted(picked, key=found.index):
                name = f"{row['task_id']} #{found.index(mutant)} {mutant.change}"
                drawn.append({"id": name, "task_id": row["task_id"], "change": mutant.change, "source": mutant.source})
    return drawn


def run_evalplus(arguments: argparse.Namespace, drawn: list[dict]) -> dict:
    """Verdicts of evalplus' `untrusted_check`, by mutant: 'pass', 'fail' or 'timeout', and the seconds it took."""
    if not arguments.evalplus:
        raise SystemExit("give --evalplus PYTHON, or --theirs FILE with its verdicts.")
    command = [arguments.evalplus, __file__, "--side", "--data", str(arguments.data), "--out", "-"]
    environment = {**os.environ, "EVALPLUS_MAX_MEMORY_BYTES": str(2 * 1024**3)}
    done = subprocess.run(command, input=json.dumps(drawn), capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def evalplus_side(data: Path) -> int:
    """Runs in the environment of evalplus: mutants on stdin, verdicts on stdout."""
    from importlib.metadata import version

    from evalplus.eval import untrusted_check
    from evalplus.gen.util import trusted_exec

    drawn = json.load(sys.stdin)
    wanted = {mutant["task_id"] for mutant in drawn}
    with gzip.open(data, "rt", encoding="utf-8") as file:
        rows = {row["task_id"]: row for row in map(json.loads, file) if row["task_id"] in wanted}
    expected, verdicts, start = {}, {}, time.time()
    for number, mutant in enumerate(drawn):
        row = rows[mutant["task_id"]]
        if row["task_id"] not in expected:
            solution = row["prompt"] + row["canonical_solution"]
            expected = {row["task_id"]: {}}
            for part in ("base", "plus"):
                expected[row["task_id"]][part] = trusted_exec(
                    solution, row[f"{part}_input"], row["entry_point"], record_time=True
                )
        statuses = []
        for part in ("base", "plus"):
            values, seconds = expected[row["task_id"]][part]
            status, _ = untrusted_check(
                "humaneval", mutant["source"], row[f"{part}_input"], row["entry_point"], values, row["atol"], seconds,
                fast_check=True,
            )  # fmt: skip
            statuses.append(status)
            if status != "pass":
                break
        verdicts[mutant["id"]] = statuses[-1]
        if number % 100 == 0:
            print(f"{number} of {len(drawn)}, {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    print(json.dumps({"version": version("evalplus"), "seconds": time.time() - start, "verdicts": verdicts}))
    return 0


def compare(arguments: argparse.Namespace, drawn: list[dict], theirs: dict) -> int:
    """Our verdicts, the table of agreement, and every disagreement with its reason."""
    import ra3_lab
    from ra3_lab.evaluate.benchmark import judge_samples
    from ra3_lab.evaluate.samples import Sample
    from ra3_lab.sandbox import layers
    from ra3_lab.tasks.expected import with_expected
    from ra3_lab.tasks.registry import load_tasks

    tasks = with_expected(load_tasks("humaneval+", arguments.data), arguments.workers, arguments.isolation)
    samples = [Sample(mutant["task_id"], mutant["source"], whole=True) for mutant in drawn]
    start = time.time()
    records = judge_samples(tasks, samples, arguments.workers, arguments.isolation)
    seconds = time.time() - start
    table: Counter[str] = Counter()
    disagreements = []
    for mutant, record in zip(drawn, records, strict=True):
        other = theirs["verdicts"][mutant["id"]]
        table[
            f"ours {'passed' if record.passed else 'failed'}, evalplus {'passed' if other == 'pass' else 'failed'}"
        ] += 1
        if record.passed != (other == "pass"):
            disagreements.append({**mutant, "ours": record.status, "detail": record.detail, "evalplus": other})
    both = {m["id"] for m, r in zip(drawn, records, strict=True) if r.passed}
    survivors = [m["id"] for m in drawn if m["id"] in both and theirs["verdicts"][m["id"]] == "pass"]
    result = {
        "schema_version": 1,
        "command": "python benchmarks/mutants.py",
        "date": datetime.date.today().isoformat(),
        "seed": arguments.seed,
        "per_task": arguments.per_task,
        "versions": {"ra3_lab": ra3_lab.__version__, "python": sys.version.split()[0], "evalplus": theirs["version"]},
        "layers": layers(arguments.isolation),
        "data": {"release": tasks.data.release, "sha256": tasks.data.sha256, "hash": tasks.hash},
        "mutants": len(drawn),
        "tasks": len({mutant["task_id"] for mutant in drawn}),
        "agreement": dict(sorted(table.items())),
        "our_statuses": dict(Counter(record.status for record in records).most_common()),
        "seconds": {"ours": round(seconds, 1), "evalplus": round(theirs["seconds"], 1)},
        "survivors": {name: "" for name in survivors},
        "disagreements": disagreements,
    }
    return report(arguments.out, result)


def report(out: Path, result: dict) -> int:
    """Fill in the reasons, write the result, print the table; status 1 where a disagreement has no reason."""
    for entry in result["disagreements"]:
        entry["reason"] = EXPLAINED.get(entry["id"], "")
    looked_at = result["seed"] == 0 and result["per_task"] == 8 and "mini" in result["data"]["release"]
    for name in result["survivors"]:
        missed = f"wrong, no test shows it: {MISSED[name]}" if name in MISSED else ""
        result["survivors"][name] = missed or ALIKE.get(name, "") or (EQUIVALENT if looked_at else "")
    kinds = Counter("wrong" if name in MISSED else "alike" if name in ALIKE else "rest" for name in result["survivors"])
    if looked_at:
        result["survivors_by_hand"] = {
            "equivalent": kinds["rest"], "no input shows the difference": kinds["alike"], "wrong": kinds["wrong"]
        }  # fmt: skip
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, count in result["agreement"].items():
        print(f"{name}: {count}")
    print(f"survivors of both, by hand: {result.get('survivors_by_hand', 'not looked at')}")
    unexplained = [entry for entry in result["disagreements"] if not entry["reason"]]
    for entry in unexplained:
        print(f"\n{entry['id']}: ours {entry['ours']} ({entry['detail']}), evalplus {entry['evalplus']}")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
