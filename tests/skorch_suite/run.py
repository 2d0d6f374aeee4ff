"""Run skorch's own tests of its regressor and classifier on ours.

skorch installs its tests with it. Of these, the ones that build a regressor, in the test
or in one of its fixtures, and the file of those of the classifier run here with our classes in the
place of skorch's, and with skorch's defaults, which the tests count on: what skorch promises of
its estimators holds for ours, except for ``DEVIATIONS``.

``python tests/skorch_suite/run.py`` takes the options of pytest; after ``--skorch`` as the
first of them the same tests run on skorch's own class, to compare.
"""

import contextlib
import inspect
import os
import sys
import tempfile
from pathlib import Path

import pytest
import skorch

# Each test of skorch that we mean to fail, and why.
DEVIATIONS = {
    "test_regressor.py::TestNeuralNetRegressor::test_not_init_raises[predict_proba]": (
        "A regressor shows no predict_proba, as scikit-learn has it."
    ),
    "test_regressor.py::TestNeuralNetRegressor::test_predict_predict_proba": (
        "A regressor shows no predict_proba, as scikit-learn has it."
    ),
    "test_regressor.py::TestNeuralNetRegressor::test_dimension_mismatch_warning": (
        "A y of one axis trains row by row against an output of one column, so nothing warns."
    ),
    "callbacks/test_scoring.py::TestEpochScoring::test_net_input_is_scoring_input[scoring_cls0]": (
        "The test wants exactly skorch's Dataset; our default dataset is a subclass."
    ),
    "callbacks/test_scoring.py::TestEpochScoring::test_net_input_is_scoring_input[scoring_cls1]": (
        "The test wants exactly skorch's Dataset; our default dataset is a subclass."
    ),
    "callbacks/test_scoring.py::TestEpochScoring"
    "::test_with_caching_get_iterator_not_called[False-5]": (
        "The test counts iterators; a table is predicted from without one."
    ),
    "callbacks/test_training.py::TestCheckpoint"
    "::test_default_without_validation_raises_meaningful_error": (
        "The net refuses this before training, by a ValueError that says what to write."
    ),
    **{
        f"test_classifier.py::TestNeuralNet::{name}": (
            "The nets of these tests have 2 outputs for up to 10 classes, which ours refuses."
        )
        for name in (
            "test_non_binary_classes_set_by_default",
            "test_classes_data_torch_tensor",
            "test_classes_with_gaps",
            "test_classes_are_set_with_tensordataset_explicit_y",
            "test_classes_are_set_with_tensordataset_implicit_y",
        )
    },
    **{
        f"test_dataset.py::TestNetWithoutY::{name}[{name.replace('test_', '')}{k}]": (
            "The nets of these classifiers give no probabilities, and so losses that are not "
            "finite, which ours refuses."
        )
        for name in ("test_net_1d_custom_loader", "test_net_2d_custom_loader")
        for k in (0, 2)
    },
    "test_classifier.py::TestNeuralNet::test_pass_classes_explicitly_overrides": (
        "The test names classes that are not those of y, which ours refuses."
    ),
    **{
        f"test_classifier.py::TestNeuralNet::test_pass_empty_classes_raises[{name}]": (
            "The net refuses no classes in fit, by a ValueError."
        )
        for name in ("classes0", "classes1")
    },
    "test_classifier.py::TestNeuralNet::test_error_when_classes_could_not_be_inferred": (
        "The test has train_split=False; ours takes a callable or None, as skorch says."
    ),
}

# skorch's tests count on its defaults; these are the ones that ours are not.
OURS = ("criterion", "optimizer", "lr", "max_epochs", "batch_size", "train_split", "verbose")


def skorch_defaults(kind):
    """Return the defaults of a class of skorch's where ours has others."""
    signatures = [inspect.signature(part).parameters for part in (kind, skorch.NeuralNet)]
    known = {name: p.default for part in reversed(signatures) for name, p in part.items()}
    return {name: known[name] for name in OURS} | {"iterator_train__shuffle": False}


SKORCH_TESTS = Path(skorch.__file__).parent / "tests"
# These do not know the regressor, and need packages that we do not.
IGNORED = ["llm", "test_hf.py"]


def is_of_an_estimator(item):
    """Tell whether a test is of the classifier, or it or a fixture imports the regressor."""
    if item.path.name == "test_classifier.py":
        return "Binary" not in item.nodeid
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    functions = [item.function, *(defs[-1].func for defs in fixtures)]
    return any("import NeuralNetRegressor" in inspect.getsource(f) for f in functions)


def pytest_collection_modifyitems(config, items):
    """Keep the tests of the estimators that are ours, too."""
    others = [item for item in items if not is_of_an_estimator(item)]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


class Swap:
    """A plugin that puts our classes where skorch's tests look for theirs."""

    def pytest_configure(self):
        """Swap the classes, under skorch's names since the tests compare whole messages."""
        from sk_mcdropout import MCDropoutClassifier, MCDropoutRegressor

        of_classes = skorch_defaults(skorch.NeuralNetClassifier)
        of_numbers = skorch_defaults(skorch.NeuralNetRegressor) | {"normalize_y": False}

        class NeuralNetRegressor(MCDropoutRegressor):
            def __init__(self, module, **params):
                super().__init__(module, **{**of_numbers, **params})

        class NeuralNetClassifier(MCDropoutClassifier):
            def __init__(self, module, **params):
                super().__init__(module, **{**of_classes, **params})

        for kind in (NeuralNetRegressor, NeuralNetClassifier):
            kind.__module__, kind.__qualname__ = "skorch", kind.__name__
            setattr(skorch, kind.__name__, kind)

    def pytest_itemcollected(self, item):
        """Expect the deviations to fail."""
        if item.nodeid in DEVIATIONS:
            item.add_marker(pytest.mark.xfail(reason=DEVIATIONS[item.nodeid], strict=True))


def main(options):
    """Run pytest with ``options`` in a folder to throw away, since some tests write files."""
    plugins = [sys.modules[__name__], Swap()]
    if options[:1] == ["--skorch"]:
        del options[0], plugins[1]
    ours = ["-c", os.devnull, "--rootdir", str(SKORCH_TESTS), "-p", "no:cacheprovider"]
    ours += ["--disable-warnings", *(f"--ignore={SKORCH_TESTS / name}" for name in IGNORED)]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        return pytest.main([*ours, *options, str(SKORCH_TESTS)], plugins=plugins)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
