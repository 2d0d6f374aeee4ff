"""What is set after training takes effect everywhere, or it is said what to do."""

import io
import pickle
import threading
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sk_mcdropout import MLP, MCDropoutRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = 3 * X[:, 0] + RNG.normal(size=60)
SHOWN = "ignore:`noise` must be given for:UserWarning"


def small_net(**params):
    defaults = {"module__hidden": (8,), "max_epochs": 3, "n_draws": 10, "random_state": 0}
    return MCDropoutRegressor(**{**defaults, **params})


QUESTIONS = {
    "mean": lambda net: net.predict(X),
    "std": lambda net: net.predict(X, return_std=True)[1],
    "cov": lambda net: net.predict(X, return_cov=True)[1],
    "decomposed": lambda net: net.predict_decomposed(X)[2],
    "draws": lambda net: net.draws(X),
    "functions": lambda net: net.sample_y(X, noise=False),
    "observations": lambda net: net.sample_y(X),
    "quantiles": lambda net: net.predict_quantiles(X, [0.1, 0.9]),
    "interval": lambda net: net.predict_interval(X),
    "cdf": lambda net: net.predict_cdf(X, Y),
    "log density": lambda net: net.log_prob(X, Y),
    "distribution": lambda net: net.predict_distribution(X).std(),
    "calibration": lambda net: net.calibrate(X, Y).calibration_.values,
    "output": lambda net: net.forward(X.astype(np.float32)),
    "score": lambda net: net.score(X, Y),
}
OF_THE_NOISE = [
    *("std", "cov", "decomposed", "observations", "quantiles", "interval", "cdf"),
    *("log density", "distribution", "calibration"),
]

# -- the module ---------------------------------------------------------------------------------

MODULE = {
    "module__hidden": (4,),
    "module__dropout": 0.5,
    "module": nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.1), nn.Linear(4, 1)),
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_a_net_that_set_params_made_anew_answers_nothing(ask):
    net = small_net(noise=1.0).fit(X, Y).set_params(module__hidden=(4,))
    match = r"Got a net that `set_params\(module__hidden=\.\.\.\)` made anew.* Call `fit`"
    with pytest.raises(NotFittedError, match=match):
        ask(net)


@pytest.mark.parametrize("name", ["module__hidden", "module__dropout"])
def test_each_parameter_of_the_module_makes_the_net_anew(name):
    net = small_net().fit(X, Y).set_params(**{name: MODULE[name]})
    with pytest.raises(NotFittedError, match=rf"set_params\({name}=\.\.\.\)"):
        net.predict(X)
    with pytest.raises(NotFittedError):
        check_is_fitted(net)


def test_another_module_makes_the_net_anew():
    net = MCDropoutRegressor(max_epochs=1, random_state=0).fit(X, Y)
    net.set_params(module=MODULE["module"])
    with pytest.raises(NotFittedError, match=r"set_params\(module=\.\.\.\)"):
        net.predict(X)


def test_a_net_made_anew_within_a_pipeline_answers_nothing():
    pipe = make_pipeline(StandardScaler(), small_net()).fit(X, Y)
    pipe.set_params(mcdropoutregressor__module__hidden=(4,))
    with pytest.raises(NotFittedError):
        pipe.predict(X)


@pytest.mark.parametrize("copy", [lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_of_a_net_made_anew_answers_nothing(copy):
    net = small_net().fit(X, Y).set_params(module__hidden=(4,))
    with pytest.raises(NotFittedError, match="made anew"):
        copy(net).predict(X)


@pytest.mark.parametrize(
    "train",
    [
        lambda net: net.fit(X, Y),
        lambda net: net.partial_fit(X, Y),
        lambda net: net.initialize(),
    ],
    ids=["fit", "partial_fit", "initialize"],
)
def test_a_net_made_anew_answers_when_it_is_trained_or_made_on_purpose(train):
    net = small_net().fit(X, Y).set_params(module__hidden=(4,))
    train(net)
    assert np.isfinite(net.predict(X)).all()


def test_a_net_made_anew_answers_when_weights_are_loaded():
    net, file = small_net(module__hidden=(4,)).fit(X, Y), io.BytesIO()
    net.save_params(f_params=file)
    file.seek(0)
    other = small_net().fit(X, Y).set_params(module__hidden=(4,))
    other.load_params(f_params=file)
    assert_array_equal(other.predict(X), net.predict(X))


def test_a_fit_that_is_refused_leaves_the_net_made_anew():
    net = small_net().fit(X, Y).set_params(module__hidden=(4,))
    with pytest.raises(ValueError, match="NaN"):
        net.fit(np.full_like(X, np.nan), Y)
    with pytest.raises(NotFittedError, match="made anew"):
        net.predict(X)


def test_a_net_that_was_only_initialized_answers():
    net = small_net(module__n_features=3).initialize()
    assert np.isfinite(net.predict(X)).all()


def test_parameters_set_before_fit_are_no_reason_to_refuse():
    net = small_net().set_params(module__hidden=(4,)).fit(X, Y)
    assert np.isfinite(net.predict(X)).all()


@pytest.mark.parametrize(
    "params", [{"lr": 0.1}, {"optimizer__weight_decay": 0.1}, {"criterion": nn.L1Loss}]
)
def test_what_leaves_the_weights_alone_leaves_the_answers_alone(params):
    net = small_net().fit(X, Y)
    before = net.predict(X)
    assert_array_equal(net.set_params(**params).predict(X), before)


def test_a_net_that_is_trained_takes_parameters_of_its_iterators():
    net = small_net().fit(X, Y)
    before = net.predict(X)
    net.set_params(iterator_train__shuffle=False, iterator_valid__batch_size=7)
    # In single precision a batch of another size rounds in another way.
    assert_allclose(net.predict(X), before, rtol=1e-5, atol=1e-6)
    net.partial_fit(X, Y)
    ordered = small_net(iterator_train__shuffle=False, iterator_valid__batch_size=7).fit(X, Y)
    assert_array_equal(net.fit(X, Y).predict(X), ordered.predict(X))


# -- what goes into the net when it is made ----------------------------------------------------

LATER = {"dropout": 0.3, "normalize_y": False, "random_state": 1}


@pytest.mark.parametrize("how", ["set_params", "attribute"])
@pytest.mark.parametrize(("name", "value"), LATER.items())
def test_what_takes_effect_at_the_next_fit_says_so_once(name, value, how):
    net = small_net().fit(X, Y)
    before, old = net.predict(X), getattr(net, name)
    if how == "attribute":
        setattr(net, name, value)
    else:
        net.set_params(**{name: value})
    match = (
        rf"`{name}` must be set before training\. Got {value!r} for .* with {old!r}.* Call `fit`"
    )
    with pytest.warns(UserWarning, match=match):
        assert_array_equal(net.predict(X), before)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.predict(X, return_std=True)
        expected = small_net(**{name: value}).fit(X, Y).predict(X)
        assert_array_equal(net.fit(X, Y).predict(X), expected)


def test_a_value_that_is_set_back_is_no_change():
    net = small_net(dropout=0.2).fit(X, Y).set_params(dropout=0.3).set_params(dropout=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.predict(X)


def test_the_seed_of_a_random_state_is_no_change():
    net = small_net(random_state=np.random.RandomState(0)).fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(net)).predict(X)


def test_a_net_that_starts_warm_is_to_be_initialized():
    net = small_net(warm_start=True).fit(X, Y).set_params(dropout=0.3)
    with pytest.warns(UserWarning, match="Call `initialize` and `fit`"):
        net.predict(X)
    with pytest.warns(UserWarning, match="Got 0.3"):
        net.fit(X, Y).predict(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.initialize().fit(X, Y).predict(X)


def test_the_warning_is_at_the_line_of_the_user():
    net = small_net().fit(X, Y).set_params(dropout=0.3)
    with pytest.warns(UserWarning, match="dropout") as record:
        net.predict(X)
    assert record[0].filename == __file__


# -- the noise ----------------------------------------------------------------------------------


@pytest.mark.parametrize("question", OF_THE_NOISE)
def test_another_number_for_the_noise_takes_effect_everywhere(question):
    ask, net = QUESTIONS[question], small_net(noise=1.0).fit(X, Y)
    other = small_net(noise=2.0).fit(X, Y)
    assert_array_equal(ask(net.set_params(noise=2.0)), ask(other))


@pytest.mark.parametrize("how", ["std", "conformal", "isotonic"])
@pytest.mark.parametrize(
    "question", [q for q in [*OF_THE_NOISE, "draws", "functions"] if q != "calibration"]
)
def test_a_calibration_with_another_noise_is_not_used(question, how):
    net = small_net(noise=1.0).fit(X, Y).calibrate(X, Y, how).set_params(noise=2.0)
    with pytest.raises(ValueError, match=r"calibrated, 1\.0\. Got 2\.0\. Call `calibrate` again"):
        QUESTIONS[question](net)


@pytest.mark.parametrize("question", ["mean", "score"])
def test_questions_about_the_mean_need_no_calibration(question):
    net = small_net(noise=1.0).fit(X, Y)
    before = QUESTIONS[question](net)
    net.calibrate(X, Y).set_params(noise=None)
    assert_array_equal(QUESTIONS[question](net), before)


def test_the_noise_may_be_set_back_or_calibrated_again():
    net = small_net(noise=1.0).fit(X, Y).calibrate(X, Y)
    before = net.predict(X, return_std=True)[1]
    assert_array_equal(
        net.set_params(noise=2).set_params(noise=1).predict(X, return_std=True)[1], before
    )
    net.set_params(noise=2.0).calibrate(X, Y)
    expected = small_net(noise=2.0).fit(X, Y).calibrate(X, Y)
    assert_array_equal(net.predict(X, return_std=True), expected.predict(X, return_std=True))


def test_the_noise_that_was_calibrated_is_saved_with_the_weights():
    file = io.BytesIO()
    small_net(noise=1.0).fit(X, Y).calibrate(X, Y).save_params(f_params=file)
    other = small_net(noise=2.0, module__n_features=3).initialize()
    file.seek(0)
    other.load_params(f_params=file)
    with pytest.raises(ValueError, match=r"calibrated, 1\.0\. Got 2\.0"):
        other.predict(X, return_std=True)


@pytest.mark.parametrize("question", OF_THE_NOISE)
@pytest.mark.parametrize("noise", [None, 50.0, "estimate"])
def test_a_heteroscedastic_net_takes_no_other_noise(noise, question):
    net = small_net(noise="heteroscedastic").fit(X, Y).set_params(noise=noise)
    match = rf"`noise` must be 'heteroscedastic' .* Got {noise!r}\. Call `fit`"
    with pytest.raises(ValueError, match=match):
        QUESTIONS[question](net)


@pytest.mark.parametrize("noise", [None, 1.0, "estimate"])
def test_another_net_is_not_heteroscedastic(noise):
    net = small_net(noise=noise).fit(X, Y).set_params(noise="heteroscedastic")
    with pytest.raises(ValueError, match=r"fitted with `noise='heteroscedastic'`.* Call `fit`"):
        net.predict(X, return_std=True)


# -- intervals without noise --------------------------------------------------------------------

OF_NEW_Y = {
    "predict_interval": lambda net: net.predict_interval(X),
    "predict_quantiles": lambda net: net.predict_quantiles(X, 0.5),
    "predict_cdf": lambda net: net.predict_cdf(X, Y),
    "interval": lambda net: net.predict_distribution(X).interval(),
    "ppf": lambda net: net.predict_distribution(X).ppf(0.5),
    "cdf": lambda net: net.predict_distribution(X).cdf(Y),
}


@pytest.mark.parametrize("ask", OF_NEW_Y.values(), ids=OF_NEW_Y)
def test_an_interval_without_noise_says_that_it_is_one_of_the_mean(ask):
    net = small_net().fit(X, Y)
    match = r"`noise` must be given for .* Got None, .*mean.* Give `noise='estimate'`, or call `cal"
    with pytest.warns(UserWarning, match=match) as record:
        ask(net)
    assert record[0].filename == __file__


def test_it_says_so_once_for_each_fit():
    net = small_net()
    for _ in range(2):
        net.fit(X, Y)
        with pytest.warns(UserWarning, match="Got None") as record:
            answers = [ask(net) for ask in OF_NEW_Y.values()]
        assert len(answers) == len(OF_NEW_Y)
        assert len(record) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: small_net(noise=1.0).fit(X, Y),
        lambda: small_net(noise=0.0).fit(X, Y),
        lambda: small_net(noise="heteroscedastic").fit(X, Y),
        lambda: small_net(module__dropout=0.3).fit(X, Y).calibrate(X, Y),
        lambda: small_net(module__dropout=0.3).fit(X, Y).calibrate(X, Y, "conformal"),
    ],
    ids=["number", "zero on purpose", "heteroscedastic", "calibrated", "conformal"],
)
def test_an_interval_with_noise_or_a_calibration_says_nothing(make):
    net = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.predict_interval(X), net.predict_cdf(X, Y)


def test_the_spread_of_the_mean_says_nothing():
    net = small_net().fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.predict(X, return_std=True), net.sample_y(X), net.predict_distribution(X).std()


@pytest.mark.filterwarnings(SHOWN)
def test_saying_so_changes_no_attribute():
    net = small_net().fit(X, Y)
    before, keys = pickle.dumps(net), set(vars(net))
    net.predict_interval(X)
    assert set(vars(net)) == keys
    assert pickle.dumps(net) == before


@pytest.mark.filterwarnings(SHOWN)
def test_threads_may_ask_at_once():
    net, answers = small_net().fit(X, Y), []
    threads = [
        threading.Thread(target=lambda: answers.append(net.predict_interval(X))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers[1:]:
        assert_array_equal(answer, answers[0])


def test_a_clone_knows_nothing_of_what_was_trained():
    net = clone(small_net(module=MLP).fit(X, Y).set_params(module__hidden=(4,), dropout=0.3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.fit(X, Y).predict(X)
