"""The batches, passes and draws of a skorch net whose dropout is on while it draws."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import sparse
from skorch import NeuralNet
from skorch.dataset import unpack_data
from skorch.hf import AccelerateMixin
from skorch.utils import to_device, to_tensor
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader

from sk_mcdropout.nn import regularised_parameters
from sk_mcdropout.sampling import (
    Draws,
    Plans,
    alone_with,
    evaluating,
    find_prediction,
    first_rows,
    forked_generators,
    is_evaluated,
    one_mask_for_all_steps,
)

from ._batches import BatchDataset, OneBatch, batch_loader, by_rows, dense_chunks
from ._optimizer import takes_fused_step, without_decay
from ._parameters import check_arguments, n_training_rows
from ._validation import first_float, floats_to, is_half

__all__ = ["DrawingNet"]


class DrawingNet(NeuralNet):
    """Base class: pass batches through the net as skorch does, and draw with dropout on.

    Subclasses set ``seed_`` before the module is made, and have ``_check_params``.
    """

    # What subclasses declare in their signatures.
    n_draws: int
    masks: str
    extra_dropout: tuple[type, ...]
    output: Any
    variational_rnn: bool
    random_state: Any
    seed_: int
    _check_params: Callable[..., None]
    _rows_of_a_batch: Callable[[], int]

    _n_batches: int | None = None  # of an epoch of the training that goes on, where it is known

    def __getstate__(self):
        state = super().__getstate__()
        if "_plans" in state:
            state["_plans"] = {}  # they know the parts of this very module
        return state

    # -- what skorch does for each batch -------------------------------------------------------

    def get_iterator(self, dataset, training=False):
        """Return an iterator over batches, as skorch does.

        Batches are fetched whole where the dataset and the iterator are the default ones. The
        order of the rows is left alone by samplers of the user's own, and predictions do not
        touch torch's global generator.
        """
        prefix = "iterator_train" if training else "iterator_valid"
        iterator = getattr(self, prefix)
        if isinstance(dataset, OneBatch):
            return [(dataset.X, None)]
        params = {"batch_size": self._rows_of_a_batch(), **self.get_params_for(prefix)}
        if params["batch_size"] == -1:
            params["batch_size"] = len(dataset)
        if iterator is not DataLoader:
            return iterator(by_rows(dataset), **params)
        if not training:
            params.setdefault("generator", torch.Generator())
        return batch_loader(dataset, params)

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Make the steps of one epoch, as skorch does; no thread draws from the net within a step.

        Parameters
        ----------
        iterator : iterable or None
            The batches.
        training : bool
            Whether the steps are of training.
        prefix : str
            Where in the history the losses go.
        step_fn : callable
            Makes one step.
        **fit_params : dict
            Passed to ``step_fn``.
        """

        def step(batch, **params):
            with alone_with(*self._torch_modules()):
                return step_fn(batch, **params)

        if training:
            self._n_batches = _length(iterator)
            self.__dict__.pop("_made_anew", None)  # by a callback, before the first epoch
        super().run_single_epoch(iterator, training, prefix, step, **fit_params)

    def forward_iter(self, X, training=False, device="cpu"):
        """Yield the outputs batch by batch, in the order of the rows.

        Parameters
        ----------
        X : array, tensor, Dataset or mapping
            Inputs, as for `fit`.
        training : bool
            Whether the module is in training mode.
        device : str
            Where the outputs are put.

        Yields
        ------
        Tensor or tuple of Tensor
            The output for a batch.
        """
        for batch in self.get_iterator(self.get_dataset(X), training=False):
            yield to_device(self.evaluation_step(batch, training=training), device)

    def infer(self, x, **fit_params):
        """Return the output of the module, as skorch does.

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
        weights = first_float(self.module_)
        if self.device is None and weights is not None:  # an accelerator has placed the module
            x = to_tensor(x, device=weights.device)
        if weights is not None and is_half(weights.dtype):
            x = floats_to(weights.dtype, to_tensor(x, device=self.device))
        with one_mask_for_all_steps(self.module_) if self.variational_rnn else nullcontext():
            return super().infer(x, **fit_params)

    def _set_training(self, training=True):
        if not is_evaluated(self.module_):  # which has parts in training mode, too
            super()._set_training(training)

    def get_params_for_optimizer(self, prefix, named_parameters):
        """Return the optimizer's arguments; ask for torch's fused step where there is one."""
        args, params = super().get_params_for_optimizer(prefix, named_parameters)
        kind, own = getattr(self, prefix), regularised_parameters(self.module_)
        check_arguments(kind, prefix, params)
        groups = without_decay(kind, args[0], own)
        if takes_fused_step(kind, self.module_, groups, params):
            params["fused"] = True
        return (groups, *args[1:]), params

    # -- drawing ---------------------------------------------------------------------------

    def _draws(self, X: Any, n_draws: int | None = None, seed: int | None = None) -> Draws:
        """Return the draws of the net for validated inputs."""
        self._check_params("n_draws", "masks")
        return self._draws_of(
            partial(self._inputs, X),
            n_draws=self.n_draws if n_draws is None else n_draws,
            seed=self.seed_ if seed is None else seed,
            verbose=bool(self.verbose),
            n_rows=n_training_rows(X) if self.verbose else None,
        )

    def _draws_of(self, batches: Any, **options: Any) -> Draws:
        plans: dict[Hashable, Any] = self.__dict__.setdefault("_plans", {})
        if self.variational_rnn not in plans:
            self._make_lazy_weights(batches)
        return Draws(
            self.module_,
            batches,
            forward=partial(self._forward_of, self.module_),
            held=tuple(self._torch_modules()),
            masks=self.masks,
            extra_dropout=self.extra_dropout,
            output=self.output,
            plans=plans.setdefault(self.variational_rnn, Plans()),
            **options,
        )

    def _make_lazy_weights(self, batches: Any) -> None:
        """Let lazy modules make their weights, from the seed, before the first pass."""
        if not any(map(is_lazy, self.module_.parameters())):
            return
        x = first_rows(next(iter(batches())), 2)
        with self._seeded(3), evaluating(*self._torch_modules()):
            self.evaluation_step((x, None), training=False)

    def _forget_plans(self, *kept: str) -> None:
        """Forget what was found out about the module, which has changed."""
        known = self.__dict__.get("_plans", {})
        self.__dict__["_plans"] = {name: known[name] for name in kept if name in known}

    def _forward_of(self, module: nn.Module, x: Any) -> Any:
        """Run the forward pass of one batch, with all that a subclass or skorch overrides."""
        if self.module_ is not module:
            raise RuntimeError(
                "the net must not be made anew while it predicts. Got another module than when "
                "the prediction began, of a `fit` or `set_params`. Predict anew."
            )
        if type(self).forward_iter is not DrawingNet.forward_iter:
            return torch.cat([self._prediction(y) for y in self.forward_iter(OneBatch(x))])
        if type(self).evaluation_step is NeuralNet.evaluation_step:
            return self.infer(x)
        return self._alone().evaluation_step((x, None), training=False)

    def _prediction(self, output: Any, n_rows: int | None = None) -> Any:
        """Return the prediction among the outputs of the net, found in those of the first batch."""
        if isinstance(output, Tensor) and self.output is None:
            return output
        known = self.__dict__.setdefault("_plans", {})
        if "prediction" not in known:
            known["prediction"] = find_prediction({n_rows: output}, self.output)
        return known["prediction"](output)

    def _alone(self) -> Any:
        """Return the net past skorch's mix-in for accelerate.

        That one shares rows out between processes, and gathers them by their number in a batch.
        Draws are made for all rows in each process.
        """
        return super(AccelerateMixin, self) if isinstance(self, AccelerateMixin) else self

    def _over_processes(self, number: float) -> float:
        """Return the mean of a number over the processes of skorch's mix-in for accelerate."""
        accelerator: Any = getattr(self, "accelerator", None)
        if getattr(accelerator, "num_processes", 1) == 1:
            return number
        return float(accelerator.reduce(torch.tensor(number, device=accelerator.device), "mean"))

    def _torch_modules(self) -> list[nn.Module]:
        parts = (getattr(self, f"{name}_") for name in self._modules + self._criteria)
        return [part for part in parts if isinstance(part, nn.Module)]

    def _inputs(self, X: Any, y: Any = None) -> Iterator[Any]:
        """Yield the inputs as tensors: a dense table at once, anything else batch by batch."""
        if isinstance(X, np.ndarray) and self._reads_plainly():
            yield torch.from_numpy(X)
            return
        if sparse.issparse(X) and self._reads_plainly():
            yield from dense_chunks(X)
            return
        for batch in self._alone().get_iterator(self.get_dataset(X, y), training=False):
            x = unpack_data(batch)[0]
            yield x if isinstance(x, Tensor) else to_tensor(x, device="cpu")

    def _reads_plainly(self) -> bool:
        """Return whether the table need not go through a dataset and an iterator."""
        params = any(name.startswith(("iterator_valid__", "dataset__")) for name in vars(self))
        return (
            self.dataset is BatchDataset
            and self.iterator_valid is DataLoader
            and not params
            and type(self).get_iterator is DrawingNet.get_iterator
            and type(self).get_dataset is NeuralNet.get_dataset
        )

    def _seed_for(self, *purpose: int) -> int:
        return int(np.random.SeedSequence([self.seed_, *purpose]).generate_state(1)[0])

    @contextmanager
    def _seeded(self, *purpose: int) -> Iterator[None]:
        """Seed torch for one purpose, and put its global generators back after."""
        if self.random_state is None:
            yield
            return
        seed = self._seed_for(*purpose)
        if self.device is not None and torch.device(self.device).type == "cuda":
            torch.cuda.init()
        with forked_generators(seed):
            yield


def _length(iterator: Any) -> int | None:
    try:
        return len(iterator)
    except TypeError:
        return None
