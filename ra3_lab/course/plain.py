"""Arrays and tensors as plain data: lists, numbers, text, and a marked dict for what has a dtype.

This file is also sent, as text, into the sandbox, where a submission runs: it imports nothing of ra3_lab, and numpy
and torch only where a value needs them.

>>> revive(array([[1, 2]], "float64")).shape
(1, 2)
>>> plain(revive(array([[1, 2]], "float64")))
[[1.0, 2.0]]
"""

from __future__ import annotations

import sys
from typing import Any


def array(data: Any, dtype: str = "float64") -> dict[str, Any]:
    """An argument that reaches the function as a numpy array. `data`: nested lists."""
    return {"array": dtype, "data": data}


def tensor(data: Any, dtype: str = "float32") -> dict[str, Any]:
    """An argument that reaches the function as a torch tensor. `data`: nested lists."""
    return {"tensor": dtype, "data": data}


def revive(value: Any) -> Any:
    """Plain data with marked dicts replaced by fresh arrays and tensors: what a student's function sees."""
    if isinstance(value, dict):
        if set(value) == {"array", "data"}:
            import numpy

            return numpy.array(value["data"], dtype=value["array"])
        if set(value) == {"tensor", "data"}:
            import torch

            return torch.tensor(value["data"], dtype=getattr(torch, value["tensor"]))
        return {key: revive(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([revive(item) for item in value])
    return value


def plain(value: Any) -> Any:
    """A result as plain data: arrays and tensors as nested lists of Python numbers, tuples as lists.

    TypeError for anything else than None, bool, numbers, text, lists, tuples, dicts, arrays and tensors.
    """
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.double() if value.is_floating_point() else value).tolist()
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        return (value.astype("float64") if value.dtype.kind == "f" else value).tolist()  # longdouble has no Python twin
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a {type(value).__name__} was returned; return numbers, lists, arrays or tensors")
