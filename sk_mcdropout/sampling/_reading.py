"""Read the code of modules: who asks whether it is in training, and what else it reaches.

Code is read and not run: the names in code objects, those of inner functions too, are followed to
the functions that they stand for, as far as these are of the same package; of other packages only
the first function is read. What cannot be read counts as asking.
"""

import functools
import random
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["GENERATORS", "Code", "is_of_torch", "read"]

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)

_MODES = {"training"}
_READ_BEFORE = ("torch", "numpy", "builtins", "functools", "typing", "logging", "warnings")
_LEAVES = (torch.Tensor, np.ndarray, str, bytes, int, float, complex, type(None))


@dataclass(frozen=True)
class Code:
    """What the code of a module reaches.

    Parameters
    ----------
    asking : set of nn.Module
        The submodules whose code asks for the mode, or cannot be read.
    generators : list
        Generators of random numbers of its own.
    reached : set of nn.Module
        Modules that functions hold on to by themselves: by closures, defaults and globals.
    """

    asking: set[nn.Module]
    generators: list[Any]
    reached: set[nn.Module]


def is_of_torch(kind: type) -> bool:
    """Return whether a class is one of torch's own layers, of which all is known."""
    return kind.__module__.startswith("torch.nn.") and not issubclass(kind, nn.RReLU)


def read(module: nn.Module) -> Code:
    """Read the code of all submodules.

    Parameters
    ----------
    module : nn.Module
        The module.

    Returns
    -------
    Code
        What was read.
    """
    code = Code(set(), [], set())
    read_classes: dict[type, bool] = {}
    known: set[int] = set()
    for part in module.modules():
        kind = type(part)
        if kind not in read_classes:
            read_classes[kind] = not is_of_torch(kind) and _asks(
                _values_of_class(kind), code, set()
            )
        if read_classes[kind] | _asks(_values_of_instance(part), code, known):
            code.asking.add(part)
    return code


def _values_of_class(kind: type) -> Iterator[Any]:
    """Yield what the classes that are not torch's own define."""
    for base in kind.__mro__:
        if issubclass(base, (torch.jit.ScriptModule, nn.RReLU)):
            yield torch.jit.ScriptFunction  # nothing to read here
        if not base.__module__.startswith("torch.nn.") and base is not object:
            yield from vars(base).values()


def _values_of_instance(part: nn.Module) -> Iterator[Any]:
    """Yield what an instance has beside its submodules: own functions, objects and hooks."""
    for name, value in vars(part).items():
        empty = type(value) in (bool, int, float, str, OrderedDict, dict, set) and not value
        if not empty and name not in ("_parameters", "_buffers", "_modules"):
            yield value


def _asks(values: Iterable[Any], code: Code, known: set[int]) -> bool:
    """Follow values; return whether any code asks for the mode, and note what is reached."""
    asks = False
    waiting: list[tuple[Any, str | None]] = [(value, None) for value in values]
    while waiting:
        value, package = waiting.pop()  # of the function that it was reached from, if any
        if isinstance(value, _LEAVES) or id(value) in known:
            continue
        known.add(id(value))
        if isinstance(value, nn.Module):  # a submodule, or one that a function holds on to
            if package is not None:
                code.reached.add(value)
        elif isinstance(value, GENERATORS) and not isinstance(value, random.SystemRandom):
            code.generators.append(value)
        elif isinstance(value, CodeType):
            asks |= not _MODES.isdisjoint((*value.co_names, *_strings(value)))
        elif _cannot_be_read(value):
            asks = True
        else:
            own = _package_of(value)
            if package in (None, own) or own in _READ_BEFORE:
                followed: Iterable[Any] = _next(value)
                within = own if isinstance(value, FunctionType) else package
            else:
                followed, within = _first_of(value), package
            waiting += [(other, within) for other in followed]
    return asks


def _package_of(value: Any) -> str:
    name = value.__module__ if isinstance(value, FunctionType | type) else type(value).__module__
    return (name or "").partition(".")[0]


def _first_of(value: Any) -> Iterable[Any]:
    """Return the code of something of another package, and nothing that it calls."""
    return _codes(value) if isinstance(value, FunctionType) else ()


def _strings(code: CodeType) -> Iterator[str]:
    return (constant for constant in code.co_consts if isinstance(constant, str))


def _cannot_be_read(value: Any) -> bool:
    scripted = (torch.jit.ScriptFunction, torch.jit.ScriptModule)
    if value is torch.jit.ScriptFunction or isinstance(value, scripted):
        return True
    return type(value).__name__ in ("cython_function_or_method", "fused_cython_function")


def _next(value: Any) -> Iterator[Any]:
    """Yield what a value hands work on to."""
    if isinstance(value, FunctionType):
        if not _is_read(value.__module__):
            yield from _next_of_function(value)
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, staticmethod | classmethod):
        yield value.__func__
    elif isinstance(value, property):
        yield value.fget
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, functools.partialmethod | functools.cached_property):
        yield value.func
    elif isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif isinstance(value, type):
        if issubclass(value, torch.autograd.Function) and not _is_read(value.__module__):
            yield from vars(value).values()
    elif not isinstance(value, ModuleType) and not _is_read(type(value).__module__):
        yield from _methods(type(value))
        yield from _attributes(value).values()  # `__wrapped__` is among them


def _attributes(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, past what it may do when it is asked for one."""
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}


def _methods(kind: type) -> Iterator[Any]:
    """Yield the code of a class, and what it calls only where instances are called themselves."""
    for base in kind.__mro__:
        if not _is_read(base.__module__):
            yield vars(base).get("__call__")
            for value in vars(base).values():
                yield from _codes(value) if isinstance(value, FunctionType) else ()


def _codes(function: FunctionType) -> list[CodeType]:
    """Return the code of a function and of all functions in it."""
    codes = [function.__code__]
    for code in codes:
        codes += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
    return codes


def _next_of_function(function: FunctionType) -> Iterator[Any]:
    codes = _codes(function)
    yield from codes
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # still empty
            continue
    yield from (function.__defaults__, function.__kwdefaults__, vars(function))
    names = {name for code in codes for name in code.co_names}
    yield from _named(function.__globals__, names)


def _named(namespace: dict[str, Any], names: set[str]) -> Iterator[Any]:
    """Yield what names stand for, in a namespace and in the modules in it."""
    for name in names & namespace.keys():
        value = namespace[name]
        if not isinstance(value, ModuleType):
            yield value
        elif not _is_read(value.__name__) and vars(value) is not namespace:
            yield from _named(vars(value), names - {name})


def _is_read(name: str | None) -> bool:
    return (name or "").partition(".")[0] in _READ_BEFORE
