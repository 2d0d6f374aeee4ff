"""Parameters that cannot be meant: mistyped names, strings for classes, what does not go together.

Each is answered with what to write.
"""

import inspect
from collections.abc import Callable, Iterable
from copy import deepcopy
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from skorch.dataset import get_len
from skorch.utils import is_dataset
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, IterableDataset

from sk_mcdropout.sampling import first_rows, forked_generators

from ._callbacks import EarlyEnd

__all__ = [
    "check_arguments",
    "check_components",
    "check_last_batch",
    "check_monitors",
    "n_training_rows",
    "parameter_names",
    "refuse_mistyped",
    "refuse_mistyped_parts",
    "refuse_params_of_nets",
]

# What neighbours call it: scikit-learn's and Keras' names, and those of papers.
_MEANT = {
    "max_epochs": ["epochs", "epoch", "n_epochs", "num_epochs", "max_iter"],
    "n_draws": [
        *("n_samples", "num_samples", "mc_samples", "n_mc", "n_mc_samples"),
        *("n_iter", "n_passes", "n_forward", "n_predictions", "T"),
    ],
    "dropout` or `module__dropout": ["dropout_rate", "drop_rate", "dropout_p", "dropout_prob", "p"],
    "module__hidden": [
        *("hidden", "hidden_layer_sizes", "hidden_sizes", "hidden_size", "hidden_dim"),
        *("hidden_units", "hidden_layers", "n_hidden", "layers", "widths"),
    ],
    "module__activation": ["activation", "nonlinearity"],
    "module": ["net", "model", "network", "estimator"],
    "random_state": ["seed", "random_seed", "rng"],
    "lr": ["lr_rate", "learning_rate", "learning_rate_init", "step_size"],
    "optimizer__weight_decay": ["alpha", "weight_decay", "l2"],
    "optimizer__momentum": ["momentum"],
    "optimizer": ["solver", "optim"],
    "criterion": ["loss", "loss_fn", "loss_function"],
    "iterator_train__shuffle": ["shuffle"],
    "lr_schedule": ["lr_scheduler", "schedule", "scheduler"],
    "validation_fraction` with `early_stopping=True": [
        *("validation_split", "val_split", "valid_split", "validation_size"),
    ],
    "n_iter_no_change": ["patience", "early_stopping_rounds"],
    "noise": ["noise_std", "sigma", "aleatoric"],
}
_MEANT_BY = {name: meant for meant, names in _MEANT.items() for name in names}


def parameter_names(kind: type) -> set[str]:
    """Return the names that the constructors of a class and of its parents spell out."""
    parameters = (
        parameter
        for parent in kind.__mro__
        if "__init__" in vars(parent)
        for parameter in inspect.signature(parent.__init__).parameters.values()  # type: ignore[misc]
    )
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def refuse_mistyped(owner: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names where it is clear which other ones were meant.

    Parameters
    ----------
    owner : str
        Whose parameters they are.
    names : iterable of str
        The names that were given.
    known : iterable of str
        The names that there are.
    """
    known = set(known)
    meant = {name: _closest(name, known) for name in names if name not in known}
    pairs = [(name, other) for name, other in meant.items() if other is not None]
    if pairs:
        raise ValueError(
            f"the parameters must be those of `{owner}`. Got "
            f"{', '.join(f'`{name}`' for name, _ in pairs)}. Write "
            f"{', '.join(f'`{other}` for `{name}`' for name, other in pairs)}."
        )


def refuse_params_of_nets(kind: type, net: type, names: Iterable[str]) -> None:
    """Refuse parameters of an ensemble that are those of its nets, or mistyped.

    Parameters
    ----------
    kind, net : type
        The class of the ensemble, and that of its nets.
    names : iterable of str
        The names that were given.
    """
    known, of_nets = parameter_names(kind), parameter_names(net)
    unknown = [name for name in names if name not in known]
    meant = [_MEANT_BY.get(name, name).partition("`")[0] for name in unknown]
    theirs = [name for name in meant if name not in known and (name in of_nets or "__" in name)]
    if not theirs:
        refuse_mistyped(kind.__name__, unknown, known)
    if theirs:
        raise ValueError(
            f"the parameters of the nets of a `{kind.__name__}` must be those of its `estimator`. "
            f"Got {', '.join(f'`{name}`' for name in unknown)}. Write "
            f"`estimator={net.__name__}({', '.join(f'{name}=...' for name in theirs)})`, or values "
            f"to choose from as `param_grid={{'{theirs[0]}': [...]}}`."
        )


def refuse_mistyped_parts(owner: str, names: Iterable[str], parts: Iterable[str]) -> None:
    """Refuse arguments of a part of the net whose name is mistyped, as in ``modul__hidden``.

    Parameters
    ----------
    owner : str
        Whose parameters they are.
    names : iterable of str
        The names that were given.
    parts : iterable of str
        The names of the parts that there are.
    """
    for name in names:
        part, _, argument = name.partition("__")
        meant = get_close_matches(part, parts, n=1, cutoff=0.75)
        if argument and part not in parts and meant:
            raise ValueError(
                f"the parameters must be those of `{owner}`. Got `{name}`. Write "
                f"`{meant[0]}__{argument}`."
            )


def _closest(name: str, known: Iterable[str]) -> str | None:
    return _MEANT_BY.get(name) or next(iter(get_close_matches(name, known, n=1, cutoff=0.75)), None)


def check_arguments(kind: Any, prefix: str, arguments: Iterable[str]) -> None:
    """Refuse arguments that a class does not take, such as those of ``module__...``.

    Parameters
    ----------
    kind : class
        What is to be made; anything else is left alone.
    prefix : str
        How the arguments are given to the net.
    arguments : iterable of str
        Their names.
    """
    parameters = inspect.signature(kind).parameters if isinstance(kind, type) else {}
    if not parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for name in arguments:
        if name not in parameters:
            close = get_close_matches(name, parameters, n=1) or sorted(parameters)
            raise TypeError(
                f"`{prefix}__...` must be arguments of `{kind.__name__}`. Got "
                f"`{prefix}__{name}`. Write {', '.join(f'`{prefix}__{known}`' for known in close)}."
            )


# -- strings and numbers in the place of classes and callables -------------------------------


def check_components(net: Any) -> None:
    """Refuse what is no class, no list of callbacks and no way to split off rows."""
    for name, find in _CLASSES.items():
        value = getattr(net, name)
        if isinstance(value, str) and _is_made_here(net, name):
            raise ValueError(
                f"`{name}` must be a class or an instance. Got {value!r}. Write "
                f"`{name}={find(value)}`."
            )
    if not (net.callbacks is None or isinstance(net.callbacks, list) or net.callbacks == "disable"):
        raise ValueError(
            "`callbacks` must be a list of callbacks, None or 'disable'. Got "
            f"{net.callbacks!r}. Write `callbacks=[...]`."
        )
    kind = "cpu" if net.device is None else torch.device(net.device).type
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"`device` must be one that torch finds here. Got {str(net.device)!r}. Leave it out, "
            "or install a torch with CUDA where there is a GPU."
        )
    split = net.train_split
    if split is not None and not callable(split):
        rows = 5 if isinstance(split, bool) else split
        raise ValueError(
            f"`train_split` must be a callable that splits off rows, or None. Got {split!r}. Write "
            f"`train_split=skorch.dataset.ValidSplit({rows!r})`."
        )


def _is_made_here(net: Any, name: str) -> bool:
    """Return whether no subclass makes a part by itself, as some do of names of modules."""
    maker = getattr(type(net), f"initialize_{name}")
    return maker.__module__.partition(".")[0] in ("sk_mcdropout", "skorch")


def _name_in(module: Any, path: str, default: str, ending: str = "") -> Callable[[str], str]:
    def find(value: str) -> str:
        names = {name.lower(): name for name in vars(module) if name[:1].isupper()}
        key = _ABBREVIATIONS.get(value.lower(), value.lower().replace("_", ""))
        return f"{path}.{names.get(key + ending) or names.get(key) or default}"

    return find


_ABBREVIATIONS = {"mae": "l1", "squared_error": "mse", "absolute_error": "l1", "l2": "mse"}
_CLASSES: dict[str, Callable[[str], str]] = {
    "module": lambda value: "sk_mcdropout.MLP",
    "criterion": _name_in(nn, "torch.nn", "MSELoss", "loss"),
    "optimizer": _name_in(torch.optim, "torch.optim", "AdamW"),
}


# -- what does not go together ----------------------------------------------------------------


def check_monitors(net: Any) -> None:
    """Refuse callbacks that watch the validation loss of a net without validation rows."""
    for name, callback in net.callbacks_:
        monitor = getattr(callback, "monitor", None)
        if not isinstance(callback, EarlyEnd) and monitor in ("valid_loss", "valid_loss_best"):
            best = monitor.removeprefix("valid_loss")
            raise ValueError(
                f"`train_split` must be given for {type(callback).__name__} ({name!r}), which "
                f"watches {monitor!r}. Got None, so that there is no such loss. Write "
                "`train_split=skorch.dataset.ValidSplit(0.2)`, or "
                f"`{type(callback).__name__}(monitor='train_loss{best}')`."
            )


def check_last_batch(net: Any, n_rows: int, inputs: Callable[[], Any]) -> None:
    """Refuse a last batch of one row for a net whose batch normalisation cannot take it.

    Parameters
    ----------
    net : MCDropoutNet
        The net, made but not trained.
    n_rows : int
        The number of rows to train on.
    inputs : callable
        Returns some of the rows, as the module takes them.
    """
    params = {"batch_size": net.batch_size_, **net.get_params_for("iterator_train")}
    size = params["batch_size"]
    size = n_rows if size == -1 else size
    usual = net.iterator_train is DataLoader and "batch_sampler" not in params
    if not usual or "sampler" in params or params.get("drop_last") or not size:
        return
    if n_rows % size != (0 if size == 1 else 1) or not _normalises(net.module_):
        return
    if _takes_one_row(net, first_rows(inputs(), 1)):
        return
    advice = "" if size == 1 else "`iterator_train__drop_last=True` or "
    better = next(other for other in range(size + 1, n_rows + 3) if n_rows % other != 1)
    raise ValueError(
        "each batch must have two rows or more for a net with batch normalisation. Got a last "
        f"batch of 1 row: {n_rows} rows of training, and `batch_size={net.batch_size_!r}`. Write "
        f"{advice}`batch_size={better}`."
    )


def _normalises(module: nn.Module) -> bool:
    return any(isinstance(part, _BatchNorm) for part in module.modules())


def _takes_one_row(net: Any, row: Any) -> bool:
    """Return whether a copy of the module, in training, takes a single row."""
    module, copy = net.module_, deepcopy(net.module_).train()
    vars(net)["module_"] = copy
    try:
        with forked_generators(0), torch.no_grad():
            net.infer(row)
    except ValueError as e:
        return "more than 1 value per channel" not in str(e)
    finally:
        vars(net)["module_"] = module
    return True


def n_training_rows(X: Any) -> int | None:
    """Return the number of rows; None where it cannot be told."""
    if is_dataset(X) and (isinstance(X, IterableDataset) or not hasattr(X, "__len__")):
        return None
    return len(X) if is_dataset(X) else int(np.max(get_len(X)))
