"""The classifier: probabilities, their uncertainty, and what it takes for a target."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize_scalar
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import EpochScoring
from skorch.dataset import ValidSplit
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from sk_mcdropout import MCDropoutClassifier
from sk_mcdropout.predictive import CategoricalLikelihood

LABELS = {
    "integers": np.array([0, 1, 2]),
    "unlike integers": np.array([-7, 3, 100]),
    "strings": np.array(["ash", "birch", "cedar"]),
    "objects": np.array(["ash", "birch", "cedar"], dtype=object),
    "floats": np.array([1.0, 2.0, 4.0]),
}


def make_net(*args, **params):
    defaults = {"max_epochs": 30, "n_draws": 20, "random_state": 0}
    return MCDropoutClassifier(*args, **{**defaults, **params})


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def net(iris):
    return make_net().fit(*iris)


def logits(n_outputs=3):
    return nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Dropout(0.2), nn.Linear(20, n_outputs))


# -- predictions -----------------------------------------------------------------------------------


def test_it_is_a_skorch_classifier_that_learns(iris, net):
    assert isinstance(net, NeuralNetClassifier)
    assert net.score(*iris) > 0.95


def test_probabilities_are_the_mean_of_the_draws(iris, net):
    X, _ = iris
    draws = net.draws(X)
    proba, std = net.predict_proba(X, return_std=True)
    assert draws.shape == (20, 150, 3)
    assert_allclose(proba, draws.mean(axis=0), atol=1e-14)
    assert_allclose(std, draws.std(axis=0, ddof=1), atol=1e-14)
    assert_allclose(draws.sum(axis=2), 1, rtol=1e-12)
    assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
    assert_allclose(net.predict_proba(X), proba)
    assert_allclose(net.predict_log_proba(X), np.log(proba))
    assert proba.dtype == std.dtype == np.float64
    assert std.max() > 0.01


def test_a_draw_is_the_softmax_of_a_draw_of_the_logits(iris, net):
    X, _ = iris
    outputs = net._draws(net._check_inputs(X)).reduce(lambda outputs, rows: (outputs,), axis=1)[0]
    assert_allclose(net.draws(X), torch.softmax(outputs.double(), dim=2))


@pytest.mark.parametrize("rows", [[3], [5, 5, 2], slice(None, None, -1)])
def test_a_draw_is_a_function_of_the_row(iris, net, rows):
    X, _ = iris
    assert_allclose(net.draws(X[rows]), net.draws(X)[:, rows], rtol=1e-5)


def test_the_same_seed_gives_the_same_draws(iris, net):
    again = make_net().fit(*iris)
    assert_array_equal(again.draws(iris[0]), net.draws(iris[0]))
    loaded = pickle.loads(pickle.dumps(net))
    assert_array_equal(loaded.draws(iris[0]), net.draws(iris[0]))
    assert_array_equal(loaded.classes_, net.classes_)


def test_uncertainty_is_that_of_the_draws(iris, net):
    X, _ = iris
    draws, found = net.draws(X), net.predict_uncertainty(X)
    mean = draws.mean(axis=0)

    def entropy(p):
        return -np.sum(p * np.log(np.clip(p, 1e-300, None)), axis=-1)

    assert_allclose(found.predictive_entropy, entropy(mean), atol=1e-12)
    assert_allclose(found.expected_entropy, entropy(draws).mean(axis=0), atol=1e-12)
    difference = found.predictive_entropy - found.expected_entropy
    assert_allclose(found.mutual_information, difference, atol=1e-12)
    votes = np.stack([np.bincount(row, minlength=3) for row in draws.argmax(axis=2).T])
    assert_allclose(found.variation_ratio, 1 - votes.max(axis=1) / 20)
    first, second = np.sort(mean, axis=1)[:, :-3:-1].T
    assert_allclose(found.margin, first - second)
    assert_allclose(found.max_probability, first)
    assert (found.mutual_information >= 0).all()
    assert (found.predictive_entropy >= found.mutual_information).all()
    assert found.mutual_information.max() > 0.01


def test_it_is_less_sure_between_the_classes():
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(-2, 0.3, size=(60, 2)), rng.normal(2, 0.3, size=(60, 2))]
    y = np.repeat([0, 1], 60)
    unsure = make_net(dropout=0.3).fit(X, y).predict_uncertainty(np.array([[0.0, 0.0], [2.0, 2.0]]))
    assert unsure.mutual_information[0] > 2 * unsure.mutual_information[1]


def test_before_fit_it_says_so():
    with pytest.raises(NotFittedError):
        make_net().predict_proba(np.zeros((3, 4)))


def test_no_classes_are_refused(iris):
    with pytest.raises(ValueError, match=r"`classes` must name a class\. Got none"):
        make_net(classes=[]).fit(*iris)


def test_one_draw_has_no_spread(iris, net):
    one = pickle.loads(pickle.dumps(net)).set_params(n_draws=1)
    assert one.predict_proba(iris[0]).shape == (150, 3)
    with pytest.raises(ValueError, match="`n_draws` must be at least 2"):
        one.predict_proba(iris[0], return_std=True)


# -- the temperature -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:the module must have a dropout:UserWarning")
def test_a_net_that_is_too_sure_is_calibrated():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 2)).astype("f")
    y = (rng.uniform(size=900) < 1 / (1 + np.exp(-X[:, 0]))).astype(int)
    net = make_net(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)), max_epochs=1)
    net.fit(X[:10], y[:10])
    with torch.no_grad():
        net.module_[0].weight.copy_(torch.tensor([[-2.0, 0.0], [2.0, 0.0]]))  # 4 times too sure
        net.module_[0].bias.zero_()
    before = net.predict_proba(X)
    net.calibrate(X, y)
    found = net.predict_proba(X)
    logits = np.log(before) / net.temperature_
    assert_allclose(found, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), atol=1e-12)

    def loss(log_temperature):
        p = 1 / (1 + np.exp(-4 * X[:, 0].astype(float) / np.exp(log_temperature)))
        return -np.mean(np.log(np.where(y == 1, p, 1 - p)))

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded").x
    assert np.log(net.temperature_) == pytest.approx(best, abs=2e-3)
    assert 3 < net.temperature_ < 5


def test_weights_of_held_out_rows_count_as_repeats(iris):
    X, y = iris
    rows = np.repeat(np.arange(150), np.arange(150) % 3)
    net, other = make_net(max_epochs=5).fit(X, y), make_net(max_epochs=5).fit(X, y)
    net.calibrate(X, y, sample_weight=np.arange(150) % 3)
    other.calibrate(X[rows], y[rows])
    assert net.temperature_ == pytest.approx(other.temperature_, rel=1e-4)
    assert net.temperature_ < 1
    assert not hasattr(net.fit(X, y), "temperature_")


def test_held_out_rows_must_be_of_the_known_classes(iris, net):
    X, y = iris
    with pytest.raises(ValueError, match="known classes alone"):
        net.calibrate(X, y + 1)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        net.calibrate(X, y[:10])
    assert not hasattr(net, "temperature_")


# -- targets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_of_any_kind(iris, net, labels):
    X, codes = iris
    named = make_net().fit(X, labels[codes])
    assert_array_equal(named.classes_, np.unique(labels))
    assert_array_equal(named.predict(X), labels[net.predict(X)])
    assert_allclose(named.predict_proba(X), net.predict_proba(X))
    assert named.score(X, labels[codes]) > 0.95


def test_two_classes_that_are_true_or_false(iris):
    X, codes = iris
    net = make_net().fit(X, codes > 0)
    assert net.classes_.tolist() == [False, True]
    assert net.predict(X).dtype == bool
    assert net.score(X, codes > 0) > 0.95


def test_one_class_is_answered_with_certainty(iris):
    X, _ = iris
    net = make_net(max_epochs=2).fit(X, ["all"] * 150)
    assert set(net.predict(X)) == {"all"}
    assert_array_equal(net.predict_proba(X), np.ones((150, 1)))
    unsure = net.predict_uncertainty(X)
    assert (unsure.predictive_entropy == 0).all()
    assert (unsure.margin == 1).all()


def test_a_tensor_for_a_target(iris, net):
    X, y = iris
    same = make_net().fit(X, torch.from_numpy(y))
    assert_array_equal(same.draws(X), net.draws(X))


def test_classes_that_are_given_have_their_order(iris):
    X, codes = iris
    y = LABELS["strings"][codes]
    with pytest.warns(UserWarning, match=r"`classes` must be sorted.*Got \['cedar', 'ash'"):
        net = make_net(classes=["cedar", "ash", "birch", "oak"]).fit(X, y)
    assert net.classes_.tolist() == ["cedar", "ash", "birch", "oak"]
    assert net.predict_proba(X).shape == (150, 4)
    assert net.score(X, y) > 0.9
    with pytest.raises(ValueError, match=r"known classes alone\. Got \['birch'\]"):
        make_net(classes=["ash", "cedar"]).fit(X, y)


def test_training_goes_on_with_all_classes_named_first(iris):
    X, y = iris
    net = make_net(max_epochs=20)
    net.partial_fit(X[:100], y[:100], classes=[0, 1, 2])
    assert net.predict_proba(X).shape == (150, 3)
    net.partial_fit(X, y, classes=[2, 1, 0]).partial_fit(X, y)
    assert net.score(X, y) > 0.9
    with pytest.raises(ValueError, match="those of the first call"):
        net.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match=r"known classes alone\. Got \[3\]"):
        net.partial_fit(X, y + 1)


class Told(Dataset):
    """A dataset of the user's, of which nobody knows the targets before they are read."""

    def __init__(self, X, y):
        self.rows = list(zip(X.astype("f"), y, strict=True))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, row):
        return self.rows[row]


def test_a_dataset_holds_codes(iris):
    X, y = iris
    data = TensorDataset(torch.from_numpy(X.astype("f")), torch.from_numpy(y))
    net = make_net().fit(data, None)
    assert net.classes_.tolist() == [0, 1, 2]
    assert net.score(X.astype("f"), y) > 0.9
    told = make_net(logits()).fit(Told(X, y), None)
    assert told.classes_.tolist() == [0, 1, 2]
    assert told.score(X.astype("f"), y) > 0.9
    with pytest.raises(AttributeError, match="'classes' argument"):
        make_net().fit(Told(X, y), None)
    named = make_net(classes=LABELS["strings"]).fit(Told(X, y), None)
    assert named.score(X.astype("f"), LABELS["strings"][y]) > 0.9


def test_a_class_that_a_dataset_lacks_keeps_its_column(iris):
    X, y = iris
    some = y != 1
    net = make_net(logits()).fit(Told(X[some], y[some]), None)
    assert net.predict_proba(X.astype("f")).shape == (150, 3)
    assert net.score(X[some].astype("f"), y[some]) > 0.9
    net.calibrate(X[some].astype("f"), y[some])
    assert net.classes_.tolist() == [0, 1, 2]


BAD_TARGETS = {
    "numbers": (np.linspace(0, 1, 150), "Unknown label type: continuous"),
    "several": (np.zeros((150, 2), dtype=int), "should be a 1d array"),
    "not finite": (np.r_[np.nan, np.zeros(149)], "contains NaN"),
    "too few": (np.zeros(149, dtype=int), "inconsistent numbers of samples"),
    "none": (None, "requires y to be passed"),
}


@pytest.mark.parametrize(("y", "match"), BAD_TARGETS.values(), ids=BAD_TARGETS)
def test_bad_targets_are_refused(iris, y, match):
    with pytest.raises(ValueError, match=match):
        make_net().fit(iris[0], y)


# -- nets ------------------------------------------------------------------------------------------


def test_a_net_that_gives_probabilities_is_told_by_its_criterion(iris):
    X, y = iris
    X = X.astype(np.float32)
    shares = nn.Sequential(*logits(), nn.Softmax(dim=-1))
    net = make_net(shares, criterion=nn.NLLLoss).fit(X, y)
    assert net.score(X, y) > 0.9
    outputs = net._draws(X).reduce(lambda outputs, rows: (outputs,), axis=1)[0]
    assert_allclose(net.draws(X), outputs, rtol=1e-6)


def test_the_loss_of_probabilities_is_that_of_their_logits(iris):
    X, y = iris
    X = X.astype(np.float32)
    torch.manual_seed(0)
    net = logits()
    params = {"max_epochs": 2, "lr": 0.01}
    one = make_net(net, **params).fit(X, y)
    torch.manual_seed(0)
    shares = nn.Sequential(*logits(), nn.Softmax(dim=-1))
    other = make_net(shares, criterion=nn.NLLLoss, **params).fit(X, y)
    assert_allclose(other.history[:, "train_loss"], one.history[:, "train_loss"], rtol=1e-4)


def test_logits_in_the_place_of_probabilities_are_refused(iris):
    net = make_net(logits(), criterion=nn.NLLLoss, max_epochs=0).fit(iris[0].astype("f"), iris[1])
    with pytest.raises(ValueError, match=r"must be probabilities for this criterion.*CrossEntropy"):
        net.predict_proba(iris[0].astype("f"))


class Focal(nn.Module):
    """A loss of the user's for logits."""

    reduction = "mean"

    def forward(self, logits, y):
        each = nn.functional.cross_entropy(logits, y, reduction="none")
        return ((1 - torch.exp(-each)) ** 2 * each).mean()


def test_another_criterion_needs_to_be_told_what_the_outputs_are(iris):
    with pytest.raises(ValueError, match=r"`criterion` must be .*Got Focal"):
        make_net(criterion=Focal).fit(*iris)
    net = make_net(criterion=Focal, predict_nonlinearity=partial(torch.softmax, dim=-1)).fit(*iris)
    assert net.score(*iris) > 0.9


def test_a_net_of_another_width_is_refused_before_training(iris):
    with pytest.raises(ValueError, match=r"an output for each class\. Got .*\(2, 2\).* 3 classes"):
        make_net(logits(2)).fit(iris[0].astype("f"), iris[1])


def test_rates_that_are_learned(iris):
    net = make_net(module__dropout="concrete").fit(*iris)
    assert net.score(*iris) > 0.9
    assert all(0 < rate < 1 for rate in net.learned_rates_.values())


@pytest.mark.parametrize(("n_rows", "decay"), [(100, 3.0), (1000, 1.0), (4000, 0.25)])
def test_the_weights_decay_inversely_to_the_rows(n_rows, decay):
    X = np.random.default_rng(0).normal(size=(n_rows, 2)).astype("f")
    y = (X[:, 0] > 0).astype(int)

    def decay_of(net):
        return net.set_params(max_epochs=1).fit(X, y).optimizer_.param_groups[0]["weight_decay"]

    assert decay_of(make_net()) == decay
    assert decay_of(make_net(optimizer__weight_decay=0.5)) == 0.5
    own = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.1), nn.Linear(4, 2))
    assert decay_of(make_net(own)) == torch.optim.AdamW(own.parameters()).defaults["weight_decay"]


@pytest.mark.slow
def test_classes_of_pure_noise_are_answered_by_their_shares():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(600, 5)), (rng.uniform(size=600) < 0.3).astype(int)
    losses = []
    for params in ({}, {"optimizer__weight_decay": 0.01}):
        net = make_net(max_epochs=100, **params).fit(X[:200], y[:200])
        losses.append(log_loss(y[200:], net.predict_proba(X[200:])))
    shares = np.full(400, y[:200].mean())
    assert losses[0] < np.log(2)  # of a coin
    assert losses[0] - log_loss(y[200:], shares) < 0.2 * (losses[1] - losses[0])


# -- weights ---------------------------------------------------------------------------------------


def test_rows_of_weight_0_do_not_count(iris):
    X, y = iris
    wrong = y.copy()
    wrong[::3] = (y[::3] + 1) % 3
    net = make_net().fit(X, wrong, sample_weight=np.arange(150) % 3 != 0)
    assert net.score(X, y) > 0.9


def test_the_weights_of_classes_multiply_those_of_rows(iris):
    X, y = iris
    rows = np.linspace(1, 2, 150)
    by_class = {0: 1.0, 1: 3.0, 2: 0.5}
    net = make_net(class_weight=by_class).fit(X, y, sample_weight=rows)
    weights = rows * np.array([1.0, 3.0, 0.5])[y]
    assert_allclose(net.draws(X), make_net().fit(X, y, sample_weight=weights).draws(X), rtol=1e-5)


def test_balanced_classes_count_alike(iris):
    X, y = iris
    few = np.r_[0:50, 50:60, 100:150]
    net = make_net(class_weight="balanced").fit(X[few], y[few])
    weights = 110 / (3 * np.bincount(y[few]))[y[few]]
    same = make_net().fit(X[few], y[few], sample_weight=weights)
    assert_allclose(net.draws(X), same.draws(X), rtol=1e-5)


def test_the_weighted_loss_of_probabilities_is_that_of_logits(iris):
    X, y = iris
    weights = np.random.default_rng(0).uniform(size=150)
    losses = []
    for criterion in (nn.CrossEntropyLoss, nn.NLLLoss):
        torch.manual_seed(0)
        parts = [*logits(), *([nn.Softmax(dim=-1)] if criterion is nn.NLLLoss else [])]
        net = make_net(nn.Sequential(*parts), criterion=criterion, max_epochs=2)
        losses.append(net.fit(X.astype("f"), y, sample_weight=weights).history[:, "train_loss"])
    assert_allclose(*losses, rtol=1e-4)


# -- where it drops in -----------------------------------------------------------------------------


def test_held_out_rows_are_scored_in_codes(iris):
    X, codes = iris
    scoring = EpochScoring("accuracy", name="again", lower_is_better=False)
    net = make_net(train_split=ValidSplit(5, stratified=True), callbacks=[scoring])
    net.fit(X, codes)
    assert net.history[-1, "valid_acc"] > 0.9
    assert net.history[:, "again"] == net.history[:, "valid_acc"]
    named = clone(net).set_params(callbacks=None).fit(X, LABELS["strings"][codes])
    assert named.history[:, "valid_acc"] == net.history[:, "valid_acc"]


def test_a_net_that_is_trimmed_predicts_the_same(iris, net):
    trimmed = pickle.loads(pickle.dumps(net))
    trimmed.trim_for_prediction()
    assert_array_equal(trimmed.draws(iris[0]), net.draws(iris[0]))


def test_an_early_end(iris):
    net = make_net(early_stopping=True, max_epochs=500, n_iter_no_change=5).fit(*iris)
    assert len(net.history) < 500
    assert net.score(*iris) > 0.9


@pytest.mark.slow
def test_a_search_over_rates_in_a_pipeline(iris):
    pipe = make_pipeline(StandardScaler(), make_net(max_epochs=10))
    grid = {"mcdropoutclassifier__dropout": [0.05, 0.5]}
    search = GridSearchCV(pipe, grid, cv=3, scoring="neg_log_loss").fit(*iris)
    assert search.best_score_ > -0.6
    assert_allclose(search.predict_proba(iris[0]).sum(axis=1), 1)


def test_probabilities_of_half_precision_add_up_to_one():
    shares = torch.tensor([[[0.1, 0.2, 0.7]]], dtype=torch.float16)
    assert_allclose(CategoricalLikelihood().probabilities(shares).sum(dim=2), 1, rtol=1e-15)
