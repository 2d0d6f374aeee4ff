"""Rows with weights: what is known of the rows while a net is trained on them."""

from sk_mcdropout.nn import learned_rates, regularisation

from ._net import MCDropoutNet
from ._parameters import check_last_batch, check_monitors, n_training_rows
from ._weights import (
    check_can_weigh,
    count_weighted,
    give_weights,
    mean_weight,
    training_weights,
    weights_of,
    weights_of_batch,
)

__all__ = ["WeightedNet"]

# What is known of the rows while fitting, and forgotten after.
_WHILE_FITTING = (
    *("_held_out", "_spread", "_weights", "_mean_weights", "_weights_were_read"),
    *("_n_batches", "_n_epochs", "_n_rows"),
)


class WeightedNet(MCDropoutNet):
    """Base class: train with weights of the rows, which are forgotten when the fit has ended."""

    def _fit(self, X, y, start, method, fit_params, sample_weight=None):
        try:
            return super()._fit(X, y, start, method, fit_params, sample_weight)
        finally:
            self._forget_the_rows()

    def _forget_the_rows(self):
        for name in _WHILE_FITTING:
            self.__dict__.pop(name, None)

    def _take_weights(self, sample_weight, X, y):
        """Note the weights of the rows, of mean 1; return None for equal ones."""
        weights = training_weights(sample_weight, X, y)
        if weights is not None:
            self.__dict__["_weights"] = weights
        return weights

    def _before_training(self, X, y, start, fit_params):
        if "_weights" in self.__dict__:
            check_can_weigh(self)
        super()._before_training(X, y, start, fit_params)
        if not self._splits_rows():
            check_monitors(self)
            self._check_batches(X, y, n_training_rows(X))

    def _after_training(self, X, y, start, fit_params):
        self._check_weights_were_read()
        super()._after_training(X, y, start, fit_params)

    def get_split_datasets(self, X, y=None, **fit_params):
        """Split the data as skorch does; the rows to train on get their weights.

        Parameters
        ----------
        X, y, **fit_params
            As for `fit`.

        Returns
        -------
        dataset_train, dataset_valid : Dataset
            The rows to train on and those held out, None if there are none.
        """
        train, valid = super().get_split_datasets(X, y, **fit_params)
        if self._splits_rows():
            self._check_batches(X, y, n_training_rows(train))
        if "_weights" in self.__dict__:
            give_weights(train, self.__dict__["_weights"])
            means = {True: mean_weight(train), False: mean_weight(valid)}
            self.__dict__["_mean_weights"] = means
        self._fit_inputs(train, weights_of(train))
        if self.learned_rates_:
            self.__dict__["_n_rows"] = count_weighted(train)
        return train, valid

    def _check_batches(self, X, y, n_rows):
        if n_rows is not None:
            check_last_batch(self, n_rows, lambda: next(iter(self._inputs(X, y))))

    def _check_weights_were_read(self):
        trained = self.history and "train_loss" in self.history[-1]
        if "_mean_weights" in self.__dict__ and trained and "_weights_were_read" not in vars(self):
            raise ValueError(
                "`get_loss` must call that of the package for rows with weights. Got a "
                f"`get_loss` of {type(self).__name__} that does not, so that the net was trained "
                "without weights. Call `super().get_loss(...)`."
            )

    def _weights_of_batch(self, y, training):
        """Return the weights of the rows of a batch, of mean 1 in training or validation."""
        mean = self.__dict__.get("_mean_weights", {}).get(training)
        if mean is None:
            return None
        self.__dict__["_weights_were_read"] = True
        return weights_of_batch(y) / mean

    def _regularisation(self):
        """Return what is added to the loss of a row for rates that are learned, in nats."""
        return regularisation(self.module_) / self.__dict__["_n_rows"]

    @property
    def learned_rates_(self):
        """The rate of each `ConcreteDropout` of the net, by its path."""
        return learned_rates(self.module_)
