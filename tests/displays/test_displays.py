"""What the displays draw: the right numbers, on the axes that are given, and nothing else."""

import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.lines import Line2D
from pictures import (
    PROCESS,
    TWO,
    X,
    Y,
    edges,
    labels,
    no_screen,  # noqa: F401 - used by each test
)
from scipy.stats import binom, norm
from sklearn.base import clone

from sk_mcdropout.displays import (
    AccuracyRejectionDisplay,
    ClassReliabilityDisplay,
    LossCurveDisplay,
    PredictionBandDisplay,
    ReliabilityDisplay,
    SparsificationDisplay,
    UncertaintyHistogramDisplay,
    UncertaintySurfaceDisplay,
)
from sk_mcdropout.metrics import area_under_sparsification_error, sparsification_curve

GRID = np.linspace(-3, 3, 7)
LEVELS = np.array([0.1, 0.5, 0.9])


# -- the reliability of intervals ------------------------------------------------------------------


def test_what_follows_the_normal_lies_on_the_diagonal():
    scores = norm.ppf((np.arange(100) + 0.5) / 100)  # each percentile once
    std = np.linspace(0.1, 5, 100)
    display = ReliabilityDisplay.from_predictions(3 + std * scores, np.full(100, 3.0), std)
    expected = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(display.nominal, expected)
    on_a_percentile = np.isclose(expected * 50 % 1, 0)
    np.testing.assert_allclose(display.observed[on_a_percentile], expected[on_a_percentile])
    np.testing.assert_array_equal(display.line_.get_ydata(), display.observed)


@pytest.mark.parametrize("n", [1, 37])
def test_the_band_of_the_observed_coverage_is_binomial(n):
    display = ReliabilityDisplay(nominal=LEVELS, observed=LEVELS, n_samples=n)
    display.plot(band_coverage=0.78)  # the rest, 0.11 at each side, is the share of no count
    low, high = edges(display.band_)
    np.testing.assert_allclose(low, binom.ppf(0.11, n, LEVELS) / n)
    np.testing.assert_allclose(high, binom.ppf(0.89, n, LEVELS) / n)
    assert f"78 % binomial band, n = {n}" in labels(display)


@pytest.mark.parametrize(("y", "observed"), [(0.0, 1), (0.6, [0, 1, 1]), (9.0, 0)])
def test_a_single_row_is_inside_or_outside(y, observed):
    display = ReliabilityDisplay.from_predictions([y], [0.0], [1.0], levels=[0.4, 0.5, 0.9])
    np.testing.assert_array_equal(display.observed, np.broadcast_to(observed, 3))


def test_without_a_std_only_what_is_hit_is_held():
    display = ReliabilityDisplay.from_predictions([1.0, 2.0], [1.0, 0.0], [0.0, 0.0])
    np.testing.assert_array_equal(display.observed, np.full(19, 0.5))


def test_the_intervals_of_a_process_are_those_of_its_mean_and_std():
    actual = ReliabilityDisplay.from_estimator(PROCESS, X, Y)
    expected = ReliabilityDisplay.from_predictions(Y, *PROCESS.predict(X, return_std=True))
    np.testing.assert_array_equal(actual.observed, expected.observed)
    assert "GaussianProcessRegressor" in labels(actual)


class Steps:
    """Predict intervals of its own: from minus to plus the coverage, for each target."""

    def __init__(self, shape):
        self.shape = shape
        self.n_asked = 0

    def predict_interval(self, X, coverage=0.9):
        self.n_asked += 1
        ends = np.stack([-np.asarray(coverage), np.asarray(coverage)], axis=-1)
        ends = np.broadcast_to(ends, (*self.shape, *ends.shape))
        if len(self.shape) == 1:
            return ends
        units = np.array([1.0, 10.0])[: self.shape[1]]
        return ends * units.reshape(-1, *[1] * (ends.ndim - 2))


class StepByStep(Steps):
    """The same, of one coverage at a time."""

    def predict_interval(self, X, coverage=0.9):
        return super().predict_interval(X, float(coverage))


@pytest.mark.parametrize(("kind", "n_asked"), [(Steps, 1), (StepByStep, 3)])
@pytest.mark.parametrize("target", [None, 0, 1])
def test_the_intervals_of_a_model_are_its_own(kind, n_asked, target):
    y = np.array([-0.7, 0.3, 0.3, 1.0])
    y = y if target is None else np.column_stack([y, 10 * y])
    model = kind(y.shape)
    display = ReliabilityDisplay.from_estimator(model, y, y, levels=LEVELS, target=target)
    np.testing.assert_array_equal(display.observed, [0, 0.5, 0.75])
    assert model.n_asked == n_asked


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_a_column_of_y_is_one_target(shape):
    y = np.array([-0.7, 0.3, 0.3, 1.0])
    model = Steps(shape)
    display = ReliabilityDisplay.from_estimator(model, y, y[:, None], levels=LEVELS)
    np.testing.assert_array_equal(display.observed, [0, 0.5, 0.75])
    assert model.n_asked == 1


def test_as_many_levels_as_rows_are_not_taken_for_the_rows():
    class Normal:
        def predict_interval(self, X, coverage=0.9):
            return np.stack([X - coverage, X + coverage], axis=-1)

    y = np.zeros(3)
    display = ReliabilityDisplay.from_estimator(Normal(), LEVELS, y, levels=LEVELS)
    np.testing.assert_allclose(display.observed, [1 / 3, 2 / 3, 1])


def test_an_error_of_the_model_is_its_own():
    class Broken:
        def predict_interval(self, X, coverage=0.9):
            raise ValueError("the model is broken")

    with pytest.raises(ValueError, match="the model is broken"):
        ReliabilityDisplay.from_estimator(Broken(), LEVELS, LEVELS)


def test_several_targets_at_once_are_refused():
    with pytest.raises(ValueError, match=r"`y_true` must have 1 axes. Got the shape \(40, 2\)"):
        ReliabilityDisplay.from_predictions(TWO, TWO, np.ones_like(TWO))


@pytest.mark.parametrize("level", [0.0, 1.5])
def test_a_level_is_a_share(level):
    with pytest.raises(ValueError, match=rf"`levels` must lie in \(0, 1\). Got \[0.5, {level}\]"):
        ReliabilityDisplay.from_predictions([0.0], [0.0], [1.0], levels=[0.5, level])
    with pytest.raises(ValueError, match=rf"`band_coverage` must lie in \(0, 1\). Got {level}"):
        ReliabilityDisplay.from_predictions([0.0], [0.0], [1.0], band_coverage=level)


# -- the order of the std --------------------------------------------------------------------------


def test_the_curves_are_those_of_the_metrics():
    mean, std = PROCESS.predict(X, return_std=True)
    display = SparsificationDisplay.from_predictions(Y, mean, std, name="process")
    removed, error, oracle_error = sparsification_curve(Y, mean, std)
    np.testing.assert_array_equal(display.line_.get_xydata(), np.c_[removed, error])
    np.testing.assert_array_equal(display.oracle_line_.get_xydata(), np.c_[removed, oracle_error])
    np.testing.assert_array_equal(edges(display.area_), [oracle_error, error])
    area = area_under_sparsification_error(Y, mean, std)
    assert labels(display)[1] == f"process, AUSE = {area:.3g}"


def test_a_std_that_tells_the_errors_is_the_oracle():
    display = SparsificationDisplay.from_predictions([1.0, -3.0, 2.0], np.zeros(3), [1.0, 3.0, 2.0])
    np.testing.assert_array_equal(display.line_.get_ydata(), display.oracle_line_.get_ydata())
    assert "by std, AUSE = 0" in labels(display)


@pytest.mark.parametrize("y", [[1.0, -3.0, 2.0], [1.0]], ids=["three rows", "one row"])
def test_a_constant_std_leaves_rows_out_at_random(y):
    display = SparsificationDisplay.from_predictions(y, np.zeros(len(y)), np.ones(len(y)))
    np.testing.assert_allclose(display.line_.get_ydata(), np.ones(100))
    np.testing.assert_array_equal(display.reference_line_.get_xydata(), [[0, 1], [1, 1]])


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_the_errors_are_drawn_against_the_std(coverage):
    display = SparsificationDisplay.from_predictions(
        [1.0, -3.0], [0.0, 1.0], [2.0, 0.5], kind="error_vs_std", coverage=coverage
    )
    np.testing.assert_array_equal(display.points_.get_xydata(), [[2, 1], [0.5, 4]])
    _, high = norm.interval(coverage, scale=2)
    np.testing.assert_allclose(display.reference_line_.get_xydata(), [[0, 0], [2, high]])
    assert f"{100 * coverage:g} % of normal errors are below" in labels(display)


def test_the_errors_of_a_process_are_those_of_its_mean_and_std():
    weights = pd.Series(Y, name="weight")
    actual = SparsificationDisplay.from_estimator(PROCESS, X, weights, kind="error_vs_std")
    mean, std = PROCESS.predict(X, return_std=True)
    expected = SparsificationDisplay.from_predictions(Y, mean, std, kind="error_vs_std")
    np.testing.assert_array_equal(actual.error, expected.error)
    np.testing.assert_array_equal(actual.points_.get_xydata(), expected.points_.get_xydata())
    assert "GaussianProcessRegressor" in labels(actual)
    assert actual.ax_.get_xlabel() == "std of weight"
    assert actual.ax_.get_ylabel() == "absolute error of weight"


def test_the_errors_of_one_of_several_targets_are_drawn():
    process = clone(PROCESS).fit(X, TWO)
    display = SparsificationDisplay.from_estimator(process, X, TWO, target=1)
    mean, std = process.predict(X, return_std=True)
    np.testing.assert_array_equal(display.absolute_error, np.abs(TWO - mean)[:, 1])
    np.testing.assert_array_equal(display.std, std[:, 1])


def test_a_kind_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"'sparsification' or 'error_vs_std'. Got 'rows'"):
        SparsificationDisplay.from_predictions([0.0], [0.0], [1.0], kind="rows")
    with pytest.raises(ValueError, match=r"`coverage` must lie in \(0, 1\). Got 90"):
        SparsificationDisplay.from_predictions([0.0], [0.0], [1.0], coverage=90)


# -- drawing -------------------------------------------------------------------------------------

DISPLAYS = {
    "band": PredictionBandDisplay(
        x=GRID,
        mean=GRID,
        std=GRID + 4,
        epistemic_std=GRID + 3.5,
        draws=[GRID],
        x_data=[0],
        y_data=[0],
    ),
    "reliability": ReliabilityDisplay(nominal=LEVELS, observed=LEVELS, n_samples=9),
    "sparsification": SparsificationDisplay(
        removed=LEVELS,
        error=LEVELS,
        oracle_error=LEVELS - 0.1,
        area=0.1,
        std=LEVELS,
        absolute_error=LEVELS,
    ),
    "loss": LossCurveDisplay(train_loss=[3, 2, 1], valid_loss=[3, 2, 3]),
    "class reliability": ClassReliabilityDisplay(
        confidence=LEVELS, accuracy=LEVELS**2, share=np.array([0.2, 0.3, 0.5]), error=0.1
    ),
    "rejection": AccuracyRejectionDisplay(
        rejected=LEVELS, accuracy=LEVELS, oracle_accuracy=LEVELS + 0.1, area=0.7
    ),
    "histogram": UncertaintyHistogramDisplay(known=LEVELS, unknown=LEVELS + 0.2, auroc=0.8),
    "surface": UncertaintySurfaceDisplay(
        xx0=np.array([[0.0, 1.0], [0.0, 1.0]]),
        xx1=np.array([[0.0, 0.0], [1.0, 1.0]]),
        uncertainty=np.array([[0.1, 0.2], [0.3, 0.1]]),
        proba=np.array([[[0.9, 0.1], [0.3, 0.7]], [[0.8, 0.2], [0.1, 0.9]]]),
        x_data=np.array([[0.5, 0.5], [0.2, 0.9]]),
        y_data=np.array(["ash", "oak"]),
    ),
}
each_display = pytest.mark.parametrize("display", DISPLAYS.values(), ids=DISPLAYS)
NAMED = {kind: display for kind, display in DISPLAYS.items() if kind != "surface"}
each_named_display = pytest.mark.parametrize("display", NAMED.values(), ids=NAMED)


@each_display
def test_a_display_draws_on_axes_that_are_given_and_nowhere_else(display):
    _, (ax, other) = plt.subplots(1, 2)
    assert display.plot(ax=ax) is display
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert not other.has_data()
    assert len(plt.get_fignums()) == 1


@each_display
def test_a_display_without_axes_makes_a_figure_each_time(display):
    figures = {display.plot().figure_, display.plot().figure_}
    assert len(figures) == len(plt.get_fignums()) == 2


@each_named_display
def test_drawing_twice_tells_the_two_apart(display):
    ax = display.plot(name="one").ax_
    first = {line.get_color() for line in ax.lines if line.get_label().startswith("one")}
    display.plot(ax=ax, name="two")
    second = {line.get_color() for line in ax.lines if line.get_label().startswith("two")}
    assert first
    assert second
    assert not first & second
    assert len(labels(display)) == len(set(labels(display)))


@each_named_display
def test_the_legend_covers_no_data_where_a_layout_makes_room(display):
    figure = display.plot(name="one").figure_
    display.plot(ax=display.ax_, name="two")
    figure.draw_without_rendering()
    legend = display.ax_.get_legend().get_window_extent()
    assert not legend.overlaps(display.ax_.get_window_extent())
    assert not legend.overlaps(display.ax_.xaxis.label.get_window_extent())
    assert figure.bbox.y0 <= legend.y0


@each_display
def test_the_legend_stays_inside_where_no_layout_makes_room(display):
    figure, ax = plt.subplots()
    display.plot(ax=ax)
    figure.draw_without_rendering()
    assert ax.get_window_extent().overlaps(ax.get_legend().get_window_extent())
    assert ax.get_legend().get_frame_on()


@pytest.mark.parametrize(
    ("kind", "expected", "n_lines"),
    [
        ("band", ["data", "90 % band, total", "90 % band, epistemic", "1 of 1 draws"], 5),
        ("reliability", ["95 % binomial band, n = 9", "perfectly calibrated"], 3),
        ("sparsification", ["random order", "oracle"], 5),
        ("loss", ["training", "validation"], 6),
        ("rejection", ["random order", "oracle"], 5),
    ],
)
def test_what_two_models_share_is_labelled_once(kind, expected, n_lines):
    display = DISPLAYS[kind].plot(name="one")
    display.plot(ax=display.ax_, name="two")
    shared = [label for label in labels(display) if not label.startswith(("one", "two"))]
    assert shared == expected
    # Beside such a label stands the line of each model, of each colour once.
    assert len(display.ax_.get_legend().findobj(Line2D)) == n_lines


def test_the_areas_of_two_models_do_not_mix():
    display = DISPLAYS["sparsification"].plot()
    first = display.area_
    second = display.plot(ax=display.ax_).area_
    assert not first.get_facecolor().any()
    assert first.get_hatch() != second.get_hatch()
    assert (first.get_edgecolor() != second.get_edgecolor()).any()


@each_display
def test_the_settings_of_the_user_are_left_alone(display):
    before = mpl.rcParams.copy()
    display.plot()
    assert mpl.rcParams == before


@pytest.mark.parametrize(
    ("kind", "option", "artist"),
    [
        ("band", "line_kwargs", "mean_line_"),
        ("band", "data_kwargs", "data_points_"),
        ("band", "draws_kwargs", "draw_lines_"),
        ("band", "band_kwargs", "band_"),
        ("band", "epistemic_band_kwargs", "epistemic_band_"),
        ("reliability", "line_kwargs", "line_"),
        ("reliability", "band_kwargs", "band_"),
        ("reliability", "reference_kwargs", "reference_line_"),
        ("sparsification", "line_kwargs", "line_"),
        ("sparsification", "oracle_kwargs", "oracle_line_"),
        ("sparsification", "area_kwargs", "area_"),
        ("sparsification", "reference_kwargs", "reference_line_"),
        ("loss", "train_kwargs", "train_line_"),
        ("loss", "valid_kwargs", "valid_line_"),
        ("loss", "best_kwargs", "best_point_"),
        ("class reliability", "line_kwargs", "line_"),
        ("class reliability", "gaps_kwargs", "gaps_"),
        ("class reliability", "shares_kwargs", "shares_"),
        ("class reliability", "reference_kwargs", "reference_line_"),
        ("rejection", "line_kwargs", "line_"),
        ("rejection", "oracle_kwargs", "oracle_line_"),
        ("rejection", "reference_kwargs", "reference_line_"),
        ("histogram", "known_kwargs", "known_line_"),
        ("histogram", "unknown_kwargs", "unknown_line_"),
        ("histogram", "known_area_kwargs", "known_area_"),
        ("histogram", "unknown_area_kwargs", "unknown_area_"),
    ],
)
@pytest.mark.parametrize("name", ["lw", "linewidth"])
def test_the_style_of_an_artist_is_the_users(kind, option, artist, name):
    display = DISPLAYS[kind].plot(**{option: {name: 7}})
    (drawn,) = np.ravel(getattr(display, artist))
    np.testing.assert_array_equal(drawn.get_linewidth(), 7)


@pytest.mark.parametrize(
    ("option", "artist"),
    [("points_kwargs", "points_"), ("reference_kwargs", "reference_line_")],
)
def test_the_style_of_the_errors_is_the_users(option, artist):
    display = DISPLAYS["sparsification"].plot(kind="error_vs_std", **{option: {"ms": 7}})
    assert getattr(display, artist).get_markersize() == 7


def test_the_colour_of_a_band_is_the_users():
    display = DISPLAYS["band"].plot(band_kwargs={"color": "red", "alpha": 0.5})
    np.testing.assert_array_equal(display.band_.get_facecolor(), [[1, 0, 0, 0.5]])
    np.testing.assert_array_equal(display.band_.get_edgecolor(), [[1, 0, 0, 0.5]])


def test_the_colours_begin_again_after_the_last():
    display = DISPLAYS["loss"]
    axes = [display.plot().ax_]
    colors = [display.plot(ax=axes[0]).train_line_.get_color() for _ in range(6)]
    assert len(set(colors)) == 6
    assert colors[-1] == axes[0].lines[0].get_color()


@each_display
def test_matplotlib_is_asked_for_where_it_is_missing(display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=f"{type(display).__name__}.plot requires matplotlib"):
        display.plot()
