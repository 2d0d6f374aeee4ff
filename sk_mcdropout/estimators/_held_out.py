"""Draws for rows that the net was not trained on, as the noise is estimated from."""

import numpy as np
import torch
from sklearn.base import clone
from sklearn.model_selection import KFold
from skorch.dataset import get_len
from skorch.utils import is_dataset, multi_indexing
from torch.utils.data import Subset

from ._batches import evenly_spaced
from ._together import Task, fit_together
from ._weights import weights_of

__all__ = ["MOST_ROWS", "Interrupted", "check_folds", "draws_by_folds", "draws_on"]

_N_FOLDS = 5
MOST_ROWS = 10_000  # tell a standard deviation to 1 %


class Interrupted(Exception):
    """The user has interrupted a training; the message says which."""


def draws_on(net, dataset):
    """Draw for the rows of a dataset.

    Parameters
    ----------
    net : MCDropoutRegressor
        The trained estimator.
    dataset : Dataset
        Rows and targets that it was not trained on; 10,000 of them are used at most.

    Returns
    -------
    y : Tensor of shape (n_rows,) or (n_rows, n_targets)
        The targets.
    draws : Tensor of shape (n_draws, *y.shape)
        The draws, in the units of y.
    weights : Tensor of shape (n_rows,) or None
        The weights of the rows, if the net was fitted with some.
    """
    rows = evenly_spaced(len(dataset), MOST_ROWS)
    some = Subset(dataset, rows.tolist())
    y = torch.cat([torch.as_tensor(y) for _, y in net._alone().get_iterator(some, training=False)])
    draws = torch.from_numpy(net.draws(some))
    weights = weights_of(some)
    return y.reshape(draws.shape[1:]), draws, None if weights is None else torch.tensor(weights)


def check_folds(X, y):
    """Refuse data that cannot be cut into folds."""
    if is_dataset(X) or not isinstance(y, np.ndarray):
        raise ValueError(
            "`noise='estimate'` must have rows held out of training. Got a "
            f"{type(X).__name__}, which is not cut into folds, and no `train_split`. Give "
            "`train_split`, such as `skorch.dataset.ValidSplit(5)`."
        )


def draws_by_folds(net, X, y, fit_params, sample_weight=None):
    """Draw for each row with a net that was trained on the other rows, in five folds.

    Parameters
    ----------
    net : MCDropoutRegressor
        The estimator; copies of it are trained.
    X : array, tensor, frame, or mapping or list of these
        The inputs.
    y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        The targets.
    fit_params : dict
        Passed to ``fit``.
    sample_weight : ndarray of shape (n_samples,), optional
        Weights of the rows; those of weight 0 are left out of the folds.

    Returns
    -------
    y : Tensor of shape (n_rows,) or (n_rows, n_targets)
        The targets in the order of the draws, 10,000 at most.
    draws : Tensor of shape (n_draws, *y.shape)
        The draws, in the units of y.
    weights : Tensor of shape (n_rows,) or None
        The weights of the rows, if there are some.

    Raises
    ------
    Interrupted
        If the training of the estimator, or that of a fold, was interrupted by the user.
    """
    if net._interrupted:
        raise Interrupted("the training")
    folds = KFold(_N_FOLDS, shuffle=True, random_state=net.seed_ % 2**32)
    counted = np.arange(get_len(X)) if sample_weight is None else np.flatnonzero(sample_weight)
    splits = [tuple(counted[part] for part in parts) for parts in folds.split(counted)]
    params = {"noise": None, "verbose": 0}
    learners = [
        clone(net).set_params(**params, random_state=_seed(net, fold)) for fold in range(_N_FOLDS)
    ]
    given = [None if sample_weight is None else sample_weight[others] for others, _ in splits]
    tasks = [
        Task(learner, multi_indexing(X, others), y[others], some)
        for learner, (others, _), some in zip(learners, splits, given, strict=True)
    ]
    for error in fit_together(tasks, None, bool(net.verbose), first_error=True, **fit_params):
        if error is not None:
            raise error
    targets, draws, weights = [], [], []
    for fold, (learner, (_, rows)) in enumerate(zip(learners, splits, strict=True)):
        if learner._interrupted:
            raise Interrupted(f"the training of fold {fold + 1} of {_N_FOLDS}")
        some = rows[: MOST_ROWS // _N_FOLDS]
        draws.append(torch.from_numpy(learner.draws(multi_indexing(X, some))))
        targets.append(torch.from_numpy(y[some]).reshape(draws[-1].shape[1:]))
        if sample_weight is not None:
            weights.append(torch.from_numpy(sample_weight[some]))
    return torch.cat(targets), torch.cat(draws, dim=1), torch.cat(weights) if weights else None


def _seed(net, fold):
    if net.random_state is None:
        return None
    return int(np.random.SeedSequence([net.seed_, 2, fold]).generate_state(1)[0]) % 2**31
