"""What the tests of the displays share: data, a model, and how to read what was drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 2))
Y = X[:, 0] + RNG.normal(scale=0.3, size=40)
TWO = np.column_stack([Y, -2 * Y])
PROCESS = GaussianProcessRegressor(RBF() + WhiteKernel(0.1), optimizer=None).fit(X, Y)


@pytest.fixture(autouse=True)
def no_screen():
    """Draw without a screen, and leave no figure behind."""
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def edges(band):
    """Answer the lower and the upper edge of what ``fill_between`` drew."""
    (path,) = band.get_paths()
    n_points = (len(path.vertices) - 3) // 2
    y = path.vertices[:, 1]
    return y[1 : n_points + 1], y[n_points + 2 : -1][::-1]


def labels(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]
