"""A skorch net that is a scikit-learn estimator and draws with its dropout on."""

import math
from copy import deepcopy
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch
from skorch.callbacks import InputShapeSetter
from skorch.utils import is_dataset
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, IterableDataset

from sk_mcdropout.nn import set_rates
from sk_mcdropout.sampling import alone_with, find_prediction, first_rows

from ._endings import check_finite, is_early_stop, state_of
from ._parameters import check_components
from ._refit import forget_warnings, note, warn_of_changes
from ._saving import SavedNet
from ._settable import SettableNet
from ._showing import ShownWithDropouts
from ._training import TrainingNet
from ._validation import (
    cast,
    check_flat,
    check_is_data,
    check_params,
    is_plain_table,
    is_table,
    pair_of_a_dataset,
    rows_of_slices,
    seed_from,
    shape_said,
    takes_columns,
    validate_table,
    validated,
)

__all__ = ["MCDropoutNet"]


class FalseOnceMade:
    """An attribute that is False in a net that was made; before, skorch must find none."""

    def __get__(self, net: Any, owner: type) -> bool:
        if net is not None and "module" not in vars(net):
            raise AttributeError("the net was not made yet")
        return False


class MCDropoutNet(ShownWithDropouts, SettableNet, SavedNet, TrainingNet):
    """Base class: fit like scikit-learn, train like skorch, and draw with dropout on."""

    _parameter_constraints: dict[str, Any] = {}

    # skorch sets these in ``__init__``, where scikit-learn allows nothing but parameters.
    initialized_: Any = FalseOnceMade()
    history_: Any = None
    virtual_params_: Any = MappingProxyType({})

    _interrupted = False  # by the user, in the last training

    dropout: float | None  # declared in the signatures of subclasses

    def __init__(self, module, *, criterion, **params):
        # Once ``initialized_`` exists, as it does on the class, skorch takes a module that is set
        # for a trained one; so the two parameters that may be modules are set past it.
        self._refuse_mistyped(params)
        super().__init__(None, criterion=None, **params)
        self.__dict__.update(module=module, criterion=criterion)
        for name in ("initialized_", "history_", "virtual_params_"):
            if not self.__dict__[name]:
                del self.__dict__[name]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # -- fitting ---------------------------------------------------------------------------

    def fit(self, X, y, sample_weight=None, **fit_params):
        """Fit the net.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features) or (n_samples, ...)
            Training inputs; sparse ones are made dense batch by batch. Whatever else skorch takes
            (a ``Dataset``, tensors, a mapping or list of inputs) is passed on to it.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets; None if X is a ``Dataset``.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, at least 0; only their ratios matter. They weigh the loss, the
            scale of y and the rows that noise is estimated from. X and y must be arrays or tensors.
        **fit_params : dict
            Passed to the module's ``forward`` and to ``train_split``, as in skorch.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        start = not (self.warm_start and self.initialized_)
        return self._fit(X, y, start, "fit", fit_params, sample_weight)

    def partial_fit(self, X, y=None, classes=None, sample_weight=None, **fit_params):
        """Continue the training.

        Parameters
        ----------
        X, y, sample_weight, **fit_params
            As for `fit`.
        classes : None
            Present as in skorch; there are none.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        if classes is not None:
            raise ValueError(
                f"`classes` must be None for a {type(self).__name__}. Got a "
                f"{type(classes).__name__}. Pass weights by name, as `sample_weight=...`."
            )
        start = not self.initialized_
        return self._fit(X, y, start, "partial_fit", fit_params, sample_weight)

    def _fit(
        self,
        X: Any,
        y: Any,
        start: bool,
        method: str,
        fit_params: dict[str, Any],
        sample_weight: Any = None,
    ) -> Self:
        before = self.__dict__.copy()
        weights = self._weights_of_the_user() if start else {}
        with alone_with(self):
            try:
                X, y = self._prepare(X, y, start, fit_params, sample_weight)
            except BaseException:
                self._put_back(before)
                raise
        with self._seeded(1, len(self.history or [])):
            super().partial_fit(X, y, _routing_method=method, **fit_params)
        try:
            self._finish(X, y, start, fit_params)
        except ValueError:
            if start:
                self._put_back(before, weights)
            raise
        return self

    def _finish(self, X: Any, y: Any, start: bool, fit_params: dict[str, Any]) -> None:
        """Do what is to be done after the steps of a training."""
        with alone_with(*self._torch_modules()):
            self._set_training(False)
        check_finite(self.module_, self.history, self.callbacks_)
        self._after_training(X, y, start, fit_params)

    def _prepare(
        self, X: Any, y: Any, start: bool, fit_params: dict[str, Any], sample_weight: Any
    ) -> tuple[Any, Any]:
        """Check all that is given, and make the net; return the data to train on."""
        check_components(self)
        self._check_params()
        self.__dict__.pop("_made_anew", None)
        if start:
            for name in ("history_", "n_features_in_", "feature_names_in_"):
                self.__dict__.pop(name, None)
        X, y = self._check_training_data(X, y, start, sample_weight)
        self._choose_length(X)
        if start:
            self._learn_widths(X)
            self.initialize()
        X = cast(X, self.module_)
        self._before_training(X, y, start, fit_params)
        forget_warnings(self)
        self._interrupted = False
        return X, y

    def _weights_of_the_user(self) -> dict[str, Tensor]:
        """Return copies of the weights of a module of the user that is itself trained."""
        if not isinstance(self.module, nn.Module) or self.dropout is not None:
            return {}
        return {name: part.clone() for name, part in state_of(self.module) if not is_lazy(part)}

    def _put_back(self, before: dict[str, Any], weights: dict[str, Tensor] | None = None) -> None:
        """Put the estimator back into the state before a fit that failed."""
        self.__dict__.clear()
        self.__dict__.update(before)
        if weights:
            for name, part in state_of(self.module):
                if name in weights:
                    part.copy_(weights[name])

    def fit_loop(self, X, y=None, epochs=None, **params):
        """Train as skorch does; note whether an interrupt by the user has cut the training.

        Parameters
        ----------
        X, y, **params
            As for `fit`.
        epochs : int, optional
            Number of epochs; by default ``max_epochs``.

        Returns
        -------
        self : object
            The estimator.
        """
        gradients = torch.is_grad_enabled()
        try:
            return super().fit_loop(X, y, self._n_epochs_of(X, epochs), **params)
        except KeyboardInterrupt as interrupt:
            torch.set_grad_enabled(gradients)  # which torch's steps switch off for a while
            self._interrupted = not is_early_stop(interrupt)
            raise  # to skorch, which keeps what was trained so far

    def _before_training(self, X: Any, y: Any, start: bool, fit_params: dict[str, Any]) -> None:
        """Do what needs the data and the untrained net."""
        if is_dataset(X):
            self._make_lazy_weights(lambda: self._inputs(X))
        elif not self._is_made_in_training():
            self._check_net(next(iter(self._inputs(X, y))), y)

    def _after_training(self, X: Any, y: Any, start: bool, fit_params: dict[str, Any]) -> None:
        """Do what needs the trained net."""
        self._forget_plans("prediction")  # what was told by untrained weights, as by zeros
        batch = next(iter(self._inputs(X, y)))
        if is_dataset(X) or self._is_made_in_training():
            self._check_net(batch, y)
        with shape_said(batch):
            self.dropout_sites_ = self._draws_of(lambda: [batch]).sites(checked=True)

    def _is_made_in_training(self) -> bool:
        """Return whether a callback of skorch's makes the module for the shape of X."""
        return any(isinstance(part, InputShapeSetter) for _, part in self.callbacks_)

    def initialize_virtual_params(self):
        """Do the first step of `initialize`, also of one that a mix-in replaced: draw the seed."""
        super().initialize_virtual_params()
        self.seed_ = seed_from(self.random_state)
        note(self, "random_state")
        self.__dict__.pop("_made_anew", None)

    def _initialize_module(self, reason=None):
        with self._seeded(0):
            super()._initialize_module(reason)
        self._set_dropout()
        note(self, "dropout")
        self._forget_plans()
        return self

    def _initialize_criterion(self, reason=None):
        with self._seeded(0, 1):
            return super()._initialize_criterion(reason)

    def initialize_module(self):
        """Make the module: fill in the widths of the default net and the rate of dropout."""
        module, params = self.module, self.get_params_for("module")
        if self._is_default_net():
            params = {**self._widths(), **params}
            if "n_features" not in params:
                raise ValueError(
                    "the default net must be told its widths by the data. Got no data yet. Call "
                    "`fit`, or give `module__n_features` and `module__n_outputs`."
                )
        self.module_ = self.initialized_instance(module, params)
        self._set_dropout()
        self._normalize_inputs()
        return self

    def _set_dropout(self) -> None:
        """Set the rate of dropout, of a copy if the module is the user's own."""
        if self.dropout is None:
            return
        if self.module_ is self.module:
            with self._current_init_context("module"):
                self.module_ = deepcopy(self.module)
        set_rates(self.module_, self.dropout)

    def _learn_widths(self, X: Any) -> None:
        """Learn from a tensor or a dataset what the default net must know; refuse images."""
        if self.normalize_X is True and isinstance(X, Tensor) and X.ndim == 2:
            self.n_features_in_ = X.shape[1]
        if not self._is_default_net():
            return
        shape = np.shape(X) if isinstance(X, np.ndarray | Tensor) else ()
        if isinstance(X, Tensor) and X.ndim > 1:
            self.n_features_in_ = X.shape[1]
        elif is_dataset(X) and not isinstance(X, IterableDataset):
            x, y = pair_of_a_dataset(X)
            self.n_features_in_, self.n_outputs_ = math.prod(np.shape(x)), math.prod(np.shape(y))
            shape = (len(X), *np.shape(x))
        check_flat(shape, self.get_params_for("module"))

    def _widths(self) -> dict[str, int]:
        if not hasattr(self, "n_features_in_"):
            return {}
        return {"n_features": self.n_features_in_, "n_outputs": getattr(self, "n_outputs_", 1)}

    def _check_params(self, *names: str) -> None:
        params = {name: getattr(self, name) for name in names or self._parameter_constraints}
        if type(self).initialize_module is not MCDropoutNet.initialize_module:
            params.pop("module", None)  # a subclass may take what it likes, such as a name
        check_params(self._parameter_constraints, params, type(self).__name__)

    def _check_net(self, batch: Any, y: Any) -> None:
        """Refuse a net that cannot be drawn, and an output that does not go with y."""
        x = first_rows(batch, 2)
        draws = self._draws_of(lambda: [batch])
        with draws.evaluating(), shape_said(x):
            draws.check()
            outputs = {
                n_rows: self._alone().evaluation_step((first_rows(x, n_rows), None), training=False)
                for n_rows in (2, 3)  # what has another length in both is no prediction
            }
            prediction = find_prediction(outputs, self.output)
            self.__dict__["_plans"]["prediction"] = prediction
            self._check_output(prediction(outputs[2]), y)

    def _check_output(self, output: Any, y: Any) -> None:
        """Refuse an output that does not go with y."""

    # -- tables ------------------------------------------------------------------------------

    def _check_training_data(
        self, X: Any, y: Any, start: bool, sample_weight: Any = None
    ) -> tuple[Any, Any]:
        if y is None and (is_dataset(X) or self.iterator_train is not DataLoader):
            return X, y
        check_is_data(X, y)
        X, y = rows_of_slices(X), rows_of_slices(y)
        if not is_table(X) or takes_columns(self.module, X):
            self.check_data(X, y)
            return X, y
        reset = start or not hasattr(self, "n_features_in_")
        return validate_table(self, X, y, reset)

    def _check_table(self, X: Any, reset: bool = False) -> np.ndarray:
        if not reset and is_plain_table(X) and not hasattr(self, "feature_names_in_"):
            if X.shape[1] == getattr(self, "n_features_in_", X.shape[1]):
                return X
        return validated(self, X, reset=reset)

    def _check_inputs(self, X: Any) -> Any:
        """Validate a table and cast it, or a tensor; leave alone what else is skorch's."""
        self.check_is_fitted()
        check_is_data(X)
        X = rows_of_slices(X)
        warn_of_changes(self)
        if is_table(X) and not takes_columns(self.module, X):
            X = self._check_table(X)
        if getattr(X, "ndim", 2) > 2 and self._is_default_net():
            check_flat(X.shape, self.get_params_for("module"))
        return cast(X, self.module_)
