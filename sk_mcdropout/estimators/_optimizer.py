"""How an optimizer is made: with torch's fused step, and without decay where it is not meant."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

from torch import Tensor, nn

__all__ = ["takes_fused_step", "without_decay"]


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
