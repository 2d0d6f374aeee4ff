"""Odd arrays: each is predicted from as its plain twin is, or refused in words."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sk_mcdropout import MCDropoutClassifier, MCDropoutRegressor

OPTIONS = {"max_epochs": 2, "n_draws": 6, "random_state": 0}
RNG = np.random.default_rng(0)
X = RNG.integers(-8, 9, (40, 3)) / 4  # exact in half precision, too
Y = X[:, 0] - X[:, 1]
QUESTIONS = {
    MCDropoutRegressor: lambda net, X: [*net.predict(X, return_std=True), net.draws(X)],
    MCDropoutClassifier: lambda net, X: [*net.predict_proba(X, return_std=True), net.draws(X)],
}
NETS = {kind: kind(**OPTIONS).fit(X, Y > 0) for kind in QUESTIONS}
both = pytest.mark.parametrize("kind", QUESTIONS, ids=lambda kind: kind.__name__)


def spread_out(array):
    """Return the same numbers with large and negative strides."""
    base = np.full((len(array), 999, 7), np.nan)
    base[::-1, 500, 1::-1][:, :1] = 0
    view = base[::-1, 500, 6::-3]
    view[:] = array
    return view


def of_negative_zeros(array):
    return np.where(array == 0, -0.0, array)


TWINS = {
    "objects": lambda array: array.astype(object),
    "lists": np.ndarray.tolist,
    "far apart": spread_out,
    "Fortran's order": np.asfortranarray,
    "the other byte order": lambda array: array.astype(array.dtype.newbyteorder()),
    "half precision": lambda array: array.astype(np.float16),
    "long double": lambda array: array.astype(np.longdouble),
    "negative zeros": of_negative_zeros,
    "subnormals for zeros": lambda array: np.where(array == 0, 5e-324, array),
    "fixed memory": lambda array: np.frombuffer(array.tobytes()).reshape(array.shape),
    "a subclass": lambda array: array.view(np.recarray),
    "a masked array without masks": np.ma.asarray,
}
HOSTILE = {
    "no axes": (lambda array: array[0, 0], "Expected 2D array, got scalar"),
    "one axis": (lambda array: array[:, 0], "Expected 2D array, got 1D"),
    "ten axes": (lambda array: array.reshape(array.shape + (1,) * 8), "X must have two axes"),
    "no rows": (lambda array: array[:0], "0 sample"),
    "no columns": (lambda array: array[:, :0], "0 feature"),
    "NaN": (lambda array: np.where(array == array[0, 0], np.nan, array), "contains NaN"),
    "infinite": (lambda array: np.where(array == array[0, 0], -np.inf, array), "contains infinity"),
    "beyond single precision": (lambda array: array * 1e300, "must fit into the net's float32"),
    "words": (lambda array: np.full(array.shape, "many"), "numeric"),
    "nothing": (lambda array: np.full(array.shape, None), "contains NaN"),
    "complex": (lambda array: array + 1j, "Complex data not supported"),
    "a matrix": (np.matrix, "np.matrix is not supported"),
    "records": (lambda array: array.astype([("a", float)]), "numeric"),
    "rows of other lengths": (lambda array: [[1.0], [1.0, 2.0, 3.0]], "inhomogeneous"),
    "masked": (lambda array: np.ma.masked_less(array, 0), "no masked values"),
}


@both
@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_a_prediction_is_that_of_the_plain_array(kind, twin):
    net, odd = NETS[kind], twin(X)
    before = np.array(odd)
    for found, expected in zip(QUESTIONS[kind](net, odd), QUESTIONS[kind](net, X), strict=True):
        assert_array_equal(found, expected)
    assert_array_equal(np.array(odd), before)


@both
@pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
def test_a_net_is_that_of_the_plain_array(kind, twin):
    net = kind(**OPTIONS).fit(twin(X), Y > 0)
    assert_array_equal(net.draws(X), NETS[kind].draws(X))


@both
@pytest.mark.parametrize(("hostile", "said"), HOSTILE.values(), ids=HOSTILE)
def test_what_cannot_be_predicted_from_is_refused(kind, hostile, said):
    with pytest.raises((ValueError, TypeError), match=said):
        QUESTIONS[kind](NETS[kind], hostile(X))


@both
@pytest.mark.parametrize(("hostile", "said"), HOSTILE.values(), ids=HOSTILE)
def test_what_cannot_be_learned_from_is_refused(kind, hostile, said):
    net = kind(**OPTIONS)
    with pytest.raises((ValueError, TypeError), match=said):
        net.fit(hostile(X), Y > 0)
    assert not net.__sklearn_is_fitted__()


@both
@pytest.mark.parametrize("scale", [1e-300, 1e-40, 1e30, 1e38])
def test_numbers_of_any_size_give_finite_predictions(kind, scale):
    for answer in QUESTIONS[kind](NETS[kind], X * scale):
        assert np.isfinite(answer).all()
    net = kind(**OPTIONS).fit(X * scale, Y > 0)
    for answer in QUESTIONS[kind](net, X * scale):
        assert np.isfinite(answer).all()


def test_a_target_whose_squares_are_0_is_refused():
    with pytest.raises(ValueError, match=r"must be above 0\. Got 0\.0\. Scale y"):
        MCDropoutRegressor(**OPTIONS).fit(X, Y * 1e-300)


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e38, 1e150])
def test_targets_of_any_size_are_predicted_in_their_units(scale):
    net = MCDropoutRegressor(**OPTIONS).fit(X, Y * scale)
    plain = MCDropoutRegressor(**OPTIONS).fit(X, Y)
    answers = zip(net.predict(X, return_std=True), plain.predict(X, return_std=True), strict=True)
    for found, expected in answers:
        np.testing.assert_allclose(found / scale, expected, rtol=1e-3, atol=1e-5)
