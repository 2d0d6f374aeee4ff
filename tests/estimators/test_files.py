"""Estimators in files: what comes out draws bit by bit what went in, or says why not."""

import io
import os
import pickle
import subprocess
import sys
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.exceptions import DeviceWarning
from torch import nn

import sk_mcdropout
from sk_mcdropout import (
    TRUSTED_TYPES,
    MCDropoutClassifier,
    MCDropoutClassifierCV,
    MCDropoutRegressor,
    MCDropoutRegressorCV,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = RNG.normal(size=40)
KIND = np.where(X[:, 0] > 0, "high", "low")
OTHER = r"Got one of {}, and this is {}: its predictions may be others"


class Own(nn.Module):
    """A module of the user's."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.2), nn.Linear(5, 1))

    def forward(self, X):
        return self.layers(X)


SMALL = {"max_epochs": 2, "n_draws": 5, "random_state": 0, "module__hidden": (8,)}


def regressor(**params):
    return MCDropoutRegressor(**{**SMALL, **params})


def classifier(**params):
    return MCDropoutClassifier(**{**SMALL, **params})


def ensemble(kind, one, **params):
    few = {"param_grid": {}, "cv": 2, "n_draws": 5, "random_state": 0}
    return kind(one(max_epochs=1, module__hidden=(8,)), **few, **params)


def regressor_cv(**params):
    return ensemble(MCDropoutRegressorCV, MCDropoutRegressor, **params)


def classifier_cv(**params):
    return ensemble(MCDropoutClassifierCV, MCDropoutClassifier, **params)


NETS = {
    "default": lambda: regressor(module__hidden=(50, 50)).fit(X, Y),
    "no seed given": lambda: regressor(random_state=None).fit(X, Y),
    "std": lambda: regressor(noise=1.0).fit(X, Y).calibrate(X, Y),
    "isotonic": lambda: regressor(noise="estimate").fit(X, Y).calibrate(X, Y, "isotonic"),
    "conformal": lambda: regressor(noise=1.0).fit(X, Y).calibrate(X, Y, "conformal"),
    "two targets": lambda: regressor(noise="heteroscedastic").fit(X, np.c_[Y, Y**2]),
    "concrete": lambda: regressor(module__dropout="concrete").fit(X, Y),
    "classifier": lambda: classifier().fit(X, KIND),
    "temperature": lambda: classifier().fit(X, KIND).calibrate(X, KIND),
    "whole numbers": lambda: classifier(classes=[3, 7]).fit(X, np.where(Y > 0, 7, 3)),
}
OTHERS = {
    "own module": lambda: MCDropoutRegressor(Own, max_epochs=2, n_draws=5).fit(X, Y),
    "pipeline": lambda: make_pipeline(StandardScaler(), regressor()).fit(X, Y),
    "regressor CV": lambda: regressor_cv().fit(X, Y),
    "regressor CV, calibrated": lambda: regressor_cv(calibration="conformal").fit(X, Y),
    "classifier CV": lambda: classifier_cv().fit(X, KIND),
    "classifier CV, calibrated": lambda: classifier_cv(calibration="temperature").fit(X, KIND),
}
FITTED = {name: cache(make) for name, make in {**NETS, **OTHERS}.items()}


def answers(estimator):
    """Return what an estimator draws and predicts."""
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    if hasattr(last, "classes_"):
        yield from (estimator.draws(X), estimator.predict(X))
        yield from estimator.predict_proba(X, return_std=True)
        return
    yield from estimator.predict(X, return_std=True)
    if last is estimator:
        yield estimator.draws(X)
    if last is estimator and hasattr(estimator, "calibration_"):
        yield estimator.predict_interval(X, coverage=0.5)


def check_same(loaded, estimator):
    ours, theirs = list(answers(loaded)), list(answers(estimator))
    assert len(ours) >= 2
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        assert_array_equal(one, other)


def through_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


def through_joblib(estimator):
    joblib.dump(estimator, file := io.BytesIO(), compress=1)
    file.seek(0)
    return joblib.load(file)


def through_cloudpickle(estimator):
    return pickle.loads(pytest.importorskip("cloudpickle").dumps(estimator))


def through_skops(estimator):
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    return skops.loads(skops.dumps(estimator), trusted=[*TRUSTED_TYPES, Own.__module__ + ".Own"])


WAYS = [through_pickle, through_joblib, through_cloudpickle, through_skops]
FORMS = [through_pickle, through_skops]  # what the others write is a pickle


# -- whole estimators ----------------------------------------------------------------------------


@pytest.mark.parametrize("through", FORMS)
@pytest.mark.parametrize("make", FITTED.values(), ids=FITTED)
def test_an_estimator_from_a_file_draws_the_same(make, through):
    estimator = make()
    loaded = through(estimator)
    check_same(loaded, estimator)
    assert repr(loaded) == repr(estimator)


@pytest.mark.parametrize("name", ["temperature", "regressor CV"])
@pytest.mark.parametrize("through", [through_joblib, through_cloudpickle])
def test_an_estimator_of_a_kind_of_pickle_draws_the_same(name, through):
    check_same(through(FITTED[name]()), FITTED[name]())


@pytest.mark.parametrize("through", FORMS)
def test_a_net_from_a_file_has_its_dropouts_and_trains_on(through):
    net = regressor().fit(X, Y)
    loaded = through(net)
    assert str(loaded.dropout_sites_) == str(net.dropout_sites_)
    assert loaded.dropout_sites_ == net.dropout_sites_
    assert_array_equal(loaded.partial_fit(X, Y).predict(X), net.partial_fit(X, Y).predict(X))
    assert len(loaded.history) == 4


@pytest.mark.parametrize("make", [regressor, classifier_cv])
@pytest.mark.parametrize("through", WAYS)
def test_an_estimator_that_was_not_fitted_goes_through_a_file(make, through):
    assert repr(through(make())) == repr(make())


LOADS = """
import io, pickle, sys
files = pickle.load(sys.stdin.buffer)
X, answers = files.pop("X"), {}
import joblib, skops.io
from sk_mcdropout import TRUSTED_TYPES
loaders = {
    "pickle": pickle.loads,
    "joblib": lambda file: joblib.load(io.BytesIO(file)),
    "skops": lambda file: skops.io.loads(file, trusted=TRUSTED_TYPES),
}
for (name, way), file in files.items():
    answers[name, way] = loaders[way](file).draws(X)
sys.stdout.buffer.write(pickle.dumps(answers))
"""


@pytest.mark.slow
def test_an_estimator_draws_the_same_in_another_process():
    skops, cloudpickle = pytest.importorskip("skops.io"), pytest.importorskip("cloudpickle")
    expected, files = {}, {"X": X}
    for name in ("default", "temperature", "regressor CV", "classifier CV", "own module"):
        estimator = FITTED[name]()
        joblib.dump(estimator, file := io.BytesIO())
        expected[name] = estimator.draws(X)
        if name == "own module":  # the other process has no such class, and is told what it is
            cloudpickle.register_pickle_by_value(sys.modules[__name__])
            files[name, "pickle"] = cloudpickle.dumps(estimator)
            cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
            continue
        files[name, "pickle"] = pickle.dumps(estimator)
        files[name, "joblib"] = file.getvalue()
        files[name, "skops"] = skops.dumps(estimator)
    env = {**os.environ, "PYTHONPATH": str(Path(sk_mcdropout.__file__).parents[1])}
    command = [sys.executable, "-c", LOADS]
    done = subprocess.run(command, input=pickle.dumps(files), capture_output=True, env=env)
    assert done.returncode == 0, done.stderr.decode()
    loaded = pickle.loads(done.stdout)
    assert len(loaded) == len(files) - 1 == 13
    for (name, _), draws in loaded.items():
        assert_array_equal(draws, expected[name])


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps", "meta"])
@pytest.mark.skipif(torch.accelerator.is_available(), reason="needs a machine without one")
def test_a_net_of_a_device_that_is_not_there_is_loaded_onto_the_cpu(device):
    net = FITTED["default"]()
    state = {**net.__getstate__(), "device": device}
    loaded = MCDropoutRegressor.__new__(MCDropoutRegressor)
    with pytest.warns(DeviceWarning, match=f"requested device \\({device}\\) is not available"):
        loaded.__setstate__(state)
    assert torch.device(loaded.device).type == "cpu"
    check_same(loaded, net)


# -- what is to be trusted -----------------------------------------------------------------------


def test_skops_asks_to_trust_the_class_of_the_user_and_what_is_listed():
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    asked = set(skops.get_untrusted_types(data=skops.dumps(FITTED["own module"]())))
    assert asked - set(TRUSTED_TYPES) == {Own.__module__ + ".Own"}


def test_no_trusted_type_reads_or_runs_what_a_file_holds():
    roots = {name.partition(".")[0] for name in TRUSTED_TYPES}
    assert roots == {"builtins", "collections", "functools", "sk_mcdropout", "skorch", "torch"}
    builtins = {name for name in TRUSTED_TYPES if name.startswith("builtins.")}
    assert builtins == {"builtins.dict", "builtins.print"}


class Evil:
    """Runs a function when it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def net_with_parts(parts, **state):
    """Return a net whose state holds other parts of torch than its own."""
    net = through_pickle(FITTED["default"]())
    state = {**net.__getstate__(), "__cuda_dependent_attributes__": pickle.dumps(parts), **state}

    class Forged(MCDropoutRegressor):
        def __getstate__(self):
            return state

    Forged.__module__, Forged.__qualname__ = MCDropoutRegressor.__module__, "MCDropoutRegressor"
    Forged.__name__ = "MCDropoutRegressor"
    net.__class__ = Forged
    return net


def test_code_hidden_among_the_parts_of_a_net_is_not_run(tmp_path):
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    place = tmp_path / "ran"
    file = skops.dumps(net_with_parts({"module_": Evil(os.mkdir, str(place))}))
    assert set(skops.get_untrusted_types(data=file)) <= set(TRUSTED_TYPES)
    with pytest.raises(pickle.UnpicklingError, match=rf"Got `{os.mkdir.__module__}\.mkdir`"):
        skops.loads(file, trusted=TRUSTED_TYPES)
    assert not place.exists()


def test_code_that_is_named_is_shown_by_skops(tmp_path):
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    name = f"{os.mkdir.__module__}.mkdir"
    parts, named = {"module_": Evil(os.mkdir, str(tmp_path / "ran"))}, {name: os.mkdir}
    file = skops.dumps(net_with_parts(parts, _named=named))
    assert name in skops.get_untrusted_types(data=file)


def test_code_hidden_among_the_weights_is_not_run(tmp_path):
    place = tmp_path / "ran"
    torch.save(Evil(os.mkdir, str(place)), file := io.BytesIO())
    parts = {"module_": Evil(torch.storage._load_from_bytes, file.getvalue())}
    state = net_with_parts(parts, torch_load_kwargs={"weights_only": False}).__getstate__()
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        MCDropoutRegressor.__new__(MCDropoutRegressor).__setstate__(state)
    assert not place.exists()


def test_no_fitted_attribute_is_a_dtype():
    net = FITTED["default"]()
    held = [*vars(net).values(), *(part for s in net.dropout_sites_ for part in vars(s).values())]
    assert not [value for value in held if isinstance(value, torch.dtype)]


# -- other versions ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["default", "classifier CV"])
def test_a_file_of_another_version_says_so_and_is_loaded(name, monkeypatch):
    estimator = FITTED[name]()
    with monkeypatch.context() as patch:
        patch.setattr(sk_mcdropout, "__version__", "0.0.9")
        file = pickle.dumps(estimator)
    match = OTHER.format("0.0.9", sk_mcdropout.__version__)
    with pytest.warns(InconsistentVersionWarning, match=match) as caught:
        loaded = pickle.loads(file)
    assert {w.filename for w in caught} == {__file__}
    check_same(loaded, estimator)
    check_same(through_pickle(loaded), estimator)


@pytest.mark.parametrize("name", ["default", "classifier CV"])
def test_a_file_without_a_version_says_so_and_is_loaded(name):
    estimator = FITTED[name]()
    state = estimator.__getstate__()
    del state["_sk_mcdropout_version"]
    loaded = type(estimator).__new__(type(estimator))
    with pytest.warns(InconsistentVersionWarning, match="Got one of a version before 0.2.0"):
        loaded.__setstate__(state)
    check_same(loaded, estimator)


@pytest.mark.parametrize("safetensors", [False, True])
def test_weights_of_another_version_say_so_and_are_loaded(safetensors, monkeypatch):
    net, file = FITTED["std"](), io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sk_mcdropout, "__version__", "0.0.9")
        net.save_params(file, use_safetensors=safetensors)
    match = "a file of a MCDropoutRegressor's weights must be loaded.* Got one of 0.0.9"
    with pytest.warns(InconsistentVersionWarning, match=match):
        loaded = with_weights(net, file, safetensors)
    check_same(loaded, net)


# -- weights -------------------------------------------------------------------------------------


def with_weights(net, file, safetensors):
    """Return a net that was made anew and got the weights of a file."""
    n_outputs = [*net.module_.parameters()][-1].numel()
    fresh = clone(net).set_params(module__n_features=3, module__n_outputs=n_outputs).initialize()
    if isinstance(file, io.BytesIO):
        file.seek(0)
    fresh.load_params(file, use_safetensors=safetensors)
    return fresh


@pytest.mark.parametrize("safetensors", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_a_net_with_the_weights_of_a_file_draws_the_same(name, safetensors, tmp_path):
    if safetensors:
        pytest.importorskip("safetensors", reason="safetensors is not installed")
    net, file = FITTED[name](), tmp_path / "weights"
    net.save_params(file, use_safetensors=safetensors)
    loaded = with_weights(net, file, safetensors)
    check_same(loaded, net)
    if hasattr(net, "classes_"):
        assert loaded.classes_.dtype == net.classes_.dtype
        assert_array_equal(loaded.classes_, net.classes_)


def test_a_seed_that_was_given_is_not_that_of_the_file(tmp_path):
    net = FITTED["default"]()
    net.save_params(tmp_path / "weights")
    other = clone(net).set_params(random_state=1, module__n_features=3).initialize()
    seed = other.seed_
    other.load_params(tmp_path / "weights")
    assert other.seed_ == seed != net.seed_


def test_a_file_of_weights_loads_into_the_bare_module(tmp_path):
    net = FITTED["std"]()
    net.save_params(tmp_path / "weights")
    weights = torch.load(tmp_path / "weights", weights_only=True)
    module = with_weights(net, tmp_path / "weights", False).module_
    assert str(module.load_state_dict(weights)) == "<All keys matched successfully>"


def test_weights_replace_an_earlier_calibration(tmp_path):
    plain = FITTED["classifier"]()
    plain.save_params(tmp_path / "weights")
    other = through_pickle(FITTED["temperature"]())
    other.load_params(tmp_path / "weights")
    check_same(other, plain)


def test_an_untrained_net_saves_its_weights_alone(tmp_path):
    net = regressor(module__n_features=3, normalize_y=False).initialize()
    net.save_params(tmp_path / "weights", use_safetensors=True)
    loaded = with_weights(net, tmp_path / "weights", True)
    assert_array_equal(loaded.predict(X), net.predict(X))
    assert not hasattr(loaded, "y_mean_")
