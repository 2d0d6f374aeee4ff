"""Regression with a mean and a standard deviation from dropout."""

import numpy as np
import torch
from skorch import NeuralNetRegressor
from skorch.dataset import get_len
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sk_mcdropout.nn import (
    MLP,
)
from sk_mcdropout.predictive import (
    CALIBRATIONS,
    GaussianLikelihood,
    GivenOutputs,
    NormalDistribution,
    PredictiveDistribution,
    likeliest_noise,
)
from sk_mcdropout.sampling import MASK_LAWS, alone_with, warn

from ._batches import BatchDataset
from ._held_out import Interrupted, check_folds, draws_by_folds, draws_on
from ._noiseless import DistributionOfMean, NormalOfMean
from ._predict import PredictiveRegressorMixin
from ._refit import check_calibrated_noise
from ._regression import RegressionNet
from ._validation import Integral, Interval, Real, StrOptions, check_params, refuse_lazy
from ._weights import (
    check_weights,
)

__all__ = ["MCDropoutRegressor"]


class MCDropoutRegressor(PredictiveRegressorMixin, RegressionNet, NeuralNetRegressor):
    """Neural-network regressor with Monte-Carlo dropout uncertainty.

    A skorch ``NeuralNetRegressor``: its parameters, callbacks and methods keep their meaning.
    At prediction dropout stays on: each draw is one thinned network, a function of X; the mean
    over the draws is the prediction and their standard deviation its uncertainty [1]_.

    Parameters
    ----------
    module : class or instance of torch.nn.Module, default=MLP
        The net. The default one learns its widths from the data; its other arguments are given
        as ``module__hidden``, ``module__activation``, ``module__embedding`` and
        ``module__dropout``, a rate, ``"concrete"`` for rates that are learned or
        ``"masksembles"`` for four masks that stay the same: see `MLP`. The regularisation of a
        `ConcreteDropout` in any net is added to the loss in training.
    n_draws : int, default=100
        Number of Monte-Carlo draws.
    masks : {"iid", "qmc"}, default='iid'
        What the draws of a unit have to do with each other: nothing, or that as many of them keep
        it as its rate says, for a smaller error of the mean; see `sample`.
    strategy : {"auto", "moments"}, default='auto'
        How the standard deviation is found: by draws, or with ``"moments"`` without them, by one
        pass that takes the numbers in the net for normal ones; see `mean_and_std` for the nets that
        it takes. The predictive distribution is then a normal, and there are no draws,
        observations and covariances. The noise is still estimated by draws.
    dropout : float, default=None
        Rate of every dropout module of the net, in [0, 1]; None leaves their rates alone. With
        a module instance the net is then a copy of it.
    extra_dropout : tuple of class, default=()
        Modules of your own that draw random numbers by hand in training mode; see `sample`.
    output : str, int or callable, default=None
        The prediction among the outputs of a net that has several: a key or the name of an
        attribute, an index, or a function of the output. By default it is the first tensor of
        floats with one row for each row of X. Losses of torch that compare it with y, and any
        ``criterion`` where `output` is given, get the prediction; else the criterion gets all.
    variational_rnn : bool, default=False
        Whether recurrent nets are trained and drawn with one mask for all steps; see `sample`.
    noise : float, {"estimate", "heteroscedastic"} or None, default=None
        Standard deviation of the noise of the observations, in the units of y. ``"estimate"``
        finds, for each target, the one under which rows held out of training are likeliest:
        those of ``train_split``; without it those of five folds, for which five more nets are
        trained after the net was trained on all rows. ``"heteroscedastic"`` lets the net tell
        the noise of each row: the default net grows its outputs by itself, a net of your own
        answers the means of all targets and then their log variances on its last axis; it is
        trained by `BetaNLLLoss`, with ``criterion__beta``, unless you give a criterion. On small
        data it tells too little noise, and must be calibrated, by `calibrate`. None has no noise:
        the standard deviation is the spread of the draws, and intervals are those of the mean.
    normalize_X : bool or "auto", default='auto'
        Whether the net begins with a layer that scales the columns of a table, by the medians and
        quartiles of the rows to train on: `RobustScale`. ``"auto"`` does so for the default net,
        True for one of your own, too. What an ``IterableDataset`` holds is not known, and not
        scaled.
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
        The optimizer. Unless you give ``optimizer__weight_decay``, the weights of the default net
        decay the faster the noisier the target looks in training: not at all where the net learns
        it well, up to 3 times the learning rate a step where it does not. Its fused step is used
        where torch has one, unless ``optimizer__fused``, ``optimizer__foreach``,
        ``optimizer__capturable`` or ``optimizer__differentiable`` is given.
    lr : float, default=0.005
        Learning rate.
    lr_schedule : {"cosine"} or None, default='cosine'
        How the learning rate changes. ``"cosine"`` lets it fall to 0 along half a cosine, step by
        step, over the epochs of a training [2]_; None leaves it constant. A ``LRScheduler`` among
        `callbacks` takes its place.
    max_epochs : int or "auto", default='auto'
        Number of passes through the training data. ``"auto"`` makes about 4,000 steps, in 10
        epochs at least and 1,000 at most; 10 epochs where the number of rows is not known.
    batch_size : int or "auto", default='auto'
        Number of rows in a step of training, -1 for all. ``"auto"`` takes an eighth of the rows,
        to a power of two, 32 at least and 256 at most. Predictions of tables choose their own.
    early_stopping : bool, default=False
        Whether to hold out some rows, to stop when their loss no longer improves, and to take the
        weights that were best for them.
    validation_fraction : float, default=0.1
        Share of the rows that `early_stopping` holds out, where there is no ``train_split``.
    n_iter_no_change : int or "auto", default='auto'
        Number of epochs without improvement after which `early_stopping` stops. ``"auto"`` waits
        for a tenth of `max_epochs`, 10 at least.
    iterator_train__shuffle : bool, default=True
        Whether to shuffle the rows in each epoch.
    dataset : class, default=BatchDataset
        The dataset made of X and y. The default one fetches whole batches.
    train_split : callable, default=None
        Splits off rows for validation, such as ``skorch.dataset.ValidSplit(5)``; None trains on
        all rows.
    verbose : int, default=0
        1 shows a bar of the epochs of a training, and of the rows of a prediction that takes more
        than a second; above 1 the training shows skorch's table of the epochs.
    callbacks : list of skorch.callbacks.Callback, or None, default=None
        Callbacks of skorch, such as ``[skorch.callbacks.EarlyStopping()]``, which needs a
        ``train_split``.
    device : str or torch.device, default='cpu'
        Where the net is trained and predicts.
    warm_start : bool, default=False
        Whether `fit` continues the training of a net that is there.
    compile : bool, default=False
        Whether to compile the net by ``torch.compile``.
    iterator_train : class, default=DataLoader
        The iterator over batches for training.
    iterator_valid : class, default=DataLoader
        The iterator over batches for validation and prediction.
    predict_nonlinearity : callable, "auto" or None, default='auto'
        Applied to the output of each draw, as in skorch.
    use_caching : bool or "auto", default='auto'
        Whether scoring callbacks use the outputs of the validation pass, as in skorch.
    torch_load_kwargs : dict, default=None
        Passed to ``torch.load`` by `load_params`, as in skorch.
    **kwargs : dict
        Arguments of parts of the net, as in skorch: ``module__...``, ``optimizer__...``,
        ``criterion__...``, ``iterator_train__...``, ``callbacks__...``.

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
    max_epochs_, batch_size_ : int
        The number of epochs and of rows in a step, chosen or given.
    learned_rates_ : dict
        The rate of each `ConcreteDropout`, by its path.
    y_mean_, y_scale_ : ndarray of shape () or (n_targets,)
        Mean and scale of the target in training.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had string names.
    n_outputs_ : int
        Number of targets seen in `fit`, where y had one or two axes.
    noise_std_ : ndarray of shape () or (n_targets,)
        Estimated noise, in the units of y, with ``noise="estimate"``.
    heteroscedastic_ : bool
        Whether the net was made to tell its noise.
    calibration_ : Calibration
        What `calibrate` learned.

    References
    ----------
    .. [1] Gal & Ghahramani (2016), "Dropout as a Bayesian approximation: representing model
       uncertainty in deep learning", ICML.
    .. [2] Loshchilov & Hutter (2017), "SGDR: stochastic gradient descent with warm restarts",
       ICLR.

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
        "masks": [StrOptions(set(MASK_LAWS))],
        "strategy": [StrOptions({"auto", "moments"})],
        "dropout": [Interval(Real, 0, 1, closed="both"), None],
        "extra_dropout": [tuple],
        "output": [str, Integral, callable, None],
        "variational_rnn": ["boolean"],
        "noise": [
            Interval(Real, 0, None, closed="left"),
            StrOptions({"estimate", "heteroscedastic"}),
            None,
        ],
        "normalize_X": ["boolean", StrOptions({"auto"})],
        "normalize_y": ["boolean"],
        "random_state": ["random_state"],
        "lr": [Interval(Real, 0, None, closed="left"), Tensor],
        "lr_schedule": [StrOptions({"cosine"}), None],
        "max_epochs": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, -1, None, closed="left"), StrOptions({"auto"})],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        module=MLP,
        *,
        n_draws=100,
        masks="iid",
        strategy="auto",
        dropout=None,
        extra_dropout=(),
        output=None,
        variational_rnn=False,
        noise=None,
        normalize_X="auto",
        normalize_y=True,
        random_state=None,
        criterion=nn.MSELoss,
        optimizer=torch.optim.AdamW,
        lr=0.005,
        lr_schedule="cosine",
        max_epochs="auto",
        batch_size="auto",
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change="auto",
        iterator_train__shuffle=True,
        dataset=BatchDataset,
        train_split=None,
        verbose=0,
        callbacks=None,
        device="cpu",
        warm_start=False,
        compile=False,
        iterator_train=DataLoader,
        iterator_valid=DataLoader,
        predict_nonlinearity="auto",
        use_caching="auto",
        torch_load_kwargs=None,
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
            callbacks=callbacks,
            device=device,
            warm_start=warm_start,
            compile=compile,
            iterator_train=iterator_train,
            iterator_valid=iterator_valid,
            predict_nonlinearity=predict_nonlinearity,
            use_caching=use_caching,
            torch_load_kwargs=torch_load_kwargs,
            **kwargs,
        )
        self.n_draws = n_draws
        self.masks = masks
        self.strategy = strategy
        self.dropout = dropout
        self.extra_dropout = extra_dropout
        self.output = output
        self.variational_rnn = variational_rnn
        self.noise = noise
        self.normalize_X = normalize_X
        self.normalize_y = normalize_y
        self.random_state = random_state
        self.lr_schedule = lr_schedule
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.iterator_train__shuffle = iterator_train__shuffle

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    # -- the noise ---------------------------------------------------------------------------

    def _before_training(self, X, y, start, fit_params):
        super()._before_training(X, y, start, fit_params)
        if self._needs_folds() and start:
            check_folds(X, y)

    def _after_training(self, X, y, start, fit_params):
        super()._after_training(X, y, start, fit_params)
        if self.noise == "estimate":
            self._estimate_noise(X, y, start, fit_params)

    def _estimate_noise(self, X, y, start, fit_params):
        """Estimate the noise from rows held out of training, where there are any."""
        held_out = self.__dict__.get("_held_out")
        if held_out is not None:
            self.__dict__.pop("noise_std_", None)
            self.noise_std_ = likeliest_noise(*draws_on(self, held_out))
        elif self._needs_folds() and start:
            weights = self.__dict__.get("_weights")
            try:
                self.noise_std_ = likeliest_noise(*draws_by_folds(self, X, y, fit_params, weights))
            except Interrupted as interrupt:
                warn(
                    "the noise must be estimated by nets that were trained to the end. Got an "
                    f"interrupt in {interrupt}, so that there is a net without a noise. Call "
                    "`fit` again, or set `noise` to a number."
                )
        elif self._needs_folds() and hasattr(self, "noise_std_"):
            warn(
                "the noise must be estimated for the net as it is. Got more training, and the "
                f"`noise_std_` {self.noise_std_.tolist()!r} of the first `fit`. Start anew by "
                "`fit` without `warm_start`, or give `train_split`, whose rows tell it each time."
            )

    def _needs_folds(self):
        return self.noise == "estimate" and not self._splits_rows()

    def get_split_datasets(self, X, y=None, **fit_params):
        """Split the data as skorch does, and note what is held out until the fit has ended."""
        train, valid = super().get_split_datasets(X, y, **fit_params)
        if self.noise == "estimate":
            self.__dict__["_held_out"] = valid
        return train, valid

    def _noise_std(self):
        """Return the noise that is the same for all rows, in the units of y."""
        self._check_params("noise")
        if getattr(self, "heteroscedastic_", False):
            if self.noise != "heteroscedastic":
                raise ValueError(
                    "`noise` must be 'heteroscedastic' for a net that was trained to tell its "
                    f"noise. Got {self.noise!r}. Call `fit` for another noise."
                )
            return np.zeros(())
        if self.noise is None:
            return np.zeros(())
        if self.noise == "estimate" and hasattr(self, "noise_std_"):
            return self.noise_std_
        if isinstance(self.noise, str):
            raise ValueError(
                f"the net must be fitted with `noise={self.noise!r}` to have this noise. Got a net "
                "that was fitted without it, or without rows to estimate it from. Call `fit`, and "
                "look at `train_split`."
            )
        return np.asarray(self.noise, dtype=np.float64)

    # -- predicting --------------------------------------------------------------------------

    def _predictive(self, X, noise=True, spread=True):
        """Return the predictive distribution of inputs that were not validated yet."""
        with alone_with(self):  # not while a fit in another thread makes the net anew
            return self._predictive_of(self._check_inputs(X), noise, spread)

    def _predictive_of(self, X, noise, spread):
        likelihood = self._likelihood(noise)
        if "forward_iter" in vars(self):
            # A scoring callback of skorch has put the outputs of the validation pass here.
            outputs = GivenOutputs(map(self._prediction, self.forward_iter(X)))
            return PredictiveDistribution(outputs, likelihood)
        calibration = getattr(self, "calibration_", None)
        parts = self._draws(X), likelihood, calibration
        of_y, of_mean = self._kinds_of_distribution()
        if noise and self.noise is None and calibration is None:
            return of_mean(self, *parts)
        if spread:
            check_calibrated_noise(self)
        return of_y(*parts)

    def _kinds_of_distribution(self):
        self._check_params("strategy")
        if self.strategy == "moments":
            return NormalDistribution, NormalOfMean
        return PredictiveDistribution, DistributionOfMean

    def _likelihood(self, noise=True):
        return GaussianLikelihood(
            loc=getattr(self, "y_mean_", np.zeros(())),
            scale=getattr(self, "y_scale_", np.ones(())),
            noise_std=self._noise_std() if noise else np.zeros(()),
            heteroscedastic=getattr(self, "heteroscedastic_", False),
            nonlinearity=self._nonlinearity(),
            n_targets=getattr(self, "n_outputs_", None),
        )

    def _nonlinearity(self):
        """Return what skorch's ``predict_nonlinearity`` asks for, None for nothing."""
        chosen = self.predict_nonlinearity
        if chosen == "auto":
            return torch.sigmoid if isinstance(self.criterion_, nn.BCEWithLogitsLoss) else None
        return chosen

    def calibrate(self, X, y, method="std", sample_weight=None):
        """Recalibrate the predictive distribution on held-out data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs held out of training.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets.
        method : {"std", "parts", "isotonic", "conformal"}, default="std"
            ``"std"`` multiplies the deviations from the mean by one factor for each target, the
            likeliest one for normal errors; everything that is predicted but the mean changes.
            ``"parts"`` does so with two factors, one for the spread of the draws and one for the
            noise, as far as the rows tell them apart (see `PartsCalibration`).
            ``"isotonic"`` maps the predicted probabilities to those observed (Kuleshov et al.,
            2018, "Accurate uncertainties for deep learning using calibrated regression").
            ``"conformal"`` places quantiles and intervals by the held-out errors in units of the
            standard deviation; intervals cover new rows like the held-out ones with at least the
            probability asked for (Lei et al., 2018, section 5.2). These two change quantiles,
            intervals and `predict_cdf`; the standard deviations stay.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, at least 0; a row of weight 2 counts as two rows.

        Returns
        -------
        self : object
            The estimator, with ``calibration_``. An earlier calibration is replaced; `fit`
            and `partial_fit` remove it.

        Raises
        ------
        ValueError
            If a predicted standard deviation is 0; for ``"isotonic"``, without noise; for
            ``"parts"``, without noise or without dropout.
        """
        check_params({"method": [StrOptions(set(CALIBRATIONS))]}, {"method": method}, "calibrate")
        refuse_lazy(y=y)
        X, likelihood = self._check_inputs(X), self._likelihood()
        if method == "isotonic" and not likelihood.has_noise:
            raise ValueError(
                "`noise` must be given for isotonic calibration, since no draw lies beyond the "
                f"draws. Got {self.noise!r}. Set `noise`, or use `method='conformal'`."
            )
        if sample_weight is not None:
            sample_weight = check_weights(sample_weight, get_len(X))
        uncalibrated = self._kinds_of_distribution()[0](self._draws(X), likelihood)
        self.calibration_ = CALIBRATIONS[method].fit(uncalibrated, y, sample_weight)
        self._calibrated_noise = self.noise
        return self
