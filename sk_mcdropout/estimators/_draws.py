"""How an estimator draws: its inputs, batch by batch, through the net with all masks.

`DrawsMixin` stands left of a skorch net class. It fetches batches whole, passes them through all
that a subclass or skorch overrides, and reduces the draws where they are made.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.dataset import unpack_data
from skorch.utils import to_device, to_tensor
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from sk_mcdropout.sampling import (
    chunks,
    count_rows,
    counted,
    evaluating,
    gather_rows,
    one_mask_for_all_steps,
    prepare,
    refuse_no_effect,
    warn_if_not_random,
)

from ._validation import BatchDataset, OneBatch, batch_loader, by_rows, first_output

__all__ = ["DrawsMixin"]


class DrawsMixin:
    """Fetch batches fast, and answer something about the draws of all rows."""

    # -- batches through the net -------------------------------------------------------------

    def get_iterator(self, dataset, training=False):
        """Answer an iterator over batches, as skorch does.

        Batches are fetched whole where the dataset and the iterator are the default ones. The
        order of the rows is left alone by samplers of the user's own, and predictions do not
        touch torch's global generator.
        """
        prefix = "iterator_train" if training else "iterator_valid"
        iterator = getattr(self, prefix)
        if isinstance(dataset, OneBatch):
            return [(dataset.X, None)]
        if iterator is not DataLoader:
            return super().get_iterator(by_rows(dataset), training)
        params = {"batch_size": self.batch_size, **self.get_params_for(prefix)}
        if not training:
            params.setdefault("generator", torch.Generator())
        return batch_loader(dataset, params)

    def forward_iter(self, X, training=False, device="cpu"):
        """Yield the outputs batch by batch, in the order of the rows.

        Parameters
        ----------
        X : array, tensor, Dataset, ...
            Inputs, as for `fit`.
        training : bool
            Whether the module trains.
        device : str
            Where the outputs are put.

        Yields
        ------
        Tensor or tuple of Tensor
            The output for one batch.
        """
        # skorch would shuffle the rows with the iterator of training.
        for batch in self.get_iterator(self.get_dataset(X), training=False):
            yield to_device(self.evaluation_step(batch, training=training), device)

    def infer(self, x, **fit_params):
        """Answer the output of the module, as skorch does.

        Parameters
        ----------
        x : Tensor, mapping or sequence of Tensor
            Inputs.
        **fit_params : dict
            Passed to the module's ``forward``.

        Returns
        -------
        Tensor or tuple of Tensor
            The output.
        """
        with one_mask_for_all_steps(self.module_) if self.variational_rnn else nullcontext():
            return super().infer(x, **fit_params)

    # -- drawing ---------------------------------------------------------------------------

    def _over_draws(self, X, reduce: Callable, n_draws, seed, spread=True, axis=0) -> tuple:
        """Answer ``reduce(draws)``, a tuple of tensors with the rows on an axis, for all rows.

        ``draws`` are the outputs of the net, of shape (n_draws, n_some_rows, ...). A spread that
        is 0 for want of dropout is said if the caller wants the spread.
        """
        answers: list[tuple] = []
        with self._evaluating(), tqdm() if self.verbose else nullcontext() as progress:
            for x in self._inputs(X):
                plan = self._plan(x)
                if spread and not answers:
                    warn_if_not_random(plan)
                draws = chunks(plan, x, n_draws, seed)
                draws = refuse_no_effect(draws, plan, x) if spread else draws
                parts = map(reduce, counted(draws, progress) if progress is not None else draws)
                answers.append(gather_rows(parts, count_rows(x), axis))
        whole = zip(*answers, strict=True)
        return answers[0] if len(answers) == 1 else tuple(torch.cat(t, axis) for t in whole)

    def _plan(self, x):
        way, extra = (type(self), self.variational_rnn), self.extra_dropout
        return prepare(self.module_, x, forward=self._forward, way=way, extra_dropout=extra)

    @property
    def _forward(self):
        """The way of one batch through the net, with all that a subclass or skorch overrides."""
        if type(self).forward_iter is not DrawsMixin.forward_iter:
            return lambda x: torch.cat([first_output(y) for y in self.forward_iter(OneBatch(x))])
        if self.extra_dropout:  # `evaluation_step` would put these modules in eval mode
            return self.infer
        return lambda x: self.evaluation_step((x, None), training=False)

    def _evaluating(self):
        return evaluating(*self._torch_modules(), extra_dropout=self.extra_dropout)

    def _torch_modules(self):
        parts = (getattr(self, f"{name}_") for name in self._modules + self._criteria)
        return [part for part in parts if isinstance(part, nn.Module)]

    def _inputs(self, X, y=None) -> Iterator[Any]:
        """Yield the inputs as tensors: a table at once, anything else batch by batch."""
        if isinstance(X, np.ndarray) and self._reads_plainly():
            yield torch.from_numpy(X)
            return
        for batch in self.get_iterator(self.get_dataset(X, y), training=False):
            x = unpack_data(batch)[0]
            yield x if isinstance(x, Tensor) else to_tensor(x, device="cpu")

    def _reads_plainly(self):
        """Tell whether the table need not go through a dataset and an iterator."""
        params = {**self.get_params_for("iterator_valid"), **self.get_params_for("dataset")}
        return (
            self.dataset is BatchDataset
            and self.iterator_valid is DataLoader
            and not params
            and type(self).get_iterator is DrawsMixin.get_iterator
            and type(self).get_dataset is NeuralNet.get_dataset
        )
