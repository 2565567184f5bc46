"""Does a function hold a benchmark's problem? n-gram overlap with its solutions and descriptions.

A benchmark item (one HumanEval or MBPP problem) is read as code (its solution, docstrings apart) and as words (its
description). A function *overlaps* an item when at least `share` of the different n-grams of the item's code, or of its
words, occur in the function's code, or docstring; or those of the item's code in what the function's docstring and
strings quote. Layout, comments and line ends make no difference; renamed variables do. Items of fewer than n tokens on
a side cannot be looked for there and are counted as such.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ra3_lab.corpus.files import labels
from ra3_lab.corpus.functions import functions
from ra3_lab.corpus.likeness import code_tokens, hashes, ngrams, word_tokens
from ra3_lab.jsonl import numbered_items
from ra3_lab.trace.python import syntax_tree

_DOCTEST = re.compile(r"(?m)^[ \t]*(?:>>>|\.\.\.)(?: |$)")
_KNOWN = ("humaneval/HumanEval.jsonl.gz", "mbpp/mbpp.jsonl", "mbpp/sanitized-mbpp.json")


@dataclass(frozen=True)
class Overlap:
    """A function that holds much of a benchmark item."""

    benchmark: str
    """File name of the benchmark, numbered where two are the same."""
    item: str
    """Its problem, by task_id."""
    side: str
    """'code', 'words', or 'quoted' for code in docstring and strings."""
    share: float
    """Share of the item's n-grams that the function has, 0 to 1."""


def benchmark_files(folder: str | Path | None) -> tuple[Path, ...]:
    """The HumanEval and MBPP files of a folder laid out as $RA3_BENCHMARKS is; none where there is no folder."""
    return tuple(path for name in _KNOWN if folder and (path := Path(folder) / name).is_file())


class Benchmarks:
    """The n-grams of all items of some benchmark files, ready to be looked up.

    Raises FileNotFoundError for a missing file and ValueError, naming file and line, for one that is no benchmark.
    """

    def __init__(self, files: Sequence[Path], n: int, share: float) -> None:
        if n < 2 or not 0 < share <= 1:
            raise ValueError(f"ngram={n}, overlap={share}: n-grams of 2 or more, a share above 0 and at most 1.")
        self.n, self.share = n, share
        self.names: list[tuple[str, str]] = []
        """(benchmark file, item) of each item."""
        self.hashes: dict[str, str] = {}
        """sha256 of each file by its name."""
        self.too_short = {"code": 0, "words": 0}
        """Items that cannot be looked for on that side."""
        grams: dict[str, list[np.ndarray]] = {"code": [], "words": []}
        for path, name in zip(files, labels(files), strict=True):
            if not path.is_file():
                raise FileNotFoundError(f"benchmark file {path} does not exist: mend --against.")
            self.hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            for item, code, text in _items(path):
                self.names.append((name, item))
                for side, tokens in (("code", _solution_tokens(code)), ("words", word_tokens(text))):
                    found = ngrams(hashes(tokens), n)
                    self.too_short[side] += not len(found)
                    grams[side].append(found)
        self._sizes = {side: np.array([len(g) for g in parts]) for side, parts in grams.items()}
        self._grams: dict[str, np.ndarray] = {}
        self._owner: dict[str, np.ndarray] = {}
        for side, parts in grams.items():
            every = np.concatenate(parts) if parts else np.empty(0, np.uint64)
            owner = np.repeat(np.arange(len(parts)), self._sizes[side]) if parts else np.empty(0, np.int64)
            order = np.argsort(every, kind="stable")
            self._grams[side], self._owner[side] = every[order], owner[order]

    def overlaps(self, code: np.ndarray, words: np.ndarray, quoted: np.ndarray | None = None) -> list[Overlap]:
        """The items that a function with these hashed tokens overlaps, the largest share first."""
        found = []
        for name, side, tokens in (("code", "code", code), ("words", "words", words), ("quoted", "code", quoted)):
            if tokens is None:
                continue
            grams, owner = self._grams[side], self._owner[side]
            mine = ngrams(tokens, self.n)
            begin, end = np.searchsorted(grams, mine, "left"), np.searchsorted(grams, mine, "right")
            hit = np.flatnonzero(end > begin)
            if not len(hit):
                continue
            items = np.concatenate([owner[begin[i] : end[i]] for i in hit])
            counts = np.bincount(items, minlength=len(self.names))
            for item in np.flatnonzero(counts):
                share = counts[item] / self._sizes[side][item]
                if share >= self.share:
                    found.append(Overlap(*self.names[item], name, round(float(share), 3)))
        return sorted(found, key=lambda overlap: (-overlap.share, overlap.benchmark, overlap.item))


def quoted_tokens(docstring: str, tree: ast.AST) -> list[str]:
    """Code tokens of a docstring and of all strings in a program, one after the other, without doctests' prompts.

    >>> quoted_tokens(">>> f(1)", ast.parse("lines = ['def f(x):', '    return x']"))
    ['f', '(', '1', ')', 'def', 'f', '(', 'x', ')', ':', 'return', 'x']
    """
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    strings.sort(key=lambda node: (node.lineno, node.col_offset))
    texts = [docstring, *(str(node.value) for node in strings)]
    return [token for text in texts for token in code_tokens(_DOCTEST.sub("", text))]


def _solution_tokens(code: str) -> list[str]:
    """Tokens of a solution with its functions' docstrings taken out."""
    if not code.strip():
        return []
    try:
        parts = [f.code for f in functions(code, syntax_tree(code), docstrings=False)]
    except SyntaxError:
        parts = []
    return code_tokens("".join(parts) or code)


def _items(path: Path) -> Iterator[tuple[str, str, str]]:
    """(task_id, code, description) of each problem."""
    for number, row in numbered_items(path):
        if not isinstance(row, dict):
            raise ValueError(f"{path}:{number} is no benchmark item: a JSON object is needed.")
        prompt = str(row.get("prompt") or row.get("text") or row.get("question_content") or "")
        if isinstance(row.get("canonical_solution"), str):
            # HumanEval: the prompt is the function's head, its docstring the description.
            code = prompt + row["canonical_solution"]
            try:
                docstrings = [f.docstring for f in functions(code, syntax_tree(code))]
            except SyntaxError:
                docstrings = []
            prompt = max(docstrings, key=len, default=prompt)
        else:
            code = next((row[key] for key in ("code", "solution") if isinstance(row.get(key), str)), "")
        if not prompt and not code:
            raise ValueError(
                f"{path}:{number} is no benchmark item: it has none of prompt, text, code, solution, "
                "canonical_solution."
            )
        yield str(row.get("task_id", number)), code, prompt
