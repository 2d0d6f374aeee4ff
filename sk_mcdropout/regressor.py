"""Regression with a mean and a standard deviation from dropout."""

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_parameter_constraints
from skorch import NeuralNetRegressor
from skorch.utils import _identity
from torch import Tensor, nn

from ._base import MCDropoutMixin
from ._data import BatchDataset, first_output
from ._target import WithTargetScale, align, mean_and_scale, standardise, target_array
from .modules import MLP
from .summary import cov_over_draws, mean_and_std_over_draws, mean_over_draws

__all__ = ["MCDropoutRegressor"]

# Losses that compare the output with y number by number, so that their shapes must agree.
_ELEMENTWISE = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)


class MCDropoutRegressor(MCDropoutMixin, NeuralNetRegressor):
    """Neural-net regressor whose dropout tells how sure it is.

    A skorch ``NeuralNetRegressor``: its parameters, callbacks and methods keep their meaning.
    At prediction dropout stays on: each draw is one thinned network, a function of X; the mean
    over the draws is the prediction and their standard deviation its uncertainty [1]_.

    Parameters
    ----------
    module : class or instance of torch.nn.Module, default=MLP
        The net. The default one learns its widths from the data; its other arguments are given
        as ``module__hidden``, ``module__activation`` and ``module__dropout``.
    n_draws : int, default=100
        Number of Monte-Carlo draws.
    dropout : float, default=None
        Rate of every dropout module of the net, in [0, 1]; None leaves their rates alone. With
        a module instance the net is then a copy of it.
    extra_dropout : tuple of class, default=()
        Modules of your own that draw random numbers by hand in training mode; see `sample`.
    normalize_y : bool, default=True
        Whether to train on a target of mean 0 and standard deviation 1. Answers are in the
        units of y; losses in ``history`` are those of training. The target of a ``Dataset`` is
        taken as it is.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, of dropout and shuffling in training, and of the draws.
        None takes torch's global generator. Seeded fits in threads run one after the other.
    criterion : class or instance of torch.nn.Module, default=MSELoss
        The loss.
    optimizer : class, default=AdamW
        The optimizer; its fused step is used where torch has one, unless ``optimizer__fused``,
        ``optimizer__foreach``, ``optimizer__capturable`` or ``optimizer__differentiable`` is
        given.
    lr : float, default=0.005
        Learning rate.
    max_epochs : int, default=200
        Number of passes through the training data.
    batch_size : int, default=128
        Number of rows in a step of training, -1 for all. Predictions of tables choose their own.
    iterator_train__shuffle : bool, default=True
        Whether to shuffle the rows in each epoch.
    dataset : class, default=BatchDataset
        The dataset made of X and y. The default one fetches whole batches.
    train_split : callable, default=None
        Splits off rows for validation, such as ``skorch.dataset.ValidSplit(5)``; None trains on
        all rows.
    verbose : int, default=0
        Above 0, training and prediction show their progress.
    **kwargs : dict
        Everything else that skorch's ``NeuralNetRegressor`` takes, such as ``callbacks``,
        ``device``, ``compile``, ``warm_start``, ``module__...`` and ``optimizer__...``.

    Attributes
    ----------
    module_ : torch.nn.Module
        The trained net.
    history_ : skorch.history.History
        Losses and times of the training.
    dropout_sites_ : DropoutSites, a list of DropoutSite
        The dropouts that are on while drawing; printed, a table of them.
    seed_ : int
        Seed of the draws.
    y_mean_, y_scale_ : ndarray of shape () or (n_targets,)
        Mean and scale of the target in training.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X had string names.
    n_outputs_ : int
        Number of targets seen in `fit`.

    References
    ----------
    .. [1] Gal & Ghahramani (2016), "Dropout as a Bayesian approximation: representing model
       uncertainty in deep learning", ICML.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_mcdropout import MCDropoutRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MCDropoutRegressor(max_epochs=10, random_state=0).fit(X, y)
    >>> mean, std = net.predict(X[:5], return_std=True)
    >>> mean.shape, std.shape
    ((5,), (5,))
    """

    _parameter_constraints = {
        "module": [callable, nn.Module],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="both"), None],
        "extra_dropout": [tuple],
        "normalize_y": ["boolean"],
        "random_state": ["random_state"],
        "lr": [Interval(Real, 0, None, closed="left"), Tensor],
        "max_epochs": [Interval(Integral, 0, None, closed="left")],
        "batch_size": [Interval(Integral, -1, None, closed="left")],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        module=MLP,
        *,
        n_draws=100,
        dropout=None,
        extra_dropout=(),
        normalize_y=True,
        random_state=None,
        criterion=nn.MSELoss,
        optimizer=torch.optim.AdamW,
        lr=0.005,
        max_epochs=200,
        batch_size=128,
        iterator_train__shuffle=True,
        dataset=BatchDataset,
        train_split=None,
        verbose=0,
        **kwargs,
    ):
        super().__init__(
            module,
            criterion=criterion,
            optimizer=optimizer,
            lr=lr,
            max_epochs=max_epochs,
            batch_size=batch_size,
            dataset=dataset,
            train_split=train_split,
            verbose=verbose,
            **kwargs,
        )
        self.n_draws = n_draws
        self.dropout = dropout
        self.extra_dropout = extra_dropout
        self.normalize_y = normalize_y
        self.random_state = random_state
        self.iterator_train__shuffle = iterator_train__shuffle

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    # -- training on a standardised target -------------------------------------------------

    def _check_training_data(self, X, y, start):
        X, y = super()._check_training_data(X, y, start)
        target = target_array(y)
        if start or not hasattr(self, "y_mean_"):
            self.n_outputs_ = 1 if target is None or target.ndim == 1 else target.shape[1]
            self.y_mean_, self.y_scale_ = mean_and_scale(target if self.normalize_y else None)
        return X, y if target is None else target

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Answer the loss of a batch, on the standardised target.

        Parameters
        ----------
        y_pred : Tensor
            Output of the net.
        y_true : Tensor
            Target in the units of y.
        X : Tensor
            Inputs, not used.
        training : bool
            Whether the batch is one of training.

        Returns
        -------
        Tensor of shape ()
            The loss.
        """
        if isinstance(y_true, Tensor):
            if hasattr(self, "y_mean_"):
                y_true = standardise(y_true, self.y_mean_, self.y_scale_)
            if isinstance(y_pred, Tensor):
                y_true = align(y_true, y_pred, strict=self._compares_numbers())
        return super().get_loss(y_pred, y_true, X=X, training=training)

    def _compares_numbers(self):
        return isinstance(getattr(self.criterion_, "_orig_mod", self.criterion_), _ELEMENTWISE)

    def _check_output(self, output, y):
        if isinstance(y, np.ndarray) and isinstance(output, Tensor):
            some = torch.empty(len(output), *y.shape[1:])
            align(some, output.cpu(), strict=self._compares_numbers())

    # -- prediction ------------------------------------------------------------------------

    def predict(self, X, return_std=False, return_cov=False):
        """Predict the mean of the draws, and their spread.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.
        return_std : bool, default=False
            Whether to return the standard deviation of the draws (``ddof=1``).
        return_cov : bool, default=False
            Whether to return the covariance of the draws between the rows.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Mean of the draws, in the units of y.
        y_std : ndarray of shape (n_samples,) or (n_samples, n_targets), optional
            Standard deviation of the draws, in the units of y.
        y_cov : ndarray of shape (n_samples, n_samples) or (n_samples, n_samples, n_targets), \
                optional
            Covariance of the draws, in the squared units of y.

        Raises
        ------
        RuntimeError
            If both are asked for.
        NotFittedError
            Before `fit`, `initialize` or `load_params`.
        """
        if return_std and return_cov:
            raise RuntimeError("At most one of return_std or return_cov can be requested.")
        X = self._check_inputs(X)
        if return_std or return_cov:
            self._check_spread()
        if return_cov:
            draws = torch.from_numpy(self._all_draws(X))
            return mean_over_draws(draws).numpy(), cov_over_draws(draws).numpy()
        if return_std:
            return self._summarised(X, mean_and_std_over_draws, spread=True)
        if "forward_iter" in vars(self):
            # A scoring callback of skorch has put the outputs of the validation pass here.
            outputs = (first_output(output).detach() for output in self.forward_iter(X))
            return np.concatenate([self._in_units(output[None])[0].numpy() for output in outputs])
        return self._summarised(X, lambda draws: (mean_over_draws(draws),), spread=False)[0]

    def draws(self, X):
        """Draw predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs, as for `fit`.

        Returns
        -------
        ndarray of shape (n_draws, n_samples) or (n_draws, n_samples, n_targets)
            The draws whose mean `predict` answers, in the units of y. Draw ``t`` is one function
            of X.
        """
        return self._all_draws(self._check_inputs(X))

    def sample_y(self, X, n_samples=1, random_state=0):
        """Draw functions and evaluate them at X, as ``GaussianProcessRegressor.sample_y`` does.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_features) or (n_samples_X, ...)
            Inputs, as for `fit`.
        n_samples : int, default=1
            Number of functions.
        random_state : int, RandomState instance or None, default=0
            Seed of the functions.

        Returns
        -------
        ndarray of shape (n_samples_X, n_samples) or (n_samples_X, n_targets, n_samples)
            Their values, in the units of y.
        """
        count = {"n_samples": self._parameter_constraints["n_draws"]}
        validate_parameter_constraints(count, {"n_samples": n_samples}, "sample_y")
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        draws = self._all_draws(self._check_inputs(X), n_draws=n_samples, seed=seed)
        return np.moveaxis(draws, 0, -1)

    @property
    def predict_proba(self):
        """Not there: a regressor predicts no probabilities."""
        raise AttributeError(f"{type(self).__name__} has no 'predict_proba'. Use `predict`.")

    def _check_spread(self):
        if self.n_draws == 1:
            raise ValueError(
                "`n_draws` must be at least 2 for a spread. Got 1. Ask for more draws."
            )

    def _summarised(self, X, summarise, spread):
        """Summarise the draws into the mean and maybe the spread, in the units of y."""
        self._check_params("n_draws")
        how = (self.n_draws, self.seed_, spread)
        if self._get_predict_nonlinearity() is not _identity:
            answers = self._over_draws(X, lambda draws: summarise(self._in_units(draws)), *how)
        else:  # the units of y are a linear map away, so that they can wait for the summary
            mean, *spreads = self._over_draws(X, summarise, *how)
            scale = torch.as_tensor(getattr(self, "y_scale_", 1.0)).to(mean)
            answers = (self._in_units(mean[None])[0], *(_squeezed(std * scale) for std in spreads))
        return tuple(answer.cpu().numpy() for answer in answers)

    def _all_draws(self, X, n_draws=None, seed=None):
        self._check_params("n_draws")
        n_draws = self.n_draws if n_draws is None else n_draws
        seed = self.seed_ if seed is None else seed
        (draws,) = self._over_draws(
            X, lambda draws: (self._in_units(draws).cpu(),), n_draws, seed, axis=1
        )
        return draws.numpy()

    def _in_units(self, draws):
        """Bring draws to the units and the shape of y, in double precision."""
        draws = draws.double()
        mean, scale = getattr(self, "y_mean_", 0.0), getattr(self, "y_scale_", 1.0)
        draws = torch.as_tensor(mean).to(draws) + torch.as_tensor(scale).to(draws) * draws
        nonlinearity = self._get_predict_nonlinearity()
        if nonlinearity is not _identity:
            draws = torch.stack([nonlinearity(draw) for draw in draws])
        return draws.squeeze(2) if draws.ndim == 3 else draws

    def _get_module(self, name, msg):
        module = super()._get_module(name, msg)
        return WithTargetScale(self, module) if name == "module_" else module


def _squeezed(answer):
    """Answer one target as (n_samples,), as scikit-learn does."""
    return answer.squeeze(1) if answer.ndim == 2 else answer
