"""Predictions as a frame of pandas with named columns."""

from typing import Any

import numpy as np

__all__ = ["class_columns", "frame_of", "regression_columns"]


def frame_of(columns: dict[str, np.ndarray], X: Any) -> Any:
    """Return columns as a frame, with the index of X where X is a frame of pandas."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "`predict_table` requires pandas. Install it, such as by `pip install pandas`, or ask "
            "for arrays, by the other methods."
        ) from error
    return pd.DataFrame(columns, index=X.index if isinstance(X, pd.DataFrame) else None)


def regression_columns(
    distribution: Any, quantiles: np.ndarray, coverages: np.ndarray
) -> dict[str, np.ndarray]:
    """Return mean, std, its parts, ends of intervals and quantiles of each target, by names."""
    mean, epistemic, aleatoric = distribution.decompose()
    columns = {
        "mean": mean,
        "std": np.hypot(epistemic, aleatoric),
        "epistemic": epistemic,
        "aleatoric": aleatoric,
    }
    if coverages.size:
        lower, upper = distribution.interval(coverages)
        for k, coverage in enumerate(coverages.tolist()):
            columns[f"lower_{coverage}"], columns[f"upper_{coverage}"] = (
                lower[..., k],
                upper[..., k],
            )
    if quantiles.size:
        levels = [f"quantile_{level}" for level in quantiles.tolist()]
        columns |= zip(levels, np.moveaxis(distribution.ppf(quantiles), -1, 0), strict=True)
    return {
        "_".join([*(f"y{k}" for k in target), name]): values[:, *target]
        for target in np.ndindex(mean.shape[1:])
        for name, values in columns.items()
    }


def class_columns(distribution: Any, classes: np.ndarray) -> dict[str, np.ndarray]:
    """Return labels, probabilities, their std and the uncertainties, by their names."""
    proba, std = distribution.mean_and_std()
    return {
        "label": classes[proba.argmax(axis=1)],
        **{f"proba_{name}": proba[:, k] for k, name in enumerate(classes.tolist())},
        **{f"std_{name}": std[:, k] for k, name in enumerate(classes.tolist())},
        **distribution.uncertainty()._asdict(),
    }
