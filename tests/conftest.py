"""What all tests share."""

import random

import numpy as np
import pytest
import torch
from hypothesis import settings

# The same examples on each machine, no clock, and no files in the working directory.
settings.register_profile("same", derandomize=True, deadline=None, database=None)
settings.load_profile("same")

torch.set_num_threads(1)  # on small tensors threads only wait for each other


@pytest.fixture(autouse=True)
def fresh_seed():
    """Start each test from the same global random states, whatever ran before it."""
    torch.default_generator.manual_seed(0)  # torch.manual_seed would format the stack each time
    np.random.seed(0)  # noqa: NPY002 - skorch and scikit-learn still draw from this state
    random.seed(0)


def pytest_addoption(parser):
    parser.addoption("--programs", type=int, default=40, help="number of random programs to run")
