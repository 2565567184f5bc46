"""The labs, in the order of docs/theory.md: each takes settings with defaults and returns a record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ra3_lab.theory.choices import choices_lab
from ra3_lab.theory.horizon import horizon_lab
from ra3_lab.theory.oracle_labs import em_lab, gradient_lab, posterior_lab, price_lab
from ra3_lab.theory.pruning import pruning_lab
from ra3_lab.theory.regret import regret_lab
from ra3_lab.theory.violations import violations_lab

LABS: tuple[Callable[[], Any], ...] = (
    regret_lab,
    pruning_lab,
    violations_lab,
    choices_lab,
    horizon_lab,
    posterior_lab,
    price_lab,
    gradient_lab,
    em_lab,
)
