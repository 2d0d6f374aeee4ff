"""The displays of a model: they ask it the right rows, and draw what it says."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from pictures import (
    PROCESS,
    TWO,
    X,
    Y,
    edges,
    labels,
    no_screen,  # noqa: F401 - used by each test
)
from questions import small_net
from scipy.stats import norm
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetRegressor
from skorch.dataset import ValidSplit
from torch import nn

from sk_mcdropout.displays import (
    LossCurveDisplay,
    PredictionBandDisplay,
    ReliabilityDisplay,
    SparsificationDisplay,
)
from sk_mcdropout.metrics import coverage_score

GRID = np.linspace(-3, 3, 7)


class Recorder:
    """Remember what was asked."""

    def predict(self, X, return_std=False):
        self.asked = X
        return np.zeros(len(X)), np.ones(len(X))


def band(estimator=PROCESS, X=X, y=None, **params):
    return PredictionBandDisplay.from_estimator(estimator, X, y, **{"grid": GRID, **params})


# -- the band over one feature -----------------------------------------------------------------


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_the_band_is_the_central_interval_of_the_normal(coverage):
    display = band(coverage=coverage)
    rows = np.column_stack([GRID, np.full(7, np.median(X[:, 1]))])
    mean, std = PROCESS.predict(rows, return_std=True)
    np.testing.assert_allclose(display.mean_line_.get_xydata(), np.column_stack([GRID, mean]))
    np.testing.assert_allclose(edges(display.band_), norm.interval(coverage, mean, std))
    assert f"{100 * coverage:g} % band" in labels(display)
    assert display.epistemic_band_ is None
    assert display.draw_lines_ == []


def test_the_grid_may_come_in_any_order():
    display = band(grid=[2, -1, 0])
    np.testing.assert_array_equal(display.mean_line_.get_xdata(), [-1, 0, 2])


def test_what_a_net_knows_of_its_std_is_drawn_apart():
    net = small_net(noise=0.5).fit(X[:, :1], Y)
    display = band(net, X[:, :1], n_draws=3)
    mean, std = net.predict(GRID[:, None], return_std=True)
    draws = net.draws(GRID[:, None])
    np.testing.assert_allclose(edges(display.band_), norm.interval(0.9, mean, std))
    expected = norm.interval(0.9, mean, draws.std(axis=0, ddof=1))
    np.testing.assert_allclose(edges(display.epistemic_band_), expected)
    np.testing.assert_array_equal([line.get_ydata() for line in display.draw_lines_], draws[:3])
    assert "3 of 10 draws" in labels(display)


def test_a_net_without_noise_has_an_epistemic_band_alone():
    display = band(small_net().fit(X, Y))
    assert display.band_ is None
    assert labels(display) == ["90 % band, epistemic", "5 of 10 draws", "mean"]


def test_the_data_are_drawn_at_their_feature():
    display = band(y=Y, feature=1)
    np.testing.assert_array_equal(display.data_points_.get_xydata(), np.column_stack([X[:, 1], Y]))
    assert band().data_points_ is None


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("feature", ["size", 1, np.int64(1)])
def test_other_features_are_held_at_what_is_typical(make, feature):
    frame = make({"age": [1.0, 9.0, 2.0], "size": [10.0, 30.0, 20.0], "town": ["a", "b", "b"]})
    model = Recorder()
    display = PredictionBandDisplay.from_estimator(model, frame, feature=feature)
    asked = model.asked
    assert isinstance(asked, make)
    assert list(asked.columns) == ["age", "size", "town"]
    np.testing.assert_array_equal(asked["age"], np.full(200, 2.0))
    np.testing.assert_array_equal(asked["size"], np.linspace(10, 30, 200))
    assert set(asked["town"]) == {"b"}
    assert display.ax_.get_xlabel() == "size"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_asked_in_the_precision_of_the_data(dtype):
    model = Recorder()
    band(model, X.astype(dtype))
    assert model.asked.dtype == dtype


def test_missing_numbers_do_not_count():
    model = Recorder()
    PredictionBandDisplay.from_estimator(model, [[1.0, 5.0], [np.nan, 6.0], [3.0, np.nan]])
    np.testing.assert_array_equal(model.asked[:, 0], np.linspace(1, 3, 200))
    np.testing.assert_array_equal(model.asked[:, 1], np.full(200, 5.5))


def test_the_axes_are_named_after_the_data_or_by_the_user():
    display = band(y=pd.Series(Y, name="weight"))
    assert display.ax_.get_xlabel() == "feature 0"
    assert display.ax_.get_ylabel() == "weight"
    display = band(y=Y, feature_name="dose (mg)", target_name="weight (kg)")
    assert display.ax_.get_xlabel() == "dose (mg)"
    assert display.ax_.get_ylabel() == "weight (kg)"


def test_one_of_several_targets_is_drawn():
    net = small_net(noise=0.5).fit(X, TWO)
    display = band(net, y=TWO, target=1)
    rows = np.column_stack([GRID, np.full(7, np.median(X[:, 1]))])
    np.testing.assert_allclose(display.mean_line_.get_ydata(), net.predict(rows)[:, 1])
    np.testing.assert_allclose(display.draws, net.draws(rows)[:, :, 1])
    np.testing.assert_array_equal(display.data_points_.get_ydata(), TWO[:, 1])


@pytest.mark.parametrize("target", [None, 2, -1])
def test_a_target_that_is_not_there_is_refused(target):
    net = small_net().fit(X, TWO)
    message = rf"index of one of 2 targets. Got {target}"
    with pytest.raises(ValueError, match=message):
        band(net, target=target)
    with pytest.raises(ValueError, match=message):
        ReliabilityDisplay.from_estimator(net, X, TWO, target=target)


@pytest.mark.parametrize(
    ("towns", "expected"),
    [
        (["a", None, "b", "b"], "b"),
        ([None, None, None, "b"], "b"),
        (["a", float("nan"), "a", "b"], "a"),
        (["a", pd.NA, pd.NA, "a"], "a"),
        ([3, "a", None, "a"], "a"),
        ([None, None, None, None], None),
    ],
    ids=["None", "mostly None", "NaN", "NA", "of two kinds", "all None"],
)
def test_missing_words_do_not_count(towns, expected):
    frame = pd.DataFrame({"age": [1.0, 2.0, 3.0, 4.0], "town": np.array(towns, dtype=object)})
    model = Recorder()
    PredictionBandDisplay.from_estimator(model, frame)
    asked = model.asked["town"].astype(object)
    assert asked.isna().all() if expected is None else set(asked) == {expected}


def test_words_of_polars_may_be_missing():
    model = Recorder()
    frame = pl.DataFrame({"age": [1.0, 2.0, 3.0], "town": ["b", None, None]})
    PredictionBandDisplay.from_estimator(model, frame)
    assert set(model.asked["town"]) == {"b"}


@pytest.mark.parametrize("day", [np.datetime64("2020-01-02"), np.datetime64("NaT")])
def test_days_are_held_at_the_most_frequent(day):
    model = Recorder()
    days = np.array([day, "2020-01-01", day, "2020-01-01", "2020-01-01"], dtype="datetime64[ns]")
    frame = pd.DataFrame({"age": np.arange(5.0), "day": days})
    PredictionBandDisplay.from_estimator(model, frame)
    assert set(model.asked["day"]) == {pd.Timestamp("2020-01-01")}


@pytest.mark.parametrize("feature", ["b", 1, -1, None])
def test_a_feature_that_is_not_there_is_refused(feature):
    with pytest.raises(ValueError, match=rf"one of \['a'\], or an index below 1. Got {feature!r}"):
        band(X=pd.DataFrame({"a": [1.0, 2.0]}), feature=feature)


def test_a_feature_without_numbers_is_refused():
    with pytest.raises(ValueError, match=r"holds numbers. Got 'a' of dtype object"):
        band(X=pd.DataFrame({"a": np.array(["x", "y"], dtype=object)}), feature="a")


@pytest.mark.parametrize("coverage", [0, 1, 90])
def test_a_band_holds_a_share(coverage):
    with pytest.raises(ValueError, match=rf"`coverage` must lie in \(0, 1\). Got {coverage}"):
        band(coverage=coverage)


def test_the_coverage_of_a_normal_band_may_be_changed():
    display = band(coverage=0.5)
    rows = np.column_stack([GRID, np.full(7, np.median(X[:, 1]))])
    mean, std = PROCESS.predict(rows, return_std=True)
    np.testing.assert_allclose(edges(display.plot().band_), norm.interval(0.5, mean, std))
    np.testing.assert_allclose(
        edges(display.plot(coverage=0.7).band_), norm.interval(0.7, mean, std)
    )


# -- the band of a calibrated model --------------------------------------------------------------


@pytest.mark.parametrize("method", ["std", "isotonic", "conformal"])
@pytest.mark.parametrize("wrap", [False, True], ids=["alone", "in a pipeline"])
def test_the_band_of_a_calibrated_net_is_its_interval(method, wrap):
    net = small_net(noise=0.5).fit(X[:, :1], Y).calibrate(X[:, :1], Y, method)
    display = band(make_pipeline(net) if wrap else net, X[:, :1], coverage=0.8)
    expected = net.predict_interval(GRID[:, None], coverage=0.8)
    np.testing.assert_allclose(np.transpose(edges(display.band_)), expected)
    _, epistemic, _ = net.predict_decomposed(GRID[:, None])
    expected = norm.interval(0.8, display.mean, epistemic)
    np.testing.assert_allclose(edges(display.epistemic_band_), expected)
    assert labels(display)[:2] == ["80 % band, calibrated", "80 % band, epistemic"]


def test_the_calibrated_band_of_a_net_without_noise_is_drawn():
    net = small_net().fit(X, Y).calibrate(X, Y, "conformal")
    display = band(net)
    np.testing.assert_array_equal(np.transpose(edges(display.band_)), display.interval)


def test_the_calibrated_band_of_one_of_several_targets_is_drawn():
    net = small_net(noise=0.5).fit(X, TWO).calibrate(X, TWO, "conformal")
    display = band(net, target=1)
    rows = np.column_stack([GRID, np.full(7, np.median(X[:, 1]))])
    np.testing.assert_allclose(display.interval, net.predict_interval(rows)[:, 1])


def test_the_coverage_of_a_calibrated_band_is_not_changed_by_plot():
    net = small_net(noise=0.5).fit(X, Y).calibrate(X, Y)
    display = band(net, coverage=0.8)
    message = r"`coverage` must be that of the calibrated interval, 0.8. Got 0.5. Give it to"
    with pytest.raises(ValueError, match=message):
        display.plot(coverage=0.5)
    assert display.plot(coverage=0.8).band_ is not None


@pytest.mark.parametrize("calibration", [None, SimpleNamespace(method="none")])
def test_a_model_that_was_not_calibrated_has_the_band_of_its_std(calibration):
    model = Recorder()
    model.calibration_ = calibration
    display = band(model)
    assert display.interval is None
    assert labels(display) == ["90 % band", "mean"]


# -- who is asked --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [BayesianRidge(), small_net(noise=0.5)])
@pytest.mark.parametrize("wrap", ["pipeline", "search", "pipeline of one", "pipeline in a search"])
def test_a_model_is_found_in_pipelines_and_searches(model, wrap):
    scaler = StandardScaler()
    Z = scaler.fit_transform(X)
    pipe = make_pipeline(StandardScaler(), model)
    wrapped, seen = {
        "pipeline": (pipe, Z),
        "search": (GridSearchCV(model, {}, cv=2), X),
        "pipeline of one": (make_pipeline(model), X),
        "pipeline in a search": (GridSearchCV(pipe, {}, cv=2), Z),
    }[wrap]
    display = band(wrapped.fit(X, Y), grid=np.sort(X[:, 0]))
    rows = np.column_stack([np.sort(X[:, 0]), np.full(40, np.median(X[:, 1]))])
    rows = scaler.transform(rows) if seen is Z else rows
    mean, std = model.fit(seen, Y).predict(rows, return_std=True)
    np.testing.assert_allclose(display.mean, mean)
    np.testing.assert_allclose(display.std, std)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (Ridge(), "Ridge"),
        (GridSearchCV(Ridge(), {}, cv=2), "Ridge"),
        (TransformedTargetRegressor(Ridge()), "Ridge"),
    ],
)
def test_a_model_without_a_std_is_refused(model, name):
    model.fit(X, Y)
    with pytest.raises(TypeError, match=rf"return_std=True.*Got {name}, which"):
        band(model)
    with pytest.raises(TypeError, match=rf"return_std=True.*Got {name}, which"):
        ReliabilityDisplay.from_estimator(model, X, Y)
    with pytest.raises(TypeError, match=rf"return_std=True.*Got {name}, which"):
        SparsificationDisplay.from_estimator(model, X, Y)


def test_a_scaled_target_is_drawn_in_its_own_units():
    model = TransformedTargetRegressor(BayesianRidge(), transformer=StandardScaler()).fit(X, Y)
    display = band(model, grid=np.sort(X[:, 0]))
    rows = np.column_stack([display.x, np.full(40, np.median(X[:, 1]))])
    np.testing.assert_allclose(display.mean, model.predict(rows))
    std = Y.std() * model.regressor_.predict(rows, return_std=True)[1]
    np.testing.assert_allclose(display.std, std)
    errors = SparsificationDisplay.from_estimator(model, X, Y)
    np.testing.assert_allclose(errors.absolute_error, np.abs(Y - model.predict(X)))


@pytest.mark.parametrize("method", [None, "conformal"])
def test_the_coverage_of_a_net_is_that_of_its_intervals(method):
    net = small_net(noise=0.5).fit(X, Y)
    net = net if method is None else net.calibrate(X, Y, method)
    display = ReliabilityDisplay.from_estimator(net, X, Y, levels=[0.5, 0.9])
    expected = [coverage_score(Y, net.predict_interval(X, level)) for level in (0.5, 0.9)]
    np.testing.assert_array_equal(display.observed, expected)


@pytest.mark.parametrize("method", [None, "std", "parts", "isotonic", "conformal"])
@pytest.mark.parametrize("y", [Y, TWO], ids=["one target", "two targets"])
def test_a_net_is_asked_once_for_all_levels(method, y, monkeypatch):
    net = small_net(noise=0.5).fit(X, y)
    net = net if method is None else net.calibrate(X, y, method)
    asked, predict_interval = [], net.predict_interval
    with monkeypatch.context() as patch:
        patch.setattr(
            type(net),
            "predict_interval",
            lambda self, X, coverage: asked.append(coverage) or predict_interval(X, coverage),
        )
        display = ReliabilityDisplay.from_estimator(net, X, y, target=y.ndim - 1)
    (levels,) = asked
    np.testing.assert_array_equal(levels, display.nominal)


# -- the losses of training ------------------------------------------------------------------------


def test_the_losses_are_those_of_the_history():
    net = small_net(train_split=ValidSplit(4), max_epochs=8).fit(X, Y)
    display = LossCurveDisplay.from_estimator(make_pipeline(StandardScaler(), net))
    train, valid = net.history_[:, "train_loss"], net.history_[:, "valid_loss"]
    epochs = np.arange(1, 9)
    np.testing.assert_array_equal(display.train_line_.get_xydata(), np.c_[epochs, train])
    np.testing.assert_array_equal(display.valid_line_.get_xydata(), np.c_[epochs, valid])
    ((best, least),) = display.best_point_.get_xydata()
    assert (best, least) == (1 + np.argmin(valid), min(valid))
    assert f"best epoch, {int(best)}" in labels(display)


@pytest.mark.parametrize("max_epochs", [1, 3])
def test_without_held_out_rows_no_epoch_is_the_best(max_epochs):
    display = LossCurveDisplay.from_estimator(small_net(max_epochs=max_epochs).fit(X, Y))
    assert len(display.train_line_.get_xdata()) == max_epochs
    assert display.valid_line_ is display.best_point_ is None
    assert labels(display) == ["training"]


def test_epochs_without_held_out_rows_are_left_open():
    net = small_net(train_split=ValidSplit(4)).fit(X, Y).set_params(train_split=None)
    display = LossCurveDisplay.from_estimator(net.partial_fit(X, Y))
    valid = display.valid_line_.get_ydata()
    np.testing.assert_array_equal(np.isnan(valid), [False, False, False, True, True, True])


def test_the_label_tells_the_loss_and_its_units():
    def label(net):
        return LossCurveDisplay.from_estimator(net).ax_.get_ylabel()

    assert label(small_net().fit(X, Y)) == "MSELoss (standardised y)"
    assert label(small_net(normalize_y=False).fit(X, Y)) == "MSELoss (y as given)"
    assert label(small_net(noise="heteroscedastic").fit(X, Y)) == "BetaNLLLoss (standardised y)"
    net = NeuralNetRegressor(nn.Linear(2, 1), criterion=nn.L1Loss, max_epochs=2, verbose=0)
    net.fit(X.astype(np.float32), Y.astype(np.float32)[:, None])
    assert label(net) == "L1Loss (y as given)"


def test_what_keeps_no_history_is_refused():
    with pytest.raises(TypeError, match=r"skorch net.*Got GaussianProcessRegressor"):
        LossCurveDisplay.from_estimator(make_pipeline(PROCESS))


@pytest.mark.parametrize("net", [small_net(), small_net(module__n_features=2).initialize()])
def test_a_net_that_was_not_trained_is_refused(net):
    with pytest.raises(NotFittedError, match=r"trained for an epoch. Got MCDropoutRegressor"):
        LossCurveDisplay.from_estimator(net)
