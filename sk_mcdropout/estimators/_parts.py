"""The parts of torch in a saved net: only what the file names, for all to see, is made of it.

skorch keeps module, loss and optimizer as one pickle within what is saved. A pickle may call
anything. So the classes and functions in it are put beside it, where skops asks whether they are
trusted, and no others are loaded. Weights are loaded by `torch.load` with ``weights_only=True``.
"""

import io
import pickle
import pickletools
import sys
from collections.abc import Iterator
from functools import partial, reduce
from typing import Any

import torch
from skorch.utils import get_map_location

__all__ = ["device_to_load_to", "load_parts", "named_in"]

_STORAGE = ("torch.storage", "_load_from_bytes")  # where the weights are
_PLAIN = (torch.dtype, torch.layout, torch.memory_format)  # which are no code


def named_in(pickled: bytes) -> dict[str, Any]:
    """Return the classes and functions that a pickle names, by their names."""
    pairs = set(_pairs(pickled)) - {_STORAGE}
    found = {f"{module}.{name}": _attribute(module, name) for module, name in sorted(pairs)}
    return {name: value for name, value in found.items() if not isinstance(value, _PLAIN)}


def _pairs(pickled: bytes) -> Iterator[tuple[str, str]]:
    """Yield module and name of what a pickle names; the two strings before lie on its stack."""
    top: Any = None
    memo, strings = list[Any](), list[str]()
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "MEMOIZE":
            memo.append(top)
            continue
        if opcode.name == "FRAME":
            continue
        if opcode.name == "STACK_GLOBAL":
            yield strings[-2], strings[-1]
        top = argument
        if opcode.name.endswith("BINGET"):
            top = memo[top]
        if isinstance(top, str):
            strings.append(top)


def _attribute(module: str, name: str) -> Any:
    return reduce(getattr, name.split("."), sys.modules[module])


class _PartsUnpickler(pickle.Unpickler):
    """Unpickle what is made of some classes and functions, and no others."""

    def __init__(self, pickled: bytes, named: dict[str, Any], device: torch.device) -> None:
        super().__init__(io.BytesIO(pickled))
        self.named, self.device = named, device

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name stands for; pickle calls this."""
        if (module, name) == _STORAGE:
            return partial(_load_weights, self.device)
        if f"{module}.{name}" in self.named:
            return self.named[f"{module}.{name}"]
        plain = getattr(torch, name, None) if module == "torch" else None
        if isinstance(plain, _PLAIN):
            return plain
        raise pickle.UnpicklingError(
            "the parts of a saved net must be made of what it names in `_named`. Got "
            f"`{module}.{name}`, which is not there. Do not load this file, unless you know that "
            "it was saved by a version before 0.2.0; then save it anew by that version's weights."
        )


def _load_weights(device: torch.device, saved: bytes) -> Any:
    return torch.load(io.BytesIO(saved), map_location=device, weights_only=True)


def load_parts(pickled: bytes, named: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Load the parts of torch, onto a device.

    Parameters
    ----------
    pickled : bytes
        The parts, pickled by skorch.
    named : dict
        The classes and functions that they may be made of; see `named_in`.
    device : torch.device
        Where the weights go.

    Returns
    -------
    dict
        The parts, by the names of the attributes.

    Raises
    ------
    UnpicklingError
        If there is anything else in them.
    """
    return _PartsUnpickler(pickled, named, device).load()


def device_to_load_to(device: Any) -> torch.device:
    """Return the device of a saved net, or where this machine has none of its kind, the CPU."""
    wanted = get_map_location(device)
    accelerator = (
        torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    )  # torch 2.6 raises where there is none
    there = accelerator is not None and wanted.type == accelerator.type
    return wanted if there or wanted.type == "cpu" else torch.device("cpu")
