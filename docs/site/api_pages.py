"""The API reference as Markdown, one page a package, read from the sources without importing them.

Signatures and docstrings of every public class and function; fields of dataclasses with the line under each. A
docstring's indented blocks and doctests become code, `Args:` becomes a list.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

_FENCE = ":" * 5
_SECTIONS = ("Args:", "Returns:", "Raises:", "Yields:")


def write_api(package: Path, out: Path) -> None:
    """Write `out`/index.md and a page for every folder of the package (modules of the package itself on one)."""
    out.mkdir(parents=True, exist_ok=True)
    folders = [package, *sorted(path.parent for path in package.glob("*/__init__.py"))]
    names = []
    for folder in folders:
        name = ".".join(folder.relative_to(package.parent).parts)
        modules = [path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("__")]
        about = _about(folder / "__init__.py")
        parts = [f"# {name}\n", about, *(_module(path, name) for path in modules)]
        (out / f"{name}.md").write_text("\n".join(parts), encoding="utf-8")
        names.append(name)
    listed = "\n".join(names)
    toctree = f"```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    said = "# API reference\n\nEvery public class and function, a page for each package.\n\n"
    (out / "index.md").write_text(said + toctree, encoding="utf-8")


def _about(path: Path) -> str:
    return markdown(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")


def _module(path: Path, package: str) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = f"{package}.{path.stem}"
    parts = [f"## {path.stem}\n", markdown(ast.get_docstring(tree) or "")]
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            parts.append(_function(node, name) if isinstance(node, ast.FunctionDef) else _class(node, name))
    return "\n".join(parts)


def _function(node: ast.FunctionDef, owner: str, kind: str = "function") -> str:
    given = ast.unparse(node.args)
    if kind == "method":
        given = re.sub(r"^(self|cls)(, )?", "", given)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    title = f"{owner}.{node.name}({given}){returns}"
    return _entry(kind, title, markdown(ast.get_docstring(node) or ""))


def _class(node: ast.ClassDef, owner: str) -> str:
    parts = [markdown(ast.get_docstring(node) or "")]
    for name, annotation, default, about in _fields(node):
        value = f" = `{default}`" if default and len(default) < 60 else ""
        parts.append(f"- `{name}`: `{annotation}`{value}. {escaped(about)}")
    parts.append("")
    name = f"{owner}.{node.name}"
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
            decorated = {ast.unparse(one) for one in inner.decorator_list}
            kind = "property" if decorated & {"property", "cached_property"} else "method"
            parts.append(
                _entry("property", f"{name}.{inner.name}", markdown(ast.get_docstring(inner) or ""))
                if kind == "property"
                else _function(inner, name, kind)
            )
    return _entry("class", name, "\n".join(parts), _FENCE + "::")


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str, str, str]]:
    """Name, annotation, default and the string under every annotated field."""
    for one, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and not one.target.id.startswith("_"):
            said = ""
            if (
                isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                said = " ".join(after.value.value.split())
            yield one.target.id, ast.unparse(one.annotation), ast.unparse(one.value) if one.value else "", said


def _entry(kind: str, title: str, body: str, fence: str = _FENCE) -> str:
    return f"{fence}{{py:{kind}}} {title}\n\n{body.strip()}\n{fence}\n"


def markdown(docstring: str) -> str:
    """A docstring as Markdown.

    >>> print(markdown("Mean of *xs*.\\n\\n    sum / n").strip())
    Mean of \\*xs\\*.
    <BLANKLINE>
    ```text
    sum / n
    ```
    """
    parts: list[str] = []
    for block in re.split(r"\n[ \t]*\n", docstring.strip("\n")):
        lines = block.split("\n")
        if lines[0].strip() in _SECTIONS:
            items = re.split(r"\n(?=\S)", textwrap.dedent("\n".join(lines[1:])))
            told = "\n".join(f"- {_item(' '.join(item.split()))}" for item in items if item.strip())
            parts.append(f"**{lines[0].strip()}**\n\n{told}")
        elif lines[0].lstrip().startswith(">>>"):
            parts.append(f"```python\n{textwrap.dedent(block)}\n```")
        elif all(line.startswith((" ", "\t")) for line in lines):
            parts.append(f"```text\n{textwrap.dedent(block)}\n```")
        else:
            parts.append("\n".join(map(escaped, lines)))
    return "\n\n".join(parts) + "\n"


def _item(text: str) -> str:
    name, colon, rest = text.partition(": ")
    return f"`{name}`: {escaped(rest)}" if colon and re.fullmatch(r"[\w.]+", name) else escaped(text)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is; what stands in backticks is left alone."""
    pieces = re.split(r"(`[^`]*`)", text)
    kept = [piece if i % 2 else re.sub(r"([\\*_<\[\]$|])", r"\\\1", piece) for i, piece in enumerate(pieces)]
    return re.sub(r"^(\s*)([#+>=:]|\d+\.)", r"\1\\\2", "".join(kept)) if kept else text
