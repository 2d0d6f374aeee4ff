"""Classification with probabilities, and their uncertainty, from dropout."""

import numpy as np
import torch
from sklearn.utils.validation import check_consistent_length
from skorch import NeuralNetClassifier
from skorch.callbacks import EpochScoring
from skorch.dataset import get_len
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sk_mcdropout.nn import MLP
from sk_mcdropout.predictive import (
    CategoricalDistribution,
    CategoricalLikelihood,
    GivenOutputs,
    likeliest_temperature,
)
from sk_mcdropout.sampling import alone_with

from ._batches import BatchDataset
from ._classification import ClassificationNet, codes_of, labels_of
from ._predict_classes import PredictiveClassifierMixin
from ._regressor import MCDropoutRegressor
from ._validation import StrOptions
from ._weights import check_weights

__all__ = ["MCDropoutClassifier"]

_SHARED = (
    *("module", "n_draws", "masks", "dropout", "extra_dropout", "output", "variational_rnn"),
    *("normalize_X", "random_state", "lr", "lr_schedule", "max_epochs", "batch_size"),
    *("early_stopping", "validation_fraction", "n_iter_no_change", "verbose"),
)


class MCDropoutClassifier(PredictiveClassifierMixin, ClassificationNet, NeuralNetClassifier):
    """Neural-network classifier with Monte-Carlo dropout uncertainty.

    A skorch ``NeuralNetClassifier``: its parameters, callbacks and methods keep their meaning.
    At prediction dropout stays on: each draw is one thinned network; the mean of the probabilities
    over the draws is the prediction, and how far the draws disagree its uncertainty [1]_.

    Parameters
    ----------
    module : class or instance of torch.nn.Module, default=MLP
        The net, with an output for each class: logits, or with ``NLLLoss`` probabilities. The
        default one learns its widths from the data; its other arguments are given as
        ``module__hidden``, ``module__activation``, ``module__embedding`` and ``module__dropout``,
        a rate, ``"concrete"`` for rates that are learned or ``"masksembles"`` for four masks that
        stay the same: see `MLP`.
    n_draws : int, default=100
        Number of Monte-Carlo draws.
    masks : {"iid", "qmc"}, default='iid'
        What the draws of a unit have to do with each other: nothing, or that as many of them keep
        it as its rate says, for a smaller error of the mean; see `sample`.
    dropout : float, default=None
        Rate of every dropout module of the net, in [0, 1]; None leaves their rates alone. With
        a module instance the net is then a copy of it.
    extra_dropout : tuple of class, default=()
        Modules of your own that draw random numbers by hand in training mode; see `sample`.
    output : str, int or callable, default=None
        The prediction among the outputs of a net that has several: a key or the name of an
        attribute, an index, or a function of the output. By default it is the first tensor of
        floats with one row for each row of X.
    variational_rnn : bool, default=False
        Whether recurrent nets are trained and drawn with one mask for all steps; see `sample`.
    normalize_X : bool or "auto", default='auto'
        Whether the net begins with a layer that scales the columns of a table, by the medians and
        quartiles of the rows to train on: `RobustScale`. ``"auto"`` does so for the default net.
    classes : array-like of shape (n_classes,), default=None
        The classes, in the order of the columns of the probabilities; None takes those of y in
        `fit`, sorted, as scikit-learn's scores of probabilities take the columns. The target of a
        ``Dataset`` must be their codes, from 0.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, as in scikit-learn: they multiply those of the rows.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, of dropout and shuffling in training, and of the draws.
        None takes torch's global generator. Seeded fits in threads run one after the other.
    criterion : class or instance of torch.nn.Module, default=CrossEntropyLoss
        The loss. It tells what the outputs of the net are: ``CrossEntropyLoss`` takes logits,
        ``NLLLoss`` probabilities, as in skorch; for others say so by `predict_nonlinearity`.
    optimizer : class, default=AdamW
        The optimizer. Unless you give ``optimizer__weight_decay``, that of the default net is 1,000
        by the number of rows, 3 at most: few rows would make a net surer than it has reason to be.
    lr : float, default=0.005
        Learning rate.
    lr_schedule : {"cosine"} or None, default='cosine'
        How the learning rate changes: along half a cosine to 0, or not at all.
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
        Splits off rows for validation, such as ``skorch.dataset.ValidSplit(5, stratified=True)``;
        None trains on all rows.
    verbose : int, default=0
        1 shows a bar of the epochs of a training, and of the rows of a prediction that takes more
        than a second; above 1 the training shows skorch's table of the epochs.
    callbacks : list of skorch.callbacks.Callback, or None, default=None
        Callbacks of skorch. They see the codes of the classes.
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
        Makes probabilities of the outputs of a draw; ``"auto"`` does what the criterion asks for.
    use_caching : bool or "auto", default='auto'
        Whether scoring callbacks use the outputs of the validation pass, as in skorch.
    torch_load_kwargs : dict, default=None
        Passed to ``torch.load`` by `load_params`, as in skorch.
    **kwargs : dict
        Arguments of parts of the net, as in skorch: ``module__...``, ``optimizer__...``,
        ``criterion__...``, ``iterator_train__...``, ``callbacks__...``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes, in the order of the columns of the probabilities.
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
    temperature_ : float
        What `calibrate` found.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had string names.

    See Also
    --------
    MCDropoutRegressor : The same for numbers.

    References
    ----------
    .. [1] Gal & Ghahramani (2016), "Dropout as a Bayesian approximation: representing model
       uncertainty in deep learning", ICML.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_mcdropout import MCDropoutClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MCDropoutClassifier(max_epochs=10, random_state=0).fit(X, y)
    >>> proba, std = net.predict_proba(X[:5], return_std=True)
    >>> proba.shape, net.predict_uncertainty(X[:5]).mutual_information.shape
    ((5, 3), (5,))
    """

    _parameter_constraints = {
        **{name: MCDropoutRegressor._parameter_constraints[name] for name in _SHARED},
        "classes": ["array-like", None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        module=MLP,
        *,
        n_draws=100,
        masks="iid",
        dropout=None,
        extra_dropout=(),
        output=None,
        variational_rnn=False,
        normalize_X="auto",
        classes=None,
        class_weight=None,
        random_state=None,
        criterion=nn.CrossEntropyLoss,
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
            classes=classes,
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
        self.dropout = dropout
        self.extra_dropout = extra_dropout
        self.output = output
        self.variational_rnn = variational_rnn
        self.normalize_X = normalize_X
        self.class_weight = class_weight
        self.random_state = random_state
        self.lr_schedule = lr_schedule
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.iterator_train__shuffle = iterator_train__shuffle

    @property
    def _default_callbacks(self):
        scoring = EpochScoring(_accuracy_of_codes, name="valid_acc", lower_is_better=False)
        usual = super()._default_callbacks
        return [(name, scoring if name == "valid_acc" else part) for name, part in usual]

    def _before_training(self, X, y, start, fit_params):
        self.__dict__["_known_nonlinearity"] = self._nonlinearity()  # before any step
        super()._before_training(X, y, start, fit_params)

    # -- predicting --------------------------------------------------------------------------

    def _predictive(self, X):
        """Return the predictive distribution of inputs that were not validated yet."""
        with alone_with(self):  # not while a fit in another thread makes the net anew
            X, likelihood = self._check_inputs(X), self._likelihood()
            if "forward_iter" in vars(self):
                # A scoring callback of skorch has put the outputs of the validation pass here.
                outputs = GivenOutputs(map(self._prediction, self.forward_iter(X)))
                return CategoricalDistribution(outputs, likelihood)
            return CategoricalDistribution(self._draws(X), likelihood)

    def _likelihood(self):
        return CategoricalLikelihood(self._nonlinearity(), getattr(self, "temperature_", 1.0))

    def calibrate(self, X, y, sample_weight=None):
        """Recalibrate the probabilities on held-out data, by a temperature.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Inputs held out of training.
        y : array-like of shape (n_samples,)
            Their classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, at least 0.

        Returns
        -------
        self : object
            The estimator, with ``temperature_``, under which the classes are likeliest: it divides
            the logits of each draw. An earlier one is replaced; `fit` and `partial_fit` remove it.

        Raises
        ------
        ValueError
            If y has other classes than those of `fit`.
        """
        codes = codes_of(labels_of(y), self.classes_)
        weights = None if sample_weight is None else check_weights(sample_weight, len(codes))
        X = self._check_inputs(X)
        check_consistent_length(np.zeros(get_len(X)), codes)
        plain = CategoricalLikelihood(self._nonlinearity())
        self.temperature_ = likeliest_temperature(self._draws(X), plain, codes, weights)
        return self


def _accuracy_of_codes(net: MCDropoutClassifier, X: object, y: Tensor) -> float:
    """Compute the share of rows whose likeliest class has the code that is their target."""
    return float(np.mean(net.predict_proba(X).argmax(axis=1) == np.asarray(y)))
