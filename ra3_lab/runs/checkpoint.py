"""Checkpoints: all that a trainer needs to go on exactly where it stopped, in safetensors and JSON. No pickle.

A trainer's state is named tensors (weights, optimiser moments, torch's random state) and plain values (counters, numpy
random states, sampled latents). `capture` gathers it from modules, optimisers and generators, `restore` puts it back
into freshly built ones; which names there are is the stage's own business, so the EM loop and an RL loop share this.

On disk a checkpoint is a folder of two files, `tensors.safetensors` and `state.json`. It is written under another
name, flushed to the disk and renamed, so that it is there whole or not at all; the one before it is removed after that.

Only what training changes is kept: parameters that require a gradient, and buffers. Frozen weights come from the base
model, as LoRA's do. Where several processes train, they all stand the same: the first one writes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ra3_lab.runs.files import SCHEMA_VERSION, explained, plain, read_json, sync_folder, write_json

_STAGING = ".staging-"


@dataclass
class TrainerState:
    """A trainer between two updates."""

    step: int
    """Updates done since the run began; orders checkpoints."""
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    """Weights, moments and random states by name; may share memory with the trainer."""
    values: dict[str, Any] = field(default_factory=dict)
    """Everything else, plain data."""

    def under(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors whose names begin with `prefix/`, without it."""
        return {k.removeprefix(prefix + "/"): v for k, v in self.tensors.items() if k.startswith(prefix + "/")}


# --- gather and put back ------------------------------------------------------------------------------


def module_tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What training changes in a module: parameters that require a gradient (tied ones once) and saved buffers."""
    parameters = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    own = {name for name, _ in module.named_buffers()}  # not what 4-bit weights add to their state: it never changes
    buffers = {name: t for name, t in module.state_dict().items() if name in own}
    return parameters | buffers


@torch.no_grad()
def load_module(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Copy the tensors of `module_tensors` into a module of the same shape, in place.

    Raises ValueError, naming the first difference, where names or shapes do not fit.
    """
    places = module_tensors(module)
    if odd := sorted(set(places) ^ set(tensors)):
        raise ValueError(f"the checkpoint is of another model or of other adapters: {odd[0]!r} is only in one of them.")
    for name, place in places.items():
        if place.shape != tensors[name].shape:
            shapes = f"{tuple(tensors[name].shape)}, the model's {tuple(place.shape)}"
            raise ValueError(f"the checkpoint is of another model: its {name!r} has shape {shapes}.")
        place.copy_(tensors[name])


def capture(
    step: int,
    modules: Mapping[str, torch.nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    generators: Mapping[str, np.random.Generator],
    values: Mapping[str, Any],
) -> TrainerState:
    """The state of a trainer as it stands, with torch's own random state."""
    state = TrainerState(step, values={"own": dict(values)})
    for name, module in modules.items():
        state.tensors |= {f"module/{name}/{key}": tensor for key, tensor in module_tensors(module).items()}
    for name, optimizer in optimizers.items():
        whole = optimizer.state_dict()
        rest: dict[str, Any] = {}
        for path, value in _leaves(whole["state"]):
            if isinstance(value, torch.Tensor):
                # 8-bit optimisers nest tensors in their slots, one of them shared by all, which safetensors refuses
                state.tensors["/".join([f"optimizer/{name}", *path])] = value.clone() if len(path) > 2 else value
            else:
                _put(rest, path, value)
        state.values[f"optimizer/{name}"] = {"groups": whole["param_groups"], "rest": rest}
    for name, generator in generators.items():
        state.values[f"generator/{name}"] = generator.bit_generator.state
    state.tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # of the one device that this process uses
        state.tensors["random/cuda"] = torch.cuda.get_rng_state()
    return state


def restore(
    state: TrainerState,
    modules: Mapping[str, torch.nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    generators: Mapping[str, np.random.Generator],
) -> dict[str, Any]:
    """Put a captured state back, in place; returns the stage's own values."""
    for name, module in modules.items():
        load_module(module, state.under(f"module/{name}"))
    for name, optimizer in optimizers.items():
        saved = state.values[f"optimizer/{name}"]
        slots: dict[str, Any] = {}
        for path, value in _leaves(saved["rest"]):
            _put(slots, path, value)
        for key, tensor in state.under(f"optimizer/{name}").items():
            _put(slots, key.split("/"), tensor)
        groups = saved["groups"]
        for group, own in zip(groups, optimizer.state_dict()["param_groups"], strict=True):
            # JSON has no tuples, and some optimisers compare
            group |= {key: tuple(value) for key, value in group.items() if isinstance(own.get(key), tuple)}
        optimizer.load_state_dict({"state": {int(i): slot for i, slot in slots.items()}, "param_groups": groups})
    for name, generator in generators.items():
        generator.bit_generator.state = state.values[f"generator/{name}"]
    torch.set_rng_state(state.tensors["random/cpu"])
    if "random/cuda" in state.tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(state.tensors["random/cuda"])
    return state.values["own"]


def _leaves(tree: Mapping[Any, Any], *above: str) -> Iterator[tuple[list[str], Any]]:
    """What nested dictionaries hold, each with the keys that lead there, as text."""
    for key, value in tree.items():
        path = [*above, str(key)]
        if isinstance(value, Mapping):
            yield from _leaves(value, *path)
        else:
            yield path, value


def _put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Undo one of `_leaves`."""
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value


# --- on disk ------------------------------------------------------------------------------------------


def save_state(folder: Path, state: TrainerState) -> Path:
    """Write a checkpoint into `folder` and then remove the older ones. Raises OSError, the older ones untouched."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    target = folder / f"{state.step:08d}"
    if target.exists():  # the same step of the same run, saved before: the same content
        return target
    staging = folder / f"{_STAGING}{state.step:08d}"
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        tensors = staging / "tensors.safetensors"
        try:
            save_file({name: t.detach().contiguous().cpu() for name, t in state.tensors.items()}, tensors)
        except SafetensorError as error:  # how safetensors passes on what the system said
            raise OSError(str(error)) from error
        with open(tensors, "rb+") as file:
            os.fsync(file.fileno())
        record = {
            "schema_version": SCHEMA_VERSION,
            "step": state.step,
            "values": plain(state.values),
            "bytes": tensors.stat().st_size,
        }
        write_json(staging / "state.json", record)
        sync_folder(staging)
        staging.rename(target)
        sync_folder(folder)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise explained(
            error,
            f"the checkpoint of update {state.step} cannot be written to {folder}",
            "the last whole checkpoint is untouched; make room, then go on with --resume",
        ) from error
    for older in folder.iterdir():
        if older.name != target.name:
            shutil.rmtree(older, ignore_errors=True)
    return target


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in `folder`, if there is one."""
    found = sorted(path for path in folder.glob("[0-9]*") if path.is_dir()) if folder.is_dir() else []
    return found[-1] if found else None


def load_state(path: Path) -> TrainerState:
    """Read a checkpoint. Raises ValueError where it is damaged or of a newer schema."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    record = read_json(path / "state.json")
    try:
        if (path / "tensors.safetensors").stat().st_size != record["bytes"]:
            raise ValueError("its size is not what state.json says")
        tensors = load_file(path / "tensors.safetensors")
    except (SafetensorError, ValueError) as error:
        raise ValueError(
            f"the checkpoint {path} is damaged ({error}): restore it from a copy, or start anew."
        ) from error
    return TrainerState(record["step"], tensors, record["values"])
