"""MBPP, its sanitized part, and MBPP+ rows as tasks.

MBPP (Austin et al. 2021) gives a sentence and three asserts. The prompt here is the docstring form that harnesses for
base models use: the sentence and the asserts in a docstring at the top of a module, which the model continues with a
whole program (the paper's own form is few-shot, with three worked tasks in front). A completion is the program; it ends
before the next assert, docstring, print or `if` at the left margin.

The tests of 367, 601 and 927 build objects of classes that the solution defines, those of 596 use a module that it
imports: the judge reaches both through stand-ins, so all reference solutions pass. A solution that answers the prompt
without that class or import fails there.

MBPP+ (Liu et al. 2023): base_input and plus_input, results by the reference solution. JSON has no tuples, sets or
complex numbers; which arguments are which is read off the task's own asserts, see `typed_inputs`.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from ra3_lab.sandbox import Asserts, Limits
from ra3_lab.tasks.protocol import Inputs, Task, parse_quietly

STOPS = ('\n"""', "\n'''", "\nassert", "\nprint(", "\nif ", "\n```")
"""Where a completion ends: no line of a solution's own starts so at the left margin."""
FIELDS = ("task_id", "code", "test_list")
PLUS_FIELDS = ("task_id", "prompt")
SPLITS = {"prompt": (1, 10), "test": (11, 510), "validation": (511, 600), "train": (601, 974)}
"""Ranges of task ids, both ends included."""
SECONDS = 10.0
"""CPU seconds for all asserts of a task. The reference solution of 123 alone takes about 2 on a common machine."""
NOT_NONE = ("check_str", "text_match_three", "text_starta_endb")
"""MBPP+ functions that return a match object or None, which counts as found or not."""
FOUND_OR_NOT = """

def ra3_entry_point(*arguments):
    result = {name}(*arguments)
    return result if isinstance(result, bool) else result is not None
"""
"""Text after such a program: a match object is no plain data and would not cross to the judge."""
SETS = (
    "similar_elements",
    "find_char_long",
    "common_in_nested_lists",
    "extract_singly",
    "larg_nnum",
    "intersection_array",
    "find_dissimilar",
    "Diff",
)
"""MBPP+ functions whose result is a collection in no order."""
_ABSENT = object()


def mbpp_task(row: dict[str, Any]) -> Task:
    """A row of mbpp.jsonl (`text`) or sanitized-mbpp.json (`prompt`)."""
    text, asserts = row.get("text") or row.get("prompt"), row["test_list"]
    if not isinstance(text, str) or not isinstance(asserts, list) or not asserts:
        raise ValueError("it needs a text (or prompt) and a test_list with at least one assert")
    setup = [row["test_setup_code"]] if row.get("test_setup_code") else []
    code = _newlines("\n".join([*row.get("test_imports", []), *setup, *asserts])) + "\n"
    canonical = _newlines(row["code"])
    return Task(
        task_id=str(row["task_id"]),
        prompt=docstring_prompt(_newlines(text), [_newlines(line) for line in asserts]),
        tests=Asserts(code, _function_under_test(canonical, code)),
        canonical=canonical,
        stops=STOPS,
        limits=Limits(cpu_seconds=SECONDS),
    )


def _newlines(text: str) -> str:
    """The text with "\\n" at its line ends; the published file has "\\r\\n" and a few "\\r"."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def docstring_prompt(text: str, asserts: list[str]) -> str:
    """The task as the docstring of a module to be continued.

    >>> print(docstring_prompt("Add one.", ["assert f(1) == 2"]), end="")
    \"\"\"
    Add one.
    assert f(1) == 2
    \"\"\"
    """
    body = "\n".join([text.strip(), *(line.strip() for line in asserts)]).replace('"""', "'''")
    return f'"""\n{body}\n"""\n'


def _function_under_test(solution: str, tests: str) -> str:
    """The first function of the solution, in the order of the tests, that the tests call; '' where there is none."""
    try:
        defined = {node.name for node in parse_quietly(solution).body if isinstance(node, ast.FunctionDef)}
        calls = [node.func for node in ast.walk(parse_quietly(tests)) if isinstance(node, ast.Call)]
    except SyntaxError as error:
        raise ValueError(f"its code or its tests are not Python ({error})") from error
    return next((call.id for call in calls if isinstance(call, ast.Name) and call.id in defined), "")


def mbpp_plus_task(row: dict[str, Any]) -> Task:
    """An MBPP+ row as evalplus writes it: inputs without results. ValueError where the inputs' types are unclear."""
    if "base_input" not in row or "plus_input" not in row:
        return _with_test_text(row)  # the hub's copy
    entry_point, task_id = row["entry_point"], str(row["task_id"])
    inputs = typed_inputs(row)
    atol = float(row.get("atol") or 0)
    checker = f"approx:{atol or 1e-6:g}:1e-7"
    if entry_point in SETS:
        checker = "set"
    return Task(
        task_id=task_id,
        prompt=row["prompt"] if row["prompt"].endswith("\n") else row["prompt"] + "\n",
        tests=Inputs("ra3_entry_point" if entry_point in NOT_NONE else entry_point, inputs, checker),
        suffix=FOUND_OR_NOT.format(name=entry_point) if entry_point in NOT_NONE else "",
        canonical=row["canonical_solution"],
        stops=STOPS,
    )


def _with_test_text(row: dict[str, Any]) -> Task:
    """A row of the hub's copy of MBPP+, in which `test` is a program that holds inputs and results."""
    if not isinstance(row.get("test"), str):
        raise ValueError("it has neither base_input and plus_input nor a test")
    code = _newlines(row["code"])
    return Task(
        task_id=str(row["task_id"]),
        prompt=docstring_prompt(row["prompt"], row.get("test_list") or []),
        tests=Asserts(row["test"], _function_under_test(code, row["test"])),
        canonical=code,
        stops=STOPS,
    )


def typed_inputs(row: dict[str, Any]) -> list[list[Any]]:
    """All inputs of an MBPP+ row, with the types that the arguments have in its asserts.

    A list becomes a tuple or a set where the assert shows one in that place; inside a list all items share a place, so
    the first shape that fits decides.

    >>> row = {"base_input": [[[1, [2]]]], "plus_input": [[[3, [4]]]], "entry_point": "f", "task_id": "0"}
    >>> typed_inputs({**row, "assertion": "assert f((1, [2])) == 3"})
    [[(1, [2])], [(3, [4])]]
    """
    shown = _shown_arguments(row)
    places: list[list[Any]] = []
    for arguments in shown:
        for place, value in enumerate(arguments):
            if place == len(places):
                places.append([])
            places[place].append(value)
    rows = [*row["base_input"], *row["plus_input"]]
    columns = []
    for i, values in enumerate(zip_longest(*rows, fillvalue=_ABSENT)):
        examples = places[i] if i < len(places) else []
        if examples and all(isinstance(example, (int, float, complex)) for example in examples):
            columns.append(_numbers(values))
        else:
            shape = _Shape(examples)
            columns.append([_retype(value, shape) for value in values])
    return [[value for value in values if value is not _ABSENT] for values in zip(*columns, strict=True)]


def _numbers(values: Sequence[Any]) -> Sequence[Any]:
    """The values with numbers for texts, if all texts are numbers: that is how complex ones came to stand in JSON."""
    try:
        return [_number(value) if isinstance(value, str) else value for value in values]
    except ValueError:
        return values


def _number(text: str) -> complex | float:
    return complex(text) if "j" in text else float(text)


def _shown_arguments(row: dict[str, Any]) -> list[list[Any]]:
    """Arguments of the calls of the function under test in the asserts, those that are literals."""
    found = []
    for node in ast.walk(parse_quietly(row.get("assertion", "") or "")):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == row["entry_point"]:
            try:
                found.append([_literal(argument) for argument in node.args])
            except ValueError:
                continue
    return found


def _literal(node: ast.expr) -> Any:
    """`ast.literal_eval`, with complex(...) and set(...) as the asserts write them."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("complex", "set"):
        return {"complex": complex, "set": set}[node.func.id](*map(ast.literal_eval, node.args))
    return ast.literal_eval(node)


class _Shape:
    """What the examples of one place have there: kinds of value, and the shapes inside."""

    def __init__(self, examples: list[Any], only: set[type] | None = None) -> None:
        self.kinds = {type(example) for example in examples}
        alike = [example for example in examples if _is_container(example)]
        inner = [item for example in alike for item in example]
        # Kinds of container inside the examples; they decide below the depth that the examples reach.
        self.only = _containers(inner) if only is None else only
        self.items = _Shape(inner, self.only) if inner else self if not alike and only is not None else None
        # In a tuple every position may have a type of its own.
        tuples = [example for example in alike if isinstance(example, tuple)]
        sizes = {len(example) for example in tuples}
        columns = {size: zip(*(t for t in tuples if len(t) == size), strict=True) for size in sizes}
        self.positions = {size: [_Shape(list(c), self.only) for c in columns[size]] for size in sizes}
        values = [item for example in examples if isinstance(example, dict) for item in example.values()]
        self.values = _Shape(values, self.only) if values else None


def _retype(value: Any, shape: _Shape | None) -> Any:
    """`value` with its lists turned into what the examples have in their place."""
    if shape is None:
        return value
    if isinstance(value, list):
        if not value and shape.kinds >= {dict, set}:
            return {}  # how `{}` beside sets came to be written
        inside = shape.positions.get(len(value)) or [shape.items] * len(value)
        items = [_retype(item, inner) for item, inner in zip(value, inside, strict=True)]
        wanted = shape.kinds & {list, tuple, set} or shape.only
        return next(iter(wanted))(items) if len(wanted) == 1 else items
    if isinstance(value, dict):
        return {key: _retype(item, shape.values) for key, item in value.items()}
    return value


def _is_container(value: Any) -> bool:
    return isinstance(value, (list, tuple, set))


def _containers(values: list[Any]) -> set[type]:
    """The kinds of container among these values and inside them."""
    found = [value for value in values if _is_container(value)]
    deeper = _containers([inner for value in found for inner in value]) if found else set()
    return {type(value) for value in found} | deeper
