"""Our estimators saved and loaded by mlflow.sklearn and mlflow.pyfunc."""

import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from questions import small_classifier, small_net
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_mcdropout import TRUSTED_TYPES

reason = 'mlflow is not installed: pip install "sk-mcdropout[clients]"'
sklearn_flavour = pytest.importorskip("mlflow.sklearn", reason=reason)
pyfunc = pytest.importorskip("mlflow.pyfunc", reason=reason)
MlflowException = pytest.importorskip("mlflow.exceptions").MlflowException
pytest.importorskip("skops.io", reason=reason)

# Without requirements it would load the model in another process to find them out.
NO_SEARCH = {"pip_requirements": ["sk-mcdropout"]}


@pytest.fixture
def frame(X):
    return pd.DataFrame(X, columns=list("abc"))


@pytest.fixture
def model(frame, y):
    return make_pipeline(StandardScaler(), small_net()).fit(frame, y)


@pytest.mark.parametrize("how", ["skops", "cloudpickle"])
def test_a_loaded_pipeline_predicts_the_same_means_and_stds(model, frame, tmp_path, how):
    trusted = {"skops_trusted_types": TRUSTED_TYPES} if how == "skops" else {}
    sklearn_flavour.save_model(
        model, tmp_path / "net", serialization_format=how, **trusted, **NO_SEARCH
    )
    expected = model.predict(frame, return_std=True)
    loaded = sklearn_flavour.load_model(str(tmp_path / "net"))
    assert_array_equal(loaded.predict(frame, return_std=True), expected)
    function = pyfunc.load_model(str(tmp_path / "net"))
    assert_array_equal(function.predict(frame), expected[0])


def test_a_function_of_mlflow_may_be_the_probabilities(X, labels, tmp_path):
    net = small_classifier().fit(X, labels)
    sklearn_flavour.save_model(
        *(net, tmp_path / "net"),
        pyfunc_predict_fn="predict_proba",
        skops_trusted_types=TRUSTED_TYPES,
        **NO_SEARCH,
    )
    function = pyfunc.load_model(str(tmp_path / "net"))
    assert_array_equal(function.predict(X), net.predict_proba(X))


class MeanAndStd(pyfunc.PythonModel):
    """A function of mlflow that answers a table of means and standard deviations."""

    def __init__(self, model):
        self.model = model

    def predict(self, context, model_input):
        mean, std = self.model.predict(model_input, return_std=True)
        return pd.DataFrame({"mean": mean, "std": std})


def test_a_function_of_mlflow_may_be_a_table_of_means_and_stds(model, frame, tmp_path):
    pyfunc.save_model(tmp_path / "net", python_model=MeanAndStd(model), **NO_SEARCH)
    table = pyfunc.load_model(str(tmp_path / "net")).predict(frame)
    assert_array_equal(table.to_numpy().T, model.predict(frame, return_std=True))


def test_a_net_is_not_saved_before_its_types_are_trusted(model, tmp_path):
    with pytest.raises(MlflowException, match=r"'skops_trusted_types'.*MCDropoutRegressor"):
        sklearn_flavour.save_model(
            model, tmp_path / "net", serialization_format="skops", **NO_SEARCH
        )
