"""Plan how to sample a module for an input that has no rows, such as one graph."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

from torch import Tensor, nn

from ._eval_mode import forked_generators
from ._numbers import shared_numbers
from ._outputs import Which, find_prediction
from ._plan import (
    Plan,
    as_planned,
    check_extra,
    only_loop,
)
from ._probe import probe_one_item
from ._rows import call
from ._training import look_into_training

__all__ = ["plan_one_item"]


def plan_one_item(
    module: nn.Module,
    x: Any,
    forward: Callable[[Any], Any],
    strategy: str = "auto",
    extra_dropout: tuple[type, ...] = (),
    output: Which = None,
) -> Plan:
    """Find the dropouts of a module for an input that has no rows; see `make_plan`."""
    check_extra(module, extra_dropout)
    if strategy not in ("auto", "loop"):
        raise ValueError(
            f"`strategy` must be 'auto' or 'loop' with `one_item`. Got {strategy!r}. Leave it out."
        )
    look = look_into_training(module, lambda part, _: call(part, x), None, extra_dropout)
    if look.unshared:
        only_loop(strategy, look.unshared)
    with as_planned(module, look), forked_generators() if look.unshared else nullcontext():
        found, outputs = probe_one_item(module, shared_numbers(forward, look.drawing(module)), x)
    prediction = find_prediction({None: outputs}, output)
    device = prediction(outputs).device
    plan = Plan(found, ("loop",), {}, device, look, one_item=True)
    plan.prediction = partial(_as_one_row, prediction)
    return plan


def _as_one_row(prediction: Callable[[Any], Tensor], output: Any) -> Tensor:
    return prediction(output)[None]
