"""The global generators that a module may draw from: torch's, numpy's and Python's."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

__all__ = [
    "is_on_gpu",
    "is_random",
    "others_differ",
    "seed_generators",
    "set_generators",
    "states_of_generators",
]

_RANDOM = {
    *("rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm"),
    *("bernoulli", "bernoulli_", "normal", "normal_", "uniform_", "random_", "exponential_"),
    *("multinomial", "poisson", "binomial", "cauchy_", "geometric_", "log_normal_"),
    *("gumbel_softmax", "fractional_max_pool2d", "fractional_max_pool3d"),
}


def is_random(func: Callable) -> bool:
    """Return whether a torch function draws from a generator of torch at each call."""
    return getattr(func, "__name__", "") in _RANDOM


def seed_generators(seed: int) -> None:
    """Seed the generators of torch, on the CPU and where CUDA is in use, of numpy and of Python."""
    torch.default_generator.manual_seed(seed)
    if is_on_gpu():
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed)  # noqa: NPY002 - modules and datasets may draw from this state
    random.seed(seed)


def states_of_generators() -> tuple[Any, ...]:
    """Return the states of torch's generators, numpy's and Python's."""
    on_gpus = torch.cuda.get_rng_state_all() if is_on_gpu() else None
    return torch.get_rng_state(), on_gpus, np.random.get_state(), random.getstate()  # noqa: NPY002


def set_generators(torch_state: Any, on_gpus: Any, numpy_state: Any, python_state: Any) -> None:
    """Put back what `states_of_generators` returned."""
    torch.set_rng_state(torch_state)
    if on_gpus is not None:
        torch.cuda.set_rng_state_all(on_gpus)
    np.random.set_state(numpy_state)  # noqa: NPY002
    random.setstate(python_state)


def others_differ(states: tuple, later: tuple) -> bool:
    """Return whether numpy's or Python's generator was drawn from between two states."""
    (_, _, of_numpy, of_python), (_, _, numpy_later, python_later) = states, later
    same = all(np.array_equal(*both) for both in zip(of_numpy, numpy_later, strict=True))
    return not same or of_python != python_later


def is_on_gpu() -> bool:
    """Return whether CUDA is in use."""
    return torch.cuda.is_available() and torch.cuda.is_initialized()
