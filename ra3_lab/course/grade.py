"""Grading: every submission in the sandbox, the checks out here, one finished submission a line of the journal.

    submission --cells as text--> sandbox (one process an exercise, own limits) --plain data--> judge --> record

Two graders work side by side, each with a warm zygote. A record is written when its submission is done, so that a
grader that is killed loses at most what was running; the next one goes on, and gives the same grades.
"""

from __future__ import annotations

import builtins
import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import ra3_lab
from ra3_lab.course import masters, program
from ra3_lab.course.exercise import Arguments, Exercise, Finding, accepts, judge, right
from ra3_lab.course.flags import flags, signature
from ra3_lab.course.instant import PRACTICE_SEED
from ra3_lab.course.registry import assignment, home
from ra3_lab.course.secret import Secret
from ra3_lab.course.submissions import Submission
from ra3_lab.sandbox.judge import Invocation, Judge, Returned
from ra3_lab.sandbox.profiles import NOTEBOOK, Profile, package_folders
from ra3_lab.sandbox.program import Limits

OUTPUT_BYTES = 2_000_000
_ENDED = {
    "time_limit": "Your cells and this function together ran longer than {cpu:g} CPU seconds: does a loop not end?",
    "memory_limit": "More than {memory} MB of memory were used.",
    "output_limit": "What the function returned is far too large.",
    "forbidden": "Something was tried that is not allowed when grading: files, network, other processes.",
    "runtime_error": "The notebook's process ended before the function had returned: take exit() and the like out.",
}


@dataclass(frozen=True)
class Mark:
    """What came of one exercise."""

    points: int
    """Points earned."""
    of: int
    """Points it is worth."""
    mistake: str
    """Id of what was wrong; "" when it passed, "ungraded" when the sandbox failed."""
    hint: str
    """For the student."""
    example: bool
    """Whether the visible example came out right."""


@dataclass(frozen=True)
class Record:
    """What came of one submission."""

    student: str
    """As the submissions folder names the student."""
    assignment: str
    """Which; "" where it cannot be told."""
    path: str
    """The file that counts; "" where nothing was handed in."""
    key: str
    """Digest of all that decides the grade."""
    marks: dict[str, Mark] = field(default_factory=dict)
    """Exercise id -> mark."""
    answers: dict[str, str] = field(default_factory=dict)
    """Question id -> answer in words; "" where its place is empty."""
    notes: tuple[str, ...] = ()
    """For student and teacher."""
    grading_notes: tuple[str, ...] = ()
    """Those of `notes` that came of grading; the others came of finding the file, and a journal may have old ones."""
    flags: tuple[str, ...] = ()
    """For the teacher."""
    signature: str = ""
    """Equal for copies."""
    handed_in: float = 0.0
    """Seconds since 1970."""
    seconds: float = 0.0
    """CPU seconds in the sandbox."""

    @property
    def ungraded(self) -> bool:
        """Whether the sandbox failed at some exercise: to be tried again."""
        return any(mark.mistake == "ungraded" for mark in self.marks.values())


@dataclass(frozen=True)
class Practice(Secret):
    """In the place of a secret: the inputs of the notebook's instant checks, which everybody has."""

    key: bytes = field(default=b"practice" * 4, repr=False)
    """No secret."""

    def seed(self, about: str) -> int:
        """The same for all."""
        return PRACTICE_SEED


class Stopped(Exception):
    """Somebody has asked the grading to stop."""


class Grader:
    """Grades submissions one after the other, in a sandbox of its own that stays warm."""

    def __init__(self, secret: Secret, judge: Judge) -> None:
        self.secret, self.sandbox = secret, judge
        self.stopping = threading.Event()
        """Set by another thread: the submission under way is left at its next call."""

    def grade(self, submission: Submission) -> Record:
        """The record of one submission; exercises that are not there are told about, not skipped."""
        key = key_of(submission, self.secret)
        record = Record(
            student=submission.student,
            assignment=submission.assignment,
            path=submission.path,
            key=key,
            answers=submission.answers,
            notes=submission.notes,
            handed_in=submission.handed_in,
        )
        if not submission.assignment:
            return record
        exercises = assignment(submission.assignment).exercises
        if not submission.cells:
            return replace(record, marks={one.id: Mark(0, one.points, "missing", "", False) for one in exercises})
        marks, stuck, seconds = {}, False, 0.0
        for exercise in exercises:
            marks[exercise.id], stuck, used = self.mark(submission, exercise, stuck)
            seconds += used
        notes = ()
        if stuck:
            what = "imports, constants, functions and classes"
            notes = (f"a cell of yours never ends or ends the notebook: only {what} were run",)
        return replace(
            record,
            notes=(*submission.notes, *notes),
            grading_notes=notes,
            marks=marks,
            flags=tuple(flags(submission)),
            signature=signature(submission),
            seconds=round(seconds, 3),
        )

    def mark(self, submission: Submission, exercise: Exercise, stuck: bool) -> tuple[Mark, bool, float]:
        """One exercise. `stuck`: whether the submission's other cells are known to keep functions from being called."""
        inputs, expected = hidden(self.secret, exercise.id)
        returned = self.call(submission, exercise, inputs, stuck)
        seconds = returned.seconds
        if not stuck and not returned.values and returned.status not in ("passed", "no_verdict"):
            again = self.call(submission, exercise, inputs, True)
            seconds += again.seconds
            if any(value and value[0] in ("ok", "stub") for value in again.values if isinstance(value, list)):
                returned, stuck = again, True  # else it may be this function that never ends: the others lose nothing
        finding, example = found(exercise, inputs, expected, returned)
        points = exercise.points if finding.passed else 0
        return Mark(points, exercise.points, finding.mistake, finding.hint, example), stuck, seconds

    def call(self, submission: Submission, exercise: Exercise, inputs: Sequence[Arguments], stuck: bool) -> Returned:
        if self.stopping.is_set():
            raise Stopped
        source = program.text(submission, exercise, stuck)
        limits = Limits(exercise.cpu_seconds, exercise.memory_mb, OUTPUT_BYTES)
        return self.sandbox.call([Invocation(source, program.ENTRY, inputs)], limits)[0]


def found(
    exercise: Exercise, inputs: Sequence[Arguments], expected: Sequence[Any], returned: Returned
) -> tuple[Finding, bool]:
    """What the values that came back mean, and whether the visible example (the first) is right."""
    if returned.status == "no_verdict":
        return Finding(False, "ungraded", "The sandbox failed, not you: this is graded again."), False
    values = [value if isinstance(value, list) and value else ["error", ""] for value in returned.values]
    results = [value[1] if value[0] == "ok" and len(value) == 2 else None for value in values]
    example = bool(results) and accepts(exercise, inputs[0], expected[0], results[0])
    odd = next((value for value in values if value[0] != "ok"), None)
    if odd is not None:
        return _odd(exercise, odd, values), example
    if len(values) < len(inputs):
        text = _ENDED.get(returned.status, "It could not be run.")
        text = text.format(cpu=exercise.cpu_seconds, memory=exercise.memory_mb)
        return Finding(False, returned.status, text), example
    return judge(exercise, inputs, results, expected), example


def _odd(exercise: Exercise, value: list, values: list[list]) -> Finding:
    """A call that gave no value. Nothing that the submission wrote itself goes on, so it cannot tell inputs."""
    if value[0] == "missing":
        return Finding(False, "missing", f"No function `{exercise.function}` was found.")
    if value[0] == "stub":
        return Finding(False, "stub", f"`{exercise.function}` is still to be written.")
    kind = value[1] if len(value) > 1 and isinstance(value[1], str) else ""
    known = getattr(builtins, kind, None) if kind.isidentifier() else None
    what = kind if isinstance(known, type) and issubclass(known, BaseException) else "an exception"
    of = sum(one[0] != "ok" for one in values)
    return Finding(False, "error", f"It raised {what} in {of} of {len(values)} cases.")


@lru_cache(maxsize=128)
def hidden(secret: Secret, name: str) -> tuple[list[Arguments], list[Any]]:
    """Inputs that the secret gives for an exercise, the visible example first, and what is right."""
    exercise = next(one for one in assignment(name.partition(".")[0]).exercises if one.id == name)
    inputs = [exercise.example, *exercise.make_inputs(secret.seed(name))]
    return inputs, [right(exercise, arguments) for arguments in inputs]


def key_of(submission: Submission, secret: Secret) -> str:
    """A digest of all that decides a grade: file, secret, exercises, what is right."""
    parts = [submission.student, submission.assignment, submission.path, submission.digest, secret.fingerprint()]
    edition = _edition(submission.assignment, secret) if submission.assignment else ""
    return hashlib.sha256(json.dumps([*parts, edition]).encode()).hexdigest()[:24]


_DECIDING = ("exercise", "flags", "grade", "instant", "masters", "plain", "program", "runner", "submissions", "words")
"""Modules of the course that decide about grades, answers and flags."""


@lru_cache(maxsize=32)
def _edition(name: str, secret: Secret) -> str:
    """Of what decides, files and what is right on the hidden inputs, which oracles may ask the library for: when an
    exercise is mended, its submissions are graded again."""
    folder = Path(ra3_lab.__file__).parent / "course"
    files = [folder / f"{stem}.py" for stem in _DECIDING]
    files += [home(name), *sorted(home(name).parent.glob(f"{name}_*.py")), masters.source_of(assignment(name))]
    values = json.dumps([hidden(secret, one.id) for one in assignment(name).exercises])
    parts = [*(file.read_bytes() for file in files), values.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def profile(threads: int = 1) -> Profile:
    """The sandbox's notebook profile; arrays become lists inside, so that nothing but plain data crosses."""
    settings = dict(item.split("=", 1) for item in NOTEBOOK.allow)
    settings |= {name: str(threads) for name in settings if name.endswith("_NUM_THREADS")}
    settings |= {name: os.environ[name] for name in ("ATEN_CPU_CAPABILITY",) if name in os.environ}
    return replace(NOTEBOOK, arrays=False, allow=tuple(f"{name}={value}" for name, value in settings.items()))


@contextmanager
def grader(secret: Secret, isolation: str | None = None, threads: int = 1) -> Iterator[Grader]:
    """A grader with its sandbox. An installed ra3_lab is out of sight there, as a checkout is anyway."""
    with Judge(1, isolation, profile(threads)) as sandbox:
        installed = [os.path.join(folder, "ra3_lab") for folder in package_folders()]
        sandbox.plan["hide"] = (*sandbox.plan["hide"], *filter(os.path.isdir, installed))
        yield Grader(secret, sandbox)


def grade_all(
    submissions: Sequence[Submission],
    secret: Secret,
    journal: Path,
    workers: int = 2,
    isolation: str | None = None,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Record]:
    """Records of all submissions, in order. What the journal has under the same key is not graded again; when it was
    handed in, and what was odd about finding it, is the submission's.

    Raises ValueError where `workers` or `threads` (of a submission) is below 1, or nothing isolates programs here.
    """
    for name, value in (("workers", workers), ("threads", threads)):
        if value < 1:
            raise ValueError(f"{name} is {value}; at least 1 is needed")
    done = read_journal(journal)
    left = [one for one in submissions if _needs(done.get(key_of(one, secret)))]
    for name in sorted({one.assignment for one in left if one.cells and one.assignment}):
        for exercise in assignment(name).exercises:
            hidden(secret, exercise.id)  # before threads ask for them
    finished = len(submissions) - len(left)
    with ExitStack() as stack:
        free: list[Grader] = []
        local = threading.local()

        def work(submission: Submission) -> Record:
            if not hasattr(local, "grader"):
                local.grader = free.pop()
            try:
                return local.grader.grade(submission)
            except Stopped:
                raise
            except Exception as error:  # one submission must not end the grading of all others
                return _failed(submission, secret, error)

        workers = min(workers, len(left))
        graders = [stack.enter_context(grader(secret, isolation, threads)) for _ in range(workers)]
        free += graders
        if not left:
            return [_as_found(done[key_of(one, secret)], one) for one in submissions]
        file = stack.enter_context(_appending(journal))
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        waiting: set[Future[Record]] = {pool.submit(work, submission) for submission in left}
        try:
            while waiting:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ready:
                    record = future.result()
                    done[record.key] = record
                    file.write(json.dumps(asdict(record)) + "\n")
                    file.flush()
                    finished += 1
                    if progress is not None:
                        progress(finished, len(submissions))
        except BaseException as stop:
            if isinstance(stop, KeyboardInterrupt):
                print("stopping after the exercise under way; once more stops at once.", file=sys.stderr, flush=True)
            for one in graders:
                one.stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [_as_found(done[key_of(one, secret)], one) for one in submissions]


def _as_found(record: Record, submission: Submission) -> Record:
    """A record, which may be of an earlier grading, with what is told of the file now."""
    notes = (*submission.notes, *record.grading_notes)
    return replace(record, handed_in=submission.handed_in, notes=notes)


def _failed(submission: Submission, secret: Secret, error: Exception) -> Record:
    """The record where the grader itself failed: ungraded, so that it is tried again, and told about."""
    exercises = assignment(submission.assignment).exercises if submission.assignment else ()
    marks = {one.id: Mark(0, one.points, "ungraded", "The grader failed, not you.", False) for one in exercises}
    notes = (f"the grader failed ({type(error).__name__}): please report it",)
    key = key_of(submission, secret)
    names = (submission.student, submission.assignment, submission.path)
    return Record(*names, key, marks, submission.answers, grading_notes=notes)


def _needs(record: Record | None) -> bool:
    return record is None or record.ungraded


def read_journal(path: Path) -> dict[str, Record]:
    """Key -> record. A line that was being written when a grader was killed is passed over."""
    found = {}
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            told = json.loads(line)
            told["marks"] = {name: Mark(**mark) for name, mark in told["marks"].items()}
            told |= {name: tuple(told[name]) for name in ("notes", "grading_notes", "flags")}
            record = Record(**told)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        found[record.key] = record
    return found


@contextmanager
def _appending(path: Path) -> Iterator[Any]:
    """The journal, ready for lines; after a torn last line a new one is begun."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with open(path, "a", encoding="utf-8") as file:
        path.chmod(0o600)
        if torn:
            file.write("\n")
        yield file
