"""Regression on a standardised target: its loss, the weights of the rows, and its file."""

from functools import partial
from numbers import Real

import numpy as np
import torch
from skorch.dataset import unpack_data
from skorch.utils import to_tensor
from torch import Tensor, nn

from sk_mcdropout.nn import (
    BetaNLLLoss,
    mean_and_log_variance,
    nll_scale,
)
from sk_mcdropout.predictive import CALIBRATIONS
from sk_mcdropout.sampling import warn

from ._batches import BatchDataset, some_targets, whole_of
from ._refit import note
from ._target import (
    ELEMENTWISE,
    align,
    compares_numbers,
    mean_and_scale,
    standardise,
    target_array,
)
from ._validation import first_float, is_half
from ._weighted import WeightedNet
from ._weights import weighted_loss

__all__ = ["RegressionNet"]

_ARRAYS, _NOISE = ("y_mean_", "y_scale_", "noise_std_"), "_calibrated_noise"


class RegressionNet(WeightedNet):
    """Base class: train on a standardised target."""

    # What subclasses declare in their signatures.
    noise: float | str | None
    normalize_y: bool

    _STACKED_CRITERIA = ELEMENTWISE
    _TARGET_PARAMS = ("normalize_y",)  # those that make another target of y

    # -- fitting -----------------------------------------------------------------------------

    def _check_training_data(self, X, y, start, sample_weight=None):
        X, y = super()._check_training_data(X, y, start)
        target = target_array(y)
        weights = self._take_weights(sample_weight, X, y if target is None else target)
        self.__dict__.pop("calibration_", None)
        if start or not hasattr(self, "y_mean_"):
            self.__dict__.pop("noise_std_", None)
            self.__dict__.pop("n_outputs_", None)
            if target is not None:
                self.n_outputs_ = 1 if target.ndim == 1 else target.shape[1]
            scaled = target if self.normalize_y else None
            self.y_mean_, self.y_scale_ = mean_and_scale(scaled, weights)
            note(self, "normalize_y")
        if target is not None:
            self._learn_spread(target, weights)
        return X, y if target is None else target

    def get_split_datasets(self, X, y=None, **fit_params):
        """Split the data as skorch does, and standardise the target by the batch.

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
        self._standardise_batches(train)
        if "_spread" not in vars(self) and self._is_default_net():
            self._learn_spread(some_targets(train))
        return train, valid

    def _learn_spread(self, y, weights=None):
        """Learn the standard deviation of the target, in the units that it is trained in."""
        spread = mean_and_scale(y, weights)[1]
        if y is not None and np.shape(self.y_scale_) in ((), spread.shape):
            self.__dict__["_spread"] = spread / self.y_scale_

    def _standardise_batches(self, dataset):
        """Let the `BatchDataset` that a dataset is, or is a subset of, standardise its target."""
        whole = whole_of(dataset)
        if isinstance(whole, BatchDataset):
            weights = first_float(self.module_)
            dtype = torch.float32 if weights is None or is_half(weights.dtype) else weights.dtype
            scaled = self.y_mean_.any() or (self.y_scale_ != 1).any()
            to_scale = partial(standardise, mean=self.y_mean_, scale=self.y_scale_, dtype=dtype)
            whole.standardise = to_scale if scaled else None

    # -- the loss ------------------------------------------------------------------------------

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Compute the loss of a batch, on the standardised target.

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
        weights = self._weights_of_batch(y_true, training)
        several = not isinstance(y_pred, Tensor)
        if self.output is not None or (several and compares_numbers(self.criterion_)):
            y_pred = self._prediction(y_pred, len(y_true) if isinstance(y_true, Tensor) else None)
        if isinstance(y_true, Tensor):
            if hasattr(self, "y_mean_"):
                y_true = self._standardised(y_true)
            if isinstance(y_pred, Tensor):
                y_pred = y_pred.float() if is_half(y_pred.dtype) else y_pred
                y_true = align(y_true, self._predicted_means(y_pred), self.criterion_)
        if weights is None:
            loss = super().get_loss(y_pred, y_true, X=X, training=training)
        else:
            y_true = to_tensor(y_true, device=self.device)
            loss = weighted_loss(self.criterion_, y_pred, y_true, weights)
        if training and "_n_rows" in self.__dict__:
            known = isinstance(self.noise, Real)
            noise = np.sqrt(np.mean((self.noise / self.y_scale_) ** 2)) if known else None
            loss = loss + self._regularisation() * nll_scale(self.criterion_, loss, y_pred, noise)
        return loss

    def _target_of_stack(self, y, dtype):
        return self._standardised(y).to(dtype).reshape(len(y), -1)

    @staticmethod
    def _losses(criterion, outputs, y):
        """Return the losses of the nets of a stack, of shape (n_nets, n_rows, n_targets)."""
        return criterion(outputs, y)

    def _standardised(self, y):
        """Return the standardised target that a batch brings with it; make it where y is new."""
        known = getattr(y, "standardised", None)
        if known is not None and y._version == 0:  # a callback may have written into y
            return known
        return standardise(y, self.y_mean_, self.y_scale_)

    def _decays_by_noise(self):
        kind = self.criterion if isinstance(self.criterion, type) else type(self.criterion)
        heteroscedastic = getattr(self, "heteroscedastic_", False)
        known = (nn.MSELoss, BetaNLLLoss) if heteroscedastic else ELEMENTWISE
        return "_spread" in vars(self) and super()._decays_by_noise() and issubclass(kind, known)

    def _relative_error(self, batch, y_pred):
        """Return the squared error of a batch that was trained on, in variances of the target."""
        spread = self.__dict__["_spread"]
        plain = self.criterion is nn.MSELoss and not getattr(self, "heteroscedastic_", False)
        as_is = "criterion__reduction" not in vars(self) and "_n_rows" not in vars(self)
        if plain and as_is and (spread == 1).all():
            return self.history[-1]["batches"][-1]["train_loss"]
        y = self._standardised(to_tensor(unpack_data(batch)[1], device=self.device))
        means = self._predicted_means(self._prediction(y_pred, len(y)).detach())
        error = (y.reshape(means.shape) - means).reshape(len(y), -1)
        return float(((error / torch.as_tensor(spread).to(error)) ** 2).mean())

    def _check_output(self, output, y):
        if isinstance(y, np.ndarray) and isinstance(output, Tensor):
            target = torch.empty(len(output), *y.shape[1:])
            align(target, self._predicted_means(output.cpu()), self.criterion_)

    def _predicted_means(self, output):
        heteroscedastic = getattr(self, "heteroscedastic_", False)
        return mean_and_log_variance(output)[0] if heteroscedastic else output

    # -- the parts of the net ------------------------------------------------------------------

    def _initialize_module(self, reason=None):
        self.heteroscedastic_ = self.noise == "heteroscedastic"
        return super()._initialize_module(reason)

    def _widths(self):
        widths = super()._widths()
        if widths and getattr(self, "heteroscedastic_", False):
            widths["n_outputs"] *= 2
        return widths

    def initialize_criterion(self):
        """Make the loss; that of a heteroscedastic net is a likelihood unless you chose one."""
        if not getattr(self, "heteroscedastic_", False):
            return super().initialize_criterion()
        kind = self.criterion if isinstance(self.criterion, type) else type(self.criterion)
        if kind is nn.MSELoss:
            kind = BetaNLLLoss
        elif issubclass(kind, ELEMENTWISE):
            raise ValueError(
                "`criterion` must take means and log variances with `noise='heteroscedastic'`. "
                f"Got {kind.__name__}. Leave it out for `BetaNLLLoss`."
            )
        else:
            kind = self.criterion
        self.criterion_ = self.initialized_instance(kind, self.get_params_for("criterion"))
        return self

    # -- what is saved with the weights ----------------------------------------------------------

    def _learned(self):
        known = vars(self)
        if "y_mean_" not in known:
            return {}
        learned = {name: np.asarray(known[name]).tolist() for name in _ARRAYS if name in known}
        if (fitted := known.get("calibration_")) is not None:
            arrays = [part for part in (fitted.values, fitted.weights) if part is not None]
            learned["calibration_"] = [fitted.method, *(np.asarray(a).tolist() for a in arrays)]
            learned[_NOISE] = known[_NOISE]
        return learned

    def _take_learned(self, learned):
        if self.normalize_y and not learned:
            warn(
                "the file must hold the scale of y for predictions in its units. Got a file of "
                "weights alone. Set `y_mean_` and `y_scale_` to those of the net that was saved, "
                "save it by its `save_params`, or, if it was trained on y as it is, give "
                "`normalize_y=False`."
            )
        for name in ("calibration_", _NOISE):
            self.__dict__.pop(name, None)
        for name in _ARRAYS:
            if name in learned:
                setattr(self, name, np.asarray(learned[name]))
        if "calibration_" in learned:
            method, *arrays = learned["calibration_"]
            self.calibration_ = CALIBRATIONS[method](*map(np.asarray, arrays))
            self.__dict__[_NOISE] = learned[_NOISE]
