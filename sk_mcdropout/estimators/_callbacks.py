"""Callbacks that each net has: its learning rate, its decay of weights, and its early end."""

import math
from typing import Any

from skorch.callbacks import Callback, EarlyStopping, LRScheduler, PrintLog
from torch.optim.lr_scheduler import LambdaLR

from sk_mcdropout.sampling import progress_bar

__all__ = [
    "CosineSchedule",
    "DecayByNoise",
    "EarlyEnd",
    "EpochBar",
    "EpochTable",
    "cosine",
    "decay_for",
    "recent_error",
]

# Chosen by the predictions of rows out of fold, see benchmarks/defaults.md.
_RECENT, _DECAY, _DECAY_OF_NOISE, _MOST_DECAY = 0.02, 150.0, 60.0, 3.0


def cosine(progress: float) -> float:
    """Return the share of the learning rate after a share of the training."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def recent_error(before: Any, error: Any) -> Any:
    """Return the mean of the errors of the last steps, after one more."""
    return before + _RECENT * (error - before)


def decay_for(error: float, n_batches: float) -> float:
    """Return the decay of weights for an error in variances of the target."""
    return min(_MOST_DECAY, _DECAY * error**2 / n_batches)


def decay_for_likelihood(error: float, n_batches: float) -> float:
    """Return the decay for a net that tells its noise, which it takes from the same rows."""
    return min(_MOST_DECAY, _DECAY_OF_NOISE * error / n_batches)


class CosineSchedule(LRScheduler):
    """Let the learning rate fall to 0 from the first step of training to the last.

    It falls along half a cosine, whose length is the number of steps that are to come. The rates
    of the optimizer are put back after training, so that more training begins with them. Where
    nobody knows the number of batches, as in an ``IterableDataset``, it is that of the epochs
    before, and the rate is constant in the first one.

    It does so for a net whose ``lr_schedule`` is "cosine", unless there is another schedule among
    the callbacks.

    References
    ----------
    Loshchilov & Hutter (2017), "SGDR: stochastic gradient descent with warm restarts", ICLR, eq. 5.
    """

    def __init__(self):
        super().__init__(policy=LambdaLR, event_name=None, step_every="batch")

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Begin a cosine, of a length that is not known yet."""
        self.step_, self.epoch_, self.n_steps_, self.lr_scheduler_ = 0, -1, math.inf, None
        others = (part for _, part in net.callbacks_ if part is not self)
        taken = any(isinstance(part, LRScheduler) for part in others)
        self.is_asked_ = net.lr_schedule == "cosine" and not taken

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Note where the epoch begins."""
        self.epoch_ += 1
        self.begin_ = self.step_
        if self.is_asked_ and self.lr_scheduler_ is None:  # callbacks may have made the net anew
            self.lr_scheduler_ = LambdaLR(net.optimizer_, self._factor)

    def on_batch_end(self, net, training=False, **kwargs):
        """Take a step along the cosine after each step of training."""
        if self.lr_scheduler_ is None or not training:
            return
        so_far = self.begin_ / self.epoch_ if self.epoch_ else math.inf
        per_epoch = net._n_batches or so_far
        self.n_steps_ = self.begin_ + per_epoch * (net._n_epochs - self.epoch_)
        super().on_batch_end(net, training, **kwargs)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Put the learning rates back."""
        if self.lr_scheduler_ is None:
            return
        groups = net.optimizer_.param_groups
        for group, lr in zip(groups, self.lr_scheduler_.base_lrs, strict=True):
            group["lr"] = lr
            group.pop("initial_lr", None)
        self.lr_scheduler_ = None  # which knows the optimizer

    def _factor(self, step: int) -> float:
        self.step_ = step
        return cosine(step / self.n_steps_)


class DecayByNoise(Callback):
    """Let the weights of the default net decay as fast as the noise of the target asks for.

    With a normal prior the decay of weights is proportional to the variance of the noise and
    inverse to the number of rows (Gal & Ghahramani, 2016, eq. 7). That variance is not known, and
    the loss of training, which an unregularised net brings to 0, tells too little of it; so the
    decay follows the square of the loss, v: a target that is learned well gets next to none, one
    that is mostly noise as much as it needs. It is ``min(3, 150 v^2 / number of batches)``, with v
    the mean of the last 50 losses or so, in variances of the target, and ``60 v`` for a net that
    tells its noise, which it would tell too small.

    It does so for the default net with AdamW, a loss that compares its output with y number by
    number or `BetaNLLLoss`, and no decay of the user's.
    """

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Begin with the loss of a net that knows nothing."""
        self.v_, self.groups_ = 1.0, None
        self.usual_ = net.optimizer_.defaults.get("weight_decay")

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Find out what is to decay."""
        if self.groups_ is None:
            groups = enumerate(net.optimizer_.param_groups if net._decays_by_noise() else [])
            self.groups_ = [k for k, group in groups if group["weight_decay"] == self.usual_]

    def on_batch_end(self, net, batch=None, training=False, y_pred=None, **kwargs):
        """Set the decay of the next step."""
        if not self.groups_ or not training:
            return
        error = net._over_processes(net._relative_error(batch, y_pred))
        self.v_ = recent_error(self.v_, error)
        rule = decay_for_likelihood if net.noise == "heteroscedastic" else decay_for
        self._set(net, rule(self.v_, net._n_batches or math.inf))

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Put the decays back."""
        self._set(net, self.usual_)

    def _set(self, net: Any, decay: float) -> None:
        for k in self.groups_ or []:
            net.optimizer_.param_groups[k]["weight_decay"] = decay


class EarlyEnd(EarlyStopping):
    """End the training of a net with ``early_stopping``, and put its best weights back."""

    def on_train_begin(self, net, **kwargs):
        """Begin to wait, as long as the net says."""
        super().on_train_begin(net, **kwargs)
        waits = net.n_iter_no_change
        self.patience = max(10, net.max_epochs_ // 10) if waits == "auto" else waits
        self.load_best = net.early_stopping

    def on_epoch_end(self, net, **kwargs):
        """Stop where the loss of the held-out rows has not improved for long."""
        if net.early_stopping:
            super().on_epoch_end(net, **kwargs)

    def on_train_end(self, net, **kwargs):
        """Put the best weights back."""
        if net.early_stopping and net.history:
            super().on_train_end(net, **kwargs)


class EpochBar(Callback):
    """Show how many epochs are done, and the losses of the last one, where ``verbose`` is 1."""

    bar_: Any = None

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Show the bar, once the number of epochs is known."""
        if net.verbose == 1 and self.bar_ is None:
            self.bar_ = progress_bar(net._n_epochs, "epoch")

    def on_epoch_end(self, net, **kwargs):
        """Count an epoch."""
        if self.bar_ is not None:
            losses = ("train_loss", "valid_loss")
            self.bar_.set_postfix({n: net.history[-1][n] for n in losses if n in net.history[-1]})
            self.bar_.update()

    def on_train_end(self, net, **kwargs):
        """Leave the bar as it is."""
        if self.bar_ is not None:
            self.bar_.close()
            self.bar_ = None

    def __getstate__(self):
        return {}  # a bar that an error has left is not for another process


class EpochTable(PrintLog):
    """Print a table of the epochs, as skorch does, where ``verbose`` is above 1."""

    def on_epoch_end(self, net, **kwargs):
        """Print a row."""
        if net.verbose != 1 or self.sink is not print:
            super().on_epoch_end(net, **kwargs)
