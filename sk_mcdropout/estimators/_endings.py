"""How a training has ended: in time, by an interrupt, or with weights that are no numbers."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from skorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

__all__ = ["check_finite", "is_early_stop", "state_of"]


def is_early_stop(interrupt: KeyboardInterrupt) -> bool:
    """Return whether a callback has ended the training after an epoch, as ``EarlyStopping`` does.

    Parameters
    ----------
    interrupt : KeyboardInterrupt
        What has ended it; where a callback raised it in its ``on_epoch_end``, it is no interrupt
        by the user.
    """
    place = interrupt.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None or place.tb_frame.f_code.co_name != "on_epoch_end":
        return False
    return isinstance(place.tb_frame.f_locals.get("self"), Callback)


def check_finite(module: nn.Module, history: Any, callbacks: Sequence[tuple[str, Any]]) -> None:
    """Refuse weights that are not finite, and a last epoch whose losses are not.

    Parameters
    ----------
    module : nn.Module
        The trained module.
    history : History
        The history of the training.
    callbacks : list of (str, Callback)
        The callbacks; after one that loads the best weights the last losses tell nothing.
    """
    if not all(map(_is_finite, module.parameters())):
        got = "weights that are not finite"
    elif any(getattr(callback, "load_best", False) for _, callback in callbacks):
        return
    else:
        batches = [batch for epoch in history[-1:] for batch in epoch["batches"]]
        losses = [batch["train_loss"] for batch in batches if "train_loss" in batch]
        if all(map(math.isfinite, losses)):
            return
        got = f"train losses of {losses[-1]} in the last epoch"
    raise ValueError(
        f"the training must end with finite weights and losses. Got {got}. Lower `lr`, or scale "
        "X and y: they may contain large values."
    )


def state_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Return the names and values of the parameters and buffers of a module, without gradients."""
    parts = chain(module.named_parameters(), module.named_buffers())
    return ((name, part if is_lazy(part) else part.detach()) for name, part in parts)


def _is_finite(weights: Tensor) -> bool:
    if is_lazy(weights) or not (weights.requires_grad and weights.is_floating_point()):
        return True
    return bool(weights.detach().isfinite().all())
