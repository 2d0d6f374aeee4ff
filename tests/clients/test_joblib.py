"""joblib's processes and files; tests/estimators/test_files.py has more ways to save a net."""

import joblib
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from questions import small_classifier, small_net


def test_processes_predict_blocks_of_rows(X, y):
    net = small_net(noise=1.0).fit(X, y)
    predict = joblib.delayed(net.predict)
    blocks = joblib.Parallel(n_jobs=2)(predict(X[k : k + 20], return_std=True) for k in (0, 20, 40))
    assert_allclose(np.hstack(blocks), net.predict(X, return_std=True), rtol=1e-6)


def test_a_net_whose_file_is_mapped_into_memory_predicts_and_trains_on(X, labels, tmp_path):
    net = small_classifier().fit(X, labels)
    joblib.dump(net, tmp_path / "net.joblib")
    loaded = joblib.load(tmp_path / "net.joblib", mmap_mode="r")
    assert_array_equal(loaded.draws(X), net.draws(X))
    loaded.partial_fit(X, labels)
    assert_array_equal(loaded.predict_proba(X), net.partial_fit(X, labels).predict_proba(X))
