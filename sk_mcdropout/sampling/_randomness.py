"""The global generators that a module may draw from: torch's, numpy's and Python's."""

import random
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

__all__ = ["is_random", "numbers_of_others"]

_RANDOM = {
    *("rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm"),
    *("bernoulli", "bernoulli_", "normal", "normal_", "uniform_", "random_", "exponential_"),
    *("multinomial", "poisson", "binomial", "cauchy_", "geometric_", "log_normal_"),
    *("gumbel_softmax", "fractional_max_pool2d", "fractional_max_pool3d"),
}


def is_random(func: Callable) -> bool:
    """Return whether a torch function draws from a generator of torch at each call."""
    return getattr(func, "__name__", "") in _RANDOM


def numbers_of_others() -> Hashable:
    """Return what changes when the global generators of numpy or Python are drawn from."""
    of_numpy: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - what a module may use
    inside = of_numpy.pop("state")
    return bytes(inside["key"]), inside["pos"], *of_numpy.values(), random.getstate()
