"""Hold modules in eval mode and torch's generators for a while, and put both back."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

__all__ = ["evaluating", "forked_generators", "parts_of"]

# The generators are those of all threads: one at a time may hold them.
_generators_lock = threading.RLock()


@contextmanager
def forked_generators(seed: int | None = None) -> Iterator[None]:
    """Fork torch's global random generators, optionally with a seed.

    Parameters
    ----------
    seed : int, optional
        Seed of the generators of the CPU and, where CUDA is in use, of all GPUs.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling import forked_generators
    >>> before = torch.get_rng_state()
    >>> with forked_generators(0):
    ...     number = torch.rand(())
    >>> torch.equal(torch.get_rng_state(), before)
    True
    """
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    with (
        _generators_lock,
        torch.random.fork_rng(range(torch.cuda.device_count()) if on_gpu else []),
    ):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
            if on_gpu:
                torch.cuda.manual_seed_all(seed)
        yield


# Several threads may sample one module, or modules that share a part: the first to come puts
# it in eval mode, the last to leave puts it back.
_lock = threading.Lock()
_in_use: dict[nn.Module, list] = {}


def parts_of(*modules: nn.Module) -> list[nn.Module]:
    """List modules and all their submodules, each once; faster than ``modules()``."""
    parts = dict.fromkeys(modules)
    waiting = list(parts)
    while waiting:
        for part in waiting.pop()._modules.values():
            if part is not None and part not in parts:
                parts[part] = None
                waiting.append(part)
    return list(parts)


@contextmanager
def evaluating(*modules: nn.Module, extra_dropout: tuple[type, ...] = ()) -> Iterator[None]:
    """Hold modules in eval mode, without gradients; put back their own modes after.

    Parameters
    ----------
    *modules : nn.Module
        The modules; all their submodules are held too.
    extra_dropout : tuple of class
        The classes whose instances are held in training mode instead. What torch's generators
        give in the meantime is put back after; one thread at a time can have this.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling._eval_mode import evaluating
    >>> net = torch.nn.Dropout(0.5)
    >>> with evaluating(net):
    ...     net.training
    False
    >>> net.training
    True
    """
    submodules = parts_of(*modules)
    # The wrapper of a compiled module has no mode of its own, it shows that of its inside.
    own_mode = [m for m in submodules if "_orig_mod" not in m._modules]
    with _lock:
        held = [m for m in own_mode if m.training or m in _in_use or isinstance(m, extra_dropout)]
        for m in held:
            _in_use.setdefault(m, [0, m.training])[0] += 1
            m.training = isinstance(m, extra_dropout)
    try:
        forked = forked_generators() if extra_dropout else nullcontext()
        with torch.inference_mode(False), torch.no_grad(), _eager(submodules), forked:
            yield
    finally:
        with _lock:
            for m in held:
                _in_use[m][0] -= 1
                if _in_use[m][0] == 0:
                    m.training = _in_use.pop(m)[1]


# How compiled modules run is one setting for all threads: as with the modes, the first to come
# changes it and the last to leave puts it back.
_stances: list[Any] = []


@contextmanager
def _eager(submodules: list[nn.Module]) -> Iterator[None]:
    """Run compiled modules uncompiled: a compiled graph has its dropouts fixed."""
    if not any("_orig_mod" in m._modules or m._compiled_call_impl for m in submodules):
        yield
        return
    with _lock:
        _stances.append(_stances[0] if _stances else torch.compiler.set_stance("force_eager"))
    try:
        yield
    finally:
        with _lock:
            stance = _stances.pop()
            if not _stances:
                stance.__exit__(None, None, None)
