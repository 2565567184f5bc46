"""What each notebook takes from a fresh kernel, offline, beside what its first cell states.

    python benchmarks/notebooks.py                  # all; writes benchmarks/results/notebooks.json
    python benchmarks/notebooks.py 05_estep         # one; prints, and writes nothing

Minutes are CPU minutes of the kernel and of what it started and waited for, so that a busy machine changes little;
memory is the kernel's own peak. The tests execute notebooks by the same function (`tests/test_notebooks.py`) and hold
what is stated to what was measured here.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import ra3_lab  # noqa: F401  (sets OMP_WAIT_POLICY and GOMP_SPINCOUNT, which kernels inherit)
from ra3_lab.runs import write_json
from ra3_lab.runs.provenance import versions

ROOT = Path(__file__).resolve().parent.parent
RESULT = Path(__file__).with_name("results") / "notebooks.json"
NO_NETWORK = """
import socket
_connect = socket.socket.connect
def _guard(self, address):
    if self.family != getattr(socket, "AF_UNIX", None) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"this test has no network, and {address} was asked for")
    return _connect(self, address)
socket.socket.connect = _guard
"""
SPENT = """
import json as _json, resource as _resource
_used = [_resource.getrusage(who) for who in (_resource.RUSAGE_SELF, _resource.RUSAGE_CHILDREN)]
# ru_maxrss would count what the process was forked from
_peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(_json.dumps({"cpu_s": sum(u.ru_utime + u.ru_stime for u in _used), "memory_gb": int(_peak) * 1024 / 1e9}))
"""


def names() -> list[str]:
    """Of all walkthroughs, in order."""
    return sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def stated(name: str) -> dict[str, float]:
    """Minutes and memory as the notebook's first cell has them."""
    source = (ROOT / "notebooks" / "src" / f"{name}.py").read_text(encoding="utf-8")
    return {what: float(re.search(rf"{what}=([\d.]+)", source)[1]) for what in ("minutes", "memory_gb")}  # type: ignore[index]


def execute(path: Path, folder: Path) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Run a notebook in `folder`, from a fresh kernel that refuses every connection to elsewhere; its executed cells,
    and what it took: `cpu_s`, `memory_gb`.

    Raises nbclient's CellExecutionError where a cell fails, RuntimeError where an explorer shows an error: callbacks
    show theirs to the reader and do not end the cell.
    """
    import nbformat
    from nbclient import NotebookClient

    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(NO_NETWORK)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
        "HF_HUB_OFFLINE": "1",
        "IPYTHONDIR": str(folder / "ipython"),
    }
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(SPENT))
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    for state in client.widget_state.values():
        if 'role="alert"' in (shown := str(state.get("html", ""))):
            raise RuntimeError(f"{path.name}: an explorer shows an error: {shown[:1000]}")
    *cells, last = notebook.cells
    return cells, json.loads(last["outputs"][0]["text"])


def main() -> None:
    """Execute, print a table, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*names(), []], help="walkthroughs; default: all, and written down")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    print(f"{'notebook':26} {'CPU min':>8} {'stated':>7} {'wall min':>9} {'GB':>6} {'stated':>7}")
    for name in arguments.names or names():
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            _, spent = execute(ROOT / "notebooks" / f"{name}.ipynb", Path(folder))
        wall, said = (time.perf_counter() - began) / 60, stated(name)
        rows[name] = {
            "cpu_minutes": round(spent["cpu_s"] / 60, 2),
            "wall_minutes": round(wall, 2),
            "memory_gb": round(spent["memory_gb"], 2),
        }
        print(
            f"{name:26} {spent['cpu_s'] / 60:8.2f} {said['minutes']:7g} {wall:9.2f} {spent['memory_gb']:6.2f} "
            f"{said['memory_gb']:7g}",
            flush=True,
        )
    print(f"{'together':26} {sum(row['cpu_minutes'] for row in rows.values()):8.2f}")
    if not arguments.names:
        record = {"schema_version": 1, "date": str(datetime.date.today()), "versions": versions()}
        write_json(arguments.out, record | {"cores": len(os.sched_getaffinity(0)), "notebooks": rows})


if __name__ == "__main__":
    main()
