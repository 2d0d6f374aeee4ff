"""What is said aloud about a module: it is sampled, but maybe not as its user expects."""

import warnings
from typing import Any

from torch import Tensor

from ._strategies import agree

__all__ = ["warn_if_missed", "warn_if_not_random", "warn_if_rows_mix", "warn_of_single_rows"]


def warn_if_missed(paths: list[str]) -> None:
    """Say it if modules draw random numbers that sampling does not switch on."""
    if paths:
        warnings.warn(
            "what is random in training must be a dropout that eval mode shows as well. Got other "
            f"randomness in {', '.join(map(repr, paths))}, which is left off while sampling. Name "
            "the class in `extra_dropout` to switch it on.",
            UserWarning,
            stacklevel=2,
        )


def warn_if_rows_mix(fewer: Tensor, more: Tensor) -> None:
    """Say it if two rows got other answers when a third was added."""
    if not agree(more[:2], fewer):
        warnings.warn(
            "the module's answer for a row must not depend on the other rows. Got another answer "
            "for two rows when a third was added. The draws will depend on how rows are batched.",
            UserWarning,
            stacklevel=2,
        )


def warn_of_single_rows() -> None:
    """Say that rows are taken one by one."""
    warnings.warn(
        "the module should make the same dropout calls for all rows. Got calls that depend on the "
        "values of the input, as in a loop that runs until something holds. Each row is sampled by "
        "itself, one draw after the other, which is slow.",
        UserWarning,
        stacklevel=2,
    )


def warn_if_not_random(plan: Any) -> None:
    """Say it if no dropout is active."""
    if not plan.sites and not plan.extra_dropout and not plan.found.varies:
        warnings.warn(
            "the module must have a dropout with a rate above 0 to draw from. Got none, so that "
            "all draws are the same and their spread is 0. Add a dropout or raise its rate.",
            UserWarning,
            stacklevel=3,
        )
