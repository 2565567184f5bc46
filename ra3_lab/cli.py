"""The `ra3-lab` command: one table of subcommands, each loaded when it is called."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (
        "commands.demo:demo",
        "compare base, NTP, prior and RA3 on the embedded model; writes report.html and summary.json",
    ),
    "midtrain": ("commands.midtrain:run", "mid-train a model on your own Python by ntp, prior or ra3"),
    "rlvr": ("commands.rlvr:run", "train a policy by GRPO on tasks with tests"),
    "compare": ("commands.compare:run", "learning curves of rlvr runs, with intervals over seeds"),
    "annotate": ("commands.annotate:run", "show programs with the thoughts a model proposes, and what they bought"),
    "runs": ("commands.runs:run", "list, show and compare run directories"),
    "plan": ("commands.plan:run", "memory and minutes of a run on a real model, before anything is loaded"),
    "export": ("commands.export:run", "adapters or merged weights of a run, with a model card"),
    "pretrain": ("commands.pretrain:run", "train an embedded base model from nothing"),
    "data": (
        "commands.data:run",
        "rebuild the pipelines splits, or check that the generator reproduces them",
    ),
    "eval": ("commands.evaluate:run", "sample programs from a model on a benchmark and judge them"),
    "judge": ("commands.judge:run", "judge samples, or reference solutions, on a benchmark"),
    "doctor": ("commands.doctor:run", "what isolates programs here, what is missing, how to get it; versions"),
    "study": ("commands.study:run", "run the arms over several seeds and print paired intervals"),
    "record": ("commands.record:run", "make em.json, the recorded EM run that notebooks and explorers replay"),
    "notebooks": ("commands.notebooks:run", "build the notebooks from their sources"),
    "course": ("commands.course:run", "assignments: build them, check and grade submissions"),
    "corpus": ("commands.corpus:run", "build an expert corpus from folders of Python"),
    "test": ("commands.tools:test", "run the tests (at most 15 minutes)"),
    "test-all": ("commands.tools:test_all", "run the tests, slow, browser and GPU ones too"),
    "lab": ("commands.tools:lab", "open JupyterLab on the notebooks"),
}

TOGETHER = ("midtrain", "rlvr")
"""What several processes do together, under `accelerate launch`."""

_USAGE = """ra3-lab: discover reasoning latents in expert code (RA3), fine-tune on them, compare with next-token
prediction.

usage: ra3-lab COMMAND [options]      ra3-lab COMMAND --help      ra3-lab --version

commands:
{commands}

examples:
  ra3-lab demo --out demo_out --seed 0
  ra3-lab midtrain --method ra3 --data solutions.jsonl --model embedded --out runs/mine
  ra3-lab midtrain --resume runs/mine
  ra3-lab annotate program.py --model runs/mine
  ra3-lab runs compare runs/ntp runs/mine
"""


def usage() -> str:
    """The help text."""
    return _USAGE.format(commands="\n".join(f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items()))


def _told(error: Exception) -> str:
    """An error's text; one that came from the system as it was, without its number and with the next step.

    >>> _told(PermissionError(13, "Permission denied", "grades"))
    'grades: Permission denied; give another path, or mend this one.'
    """
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}; give another path, or mend this one."
    return str(error)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status. Errors that a user can mend end in one line and status 2."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        import ra3_lab

        print(ra3_lab.__version__)
        return 0
    if arguments[0] not in COMMANDS:
        near = difflib.get_close_matches(arguments[0], COMMANDS, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        print(f"ra3-lab: no command {arguments[0]!r}{meant}; there are {', '.join(COMMANDS)}.", file=sys.stderr)
        return 2
    if int(os.environ.get("WORLD_SIZE") or 1) > 1 and "RANK" in os.environ and arguments[0] not in TOGETHER:
        print(f"ra3-lab {arguments[0]} runs in one process: launch only {' and '.join(TOGETHER)}.", file=sys.stderr)
        return 2
    import tyro

    from ra3_lab.commands.output import with_files, with_json_target

    module, name = COMMANDS[arguments[0]][0].split(":")
    function = getattr(importlib.import_module(f"ra3_lab.{module}"), name)
    try:
        words = with_json_target(arguments[1:])
        return tyro.cli(with_files(function, words), args=words, prog=f"ra3-lab {arguments[0]}") or 0
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"ra3-lab {arguments[0]}: {_told(error)}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        from ra3_lab.runs.memory import ran_out

        if not ran_out(error):
            raise
        print(
            f"ra3-lab {arguments[0]}: out of memory ({str(error).splitlines()[0] if str(error) else 'MemoryError'}). "
            "`ra3-lab plan --model MODEL --preset SIZE` says what fits: 4-bit weights, fewer tokens at once.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt as stop:
        print(f"\nra3-lab {arguments[0]}: {str(stop) or 'stopped'}.", file=sys.stderr)
        return getattr(stop, "status", 130)
