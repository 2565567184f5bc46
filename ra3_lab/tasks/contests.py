"""Problems of programming contests as tasks: LiveCodeBench, Codeforces and code_contests dumps, and RLVR sets.

A row gives a statement and tests in one of the forms of testcases.py. The statement stands in the prompt as the
docstring of a module that the model continues; the completion is the program (with starter code, what follows it).
Limits are those of the row where it has any. Sites give them for compiled programs too, so CPU seconds are never below
the defaults here, and memory never below 512 MB.

Rows that cannot be judged by comparing texts raise `Excluded`, with the reason.
"""

from __future__ import annotations

import json
from typing import Any

from ra3_lab.sandbox import Limits
from ra3_lab.tasks.packed import unpack_tests
from ra3_lab.tasks.protocol import Task
from ra3_lab.tasks.testcases import PRELUDE, checker_for, function_tests, read_tests, stdin_tests

STOPS = ('\n"""', "\n'''", "\n```")
"""Where a whole program surely ends: at a new docstring or at the end of a block of code."""
LIVECODEBENCH_SECONDS = 6.0
"""CPU seconds for a test of LiveCodeBench, the time its own harness allows."""
UNKNOWN_SECONDS = 4.0
"""CPU seconds for a test where the row says nothing."""


class Excluded(ValueError):
    """This problem cannot be judged here; the text says why."""

    def __init__(self, task_id: str, reason: str) -> None:
        super().__init__(reason)
        self.task_id = task_id


def statement_prompt(statement: str, starter: str = "") -> str:
    """The statement as the docstring of a module, then the starter code.

    >>> print(statement_prompt("Read n, print 2n."), end="")
    \"\"\"
    Read n, print 2n.
    \"\"\"
    """
    return '"""\n' + statement.strip().replace('"""', "'''") + '\n"""\n' + starter


def contest_task(
    task_id: str,
    statement: str,
    tests: Any,
    starter: str = "",
    canonical: str = "",
    limits: Limits | None = None,
    function: str = "",
    prompt: str = "",
) -> Task:
    """A task of statement and tests. Raises Excluded, or ValueError where the tests cannot be read."""
    pairs, name = read_tests(tests)
    name = function or name
    if name == "?":
        raise ValueError("its tests call a function whose name is not given")
    if not pairs:
        raise Excluded(task_id, "it has no tests")
    if name:
        judged, suffix = function_tests(pairs, name)
    else:
        checker, reason = checker_for(statement)
        if reason:
            raise Excluded(task_id, reason)
        judged, suffix = stdin_tests(pairs, checker), ""
    return Task(
        task_id=task_id,
        prompt=prompt or statement_prompt(statement, starter),
        tests=judged,
        prefix=starter,
        preamble=PRELUDE,
        suffix=suffix,
        canonical=canonical,
        stops=STOPS,
        limits=limits or Limits(),
    )


def livecodebench_task(row: dict[str, Any]) -> Task:
    """A row of code_generation(_lite), or of SandboxFusion's copy (`content`, `test`, `labels`)."""
    limits = Limits(cpu_seconds=LIVECODEBENCH_SECONDS)
    if "question_content" not in row:
        labels = _object(row.get("labels"))
        tests = unpack_tests(row["test"]) if isinstance(row["test"], str) else row["test"]
        return contest_task(
            str(labels.get("task_id", row["id"])), row["content"], tests, limits=limits, prompt=row["content"]
        )
    name = _object(row.get("metadata")).get("func_name") or ""
    cases = [*unpack_tests(row["public_test_cases"]), *unpack_tests(row["private_test_cases"])]
    return contest_task(
        str(row["question_id"]),
        row["question_content"],
        cases,
        starter=row.get("starter_code") or "",
        limits=limits,
        function=name.rpartition(".")[2],
    )


def codeforces_task(row: dict[str, Any]) -> Task:
    """A row of a Codeforces dump (`official_tests`), of code_contests, or of SandboxFusion's copy of that."""
    if "official_tests" in row:
        if row.get("generated_checker"):
            raise Excluded(str(row["id"]), "any valid answer counts, which needs a checker of its own")
        if row.get("interaction_format"):
            raise Excluded(str(row["id"]), "the problem is interactive")
        parts = ("description", "input_format", "output_format", "note")
        statement = "\n\n".join(str(row[part]) for part in parts if row.get(part))
        return contest_task(str(row["id"]), statement, row["official_tests"] or [], limits=_limits(row))
    if "content" in row:
        name = str(_object(row.get("labels")).get("name", row["id"]))
        return contest_task(name, row["content"], row["test"], limits=Limits(cpu_seconds=UNKNOWN_SECONDS))
    cases: list[Any] = []
    for part in ("public_tests", "private_tests", "generated_tests"):
        found = _object(row.get(part))
        if found.get("input"):
            cases += [{"input": given, "output": wanted} for given, wanted in read_tests(found)[0]]
    return contest_task(str(row["name"]), row["description"], cases, limits=_limits(row))


def rlvr_task(row: dict[str, Any], number: int) -> Task:
    """A row of a training set with verifiable rewards: DeepCoder's, AReaL's, PrimeIntellect's, verl's columns.

    Prompt: `prompt`, `problem` or `question` (text, or chat messages, of which the last by the user counts). Tests:
    `tests`, `input_output`, `verification_info` or `reward_model.ground_truth`.
    """
    statement = next((row[key] for key in ("problem", "question", "prompt") if row.get(key)), None)
    if isinstance(statement, list):
        statement = next((m.get("content") for m in reversed(statement) if m.get("role") == "user"), None)
    if not isinstance(statement, str):
        raise ValueError("it needs a prompt (problem or question) of text or chat messages")
    tests = next((row[key] for key in ("tests", "input_output", "verification_info") if row.get(key)), None)
    if tests is None:
        tests = _object(row.get("reward_model")).get("ground_truth")
    tests = _object(tests) if isinstance(tests, str) else tests
    if isinstance(tests, dict) and "test_cases" in tests:
        tests = tests["test_cases"]
    if tests is None:
        raise ValueError("it needs tests: one of tests, input_output, verification_info, reward_model.ground_truth")
    name = next((str(row[key]) for key in ("task_id", "query_id", "problem_id", "id") if row.get(key) is not None), "")
    solutions = row.get("solutions")
    canonical = solutions[0] if isinstance(solutions, list) and solutions and isinstance(solutions[0], str) else ""
    return contest_task(
        name or f"row{number}",
        statement,
        tests,
        starter=row.get("starter_code") or "",
        canonical=canonical,
        limits=_limits(row),
        function=row.get("fn_name") or "",
    )


def _object(value: Any) -> Any:
    """A column that holds JSON as text or as it is; an empty object where it is absent."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"{value[:40]!r} is not JSON ({error.msg})") from error
    return {} if value is None else value


def _limits(row: dict[str, Any]) -> Limits:
    """Limits of the row: `time_limit` in seconds (or as {seconds, nanos}), `memory_limit` in MB (or bytes)."""
    seconds, memory = row.get("time_limit"), row.get("memory_limit") or row.get("memory_limit_bytes")
    if isinstance(seconds, dict):
        seconds = (seconds.get("seconds") or 0) + (seconds.get("nanos") or 0) / 1e9
    if isinstance(memory, (int, float)) and memory > 100_000:
        memory /= 1024 * 1024
    return Limits(
        cpu_seconds=max(float(seconds), Limits().cpu_seconds) if isinstance(seconds, (int, float)) else UNKNOWN_SECONDS,
        memory_mb=max(int(memory), Limits().memory_mb) if isinstance(memory, (int, float)) else Limits().memory_mb,
    )
