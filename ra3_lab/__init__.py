"""RA3 as a laboratory: latent reasoning steps discovered in expert code by mid-training.

Importing this package is quick and imports neither torch nor any extra: public names are looked up in `_LAZY`
when first used (PEP 562).
"""

import importlib
import os
import sys
from typing import Any

__version__ = "0.1.0"

# OpenMP threads spin while they wait. With one other busy process on few cores that spinning starves the
# threads that have work: a small matrix product was measured some 30 times slower. Sleeping ones do not.
# OpenMP reads both variables once, when torch loads it, so they are set here and only while that is still
# ahead; a value chosen by the user stays.
if "torch" not in sys.modules:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")

# Public name -> module that defines it, without the leading package name.
_LAZY: dict[str, str] = {
    "EStepConfig": "midtrain.estep",
    "MStepConfig": "midtrain.mstep",
    "MidtrainConfig": "midtrain.em",
    "Trace": "trace",
    "Variant": "models.variants",
    "data_dir": "resources",
    "em": "api",
    "embedded_model_dir": "resources",
    "estep": "api",
    "evaluate": "evaluate",  # a package that can be called
    "load_config": "config",
    "load_model": "api",
    "load_run": "api",
    "load_traces": "api",
    "mstep": "api",
    "ntp": "api",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {sorted(_LAZY)}")
    found = importlib.import_module(f"{__name__}.{module}")
    value = found if module == name else getattr(found, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
