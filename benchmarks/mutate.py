"""Small mistakes in right programs: one change in the syntax tree, as a programmer might make it.

    for mutant in mutants(source, first_line=12): print(mutant.change, mutant.source)

Changes: another comparison, another arithmetic or logical operator, a whole number off by one, a text or truth value
changed, a condition negated, `break` for `continue`, a statement left out, the value of `return` left out, an index or
the bound of a slice or of `range` moved by one. Some mutants do the same as the original (equivalent mutants): no test
can tell them apart, so the share that tests find is never 1.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import NamedTuple

_OTHER: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add, ast.FloorDiv),
    ast.Div: (ast.FloorDiv, ast.Mult),
    ast.FloorDiv: (ast.Div, ast.Mod),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.BitXor: (ast.BitOr,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}


class Mutant(NamedTuple):
    """One changed program."""

    change: str
    """Where and what: '12: Lt -> LtE'."""
    source: str
    """The whole program."""


def mutants(source: str, first_line: int = 1) -> Iterator[Mutant]:
    """Every mutant of the program whose change lies in `first_line` or below, each different from the original.

    >>> [mutant.change for mutant in mutants("def f(x):\\n    return x < 3\\n")]
    ['2: return None', '2: Lt -> LtE', '2: Lt -> Gt', '2: 3 -> 4', '2: 3 -> 2']
    """
    tree = ast.parse(source)
    original = ast.unparse(tree)
    seen = {original}
    places = [node for node in ast.walk(tree) if getattr(node, "lineno", 0) >= first_line]
    numbers = {id(node): number for number, node in enumerate(ast.walk(tree))}
    for node in places:
        for change, apply in _changes(node):
            twin_tree = copy.deepcopy(tree)
            twin = list(ast.walk(twin_tree))[numbers[id(node)]]
            apply(twin, twin_tree)
            ast.fix_missing_locations(twin_tree)
            try:
                text = ast.unparse(twin_tree)
                compile(text, "mutant", "exec", dont_inherit=True)
            except (SyntaxError, ValueError):
                continue
            if text not in seen:
                seen.add(text)
                yield Mutant(f"{getattr(node, 'lineno', 0)}: {change}", text + "\n")


def _changes(node: ast.AST) -> Iterator[tuple]:
    """(description, function that changes the same node of another copy of the tree)."""
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            for other in _OTHER.get(type(operator), ()):
                yield _named(operator, other), lambda twin, _, i=i, other=other: twin.ops.__setitem__(i, other())
    elif isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)):
        for other in _OTHER.get(type(node.op), ()):
            yield _named(node.op, other), lambda twin, _, other=other: setattr(twin, "op", other())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield f"without {type(node.op).__name__}", lambda twin, tree: _replace(tree, twin, twin.operand)
    elif isinstance(node, ast.Constant):
        for value in _other_values(node.value):
            yield f"{node.value!r:.20} -> {value!r:.20}", lambda twin, _, value=value: setattr(twin, "value", value)
    elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
        yield "negated condition", lambda twin, _: setattr(twin, "test", ast.UnaryOp(ast.Not(), twin.test))
    elif isinstance(node, (ast.Break, ast.Continue)):
        other = ast.Continue if isinstance(node, ast.Break) else ast.Break
        yield _named(node, other), lambda twin, tree, other=other: _replace(tree, twin, other())
    elif isinstance(node, ast.Return) and node.value is not None:
        yield "return None", lambda twin, _: setattr(twin, "value", ast.Constant(None))
    elif isinstance(node, ast.Subscript):
        if isinstance(node.slice, ast.Slice):
            for bound in ("lower", "upper"):
                if getattr(node.slice, bound) is not None:
                    yield f"{bound} bound + 1", lambda twin, _, bound=bound: _plus_one(twin.slice, bound)
        elif isinstance(node.slice, (ast.Name, ast.BinOp)):
            yield "index + 1", lambda twin, _: _plus_one(twin, "slice")
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and node.args:
        yield "range one shorter", lambda twin, _: _last_argument(twin, ast.Sub)
        yield "range one longer", lambda twin, _: _last_argument(twin, ast.Add)
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr, ast.If, ast.For)):
        yield f"without {type(node).__name__}", lambda twin, tree: _replace(tree, twin, ast.Pass())


def _named(old: ast.AST, new: type) -> str:
    return f"{type(old).__name__} -> {new.__name__}"


def _other_values(value: object) -> list:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [value + 1, value - 1]
    if isinstance(value, str):
        return [value[:-1], value + " "] if value else ["x"]
    return []


def _plus_one(parent: ast.AST, name: str) -> None:
    setattr(parent, name, ast.BinOp(getattr(parent, name), ast.Add(), ast.Constant(1)))


def _last_argument(call: ast.Call, operator: type) -> None:
    place = min(1, len(call.args) - 1)
    call.args[place] = ast.BinOp(call.args[place], operator(), ast.Constant(1))


def _replace(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list) and any(item is old for item in value):
                value[:] = [new if item is old else item for item in value]
