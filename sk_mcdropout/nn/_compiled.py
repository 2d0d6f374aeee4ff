"""The module behind a compiled one."""

from typing import Any

__all__ = ["uncompiled"]


def uncompiled(module: Any) -> Any:
    """Return the module that ``torch.compile`` was given.

    Parameters
    ----------
    module : nn.Module or callable
        A module, or what ``torch.compile`` made of it; anything else is returned as it is.

    Returns
    -------
    nn.Module or callable
        The module itself, with the same parameters.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.nn import uncompiled
    >>> uncompiled(torch.compile(torch.nn.MSELoss()))
    MSELoss()
    """
    return getattr(module, "_orig_mod", module)
