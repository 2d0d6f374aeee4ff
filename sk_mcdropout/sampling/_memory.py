"""Remember plans: for as long as a module lives, and while it is what it was."""

from collections.abc import Hashable
from contextlib import suppress
from types import MethodType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ._eval_mode import parts_of
from ._kept import OF_TORCH
from ._numbers import n_registered
from ._rows import map_tensors

__all__ = ["Plans", "kind_of_input", "remembered_plans", "state_of"]


class _Known(NamedTuple):
    """Plans, the state of the module that they were made in, and the weights that were idle then.

    Fused optimizers do not count how often they write into a weight, which is in the state. Where
    a weight does something, that is no matter; one of zeros, as a gate that is to open in training,
    has let every strategy give the same.
    """

    state: list[Any]
    idle: list[ref[Tensor]]
    plans: dict[Hashable, Any]

    def holds(self, state: list[Any]) -> bool:
        """Return whether the module is in this state still."""
        return self.state == state and all(_is_zero(weight()) for weight in self.idle)


class Plans:
    """The plans for one module, by what they depend on; forgotten when its state is another.

    Threads may share it: the plans and their state are replaced together.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling import Draws, Plans
    >>> net, plans = torch.nn.Dropout(0.5), Plans()
    >>> for seed in range(2):  # the second plans nothing
    ...     draws = Draws(net, lambda: [torch.ones(3, 2)], seed=seed, plans=plans)
    ...     (mean,) = draws.reduce(lambda outputs, rows: (outputs.mean(0),))
    """

    def __init__(self) -> None:
        self._known = _Known([], [], {})

    def get(self, key: Hashable, state: list[Any]) -> Any:
        """Return the plan that was made in this state of the module, or None."""
        known = self._known
        return known.plans.get(key) if known.holds(state) else None

    def put(self, key: Hashable, state: list[Any], plan: Any, module: nn.Module) -> None:
        """Remember a plan, and forget those of another state."""
        known = self._known
        if not known.holds(state):
            self._known = known = _Known(state, _idle_weights(module), {})
        known.plans[key] = plan

    def drop(self, key: Hashable) -> None:
        """Forget a plan."""
        self._known.plans.pop(key, None)


_remembered: WeakKeyDictionary[nn.Module, dict[Hashable, Plans]] = WeakKeyDictionary()


def remembered_plans(module: nn.Module, way: Hashable) -> Plans:
    """Return the plans for a module that is called in some way; they go when the module goes."""
    return _remembered.setdefault(module, {}).setdefault(way, Plans())


def kind_of_input(x: Any) -> Hashable:
    """Return what plans for an input depend on: the forms of its tensors but for their rows."""
    if isinstance(x, Tensor):
        return x.shape[1:], x.dtype, x.device
    return str(map_tensors(lambda t: (t.shape[1:], t.dtype, t.device), x))


def state_of(module: nn.Module) -> list[Any]:
    """Return what a module is, to be compared with what it is later, and nothing that is alive.

    Its parts, hooks, functions held as attributes, a forward of its own; numbers, names and flags,
    also in objects that it holds, such as a configuration; its weights; which buffers are None; and
    the type that autocast computes with.
    """
    state: list[Any] = [n_registered()]
    seen: set[int] = set()
    weights: list[Any] = []
    for part in parts_of(module):
        own = vars(part)
        state += id(part), ref(part)
        _add(getattr(type(part), "forward", None), state, seen)
        for name in own.keys() - _OF_TORCH:
            state.append(name)
            _add(own.get(name), state, seen)  # it may be gone, by another thread
        for hook in (*own["_forward_pre_hooks"].values(), *own["_forward_hooks"].values()):
            _add(hook, state, seen)
        weights += [
            weight for weight in [*own.get("_parameters", {}).values()] if weight is not None
        ]
        state += [name for name, buffer in [*own.get("_buffers", {}).items()] if buffer is None]
    for weight in weights:
        state += _written(weight)
    kind = "cpu"
    if weights:
        kind = weights[0].device.type
        state += weights[0].dtype, weights[0].device
    if torch.is_autocast_enabled(kind):
        state.append(torch.get_autocast_dtype(kind))
    return state


def _written(weight: Tensor) -> tuple[Any, ...]:
    """Return what tells a weight from another, and that it was written into."""
    try:
        return id(weight), ref(weight), weight.data_ptr(), weight._version
    except (RuntimeError, ValueError):  # made in inference mode, or not yet
        return id(weight), ref(weight)


def _idle_weights(module: nn.Module) -> list[ref[Tensor]]:
    """Return the weights that are all zero, of which nothing can be learned."""
    return [ref(weight) for weight in module.parameters() if _is_zero(weight)]


def _is_zero(weight: Tensor | None) -> bool:
    return weight is None or not (is_lazy(weight) or weight.is_meta or bool(weight.any()))


_OF_TORCH = OF_TORCH | {"_compiled_call_impl"}
_VALUES = frozenset(
    (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
)
_MOST_ITEMS = 100  # of a container that is looked into


def _add(value: Any, state: list[Any], seen: set[int], inside: bool = False) -> None:
    """Add what an attribute is: a plain value itself, anything else by its identity."""
    kind = type(value)
    if kind in _VALUES:
        state.append(value)
        return
    if kind is MethodType:
        state.append(id(value.__self__))
        value = value.__func__
    if issubclass(kind, Tensor) or id(value) in seen:  # tensors are computed with, whatever they be
        return
    seen.add(id(value))
    if kind in (list, tuple, dict, set):
        state.append(len(value))
        if len(value) <= _MOST_ITEMS:
            for item in (*value, *value.values()) if kind is dict else [*value]:
                _add(item, state, seen, inside)
        return
    state.append(id(value))
    with suppress(TypeError):  # not all that is built in can be referred to so
        state.append(ref(value))
    if not inside and not isinstance(value, nn.Module | type):
        for item in [*getattr(value, "__dict__", {}).values()]:
            _add(item, state, seen, inside=True)
