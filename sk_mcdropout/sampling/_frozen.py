"""Draws as a module of their own, whose masks are fixed, for exporters and compilers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from ._draws import Draws
from ._intercept import PlannedCalls
from ._masks import DropoutSite, Masks, draw_masks
from ._memory import state_of
from ._plan import Plan, as_planned, forward_of
from ._pooled import PooledDraws
from ._strategies import map_over_masks

__all__ = ["FrozenDraws"]


class FrozenDraws(nn.Module):
    """The draws of one or several modules for any rows, as one module; its masks are buffers.

    Its pass asks nothing of the rows, so that `torch.export` takes it where it takes the modules.

    Parameters
    ----------
    draws : Draws or PooledDraws
        The draws; their first batch is what the modules are planned by.

    Attributes
    ----------
    example : Tensor, mapping or sequence of Tensor
        That first batch.

    Raises
    ------
    NotImplementedError
        If the draws of a row depend on its values, on other rows, or on what is not a mask.

    Examples
    --------
    >>> import torch
    >>> from sk_mcdropout.sampling import Draws, FrozenDraws
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Dropout(0.5))
    >>> frozen = FrozenDraws(Draws(net.eval(), lambda: [torch.ones(3, 2)], n_draws=10))
    >>> frozen(torch.ones(5, 2)).shape
    torch.Size([10, 5, 8])
    """

    def __init__(self, draws: Draws | PooledDraws) -> None:
        super().__init__()
        self.convert: Sequence[Callable[[Tensor], Tensor]] = ()
        if isinstance(draws, PooledDraws):
            self.convert = draws.convert
        each = draws.each() if isinstance(draws, PooledDraws) else [draws]
        self.members = nn.ModuleList(map(_Member, each))
        self.example = self.members[0].example
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        """Return the draws, those of one module after the others.

        Parameters
        ----------
        x : Tensor of shape (n_samples, ...)
            The rows, of the kind that the modules were planned by.

        Returns
        -------
        Tensor of shape (n_draws, n_samples, ...)
            The outputs.
        """
        outputs = [member(x) for member in self.members]
        if self.convert:
            outputs = [convert(part) for convert, part in zip(self.convert, outputs, strict=False)]
        return torch.cat(outputs)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the modules in the modes that they are drawn in."""
        with ExitStack() as stack:
            for member in self.members:
                stack.enter_context(member.held())  # type: ignore[operator]
            yield


class _Member(nn.Module):
    """The draws of one module."""

    def __init__(self, draws: Draws) -> None:
        super().__init__()
        self.example = next(iter(draws.batches()))
        with draws.evaluating():
            plan = draws._plan(self.example, state_of(draws.module))
        _check_rows_are_alike(plan)
        self.module, self._draws, self._plan = draws.module, draws, plan
        self._pass = forward_of(draws._forward_of(plan), plan)
        masks = draw_masks(plan.sites, draws.n_draws, draws.seed, plan.device, law=draws.masks)
        self._n_parts = {call: len(mask) for call, mask in masks.items()}
        for call, mask in masks.items():
            for part, tensor in enumerate(mask):
                self.register_buffer(f"mask_{call}_{part}", tensor)
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        masks: Masks = {
            call: tuple(self.get_buffer(f"mask_{call}_{part}") for part in range(n_parts))
            for call, n_parts in self._n_parts.items()
        }
        if not masks:
            output = self._pass(x)
            return output.expand(self._draws.n_draws, *output.shape)
        return map_over_masks(self._pass, x, masks, lambda: _CallsInTurn(self._plan.sites, []))

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._draws.evaluating(), as_planned(self.module, self._plan.look):
            yield


class _CallsInTurn(PlannedCalls):
    """The dropout calls of a pass, of whose rows nothing is asked."""

    def next_site(self, func: Callable, x: Tensor, p: float) -> DropoutSite | None:
        """Return the site of the next dropout call, or None if its rate is 0."""
        call, self.n_calls = self.n_calls, self.n_calls + 1
        if p == 0:
            return None
        site = self.sites[self.n_dropouts]
        self.n_dropouts += 1
        return site if site.call == call else None


def _check_rows_are_alike(plan: Plan) -> None:
    reasons = {
        "dropout calls that depend on the values of a row": plan.found.varies,
        "an output for a row that depends on the other rows": plan.mixes,
        "random numbers that are seeded for each draw": plan.seeds,
    }
    for reason, is_so in reasons.items():
        if is_so:
            raise NotImplementedError(
                "the module must give each row one output under fixed masks, to have them in a "
                f"graph. Got {reason}. Predict by the estimator, or draw by `sample`."
            )
