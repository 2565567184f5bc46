"""How many CPU threads torch may use."""

from __future__ import annotations


def use_threads(threads: int) -> None:
    """Have torch use this many CPU threads. Raises ValueError for fewer than one.

    >>> use_threads(0)
    Traceback (most recent call last):
    ...
    ValueError: threads=0: CPU threads to use, 1 or more.
    """
    if threads < 1:
        raise ValueError(f"threads={threads}: CPU threads to use, 1 or more.")
    import torch

    torch.set_num_threads(threads)
