"""Data files: whatever is wrong with one is said with file, line and what to do, by every reader of them."""

from __future__ import annotations

import gzip

import pytest

from ra3_lab.corpus import load_corpus
from ra3_lab.corpus.contamination import Benchmarks
from ra3_lab.evaluate.samples import read_samples
from ra3_lab.jsonl import numbered_items, numbered_rows
from ra3_lab.tasks.pipelines import read_tasks
from ra3_lab.tasks.records import read_records

READERS = {
    "corpus": load_corpus,
    "own tasks": lambda path: list(read_records(path)),
    "pipelines": lambda path: list(read_tasks(path)),
    "samples": lambda path: read_samples(path, ["a"]),
    "contamination": lambda path: Benchmarks([path], 8, 0.3),
}


def test_blank_lines_a_byte_order_mark_and_packing_make_no_difference(tmp_path):
    plain, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"
    plain.write_bytes('\ufeff{"a": "ä\u2028"}\r\n\n  \n[1]'.encode())
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(numbered_rows(plain)) == list(numbered_rows(packed)) == [(1, {"a": "ä\u2028"}), (4, [1])]
    plain.write_text('\n[{"a": 1},\n 2]\n')
    assert list(numbered_items(plain)) == [(1, {"a": 1}), (2, 2)]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'\xff{"code": "x = 1"}\n', "bad.jsonl.* is not UTF-8 text .invalid start byte at byte 0.: write the file as"),
        (b"{oops\n", r"bad\.jsonl:1 is not JSON .*line 1, column 2.: mend it"),
        (b'{"a": ' + b"[" * 100_000 + b"\n", r"bad\.jsonl:1 is not JSON"),
    ],
)
def test_every_reader_names_file_and_line(reader, data, message, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        READERS[reader](path)


@pytest.mark.parametrize("data", [b"\x1f\x8bgarbage here", b"no gzip", gzip.compress(b'{"a": 1}\n' * 1000)[:-30]])
def test_a_broken_gzip_file_is_named(data, tmp_path):
    path = tmp_path / "bad.jsonl.gz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"bad\.jsonl\.gz cannot be unpacked .*: fetch it"):
        list(numbered_rows(path))
