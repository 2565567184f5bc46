"""How long grading takes, and whether it gives the same grades when it is killed half-way or run with other kernels.

    python benchmarks/grading.py --submissions 200

Submissions are generated: students' notebooks of all assignments in turn, in which each function is a right answer, a
wrong one (tests/course/aN.py) or left as a stub, drawn from --seed; some files are corrupt, some notebooks have deleted
cells. They are graded by `ra3-lab course grade --workers 2` in processes of its own:

1. in one go, timed (CPU seconds too, of the grader and, apart, of each submission in the sandbox);
2. killed (SIGKILL, the whole process group) when half of them are in the journal, then started again;
3. a part of them with --threads 1 and 2 and ATEN_CPU_CAPABILITY default and avx2.

grades.csv must be the same text each time. Written to benchmarks/results/grading.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import torch

import ra3_lab
from ra3_lab.course import masters
from ra3_lab.course.registry import assignment, names
from ra3_lab.course.secret import make

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from course_answers import answers  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "grading.json"
AGAIN = "again.txt"
MIX = {"right": 0.6, "wrong": 0.3, "stub": 0.1}


def generate(folder: Path, count: int, seed: int) -> dict[str, int]:
    """Write submissions; returns how many exercises hold which kind of answer."""
    draw, kinds = random.Random(seed), dict.fromkeys(MIX, 0)
    chosen = [name for name in names() if assignment(name).exercises and hasattr(answers(name), "RIGHT")]
    for number in range(count):
        found = assignment(chosen[number % len(chosen)])
        built = json.loads(json.dumps(masters.notebook(found, masters.read_master(found.id))))
        known = answers(found.id)
        for cell in built["cells"]:
            told = cell["metadata"]["ra3_lab"]
            if told["kind"] == "exercise":
                kind = draw.choices(list(MIX), list(MIX.values()))[0]
                kinds[kind] += 1
                if kind == "right":
                    cell["source"] = draw.choice(known.RIGHT[told["id"]])
                elif kind == "wrong":
                    cell["source"] = draw.choice(list(known.WRONG[told["id"]].values()))[0]
        if number % 20 == 13:
            built["cells"] = [cell for cell in built["cells"] if draw.random() < 0.7]
        text = json.dumps(built)
        path = folder / f"student{number:03d}" / f"{found.notebook}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(text[: len(text) // 2] if number % 50 == 27 else text)
    return kinds


def command(submissions: Path, course: Path, out: Path, *more: str) -> list[str]:
    """The grading command."""
    words = ["course", "grade", str(submissions), "--course", str(course), "--out", str(out), "--workers", "2"]
    return [sys.executable, "-m", "ra3_lab", *words, *more]


def graded(submissions: Path, course: Path, out: Path, *more: str, **environment: str) -> tuple[str, float]:
    """The text of grades.csv and the seconds it took; again where exercises stayed ungraded, as a teacher would."""
    began = time.perf_counter()
    for _ in range(3):
        words = command(submissions, course, out, *more)
        if subprocess.run(words, env=os.environ | environment, cwd=ROOT).returncode == 0:
            return out.read_text(), time.perf_counter() - began
        (course / AGAIN).open("a").write("again\n")
    raise RuntimeError("exercises stayed ungraded three times: see `ra3-lab doctor`")


def killed_and_resumed(submissions: Path, course: Path, out: Path, count: int) -> tuple[str, int]:
    """The text of grades.csv, and how many submissions were in the journal when the grader was killed."""
    process = subprocess.Popen(command(submissions, course, out), cwd=ROOT, start_new_session=True)
    journal = course / "journal.jsonl"
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= count // 2):
        if process.poll() is not None:
            raise RuntimeError("the grader was done before it could be killed: give more submissions")
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    there = journal.read_bytes().count(b"\n")
    return graded(submissions, course, out)[0], there


def with_secret(folder: Path, secret: Path) -> Path:
    """A teacher's folder with the same secret and no journal."""
    folder.mkdir()
    (folder / "secret").write_text((secret / "secret").read_text())
    return folder


def _cpu() -> float:
    """CPU seconds of all processes that have ended."""
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--submissions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", type=int, default=21, help="submissions graded with other kernels and threads")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        kinds = generate(base / "in", options.submissions, options.seed)
        generate(base / "part", options.part, options.seed + 1)
        secret = base / "secret"
        make(secret)
        busy, before = os.getloadavg()[0], _cpu()
        whole, seconds = graded(base / "in", with_secret(base / "whole", secret), base / "whole.csv")
        cpu = _cpu() - before
        resumed, there = killed_and_resumed(
            base / "in", with_secret(base / "killed", secret), base / "killed.csv", options.submissions
        )
        settings = {}
        for number, (threads, kernel) in enumerate([("1", "default"), ("1", "avx2"), ("2", "default"), ("2", "avx2")]):
            course = with_secret(base / f"setting{number}", secret)
            told = {"ATEN_CPU_CAPABILITY": kernel, "OMP_NUM_THREADS": threads}
            text, _ = graded(base / "part", course, base / f"setting{number}.csv", "--threads", threads, **told)
            settings[f"{threads} threads, {kernel}"] = text
        repeated = sum(len(path.read_text().split()) for path in base.glob(f"*/{AGAIN}"))
        records = [json.loads(line) for line in (base / "whole" / "journal.jsonl").read_text().splitlines()]
    used = sorted(record["seconds"] for record in records)
    same = len(set(settings.values())) == 1
    found = {
        "submissions": options.submissions,
        "seed": options.seed,
        "exercises": kinds,
        "workers": 2,
        "seconds": round(seconds, 1),
        "seconds_each": round(seconds / options.submissions, 3),
        "grader_cpu_seconds_without_sandbox": round(cpu, 1),
        "load_before": round(busy, 1),
        "sandbox_cpu_seconds_each": {"median": used[len(used) // 2], "largest": used[-1]},
        "gradings_repeated": repeated,
        "killed_after": there,
        "resumed_grades_are_the_same": resumed == whole,
        "same_grades_under": list(settings),
        "same_grades": same,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ra3_lab": ra3_lab.__version__,
        "date": date.today().isoformat(),
        "command": f"python benchmarks/grading.py --submissions {options.submissions} --seed {options.seed}",
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    if resumed != whole or not same:
        raise SystemExit("grades differ")


if __name__ == "__main__":
    main()
