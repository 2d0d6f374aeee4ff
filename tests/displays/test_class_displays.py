"""The displays of classifiers: what they ask, and that they draw it."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import LogNorm
from matplotlib.contour import QuadContourSet
from pictures import (
    labels,
    no_screen,  # noqa: F401 - used by each test
)
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from skorch import NeuralNetClassifier
from torch import nn

from sk_mcdropout import MCDropoutClassifier
from sk_mcdropout.displays import (
    AccuracyRejectionDisplay,
    ClassReliabilityDisplay,
    UncertaintyHistogramDisplay,
    UncertaintySurfaceDisplay,
)
from sk_mcdropout.metrics import (
    UNCERTAINTIES,
    accuracy_rejection_curve,
    area_under_accuracy_rejection_curve,
    expected_calibration_error,
    predict_class_uncertainty,
    reliability_curve,
)

FRAME, CODES = load_iris(return_X_y=True, as_frame=True)
X, CODES = FRAME.to_numpy(), CODES.to_numpy()
Y = np.array(["setosa", "versicolor", "virginica"])[CODES]
LOGISTIC = LogisticRegression(C=0.02).fit(X, Y)


@pytest.fixture(scope="module")
def net():
    classes = ["virginica", "setosa", "versicolor"]  # not in the order of their names
    net = MCDropoutClassifier(max_epochs=10, n_draws=10, classes=classes, random_state=0)
    with pytest.warns(UserWarning, match="`classes` must be sorted"):
        return net.fit(X, Y)


@pytest.fixture(params=["net", "logistic", "calibrated", "pipeline", "search"])
def classifier(request, net):
    return {
        "net": lambda: net,
        "logistic": lambda: LOGISTIC,
        "calibrated": lambda: CalibratedClassifierCV(FrozenEstimator(net)).fit(X, Y),
        "pipeline": lambda: make_pipeline(StandardScaler(), clone(LOGISTIC)).fit(X, Y),
        "search": lambda: GridSearchCV(LOGISTIC, {"C": [0.02]}, cv=2).fit(X, Y),
    }[request.param]()


def segments(stalks):
    """Answer where each of the upright lines stands, begins and ends."""
    return np.array([[low[0], low[1], high[1]] for low, high in stalks.get_segments()])


# -- whether the probabilities come true -----------------------------------------------------------


@pytest.mark.parametrize("bins", [{}, {"n_bins": 4, "strategy": "quantile"}])
def test_the_curve_is_that_of_the_probabilities(classifier, bins):
    forecast = {"y_true": Y, "y_proba": classifier.predict_proba(X), "labels": classifier.classes_}
    display = ClassReliabilityDisplay.from_estimator(classifier, X, Y, name="model", **bins)
    confidence, accuracy, share = reliability_curve(**forecast, **bins)
    np.testing.assert_array_equal(display.line_.get_xydata(), np.c_[confidence, accuracy])
    np.testing.assert_array_equal(segments(display.gaps_), np.c_[confidence, accuracy, confidence])
    np.testing.assert_array_equal(segments(display.shares_), np.c_[confidence, 0 * share, share])
    error = expected_calibration_error(**forecast, **bins)
    assert f"model, ECE = {error:.3g}" in labels(display)


def test_probabilities_of_two_classes_may_have_one_axis():
    display = ClassReliabilityDisplay.from_predictions([True, False, True], [0.9, 0.2, 0.4])
    np.testing.assert_allclose(display.line_.get_xydata(), [[0.6, 0], [0.8, 1], [0.9, 1]])
    assert labels(display)[-1] == "accuracy, ECE = 0.3"


def test_a_model_is_named_after_its_class(classifier, net):
    names = {"MCDropoutClassifier", "LogisticRegression", "CalibratedClassifierCV"}
    for kind in (ClassReliabilityDisplay, AccuracyRejectionDisplay):
        (name,) = {
            label.split(",")[0] for label in labels(kind.from_estimator(classifier, X, Y))
        } & names
        assert (name == "MCDropoutClassifier") == (classifier is net)


# -- the order of the uncertainties ----------------------------------------------------------------


@pytest.mark.parametrize("uncertainty", ["predictive_entropy", "margin"])
def test_the_accuracy_is_that_on_the_rows_that_are_kept(classifier, uncertainty):
    display = AccuracyRejectionDisplay.from_estimator(
        classifier, X, Y, uncertainty=uncertainty, name="model"
    )
    predicted = Y, classifier.predict(X)
    order = predict_class_uncertainty(classifier, X, uncertainty)
    expected = np.transpose(accuracy_rejection_curve(*predicted, order))
    np.testing.assert_array_equal(display.line_.get_xydata(), expected)
    area = area_under_accuracy_rejection_curve(*predicted, order)
    assert f"model, area = {area:.3f}" in labels(display)
    np.testing.assert_array_equal(display.reference_line_.get_ydata(), [expected[0, 1]] * 2)
    assert (display.oracle_line_.get_ydata() >= expected[:, 1] - 1e-12).all()


def test_the_oracle_rejects_the_errors_first():
    display = AccuracyRejectionDisplay.from_predictions(["a", "b"], ["a", "a"], [5.0, 1.0])
    kept = 1 - np.arange(100) / 100
    np.testing.assert_allclose(display.oracle_line_.get_ydata(), np.minimum(1, 0.5 / kept))
    np.testing.assert_allclose(display.line_.get_ydata(), np.maximum(0, 1 - 0.5 / kept), atol=1e-12)


# -- known and unknown data ------------------------------------------------------------------------


@pytest.mark.parametrize("uncertainty", ["predictive_entropy", "max_probability"])
def test_the_histograms_are_those_of_the_uncertainty(classifier, uncertainty):
    known, unknown = X[:60], 3 * X[60:100]
    display = UncertaintyHistogramDisplay.from_estimator(
        classifier, known, unknown, uncertainty=uncertainty, bins=7, name="model"
    )
    values = [predict_class_uncertainty(classifier, rows, uncertainty) for rows in (known, unknown)]
    edges = np.histogram_bin_edges(np.concatenate(values), 7)
    for line, some in zip((display.known_line_, display.unknown_line_), values, strict=True):
        x, y = line.get_data()
        np.testing.assert_array_equal(x[1::2], edges)
        np.testing.assert_allclose(y[1:-1:2], np.histogram(some, edges)[0] / len(some))
        np.testing.assert_array_equal(y[1:-1:2], y[2::2][:7])
    auroc = roc_auc_score(np.repeat([0, 1], [60, 40]), np.concatenate(values))
    assert labels(display) == ["model: known", f"model: unknown, AUROC = {auroc:.3f}"]


def test_what_is_told_apart_has_an_auroc_of_one():
    display = UncertaintyHistogramDisplay.from_predictions([0, 1, 2], [3, 4])
    assert display.auroc == 1
    assert UncertaintyHistogramDisplay.from_predictions([3, 4], [0, 1, 2]).auroc == 0
    assert UncertaintyHistogramDisplay.from_predictions([1, 1], [1]).auroc == 0.5
    assert display.ax_.get_xlabel() == "uncertainty"


@pytest.mark.parametrize(
    ("known", "unknown", "message"),
    [
        ([0.0], [], "0 sample"),
        ([np.nan], [0.0], "Input `known` contains NaN"),
        ([0.0], [[0.0]], r"`unknown` must have 1 axes. Got the shape \(1, 1\)"),
    ],
)
def test_uncertainties_that_are_none_are_refused(known, unknown, message):
    with pytest.raises(ValueError, match=message):
        UncertaintyHistogramDisplay.from_predictions(known, unknown)


# -- the surface over two features -----------------------------------------------------------------


def surface(model, X=X, y=None, **params):
    return UncertaintySurfaceDisplay.from_estimator(
        model, X, y, **{"grid_resolution": 7, "features": (2, 3), **params}
    )


@pytest.mark.parametrize("uncertainty", ["predictive_entropy", "max_probability"])
def test_the_surface_is_the_uncertainty_over_two_features(classifier, uncertainty):
    display = surface(classifier, uncertainty=uncertainty, eps=0.5)
    rows = np.tile(np.median(X, axis=0), (49, 1))
    for feature, grid in ((2, display.xx0), (3, display.xx1)):
        low, high = X[:, feature].min(), X[:, feature].max()
        np.testing.assert_allclose(np.unique(grid), np.linspace(low - 0.5, high + 0.5, 7))
        rows[:, feature] = grid.ravel()
    expected = predict_class_uncertainty(classifier, rows, uncertainty)
    np.testing.assert_allclose(display.uncertainty.ravel(), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        display.proba.reshape(49, 3), classifier.predict_proba(rows), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize(("uncertainty", "label"), UNCERTAINTIES.items())
def test_a_net_shows_each_of_its_uncertainties(net, uncertainty, label):
    display = surface(net, uncertainty=uncertainty)
    rows = np.tile(np.median(X, axis=0), (49, 1))
    rows[:, 2:] = np.c_[display.xx0.ravel(), display.xx1.ravel()]
    values = getattr(net.predict_uncertainty(rows), uncertainty)
    expected = 1 - values if label.startswith("1 - ") else values
    np.testing.assert_array_equal(display.uncertainty.ravel(), expected)
    assert display.colorbar_.ax.get_ylabel() == label


def test_the_boundary_is_where_two_classes_are_as_likely():
    model = LogisticRegression().fit(X[:, :2], CODES > 0)
    display = surface(model, X[:, :2], features=(0, 1), grid_resolution=200)
    ((boundary,),) = [lines.get_paths() for lines in display.boundaries_]
    proba = model.predict_proba(boundary.vertices)
    np.testing.assert_allclose(proba, np.full_like(proba, 0.5), atol=1e-3)
    assert np.ptp(boundary.vertices[:, 0]) > 1


def test_each_of_three_classes_has_a_boundary(net):
    display = surface(net, grid_resolution=60)
    assert len(display.boundaries_) == 3
    for place, lines in enumerate(display.boundaries_):
        codes = display.proba.argmax(axis=-1)
        assert (codes == place).any()
        assert len(lines.get_paths()[0].vertices) > 10


def test_where_one_class_is_likeliest_there_is_no_boundary():
    class Sure:
        classes_ = np.array(["a", "b"])

        def predict_proba(self, X):
            return np.tile([0.7, 0.3], (len(X), 1))

    display = surface(Sure(), y=Y)
    assert display.boundaries_ == []
    assert labels(display) == ["setosa", "versicolor", "virginica"]
    assert surface(Sure()).ax_.get_legend() is None


def test_the_data_are_drawn_class_by_class():
    model = clone(LOGISTIC).fit(FRAME, Y)
    display = surface(model, FRAME, pd.Series(Y), features=("petal length (cm)", 3))
    assert labels(display) == ["setosa", "versicolor", "virginica"]
    for place, points in enumerate(display.data_points_):
        np.testing.assert_array_equal(points.get_xydata(), X[place == CODES][:, 2:])
    assert len({points.get_color() for points in display.data_points_}) == 3
    assert display.ax_.get_xlabel() == "petal length (cm)"
    assert surface(LOGISTIC).ax_.get_ylabel() == "feature 3"
    named = surface(LOGISTIC, xlabel="length", ylabel="width")
    assert (named.ax_.get_xlabel(), named.ax_.get_ylabel()) == ("length", "width")
    assert named.data_points_ == []


def test_a_frame_is_asked_as_a_frame():
    model = clone(LOGISTIC).fit(FRAME, Y)  # which warns of an array
    np.testing.assert_allclose(surface(model, FRAME).uncertainty, surface(LOGISTIC).uncertainty)


def test_a_net_that_insists_on_single_precision_is_asked_in_it():
    module = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=-1))
    skorch = NeuralNetClassifier(module, max_epochs=1, verbose=0, train_split=None)
    display = surface(skorch.fit(X.astype("f"), CODES), X.astype("f"))
    assert np.isfinite(display.uncertainty).all()


@pytest.mark.parametrize("plot_method", ["contourf", "contour", "pcolormesh"])
def test_a_surface_is_drawn_as_asked_for(plot_method):
    display = surface(LOGISTIC, plot_method=plot_method, surface_kwargs={"cmap": "viridis"})
    assert isinstance(display.surface_, QuadContourSet) == (plot_method != "pcolormesh")
    assert getattr(display.surface_, "filled", True) == (plot_method != "contour")
    assert display.surface_.get_cmap().name == "viridis"
    assert display.plot().surface_.get_cmap().name == "Greys"
    assert display.plot(plot_method="contour").surface_.get_cmap().name == "viridis_r"


@pytest.mark.parametrize("n_classes", [1, 2, 3])
@pytest.mark.parametrize("plot_method", ["contourf", "contour", "pcolormesh"])
def test_the_scale_of_a_surface_begins_at_certainty(plot_method, n_classes):
    model = DummyClassifier().fit(X, np.arange(150) % n_classes)
    low, high = surface(model, plot_method=plot_method).surface_.get_clim()
    assert low == 0
    assert high >= np.log(n_classes) * (1 - 1e-12)


def test_the_scale_of_a_surface_may_be_another():
    display = surface(LOGISTIC, surface_kwargs={"levels": [0.2, 0.4, 0.9]})
    np.testing.assert_array_equal(display.surface_.levels, [0.2, 0.4, 0.9])
    norm = LogNorm(0.1, 1)
    display = surface(LOGISTIC, plot_method="pcolormesh", surface_kwargs={"norm": norm})
    assert display.surface_.norm is norm


def test_the_style_of_the_surface_is_the_users():
    display = surface(
        LOGISTIC,
        y=Y,
        surface_kwargs={"colors": ["red"]},
        boundaries_kwargs={"linewidths": 7},
        data_kwargs={"ms": 9},
    )
    np.testing.assert_array_equal(display.surface_.get_facecolor()[0], [1, 0, 0, 1])
    assert {lines.get_linewidth()[0] for lines in display.boundaries_} == {7}
    assert {points.get_markersize() for points in display.data_points_} == {9}


def test_the_scale_may_be_left_off():
    _, ax = plt.subplots()
    assert surface(LOGISTIC, ax=ax, colorbar=False).colorbar_ is None
    assert len(ax.figure.axes) == 1
    assert surface(LOGISTIC, ax=ax).colorbar_.ax in ax.figure.axes


def test_the_legend_of_the_data_covers_none_of_them():
    display = surface(LOGISTIC, y=Y)
    display.figure_.draw_without_rendering()
    legend = display.ax_.get_legend().get_window_extent()
    assert not legend.overlaps(display.ax_.get_window_extent())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"features": (1, 1)}, r"`features` must be two features. Got \(1, 1\). Give two"),
        ({"features": (0,)}, r"`features` must be two features. Got \(0,\)"),
        ({"features": (0, 1, 2)}, r"must be two features. Got \(0, 1, 2\)"),
        ({"features": (0, 4)}, r"`feature` must be one of .* below 4. Got 4"),
        ({"grid_resolution": 1}, r"`grid_resolution` must be at least 2. Got 1"),
        ({"eps": -0.5}, r"`eps` must be at least 0. Got -0.5"),
        ({"uncertainty": "std"}, r"`uncertainty` must be one of .*Got 'std'"),
        ({"plot_method": "surface"}, r"`plot_method` must be one of .*Got 'surface'"),
        ({"y": Y[:9]}, "inconsistent numbers of samples"),
    ],
)
def test_a_surface_that_is_none_is_refused(params, message):
    with pytest.raises(ValueError, match=message):
        surface(LOGISTIC, **params)


def test_what_predicts_no_probabilities_is_refused():
    model = LinearSVC().fit(X, Y)
    for draw in (
        surface,
        lambda model: ClassReliabilityDisplay.from_estimator(model, X, Y),
        lambda model: AccuracyRejectionDisplay.from_estimator(model, X, Y),
        lambda model: UncertaintyHistogramDisplay.from_estimator(model, X, X),
    ):
        with pytest.raises(TypeError, match=r"must have `predict_proba`. Got LinearSVC"):
            draw(model)
