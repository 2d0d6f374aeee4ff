"""Mean and standard deviation of a net with dropout by one pass, without draws.

Each number after the first dropout is taken for a normal one, whose mean and variance go from layer
to layer: Wang & Manning (2013), "Fast dropout training", ICML; Postels et al. (2019),
"Sampling-free epistemic uncertainty estimation using approximated variance propagation", ICCV.

There, the numbers of a layer are taken for independent, and the standard deviations of nets of
several layers come out far too small: units that depend on the same masks do not average out. Here
only what is new in a layer is independent: the noise of a dropout, and the part of the output of
an activation that is no linear function of its input. How the output of the net depends on such a
part, to first order, is the derivative of its mean by the mean there (the slope of an activation
is the expected one), so that a backward pass for each output adds all parts up.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.special import ndtr
from torch.utils._pytree import tree_leaves

from ._alone import answers_to, rows_go_one_way
from ._composites import COMPOSITES, rate_of
from ._deferred import ELEMENTWISE, METADATA
from ._eval_mode import running_part
from ._in_place import Replaced
from ._intercept import PlannedCalls
from ._masks import KINDS
from ._modes import Mode
from ._plan import Plan, forward_of
from ._rows import count_rows, map_tensors

__all__ = ["moments", "moments_of_activation", "moments_of_leaky_relu", "moments_of_relu"]

Forward = Callable[[Any], Tensor]

# Functions that give the numbers of a tensor another shape, or some of them.
_VIEWS = {
    *(Tensor.flatten, Tensor.unflatten, Tensor.reshape, Tensor.view),
    *(Tensor.squeeze, Tensor.unsqueeze),
    *(torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze, Tensor.__getitem__),
}
_N_POINTS = 16
_FARTHEST = 30.0  # standard deviations, beyond which a normal has no mass in double precision
_AT_ONCE = 2**24  # bytes of the activations of some rows


def moments(
    plan: Plan,
    module: nn.Module,
    forward: Callable[[Any], Any],
    x: Any,
    batch_size: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the mean and the standard deviation of the output, some rows after the others.

    Parameters
    ----------
    plan : Plan
        What `make_plan` found for an input of this kind.
    module : nn.Module
        The module, in eval mode; names what is not known.
    forward : callable
        Returns all outputs for an input.
    x : Tensor, mapping or sequence of Tensor
        The input, with the rows on the first axis.
    batch_size : int, optional
        Number of rows at once; by default as many as fit into a memory budget.

    Yields
    ------
    mean, std : Tensor of shape (n_some_rows, ...), in double precision
        Mean and standard deviation over all masks, approximately.

    Raises
    ------
    CallsChanged
        If the module makes other dropout calls than planned.
    NotImplementedError
        If the module is not of those that are known.
    """
    paths = {part: name for name, part in module.named_modules()}
    reasons = {
        "`one_item=True`": plan.one_item,
        "rows that mix": plan.mixes,
        "random numbers of its own": plan.seeds,
        "dropout calls that depend on the rows": plan.found.varies,
    }
    for what, holds in reasons.items():
        if holds:
            raise _refused(what, "", module)
    n_rows, widest = count_rows(x), max(1, plan.found.bytes_after, plan.found.bytes_before)
    at_once, predict = batch_size or max(1, _AT_ONCE // widest), forward_of(forward, plan)
    for start in range(0, n_rows, at_once):
        some = map_tensors(lambda t: t[start : start + at_once], x)  # noqa: B023
        if plan.asks and not rows_go_one_way(predict, some, answers_to(predict, some)):
            raise _refused("code that goes another way for some of the rows", "", module)
        yield _moments_of(plan, paths, predict, some)


def _moments_of(
    plan: Plan, paths: dict[nn.Module, str], forward: Forward, x: Any
) -> tuple[Tensor, Tensor]:
    n_rows = count_rows(x)
    calls = PlannedCalls(plan.sites, [n_rows])
    mode = _Propagate(calls, paths)
    with mode:
        output = forward(x)
    calls.end()
    output = mode.replaced(output)
    if not isinstance(output, _Normal):  # no dropout has come before it
        return output.double(), torch.zeros_like(output, dtype=torch.float64)
    if output.shape[:1] != (n_rows,):
        whole = next(iter(paths))
        raise _refused(f"an output of shape {tuple(output.shape)} for {n_rows} rows", "", whole)
    return output.expected.detach().double(), mode.variance_of(output.expected).sqrt()


def _refused(what: str, path: str, owner: nn.Module) -> NotImplementedError:
    """Return the error that says what is not known here, and where it is."""
    where = f"the submodule {path!r}" if path else "the module itself"
    return NotImplementedError(
        "`strategy='moments'` takes dropout, linear layers, functions of one number at a time and "
        f"batch normalisation, one after the other. Got {what} in {where}, a "
        f"{type(owner).__name__}. Leave `strategy` at 'auto' to draw."
    )


class _Normal(Tensor):
    """Stands for normal numbers in the code of the user."""

    expected: Tensor
    variance: Tensor

    @staticmethod
    def __new__(cls, expected: Tensor, variance: Tensor) -> "_Normal":
        stand_in = Tensor._make_wrapper_subclass(
            cls, expected.shape, dtype=expected.dtype, device=expected.device
        )
        stand_in.expected, stand_in.variance = expected, variance
        return stand_in

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Refuse what went past the mode, and with it would compute on nothing."""
        raise NotImplementedError(f"{func} was called past the mode that propagates moments")


class _Propagate(Mode):
    """Propagate means and variances from the first dropout on.

    Parameters
    ----------
    calls : PlannedCalls
        The dropout calls to expect.
    paths : dict of nn.Module to str
        The names of all submodules.
    """

    def __init__(self, calls: PlannedCalls, paths: dict[nn.Module, str]) -> None:
        super().__init__()
        self.calls, self.paths = calls, paths
        self.replaced = Replaced()
        # Where something new begins: the mean there, in the graph, and the new variance.
        self.sources: list[tuple[Tensor, Tensor]] = []

    def variance_of(self, expected: Tensor) -> Tensor:
        """Add up, one output after the other, what all sources add to its variance."""
        means, added = zip(*self.sources, strict=True)
        n_rows, each = len(expected), []
        for k in range(expected[0].numel()):
            unit = torch.zeros(n_rows, expected[0].numel()).to(expected)
            unit[:, k] = 1
            slopes = torch.autograd.grad(
                expected, means, unit.view(expected.shape), retain_graph=True, allow_unused=True
            )
            pairs = zip(slopes, added, strict=True)
            parts = [slope.double().square() * new for slope, new in pairs if slope is not None]
            each.append(sum(part.reshape(n_rows, -1).sum(1) for part in parts))
        return torch.stack(each, dim=1).view(expected.shape)

    def _refused(self, what: str) -> NotImplementedError:
        owner = running_part(self.paths) or next(iter(self.paths))
        return _refused(what, self.paths[owner], owner)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Handle one torch function; torch calls this."""
        args, kwargs = self.replaced((args, kwargs or {}))
        if func in KINDS:
            return self._dropout(func, *args, **kwargs)
        if func in COMPOSITES and rate_of(func, args, kwargs) > 0:
            raise self._refused(f"`{func.__name__}` with dropout inside")
        n_normal = sum(isinstance(part, _Normal) for part in tree_leaves((args, kwargs)))
        if n_normal == 0:
            return func(*args, **kwargs)
        if n_normal == 1 and isinstance(args[0] if args else None, _Normal):
            if func in METADATA:
                with torch.DisableTorchFunctionSubclass():
                    return func(*args, **kwargs)
            if func is F.linear:
                return self._linear(*args, **kwargs)
            if func is F.batch_norm:
                return self._batch_norm(*args, **kwargs)
            if func in ELEMENTWISE:
                return self._activation(func, *args, **kwargs)
            if func in _VIEWS:
                return self._view(func, *args, **kwargs)
        raise self._refused(f"`{getattr(func, '__name__', func)}`")

    def _dropout(self, func, input, p=0.5, training=None, inplace=False, *, train=None):
        site = self.calls.next_site(func, input, float(p))
        if site is None:
            return input
        if site.kind != "dropout" or site.row_axis != 0 or site.split is not None:
            raise self._refused(f"{site.kind} of shape {site.mask_shape}")
        if isinstance(input, _Normal):
            mean, before = input.expected, input.variance
        else:
            mean, before = input.clone().requires_grad_(), torch.zeros_like(input)
        if p == 1:
            with torch.enable_grad():
                mean, before = mean * 0, before * 0
        # A mask has the mean 1 and the variance p / (1 - p), and is independent of the input.
        added = p / (1 - p if p < 1 else 1) * (mean.detach().square() + before)
        self.sources.append((mean, added))
        output = _Normal(mean, before + added)
        return self._put(input, output, inplace or func.__name__.endswith("_"))

    def _linear(self, input, weight, bias=None):
        weight, bias = map(_constant, (weight, bias))
        with torch.enable_grad():
            mean = F.linear(input.expected, weight, bias)
        return _Normal(mean, F.linear(input.variance, weight.square()))

    def _batch_norm(
        self, input, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
    ):
        if training or mean is None:
            raise self._refused("batch normalisation by the batch")
        mean, var, weight, bias = map(_constant, (mean, var, weight, bias))
        with torch.enable_grad():
            expected = F.batch_norm(input.expected, mean, var, weight, bias, eps=eps)
        squared = None if weight is None else weight.square()
        of_variance = torch.zeros_like(mean), (var + eps).square(), squared
        return _Normal(expected, F.batch_norm(input.variance, *of_variance, eps=0.0))

    def _activation(self, func, input, *args, inplace=False, **kwargs):
        inplace = inplace or any(arg is True for arg in args)  # which may come by its place
        args = tuple(arg for arg in args if not isinstance(arg, bool))
        before = input.expected.detach()
        rule = _RULES.get(func, partial(moments_of_activation, func))
        mean, slope, added = rule(before, input.variance, *args, **kwargs)
        with torch.enable_grad():
            mean = mean + slope * (input.expected - before)
        self.sources.append((mean, added))
        return self._put(input, _Normal(mean, slope.square() * input.variance + added), inplace)

    def _view(self, func, input, *args, **kwargs):
        with torch.enable_grad():
            mean = func(input.expected, *args, **kwargs)
        return _Normal(mean, func(input.variance, *args, **kwargs))

    def _put(self, input, output, in_place):
        """Return the result of a function, which some write into their input."""
        if not in_place:
            return output
        if not isinstance(input, _Normal):
            self.replaced.put(input, output)
            return output
        input.expected, input.variance = output.expected, output.variance
        return input


def _constant(x: Tensor | None) -> Tensor | None:
    """Return a parameter without a gradient, also one that was made in inference mode."""
    return x if x is None else x.clone() if x.is_inference() else x.detach()


def moments_of_relu(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the moments of a rectifier of normal numbers.

    Parameters
    ----------
    mean, variance : Tensor
        Those of the input.

    Returns
    -------
    mean : Tensor
        Mean of the output: Frey & Hinton (1999), "Variational learning in nonlinear Gaussian belief
        networks", Neural Computation, appendix A.
    slope : Tensor
        Expected slope, the coefficient of the best linear function of the input.
    rest : Tensor
        Variance of the output about that linear function.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling._moments import moments_of_relu
    >>> [part.item() for part in moments_of_relu(torch.zeros(()), torch.ones(()))]
    [0.398, 0.5, 0.0908]
    """
    std = variance.sqrt()
    tiny = torch.finfo(std.dtype).tiny
    score = (mean / std.clamp_min(tiny)).clamp(-_FARTHEST, _FARTHEST)
    above, below = ndtr(score), ndtr(-score)
    density = torch.exp(-0.5 * score.square()) / math.sqrt(2 * math.pi)
    expected = mean * above + std * density
    # In units of the variance, written so that no large terms cancel.
    rest = above * below * (1 + score.square()) + density * (score * (below - above) - density)
    return expected, above, variance * rest.clamp_min(0)


def moments_of_leaky_relu(
    mean: Tensor, variance: Tensor, negative_slope: float = 0.01
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the moments of a leaky rectifier of normal numbers.

    Parameters
    ----------
    mean, variance : Tensor
        Those of its input.
    negative_slope : float
        Its slope below 0.

    Returns
    -------
    mean, slope, rest : Tensor
        As for `moments_of_relu`: it is a rectifier and a linear function.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling._moments import moments_of_leaky_relu
    >>> [part.item() for part in moments_of_leaky_relu(torch.zeros(()), torch.ones(()), 1.0)]
    [0.0, 1.0, 0.0]
    """
    bend = 1 - negative_slope
    expected, slope, rest = moments_of_relu(mean, variance)
    return negative_slope * mean + bend * expected, negative_slope + bend * slope, bend**2 * rest


def moments_of_activation(
    function: Callable[..., Tensor], mean: Tensor, variance: Tensor, *args: Any, **kwargs: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the moments of any function of normal numbers, one at a time, by quadrature.

    Parameters
    ----------
    function : callable
        The function.
    mean, variance : Tensor
        Those of its input.
    *args, **kwargs
        Its other arguments.

    Returns
    -------
    mean, slope, rest : Tensor
        As for `moments_of_relu`, by Gauss-Hermite quadrature.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling._moments import moments_of_activation
    >>> square = moments_of_activation(torch.square, torch.ones(()), torch.ones(()))
    >>> [part.item() for part in square]
    [2.0, 2.0, 2.0]
    """
    points, weights = (
        torch.as_tensor(part, dtype=mean.dtype, device=mean.device).view(-1, *[1] * mean.ndim)
        for part in _rule()
    )
    std = variance.sqrt()
    values = function(mean + std * points, *args, **kwargs)
    expected = (weights * values).sum(0)
    slope = (weights * (values - expected) * points).sum(0)  # by a unit of the std
    rest = (weights * (values - expected - slope * points).square()).sum(0)
    return expected, torch.where(std > 0, slope / std, 0.0), rest


def _rule() -> tuple[np.ndarray, np.ndarray]:
    points, weights = np.polynomial.hermite_e.hermegauss(_N_POINTS)
    return points, weights / weights.sum()


_RULES: dict[Callable, Callable] = {
    **dict.fromkeys((F.relu, torch.relu, Tensor.relu), moments_of_relu),
    F.leaky_relu: moments_of_leaky_relu,
}
