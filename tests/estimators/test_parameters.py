"""Parameters that cannot be meant are answered with what to write, before anything is trained."""

import re

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Checkpoint, EarlyStopping
from skorch.dataset import Dataset, ValidSplit
from torch import nn

from sk_mcdropout import MCDropoutRegressor, MCDropoutRegressorCV

RNG = np.random.default_rng(0)
X = RNG.normal(size=(61, 3)).astype(np.float32)
Y = X[:, 0] + RNG.normal(size=61).astype(np.float32)


def small_net(**params):
    defaults = {"max_epochs": 2, "n_draws": 5, "random_state": 0}
    return MCDropoutRegressor(**{**defaults, **params})


# -- bools are no numbers ----------------------------------------------------------------------

NUMBERS = ["n_draws", "dropout", "noise", "lr", "max_epochs", "batch_size", "random_state"]


@pytest.mark.parametrize("value", [True, False, np.True_])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_bool_is_refused_for_a_number(name, value):
    with pytest.raises(ValueError, match=rf"`{name}` must not be a bool.* Got {value!r}\."):
        small_net(**{name: value}).fit(X, Y)


def test_a_bool_is_refused_for_the_noise_of_a_net_that_is_trained():
    net = small_net(noise=1.0).fit(X, Y).set_params(noise=True)
    with pytest.raises(ValueError, match=r"`noise` must not be a bool.* Got True\."):
        net.predict(X, return_std=True)


def test_bools_stay_for_what_is_true_or_false():
    small_net(normalize_y=False, variational_rnn=np.False_, verbose=False).fit(X, Y)


# -- mistyped names ----------------------------------------------------------------------------

MEANT = {
    "dropout_rate": "dropout` or `module__dropout",
    "epochs": "max_epochs",
    "max_iter": "max_epochs",
    "n_epochs": "max_epochs",
    "max_epoch": "max_epochs",
    "hidden_layer_sizes": "module__hidden",
    "hidden": "module__hidden",
    "activation": "module__activation",
    "seed": "random_state",
    "lr_rate": "lr",
    "learning_rate": "lr",
    "learning_rate_init": "lr",
    "n_samples": "n_draws",
    "n_iter": "n_draws",
    "T": "n_draws",
    "alpha": "optimizer__weight_decay",
    "weight_decay": "optimizer__weight_decay",
    "shuffle": "iterator_train__shuffle",
    "loss": "criterion",
    "validation_split": "validation_fraction` with `early_stopping=True",
    "patience": "n_iter_no_change",
    "lr_scheduler": "lr_schedule",
    "nois": "noise",
    "normalise_y": "normalize_y",
    "warm_strat": "warm_start",
    "n_draw": "n_draws",
}


@pytest.mark.parametrize(("name", "meant"), MEANT.items())
def test_a_mistyped_parameter_is_answered_with_the_one_that_was_meant(name, meant):
    match = re.escape(f"Got `{name}`. Write `{meant}` for `{name}`.")
    with pytest.raises(ValueError, match=match):
        small_net(**{name: 1})
    with pytest.raises(ValueError, match=match):
        small_net().set_params(**{name: 1})


def test_each_mistyped_parameter_is_answered():
    match = "Got `epochs`, `seed`. Write `max_epochs` for `epochs`, `random_state` for `seed`."
    with pytest.raises(ValueError, match=re.escape(match)):
        small_net(epochs=3, seed=0)


def test_a_search_over_a_mistyped_parameter_is_answered():
    search = GridSearchCV(small_net(), {"epochs": [1, 2]}, error_score="raise")
    with pytest.raises(ValueError, match="Write `max_epochs` for `epochs`"):
        search.fit(X, Y)


def test_skorch_answers_what_begins_like_a_part_of_the_net():
    with pytest.raises(ValueError, match="optimizer_lr, did you mean optimizer__lr"):
        small_net(optimizer_lr=0.1).fit(X, Y)


def test_skorch_answers_a_parameter_that_is_like_no_other():
    with pytest.raises(ValueError, match=r"unexpected argument\(s\) xyzzy"):
        small_net(xyzzy=0.1).fit(X, Y)


def test_a_subclass_may_have_a_parameter_of_a_name_that_is_refused():
    class Net(MCDropoutRegressor):
        def __init__(self, *args, alpha=1.0, **kwargs):
            super().__init__(*args, **kwargs)
            self.alpha = alpha

    net = clone(Net(alpha=2.0, max_epochs=1)).set_params(alpha=3.0).fit(X, Y)
    assert net.get_params()["alpha"] == 3.0


def test_a_net_with_parameters_of_all_its_parts_is_cloned():
    net = small_net(optimizer__weight_decay=0.1, callbacks=[("mine", EarlyStopping("train_loss"))])
    net.set_params(module__dropout=0.2, iterator_valid__batch_size=7).fit(X, Y)
    assert clone(net).get_params(deep=False).keys() == net.get_params(deep=False).keys()


def test_a_mistyped_argument_of_the_module_is_answered():
    with pytest.raises(TypeError, match=r"Got `module__hiden`\. Write `module__hidden`\."):
        small_net(module__hiden=(5,)).fit(X, Y)


def test_a_mistyped_argument_of_the_optimizer_is_answered():
    with pytest.raises(TypeError, match=r"Write `optimizer__weight_decay`\."):
        small_net(optimizer__weight_decai=0.1).fit(X, Y)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("modul__hidden", "module__hidden"),
        ("optimiser__lr", "optimizer__lr"),
        ("iterator_trian__shuffle", "iterator_train__shuffle"),
    ],
)
def test_a_mistyped_part_of_the_net_is_answered(name, meant):
    match = re.escape(f"Got `{name}`. Write `{meant}`.")
    with pytest.raises(ValueError, match=match):
        small_net(**{name: 1})
    with pytest.raises(ValueError, match=match):
        small_net().set_params(**{name: 1})


def test_a_device_that_is_not_there_is_answered():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match=r"torch finds here\. Got 'cuda:0'\. Leave it out"):
        small_net(device="cuda:0").fit(X, Y)


def test_words_are_answered_with_what_takes_them():
    words = np.full((len(X), 1), "red", dtype=object)
    with pytest.raises(ValueError, match=r"Got words: .*'red'\. Encode those of X"):
        small_net().fit(words, Y)
    with pytest.raises(ValueError, match=r"Got words: .*'red'.* take `MCDropoutClassifier`"):
        small_net().fit(X, words[:, 0])


def test_an_error_of_the_module_about_shapes_says_what_it_was_given():
    net = small_net(module=lambda: nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.1)))
    with pytest.raises(RuntimeError, match="cannot be multiplied") as caught:
        net.fit(X, Y)
    assert caught.value.__notes__[0].startswith("the module must take X")
    assert "X of shape (2, 3). Make its first layer" in caught.value.__notes__[0]


ENSEMBLES = {
    "dropout": r"`estimator` must|`estimator=MCDropoutRegressor\(dropout=\.\.\.\)`",
    "epochs": r"Got `epochs`\. Write `estimator=MCDropoutRegressor\(max_epochs=\.\.\.\)`",
    "module__hidden": r"`param_grid={'module__hidden': \[\.\.\.\]}`",
    "seed": "Write `random_state` for `seed`",
    "n_draw": "Write `n_draws` for `n_draw`",
}


@pytest.mark.parametrize(("name", "match"), ENSEMBLES.items())
def test_a_parameter_that_an_ensemble_does_not_have_is_answered(name, match):
    with pytest.raises(ValueError, match=match):
        MCDropoutRegressorCV(**{name: 1})
    with pytest.raises(ValueError, match=match):
        MCDropoutRegressorCV().set_params(**{name: 1})


def test_an_ensemble_sets_parameters_of_its_estimator():
    model = MCDropoutRegressorCV(small_net()).set_params(estimator__lr=0.1, cv=3)
    assert (model.estimator.lr, clone(model).cv) == (0.1, 3)


def test_a_mistyped_argument_of_the_criterion_is_answered():
    with pytest.raises(TypeError, match=r"Got `criterion__bta`\. Write `criterion__beta`\."):
        small_net(noise="heteroscedastic", criterion__bta=1.0).fit(X, Y)


def test_an_argument_like_no_other_is_answered_with_those_there_are():
    with pytest.raises(TypeError, match=r"Got `module__xyzzy`\. Write `module__activation`, `mod"):
        small_net(module__xyzzy=1).fit(X, Y)


# -- strings and numbers for classes and callables ------------------------------------------------

STRINGS = [
    ("criterion", "mse", "torch.nn.MSELoss"),
    ("criterion", "L1Loss", "torch.nn.L1Loss"),
    ("criterion", "mae", "torch.nn.L1Loss"),
    ("criterion", "huber", "torch.nn.HuberLoss"),
    ("criterion", "gaussian_nll", "torch.nn.GaussianNLLLoss"),
    ("criterion", "unheard-of", "torch.nn.MSELoss"),
    ("optimizer", "adam", "torch.optim.Adam"),
    ("optimizer", "sgd", "torch.optim.SGD"),
    ("optimizer", "unheard-of", "torch.optim.AdamW"),
    ("module", "MLP", "sk_mcdropout.MLP"),
]


@pytest.mark.parametrize(("name", "value", "meant"), STRINGS)
def test_a_string_is_answered_with_the_class(name, value, meant):
    match = re.escape(f"`{name}` must be a class or an instance. Got {value!r}. Write `{name}=")
    with pytest.raises(ValueError, match=match + re.escape(meant) + "`"):
        small_net(**{name: value}).fit(X, Y)


@pytest.mark.parametrize(("value", "rows"), [(0.2, "0.2"), (5, "5"), (True, "5"), ("cv", "'cv'")])
def test_a_train_split_that_splits_nothing_is_answered(value, rows):
    match = rf"Got {value!r}\. Write `train_split=skorch.dataset.ValidSplit\({rows}\)`"
    with pytest.raises(ValueError, match=match):
        small_net(train_split=value).fit(X, Y)


@pytest.mark.parametrize("value", [EarlyStopping("train_loss"), "early", 3])
def test_callbacks_that_are_no_list_are_answered(value):
    with pytest.raises(
        ValueError, match=r"`callbacks` must be a list.*Got .*`callbacks=\[\.\.\.\]`"
    ):
        small_net(callbacks=value).fit(X, Y)


def test_one_width_of_the_default_net_is_answered():
    with pytest.raises(TypeError, match=r"Got 50\. Write .*`module__hidden=\(50,\)`"):
        small_net(module__hidden=50).fit(X, Y)


def test_an_activation_that_is_a_string_is_answered():
    with pytest.raises(TypeError, match=r"Got 'tanh'\. Write .*`module__activation=torch.nn.Tanh`"):
        small_net(module__activation="tanh").fit(X, Y)


# -- what does not go together -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("callback", "instead"),
    [
        (EarlyStopping(), r"EarlyStopping\(monitor='train_loss'\)"),
        (Checkpoint(), r"Checkpoint\(monitor='train_loss_best'\)"),
    ],
)
def test_a_callback_that_watches_the_validation_loss_needs_validation_rows(callback, instead):
    net = small_net(callbacks=[callback])
    match = rf"`train_split` must be given for .*Got None.*ValidSplit\(0\.2\)`, or `{instead}`"
    with pytest.raises(ValueError, match=match):
        net.fit(X, Y)
    assert not hasattr(net, "module_")


@pytest.mark.parametrize(
    "params",
    [
        {"callbacks": [EarlyStopping()], "train_split": ValidSplit(5)},
        {"callbacks": [EarlyStopping("train_loss")]},
    ],
)
def test_a_callback_that_has_what_it_watches_is_left_alone(params):
    assert len(small_net(**params).fit(X, Y).history) == 2


class Normalised(nn.Sequential):
    """A net with batch normalisation."""

    def __init__(self):
        super().__init__(
            nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.1), nn.Linear(4, 1)
        )


class Convolved(nn.Module):
    """A net whose batch normalisation has many values of each row."""

    def __init__(self):
        super().__init__()
        self.convolved = nn.Sequential(nn.Conv1d(1, 2, 2), nn.BatchNorm1d(2), nn.Dropout(0.1))
        self.out = nn.Linear(4, 1)

    def forward(self, X):
        return self.out(self.convolved(X[:, None]).flatten(1))


def test_a_last_batch_of_one_row_is_refused_for_a_net_with_batch_normalisation():
    net = small_net(module=Normalised, batch_size=20)
    match = r"1 row: 61 rows.* `batch_size=20`\. Write `iterator_train__drop_last=True` or `batch_"
    with pytest.raises(ValueError, match=match):
        net.fit(X, Y)
    assert not hasattr(net, "module_")


def test_batches_of_one_row_are_refused_for_a_net_with_batch_normalisation():
    with pytest.raises(ValueError, match=r"`batch_size=1`\. Write `batch_size=2`\.$"):
        small_net(module=Normalised, batch_size=1).fit(X[:60], Y[:60])


def test_the_batch_size_that_is_said_leaves_no_single_row():
    with pytest.raises(ValueError, match=r"or `batch_size=7`\.$"):
        small_net(module=Normalised, batch_size=2).fit(X, Y)
    small_net(module=Normalised, batch_size=2, iterator_train__batch_size=7).fit(X, Y)


def test_the_rows_that_are_held_out_are_not_counted():
    net = small_net(module=Normalised, batch_size=47, train_split=ValidSplit(5))
    with pytest.raises(ValueError, match="1 row: 48 rows of training"):
        net.fit(X, Y)


def test_the_rows_of_a_dataset_are_counted():
    with pytest.raises(ValueError, match="1 row: 61 rows of training"):
        small_net(module=Normalised, batch_size=20).fit(Dataset(X, Y[:, None]), None)


@pytest.mark.parametrize(
    "params",
    [
        {"module": Normalised, "iterator_train__drop_last": True},
        {"module": Normalised, "batch_size": 21},
        {"module": Normalised, "batch_size": -1},
        {"module": Convolved},
        {},
    ],
)
def test_nets_that_take_their_last_batch_are_left_alone(params):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    net = small_net(**{"batch_size": 20, **params}).fit(X, Y)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.isfinite(net.history[-1, "train_loss"])


def test_the_check_of_the_last_batch_changes_no_weight_and_no_statistic():
    torch.manual_seed(0)
    first = small_net(module=Convolved, batch_size=20).fit(X, Y)
    second = small_net(module=Convolved, iterator_train__batch_size=20).fit(X, Y)
    assert first.module_.convolved[1].num_batches_tracked == 2 * 4
    for ours, theirs in zip(first.module_.parameters(), second.module_.parameters(), strict=True):
        assert torch.equal(ours, theirs)


# -- what is shown -----------------------------------------------------------------------------


def test_the_repr_shows_what_was_set():
    net = MCDropoutRegressor(module__dropout=0.2, noise="estimate")
    assert repr(net) == "MCDropoutRegressor(module__dropout=0.2, noise='estimate')"
    assert repr(MCDropoutRegressor()) == "MCDropoutRegressor()"


def test_training_does_not_change_the_repr():
    net = small_net()
    before = repr(net)
    assert repr(net.fit(X, Y)) == before == repr(clone(net))


def test_the_repr_of_a_pipeline_shows_what_was_set():
    pipe = make_pipeline(StandardScaler(), MCDropoutRegressor(lr=0.01))
    shown = "".join(repr(pipe).split())
    assert shown.endswith("('mcdropoutregressor',MCDropoutRegressor(lr=0.01))])")


def test_the_picture_of_scikit_learn_marks_what_was_set():
    picture = small_net().fit(X, Y)._repr_html_()
    if "user-set" not in picture:
        pytest.skip("this scikit-learn marks no parameters")
    assert picture.count('class="user-set"') == 3
    assert "callbacks__" not in picture


def test_the_picture_of_scikit_learn_shows_the_dropouts_of_a_fitted_net():
    net = small_net(module__dropout=0.25)
    assert "Dropouts" not in net._repr_html_()
    shown = net.fit(X, Y)._repr_mimebundle_()
    table = str(net.dropout_sites_).splitlines()[1]
    assert "0.25" in table
    for picture in (net._repr_html_(), shown["text/html"]):
        assert table in picture
    assert "Dropouts" not in shown["text/plain"]


def test_the_picture_of_an_ensemble_shows_the_dropouts_of_its_nets():
    one = MCDropoutRegressor(max_epochs=1, module__dropout=0.25)
    model = MCDropoutRegressorCV(one, param_grid={}, cv=2, random_state=0)
    assert "Dropouts" not in model._repr_html_()
    assert str(model.fit(X, Y).estimators_[0].dropout_sites_).splitlines()[1] in model._repr_html_()
