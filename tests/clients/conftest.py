"""The data of the tests of clients."""

import numpy as np
import pytest

collect_ignore = ["accelerated_training.py"]  # a script that needs accelerate


@pytest.fixture(scope="session")
def X():
    return np.random.default_rng(0).normal(size=(50, 3))


@pytest.fixture(scope="session")
def y(X):
    return 20 + 5 * X @ [1.0, -2.0, 0.5]


@pytest.fixture(scope="session")
def labels(y):
    return np.where(y > 20, "high", "low")
