"""How a fitted classifier is asked for its probabilities and for how unsure it is.

Scorers and displays ask in the same way, and of any classifier: what follows from the mean
probabilities needs no more than ``predict_proba``.
"""

import numpy as np
from scipy.special import entr

from ._predictions import last_step

__all__ = ["UNCERTAINTIES", "predict_class_uncertainty", "predict_probabilities"]

# What the uncertainties are called in a picture. Two of those of `ClassUncertainty` are greater
# where a classifier is surer, and are turned round.
UNCERTAINTIES = {
    "predictive_entropy": "predictive entropy (nats)",
    "expected_entropy": "expected entropy (nats)",
    "mutual_information": "mutual information (nats)",
    "variation_ratio": "variation ratio",
    "margin": "1 - margin",
    "max_probability": "1 - max. probability",
}


def predict_probabilities(estimator, X):
    """Predict the probabilities of the classes, and return the classes of the columns, too.

    Parameters
    ----------
    estimator : object
        A fitted classifier with ``predict_proba``, alone or inside of pipelines and searches.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
        Inputs.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)
        The probabilities.
    classes : ndarray of shape (n_classes,)
        The classes, as the classifier has them in ``classes_``.

    Raises
    ------
    TypeError
        If the classifier predicts no probabilities.

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> from sk_mcdropout.metrics import predict_probabilities
    >>> predict_probabilities(DummyClassifier().fit([[0], [0]], ["no", "yes"]), [[1]])
    (array([[0.5, 0.5]]), array(['no', 'yes'], dtype='<U3'))
    """
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"`estimator` must have `predict_proba`. Got {type(estimator).__name__}. Give a "
            "classifier that predicts probabilities, such as an MCDropoutClassifier."
        )
    return np.asarray(estimator.predict_proba(X)), estimator.classes_


def predict_class_uncertainty(estimator, X, uncertainty="predictive_entropy"):
    """Predict how unsure a classifier is of the class of each row.

    Parameters
    ----------
    estimator : object
        A fitted classifier, alone or at the end of pipelines and searches. It is asked by
        ``predict_uncertainty``; without that, by ``predict_proba``.
    X : array-like of shape (n_samples, n_features) or (n_samples, ...)
        Inputs.
    uncertainty : str, default="predictive_entropy"
        A field of `ClassUncertainty`: ``"predictive_entropy"``, ``"expected_entropy"``,
        ``"mutual_information"``, ``"variation_ratio"``, ``"margin"`` or ``"max_probability"``. Of
        a classifier without draws, the first and the last two.

    Returns
    -------
    ndarray of shape (n_samples,)
        The uncertainty, greater where the classifier is less sure: 1 less the margin or the highest
        probability.

    Raises
    ------
    ValueError
        If there is no such uncertainty.
    TypeError
        If the classifier does not predict it.

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> from sk_mcdropout.metrics import predict_class_uncertainty
    >>> model = DummyClassifier().fit([[0], [0]], ["no", "yes"])
    >>> predict_class_uncertainty(model, [[1], [2]], "max_probability")
    array([0.5, 0.5])
    """
    if uncertainty not in UNCERTAINTIES:
        raise ValueError(
            f"`uncertainty` must be one of {list(UNCERTAINTIES)}. Got {uncertainty!r}."
        )
    model, X_of_model = last_step(estimator, X)
    if hasattr(model, "predict_uncertainty"):
        values = np.asarray(getattr(model.predict_uncertainty(X_of_model), uncertainty))
    elif uncertainty in _OF_PROBABILITIES:
        proba, _ = predict_probabilities(model, X_of_model)
        values = _OF_PROBABILITIES[uncertainty](proba)
    else:
        raise TypeError(
            f"`estimator` must have `predict_uncertainty` for {uncertainty!r}. Got "
            f"{type(model).__name__}, which has no draws. Give an MCDropoutClassifier, or ask for "
            f"one of {list(_OF_PROBABILITIES)}."
        )
    return 1 - values if UNCERTAINTIES[uncertainty].startswith("1 - ") else values


def _margin(proba):
    ordered = np.sort(proba, axis=1)
    return ordered[:, -1] - ordered[:, :-1].max(axis=1, initial=0)


_OF_PROBABILITIES = {
    "predictive_entropy": lambda proba: entr(proba).sum(axis=1),
    "margin": _margin,
    "max_probability": lambda proba: proba.max(axis=1),
}
