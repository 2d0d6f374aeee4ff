"""Dropout inside bigger functions: attention, recurrent nets, and masks that are taken in turn.

Torch runs the first two whole, with their dropout out of reach. Here each of them is run in
steps, with the dropout as a call of its own, and only where its rate is above 0.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._functions import masked_in_turn, number_of_draw
from ._modes import Mode, tidy_modes

__all__ = ["COMPOSITES", "one_mask_for_all_steps", "rate_of"]

# Returns its input with dropout; called with (function, input, p).
Dropout = Callable[[Callable, Tensor, float], Tensor]

# Torch's own attention in Python, without its first lines that would hand the call back to us.
_attention_in_steps = FunctionType(
    F.multi_head_attention_forward.__code__,
    {**F.multi_head_attention_forward.__globals__, "has_torch_function": lambda _: False},
    "multi_head_attention_forward",
    F.multi_head_attention_forward.__defaults__,
)


def _multi_head_attention(dropout: Dropout, inside: Any, *args: Any, **kwargs: Any) -> Any:
    """Run torch's attention with its dropout on; what it calls is seen by the mode again."""
    with inside:  # torch hands `training` over by keyword, however the user wrote it
        return _attention_in_steps(*args, **{**kwargs, "training": True})


def _scaled_dot_product_attention(
    dropout: Dropout,
    inside: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Run the steps in the documentation of ``torch.nn.functional``'s function."""
    if is_causal and attn_mask is not None:  # of the type that torch itself raises
        raise RuntimeError(
            "`attn_mask` must be left out with `is_causal=True`. Got both. Put the causal mask "
            "into `attn_mask`."
        )
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = (part.repeat_interleave(groups, -3) for part in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    weights = query @ key.transpose(-2, -1) * scale
    if is_causal:
        attn_mask = weights.new_ones(weights.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        weights = weights.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        weights = weights + attn_mask
    shares = weights.softmax(-1)
    if attn_mask is not None:  # torch gives zeros to a query that may look at nothing
        shares = shares.masked_fill((weights == -math.inf).all(-1, keepdim=True), 0.0)
    return dropout(F.dropout, shares, dropout_p) @ value


def _recurrent(function: Callable) -> Callable:
    """Make the function that runs a recurrent net layer by layer."""

    def run(dropout: Dropout, inside: Any, x: Tensor, *args: Any) -> tuple[Tensor, ...]:
        sizes, args = args[: _is_packed(args)], args[_is_packed(args) :]
        hidden, weights, has_biases, n_layers, p, _, bidirectional, *batch_first = args
        states = hidden if isinstance(hidden, list | tuple) else (hidden,)
        n_weights, n_states = len(weights) // n_layers, len(states[0]) // n_layers
        last = []
        for layer in range(n_layers):
            own = [state[layer * n_states : (layer + 1) * n_states] for state in states]
            x, *own = function(
                *(x, *sizes),
                own if isinstance(hidden, list | tuple) else own[0],
                weights[layer * n_weights : (layer + 1) * n_weights],
                *(has_biases, 1, 0.0, False, bidirectional, *batch_first),
            )
            last.append(own)
            if layer < n_layers - 1:
                x = _between_layers(dropout, x, p, *sizes)
                if batch_first and x.shape[0 if batch_first[0] else 1] != states[0].shape[1]:
                    raise ValueError("the states of a recurrent net have another size than x")
        return (x, *(torch.cat(parts) for parts in zip(*last, strict=True)))

    return run


def _is_packed(args: tuple) -> bool:
    """Return whether sequences are packed, by what follows x: then it begins with their sizes."""
    return not isinstance(args[2], bool)


def _between_layers(dropout: Dropout, x: Tensor, p: float, sizes: Tensor | None = None) -> Tensor:
    """Drop what one layer gives the next, of packed sequences as if these were padded.

    At each time step so many rows are there as ``sizes`` says; they lie one after the other.
    """
    if sizes is None:
        return dropout(F.dropout, x, p)
    there = torch.arange(int(sizes[0])) < sizes[:, None]  # of shape (n_steps, n_rows)
    places = there.flatten().nonzero()[:, 0].to(x.device)
    padded = x.new_zeros(there.numel(), x.shape[-1]).index_copy(0, places, x)
    padded = dropout(F.dropout, padded.unflatten(0, there.shape), p)
    return padded.flatten(0, 1).index_select(0, places)


def _in_turn(dropout: Dropout, inside: Any, x: Tensor, masks: Tensor, p: float) -> Tensor:
    """Give each row the mask of its draw, whose number is the result of a dropout."""
    numbers = dropout(number_of_draw, torch.ones(len(x), 1, device=x.device), p)
    own = masks[numbers[:, 0].long() % len(masks)]
    return x * own.unflatten(1, (len(masks[0]), *[1] * (x.ndim - 2)))


_RECURRENT = {f: _recurrent(f) for f in (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)}
COMPOSITES: dict[Callable, Callable] = {
    F.multi_head_attention_forward: _multi_head_attention,
    F.scaled_dot_product_attention: _scaled_dot_product_attention,
    masked_in_turn: _in_turn,
    **_RECURRENT,
}


class _OneMaskForAllSteps(Mode):
    """Run recurrent nets with one mask for all time steps, in training and, if seen, in eval."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Handle one torch function; torch calls this."""
        if func not in _RECURRENT or rate_of(func, args, kwargs or {}) == 0:
            return func(*args, **(kwargs or {}))
        train = args[-2 if _is_packed(args[1:]) else -3]
        time = 1 if args[-1] and not _is_packed(args[1:]) else 0

        def dropout(_: Callable, x: Tensor, p: float) -> Tensor:
            return F.dropout1d(x.movedim(time, -1), p, train).movedim(-1, time)

        return _RECURRENT[func](dropout, self, *args)


@contextmanager
def one_mask_for_all_steps(module: nn.Module) -> Iterator[None]:
    """Let the recurrent nets of a module have one dropout mask for all time steps.

    Parameters
    ----------
    module : nn.Module
        The module that will be run.

    Raises
    ------
    ValueError
        If it has no recurrent net with dropout between its layers.

    References
    ----------
    Gal & Ghahramani (2016), "A theoretically grounded application of dropout in recurrent neural
    networks", section 4: the masks between the layers; torch has none on the states.
    """
    if not any(isinstance(part, nn.RNNBase) and part.num_layers > 1 for part in module.modules()):
        raise ValueError(
            "`variational_rnn` must be False for a module without dropout inside of a recurrent "
            "net: an `nn.LSTM`, `nn.GRU` or `nn.RNN` of several layers. Got True. Leave it out."
        )
    with tidy_modes(), _OneMaskForAllSteps():
        yield


def rate_of(func: Callable, args: tuple, kwargs: dict) -> float:
    """Return the rate of the dropout inside a call of one of the functions.

    Parameters
    ----------
    func : callable
        One of ``COMPOSITES``.
    args, kwargs : tuple, dict
        The arguments of the call.

    Returns
    -------
    float
        The rate; 0 for a recurrent net of one layer, which has no dropout.
    """
    if func is F.multi_head_attention_forward:
        return kwargs.get("dropout_p", args[10] if len(args) > 10 else 0.0)
    if func is F.scaled_dot_product_attention:
        return kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0)
    if func is masked_in_turn:
        return args[2]
    # (x, hidden, weights, has_biases, n_layers, p, ...), with the sizes of packed ones after x.
    packed = _is_packed(args[1:])
    n_layers, p = args[4 + packed], args[5 + packed]
    return p if n_layers > 1 else 0.0
