"""The published benchmark: what it is fitted on, and what it does again."""

import csv

import numpy as np
import pytest
import uci
import uci_models
import uci_noise
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from uci_paper import Paper, PaperNets, likeliest, log_densities

from sk_mcdropout import MCDropoutRegressor, MCDropoutRegressorCV

FAST = {
    "best": lambda: MCDropoutRegressorCV(
        MCDropoutRegressor(max_epochs=2), param_grid={"dropout": [0.1]}, cv=2, random_state=0
    ),
    "default": lambda: MCDropoutRegressor(noise="estimate", max_epochs=2, random_state=0),
    "Gaussian process": uci_models.GaussianProcess,
    "gradient boosting": uci_models.GradientBoosting,
}


@pytest.fixture
def data(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    order = np.array([rng.permutation(60) for _ in range(3)])
    data = {"X": X, "y": X[:, 0] + rng.normal(size=60)}
    data |= {"train_index": order[:, :50], "test_index": order[:, 50:]}
    monkeypatch.setattr(uci, "MODELS", FAST)
    monkeypatch.setattr(uci, "Paper", lambda *args, **kw: Paper(*args, **kw, epochs=2))
    monkeypatch.setattr(uci, "SPLITS", tmp_path / "uci_splits.csv")
    np.savez(tmp_path / "yacht.npz", **data)
    return data


@pytest.mark.parametrize("protocol", [*FAST, "paper", "paper, free precision"])
def test_rows_to_test_are_never_looked_at(data, protocol):
    poisoned = {name: values.copy() for name, values in data.items()}
    poisoned["X"][data["test_index"][1]] = np.nan
    poisoned["y"][data["test_index"][1]] = np.nan
    model = uci.fit(data, "yacht", protocol, 1)
    other = uci.fit(poisoned, "yacht", protocol, 1)
    assert_array_equal(model.predict(data["X"][:5]), other.predict(data["X"][:5]))


def test_a_split_that_is_done_is_not_run_again(data, tmp_path, monkeypatch):
    tasks = [("yacht", protocol, split) for protocol in FAST for split in range(2)]
    uci.run_all(tmp_path, tasks[:5], jobs=1)
    monkeypatch.setattr(uci, "fit", lambda *args: pytest.fail("was run again"))
    uci.run_all(tmp_path, tasks[:5], jobs=1)
    with uci.SPLITS.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["set"], row["protocol"], int(row["split"])) for row in rows] == tasks[:5]
    assert all(float(row["rmse"]) > 0 for row in rows)


def test_a_protocol_stands_beside_the_published_scores_of_its_own_splits():
    rows = [
        {"set": "yacht", "protocol": "paper", "split": str(k), "rmse": k, "ll": -k, "seconds": ""}
        for k in (1, 3)
    ]
    line = {"rmse_per_split": [9, 4, 9, 8], "ll_per_split": [9, -1, 9, -2]}
    published = {"yacht": {uci.BESIDE["paper"]: line}}
    *_, last = uci.beside(rows, "paper", published).split("\n\n")[1].splitlines()
    cells = [cell.strip() for cell in last.strip("|").split("|")]
    numbers = "2.000 ± 0.707", "6.000 ± 1.414", "-2.000 ± 0.707", "-1.500 ± 0.354"
    assert cells == ["yacht", "2", *numbers]
    assert uci.beside(rows, "default", published) == ""


def test_the_log_density_is_that_of_a_mixture():
    y, draws = np.array([0.3, 2.0]), np.array([[0.0, 1.0], [1.0, 5.0]])
    expected = np.log(norm.pdf(y, draws, 0.5).mean(axis=0))
    np.testing.assert_allclose(log_densities(y, draws, 4.0), expected)
    errors = np.random.default_rng(0).normal(scale=0.5, size=5000)
    np.testing.assert_allclose(likeliest(errors, np.zeros((10, 5000))), 4.0, rtol=0.05)


def test_passes_have_the_mean_and_the_spread_of_their_rate(data):
    nets = PaperNets([0.0, 0.5], [1.0, 1.0], epochs=5).fit(data["X"], data["y"])
    draws = nets.draws(data["X"][:4], 2000)
    assert draws.shape == (2, 2000, 4)
    assert draws[0].std(axis=0).max() < 1e-6
    assert draws[1].std(axis=0).min() > 0.01


def test_the_noise_for_all_splits_is_that_of_the_weighted_errors():
    y = np.array([3.0, -1.0, 2.0])
    parts = [(np.array([0, 1]), y[:2], np.zeros((1, 2))), (np.array([0]), y[2:], np.zeros((1, 1)))]
    noise, densities = uci_noise.likeliest_for_all(parts)
    assert_allclose(noise, np.sqrt(np.mean(y**2)), rtol=1e-4)
    assert_allclose(densities, norm.logpdf(y, 0, noise))
    once, _ = uci_noise.likeliest_for_all(parts, [0.5, 1.0, 0.5])
    assert_allclose(once, np.sqrt((9 / 2 + 1 + 4 / 2) / 2), rtol=1e-4)
