"""Judging programs, as the trainer sees it: `judge_batch(programs) -> verdicts`, and a `Judge` that stays warm
between batches.

Each of a few judge workers (`worker.py`) is a process of its own, started by exec without the trainer's
environment; it holds the tests, has a zygote fork one confined process a program, and compares outside of that.
This module only hands out jobs and collects verdicts. When a worker dies or does not answer in time, the verdicts
it has given stay, its program is tried once more by a fresh worker, and after that it is `no_verdict`.

What is promised and what is not, layer by layer: docs/sandbox.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ra3_lab.sandbox import arrays, codec
from ra3_lab.sandbox.checkers import parse_checker
from ra3_lab.sandbox.crew import Worker
from ra3_lab.sandbox.isolation import plan_for
from ra3_lab.sandbox.profiles import PROGRAM, Profile
from ra3_lab.sandbox.program import Asserts, Calls, Limits, Program, Stdin, Verdict

DEFAULT_LIMITS = Limits()
AHEAD = 2  # jobs a worker holds, so that it never waits for us
SLACK_SECONDS = 40.0  # wall time beyond its programs' that a worker may take for a job, its zygote's start included
LOOK_SECONDS = 3600.0  # epoll_wait takes no more than 24 days
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Invocation:
    """A function of some program, to be called for its values."""

    source: str
    """Python source text."""
    entry_point: str
    """Name of the function."""
    inputs: Sequence[Sequence[Any]] = field(repr=False)
    """One list of arguments for each call; plain data, in the notebook profile numpy arrays too."""


@dataclass(frozen=True)
class Returned:
    """What came of an Invocation."""

    status: str
    """"passed" when every call returned; otherwise why not, in the words of Verdict."""
    values: list[Any] = field(repr=False)
    """What the calls returned, in order, up to the first that did not."""
    seconds: float
    """CPU seconds used."""
    detail: str
    """One line for a reader where the status is not "passed"."""


class Judge:
    """A pool of judge workers that stays warm between batches; a context manager.

    Args:
        workers: Processes side by side; None: the cores, at most 8. ValueError below 1.
        isolation: See `ra3_lab.sandbox.isolation.plan_for`; None asks for the hardest that holds here.
        profile: What programs may import and read.

    >>> with Judge(workers=1) as judge:
    ...     verdicts = judge.batch([Program("def f(x): return 2 * x", Calls("f", [[[3], 6]]))])
    >>> verdicts[0].status
    'passed'
    """

    def __init__(self, workers: int | None = None, isolation: str | None = None, profile: Profile = PROGRAM) -> None:
        if workers is None:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            workers = min(cores, 8)
        if workers < 1:
            raise ValueError(f"workers is {workers}; at least 1 is needed")
        self.workers, self.profile = workers, profile
        self.plan = plan_for(isolation, profile)
        self._crew: list[Worker] = []
        self._lock = threading.Lock()

    @classmethod
    def with_plan(cls, plan: dict[str, Any], workers: int = 1, profile: Profile = PROGRAM) -> Judge:
        """A pool under a plan as it is, whether it holds or not: for probes and tests."""
        judge = cls(workers, "process", profile)
        judge.plan = plan
        return judge

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and all that they run."""
        crew, self._crew = self._crew, []
        for worker in crew:
            with contextlib.suppress(OSError):
                worker.stdin.close()
        for worker in crew:
            worker.stop()

    def batch(
        self, programs: Sequence[Program], limits: Limits = DEFAULT_LIMITS, progress: Progress | None = None
    ) -> list[Verdict]:
        """A verdict for each program, in order, all under the same limits. `progress(done, total)` after each."""
        return self.each([(program, limits) for program in programs], progress)

    def each(self, jobs: Sequence[tuple[Program, Limits]], progress: Progress | None = None) -> list[Verdict]:
        """A verdict for each program, in order, each under its own limits."""
        lines = [_job(program) | _limits(limits) for program, limits in jobs]
        return [
            Verdict(answer["status"] == "passed", answer["status"], answer["seconds"], answer["detail"])
            for answer in self._run(lines, progress)
        ]

    def call(
        self, calls: Sequence[Invocation], limits: Limits | None = None, progress: Progress | None = None
    ) -> list[Returned]:
        """Call functions and bring their values out, as plain data. `limits`: None takes the profile's."""
        values = _limits(limits or self.profile.limits) | {"form": "values", "arrays": self.profile.arrays}
        lines = []
        for call in calls:
            inputs = [_coded(list(arguments), call.entry_point, self.profile.arrays) for arguments in call.inputs]
            lines.append(values | {"source": call.source, "entry_point": call.entry_point, "inputs": inputs})
        return [_returned(answer, self.profile.arrays) for answer in self._run(lines, progress)]

    def _run(self, jobs: list[dict[str, Any]], progress: Progress | None) -> list[dict[str, Any]]:
        if not jobs:
            return []
        if not self.plan["forks"]:
            from ra3_lab.sandbox import plain

            return plain.answers(self.plan, jobs, self.workers, progress)
        with self._lock:
            finished = False
            try:
                answers = self._answers(jobs, progress)
                finished = True
                return answers
            finally:
                if not finished:  # Ctrl-C or an error: what runs is of no more use
                    self.close()

    def _answers(self, jobs: list[dict[str, Any]], progress: Progress | None) -> list[dict[str, Any]]:
        answers: list[dict[str, Any] | None] = [None] * len(jobs)
        tries, waiting, done = [0] * len(jobs), deque(range(len(jobs))), 0
        allowed = [4 * (job["wall_seconds"] * len(job.get("cases", "1")) + SLACK_SECONDS) for job in jobs]

        def feed(worker: Worker) -> None:
            # Ahead only while there is enough for every worker: the last jobs are for whoever is free first.
            while waiting and len(worker.held) < (AHEAD if len(waiting) > len(self._crew) else 1):
                number = waiting.popleft()
                if not worker.held:
                    worker.deadline = time.monotonic() + allowed[number]
                worker.held.append(number)
                worker.write(json.dumps(jobs[number] | {"number": number}))

        def finish(number: int, answer: dict[str, Any]) -> None:
            nonlocal done
            answers[number] = answer
            done += 1
            if progress is not None:
                progress(done, len(jobs))

        while len(self._crew) < min(self.workers, len(jobs)):
            self._crew.append(Worker(self.plan))
        with selectors.DefaultSelector() as selector:
            for worker in self._crew:
                selector.register(worker.stdout, selectors.EVENT_READ, worker)
                feed(worker)
            while done < len(jobs):
                nearest = min((worker.deadline for worker in self._crew if worker.held), default=0.0)
                events = selector.select(min(max(nearest - time.monotonic(), 0.01), LOOK_SECONDS))
                gone = [worker for worker in self._crew if worker.held and time.monotonic() > worker.deadline]
                for key, _ in events:
                    worker = key.data
                    lines = worker.lines()
                    if lines is None:
                        gone.append(worker)
                    for line in lines or ():
                        answer = json.loads(line)
                        if worker.held and answer["number"] == worker.held[0]:
                            finish(worker.held.popleft(), answer)
                            if worker.held:
                                worker.deadline = time.monotonic() + allowed[worker.held[0]]
                    feed(worker)
                for worker in set(gone):
                    selector.unregister(worker.stdout)
                    worker.process.kill()
                    worker.stop()
                    held, fresh = list(worker.held), Worker(self.plan)
                    self._crew[self._crew.index(worker)] = fresh
                    waiting.extendleft(reversed(held))
                    if held:
                        tries[held[0]] += 1
                        if tries[held[0]] > 1:
                            waiting.remove(held[0])
                            finish(held[0], _LOST)
                    selector.register(fresh.stdout, selectors.EVENT_READ, fresh)
                    feed(fresh)
        return [answer for answer in answers if answer is not None]


_LOST = {"status": "no_verdict", "seconds": 0.0, "detail": "the judge worker ended or did not answer, twice"}


def _coded(value: Any, name: str, with_arrays: bool = False) -> str:
    try:
        return codec.dumps(value, refer=arrays.refer if with_arrays else None)
    except (codec.NotPlain, codec.TooLarge, RecursionError) as error:
        raise ValueError(f"the data for {name!r} are not plain data: {error}") from error


def _job(program: Program) -> dict[str, Any]:
    """A program as the worker reads it. ValueError where data are not plain or a checker is unknown."""
    tests = program.tests
    if isinstance(tests, Calls):
        parse_checker(tests.checker)
        return {
            "form": "calls",
            "source": program.source,
            "entry_point": tests.entry_point,
            "inputs": [_coded(list(arguments), tests.entry_point) for arguments, _ in tests.pairs],
            "expected": [_coded(value, tests.entry_point) for _, value in tests.pairs],
            "checker": tests.checker,
        }
    if isinstance(tests, Asserts):
        return {"form": "asserts", "source": program.source, "entry_point": tests.entry_point, "code": tests.code}
    assert isinstance(tests, Stdin)
    parse_checker(tests.checker)
    return {
        "form": "stdin",
        "source": program.source,
        "cases": [list(case) for case in tests.cases],
        "checker": tests.checker,
    }


def _limits(limits: Limits) -> dict[str, Any]:
    names = ("cpu_seconds", "memory_mb", "output_bytes", "scratch_mb")
    return {name: getattr(limits, name) for name in names} | {
        "wall_seconds": limits.backstop,
        "patient": limits.wall_seconds is None,
    }


def _returned(answer: dict[str, Any], with_arrays: bool) -> Returned:
    try:
        values = [codec.loads(text, arrays.revive if with_arrays else None) for text in answer.get("values", ())]
    except codec.Malformed as error:
        return Returned("wrong_answer", [], answer["seconds"], f"returned what is not plain data: {error}")
    return Returned(answer["status"], values, answer["seconds"], answer["detail"])


def judge_batch(
    programs: Sequence[Program],
    limits: Limits = DEFAULT_LIMITS,
    workers: int | None = None,
    isolation: str | None = None,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Run every program in a confined process of its own and say which pass their tests, in the order given.

    For many batches keep a `Judge`. Raises ValueError for data that are not plain, for an unknown checker, for
    `workers` below 1, and, with the reason and what to do, where this system cannot isolate programs as `isolation`
    asks.

    >>> right = Program("def double(x):\\n    return 2 * x", Calls("double", [[[3], 6]]))
    >>> wrong = Program("def double(x):\\n    return x", Calls("double", [[[3], 6]]))
    >>> [verdict.status for verdict in judge_batch([right, wrong], workers=1)]
    ['passed', 'wrong_answer']
    """
    return judge_each([(program, limits) for program in programs], workers, isolation, progress)


def judge_each(
    jobs: Sequence[tuple[Program, Limits]],
    workers: int | None = None,
    isolation: str | None = None,
    progress: Progress | None = None,
) -> list[Verdict]:
    """`judge_batch` with limits of its own for every program."""
    with Judge(workers, isolation) as judge:
        return judge.each(jobs, progress)


def call_batch(
    calls: Sequence[Invocation],
    limits: Limits = DEFAULT_LIMITS,
    workers: int | None = None,
    isolation: str | None = None,
    progress: Progress | None = None,
) -> list[Returned]:
    """Call functions of programs in the sandbox for the values they return.

    >>> call_batch([Invocation("def f(x): return (x, 1)", "f", [[2], ["a"]])], workers=1)[0].values
    [(2, 1), ('a', 1)]
    """
    with Judge(workers, isolation) as judge:
        return judge.call(calls, limits, progress)
