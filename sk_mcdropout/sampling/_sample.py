"""Draw forward passes of a module with its dropout switched on.

A draw is one thinned network: the mask of a dropout is drawn once per draw and shared
by every row, so that draw ``t`` is a function of ``x``. The masks are drawn up front,
and how they are applied (``STRATEGIES``) is a matter of speed only.
"""

from functools import partial
from numbers import Integral
from typing import Any

from torch import Tensor, nn

from ._composites import one_mask_for_all_steps
from ._eval_mode import evaluating
from ._plan import Plan, call, chunks, prepare, refuse_no_effect
from ._rows import count_rows, gather_rows
from ._strategies import STRATEGIES
from ._summary import mean_and_std_over_draws
from ._warned import warn_if_not_random

__all__ = ["STRATEGIES", "DropoutSites", "dropout_sites", "mean_and_std", "sample"]


def sample(
    module: nn.Module,
    x: Any,
    n_draws: int = 100,
    *,
    seed: int = 0,
    strategy: str = "auto",
    batch_size: int | None = None,
    extra_dropout: tuple[type, ...] = (),
    variational_rnn: bool = False,
) -> Tensor:
    """Draw outputs of a module with its dropout switched on.

    Draw ``t`` is one thinned network, a function of the row: its answer for a row does not
    depend on the other rows, on their number or order, nor on ``n_draws``. The module keeps
    its mode, weights, buffers and hooks, and the global random states stay as they were.

    Parameters
    ----------
    module : nn.Module
        A trained module. Its dropouts are layers or calls of ``torch.nn.functional``.
    x : Tensor, tuple or mapping of Tensor
        The input, with the rows on the first axis. A tuple is passed as positional
        arguments, a mapping as keyword arguments.
    n_draws : int
        Number of Monte-Carlo draws, at least 1.
    seed : int
        Seed of the masks. The same seed gives the same draws on every device.
    strategy : str
        How the masks are applied: ``"vmap"``, ``"fold"``, ``"loop"``, or ``"auto"`` for the
        first of these that takes the module and gives what the loop gives.
    batch_size : int, optional
        Number of rows at once; by default as many as fit into a memory budget.
    extra_dropout : tuple of class
        Modules of your own that look at ``self.training``, to draw random numbers by hand or to
        give a rate to a function. Just these are in training mode while sampling, with torch
        seeded for each draw. This runs one pass per draw; what they draw by hand depends on the
        batch, as each row has numbers of its own.
    variational_rnn : bool
        Whether the dropout between the layers of ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN`` has one
        mask for all time steps [2]_, for nets that were trained so. Torch draws one per step.

    Returns
    -------
    Tensor of shape (n_draws, n_rows, ...)
        The outputs. Of several outputs the first is the prediction.

    Raises
    ------
    NotImplementedError
        If a dropout cannot be sampled; the message names the submodule.
    ValueError
        If all draws are equal although there are rates above 0, and not because of these rows.

    Warns
    -----
    UserWarning
        If no dropout has a rate above 0: all draws are then the same. If the dropout calls depend
        on the values of the input: each row is then sampled by itself, one draw after the other,
        whatever the strategy and the batch size.

    References
    ----------
    .. [1] Gal & Ghahramani (2016), "Dropout as a Bayesian approximation", section 4.
    .. [2] Gal & Ghahramani (2016), "A theoretically grounded application of dropout in recurrent
       neural networks", section 4.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import sample
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.5))
    >>> sample(net, torch.ones(3, 2), n_draws=10).shape
    torch.Size([10, 3, 8])
    """
    _check_numbers(n_draws, 1, seed, batch_size)
    with evaluating(module, extra_dropout=extra_dropout):
        plan = _plan(module, x, strategy, extra_dropout, variational_rnn)
        warn_if_not_random(plan)
        draws = refuse_no_effect(chunks(plan, x, n_draws, seed, batch_size), plan, x)
        parts = ((some,) for some in draws)
        return gather_rows(parts, count_rows(x), axis=1)[0]


def mean_and_std(
    module: nn.Module,
    x: Any,
    n_draws: int = 100,
    *,
    seed: int = 0,
    strategy: str = "auto",
    batch_size: int | None = None,
    extra_dropout: tuple[type, ...] = (),
    variational_rnn: bool = False,
) -> tuple[Tensor, Tensor]:
    """Answer the mean and the standard deviation of a module's draws.

    The parameters are those of `sample`, with at least 2 draws. Needs memory for the answer
    and one chunk of rows, however many rows and draws there are.

    Returns
    -------
    mean, std : Tensor of shape (n_rows, ...), in double precision
        Mean and standard deviation (``ddof=1``) over the draws.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import mean_and_std
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.5))
    >>> mean, std = mean_and_std(net, torch.ones(3, 2))
    >>> mean.shape, std.shape
    (torch.Size([3, 8]), torch.Size([3, 8]))
    """
    _check_numbers(n_draws, 2, seed, batch_size)
    with evaluating(module, extra_dropout=extra_dropout):
        plan = _plan(module, x, strategy, extra_dropout, variational_rnn)
        warn_if_not_random(plan)
        draws = refuse_no_effect(chunks(plan, x, n_draws, seed, batch_size), plan, x)
        mean, std = gather_rows(map(mean_and_std_over_draws, draws), count_rows(x))
    return mean, std


def _plan(module: nn.Module, x: Any, strategy: str, extra: tuple[type, ...], rnn: bool) -> Plan:
    forward = partial(_by_one_mask, module) if rnn else None
    way = one_mask_for_all_steps if rnn else None
    return prepare(module, x, forward=forward, strategy=strategy, extra_dropout=extra, way=way)


def _by_one_mask(module: nn.Module, x: Any) -> Any:
    with one_mask_for_all_steps(module):
        return call(module, x)


class DropoutSites(list):
    """The dropouts that sampling switches on; printed, a table of them.

    Parameters
    ----------
    plan : Plan
        How the module is sampled.

    Attributes
    ----------
    strategies : tuple of str
        The strategies that are used; of two, the second for many rows of wide layers. It is
        "row by row" where the dropout calls depend on the values of the input; the list has then
        those for the first row.
    refused : dict
        The strategies that were tried and do not take the module, each with the reason.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import dropout_sites
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.5))
    >>> print(dropout_sites(net, torch.ones(3, 2)))
    path  kind     rate  mask    shared by rows
    1     dropout  0.5   (1, 8)  yes
    strategy: weights, thinned
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.sites)
        self.strategies, self.refused = plan.strategies, plan.refused

    def __str__(self) -> str:
        rows = [("path", "kind", "rate", "mask", "shared by rows")] + [
            (s.path or "(itself)", s.kind, f"{s.p:g}", str(s.mask_shape), "yes") for s in self
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines.append(f"strategy: {', '.join(self.strategies)}" if self else "no dropout is active")
        lines += [f"not {name}: {reason}" for name, reason in self.refused.items()]
        return "\n".join(lines)


def dropout_sites(module: nn.Module, x: Any) -> DropoutSites:
    """List the dropouts that sampling switches on.

    Parameters
    ----------
    module : nn.Module
        The module.
    x : Tensor, tuple or mapping of Tensor
        An input as for `sample`; a few of its rows are used.

    Returns
    -------
    DropoutSites, a list of DropoutSite
        One entry for each dropout call of rate above 0, in the order of the calls. Printed, it is
        a table that also tells which strategy is used and why others were refused.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import dropout_sites
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.5))
    >>> [(site.path, site.p) for site in dropout_sites(net, torch.ones(3, 2))]
    [('1', 0.5)]
    """
    with evaluating(module):
        return DropoutSites(prepare(module, x))


def _check_numbers(n_draws: Any, least: int, seed: Any, batch_size: Any) -> None:
    for name, value, bound in (
        ("n_draws", n_draws, least),
        ("seed", seed, 0),
        ("batch_size", 1 if batch_size is None else batch_size, 1),
    ):
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or value < bound:
            raise ValueError(f"`{name}` must be a whole number of at least {bound}. Got {value!r}.")
