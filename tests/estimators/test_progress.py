"""What is shown while it takes long: a bar of epochs, a bar of rows, or nothing."""

import pickle
import re

import numpy as np
import pytest
from skorch.callbacks import Callback, EpochScoring
from skorch.dataset import ValidSplit

from sk_mcdropout import MCDropoutRegressor, MCDropoutRegressorCV
from sk_mcdropout.sampling import _progress

X = np.random.default_rng(0).normal(size=(40, 3))
Y = X[:, 0]


def small_net(**params):
    small = {"max_epochs": 3, "n_draws": 4, "random_state": 0, "module__dropout": 0.5}
    return MCDropoutRegressor(**{**small, **params})


@pytest.fixture
def at_once(monkeypatch):
    """Show bars from the start, whatever takes how long."""
    shown = _progress.progress_bar
    for place in ("_draws", "_pooled"):
        path = f"sk_mcdropout.sampling.{place}.progress_bar"
        monkeypatch.setattr(path, lambda total, unit, delay: shown(total, unit))


def test_a_silent_net_shows_nothing(capsys, at_once):
    small_net().fit(X, Y).predict(X, return_std=True)
    assert capsys.readouterr() == ("", "")


def test_a_training_shows_its_epochs_and_their_losses_in_one_bar(capsys):
    small_net(verbose=1, train_split=ValidSplit(4)).fit(X, Y)
    out, err = capsys.readouterr()
    assert out == ""
    last = re.split(r"[\r\n]+", err.strip())[-1]
    assert re.search(r"100%.*3/3 .*epoch.*train_loss=[\d.]+, valid_loss=[\d.]+", last)


def test_more_words_are_skorchs_table(capsys):
    small_net(verbose=2).fit(X, Y)
    out, err = capsys.readouterr()
    assert "train_loss" in out
    assert len(out.splitlines()) == 2 + 3
    assert "epoch" not in err


def test_a_sink_of_the_users_gets_the_table_in_any_case():
    lines = []
    small_net(verbose=1, callbacks__print_log__sink=lines.append).fit(X, Y)
    assert len(lines) == 2 + 3


def test_a_prediction_shows_its_rows(capsys, at_once):
    net = small_net().fit(X, Y).set_params(verbose=1)
    net.predict(X, return_std=True)
    assert re.search(r"100%.*40/40 .*row", capsys.readouterr().err)


def test_an_ensemble_shows_its_rows_in_one_bar(capsys, at_once):
    one = MCDropoutRegressor(max_epochs=1, module__dropout=0.5)
    model = MCDropoutRegressorCV(one, param_grid={}, cv=2, n_draws=4, random_state=0)
    model.fit(X, Y).set_params(verbose=1).predict(X)
    err = capsys.readouterr().err
    assert re.search(r"100%.*40/40 .*row", err)
    assert len(set(re.findall(r"/(\S+) \[", err))) == 1


def test_a_prediction_of_less_than_a_second_shows_nothing(capsys):
    net = small_net().fit(X, Y).set_params(verbose=1)
    net.predict(X, return_std=True)
    assert capsys.readouterr() == ("", "")


class Fails(Callback):
    """Ends a training by an error in its second epoch."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 2:
            raise RuntimeError("the disk is full")


def test_a_net_whose_training_failed_is_pickled_and_shows_a_new_bar(capsys):
    net = small_net(verbose=1, callbacks=[Fails()])
    with pytest.raises(RuntimeError, match="the disk is full"):
        net.fit(X, Y)
    loaded = pickle.loads(pickle.dumps(net))
    capsys.readouterr()
    loaded.set_params(callbacks=[("score", EpochScoring("r2", on_train=True))]).fit(X, Y)
    assert "3/3" in capsys.readouterr().err
