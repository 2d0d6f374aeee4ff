"""Dropout added to a net that was made, and maybe trained, without it."""

from copy import deepcopy
from typing import Any

from torch import Tensor, nn

from ._compiled import uncompiled

__all__ = ["add_dropout"]

_NAME = "added_dropout"


def add_dropout(
    module: nn.Module, rate: float, after: type | tuple[type, ...] = (nn.ReLU,)
) -> nn.Module:
    """Return a copy of a module with a dropout after each part of some classes.

    The module itself is not changed; the copy has the same weights, names and modes. Its dropouts
    act in training mode, and in the draws of `sample` and of the estimators.

    Parameters
    ----------
    module : nn.Module
        The module, such as a net that others have trained.
    rate : float
        The rate of the dropouts, in (0, 1).
    after : class or tuple of class
        The classes of the parts whose outputs are dropped, such as ``nn.ReLU`` or ``nn.Linear``;
        those that inherit from them count, too. A part that is called several times is followed by
        a dropout each time.

    Returns
    -------
    nn.Module
        The copy, not compiled. Each dropout is a part ``added_dropout`` of the one that it follows,
        and the ``state_dict`` is that of the module.

    Raises
    ------
    TypeError
        If ``module`` is no module, or ``after`` no classes of modules; in a pass, if a part returns
        no tensor.
    ValueError
        If the rate is outside (0, 1); if there is no part of these classes, or one has a dropout
        from here.

    Warnings
    --------
    A rate that the net was not trained with is not calibrated: the spread of the draws says how
    much the net depends on single units, and not by itself how wrong it is. Gal & Ghahramani
    (2016), section 3, need a net trained with dropout. Train the copy some more, or choose the rate
    and recalibrate on held-out rows, as `MCDropoutRegressor.calibrate` does.

    Notes
    -----
    Many nets have no part of a class for their activations: those that call ``torch.relu`` or
    ``F.relu`` are out of reach, and a part after which dropout makes sense has to be named.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import add_dropout, sample
    >>> layers = torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)
    >>> net = add_dropout(torch.nn.Sequential(*layers), rate=0.1)
    >>> sample(net, torch.ones(3, 2), n_draws=10).shape
    torch.Size([10, 3, 1])
    """
    kinds: Any = after if isinstance(after, tuple) else (after,)
    _check(module, rate, kinds)
    copy = deepcopy(uncompiled(module))
    found = [part for part in copy.modules() if isinstance(part, kinds)]
    if not found:
        raise ValueError(
            "`after` must name classes of parts that the module has. Got "
            f"{_names(kinds)}, and parts of {_names(set(map(type, copy.modules())))}. Name some "
            "of these. What the code calls as a function, as `F.relu`, cannot be caught: write "
            "`F.dropout` after it."
        )
    for part in found:
        if hasattr(part, _NAME):
            raise ValueError(
                f"no part may have an `{_NAME}` yet. Got a {type(part).__name__} that has. Start "
                "from the module without, or set the rates by `sk_mcdropout.nn.set_rates`."
            )
        _add(part, nn.Dropout(rate).train(part.training))
    return copy


def _add(part: nn.Module, dropout: nn.Dropout) -> None:
    """Let a dropout follow a part: as the last of a sequence, which calls all that is in it."""
    part.add_module(_NAME, dropout)
    if getattr(type(part), "forward", None) is not nn.Sequential.forward:
        part.register_forward_hook(_drop)


def _drop(part: Any, args: Any, output: Any) -> Tensor:
    """Return the output of a part with dropout; torch calls this after each call of the part."""
    if not isinstance(output, Tensor):
        raise TypeError(
            "what dropout is added after must return a tensor. Got a "
            f"{type(output).__name__} of a {type(part).__name__}. Name another class in `after`."
        )
    return part.added_dropout(output)


def _check(module: Any, rate: Any, after: Any) -> None:
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"`module` must be an instance of `torch.nn.Module`. Got a {type(module).__name__}."
        )
    are_classes = (isinstance(kind, type) and issubclass(kind, nn.Module) for kind in after)
    if not after or not all(are_classes):
        raise TypeError(
            f"`after` must be a class of modules, or a tuple of such. Got {after!r}. Write "
            "`after=(torch.nn.ReLU,)`."
        )
    if not 0 < rate < 1:
        raise ValueError(f"`rate` must lie in (0, 1). Got {rate!r}.")


def _names(kinds: Any) -> str:
    return ", ".join(sorted(kind.__name__ for kind in kinds))
