"""The steps of a stack of nets, as each net would make them alone."""

import math
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from copy import copy
from itertools import islice
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sk_mcdropout.nn import (
    BetaNLLLoss,
    StackedMLP,
    StackedModules,
    StackedNets,
    uncompiled,
)
from sk_mcdropout.sampling import progress_bar, tidy_modes

from ._callbacks import cosine, decay_for, decay_for_likelihood, recent_error

__all__ = ["Rows", "Stack"]

T = TypeVar("T")
Step = tuple[Tensor, list[int], list[Tensor | None]]  # places of rows, their numbers, and masks

_MASKED_AT_ONCE = 2**23  # numbers in the masks that are drawn at once


class Rows(NamedTuple):
    """The rows that a net is trained on: inputs, targets as the loss takes them, and weights."""

    x: Tensor
    y: Tensor
    weights: Tensor | None


class Stack:
    """Estimators of one architecture, made but not trained, and their steps as one.

    Each gets the rows of a step, the masks, the learning rate and the decay that it would get
    alone. All have as many steps in an epoch.

    Parameters
    ----------
    learners : sequence of MCDropoutNet
        The estimators.
    rows : sequence of Rows
        The rows of each. The same object for several is kept once.
    """

    def __init__(self, learners: Sequence[Any], rows: Sequence[Rows]) -> None:
        self.learners, self.one = learners, learners[0]
        self.nets = _stacked([learner.module_ for learner in learners], rows[0].x)
        self.counts = [len(part.x) for part in rows]
        self.size = max(self.counts) if self.one.batch_size_ == -1 else self.one.batch_size_
        self.n_batches = math.ceil(max(self.counts) / self.size)
        self.n_steps, self.step = self.n_batches * self.one.max_epochs_, 0
        of_row = len(learners) * self.size * sum(call.size for call in self.nets.dropouts)
        self.at_once = max(1, _MASKED_AT_ONCE // max(1, of_row))
        self._take(rows)
        self._make_optimizer()
        self._learn_errors()

    def _take(self, rows: Sequence[Rows]) -> None:
        """Keep the rows of the nets, as their passes take them."""
        kinds = {id(part): part for part in rows}
        scaled = dict(zip(map(id, rows), self.nets.scaled([part.x for part in rows]), strict=True))
        self.X = pad_sequence([scaled[kind] for kind in kinds], batch_first=True)
        self.Y = pad_sequence([part.y for part in kinds.values()], batch_first=True)
        weights = [part.weights for part in kinds.values() if part.weights is not None]
        self.weights = pad_sequence(weights, batch_first=True) if weights else None
        self.places = torch.tensor([list(kinds).index(id(part)) for part in rows])[:, None]

    def _make_optimizer(self) -> None:
        """Make one optimizer for all; of AdamW the decays, which may differ, are not its own."""
        given = [
            learner.get_params_for_optimizer("optimizer", learner.module_.named_parameters())[1]
            for learner in self.learners
        ]
        self.decays = torch.zeros(len(given))
        if self.one.optimizer is torch.optim.AdamW:
            usual = self.one.optimizer_.defaults["weight_decay"]
            self.decays = torch.tensor([float(own.pop("weight_decay", usual)) for own in given])
            given[0]["weight_decay"] = 0.0
        rates = [float(params["lr"]) for params in given]
        self.lr, params = max(rates), given[0]
        self.shares = torch.tensor([rate / self.lr if self.lr else 1.0 for rate in rates])
        self.unlike = bool((self.shares != 1).any())
        self.optimizer = self.one.optimizer([self.nets.flat], **params | {"lr": self.lr})

    def _learn_errors(self) -> None:
        """Begin to follow the errors, in variances of the targets, that the decays depend on."""
        self.criterion = copy(uncompiled(self.one.criterion_))
        self.criterion.reduction = "none"
        self.tells_noise = isinstance(self.criterion, BetaNLLLoss)
        self.follows_noise = self.one._decays_by_noise()
        self.errors = np.ones(len(self.learners))
        if self.follows_noise:
            spreads = np.stack([np.atleast_1d(learner._spread) for learner in self.learners])
            self.spreads = torch.from_numpy(spreads).to(self.Y)[:, None]
            self.losses_are_errors = not self.tells_noise and bool((spreads == 1).all())

    # -- steps -------------------------------------------------------------------------------

    def train(self, progress: bool = False) -> None:
        """Make all steps, and copy the weights into the nets, also after an interrupt."""
        steps = (step for some in _ahead(self._steps()) for step in some)
        shown = progress_bar(self.n_steps, "step") if progress else nullcontext()
        try:
            with shown as bar, tidy_modes():
                for _ in range(self.one.max_epochs_):
                    self._epoch(steps, bar)
        except KeyboardInterrupt:
            for learner in self.learners:
                learner._interrupted = True
        self.nets.put_back()

    def _steps(self) -> Iterator[list[Step]]:
        """Yield the rows of each step, their numbers, and the masks: of some steps at once."""
        generators = [learner._generator_of_training() for learner in self.learners]
        shuffle = self.one.iterator_train__shuffle
        n_rows = [
            [min(self.size, n - self.size * k) for n in self.counts] for k in range(self.n_batches)
        ]
        for _ in range(self.one.max_epochs_):
            orders = [_order(n, g, shuffle) for n, g in zip(self.counts, generators, strict=True)]
            batches = pad_sequence(orders, batch_first=True).split(self.size, dim=1)
            for start in range(0, self.n_batches, self.at_once):
                some = slice(start, start + self.at_once)
                masks = self.nets.masks(n_rows[some], generators)
                yield list(zip(batches[some], n_rows[some], masks, strict=True))

    def _epoch(self, steps: Iterator[Step], bar: Any) -> None:
        begin = perf_counter()
        losses: list[tuple[list[float], list[int]]] = []
        for rows, n_rows, masks in islice(steps, self.n_batches):
            losses.append((self._make_step(rows, n_rows, masks), n_rows))
            if bar is not None:
                bar.update()
        seconds = (perf_counter() - begin) / len(self.learners)
        for k, learner in enumerate(self.learners):
            _record(learner.history, [(loss[k], n_rows[k]) for loss, n_rows in losses], seconds)

    def _make_step(
        self, rows: Tensor, n_rows: Sequence[int], masks: Sequence[Tensor | None]
    ) -> list[float]:
        """Make one step, and return the losses before it."""
        at = self.places * self.X.shape[1] + rows
        x, y = _rows_of(self.X, at), _rows_of(self.Y, at)
        outputs = self.nets(x, masks).reshape(*y.shape[:2], -1)
        each = self.one._losses(self.criterion, outputs, y)
        if self.weights is not None:
            each = each * _rows_of(self.weights.unsqueeze(-1), at)
        losses = _means(each, n_rows)
        self.optimizer.zero_grad()
        losses.sum().backward()
        share = cosine(self.step / self.n_steps) if self.one.lr_schedule else 1.0
        self._update(self.lr * share)
        self.step += 1
        values: list[float] = losses.tolist()
        if self.follows_noise:
            self._follow_noise(values, outputs, y, n_rows)
        return values

    @torch.no_grad()
    def _update(self, lr: float) -> None:
        """Let the weights decay, and move them by the step of the optimizer."""
        weights = self.nets.flat
        weights.mul_((1 - lr * self.shares * self.decays).to(weights)[:, None])
        before = weights.clone() if self.unlike else weights
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()
        if self.unlike:
            weights.copy_(torch.lerp(before, weights, self.shares.to(weights)[:, None]))

    @torch.no_grad()
    def _follow_noise(
        self, losses: list[float], outputs: Tensor, y: Tensor, n_rows: Sequence[int]
    ) -> None:
        """Set the decays of the next step, as `DecayByNoise` does for a net alone."""
        if self.losses_are_errors:
            errors = np.array(losses)
        else:
            means = outputs[..., : y.shape[-1]]
            errors = _means(((y - means) / self.spreads) ** 2, n_rows).numpy()
        self.errors = recent_error(self.errors, errors)
        rule = decay_for_likelihood if self.tells_noise else decay_for
        decays = [rule(error, self.n_batches) for error in self.errors]
        self.decays = torch.tensor(decays, dtype=torch.float32)


def _stacked(nets: Sequence[Any], x: Tensor) -> StackedNets:
    """Return the stack of some nets, for rows such as these."""
    if all(map(StackedMLP.takes, nets)):
        return StackedMLP(nets)
    return StackedModules(nets, x)


def _rows_of(values: Tensor, at: Tensor) -> Tensor:
    """Return rows by their places among those of all tables."""
    return values.flatten(0, 1).index_select(0, at.flatten()).unflatten(0, at.shape)


def _means(each: Tensor, n_rows: Sequence[int]) -> Tensor:
    """Return the mean for each net over its rows and targets."""
    if min(n_rows) == each.shape[1]:
        return each.mean(dim=(1, 2))
    return torch.stack([part[:n].mean() for part, n in zip(each, n_rows, strict=True)])


def _ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """Yield items, each of which is made in another thread while the one before it is used."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, end)
        while (item := following.result()) is not end:
            following = pool.submit(next, items, end)
            yield item  # type: ignore[misc]


def _order(n_rows: int, generator: torch.Generator, shuffle: bool) -> Tensor:
    """Return an order of rows, drawn as torch's data loader and its sampler draw it."""
    torch.empty((), dtype=torch.int64).random_(generator=generator)  # the loader's base seed
    if not shuffle:
        return torch.arange(n_rows)
    seed = int(torch.empty((), dtype=torch.int64).random_(generator=generator))
    return torch.randperm(n_rows, generator=torch.Generator().manual_seed(seed))


def _record(history: Any, losses: Sequence[tuple[float, int]], seconds: float) -> None:
    """Record an epoch as skorch does, without its reading of all epochs before."""
    values, sizes = zip(*losses, strict=True)
    loss = float(np.average(values, weights=sizes))
    best = next(
        (epoch["train_loss"] for epoch in reversed(history) if epoch["train_loss_best"]), loss
    )
    history.append(
        {
            "batches": [{"train_loss": value, "train_batch_size": size} for value, size in losses],
            "epoch": len(history) + 1,
            "dur": seconds,
            "train_loss": loss,
            "train_loss_best": loss <= best,
            "train_batch_count": len(losses),
        }
    )
