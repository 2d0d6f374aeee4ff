"""Draw forward passes of a torch module with its dropout switched on.

A draw is one thinned network: the mask of a dropout is drawn once per draw and shared
by every row, so that draw ``t`` is a function of ``x``. The masks are drawn up front,
and how they are applied (``STRATEGIES``) is a matter of speed only.
"""

from collections.abc import Callable, Mapping
from functools import partial
from numbers import Integral
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ._composites import one_mask_for_all_steps
from ._draws import Draws
from ._memory import Plans, remembered_plans
from ._plan import DropoutSites
from ._rows import call, map_tensors
from ._strategies import STRATEGIES
from ._summary import mean_and_std_over_draws

__all__ = ["STRATEGIES", "DropoutSites", "dropout_sites", "mean_and_std", "sample"]


def sample(
    module: nn.Module,
    x: Any,
    n_draws: int = 100,
    *,
    seed: int = 0,
    masks: str = "iid",
    strategy: str = "auto",
    batch_size: int | None = None,
    extra_dropout: tuple[type, ...] = (),
    variational_rnn: bool = False,
    output: str | int | Callable[[Any], Any] | None = None,
    one_item: bool = False,
) -> Tensor:
    """Draw outputs of a module with its dropout switched on.

    Draw ``t`` is one thinned network, a function of the row: its output for a row does not
    depend on the other rows, on their number or order, nor on ``n_draws``. The module keeps
    its modes, weights, hooks and attributes, whatever a pass writes into them, but for what is
    written into buffers of more than 1 MiB; the global random states stay as they were. Threads
    may sample a module at once.

    Parameters
    ----------
    module : nn.Module
        A trained module. Its dropouts are layers or calls of ``torch.nn.functional``.
    x : Tensor, tuple or mapping of Tensor
        The input, with the rows on the first axis. A tuple is passed as positional
        arguments, a mapping as keyword arguments; to a module whose ``forward`` takes one mapping
        pass ``(x,)``. What is no tensor, such as names, numbers and None, is passed as it is.
    n_draws : int
        Number of Monte-Carlo draws, at least 1.
    seed : int
        Seed of the masks. The same seed gives the same draws on every device.
    masks : {"iid", "qmc"}
        What the draws of a unit have to do with each other: nothing, with ``"iid"``. With ``"qmc"``
        each 16 draws, each 32 and so on to 1,024 keep it as often as its rate says, rounded up or
        down: its random numbers are those of a randomised (0, 1)-sequence [3]_ of its own. Each
        draw by itself, and what units have to do with each other, stay as they are. The mean of
        the draws has a smaller error, best for powers of two; their standard deviation has about
        that of before, and its square is too large by up to one part in ``n_draws``.
    strategy : str
        How the masks are applied: ``"weights"`` puts them into the weights of linear layers,
        ``"thinned"`` leaves dropped units and channels out, ``"vmap"`` maps over the masks,
        ``"fold"`` repeats the rows, ``"loop"`` runs one pass per draw. ``"auto"`` takes the first
        of these that takes the module and gives what the loop gives, and ``"thinned"`` where it
        is faster.
    batch_size : int, optional
        Number of rows at once; by default as many as fit into a memory budget.
    extra_dropout : tuple of class
        Modules of your own that draw random numbers by hand in training mode, in which they are
        while sampling; see `register_dropout`. All rows share the numbers, as they share masks.
        Where they cannot, as with numbers of NumPy, these are seeded for each draw and depend on
        the batch, and a warning says so.
    variational_rnn : bool
        Whether the dropout between the layers of ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN`` has one
        mask for all time steps [2]_, for nets that were trained so. Torch draws one per step.
    output : str, int or callable, optional
        The prediction among several outputs: a key of a mapping, the name of an attribute, an
        index, or a function of all that the module returns. By default it is the first tensor of
        floats with one row for each row of x, in mappings, sequences and dataclasses; the mean of
        a distribution of ``torch.distributions``.
    one_item : bool
        Whether x is one item without rows, such as the nodes and the edges of one graph, which is
        passed whole. Each mask has the shape of the activation that it is applied to. This runs
        one pass per draw.

    Returns
    -------
    Tensor of shape (n_draws, n_rows, ...)
        The predictions; of shape (n_draws, ...) with ``one_item``.

    Raises
    ------
    NotImplementedError
        If a dropout cannot be sampled; the message names the submodule. If ``strategy`` names one
        that does not take the module.
    TypeError
        If ``module`` is no module, or ``x`` holds no tensors.
    ValueError
        If a number is out of range; if there is no such law of masks; if all draws are equal
        although there are rates above 0, and not because of these rows.

    Warns
    -----
    UserWarning
        If no dropout has a rate above 0: all draws are then the same. If the dropout calls depend
        on the values of the input: each row is then sampled by itself, whatever the strategy and
        the batch size. If rows mix, if something random is left off or depends on the batch, and
        if a pass writes into buffers of more than 1 MiB.

    References
    ----------
    .. [1] Gal & Ghahramani (2016), "Dropout as a Bayesian approximation", section 4.
    .. [2] Gal & Ghahramani (2016), "A theoretically grounded application of dropout in recurrent
       neural networks", section 4.
    .. [3] Owen (1995), "Randomly permuted (t,m,s)-nets and (t,s)-sequences", section 3.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import sample
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.5))
    >>> sample(net, torch.ones(3, 2), n_draws=10).shape
    torch.Size([10, 3, 8])
    """
    _check_batch_size(batch_size, one_item)
    _check_numbers(n_draws, 1, seed, batch_size)
    draws = _draws(
        module,
        x,
        variational_rnn,
        n_draws=n_draws,
        seed=seed,
        masks=masks,
        strategy=strategy,
        batch_size=batch_size,
        extra_dropout=extra_dropout,
        output=output,
        one_item=one_item,
    )
    return draws.reduce(lambda outputs, rows: (outputs,), axis=1)[0]


def mean_and_std(
    module: nn.Module,
    x: Any,
    n_draws: int = 100,
    *,
    seed: int = 0,
    masks: str = "iid",
    strategy: str = "auto",
    batch_size: int | None = None,
    extra_dropout: tuple[type, ...] = (),
    variational_rnn: bool = False,
    output: str | int | Callable[[Any], Any] | None = None,
    one_item: bool = False,
) -> tuple[Tensor, Tensor]:
    """Compute the mean and standard deviation over Monte-Carlo draws.

    The parameters are those of `sample`, with at least 2 draws. Needs memory for the result
    and one chunk of rows, however many rows and draws there are.

    ``strategy="moments"`` makes no draws: it passes means and variances of normal numbers on from
    layer to layer [1]_, and needs no ``n_draws`` and ``seed``. The answer is that for all masks,
    but for the error of the approximation: a few percent of the std in nets of several wide layers,
    more in narrow ones, none where linear layers alone follow one dropout. It takes modules of
    ``nn.Linear``, elementwise activations, batch normalisation and ``nn.Dropout``, one after the
    other; before the first dropout there may be anything.

    Returns
    -------
    mean, std : Tensor of shape (n_rows, ...), in double precision
        Mean and standard deviation (``ddof=1``) over the draws.

    Raises
    ------
    NotImplementedError
        If a strategy that is asked for does not take the module; the message names the submodule.

    References
    ----------
    .. [1] Wang & Manning (2013), "Fast dropout training", ICML, of which ``"moments"`` is an
       extension to units that depend on the same masks.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import mean_and_std
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.5))
    >>> mean, std = mean_and_std(net, torch.ones(3, 2))
    >>> mean.shape, std.shape
    (torch.Size([3, 8]), torch.Size([3, 8]))
    """
    _check_batch_size(batch_size, one_item)
    _check_numbers(n_draws, 2, seed, batch_size)
    draws = _draws(
        module,
        x,
        variational_rnn,
        n_draws=n_draws,
        seed=seed,
        masks=masks,
        strategy="auto" if strategy == "moments" else strategy,
        batch_size=batch_size,
        extra_dropout=extra_dropout,
        output=output,
        one_item=one_item,
    )
    if strategy == "moments":
        return draws.moments()
    mean, std = draws.reduce(lambda outputs, rows: mean_and_std_over_draws(outputs))
    return mean, std


def dropout_sites(
    module: nn.Module,
    x: Any,
    *,
    extra_dropout: tuple[type, ...] = (),
    output: str | int | Callable[[Any], Any] | None = None,
    one_item: bool = False,
) -> DropoutSites:
    """List the dropouts that sampling switches on.

    Parameters
    ----------
    module : nn.Module
        The module.
    x : Tensor, tuple or mapping of Tensor
        An input as for `sample`; a few of its rows are used.
    extra_dropout, output, one_item : tuple of class; str, int or callable; bool
        As for `sample`.

    Returns
    -------
    DropoutSites, a list of DropoutSite
        One entry for each dropout call of rate above 0, in the order of the calls. Printed, it is
        a table that also shows which strategy is used and why others were refused.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout import dropout_sites
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.5))
    >>> [(site.path, site.p) for site in dropout_sites(net, torch.ones(3, 2))]
    [('1', 0.5)]
    """
    return _draws(module, x, extra_dropout=extra_dropout, output=output, one_item=one_item).sites()


def _draws(module: Any, x: Any, variational_rnn: bool = False, **options: Any) -> Draws:
    _check_module(module)
    if not options["one_item"]:
        _check_input(x)
    forward = partial(_with_one_mask, module) if variational_rnn else None
    # What is remembered must not hold on to the module, as a function of the user's may.
    plans = Plans() if callable(options["output"]) else remembered_plans(module, variational_rnn)
    return Draws(module, lambda: [x], forward=forward, plans=plans, **options)


def _with_one_mask(module: nn.Module, x: Any) -> Any:
    with one_mask_for_all_steps(module):
        return call(module, x)


def _check_module(module: Any) -> None:
    if isinstance(module, nn.Module):
        return
    got, remedy = f"a {type(module).__name__}", "Pass a trained `torch.nn.Module`."
    if isinstance(module, type):
        got, remedy = f"the class {module.__name__}", "Make an instance of it, and train it."
    elif isinstance(module, Mapping):
        remedy = "Load the weights into a module by its `load_state_dict`, and pass the module."
    elif hasattr(module, "get_params"):
        remedy = "Pass the net inside, `estimator.module_`, or call the estimator's own methods."
    raise TypeError(f"`module` must be an instance of `torch.nn.Module`. Got {got}. {remedy}")


def _check_input(x: Any) -> None:
    tensors: list[Tensor] = []
    map_tensors(tensors.append, x)
    if tensors or isinstance(x, Tensor):
        return
    remedy = "Pass a tensor with the rows on its first axis."
    if isinstance(x, DataLoader | Dataset):
        remedy = "Pass one batch after the other, such as `sample(module, x)` for x in the loader."
    elif hasattr(x, "__array__"):
        remedy = "Pass `torch.as_tensor(x, dtype=...)`, with the dtype of the module's weights."
    elif isinstance(x, list | tuple):
        remedy = "Pass `torch.tensor(x)`, with the dtype of the module's weights."
    raise TypeError(
        "`x` must be a tensor, or a tuple or mapping of tensors. "
        f"Got a {type(x).__name__}. {remedy}"
    )


def _check_batch_size(batch_size: Any, one_item: bool) -> None:
    if one_item and batch_size is not None:
        raise ValueError(
            f"`batch_size` must be None with `one_item`. Got {batch_size!r}. Leave it out."
        )


def _check_numbers(n_draws: Any, least: int, seed: Any, batch_size: Any) -> None:
    for name, value, bound in (
        ("n_draws", n_draws, least),
        ("seed", seed, 0),
        ("batch_size", 1 if batch_size is None else batch_size, 1),
    ):
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or value < bound:
            raise ValueError(f"`{name}` must be a whole number of at least {bound}. Got {value!r}.")
