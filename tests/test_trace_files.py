"""Files in, the same bytes out: the standard library and MBPP, whole, with latents at random lines."""

from __future__ import annotations

import ast
import json
import random
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from ra3_lab.trace import Refused, Source, absent_marker, parse_source, read_source, strip
from ra3_lab.trace.python import same_tree, syntax_tree

STDLIB = Path(sysconfig.get_paths()["stdlib"])
WORDS = ("", " sum up", " then: 'quotes\" (", " \\", " TODO # again", '"""', "\tnext", " ·é中", " 1) {", " if x:")


def check_round_trip(data: bytes, name: str, seed: int) -> Source:
    """Random latents at half of the places offered: nothing about the file is lost. Returns it annotated."""
    rng = random.Random(f"{seed} {name}")
    source = read_source(data, name)
    assert source.encode() == data
    words = [word for word in WORDS if _fits(word, source.encoding)]
    latents = [rng.choice(words) if free and rng.random() < 0.5 else None for free in source.trace.offered]
    marker = absent_marker([source.trace])
    noted = source.annotate(latents)
    written = noted.encode(marker)
    assert (written == data) == (not noted.trace.thought_lines)
    assert same_tree(syntax_tree(written), syntax_tree(data))
    again = parse_source(written, marker, name)
    assert again == noted
    assert Source(strip(again.trace), again.encoding, again.final_newline).encode() == data
    return noted


def _fits(word: str, encoding: str) -> bool:
    try:
        word.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def round_trips(paths: list[Path]) -> Counter[str]:
    """Check each file that `ast.parse` accepts; what became of all, counted."""
    seen: Counter[str] = Counter()
    for path in paths:
        data, name = path.read_bytes(), path.relative_to(STDLIB).as_posix()
        try:
            ast.parse(data)
        except (SyntaxError, ValueError):
            with pytest.raises(Refused) as refused:
                read_source(data, name)
            assert refused.value.file == name
            seen[refused.value.reason] += 1
            continue
        if not data:
            with pytest.raises(Refused, match="empty"):
                read_source(data, name)
            seen["empty"] += 1
            continue
        noted = check_round_trip(data, name, seed=1)
        seen["same bytes, same program, same trace"] += 1
        seen["latents"] += len(noted.trace.thought_lines)
    return seen


def library() -> list[Path]:
    return [p for p in sorted(STDLIB.rglob("*.py")) if "site-packages" not in p.relative_to(STDLIB).parts]


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_a_sample_of_the_standard_library():
    paths = library()
    odd = [p for p in paths if p.parent.name in ("tokenizedata", "data") and p.stat().st_size < 30_000]
    small = [p for p in paths if p.stat().st_size < 12_000]
    seen = round_trips([*odd, *random.Random(0).sample(small, min(len(small), 140))])
    assert seen["same bytes, same program, same trace"] > 100 and seen["latents"] > 5000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_every_file_of_the_standard_library():
    paths = library()
    seen = round_trips(paths)
    print(json.dumps(seen))
    accepted = seen["same bytes, same program, same trace"]
    assert sum(seen.values()) - seen["latents"] == len(paths)
    assert set(seen) <= {
        "same bytes, same program, same trace", "latents", "empty", "does not parse", "encoding unknown or wrong"
    }  # fmt: skip
    assert accepted > 1000 and seen["latents"] > 200_000


def test_every_mbpp_solution(benchmarks_dir):
    rows = [json.loads(line) for line in (benchmarks_dir / "mbpp" / "mbpp.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 974
    noted = [check_round_trip(row["code"].encode(), f"mbpp {row['task_id']}", seed=2) for row in rows]
    assert sum(len(source.trace.thought_lines) for source in noted) > 2000
    assert any(not source.final_newline for source in noted) and any("\r\n" in source.trace.code for source in noted)
