"""Classification: classes and their codes, and the loss of a batch."""

from typing import Any

import numpy as np
import torch
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, column_or_1d
from skorch.utils import to_tensor
from torch import Tensor, nn

from sk_mcdropout.nn import uncompiled
from sk_mcdropout.sampling import warn

from ._parameters import n_training_rows
from ._refit import note
from ._validation import is_half, refuse_lazy, rows_of_slices
from ._weighted import WeightedNet
from ._weights import check_weights, weighted_loss

__all__ = ["ClassificationNet", "codes_of", "labels_of"]

# Chosen by the log loss of held-out rows, see benchmarks/classes.md: without a decay a net grows
# ever surer of the rows that it knows.
_DECAY, _MOST_DECAY = 1000.0, 3.0


class ClassificationNet(WeightedNet):
    """Base class: train on the codes of classes, 0 to their number less 1."""

    # What subclasses declare in their signatures.
    classes: Any
    class_weight: Any
    predict_nonlinearity: Any

    _labels: np.ndarray  # the classes, where y was an array

    _STACKED_CRITERIA = nn.CrossEntropyLoss, nn.NLLLoss
    _TARGET_PARAMS = "classes", "class_weight"  # those that make other codes and weights of y

    @property
    def classes_(self):
        """The classes: column k of the probabilities is that of the k-th."""
        return self._labels if "_labels" in vars(self) else super().classes_

    # -- fitting -----------------------------------------------------------------------------

    def _check_training_data(self, X, y, start, sample_weight=None):
        self.__dict__.pop("temperature_", None)
        if start:
            self.__dict__.pop("_labels", None)
            self.__dict__.pop("classes_inferred_", None)
        if y is None:
            if self.class_weight is not None:
                raise ValueError(
                    "`class_weight` must come with an array y. Got no y. Pass X and y as arrays, "
                    "or leave `class_weight` out."
                )
            X, y = super()._check_training_data(X, y, start)
            self._take_weights(sample_weight, X, y)
            self._learn_codes(X)
            return X, y
        labels = labels_of(rows_of_slices(y))
        if start or "_labels" not in vars(self):
            given = self.__dict__.get("_classes_to_come", self.classes)
            self.__dict__["_labels"] = np.unique(labels) if given is None else np.asarray(given)
            _warn_of_order(self.classes_)
        X, codes = super()._check_training_data(X, codes_of(labels, self.classes_), start)
        self._take_weights(self._weights_of(labels, sample_weight), X, codes)
        note(self, "class_weight")
        return X, codes

    def _learn_codes(self, X):
        """Learn the classes of a dataset, whose targets are their codes, where they can be told."""
        if self.classes is not None:
            self.__dict__["_labels"] = np.asarray(self.classes)
        elif "_labels" not in vars(self):
            self.check_data(X, None)
            codes = self.__dict__.get("classes_inferred_")
            if codes is not None:
                self.__dict__["_labels"] = np.arange(int(codes.max()) + 1)

    def _weights_of(self, y, sample_weight):
        """Return the weights of the rows times those of their classes."""
        if self.class_weight is None:
            return sample_weight
        by_class = compute_sample_weight(self.class_weight, y)
        if sample_weight is None:
            return by_class
        return by_class * check_weights(sample_weight, len(y))

    def partial_fit(self, X, y=None, classes=None, sample_weight=None, **fit_params):
        """Continue the training.

        Parameters
        ----------
        X, y, sample_weight, **fit_params
            As for `fit`.
        classes : array-like of shape (n_classes,), default=None
            All classes that are to come, in the first call; by default those of its y.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        if classes is None:
            return super().partial_fit(X, y, sample_weight=sample_weight, **fit_params)
        if self.initialized_ and not np.array_equal(np.unique(classes), np.unique(self.classes_)):
            raise ValueError(
                "`classes` must be those of the first call. Got "
                f"{np.asarray(classes).tolist()!r}, which were {self.classes_.tolist()!r}. Leave "
                "it out, or call `fit`."
            )
        self.__dict__["_classes_to_come"] = np.unique(classes)
        try:
            return super().partial_fit(X, y, sample_weight=sample_weight, **fit_params)
        finally:
            del self.__dict__["_classes_to_come"]

    def _widths(self):
        widths = super()._widths()
        if widths:
            widths["n_outputs"] = len(self.classes_)
        return widths

    def _check_output(self, output, y):
        if not isinstance(output, Tensor):
            return
        if "_labels" not in vars(self) and self.classes is None and output.ndim == 2:
            self.__dict__["_labels"] = np.arange(output.shape[1])  # of a dataset that tells none
        if output.ndim != 2 or output.shape[1] != len(self.classes_):
            raise ValueError(
                "the net must have an output for each class. Got outputs of shape "
                f"{tuple(output.shape)} for 2 rows, and {len(self.classes_)} classes. Give the net "
                "as many outputs."
            )

    # -- the decay of weights ------------------------------------------------------------------

    def _choose_length(self, X):
        super()._choose_length(X)
        self.__dict__["_n_rows_to_train"] = n_training_rows(X)

    def get_params_for_optimizer(self, prefix, named_parameters):
        """Return the optimizer's arguments, with a decay that suits the number of rows.

        Parameters
        ----------
        prefix : str
            Name of the optimizer.
        named_parameters : iterable of (str, Parameter)
            What it is to train.

        Returns
        -------
        args, params : tuple and dict
            Its arguments. The default net with AdamW has the decay of a normal prior, inverse to
            the number of rows, unless there is one of the user's.
        """
        args, params = super().get_params_for_optimizer(prefix, named_parameters)
        n_rows = self.__dict__.get("_n_rows_to_train")
        if n_rows and self._is_default_net() and self.optimizer is torch.optim.AdamW:
            params.setdefault("weight_decay", min(_MOST_DECAY, _DECAY / n_rows))
        return args, params

    def _decays_by_noise(self):
        return False  # which is told by squared errors

    # -- the loss ------------------------------------------------------------------------------

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Compute the loss of a batch.

        Parameters
        ----------
        y_pred : Tensor
            Output of the net.
        y_true : Tensor
            Codes of the classes.
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
        y_pred = self._prediction(y_pred, len(y_true) if isinstance(y_true, Tensor) else None)
        if is_half(y_pred.dtype):
            y_pred = y_pred.float()
        if weights is None:
            loss = super().get_loss(y_pred, y_true, X=X, training=training)
        else:
            y_pred = _as_taken(self.criterion_, y_pred)
            y_true = to_tensor(y_true, device=self.device)
            loss = weighted_loss(self.criterion_, y_pred, y_true, weights)
        if training and "_n_rows" in self.__dict__:
            loss = loss + self._regularisation()
        return loss

    def _target_of_stack(self, y, dtype):
        return y

    @staticmethod
    def _losses(criterion, outputs, y):
        """Return the losses of the nets of a stack, of shape (n_nets, n_rows, 1)."""
        outputs = _as_taken(criterion, outputs.flatten(0, 1))
        return criterion(outputs, y.flatten()).reshape(*y.shape, 1)

    def _nonlinearity(self):
        """Return what makes probabilities of the outputs, None where they are these."""
        if self.predict_nonlinearity != "auto":
            return self.predict_nonlinearity
        criterion = uncompiled(self.criterion_)
        if criterion is None:  # of a net that was trimmed
            return self.__dict__["_known_nonlinearity"]
        if isinstance(criterion, nn.CrossEntropyLoss):
            return nn.Softmax(dim=-1)
        if isinstance(criterion, nn.NLLLoss):
            return None
        raise ValueError(
            "`criterion` must be `CrossEntropyLoss`, for a net that gives logits, or `NLLLoss`, "
            f"for one that gives probabilities. Got {type(criterion).__name__}. Say by "
            "`predict_nonlinearity` what makes probabilities of the outputs; None for nothing."
        )

    # -- what is saved with the weights ----------------------------------------------------------

    def _learned(self):
        learned, labels = {}, self.__dict__.get("_labels")
        if labels is not None and (labels.dtype.kind in "biufU" or _are_words(labels)):
            learned["classes"] = [labels.dtype.str, labels.tolist()]
        if "temperature_" in vars(self):
            learned["temperature_"] = self.temperature_
        return learned

    def _take_learned(self, learned):
        self.__dict__.pop("temperature_", None)
        if "classes" in learned:
            dtype, labels = learned["classes"]
            self.__dict__["_labels"] = np.asarray(labels, dtype=dtype)
        if "temperature_" in learned:
            self.temperature_ = learned["temperature_"]


def _are_words(labels: np.ndarray) -> bool:
    return all(isinstance(label, str) for label in labels)


def _warn_of_order(classes: np.ndarray) -> None:
    if not (classes[:-1] < classes[1:]).all():
        warn(
            "`classes` must be sorted for scikit-learn's scores of probabilities, which take the "
            f"columns so. Got {classes[:10].tolist()!r}: `predict_proba` has its columns in this "
            "order. Sort them, or score by `sk_mcdropout.metrics` or `log_prob`."
        )


def _as_taken(criterion: Any, y_pred: Tensor) -> Tensor:
    """Return outputs as a loss takes them: logarithms of probabilities, as skorch makes them."""
    if not isinstance(uncompiled(criterion), nn.NLLLoss):
        return y_pred
    return torch.log(y_pred + torch.finfo(y_pred.dtype).eps)


def codes_of(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the code of the class of each row: its place among the classes."""
    if not len(classes):
        raise ValueError("`classes` must name a class. Got none. Leave it out for those of y.")
    order = np.argsort(classes)
    places = np.searchsorted(classes, y, sorter=order).clip(max=len(order) - 1)
    codes = order[places]
    unknown = classes[codes] != y
    if unknown.any():
        raise ValueError(
            "y must hold the known classes alone. Got "
            f"{np.unique(y[unknown])[:5].tolist()!r}, where these are "
            f"{classes[:10].tolist()!r}. Name all of them by `classes`."
        )
    return codes.astype(np.int64)


def labels_of(y: Any) -> np.ndarray:
    """Return the label of each row as an array."""
    refuse_lazy(y=y)
    y = y.numpy(force=True) if isinstance(y, Tensor) else y
    y = column_or_1d(y, warn=True)
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    return y
