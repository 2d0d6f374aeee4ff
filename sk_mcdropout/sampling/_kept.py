"""Keep what the attributes of a module hold, and put it back."""

from collections import deque
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

__all__ = ["OF_TORCH", "Kept", "large_buffers", "set_mode"]

_CONTAINERS = (list, dict, set, deque)
_KINDS = frozenset(_CONTAINERS)
_PLAIN = frozenset((bool, int, float, str, tuple, type(None)))  # have nothing to be put back

# Attributes of every module. A pass changes none of them but its parts.
OF_TORCH = frozenset(vars(nn.Module()))

# Larger tensors are not copied: what a pass writes into them stays.
_MOST_BYTES = 2**20


class Kept:
    """The mode and the attributes of one module, without its submodules.

    The attributes hold afterwards the same objects, their containers (lists, dicts, sets and
    deques, also in one another) the same items, and tensors that are attributes or buffers, of up
    to 1 MiB each, the same numbers. What parameters hold, and other objects inside, is left as it
    is; so is a lazy module, which makes its weights in its first pass, and a scripted one.

    Parameters
    ----------
    part : nn.Module
        The module.
    """

    def __init__(self, part: nn.Module) -> None:
        self.part, self.training = part, part.training
        self.all: dict[str, Any] | None = None
        self.dicts: list[tuple[dict, dict]] = []
        self.containers: dict[int, tuple[Any, Any]] = {}
        self.tensors: list[tuple[Tensor, int, Tensor]] = []
        is_lazy = isinstance(part, LazyModuleMixin) and part.has_uninitialized_params()
        if is_lazy or isinstance(part, torch.jit.ScriptModule):
            return
        self.all = vars(part).copy()
        self.dicts = [(d, d.copy()) for d in (part._parameters, part._modules, part._buffers)]
        for name, value in (*self.all.items(), *part._buffers.items()):
            if type(value) not in _PLAIN and name not in OF_TORCH:
                self._keep(value)

    def _keep(self, value: Any) -> None:
        if isinstance(value, _CONTAINERS):
            self._keep_container(value)
        elif type(value) is Tensor and value.layout is torch.strided and not value.is_inference():
            if value.nbytes <= _MOST_BYTES:
                self.tensors.append((value, value._version, value.detach().clone()))

    def _keep_container(self, value: Any) -> None:
        if id(value) in self.containers:
            return
        kind = dict if isinstance(value, dict) else set if isinstance(value, set) else list
        self.containers[id(value)] = value, kind(value)
        items = value.values() if kind is dict else value
        if not _KINDS.isdisjoint(map(type, items)):
            for item in items:
                if type(item) in _KINDS:
                    self._keep_container(item)

    def put_back(self) -> None:
        """Put the mode and the attributes back as they were."""
        set_mode(self.part, self.training)
        if self.all is not None and not _same(vars(self.part).values(), self.all.values()):
            _set_attributes(vars(self.part), self.all)
        for now, former in self.dicts:
            if now or former:
                _refill(now, former)
        for container, items in self.containers.values():
            if isinstance(container, dict):
                _refill(container, items)
            elif not _same(container, items):
                container.clear()
                (container.update if isinstance(container, set) else container.extend)(items)
        for x, version, numbers in self.tensors:
            if x._version != version:
                with torch.no_grad():
                    x.copy_(numbers)


def large_buffers(module: nn.Module) -> dict[str, tuple[Tensor, int]]:
    """Return the buffers that are too large to be kept, and how often they were written into."""
    return {
        name: (buffer, buffer._version)
        for name, buffer in module.named_buffers()
        if buffer.nbytes > _MOST_BYTES and not buffer.is_inference()
    }


def set_mode(part: nn.Module, training: bool) -> None:
    """Set the mode of one module, without its submodules."""
    own = vars(part)
    if own.get("training") is training:
        return
    if "training" in own and type(part).__setattr__ is nn.Module.__setattr__:
        own["training"] = training  # in a tenth of the time
    else:
        part.training = training


def _set_attributes(now: dict[str, Any], former: dict[str, Any]) -> None:
    """Give a module its former attributes beside those that every module has."""
    for name, value in former.items():
        if name not in OF_TORCH and now.get(name, now) is not value:
            now[name] = value
    for name in now.keys() - former.keys() - OF_TORCH:
        del now[name]


def _refill(now: dict, former: dict) -> None:
    """Give a dict its former items; those that are the same are never missing meanwhile."""
    if _same(now.values(), former.values()) and list(now) == list(former):
        return
    for key in [key for key in now if key not in former]:
        del now[key]
    for key, value in former.items():
        if key not in now or now[key] is not value:
            now[key] = value
    if list(now) != list(former):  # in another order
        now.clear()
        now.update(former)


def _same(items: Any, others: Any) -> bool:
    return len(items) == len(others) and all(map(is_, items, others))
