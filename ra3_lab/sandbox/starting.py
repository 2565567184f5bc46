"""Command lines of our own processes: a bare interpreter that imports a module of this package and runs its `main`."""

from __future__ import annotations

import os
import sys

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""What `ra3_lab` is imported from."""
BOOT = (
    "import sys; sys.path.insert(0, {home!r}); from ra3_lab.sandbox.{module} import main; "
    "main({arguments})  # for {owner}"
)


def command(module: str, owner: int, arguments: str = "", python: str = sys.executable) -> list[str]:
    """The words that start `module`. `owner`, the trainer's process id, stands in them so that it is known whose it is.

    >>> command("worker", 7)[-1].endswith("from ra3_lab.sandbox.worker import main; main()  # for 7")
    True
    """
    boot = BOOT.format(home=HOME, module=module, arguments=arguments, owner=owner)
    return [python, "-s", "-S", "-B", "-c", boot]  # no user's packages, no site, no bytecode written
