"""HumanEval and HumanEval+ rows as tasks.

HumanEval (Chen et al. 2021): prompt, canonical_solution, test (`def check(candidate)`), entry_point. Three tests (32,
38, 50) call a helper that the prompt defines; here the helper is taken from the prompt into the test text, where a
program cannot replace it.

HumanEval+ (Liu et al. 2023): the same problems with base_input and plus_input; the right result of an input is what the
canonical solution returns. Floats are compared with atol 1e-6 and rtol 1e-7, whole numbers with whole numbers exactly,
as evalplus does. Ours is more lenient: floats count so beside other values too, and a float for a whole number. For
find_zero (32) any root counts. Rows of the hub's copy have no inputs but a `test` that holds them: it is run as
HumanEval's is.

Sampling: the model continues the prompt; a completion ends before the next statement at the left margin. Unlike the
paper's list, ours does not stop at a comment there, because that is where ra3_lab's models write thoughts.
"""

from __future__ import annotations

import ast
from typing import Any

from ra3_lab.sandbox import Asserts
from ra3_lab.tasks.protocol import Inputs, Task, parse_quietly

STOPS = ("\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert ", "\nif ", "\nprint(", "\n@", "\n```")
"""Where a completion of a function ends: the next statement at the left margin."""
FIELDS = ("task_id", "prompt", "canonical_solution", "entry_point", "test")
PLUS_FIELDS = ("task_id", "prompt", "canonical_solution", "entry_point")


def humaneval_task(row: dict[str, Any]) -> Task:
    """A HumanEval row. ValueError for a row whose prompt or tests are not Python."""
    return _with_tests(row, _asserts(row))


def humaneval_plus_task(row: dict[str, Any]) -> Task:
    """A HumanEval+ row: base and plus inputs together, expected outputs still to be computed."""
    if "base_input" not in row or "plus_input" not in row:
        if not isinstance(row.get("test"), str):
            raise ValueError("it has neither base_input and plus_input nor a test")
        return humaneval_task(row)
    inputs = [*row["base_input"], *row["plus_input"]]
    atol = float(row.get("atol") or 0)
    checker = f"root:{atol:g}" if row["entry_point"] == "find_zero" else f"approx:{atol or 1e-6:g}:1e-7"
    return _with_tests(row, Inputs(row["entry_point"], inputs, checker))


def _with_tests(row: dict[str, Any], tests: Asserts | Inputs) -> Task:
    return Task(
        task_id=row["task_id"],
        prompt=row["prompt"],
        tests=tests,
        prefix=row["prompt"],
        canonical=row["prompt"] + row["canonical_solution"],
        stops=STOPS,
    )


def _asserts(row: dict[str, Any]) -> Asserts:
    entry_point = row["entry_point"]
    try:
        # The prompt ends inside a function; a body makes it a program.
        helpers = _definitions(parse_quietly(row["prompt"] + "\n    pass\n"), entry_point)
        called = {node.id for node in ast.walk(parse_quietly(row["test"])) if isinstance(node, ast.Name)}
    except SyntaxError as error:
        raise ValueError(f"its prompt or its test is not Python ({error})") from error
    needed = "".join(text + "\n" for name, text in helpers if not name or name in called)
    lead = needed if any(name in called for name, _ in helpers if name) else ""
    return Asserts(f"{lead}{row['test']}\ncheck({entry_point})\n", entry_point)


def _definitions(tree: ast.Module, entry_point: str) -> list[tuple[str, str]]:
    """(name, text) of the prompt's functions but for the one to be written; imports come with an empty name."""
    found = []
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.append(("", ast.unparse(node)))
        elif isinstance(node, ast.FunctionDef) and node.name != entry_point:
            found.append((node.name, ast.unparse(node)))
    return found
