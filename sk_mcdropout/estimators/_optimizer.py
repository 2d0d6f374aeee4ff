"""Faster steps of training, where torch's own classes leave little to do."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["clear_gradients", "set_mode", "takes_fused_step", "without_decay"]


def set_mode(module: nn.Module, training: bool) -> None:
    """Do what ``module.train(training)`` does, in little time if it is in that mode already.

    Parameters
    ----------
    module : nn.Module
        The module.
    training : bool
        Whether training mode is meant, or eval mode.
    """
    if not _is_in_mode(module, training):
        module.train(training)


def _is_in_mode(module: nn.Module, training: bool) -> bool:
    """Return whether a module and its parts, all with torch's own ``train``, are in a mode."""
    if module.training is not training or type(module).train is not nn.Module.train:
        return False
    for part in module._modules.values():  # a generator would take twice the time
        if part is not None and not _is_in_mode(part, training):
            return False
    return "train" not in vars(module)


def clear_gradients(optimizer: Optimizer) -> None:
    """Do what ``optimizer.zero_grad()`` does, without a note for torch's profiler.

    Parameters
    ----------
    optimizer : Optimizer
        The optimizer.
    """
    if getattr(type(optimizer), "zero_grad", None) is not Optimizer.zero_grad:
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def takes_fused_step(
    optimizer: Any, module: nn.Module, groups: list[dict], params: dict[str, Any]
) -> bool:
    """Return whether an optimizer can take torch's fused step, and no other was chosen.

    Parameters
    ----------
    optimizer : class
        The optimizer.
    module : nn.Module
        The module that is trained.
    groups : list of dict
        The groups of parameters, each with its ``params``.
    params : dict
        The other arguments that the optimizer will get.

    Returns
    -------
    bool
        Whether to ask for it.
    """
    chosen = {"fused", "foreach", "differentiable", "capturable"} & set(params)
    if chosen or "fused" not in signature(optimizer).parameters:
        return False
    tensors = [p for group in groups for p in group["params"]]
    dense = not any(getattr(part, "sparse", False) for part in module.modules())
    simple = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in tensors)
    return dense and simple and bool(tensors)


def without_decay(optimizer: Any, groups: list[dict], own: Sequence[Tensor]) -> list[dict]:
    """Put parameters that have a regularisation of their own into a group without weight decay.

    Parameters
    ----------
    optimizer : class
        The optimizer.
    groups : list of dict
        The groups of parameters; those with a ``weight_decay`` of their own are left alone.
    own : list of Tensor
        The parameters.

    Returns
    -------
    list of dict
        The groups.
    """
    if not own or "weight_decay" not in signature(optimizer).parameters:
        return groups
    marked = {id(parameter) for parameter in own}
    split = []
    for group in groups:
        parts: tuple[list, list] = ([], [])
        for parameter in group["params"]:
            parts["weight_decay" not in group and id(parameter) in marked].append(parameter)
        rest, moved = parts
        split += [{**group, "params": rest}] if rest else []
        split += [{**group, "params": moved, "weight_decay": 0.0}] if moved else []
    return split
