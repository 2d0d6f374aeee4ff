"""Estimators of one architecture, each with its own rows, trained as one stack."""

import math
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from sk_mcdropout.nn import MLP, StackedMLP

from ._batches import BatchDataset
from ._callbacks import cosine, decay_for, recent_error

__all__ = ["fit_together"]

# Parameters whose values here are those that a stack knows, and those that have to be left out.
_KNOWN = {
    "criterion": nn.MSELoss,
    "optimizer": torch.optim.AdamW,
    "iterator_train": DataLoader,
    "dataset": BatchDataset,
    "callbacks": None,
    "train_split": None,
    "early_stopping": False,
    "compile": False,
    "device": "cpu",
    "verbose": 0,
    "output": None,
    "warm_start": False,
}
_UNKNOWN = (
    "criterion__",
    "callbacks__",
    "iterator_train__",
    "dataset__",
    "optimizer__param_groups",
)


def fit_together(
    learners: Sequence[Any],
    data: Sequence[tuple[Any, Any]],
    weights: Sequence[dict[str, Any]] | None = None,
    **fit_params: Any,
) -> None:
    """Fit each estimator on its own rows: as one stack where that can be, else one by one.

    A stack trains default nets on tables with the squared error and AdamW, all of the same widths,
    with as many steps in an epoch. Each gets the rows of a step, the masks, the learning rate and
    the decay that it would get alone, so that the fits are the same but for the rounding.

    Parameters
    ----------
    learners : sequence of MCDropoutRegressor
        The estimators, not fitted yet.
    data : sequence of (X, y)
        The rows of each.
    weights : sequence of dict, optional
        Further arguments of ``fit`` for each, such as the weights of its rows.
    **fit_params : dict
        Passed to ``fit``.
    """
    each = weights or [{}] * len(learners)
    plain = not fit_params and not any(each) and all(map(_may_be_stacked, learners))
    if plain and _fit_stack(learners, data):
        return
    for learner, (X, y), given in zip(learners, data, each, strict=True):
        learner.fit(X, y, **given, **fit_params)
        if learner._interrupted:
            return


def _may_be_stacked(learner: Any) -> bool:
    ours = type(learner).__module__.partition(".")[0] == "sk_mcdropout"
    usual = all(getattr(learner, name) == value for name, value in _KNOWN.items())
    given = [n for n in vars(learner) if n.startswith(_UNKNOWN) and n != "iterator_train__shuffle"]
    one_table = learner.module is MLP and learner.noise != "heteroscedastic"
    return ours and usual and not given and one_table


def _fit_stack(learners: Sequence[Any], data: Sequence[tuple[Any, Any]]) -> bool:
    """Fit the estimators as one; return whether they can be."""
    before = [vars(learner).copy() for learner in learners]
    rows: list[Any] = []
    alike = False
    try:
        for learner, (X, y) in zip(learners, data, strict=True):
            X, y = learner._prepare(X, y, True, {}, None)
            rows.append(_rows_of(learner, X, y))
        alike = _are_alike(learners, rows)
        if alike:
            _Stack(learners, rows).train()
            for learner, (X, y) in zip(learners, data, strict=True):
                learner._finish(X, y, True, {})
    except ValueError:
        alike = False  # those that are whole are no use without the others
        raise
    finally:
        for learner, state in zip(learners, before, strict=True):
            learner._forget_the_rows() if alike else learner._put_back(state)
    return alike


def _rows_of(learner: Any, X: Any, y: Any) -> tuple[Tensor, Tensor] | None:
    """Return the inputs and the standardised target of an estimator; None for no table."""
    if not isinstance(X, np.ndarray) or X.ndim != 2 or y is None or y.ndim > 2:
        return None
    train, _ = learner.get_split_datasets(X, y)
    x, target = train.__getitems__(np.arange(len(train)))
    target = learner._standardised(target)
    return x, target.to(x.dtype).reshape(len(x), -1)


def _are_alike(learners: Sequence[Any], rows: Sequence[Any]) -> bool:
    """Return whether the nets have the same architecture and the same steps."""
    if any(part is None for part in rows) or not all(StackedMLP.takes(n.module_) for n in learners):
        return False
    if any(np.ptp(learner._spread) > 0 for learner in learners):
        return False  # targets of unlike units, whose errors are not told by the loss alone
    kinds = {
        (
            _architecture(learner.module_),
            learner.batch_size_,
            learner.max_epochs_,
            learner.lr_schedule,
            learner.iterator_train__shuffle,
            learner._decays_by_noise(),
            _n_batches(learner, len(x)),
            x.dtype,
            str(learner.get_params_for_optimizer("optimizer", [])[1] | {"weight_decay": 0}),
        )
        for learner, (x, _) in zip(learners, rows, strict=True)
    }
    return len(kinds) == 1


def _architecture(net: nn.Module) -> tuple[Any, ...]:
    shapes = tuple((name, tuple(part.shape)) for name, part in net.state_dict().items())
    return shapes + tuple(repr(part) for part in net.modules() if not _has_a_rate(part))


def _has_a_rate(part: nn.Module) -> bool:
    return any(isinstance(inner, nn.Dropout) for inner in part.modules())


def _n_batches(learner: Any, n_rows: int) -> int:
    size = learner.batch_size_
    return 1 if size == -1 else math.ceil(n_rows / size)


class _Stack:
    """The steps of all nets at once, as each would make them alone."""

    def __init__(self, learners: Sequence[Any], rows: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.learners, one = learners, learners[0]
        self.generators = [learner._generator_of_training() for learner in learners]
        self.nets = StackedMLP([learner.module_ for learner in learners], self.generators)
        self.parameters = list(self.nets.parameters.values())
        self.X = pad_sequence([x for x, _ in rows], batch_first=True)
        self.Y = pad_sequence([y for _, y in rows], batch_first=True)
        self.counts = [len(x) for x, _ in rows]
        self.size = max(self.counts) if one.batch_size_ == -1 else one.batch_size_
        self.n_batches = math.ceil(max(self.counts) / self.size)
        self.n_steps, self.step = self.n_batches * one.max_epochs_, 0
        self._make_optimizer()

    def _make_optimizer(self) -> None:
        """Make one optimizer for all; the decays, which differ, are not its own."""
        one = self.learners[0]
        kwargs = one.get_params_for_optimizer("optimizer", one.module_.named_parameters())[1]
        usual = kwargs.pop("weight_decay", one.optimizer_.defaults["weight_decay"])
        self.optimizer = torch.optim.AdamW(self.parameters, **kwargs, weight_decay=0.0)
        self.lr = kwargs["lr"]
        self.decays = torch.full((len(self.learners),), float(usual))
        self.follows_noise = one._decays_by_noise()
        self.errors = np.ones(len(self.learners))
        self.variances = np.array([learner._spread.flat[0] ** 2 for learner in self.learners])

    def train(self) -> None:
        """Make all steps, and copy the weights into the nets, also after an interrupt."""
        try:
            for _ in range(self.learners[0].max_epochs_):
                self._epoch()
        except KeyboardInterrupt:
            for learner in self.learners:
                learner._interrupted = True
        self.nets.put_back()

    def _epoch(self) -> None:
        begin = perf_counter()
        losses: list[tuple[list[float], list[int]]] = []
        for rows in self._order().split(self.size, dim=1):
            n_rows = [min(self.size, n - self.size * len(losses)) for n in self.counts]
            losses.append((self._make_step(rows, n_rows), n_rows))
        for k, learner in enumerate(self.learners):
            of_net = [(loss[k], n_rows[k]) for loss, n_rows in losses]
            _record(learner.history, of_net, perf_counter() - begin)

    def _order(self) -> Tensor:
        """Return the places of the rows of an epoch, of shape (n_nets, most rows of a net)."""
        shuffle = self.learners[0].iterator_train__shuffle
        orders = [_order(n, g, shuffle) for n, g in zip(self.counts, self.generators, strict=True)]
        return pad_sequence(orders, batch_first=True)

    def _make_step(self, rows: Tensor, n_rows: Sequence[int]) -> list[float]:
        """Make one step, and return the losses before it."""
        nets = torch.arange(len(self.learners))[:, None]
        squares = (self.nets(self.X[nets, rows], n_rows) - self.Y[nets, rows]) ** 2
        if min(n_rows) == rows.shape[1]:
            losses = squares.mean(dim=(1, 2))
        else:
            losses = torch.stack([s[:n].mean() for s, n in zip(squares, n_rows, strict=True)])
        self.optimizer.zero_grad()
        losses.sum().backward()
        share = cosine(self.step / self.n_steps) if self.learners[0].lr_schedule else 1.0
        self._decay(self.lr * share)
        self.optimizer.param_groups[0]["lr"] = self.lr * share
        self.optimizer.step()
        self.step += 1
        values: list[float] = losses.tolist()
        if self.follows_noise:
            self.errors = recent_error(self.errors, np.array(values) / self.variances)
            decays = [decay_for(error, self.n_batches) for error in self.errors]
            self.decays = torch.tensor(decays, dtype=torch.float32)
        return values

    @torch.no_grad()
    def _decay(self, lr: float) -> None:
        kept = 1 - lr * self.decays
        for parameter in self.parameters:
            parameter.mul_(kept.view(-1, *[1] * (parameter.ndim - 1)))


def _order(n_rows: int, generator: torch.Generator, shuffle: bool) -> Tensor:
    """Return an order of rows, drawn as torch's data loader and its sampler draw it."""
    torch.empty((), dtype=torch.int64).random_(generator=generator)  # the loader's base seed
    if not shuffle:
        return torch.arange(n_rows)
    seed = int(torch.empty((), dtype=torch.int64).random_(generator=generator))
    return torch.randperm(n_rows, generator=torch.Generator().manual_seed(seed))


def _record(history: Any, losses: Sequence[tuple[float, int]], seconds: float) -> None:
    """Record an epoch as skorch does."""
    history.new_epoch()
    for loss, n_rows in losses:
        history.new_batch()
        history.record_batch("train_loss", loss)
        history.record_batch("train_batch_size", n_rows)
    history.record("epoch", len(history))
    history.record("dur", seconds)
    mean = np.average([loss for loss, _ in losses], weights=[n for _, n in losses])
    history.record("train_loss", float(mean))
    history.record("train_loss_best", history[-1]["train_loss"] <= min(history[:, "train_loss"]))
    history.record("train_batch_count", len(losses))
