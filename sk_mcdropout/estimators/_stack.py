"""The steps of a stack of nets, as each net would make them alone."""

import math
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from sk_mcdropout.nn import BetaNLLLoss, PeriodicEmbedding, StackedMLP, uncompiled

from ._callbacks import cosine, decay_for, decay_for_likelihood, recent_error

__all__ = ["Rows", "Stack"]

T = TypeVar("T")


class Rows(NamedTuple):
    """The rows that a net is trained on: inputs, standardised targets, and weights of mean 1."""

    x: Tensor
    y: Tensor
    weights: Tensor | None


class Stack:
    """Estimators of one architecture, made but not trained, and their steps as one.

    Each gets the rows of a step, the masks, the learning rate and the decay that it would get
    alone. All have as many steps in an epoch.

    Parameters
    ----------
    learners : sequence of MCDropoutRegressor
        The estimators.
    rows : sequence of Rows
        The rows of each. The same object for several is kept once.
    """

    def __init__(self, learners: Sequence[Any], rows: Sequence[Rows]) -> None:
        self.learners, self.one = learners, learners[0]
        self.nets = StackedMLP([learner.module_ for learner in learners])
        self.parameters = list(self.nets.parameters.values())
        self.counts = [len(part.x) for part in rows]
        self.size = max(self.counts) if self.one.batch_size_ == -1 else self.one.batch_size_
        self.n_batches = math.ceil(max(self.counts) / self.size)
        self.n_steps, self.step = self.n_batches * self.one.max_epochs_, 0
        self._take(rows)
        self._make_optimizer()
        self._learn_errors()

    def _take(self, rows: Sequence[Rows]) -> None:
        """Keep the rows of the nets, with their columns scaled, which training does not change."""
        kinds = {id(part): part for part in rows}
        nets = dict(zip(map(id, rows), self.nets.nets, strict=True))
        xs = [nets[kind].scale(part.x) for kind, part in kinds.items()]
        self.within = all(map(_is_within, (nets[kind].embedding for kind in kinds), xs))
        self.X = pad_sequence(xs, batch_first=True)
        self.Y = pad_sequence([part.y for part in kinds.values()], batch_first=True)
        weights = [part.weights for part in kinds.values() if part.weights is not None]
        self.weights = pad_sequence(weights, batch_first=True) if weights else None
        self.places = torch.tensor([list(kinds).index(id(part)) for part in rows])[:, None]

    def _make_optimizer(self) -> None:
        """Make one optimizer for all; the decays, which differ, are not its own."""
        given = [
            learner.get_params_for_optimizer("optimizer", learner.module_.named_parameters())[1]
            for learner in self.learners
        ]
        usual = self.one.optimizer_.defaults["weight_decay"]
        self.decays = torch.tensor([float(params.get("weight_decay", usual)) for params in given])
        rates = [float(params["lr"]) for params in given]
        self.lr, params = max(rates), given[0]
        self.shares = torch.tensor([rate / self.lr if self.lr else 1.0 for rate in rates])
        params |= {"lr": self.lr, "weight_decay": 0.0}
        self.optimizer = torch.optim.AdamW(self.parameters, **params)

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

    # -- steps -------------------------------------------------------------------------------

    def train(self, progress: bool = False) -> None:
        """Make all steps, and copy the weights into the nets, also after an interrupt."""
        steps = ahead(self._steps())
        bar = tqdm(total=self.n_steps, unit="step", disable=not progress)
        try:
            with bar:
                for _ in range(self.one.max_epochs_):
                    self._epoch(steps, bar)
        except KeyboardInterrupt:
            for learner in self.learners:
                learner._interrupted = True
        finally:
            steps.close()
        self.nets.put_back()

    def _steps(self) -> Iterator[tuple[Tensor, list[int], list[Tensor | None]]]:
        """Yield the rows of each step, their numbers, and the masks."""
        generators = [learner._generator_of_training() for learner in self.learners]
        shuffle = self.one.iterator_train__shuffle
        for _ in range(self.one.max_epochs_):
            orders = [_order(n, g, shuffle) for n, g in zip(self.counts, generators, strict=True)]
            batches = pad_sequence(orders, batch_first=True).split(self.size, dim=1)
            for k, rows in enumerate(batches):
                n_rows = [min(self.size, n - self.size * k) for n in self.counts]
                yield rows, n_rows, self.nets.masks(n_rows, generators)

    def _epoch(self, steps: Iterator[Any], bar: Any) -> None:
        begin = perf_counter()
        losses: list[tuple[list[float], list[int]]] = []
        for rows, n_rows, masks in (next(steps) for _ in range(self.n_batches)):
            losses.append((self._make_step(rows, n_rows, masks), n_rows))
            bar.update()
        for k, learner in enumerate(self.learners):
            of_net = [(loss[k], n_rows[k]) for loss, n_rows in losses]
            _record(learner.history, of_net, perf_counter() - begin)

    def _make_step(
        self, rows: Tensor, n_rows: Sequence[int], masks: Sequence[Tensor | None]
    ) -> list[float]:
        """Make one step, and return the losses before it."""
        x, y = self.X[self.places, rows], self.Y[self.places, rows]
        outputs = self.nets(x, masks, self.within)
        each = self.criterion(outputs, y)
        if self.weights is not None:
            each = each * self.weights[self.places, rows].unsqueeze(-1)
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
        kept = 1 - lr * self.shares * self.decays
        for parameter in self.parameters:
            parameter.mul_(_to_axes(kept, parameter))
        unlike = bool((self.shares != 1).any())
        before = [parameter.clone() for parameter in self.parameters] if unlike else []
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()
        for parameter, old in zip(self.parameters, before, strict=False):
            parameter.copy_(torch.lerp(old, parameter, _to_axes(self.shares, parameter)))

    @torch.no_grad()
    def _follow_noise(
        self, losses: list[float], outputs: Tensor, y: Tensor, n_rows: Sequence[int]
    ) -> None:
        """Set the decays of the next step, as `DecayByNoise` does for a net alone."""
        if not self.tells_noise and bool((self.spreads == 1).all()):
            errors = np.array(losses)
        else:
            means = outputs[..., : y.shape[-1]]
            errors = _means(((y - means) / self.spreads) ** 2, n_rows).numpy()
        self.errors = recent_error(self.errors, errors)
        rule = decay_for_likelihood if self.tells_noise else decay_for
        decays = [rule(error, self.n_batches) for error in self.errors]
        self.decays = torch.tensor(decays, dtype=torch.float32)


def _is_within(embedding: nn.Module, x: Tensor) -> bool:
    """Return whether rows lie within the range that an embedding was fitted to."""
    if not isinstance(embedding, PeriodicEmbedding):
        return True
    return bool(((x >= embedding.lower) & (x <= embedding.upper)).all())


def _means(each: Tensor, n_rows: Sequence[int]) -> Tensor:
    """Return the mean for each net over its rows and targets."""
    if min(n_rows) == each.shape[1]:
        return each.mean(dim=(1, 2))
    return torch.stack([part[:n].mean() for part, n in zip(each, n_rows, strict=True)])


def _to_axes(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like).view(-1, *[1] * (like.ndim - 1))


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
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
