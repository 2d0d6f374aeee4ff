"""Exported graphs: each predicts, from raw rows alone, what the estimator predicts."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sk_mcdropout import (
    MCDropoutClassifier,
    MCDropoutClassifierCV,
    MCDropoutRegressor,
    export,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype(np.float32)
Y = 100 + 5 * X[:, 0]
KIND = np.where(X[:, 0] > 0, "high", "low")
IMAGES = RNG.normal(size=(20, 1, 4, 4)).astype(np.float32)


class Convolved(nn.Module):
    """A net of images, with a dropout of channels and one that is a function."""

    def __init__(self):
        super().__init__()
        self.convolved = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Dropout2d(0.3))
        self.out = nn.Linear(16, 1)

    def forward(self, X):
        return self.out(nn.functional.dropout(self.convolved(X).flatten(1), 0.2, self.training))


def regressor(**params):
    small = {"max_epochs": 2, "n_draws": 5, "random_state": 0, "module__hidden": (6,)}
    return MCDropoutRegressor(**{**small, "module__embedding": None, **params})


def own(module, **params):
    return MCDropoutRegressor(module, max_epochs=1, n_draws=3, random_state=0, **params)


def classifier(**params):
    small = {"module__hidden": (6,), "module__embedding": None, **params}
    return MCDropoutClassifier(max_epochs=60, dropout=0.5, **small)


def check_graph(predict, answers, rows=X):
    """Check a graph for several rows, other ones than it was made by, and for one."""
    assert (answers(rows, return_std=True)[1] > 0).any()
    for some in (rows, rows[:1]):
        for actual, expected in zip(predict(some), answers(some, return_std=True), strict=True):
            assert actual.shape == expected.shape
            assert_allclose(actual, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def exported(estimator, path, rows=None):
    export(estimator, path, rows)
    graph = torch.export.load(path).module()
    return lambda some: [part.numpy() for part in graph(torch.from_numpy(some))]


def test_a_graph_of_torch_predicts_what_the_estimator_predicts(tmp_path):
    frame = pd.DataFrame(X, columns=list("abc"))
    targets = np.c_[Y, Y**2 / 100]
    net = regressor(noise="heteroscedastic", module__dropout=0.5).fit(frame, targets)
    net.calibrate(frame, targets, "parts")
    draws, modes = net.draws(frame), [part.training for part in net.module_.modules()]
    graph = exported(net, str(tmp_path / "net.pt2"))
    for actual, expected in zip(graph(X), net.predict(frame, return_std=True), strict=True):
        assert_allclose(actual, expected, rtol=1e-4)
    assert np.array_equal(net.draws(frame), draws)
    assert [part.training for part in net.module_.modules()] == modes


def test_a_graph_of_an_ensemble_pools_the_draws_of_its_nets(tmp_path):
    model = MCDropoutClassifierCV(classifier(), param_grid={}, cv=2, n_draws=5, random_state=0)
    model.fit(X, KIND)
    check_graph(exported(model, tmp_path / "net.pt2"), model.predict_proba)


def test_a_net_of_images_is_exported_by_some_of_them(tmp_path):
    net = own(Convolved, masks="qmc", noise=0.1).fit(IMAGES, IMAGES.mean((1, 2, 3)))
    check_graph(exported(net, tmp_path / "net.pt2", IMAGES[:2]), net.predict, IMAGES)


def test_a_graph_of_onnx_predicts_what_the_estimator_predicts(tmp_path):
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    net = classifier(n_draws=5, random_state=0).fit(X, KIND).calibrate(X, KIND)
    path = tmp_path / "net.onnx"
    export(net, path)
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["X"]
    check_graph(lambda rows: session.run(["proba", "proba_std"], {"X": rows}), net.predict_proba)


# -- what is refused -----------------------------------------------------------------------------


class ByValue(nn.Module):
    """A net whose dropout calls depend on the values of a row."""

    def __init__(self):
        super().__init__()
        self.layer, self.dropout = nn.Linear(3, 1), nn.Dropout(0.5)

    def forward(self, X):
        for _ in range(1 + int(X.abs().max() * 10) % 3):
            X = self.dropout(X)
        return self.layer(X)


class Mixing(nn.Sequential):
    """A net whose output for a row depends on the other rows."""

    def __init__(self):
        super().__init__(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))

    def forward(self, X):
        return super().forward(X - X.mean(0))


class Asking(nn.Sequential):
    """A net that asks about values, as no graph does."""

    def __init__(self):
        super().__init__(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))

    def forward(self, X):
        if (X > 1e9).any():
            raise ValueError("X is too large")
        return super().forward(X)


@pytest.mark.filterwarnings("ignore:.* Got .*:UserWarning")
@pytest.mark.parametrize(
    ("module", "said"),
    [
        (ByValue, "Got dropout calls that depend on the values of a row"),
        (Mixing, "Got an output for a row that depends on the other rows"),
        (Asking, r"`torch.export` takes, for any number of rows\. Got "),
    ],
)
def test_a_net_that_no_graph_can_hold_is_refused(module, said, tmp_path):
    net = own(module).fit(X, Y)
    with pytest.raises(NotImplementedError, match=said):
        export(net, tmp_path / "net.pt2", X)
    assert not any(tmp_path.iterdir())


def test_a_net_without_draws_is_refused(tmp_path):
    net = regressor(strategy="moments").fit(X, Y)
    with pytest.raises(NotImplementedError, match=r"Got 'moments'.*set_params\(strategy='auto'\)"):
        export(net, tmp_path / "net.pt2")


def test_other_estimators_are_refused(tmp_path):
    pipe = make_pipeline(StandardScaler(), regressor())
    for other in (LinearRegression(), pipe):
        name = type(other).__name__
        with pytest.raises(TypeError, match=rf"Got a {name}\. Pass the last step"):
            export(other, tmp_path / "net.pt2")


@pytest.mark.parametrize("name", ["net.pth", "net"])
def test_other_kinds_of_files_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match=rf"in one of \['.onnx', '.pt2'\]\. Got '.*{name}'"):
        export(regressor(), tmp_path / name)


def test_an_estimator_that_was_not_fitted_is_refused(tmp_path):
    with pytest.raises(NotFittedError):
        export(regressor(), tmp_path / "net.pt2")


def test_rows_are_asked_for_where_they_are_no_table(tmp_path):
    net = own(Convolved).fit(IMAGES, IMAGES.mean((1, 2, 3)))
    with pytest.raises(ValueError, match=r"`X` must be given .* Got None\. Pass some rows"):
        export(net, tmp_path / "net.pt2")


def test_several_inputs_are_refused(tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))

        def forward(self, a, b):
            return self.layers(a + b)

    net = own(Two).fit({"a": X, "b": X}, Y[:, None])
    with pytest.raises(NotImplementedError, match=r"must become one tensor .* Got a dict"):
        export(net, tmp_path / "net.pt2", {"a": X, "b": X})


class Nothing:
    """A program that predicts zeros."""

    def module(self):
        return lambda x: (torch.zeros(len(x)), torch.zeros(len(x)))


def test_a_graph_that_predicts_something_else_is_refused(tmp_path, monkeypatch):
    net = regressor().fit(X, Y)
    monkeypatch.setattr("sk_mcdropout.estimators._export._trace", lambda graph, x: Nothing())
    with pytest.raises(NotImplementedError, match=r"answers that are off by .* by torch\.export"):
        export(net, tmp_path / "net.pt2", X)
    assert not any(tmp_path.iterdir())


def test_onnx_without_its_packages_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"Got neither or one of them\. Call `pip install"):
        export(regressor().fit(X, Y), tmp_path / "net.onnx")
