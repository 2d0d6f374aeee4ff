"""What turns a skorch net into a scikit-learn estimator that draws.

`MCDropoutMixin` stands left of a skorch net class. It gives the net scikit-learn's contract
(parameters, validation, seeds); how it draws is in `_draws`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.validation import check_consistent_length, validate_data
from skorch.utils import is_dataset
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from sk_mcdropout.nn import MLP, regularised_parameters, set_rates
from sk_mcdropout.sampling import DropoutSites, borrowed_generators, first_rows

from ._draws import DrawsMixin
from ._optimizer import clear_gradients, set_mode, takes_fused_step, without_decay
from ._validation import TABLE, cast, first_output, is_plain_table, is_table, takes_columns

__all__ = ["MCDropoutMixin"]


class MCDropoutMixin(DrawsMixin):
    """Fit like scikit-learn, train like skorch, and draw with dropout on."""

    # skorch sets these in ``__init__``, where scikit-learn allows nothing but parameters.
    initialized_ = False
    history_ = None
    virtual_params_: Any = MappingProxyType({})

    def __init__(self, module, *, criterion, **params):
        # Once ``initialized_`` exists, as it does on the class, skorch takes a module that is set
        # for a trained one; so the two parameters that may be modules are set past it.
        super().__init__(None, criterion=None, **params)
        vars(self).update(module=module, criterion=criterion)
        for name in ("initialized_", "history_", "virtual_params_"):
            if not vars(self)[name]:
                del vars(self)[name]

    def _get_param_names(self):
        return [name for name in super()._get_param_names() if not name.startswith("_")]

    # -- fitting ---------------------------------------------------------------------------

    def fit(self, X, y, **fit_params):
        """Fit the net.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Training inputs; whatever else skorch takes (a ``Dataset``, tensors, a mapping or
            list of inputs) is passed on to it.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets; None if X is a ``Dataset``.
        **fit_params : dict
            Passed to the module's ``forward`` and to ``train_split``, as in skorch.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        start = not (self.warm_start and self.initialized_)
        return self._fit(X, y, start, "fit", fit_params)

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        """Train on without starting anew.

        Parameters
        ----------
        X, y, **fit_params
            As for `fit`.
        classes : None
            Ignored, present as in skorch.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return self._fit(X, y, not self.initialized_, "partial_fit", fit_params)

    def _fit(self, X, y, start, method, fit_params):
        before = vars(self).copy()
        try:
            self._check_params()
            if start:
                for name in ("history_", "n_features_in_", "feature_names_in_"):
                    vars(self).pop(name, None)
            X, y = self._check_training_data(X, y, start)
            if start:
                self._learn_widths(X)
                self.initialize()
            X = cast(X, self.module_) if isinstance(X, np.ndarray) else X
            self._before_training(X, y, start, fit_params)
        except Exception:
            vars(self).clear()
            vars(self).update(before)
            raise
        with self._seeded(1, len(self.history or [])):
            super().partial_fit(X, y, _routing_method=method, **fit_params)
        self._set_training(False)
        if is_dataset(X) or regularised_parameters(self.module_):
            self._try_out(X, y)
        return self

    def _before_training(self, X, y, start, fit_params):
        """Do what needs the data and the untrained net."""
        if not is_dataset(X):
            self._try_out(X, y)

    def initialize(self):
        """Make the module, the criterion, the optimizer and the callbacks.

        Returns
        -------
        self : object
            The estimator, ready to train.
        """
        if self.random_state is None:
            self.seed_ = int(torch.randint(2**31 - 1, ()))
        else:
            self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        with self._seeded(0):
            return super().initialize()

    def initialize_module(self):
        """Make the module: fill in the widths of the default net and the rate of dropout."""
        module, params = self.module, self.get_params_for("module")
        if isinstance(module, type) and issubclass(module, MLP):
            params = {**self._widths(), **params}
            if "n_features" not in params:
                raise ValueError(
                    "the default net must be told its widths by the data. Got no data yet. Call "
                    "`fit`, or give `module__n_features` and `module__n_outputs`."
                )
        self.module_ = self.initialized_instance(module, params)
        if self.dropout is not None:
            if self.module_ is module:
                self.module_ = deepcopy(module)
            set_rates(self.module_, self.dropout)
        return self

    def _learn_widths(self, X):
        """Learn from a tensor or a dataset what the default net must know."""
        if not isinstance(self.module, type) or not issubclass(self.module, MLP):
            return
        if isinstance(X, Tensor) and X.ndim > 1:
            self.n_features_in_ = X.shape[1]
        elif is_dataset(X) and not isinstance(X, IterableDataset):
            x, y = X[0]
            self.n_features_in_, self.n_outputs_ = np.size(x), np.size(y)

    def _widths(self):
        if not hasattr(self, "n_features_in_"):
            return {}
        return {"n_features": self.n_features_in_, "n_outputs": getattr(self, "n_outputs_", 1)}

    def _check_params(self, *names):
        params = {name: getattr(self, name) for name in names or self._parameter_constraints}
        validate_parameter_constraints(self._parameter_constraints, params, type(self).__name__)

    @contextmanager
    def _seeded(self, *purpose: int) -> Iterator[None]:
        """Seed torch for one purpose, and put its global generators back after."""
        if self.random_state is None:
            yield
            return
        seed = int(np.random.SeedSequence([self.seed_, *purpose]).generate_state(1)[0])
        if self.device is not None and torch.device(self.device).type == "cuda":
            torch.cuda.init()
        with borrowed_generators(seed):
            yield

    # -- data ------------------------------------------------------------------------------

    def _check_training_data(self, X, y, start):
        if y is None and (is_dataset(X) or self.iterator_train is not DataLoader):
            return X, y
        if not is_table(X) or takes_columns(self.module, X):
            self.check_data(X, y)
            return X, y
        reset = start or not hasattr(self, "n_features_in_")
        if getattr(y, "ndim", 0) > 2:
            check_consistent_length(X, y)
            return self._check_table(X, reset), y
        return validate_data(self, X, y, reset=reset, multi_output=True, y_numeric=True, **TABLE)

    def _check_table(self, X, reset=False):
        if not reset and is_plain_table(X) and not hasattr(self, "feature_names_in_"):
            if X.shape[1] == getattr(self, "n_features_in_", X.shape[1]):
                return X
        return validate_data(self, X, reset=reset, **TABLE)

    def _set_training(self, training=True):
        for module in self._torch_modules():
            set_mode(module, training)

    def _zero_grad_optimizer(self, set_to_none=None):
        if set_to_none is not None:
            return super()._zero_grad_optimizer(set_to_none)
        for name in self._optimizers:
            clear_gradients(getattr(self, f"{name}_"))

    def get_params_for_optimizer(self, prefix, named_parameters):
        """Answer the optimizer's arguments; ask for torch's fused step where there is one."""
        args, params = super().get_params_for_optimizer(prefix, named_parameters)
        kind, own = getattr(self, prefix), regularised_parameters(self.module_)
        groups = without_decay(kind, args[0], own)
        if takes_fused_step(kind, self.module_, groups, params):
            params["fused"] = True
        return (groups, *args[1:]), params

    def _check_inputs(self, X):
        """Validate and cast a table; leave alone what is skorch's."""
        self.check_is_fitted()
        if not is_table(X) or takes_columns(self.module, X):
            return X
        return cast(self._check_table(X), self.module_)

    def _try_out(self, X, y):
        """Find the dropouts, and refuse an output that does not go with y, before training."""
        with self._evaluating():
            x = first_rows(next(iter(self._inputs(X, y))), 2)
            self.dropout_sites_ = DropoutSites(self._plan(x))
            self._check_output(first_output(self.evaluation_step((x, None), training=False)), y)
