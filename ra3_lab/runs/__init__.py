"""Run directories: settings, versions, metrics as they happen, traces, checkpoints. See `directory.py`."""

from ra3_lab.runs.directory import (
    RunDirectory,
    RunView,
    create_run,
    model_source,
    open_run,
    read_run,
    resume_run,
    view_run,
)
from ra3_lab.runs.files import (
    SCHEMA_VERSION,
    JsonLines,
    check_schema,
    fresh_directory,
    json_text,
    made_directory,
    plain,
    read_json,
    read_jsonl,
    write_json,
)
from ra3_lab.runs.follower import Follower
from ra3_lab.runs.lock import held
from ra3_lab.runs.progress import narrator, tenths
from ra3_lab.runs.signals import Interrupted, polite_stop

__all__ = [
    "SCHEMA_VERSION",
    "Follower",
    "Interrupted",
    "JsonLines",
    "RunDirectory",
    "RunView",
    "check_schema",
    "create_run",
    "fresh_directory",
    "held",
    "json_text",
    "made_directory",
    "model_source",
    "narrator",
    "open_run",
    "plain",
    "polite_stop",
    "read_json",
    "read_jsonl",
    "read_run",
    "resume_run",
    "tenths",
    "view_run",
    "write_json",
]
