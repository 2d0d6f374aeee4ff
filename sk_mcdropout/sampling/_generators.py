"""Borrow torch's global generators, and put them back as they were."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["borrowed_generators"]

# The generators are those of all threads: one at a time may borrow them.
_lock = threading.RLock()


@contextmanager
def borrowed_generators(seed: int | None = None) -> Iterator[None]:
    """Have torch's generators for oneself, seeded if a seed is given.

    Parameters
    ----------
    seed : int, optional
        Seed of the generators of the CPU and, where CUDA is in use, of all GPUs.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling._generators import borrowed_generators
    >>> before = torch.get_rng_state()
    >>> with borrowed_generators(0):
    ...     number = torch.rand(())
    >>> torch.equal(torch.get_rng_state(), before)
    True
    """
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    with _lock, torch.random.fork_rng(range(torch.cuda.device_count()) if on_gpu else []):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
            if on_gpu:
                torch.cuda.manual_seed_all(seed)
        yield
