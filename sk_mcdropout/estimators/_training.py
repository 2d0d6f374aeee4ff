"""How a net is trained where that is left to us: how long, on which rows, of which scale."""

from typing import Any

import numpy as np
import torch
from skorch.dataset import ValidSplit
from torch import nn

from sk_mcdropout.nn import MLP, RobustScale

from ._batches import some_rows
from ._callbacks import CosineSchedule, DecayByNoise, EarlyEnd, EpochBar, EpochTable
from ._drawing import DrawingNet
from ._length import batch_size_for, n_epochs_for
from ._parameters import n_training_rows
from ._refit import note

__all__ = ["TrainingNet"]


class TrainingNet(DrawingNet):
    """Base class: choose the length of a training, its callbacks, and the scale of X."""

    # What subclasses declare in their signatures.
    normalize_X: bool | str
    early_stopping: bool
    validation_fraction: float

    module_: Any
    n_features_in_: int
    _n_epochs: int  # of the training that goes on

    def _is_default_net(self) -> bool:
        return isinstance(self.module, type) and issubclass(self.module, MLP)

    def _choose_length(self, X: Any) -> None:
        """Choose the rows of a step and the number of epochs, where that is left to us."""
        n_rows, size, epochs = n_training_rows(X), self.batch_size, self.max_epochs
        self.batch_size_ = batch_size_for(n_rows) if size == "auto" else size
        self.max_epochs_ = n_epochs_for(n_rows, self.batch_size_) if epochs == "auto" else epochs

    def _n_epochs_of(self, X: Any, epochs: int | None) -> int:
        """Return the number of epochs of a training, and note it for the callbacks."""
        self._choose_length(X)
        self.__dict__["_n_epochs"] = self.max_epochs_ if epochs is None else epochs
        return self._n_epochs

    def _rows_of_a_batch(self) -> int:
        if self.batch_size == "auto":
            return getattr(self, "batch_size_", batch_size_for(None))
        return self.batch_size

    def _generator_of_training(self) -> torch.Generator:
        """Return a generator that draws what the global one draws in a training of this net."""
        if self.random_state is None:
            return torch.Generator().manual_seed(int(torch.randint(2**31 - 1, ())))
        return torch.Generator().manual_seed(self._seed_for(1, 0))

    @property
    def _default_callbacks(self):
        usual = dict(super()._default_callbacks) | {"print_log": EpochTable()}
        return [
            *usual.items(),
            ("epoch_bar", EpochBar()),
            ("early_stopping", EarlyEnd()),
            ("lr_schedule", CosineSchedule()),
            ("weight_decay", DecayByNoise()),
        ]

    def _splits_rows(self) -> bool:
        """Return whether some rows are held out of training."""
        return self.train_split is not None or self.early_stopping

    def get_split_datasets(self, X, y=None, **fit_params):
        """Split the data as skorch does, and for early stopping where there is no ``train_split``.

        Parameters
        ----------
        X, y, **fit_params
            As for `fit`.

        Returns
        -------
        dataset_train, dataset_valid : Dataset
            The rows to train on and those held out, None if there are none.
        """
        if self.train_split is not None or not self.early_stopping:
            return super().get_split_datasets(X, y, **fit_params)
        split = ValidSplit(self.validation_fraction, random_state=self.seed_)
        return split(self.get_dataset(X, y), y, **fit_params)

    def _decays_by_noise(self) -> bool:
        """Return whether `DecayByNoise` is to set the decay of weights."""
        given = "optimizer__weight_decay" in vars(self)
        return self._is_default_net() and self.optimizer is torch.optim.AdamW and not given

    def _normalize_inputs(self) -> None:
        """Let the net scale the columns of a table itself, if it is to."""
        note(self, "normalize_X")
        if self._is_default_net():
            if self.normalize_X and "module__normalize_X" not in vars(self):
                self.module_.scale = RobustScale(self.module_.n_features)
        elif self.normalize_X is True:
            if not hasattr(self, "n_features_in_"):
                raise ValueError(
                    "X must be a table for `normalize_X=True`, with a net of your own. Got no "
                    "table. Call `fit` with an array of two axes, or leave `normalize_X` out."
                )
            self.module_ = nn.Sequential(RobustScale(self.n_features_in_), self.module_)

    def _fit_inputs(self, dataset: Any, weights: np.ndarray | None = None) -> None:
        """Learn the scale and range of the columns from the rows to train on, once for each net."""
        kind = MLP if self._is_default_net() else RobustScale
        parts = [part for part in self.module_.modules() if isinstance(part, kind)]
        asked = self._is_default_net() or self.normalize_X is True
        if not parts or not asked or parts[0].fitted:
            return
        X, rows = some_rows(dataset)
        if X is not None:
            w = None if weights is None else torch.as_tensor(weights[rows])
            parts[0].fit(X, w)
        elif self.normalize_X is True:
            raise ValueError(
                "X must be a table of known rows for `normalize_X=True`. Got a "
                f"{type(dataset).__name__}. Scale X yourself, and leave `normalize_X` out."
            )
