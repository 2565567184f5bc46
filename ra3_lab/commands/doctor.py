"""`ra3-lab doctor`: what isolates programs on this machine, how that is known, what is missing and how to get it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from typing import Any

from ra3_lab.commands.output import Json, results


def run(json: Json = None) -> int:
    """Look at this machine: which layers of the sandbox hold, how that is known, what is missing; versions and threads.

    A layer holds when a hostile little program could not do what the layer forbids: it is run now, in every
    isolation that this system might have. Ends with status 1 where no isolation for hostile programs holds.

    Example: ra3-lab doctor --json doctor.json

    Args:
        json: Write the result as JSON to FILE, or to stdout.
    """
    with results("doctor", json) as emit:
        record = examine()
        print("\n".join(describe(record)))
        emit(record)
    return 0 if record["sandbox"]["chosen"] else 1


def examine() -> dict[str, Any]:
    """Everything that `describe` prints, as plain data."""
    from ra3_lab.runs.provenance import versions
    from ra3_lab.sandbox import isolation
    from ra3_lab.sandbox.probes import ATTEMPTS

    names = [*isolation.HARD.get(sys.platform, ()), "process"]
    tried = {name: isolation.probe(name) for name in names}
    chosen = next((name for name in names if name != "process" and tried[name]["holds"]), "")
    return {
        "sandbox": {
            "chosen": chosen,
            "layers": isolation.layers(chosen or "process"),
            "isolations": tried,
            "attempts": dict(ATTEMPTS),
            "missing": missing(tried),
        },
        "versions": versions(),
        "machine": {
            "platform": platform.platform(),
            "processors": os.cpu_count(),
            "usable_processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "environment": {
                name: os.environ.get(name, "") for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
            },
            **_torch(),
        },
    }


def _torch() -> dict[str, Any]:
    import torch

    return {
        "torch_threads": torch.get_num_threads(),
        "torch_build": f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU",
        "torch_device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "torch_instructions": torch.backends.cpu.get_cpu_capability(),
    }


def missing(tried: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """What would make the isolation harder here: the isolation, why it does not hold, the remedy."""
    if list(tried) == ["process"]:
        return [{"isolation": "hard", "reason": f"none is known for {sys.platform}", "remedy": _REMEDIES["hard"]}]
    return [
        {"isolation": name, "reason": found["reason"], "remedy": _REMEDIES.get(name, "")}
        for name, found in tried.items()
        if not found["holds"] and not (name == "bubblewrap" and tried["namespaces"]["holds"])
    ]


_REMEDIES = {
    "namespaces": (
        "allow user namespaces: `sysctl -w kernel.unprivileged_userns_clone=1` (Debian), "
        "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu 24.04 and newer), "
        "`sysctl -w user.max_user_namespaces=10000`; or install bubblewrap, which Ubuntu allows; in Docker "
        "`--security-opt seccomp=unconfined`. In a plain container the isolation `landlock` is enough."
    ),
    "bubblewrap": "`apt install bubblewrap` or `dnf install bubblewrap`: only where `namespaces` fails",
    "landlock": "a kernel of 5.13 or newer with Landlock switched on: `lsm=landlock,...` on the kernel's command line",
    "hard": "Windows: run ra3-lab inside WSL 2, which is Linux; others: a Linux machine or container",
    "sandbox-exec": "it is part of macOS; look at the reason",
}


def describe(record: dict[str, Any]) -> list[str]:
    """The record as lines of text."""
    sandbox, machine = record["sandbox"], record["machine"]
    lines = ["sandbox"]
    if sandbox["chosen"]:
        lines.append(f"  programs run in isolation {sandbox['chosen']!r}: {', '.join(sandbox['layers']['layers'])}")
    else:
        lines.append(
            "  NO isolation for hostile programs holds here; only --isolation process is left, at your own risk"
        )
    for name, found in sandbox["isolations"].items():
        held = sum(text.startswith("refused") for text in found["found"].values())
        note = (
            f"holds: {held} of {held} attempts were refused" if found["holds"] else f"does not hold: {found['reason']}"
        )
        if name == "process":
            note = "limits and a guard against accidents; not for hostile programs"
        lines.append(f"  {name:<12} {note}")
    shown = sandbox["isolations"].get(sandbox["chosen"] or "process", {"found": {}})["found"]
    lines.append("  how this is known: a program tried to")
    for what, heading in sandbox["attempts"].items():
        if what in shown:
            lines.append(f"    {heading:<10} {what:<32} {shown[what][:100]}")
    for item in sandbox["missing"]:
        lines += [f"  missing: {item['isolation']}: {item['reason']}", f"    {item['remedy']}"]
    lines += [
        "",
        "machine",
        f"  {machine['platform']}, {machine['usable_processors']} of {machine['processors']} processors",
    ]
    lines.append(
        f"  torch: {machine['torch_build']} build, {machine['torch_device']}, {machine['torch_instructions']}, "
        f"{machine['torch_threads']} threads"
    )
    lines.append("  " + ", ".join(f"{name}={value or 'unset'}" for name, value in machine["environment"].items()))
    width = shutil.get_terminal_size().columns
    lines += ["", "versions", "  " + ", ".join(f"{name} {version}" for name, version in record["versions"].items())]
    return [line if len(line) <= max(width, 120) else line[: max(width, 120) * 3] for line in lines]
