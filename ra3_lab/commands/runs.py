"""`ra3-lab runs list | show | compare`: what run directories hold, without loading a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ra3_lab.commands.output import Json, results
from ra3_lab.runs import RunView, view_run
from ra3_lab.runs.directory import differences


@dataclass(frozen=True)
class List:
    """The runs in a folder, newest last.

    Example: ra3-lab runs list runs
    """

    folder: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """Folder that holds run directories, at any depth."""
    json: Json = None
    """Write the result as JSON to FILE, or to stdout."""


@dataclass(frozen=True)
class Show:
    """One run: settings, where it comes from, where it stands, its figures.

    Example: ra3-lab runs show runs/mine
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory."""
    json: Json = None
    """Write the result as JSON to FILE, or to stdout."""


@dataclass(frozen=True)
class Compare:
    """Two runs or more: the settings in which they differ, and their figures side by side.

    Example: ra3-lab runs compare runs/ntp runs/ra3 --json compared.json
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories."""
    json: Json = None
    """Write the result as JSON to FILE, or to stdout."""


_ALIKE = {
    "held-out programs": ("heldout_sha256",),
    "model at the start": ("model_sha256",),
    "validation tasks": ("validation_hash", "validation_tasks"),
}
"""What runs must have in common for their figures to be comparable: settings and inputs of the record."""

Action = (
    Annotated[List, tyro.conf.subcommand("list", prefix_name=False)]
    | Annotated[Show, tyro.conf.subcommand("show", prefix_name=False)]
    | Annotated[Compare, tyro.conf.subcommand("compare", prefix_name=False)]
)


def run(action: Annotated[Action, tyro.conf.arg(name="")]) -> int:
    """List runs, show one, or compare some.

    Example: ra3-lab runs list runs

    Example: ra3-lab runs show runs/mine

    Example: ra3-lab runs compare runs/ntp runs/ra3 --json compared.json
    """
    with results("runs", action.json) as emit:
        if isinstance(action, List):
            emit(list_runs(action.folder))
        elif isinstance(action, Show):
            emit(show_run(action.run))
        else:
            emit(compare_runs(action.runs))
    return 0


def list_runs(folder: Path) -> dict[str, Any]:
    """Print a line per run; returns the rows. Raises FileNotFoundError where there is no such folder."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist: give a folder that holds run directories.")
    rows, unreadable = [], []
    for path in sorted(path.parent for path in folder.rglob("run.json")):
        try:
            rows.append(_row(view_run(path)))
        except (ValueError, OSError) as error:
            unreadable.append({"run": str(path), "error": str(error)})
    rows.sort(key=lambda row: row["started"])
    cells = [["run", "state", "command", "method", "updates", "started"]]
    cells += [[str(row[key]) for key in cells[0]] for row in rows]
    print(table(cells) if rows else f"no runs in {folder}")
    for row in unreadable:
        print(f"{row['run']}: {row['error']}")
    return {"runs": rows, "unreadable": unreadable}


def _row(view: RunView) -> dict[str, Any]:
    record = view.record
    return {
        "run": str(view.path),
        "state": view.state,
        "command": record["command"],
        "method": record["settings"].get("method", ""),
        "updates": view.updates,
        "started": record["started"],
    }


def show_run(path: Path) -> dict[str, Any]:
    """Print a run; returns its record."""
    view = view_run(path)
    record = view.record
    print(f"{path}: {view.state}, {view.updates} updates; command {record['command']}, started {record['started']}")
    git = record["git"]
    if git:
        changed = f", {git['changed_files']} files changed" if git["changed_files"] else ""
        print(f"git commit {git['commit'][:12]}{changed}")
    print("versions: " + ", ".join(f"{name} {version}" for name, version in record["versions"].items()))
    for title, part in (("settings", record["settings"]), ("inputs", record["inputs"]), ("last update", view.last)):
        print(f"\n{title}\n" + table([[key, _cell(value)] for key, value in _flat(part).items()], indent="  "))
    if view.summary:
        print("\nsummary\n" + table([[key, _cell(value)] for key, value in _flat(view.summary).items()], indent="  "))
    elif view.state == "stopped":
        print(f"\ngo on with: {record['go_on']}")
    return {**_row(view), "record": record, "last": view.last, "summary": view.summary}


def compare_runs(paths: tuple[Path, ...]) -> dict[str, Any]:
    """Print settings that differ and figures side by side; returns both. Raises ValueError for fewer than two runs."""
    if len(paths) < 2:
        raise ValueError("give two run directories or more.")
    views = [view_run(path) for path in paths]
    settings = [_flat(view.record["settings"]) for view in views]
    keys = {key for other in settings[1:] for key, _, _ in differences(settings[0], other)}
    differing = {key: [known.get(key) for known in settings] for key in sorted(keys)}
    figures: dict[str, list[Any]] = {"state": [view.state for view in views], "updates": [v.updates for v in views]}
    summaries = [_flat(view.summary or {}) for view in views]
    for key in dict.fromkeys(key for summary in summaries for key in summary):
        if key not in ("schema_version", "updates"):
            figures[key] = [summary.get(key) for summary in summaries]
    names = [str(path) for path in paths]
    cells = [["", *names]]
    for title, part in (("settings", differing), ("figures", figures)):
        cells += [[title], *(["  " + key, *map(_cell, values)] for key, values in part.items())]
    print(table(cells))
    known = [{**view.record["settings"], **view.record["inputs"]} for view in views]
    notes = [
        f"note: the runs have not the same {what}; figures may not be comparable."
        for what, keys in _ALIKE.items()
        if len({tuple(record.get(key) for key in keys) for record in known}) > 1
    ]
    print("\n".join(notes))
    return {"runs": names, "settings": differing, "figures": figures, "notes": notes}


def _flat(record: dict[str, Any], under: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys.

    >>> _flat({"a": 1, "b": {"c": 2}})
    {'a': 1, 'b.c': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in record.items():
        flat |= _flat(value, f"{under}{key}.") if isinstance(value, dict) else {under + key: value}
    return flat


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(rows: list[list[str]], indent: str = "") -> str:
    """Rows as text in columns.

    >>> print(table([["a", "b"], ["long", "1"]]))
    a     b
    long  1
    """
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows), default=0))]
    return "\n".join(
        indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows
    )
