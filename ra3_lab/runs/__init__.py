"""Run directories: settings, versions, metrics as they happen, traces, checkpoints. See `directory.py`."""

from ra3_lab.runs.files import (
    SCHEMA_VERSION,
    JsonLines,
    fresh_directory,
    json_text,
    plain,
    read_json,
    read_jsonl,
    write_json,
)
from ra3_lab.runs.progress import narrator

__all__ = [
    "SCHEMA_VERSION",
    "JsonLines",
    "fresh_directory",
    "json_text",
    "narrator",
    "plain",
    "read_json",
    "read_jsonl",
    "write_json",
]
