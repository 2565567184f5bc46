"""Several processes train one model: who works on what, and sums over all of them.

Under `accelerate launch` (or torchrun) every process runs the same program. Each samples and differentiates its share
of an update; gradients are summed before the optimiser's step, so all take the same step, and the update is that of a
single process but for the order of sums. Draws are keyed by sample, so sharing changes none of them. What is decided
(scores of validation, stops, refusals) is decided by the first process and told to the others; only it writes the run's
folder, and the others read their checkpoint there.

Outside `joined` there is one process, and everything here passes its arguments through. Not here: shards of weights
(FSDP, DeepSpeed), refused by `joined`; docs/scaling.md says why.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")
BUCKET = 2**24  # numbers of a gradient that are summed at once: 64 MiB in float32
PATIENCE = timedelta(hours=12)  # the others wait while the first one scores
SHARDED = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}


class ProcessLost(OSError):
    """Another process of the run has ended; what it said is in its own output."""


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def first() -> bool:
    """Whether this is the process that decides and writes."""
    return rank() == 0


@contextmanager
def joined() -> Iterator[None]:
    """Train together with the processes that were launched with this one (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT),
    each on a GPU of its own where there are GPUs; alone where there are none. All but the first lose their stdout.

    Raises ValueError for a launch that would shard weights, without those variables, or with fewer GPUs than processes.
    """
    size = int(os.environ.get("WORLD_SIZE") or 1)
    sharded = next((name for flag, name in SHARDED.items() if os.environ.get(flag, "").lower() in ("1", "true")), None)
    if sharded:
        raise ValueError(
            f"{sharded} is not supported: rollouts read whole weights. Launch data-parallel (--multi_gpu), and a model "
            "that then does not fit a GPU with --quant nf4 --adapter lora."
        )
    if size == 1:
        yield
        return
    if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise ValueError(f"WORLD_SIZE={size} without {', '.join(missing)}: start with `accelerate launch`.")
    backend = "gloo"
    if torch.cuda.is_available():
        place, gpus = int(os.environ.get("LOCAL_RANK", os.environ["RANK"])), torch.cuda.device_count()
        if place >= gpus:
            raise ValueError(f"process {place + 1} of this machine finds {gpus} GPUs: launch at most {gpus} here.")
        torch.cuda.set_device(place)
        backend = "cpu:gloo,cuda:nccl"
    with _told():
        dist.init_process_group(backend, timeout=PATIENCE)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(sys.stdout if first() else nowhere):
            yield
    finally:
        dist.destroy_process_group()


@contextmanager
def _told() -> Iterator[None]:
    """An error of the connection becomes ProcessLost; one for want of memory stays what it is."""
    from ra3_lab.runs.memory import ran_out

    try:
        yield
    except RuntimeError as error:
        if ran_out(error):
            raise
        said = str(error).strip().splitlines()[0]
        raise ProcessLost(
            f"another process of this run has ended, so this one ends too; the run goes on with --resume ({said})."
        ) from error


# --- who works on what --------------------------------------------------------------------------------


def shares(sizes: Sequence[int], processes: int | None = None) -> list[list[int]]:
    """For every process the numbers of the items that are its own, items of all sizes spread evenly.

    >>> shares([9, 1, 8, 2], processes=2)
    [[0, 3], [1, 2]]
    """
    count = processes or world()
    order = sorted(range(len(sizes)), key=lambda number: -sizes[number])
    return [sorted(order[place::count]) for place in range(count)]


def share(sizes: Sequence[int]) -> list[int]:
    """The numbers of this process's items."""
    return shares(sizes)[rank()]


def require_shares(**counts: int) -> None:
    """Raise ValueError where there are fewer things than processes."""
    for name, count in counts.items():
        if count < world():
            raise ValueError(
                f"{name.replace('__', '.')}={count} for {world()} processes: each needs one at least; raise it or "
                "launch fewer."
            )


# --- over all of them ---------------------------------------------------------------------------------


def everyone(value: T) -> list[T]:
    """What every process gives, in their order."""
    if world() == 1:
        return [value]
    found: list[Any] = [None] * world()
    with _told():
        dist.all_gather_object(found, value)
    return found


def collect(numbers: Sequence[int], values: Sequence[T]) -> list[T]:
    """The items of all processes in the order of their numbers."""
    every = {n: value for pairs in everyone(list(zip(numbers, values, strict=True))) for n, value in pairs}
    return [every[n] for n in sorted(every)]


def summed(record: Mapping[str, float]) -> dict[str, float]:
    """Sums over all processes, name by name; largest values where a name ends in _max."""
    every = everyone(record)
    names = dict.fromkeys(name for found in every for name in found)
    values = {name: [found[name] for found in every if name in found] for name in names}
    return {name: max(some) if name.endswith("_max") else sum(some) for name, some in values.items()}


def total(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes, in place."""
    if world() > 1:
        with _told():
            dist.all_reduce(tensor)
    return tensor


@torch.no_grad()
def sum_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Replace every gradient by its sum over all processes; a parameter that no process used stays without one."""
    if world() == 1:
        return
    used = total(torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32))
    bucket: list[torch.nn.Parameter] = []
    for parameter, uses in zip(parameters, used.tolist(), strict=True):
        if not uses:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        full = sum(p.numel() for p in bucket) + parameter.numel() > BUCKET
        if bucket and (full or bucket[0].dtype != parameter.dtype):
            _sum_bucket(bucket)
            bucket = []
        bucket.append(parameter)
    if bucket:
        _sum_bucket(bucket)


def _sum_bucket(bucket: Sequence[torch.nn.Parameter]) -> None:
    gradients = [parameter.grad for parameter in bucket if parameter.grad is not None]
    flat = total(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def from_first(function: Callable[[], T]) -> T:
    """What `function` returns in the first process, in all of them. Where it raises there, the others exit."""
    if world() == 1:
        return function()
    box: list[Any] = [False, None]
    if first():
        try:
            box = [True, function()]
        finally:
            with _told():
                dist.broadcast_object_list(box)
    else:
        with _told():
            dist.broadcast_object_list(box)
        if not box[0]:
            raise SystemExit(2)
    return box[1]


def require_same(what: str, value: Any) -> None:
    """Raise ValueError in all processes where they do not give the same plain value."""
    every = everyone(value)
    odd = next((number for number, other in enumerate(every) if other != every[0]), None)
    if odd is not None:
        raise ValueError(f"{what} of process {odd} is not that of process 0: all need the same files and versions.")
