"""Put back what a pass in training mode changes: generators, parameters, buffers, attributes."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ._kept import OF_TORCH
from ._modes import Mode
from ._randomness import is_on_gpu

__all__ = [
    "OWN",
    "NoWrites",
    "OwnState",
    "Written",
    "copy_tensors",
    "generators_put_back",
    "moved",
    "sources_of",
    "tensors_of",
]


class Source(NamedTuple):
    """A generator of random numbers: what users call it, and its state."""

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], Any]
    fresh: Callable[[], Any] = lambda: None  # the state after it was seeded, if that is known


OWN = "a generator of its own"


def sources_of(own: Sequence[Any]) -> list[Source]:
    """Return the generators of torch, NumPy and Python, and those in ``own``."""
    sources = [
        Source("torch's generator", torch.get_rng_state, torch.set_rng_state, _just_seeded),
        Source("NumPy's generator", np.random.get_state, np.random.set_state),
        Source("Python's `random`", random.getstate, random.setstate),
    ]
    if is_on_gpu():
        get, put = torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all
        sources.append(Source("torch's generator", get, put))
    return sources + [_source(generator) for generator in own]


def _source(generator: Any) -> Source:
    name = OWN
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        return Source(name, lambda: bits.state, lambda state: setattr(bits, "state", state))
    if isinstance(generator, random.Random):
        return Source(name, generator.getstate, generator.setstate)
    return Source(name, generator.get_state, generator.set_state)


def moved(sources: list[Source], before: list[Any]) -> tuple[list[str], list[Any]]:
    """Return the names of the generators that were drawn from, and the states of all.

    One that was seeded and not drawn from since has another state, too, and is not among them.
    """
    after = [_plain(source.get()) for source in sources]
    pairs = zip(sources, before, after, strict=False)
    names = [source.name for source, old, new in pairs if old != new and source.fresh() != new]
    return names, after


def _just_seeded() -> Any:
    """Return the state that torch's generator has when its seed is new."""
    return _plain(torch.Generator().manual_seed(torch.initial_seed()).get_state())


def _plain(state: Any) -> Any:
    """Return a state as something that can be compared."""
    if isinstance(state, Tensor):
        return state.cpu().numpy().tobytes()
    if isinstance(state, np.ndarray):
        return state.tobytes()
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    if isinstance(state, list | tuple) and len(state) < 100:
        return [_plain(value) for value in state]
    return state


@contextmanager
def generators_put_back(sources: list[Source]) -> Iterator[None]:
    """Put the states of generators back after."""
    states = [source.get() for source in sources]
    plain = [_plain(state) for state in states]
    try:
        yield
    finally:  # only where they moved: other threads may draw, too
        for source, state, before in zip(sources, states, plain, strict=True):
            if _plain(source.get()) != before:
                source.put(state)


def copy_tensors(module: nn.Module, share: bool) -> dict[int, Any]:
    """Copy the tensors of a module that deepcopy does not, as a memo for it.

    With ``share`` the parameters of torch's own layers, which write into none, stay what they are.
    """
    memo: dict[int, Any] = {}
    for part in module.modules():
        if share and type(part).__module__.startswith("torch.nn."):
            memo |= {id(p): p for p in part._parameters.values() if p is not None}
        for value in vars(part).values():
            if isinstance(value, Tensor) and not value.is_leaf:  # which deepcopy refuses
                memo[id(value)] = value.detach().clone()
    return memo


class Written(Exception):
    """A weight that is shared with a copy would have been written into."""


class NoWrites(Mode):
    """Refuse to write into some tensors, as a layer may that updates weights by hand.

    Parameters
    ----------
    tensors : iterable of Tensor
        The tensors; not what shares their memory only in part.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self.places = {tensor.data_ptr() for tensor in tensors}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Handle one torch function; torch calls this."""
        name = getattr(func, "__name__", "")
        writes = name.startswith(("__i", "__set")) or (name[-1:] == "_" and name[-2:] != "__")
        if writes or "out" in (kwargs or {}):
            written = [*args[:1], (kwargs or {}).get("out")]
            for part in (p for w in written for p in (w if isinstance(w, list | tuple) else [w])):
                if isinstance(part, Tensor) and part.data_ptr() in self.places:
                    raise Written
        return func(*args, **(kwargs or {}))


class OwnState:
    """The state of a module, to compare it with and to put it back.

    Parameters
    ----------
    module : nn.Module
        The module.
    values : dict of str to Tensor
        The values of its parameters and buffers.
    """

    def __init__(self, module: nn.Module, values: dict[str, Tensor]) -> None:
        self.module = module
        self.values = values
        self.tensors = tensors_of(module)
        self.attributes = {
            (name, part): {key: _flat(value) for key, value in _plain_vars(part).items()}
            for name, part in module.named_modules()
        }

    def put_back(self) -> set[str]:
        """Put everything back and return what had changed."""
        changed = set()
        for (name, part), before in self.attributes.items():
            after = _plain_vars(part)
            for key in before.keys() | after.keys():
                if key not in before:
                    del vars(part)[key]
                elif not _is_same(after.get(key), before[key]):
                    vars(part)[key] = _put(*before[key])
                else:
                    continue
                changed.add(f"{name}.{key}")
        now = tensors_of(self.module)
        for name, tensor in self.tensors.items():
            changed |= {name} if now.get(name) is not tensor else set()
            if not _equal(tensor, self.values[name]):
                changed.add(name)
                _write(tensor, self.values[name].detach())
        return changed


def _write(tensor: Tensor, value: Tensor) -> None:
    if tensor.shape == value.shape:
        tensor.data.copy_(value)
    else:
        tensor.data = value.clone()


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of a module by their names."""
    parameters = module.named_parameters(remove_duplicate=False)
    return {**dict(parameters), **dict(module.named_buffers(remove_duplicate=False))}


def _plain_vars(part: nn.Module) -> dict[str, Any]:
    """Return the attributes of a module but for its mode; those of a scripted one are not here."""
    if isinstance(part, torch.jit.ScriptModule):
        return {}
    return {name: value for name, value in vars(part).items() if name not in _NOT_KEPT}


# The mode, which is set before each pass, and torch's own attributes, which no pass changes.
_NOT_KEPT = OF_TORCH - {"_parameters", "_buffers", "_modules"}


def _flat(value: Any) -> tuple[Any, Any]:
    """Return a value and, of a container, what is in it."""
    if isinstance(value, dict):
        return value, dict(value)
    return (value, list(value)) if type(value) in (list, set) else (value, None)


def _is_same(after: Any, flat: tuple[Any, Any]) -> bool:
    value, inside = flat
    if inside is None or after is not value:
        return after is value
    if isinstance(value, dict):
        return value.keys() == inside.keys() and all(value[k] is inside[k] for k in inside)
    return len(value) == len(inside) and all(map(_is, value, inside))


def _is(a: Any, b: Any) -> bool:
    return a is b


def _put(value: Any, inside: Any) -> Any:
    if inside is not None:
        value.clear()
        value.extend(inside) if isinstance(value, list) else value.update(inside)
    return value


def _equal(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors are the same, not-a-numbers too."""
    if a is b or (a.shape == b.shape and torch.equal(a, b)):
        return True
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
