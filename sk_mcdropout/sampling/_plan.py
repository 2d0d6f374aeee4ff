"""Plan how to sample a module: its dropouts, and the strategies that give what the loop gives."""

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from ._alone import answers_to, masks_are_asked_about, rows_go_one_way
from ._choice import NOT_THE_LOOP, Trial, agree, reason_of
from ._eval_mode import evaluating, forked_generators
from ._intercept import CallsChanged
from ._masks import DropoutSite
from ._numbers import shared_numbers
from ._outputs import Which, find_prediction
from ._probe import Probe, probe
from ._rows import call, first_rows, map_tensors, some_rows
from ._strategies import STRATEGIES, Forward, thinning_pays
from ._training import TrainingLook, look_into_training

__all__ = [
    "DropoutSites",
    "Plan",
    "as_planned",
    "check_extra",
    "forward_of",
    "make_plan",
    "only_loop",
    "refusal",
    "warn",
    "warn_about",
    "warn_if_not_random",
    "warn_of_numbers",
    "warn_of_rows",
]


@dataclass
class Plan:
    """How to sample one module for inputs of one kind; `make_plan` makes it.

    Its strategies may change: one that fails on other rows than those tried is refused.
    """

    found: Probe
    strategies: tuple[str, ...]
    refused: dict[str, str]
    device: torch.device
    look: TrainingLook
    asked_for: str = "auto"
    mixes: bool = False
    tied: bool = False
    prediction: Callable[[Any], Tensor] | None = None
    one_item: bool = False
    written: tuple[str, ...] = ()
    has_effect: bool = False  # once draws were seen to differ

    @property
    def sites(self) -> tuple[DropoutSite, ...]:
        """The dropout calls of rate above 0."""
        return self.found.sites

    @property
    def asks(self) -> bool:
        """Whether the rows must be asked if they have together what each of them has alone."""
        return self.found.asks and bool(self.sites) and not (self.mixes or self.seeds)

    @property
    def seeds(self) -> bool:
        """Whether the generators are seeded for each draw, for modules that draw by themselves."""
        return bool(self.look.unshared) or self.found.random

    def strategy(self, n_rows: int) -> str:
        """Return the strategy for a number of rows: thin out where it saves more than it costs."""
        if len(self.strategies) == 1:
            return self.strategies[0]
        return self.strategies[-1 if thinning_pays(self.sites, n_rows) else 0]

    def row_by_row(self) -> "Plan":
        """Return the plan of a module whose dropout calls depend on the values of its input."""
        found = replace(self.found, varies=True)
        return replace(self, found=found, strategies=("row by row",), refused={})

    def refuse(self, strategy: str, error: Exception, forward: Forward, x: Any) -> None:
        """Strike a strategy off that failed on x, and find the next."""
        refused = {**self.refused, strategy: reason_of(error)}
        try:
            trial = Trial(forward_of(forward, self), first_rows(x, 3), self.sites, self.device)
            strategies = trial.agreeing(refused)
        except Exception:  # the loop itself will say what is wrong
            strategies = ("loop",)
        self.strategies, self.refused = strategies, refused


def make_plan(
    module: nn.Module,
    x: Any,
    forward: Callable[[Any], Any],
    strategy: str = "auto",
    extra_dropout: tuple[type, ...] = (),
    output: Which = None,
    decide: bool = True,
) -> Plan:
    """Find the dropouts of a module and the strategies to sample it.

    Parameters
    ----------
    module : nn.Module
        The module, in eval mode.
    x : Tensor, mapping or sequence of Tensor
        The input, with rows on the first axis.
    forward : callable
        Returns all outputs for an input.
    strategy : str
        A name in ``STRATEGIES``, or ``"auto"``.
    extra_dropout : tuple of class
        Modules that are held in training mode.
    output : str, int or callable, optional
        Which of the outputs is the prediction; see `find_prediction`.
    decide : bool
        Whether to find the strategies, which takes as long as all the rest, or longer.

    Returns
    -------
    Plan
        The input of `chunks`, with strategies.
    """
    if strategy == "moments":
        raise ValueError(
            "`strategy` must be one that draws. Got 'moments', which tells the mean and the "
            "standard deviation alone. Call `mean_and_std`, or leave it at 'auto'."
        )
    if strategy != "auto" and strategy not in STRATEGIES:
        raise ValueError(
            f"`strategy` must be 'auto' or one of {sorted(STRATEGIES)}. Got {strategy!r}."
        )
    check_extra(module, extra_dropout)
    rows = some_rows(x, 3)
    look = look_into_training(module, call, _like_weights(module, rows), extra_dropout)
    if look.unshared:
        strategy = only_loop(strategy, look.unshared)
    with as_planned(module, look):
        shared = shared_numbers(forward, look.drawing(module))
        return _plan_as_held(module, rows, shared, strategy, look, output, decide)


@contextmanager
def as_planned(module: nn.Module, look: TrainingLook) -> Iterator[None]:
    """Hold submodules in training mode whose dropout is called in that mode alone."""
    on = look.on(module)
    with evaluating(module, in_training=on) if on else nullcontext():
        yield


def _like_weights(module: nn.Module, x: Any) -> Any:
    """Return x with the dtype that the module computes in, where whoever calls it casts, too."""
    dtype = next((t.dtype for t in module.parameters() if t.is_floating_point()), None)
    return map_tensors(lambda t: t.to(dtype) if t.is_floating_point() else t, x)


def _plan_as_held(
    module: nn.Module,
    rows: Any,
    forward: Forward,
    strategy: str,
    look: TrainingLook,
    output: Which,
    decide: bool,
) -> Plan:
    with forked_generators() if look.unshared else nullcontext():
        found, fewer, more = probe(module, forward, rows)
    prediction = find_prediction({2: fewer, 3: more}, output)
    fewer, more = prediction(fewer), prediction(more)
    plan = Plan(found, (strategy,), {}, more.device, look, strategy)
    plan.prediction = prediction
    rows_are_alone = agree(more[:2], fewer)
    if found.varies:
        mixes = not (rows_are_alone or found.asks)
        return replace(plan, strategies=("loop",), mixes=True) if mixes else plan.row_by_row()
    if found.random:
        return replace(plan, strategies=("loop",))
    if decide and found.sites and not look.unshared:
        return _with_strategies(plan, rows, forward, rows_are_alone)
    return plan


def _with_strategies(plan: Plan, rows: Any, forward: Forward, rows_are_alone: bool) -> Plan:
    """Return the plan with the strategies that give what the loop gives for unlike rows."""
    forward = forward_of(forward, plan)
    try:
        trial = Trial(forward, rows, plan.sites, plan.device)
        mixes = not rows_are_alone or trial.rows_mix()
        if plan.found.asks_later and not masks_are_asked_about(
            forward, rows, trial.masks, plan.sites
        ):
            plan = replace(plan, found=replace(plan.found, asks_later=False))
    except CallsChanged:  # the masks change the values, and they the calls
        return plan.row_by_row()
    if mixes:
        if plan.found.asks and not rows_go_one_way(forward, rows, answers_to(forward, rows)):
            return plan.row_by_row()
        if rows_are_alone and not trial.rows_mix_without_masks():
            return plan.row_by_row()  # what was taken for the axis of rows is another
        return replace(plan, strategies=("loop",), mixes=True)
    plan = replace(plan, tied=trial.is_tied())
    if plan.asked_for not in ("auto", "loop") and not plan.asks:
        if trial.reason_against(plan.asked_for) == NOT_THE_LOOP:
            raise NotImplementedError(refusal(plan.asked_for, NOT_THE_LOOP))
    if plan.asked_for != "auto":
        return plan
    if plan.tied:
        return replace(plan, strategies=("loop",))
    refused: dict[str, str] = {}
    return replace(plan, strategies=trial.agreeing(refused), refused=refused)


def forward_of(forward: Callable[[Any], Any], plan: Plan) -> Forward:
    """Return the pass that gives the prediction, on a copy of x where the module may write in."""
    copies = plan.found.writes_input or plan.found.asks

    def predict(x: Any) -> Tensor:
        output = forward(map_tensors(torch.clone, x) if copies else x)
        return output if plan.prediction is None else plan.prediction(output)

    return predict


def check_extra(module: nn.Module, extra_dropout: tuple[type, ...]) -> None:
    """Raise if there is nothing of a class that is named."""
    for kind in extra_dropout:
        if not any(isinstance(part, kind) for part in module.modules()):
            raise ValueError(
                f"`extra_dropout` must name classes of submodules. Got {kind.__name__}, of which "
                "the module has none. Leave it out."
            )


def only_loop(strategy: str, unshared: dict[str, str]) -> str:
    """Return the strategy for modules that draw by themselves."""
    if strategy not in ("auto", "loop"):
        raise ValueError(
            "`strategy` must be 'auto' or 'loop' where `extra_dropout` has random numbers of its "
            f"own. Got {strategy!r}, and {_told(unshared)}."
        )
    return "loop"


def refusal(strategy: str, reason: str) -> str:
    """Say that a strategy that was asked for does not do."""
    return (
        f"`strategy` must be one that takes the module and these rows. Got {strategy!r}, which "
        f"failed: {reason}. Leave it at 'auto'."
    )


def _told(paths: dict[str, str]) -> str:
    return ", ".join(f"{path!r} ({why})" for path, why in paths.items())


class DropoutSites(list):
    """The dropouts that sampling switches on; printed, a table of them.

    Parameters
    ----------
    sites : iterable of DropoutSite
        The dropouts.
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

    def __init__(
        self, sites: Iterable[DropoutSite], strategies: tuple[str, ...], refused: dict[str, str]
    ) -> None:
        super().__init__(sites)
        self.strategies, self.refused = strategies, refused

    def __str__(self) -> str:
        rows = [("path", "kind", "rate", "mask", "shared by rows")] + [
            (s.path or "(itself)", s.kind, f"{s.p:g}", str(s.mask_shape), "yes") for s in self
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines.append(f"strategy: {', '.join(self.strategies)}" if self else "no dropout is active")
        lines += [f"not {name}: {reason}" for name, reason in self.refused.items()]
        return "\n".join(lines)


# -- warnings about a module: it is sampled, but maybe not as its user expects ---------------------


def warn(message: str) -> None:
    """Issue a `UserWarning` at the line of the user that called into this package.

    Parameters
    ----------
    message : str
        What must hold, what was got, what to do.

    Examples
    --------
    >>> import warnings
    >>> from sk_mcdropout.sampling import warn
    >>> with warnings.catch_warnings(action="always", record=True) as caught:
    ...     warn("the rate must be above 0. Got 0. Raise it.")
    >>> caught[0].category.__name__
    'UserWarning'
    """
    package = __name__.partition(".")[0]
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _is_inside(frame, package):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


def _is_inside(frame: FrameType, package: str) -> bool:
    name = frame.f_globals.get("__name__", "").partition(".")[0]
    return name in (package, "contextlib", "skorch")  # skorch stands between our own methods


def warn_about(plan: Plan) -> None:
    """Warn of other randomness than dropout, of rows that mix, and of what is not put back."""
    warn_of_numbers(plan)
    warn_of_rows(plan)


def warn_of_numbers(plan: Plan) -> None:
    """Warn of other randomness than dropout."""
    look = plan.look
    if look.unshared:
        warn(
            "random numbers in `extra_dropout` must be such that all rows can share them. Got "
            f"{_told(look.unshared)}. They are seeded for each draw, one pass after the other, and "
            "depend on how rows are batched."
        )
    elif plan.found.random:
        warn(
            "the module must draw random numbers in training mode only. Got random numbers in eval "
            "mode. They are seeded for each draw, one pass after the other, and depend on how rows "
            "are batched."
        )
    if look.left_off:
        warn(
            "what is random in training must be a dropout that can be drawn. Got other randomness "
            f"in {_told(look.left_off)}, which is left off while sampling. Name the class in "
            "`extra_dropout` to switch it on."
        )


def warn_of_rows(plan: Plan) -> None:
    """Warn of rows that mix, and of what is not put back."""
    if plan.mixes:
        warn(
            "the module's output for a row must not depend on the other rows. Got another output "
            "for two rows when a third was there. The draws will depend on how rows are batched."
        )
    if plan.written:
        warn(
            "a pass must not write into buffers of more than 1 MiB, which are not put back. Got "
            f"writes into {', '.join(map(repr, plan.written))}. Keep a copy where it matters."
        )


def warn_if_not_random(plan: Plan) -> None:
    """Warn if no dropout is active."""
    varies = plan.found.varies and not plan.one_item
    if not plan.sites and not plan.seeds and not varies:
        warn(
            "the module must have a dropout with a rate above 0 to draw from. Got none, so that "
            "all draws are the same and their spread is 0. Add a dropout or raise its rate."
        )
