"""numpy arrays and torch tensors across the process border, for the notebook profile: dtype, shape and bytes, tagged.

Neither library is imported here before a value of theirs is met (or, coming in, an array is in the data).
"""

from __future__ import annotations

import base64
import sys
from typing import Any

from ra3_lab.sandbox import codec

_KINDS = "biufc"  # bool, int, unsigned, float, complex: no objects, no records
_MAX_BYTES = 64 * 1024 * 1024


def refer(value: Any) -> list:
    """An array or a tensor as JSON; NotPlain for everything else."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    tag = "array"
    if torch is not None and isinstance(value, torch.Tensor):
        tag, value = "tensor", torch.Tensor.detach(value).cpu().numpy()
    if numpy is None or not isinstance(value, (numpy.ndarray, numpy.generic)):
        raise codec.NotPlain(f"{type(value).__name__} is not plain data")
    array = numpy.ascontiguousarray(value)
    if array.dtype.kind not in _KINDS:
        raise codec.NotPlain(f"an array of {array.dtype} is not plain data")
    if array.nbytes > _MAX_BYTES:
        raise codec.TooLarge(f"an array of {array.nbytes} bytes is too large to be sent")
    shape = list(numpy.shape(value))  # ascontiguousarray makes a scalar one-dimensional
    return [tag, [array.dtype.str, shape, base64.b64encode(array.tobytes()).decode()]]


def revive(coded: list) -> Any:
    """The array or tensor that `refer` was given. Malformed for anything else."""
    tag, (kind, shape, text) = coded
    if tag not in ("array", "tensor") or not isinstance(kind, str) or kind[1:2] not in _KINDS:
        raise codec.Malformed(f"tag {tag!r:.40}")
    import numpy

    dtype, data = numpy.dtype(kind), base64.b64decode(text, validate=True)
    if dtype.kind not in _KINDS or len(shape) > 32 or any(type(size) is not int or size < 0 for size in shape):
        raise codec.Malformed(f"an array of {kind!r:.20}")
    array = numpy.frombuffer(data, dtype).reshape(shape).copy()
    if tag == "array":
        return array if shape else array[()]  # a numpy scalar
    import torch

    return torch.from_numpy(array)
