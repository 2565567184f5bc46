"""A run that runs out of memory: it is saved as it stood before the update under way, and says how to go on.

Nothing is lost because nothing has changed: sampling, scoring and gradients come before the optimiser's step. Where
memory ends within that step itself, the weights are half new, and a look at validation after it is part of the update;
then the last checkpoint stands.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ra3_lab.runs.checkpoint import TrainerState

_SAID = ("can't allocate memory", "not enough memory", "out of memory", "alloc_failed", "std::bad_alloc")


class OutOfMemory(OSError):
    """A run needed more memory than there is; str() says where it stands and what needs less."""


class Saver(Protocol):
    """What a run is saved by; `RunDirectory` is one."""

    def note_logs(self, state: TrainerState) -> None:
        """Write into the state how far the logs have come, unless it says so already."""
        ...

    def save(self, state: TrainerState) -> None:
        """Write a checkpoint."""
        ...

    def standing(self) -> str:
        """Where the run stands and how to go on."""
        ...


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ended: Python's, torch's on a GPU, torch's allocator on a CPU.

    >>> ran_out(RuntimeError("DefaultCPUAllocator: can't allocate memory")), ran_out(RuntimeError("shapes differ"))
    (True, False)
    """
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SAID)


class Mark:
    """The state to save should memory end."""

    def __init__(self, saver: Saver | None) -> None:
        self.state: TrainerState | None = None
        self._saver = saver
        self._stepped = False

    def set(self, state: TrainerState) -> None:
        """The trainer, and with it the logs, stand like this; its tensors may go on being the trainer's own."""
        if self._saver is not None:
            self._saver.note_logs(state)  # what is logged after this belongs to the update that may fail
        self.state, self._stepped = state, False

    def spoil(self) -> None:
        """An optimiser begins to change the tensors of the state."""
        self._stepped = True

    @property
    def valid(self) -> bool:
        """Whether the state is what it was when it was set."""
        return self.state is not None and not self._stepped


@contextmanager
def saved_when_out_of_memory(saver: Saver | None, advice: Callable[[], str]) -> Iterator[Mark]:
    """While this lasts, an error for want of memory saves the marked state and becomes OutOfMemory with `advice()`.

    Where several processes train and another one is lost, the marked state is saved, too.
    """
    import torch
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    from ra3_lab.distributed import ProcessLost

    mark = Mark(saver)
    hook = register_optimizer_step_pre_hook(lambda *_: mark.spoil())
    try:
        yield mark
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the tensors that filled the memory
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        del error
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        where = ""
        if saver is not None:
            if mark.valid and mark.state is not None:
                saver.save(mark.state)
            where = f" The run is {saver.standing()}"
        raise OutOfMemory(f"out of memory ({said}).{where}\n{advice()}") from None
    except ProcessLost:
        if saver is not None and mark.valid and mark.state is not None:
            saver.save(mark.state)
        raise
    finally:
        hook.remove()
