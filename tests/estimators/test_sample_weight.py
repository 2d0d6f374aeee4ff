"""Weights of the rows: laws about what they mean, and that nothing loses them in silence."""

from copy import copy

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import BatchScoring, Callback, EpochScoring
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset, default_collate

from sk_mcdropout import MLP, BetaNLLLoss, MCDropoutRegressor
from sk_mcdropout.estimators._batches import BatchDataset, with_weights
from sk_mcdropout.estimators._target import mean_and_scale
from sk_mcdropout.estimators._weights import weighted_loss, weights_of
from sk_mcdropout.predictive import likeliest_noise

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = np.column_stack([10 + X @ [1.0, -2.0, 0.5], 3 * X[:, 0]]) + RNG.normal(size=(40, 2))
y = Y[:, 0]
WHOLE = RNG.integers(0, 4, size=40)  # weights that are numbers of rows
w = RNG.uniform(0.1, 3, size=40)


class Double(MLP):
    """The default net in double precision, in which laws hold to more digits."""

    def __init__(self, *args, **params):
        super().__init__(*args, **params)
        self.double()


def small_net(**params):
    """Return a net with dropout, trained in batches."""
    defaults = {"module__hidden": (16,), "max_epochs": 3, "n_draws": 10, "random_state": 0}
    return MCDropoutRegressor(**{"module__dropout": 0.2, **defaults, "batch_size": 16, **params})


def plain_net(**params):
    """Return a net whose training is a function of the loss alone."""
    plain = {"module__dropout": 0.0, "batch_size": -1, "iterator_train__shuffle": False}
    return small_net(**{"module": Double, **plain, "max_epochs": 5, **params})


def rows_of(split):
    """Return a `train_split` that holds the rows from the one of a number on out."""
    return lambda data, y=None: (
        Subset(data, range(split)),
        Subset(data, range(split, len(data))),
    )


KINDS = {
    "one target": ({}, y),
    "two targets": ({}, Y),
    "units of y": ({"normalize_y": False}, y),
    "heteroscedastic": ({"noise": "heteroscedastic"}, Y),
    "L1": ({"criterion": nn.L1Loss}, y),
    "Huber": ({"criterion": nn.HuberLoss(delta=0.3)}, Y),
    "sum": ({"criterion__reduction": "sum", "lr": 0.001}, y),
    "LBFGS": ({"optimizer": torch.optim.LBFGS, "lr": 0.01}, y),
}
each_kind = pytest.mark.parametrize(
    ("params", "target"),
    [
        pytest.param(*kind, marks=[pytest.mark.slow] if name == "LBFGS" else [])
        for name, kind in KINDS.items()
    ],
    ids=KINDS,
)


# -- laws --------------------------------------------------------------------------------------


@each_kind
def test_equal_weights_change_nothing(params, target):
    expected = small_net(**params).fit(X, target).draws(X)
    for weights in np.ones(40), np.full(40, 7.3), 1, [2] * 40:
        net = small_net(**params).fit(X, target, sample_weight=weights)
        assert_array_equal(net.draws(X), expected)


@each_kind
def test_the_scale_of_the_weights_does_not_matter(params, target):
    expected = small_net(**params).fit(X, target, sample_weight=w).draws(X)
    assert_array_equal(
        small_net(**params).fit(X, target, sample_weight=1024 * w).draws(X), expected
    )
    scaled = small_net(**params).fit(X, target, sample_weight=1e307 * w)
    assert_allclose(scaled.draws(X), expected, rtol=1e-3, atol=1e-3)


@each_kind
def test_a_row_of_weight_2_counts_as_two_rows_and_one_of_weight_0_as_none(params, target):
    if params.get("criterion__reduction") == "sum":
        pytest.skip("a sum over more rows is larger")
    weighted = plain_net(**params).fit(X, target, sample_weight=WHOLE)
    repeated = plain_net(**params).fit(X.repeat(WHOLE, axis=0), target.repeat(WHOLE, axis=0))
    assert_allclose(weighted.y_mean_, repeated.y_mean_)
    assert_allclose(weighted.y_scale_, repeated.y_scale_)
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-8)
    assert_allclose(weighted.history[:, "train_loss"], repeated.history[:, "train_loss"], rtol=1e-6)
    assert not np.allclose(weighted.predict(X), plain_net(**params).fit(X, target).predict(X))


@pytest.mark.parametrize("form", [sparse.csr_array, torch.from_numpy, pd.DataFrame])
def test_rows_of_all_tables_have_weights(form):
    expected = small_net().fit(X, y, sample_weight=w).predict(X)
    net = small_net().fit(form(X), y, sample_weight=pd.Series(w))
    assert_allclose(net.predict(form(X)), expected, rtol=1e-5)


def test_the_mean_gradient_of_small_batches_is_that_of_all_rows():
    # Training on batches of one row with a rate of nearly 0 adds the gradients up.
    params = {"optimizer": torch.optim.SGD, "lr": 1e-7, "max_epochs": 1, "lr_schedule": None}
    start = plain_net(**{**params, "lr": 0.0}).fit(X, y, sample_weight=w)
    steps = []
    for batch_size, lr in ((1, 1e-7), (10, 1e-6), (-1, 4e-6)):
        net = plain_net(**{**params, "lr": lr, "batch_size": batch_size})
        net.fit(X, y, sample_weight=w)
        steps.append((net.module_.layers[0].weight - start.module_.layers[0].weight).detach())
    assert_allclose(steps[0], steps[2], rtol=1e-3, atol=1e-10)
    assert_allclose(steps[1], steps[2], rtol=1e-3, atol=1e-10)


@pytest.mark.parametrize("params", [{}, {"warm_start": True}])
def test_training_goes_on_with_weights(params):
    weighted = plain_net(**params).fit(X, y).partial_fit(X, y, sample_weight=WHOLE)
    repeated = plain_net(**params).fit(X, y)
    repeated.partial_fit(X.repeat(WHOLE, axis=0), y.repeat(WHOLE))
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-8)
    if params:
        weighted.fit(X, y, sample_weight=WHOLE)
        repeated.fit(X.repeat(WHOLE, axis=0), y.repeat(WHOLE))
        assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-8)


def test_weights_follow_the_rows_of_a_split():
    weights = np.r_[WHOLE[:30], w[30:]]
    alone = plain_net(normalize_y=False).fit(X[:30], y[:30], sample_weight=weights[:30])
    in_units = plain_net(normalize_y=False, train_split=rows_of(30))
    in_units.fit(X, y, sample_weight=weights)
    assert_allclose(in_units.predict(X), alone.predict(X), rtol=1e-9)
    # The loss of the rows held out is a weighted mean as well.
    with torch.no_grad():
        output = in_units.module_(torch.from_numpy(X[30:]))[:, 0].numpy()
    expected = np.average((output - y[30:]) ** 2, weights=w[30:])
    assert_allclose(in_units.history[-1, "valid_loss"], expected, rtol=1e-6)


def test_rows_held_out_that_come_from_elsewhere_have_no_weights():
    valid = BatchDataset(X[:5], y[:5])
    net = small_net(normalize_y=False, train_split=predefined_split(valid), module=Double)
    net.fit(X, y, sample_weight=w)
    with torch.no_grad():
        output = net.module_(torch.from_numpy(X[:5]))[:, 0].numpy()
    assert_allclose(net.history[-1, "valid_loss"], np.mean((output - y[:5]) ** 2), rtol=1e-6)


def test_the_prior_of_learned_rates_counts_the_rows_with_a_weight():
    seen = []

    class Look(Callback):
        def on_epoch_begin(self, net, **kwargs):
            seen.append(vars(net)["_n_rows"])

    net = small_net(module__dropout="concrete", callbacks=[Look()], train_split=rows_of(30))
    net.fit(X, y, sample_weight=WHOLE).fit(X, y)
    assert seen == [np.count_nonzero(WHOLE[:30])] * 3 + [30] * 3


# -- batches -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {"iterator_train__num_workers": 1},
        {"iterator_train__drop_last": False},
        {"iterator_valid__num_workers": 1, "train_split": ValidSplit(4)},
    ],
)
def test_weights_arrive_however_the_batches_are_fetched(params):
    plain = {"train_split": params.get("train_split")}
    net = small_net(**params).fit(X, y, sample_weight=w)
    expected = small_net(**plain).fit(X, y, sample_weight=w).predict(X)
    assert_allclose(net.predict(X), expected, rtol=1e-6)


class Rows(torch.utils.data.Sampler):
    """A sampler of the user's own."""

    def __init__(self, data_source=None):
        self.rows = list(range(40))

    def __iter__(self):
        return iter(self.rows)

    def __len__(self):
        return 40


def test_a_sampler_of_the_user_keeps_the_weights():
    net = small_net(iterator_train__sampler=Rows()).fit(X, y, sample_weight=w)
    plain = small_net(iterator_train__shuffle=False).fit(X, y, sample_weight=w)
    assert_allclose(net.predict(X), plain.predict(X), rtol=1e-5)


def test_batches_stay_pairs_for_callbacks():
    seen = []

    class Look(EpochScoring):
        def on_batch_begin(self, net, batch=None, training=None, **kwargs):
            seen.append([type(part) for part in batch])

    callbacks = [
        ("look", Look("r2", lower_is_better=False)),
        ("epoch", EpochScoring("neg_mean_squared_error", lower_is_better=False)),
        ("batch", BatchScoring("neg_mean_absolute_error", lower_is_better=False)),
    ]
    net = small_net(callbacks=callbacks, train_split=ValidSplit(4)).fit(X, y, sample_weight=w)
    assert seen == [[torch.Tensor, torch.Tensor]] * len(seen)
    assert np.isfinite(net.history[:, ("r2", "neg_mean_squared_error")]).all()


def test_a_dataset_tells_the_weights_of_its_rows():
    data = BatchDataset(X, y)
    assert weights_of(Subset(data, [3, 1])) is None
    data.sample_weight = w
    assert_array_equal(weights_of(Subset(Subset(data, [9, 3, 1]), [2, 0])), w[[1, 9]])
    assert_array_equal(data.__getitems__([5, 0])[1].sample_weight, w[[5, 0]])


# -- what would lose them ----------------------------------------------------------------------


class MyLoader(DataLoader):
    """An iterator of the user's own."""


class MyLoss(nn.Module):
    """A loss without a reduction."""

    def forward(self, output, y):
        return ((output - y) ** 2).mean()


class DeafLoss(nn.MSELoss):
    """A loss that does not heed its reduction."""

    def forward(self, output, y):
        return ((output - y) ** 2).mean()


LOSING = {
    "criterion": (
        {"criterion": MyLoss},
        r"`criterion` must have a `reduction`.* Got None of MyLoss\. Use a loss of torch",
    ),
    "no reduction": (
        {"criterion__reduction": "none"},
        "`criterion` must have a `reduction`.* Got 'none' of MSELoss",
    ),
    "iterator": (
        {"iterator_train": MyLoader},
        r"`iterator_train` must be the default .*Got <class .*MyLoader'>, whose batches",
    ),
    "iterator for validation": (
        {"iterator_valid": MyLoader, "train_split": ValidSplit(4)},
        r"`iterator_valid` must be the default .*Got <class .*MyLoader'>, whose batches",
    ),
    "collate": (
        {"iterator_train__collate_fn": default_collate},
        r"`iterator_train__collate_fn` must be the default .*Got <function default_collate",
    ),
    "dataset": ({"dataset": Dataset}, r"`dataset` must be the default .*skorch.dataset.Dataset'>"),
    "split": (
        {"train_split": lambda data, y: (TensorDataset(torch.zeros(9, 3), torch.zeros(9)), None)},
        r"`train_split` must return subsets .*Got a TensorDataset of 9 rows for 40 weights\.",
    ),
    "held-out rows of weight 0": (
        {"train_split": rows_of(35)},
        r"must have a weight above 0 among them\. Got 5 rows of weight 0\.",
    ),
    "deaf loss": (
        {"criterion": DeafLoss},
        r"a loss for each row .*Got the shape \(\) of DeafLoss for 16 rows\.",
    ),
}


@pytest.mark.parametrize(("params", "match"), LOSING.values(), ids=LOSING)
def test_what_would_lose_the_weights_is_refused(params, match):
    weights = np.r_[w[:35], np.zeros(5)]
    with pytest.raises(ValueError, match=match):
        small_net(**params).fit(X, y, sample_weight=weights)


@pytest.mark.parametrize("name", ["criterion", "iterator", "collate", "dataset"])
def test_a_refusal_before_training_leaves_the_net_as_it_was(name):
    net = small_net().fit(X, y)
    answer, keys = net.predict(X), set(vars(net))
    params, match = LOSING[name]
    before = {key: getattr(net, key, None) for key in params}
    vars(net).update(params)
    with pytest.raises(ValueError, match=match):
        net.fit(X, y, sample_weight=w)
    for key, value in before.items():
        vars(net).pop(key)
        if value is not None:
            vars(net)[key] = value
    assert set(vars(net)) == keys
    assert_array_equal(net.predict(X), answer)


def test_an_override_that_drops_the_weights_is_refused():
    class Dropping(MCDropoutRegressor):
        def get_loss(self, y_pred, y_true, X=None, training=False):
            return super().get_loss(y_pred, y_true.clone(), X=X, training=training)

    match = r"must bring the weights of its rows\. Got a target without its attribute"
    with pytest.raises(ValueError, match=match):
        Dropping(max_epochs=1).fit(X, y, sample_weight=w)


def test_an_override_of_the_loss_that_knows_no_weights_is_refused():
    class Unweighted(MCDropoutRegressor):
        def get_loss(self, y_pred, y_true, X=None, training=False):
            return nn.functional.mse_loss(y_pred[:, 0].double(), y_true)

    with pytest.raises(ValueError, match=r"Got a `get_loss` of Unweighted that does not"):
        Unweighted(max_epochs=1).fit(X, y, sample_weight=w)
    Unweighted(max_epochs=1).fit(X, y)
    Unweighted(max_epochs=0).fit(X, y, sample_weight=w)


def test_an_override_of_the_loss_may_add_to_the_weighted_one():
    class Shifted(MCDropoutRegressor):
        def get_loss(self, *args, **kwargs):
            return super().get_loss(*args, **kwargs) + 1

    net = Shifted(max_epochs=2, random_state=0).fit(X, y, sample_weight=w)
    plain = MCDropoutRegressor(max_epochs=2, random_state=0).fit(X, y, sample_weight=w)
    assert_allclose(net.predict(X), plain.predict(X), rtol=1e-6)


BAD = {
    "short": (w[:39], r"for each row\. Got the shape \(39,\) for 40 rows"),
    "two axes": (np.ones((40, 2)), r"for each row\. Got the shape \(40, 2\) for 40 rows"),
    "negative": (np.r_[w[:39], -0.5], r"at least 0, and above 0 for some row\. Got -0\.5"),
    "zeros": (np.zeros(40), r"at least 0, and above 0 for some row\. Got zeros"),
    "zero": (0, r"at least 0, and above 0 for some row\. Got zeros"),
    "NaN": (np.r_[w[:39], np.nan], "Input sample_weight contains NaN"),
    "infinity": (np.r_[w[:39], np.inf], "Input sample_weight contains infinity"),
    "words": (["heavy"] * 40, "could not convert string to float: .*heavy"),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit", "calibrate"])
@pytest.mark.parametrize(("weights", "match"), BAD.values(), ids=BAD)
def test_bad_weights_are_refused(method, weights, match):
    net = small_net(max_epochs=1).fit(X, y)
    answer, keys = net.predict(X), set(vars(net))
    with pytest.raises(ValueError, match=match):
        getattr(net, method)(X, y, sample_weight=weights)
    assert set(vars(net)) == keys
    assert_array_equal(net.predict(X), answer)


def test_weights_for_a_dataset_are_refused():
    data = TensorDataset(torch.from_numpy(X).float(), torch.from_numpy(y).float())
    match = r"must come with an array y.* Got a TensorDataset and a y of type NoneType\. Pass"
    with pytest.raises(ValueError, match=match):
        small_net().fit(data, None, sample_weight=w)


def test_the_weights_are_not_changed_and_are_forgotten():
    weights, net = w.copy(), small_net()
    net.fit(X, y, sample_weight=weights)
    assert_array_equal(weights, w)
    assert set(vars(net)) == set(vars(small_net().fit(X, y)))
    # A fit without weights knows nothing of those before.
    assert_array_equal(net.fit(X, y).predict(X), small_net().fit(X, y).predict(X))


# -- the parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_loss_of_a_heteroscedastic_net_has_the_reductions_of_torch(reduction):
    output, target = torch.randn(7, 4), torch.randn(7, 2)
    each = BetaNLLLoss(reduction="none")(output, target)
    assert each.shape == (7, 2)
    expected = getattr(each, reduction)() if reduction != "none" else each
    torch.testing.assert_close(BetaNLLLoss(reduction=reduction)(output, target), expected)


def test_a_reduction_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"one of \['mean', 'sum', 'none'\]. Got 'median'"):
        BetaNLLLoss(reduction="median")


def test_the_weighted_loss_is_a_mean_of_losses_times_weights():
    criterion, weights = nn.L1Loss(), torch.tensor([0.5, 2.0, 0.5])
    output, target = torch.tensor([[1.0, 2], [3, 4], [5, 6]]), torch.zeros(3, 2)
    loss = weighted_loss(criterion, output, target, weights)
    assert_allclose(loss, (0.5 * 3 + 2 * 7 + 0.5 * 11) / 6)
    assert criterion.reduction == "mean"
    compiled = torch.compile(criterion)
    assert_allclose(weighted_loss(compiled, output, target, weights), loss)


@pytest.mark.parametrize("target", [y, Y])
def test_mean_and_scale_are_those_of_the_repeated_rows(target):
    for actual, expected in zip(
        mean_and_scale(target, WHOLE), mean_and_scale(target.repeat(WHOLE, axis=0)), strict=True
    ):
        assert_allclose(actual, expected)
    assert mean_and_scale(np.full(40, 0.1), w)[1] == 1


@pytest.mark.parametrize("target", [y, Y])
def test_the_likeliest_noise_is_that_of_the_repeated_rows(target):
    draws = torch.from_numpy(target + RNG.normal(size=(10, *target.shape)))
    weighted = likeliest_noise(torch.from_numpy(target), draws, torch.from_numpy(WHOLE))
    rows = np.arange(40).repeat(WHOLE)
    repeated = likeliest_noise(torch.from_numpy(target[rows]), draws[:, rows])
    assert_allclose(weighted, repeated, rtol=1e-5)


def test_the_parts_of_a_target_keep_their_weights():
    target = with_weights(torch.zeros(5), w[:5])
    assert target.sample_weight.tolist() == w[:5].tolist()


# -- the noise ---------------------------------------------------------------------------------

WITHOUT_DROPOUT = pytest.mark.filterwarnings("ignore:the module must have a dropout:UserWarning")


def test_the_noise_is_that_of_the_held_out_rows_with_their_weights():
    net = plain_net(noise="estimate", train_split=rows_of(30), module__dropout=0.2)
    net.fit(X, y, sample_weight=w)
    rows = slice(30, 40)
    expected = likeliest_noise(
        torch.from_numpy(y[rows]), torch.from_numpy(net.draws(X[rows])), torch.from_numpy(w[rows])
    )
    assert_allclose(net.noise_std_, expected, rtol=1e-5)


@WITHOUT_DROPOUT
def test_folds_are_made_of_the_rows_that_count():
    kept = WHOLE > 0
    net = plain_net(noise="estimate").fit(X, y, sample_weight=WHOLE)
    alone = plain_net(noise="estimate").fit(X[kept], y[kept], sample_weight=WHOLE[kept])
    assert_allclose(net.noise_std_, alone.noise_std_, rtol=1e-5)
    assert_allclose(net.predict(X), alone.predict(X), rtol=1e-8)
    assert not np.allclose(net.noise_std_, plain_net(noise="estimate").fit(X, y).noise_std_)


@WITHOUT_DROPOUT
def test_a_held_out_row_of_weight_2_tells_the_noise_as_two_rows_do():
    split = WHOLE[:30].sum()
    params = {"noise": "estimate", "module__dropout": 0.0}
    weighted = plain_net(train_split=rows_of(30), **params).fit(X, y, sample_weight=WHOLE)
    repeated = plain_net(train_split=rows_of(split), **params)
    repeated.fit(X.repeat(WHOLE, axis=0), y.repeat(WHOLE))
    assert_allclose(weighted.noise_std_, repeated.noise_std_, rtol=1e-5)


# -- calibration -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noisy():
    return small_net(noise=0.5).fit(X, Y)


@pytest.mark.parametrize("method", ["std", "parts", "isotonic", "conformal"])
def test_a_row_of_weight_2_calibrates_as_two_rows(noisy, method):
    def intervals(*args, **kwargs):
        net = copy(noisy)
        return net.calibrate(*args, method=method, **kwargs).predict_interval(X, [0.5, 0.9])

    rows = np.arange(40).repeat(WHOLE)
    weighted = intervals(X, Y, sample_weight=WHOLE)
    assert_allclose(weighted, intervals(X[rows], Y[rows]), rtol=1e-6)
    assert_allclose(intervals(X, Y, sample_weight=np.ones(40)), intervals(X, Y), rtol=1e-9)
    assert not np.allclose(weighted, intervals(X, Y))


# -- in scikit-learn ---------------------------------------------------------------------------


def test_a_pipeline_passes_weights_on_by_the_name_of_the_step():
    pipeline = make_pipeline(StandardScaler(), small_net())
    pipeline.fit(X, y, mcdropoutregressor__sample_weight=w)
    scaled = StandardScaler().fit_transform(X)
    expected = small_net().fit(scaled, y, sample_weight=w).predict(scaled)
    assert_array_equal(pipeline.predict(X), expected)


def test_weights_are_routed_through_a_pipeline_and_a_search():
    with config_context(enable_metadata_routing=True):
        net = small_net().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        weighted = get_scorer("r2").set_score_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), net)
        grid = {"mcdropoutregressor__lr": [0.001, 0.01]}
        search = GridSearchCV(pipeline, grid, scoring=weighted, cv=3).fit(X, y, sample_weight=w)
        by_hand = clone(pipeline).set_params(**search.best_params_).fit(X, y, sample_weight=w)
        assert_array_equal(search.predict(X), by_hand.predict(X))
        found = cross_validate(net, X, y, params={"sample_weight": w}, return_estimator=True, cv=2)
        expected = small_net().fit(X[20:], y[20:], sample_weight=w[20:])
        assert_array_equal(found["estimator"][0].predict(X), expected.predict(X))
        partial = small_net().set_partial_fit_request(sample_weight=True)
        assert partial.partial_fit(X, y, sample_weight=w).predict(X).shape == (40,)


def test_weights_that_are_passed_as_classes_are_refused():
    with pytest.raises(
        ValueError, match=r"`classes` must be None for a MCDropoutRegressor\. Got a ndarray"
    ):
        small_net().partial_fit(X, y, w)


def test_weights_that_were_not_asked_for_are_not_passed_on():
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(StandardScaler(), small_net())
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            pipeline.fit(X, y, sample_weight=w)
