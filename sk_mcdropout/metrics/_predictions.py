"""How to get to the model inside of searches and pipelines, whose own methods hide its answers."""

from sklearn.pipeline import Pipeline

__all__ = ["last_step"]


def last_step(estimator, X=None):
    """Answer the model at the end of searches and pipelines, and X as it reaches the model."""
    if hasattr(estimator, "best_estimator_"):
        return last_step(estimator.best_estimator_, X)
    if not isinstance(estimator, Pipeline):
        return estimator, X
    if X is not None and len(estimator) > 1:
        X = estimator[:-1].transform(X)
    return last_step(estimator[-1], X)
