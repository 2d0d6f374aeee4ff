"""Look at a module in training mode: find what is random then, and what of it can be drawn.

Dropout is often written for training mode alone, as the rate of an attention that is
``self.p if self.training else 0.0``. A copy of the module is run in both modes, with the modules
of one class after the other in training mode. Where nothing but dropout calls is added, these
modules can be held in training mode while sampling: the calls are then drawn as any others.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ._eval_mode import forked_generators
from ._masks import Mask
from ._numbers import is_known_dropout
from ._passes import Event, Pass, Passes, same
from ._put_back import Written
from ._reading import Code, is_of_torch, read

__all__ = ["TrainingLook", "look_into_training"]


@dataclass(frozen=True)
class TrainingLook:
    """What is random in training mode and not in eval mode.

    Parameters
    ----------
    held : tuple of str
        The paths of the submodules that make more dropout calls in training mode and do nothing
        else there.
    drawn : tuple of str
        The paths of the submodules that draw by hand what `shared_numbers` takes as dropouts.
    named : tuple of str
        The paths of the instances of the ``extra`` classes.
    left_off : dict of str to str
        The paths of the submodules that are random in another way, each with what it does.
    unshared : dict of str to str
        The paths of those of the ``extra`` classes whose numbers rows cannot share, with why.
    """

    held: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    left_off: dict[str, str] = field(default_factory=dict)
    unshared: dict[str, str] = field(default_factory=dict)

    def on(self, module: nn.Module) -> list[nn.Module]:
        """Return all that is to be in training mode while sampling."""
        return list(map(module.get_submodule, (*self.held, *self.drawn, *self.named)))

    def drawing(self, module: nn.Module) -> list[nn.Module]:
        """Return what draws by hand."""
        return list(map(module.get_submodule, self.drawn))


def look_into_training(
    module: nn.Module,
    forward: Callable[[nn.Module, Any], Any],
    x: Any,
    extra: tuple[type, ...] = (),
) -> TrainingLook:
    """Find out what is random in training mode only.

    Nothing of the module is changed. Modules whose code never asks for their mode are not run.

    Parameters
    ----------
    module : nn.Module
        The module, in eval mode.
    forward : callable of (module, input)
        Runs the module or a copy of it. Of a tuple, the first output counts.
    x : Tensor, mapping or sequence of Tensor
        The input; two of its rows are used.
    extra : tuple of class
        The classes of submodules that are in training mode while sampling.

    Returns
    -------
    TrainingLook
        What can be drawn, and what is left off.
    """
    fixed = {name: why for name, part in module.named_modules() if (why := _fixed(part))}
    code = read(module)
    if not code.asking and not any(_is_named(part, extra) for part in module.modules()):
        return TrainingLook(left_off=fixed)
    with torch.inference_mode(False), torch.no_grad(), forked_generators(0):
        look = _look_at(module, forward, x, extra, code)
    named = tuple(name for name, part in module.named_modules() if isinstance(part, extra))
    return replace(look, named=named, left_off={**fixed, **look.left_off})


def _look_at(
    module: nn.Module, forward: Callable, x: Any, extra: tuple[type, ...], code: Code
) -> TrainingLook:
    """Look at a copy that shares weights; where that cannot be, copy all or look at itself."""
    # Functions that hold on to submodules would go on doing so in a copy.
    on_itself, share = not code.reached.isdisjoint(module.modules()), True
    while True:
        try:
            with Passes(module, forward, x, code, on_itself, share) as passes:
                return _Looker(passes, extra).look()
        except Written:
            share = False
        except _CannotRun as error:
            if on_itself:
                asking = (name for name, part in module.named_modules() if part in code.asking)
                return TrainingLook(left_off=dict.fromkeys(asking, str(error)))
            on_itself = True


class _CannotRun(Exception):
    """The module or its copy does not run, even in eval mode."""


class _Looker:
    """Compares the passes of a module in eval and in training mode.

    Parameters
    ----------
    passes : Passes
        Runs them.
    extra : tuple of class
        The classes whose instances are always in training mode.
    """

    def __init__(self, passes: Passes, extra: tuple[type, ...]) -> None:
        self.passes, self.extra = passes, extra
        self.unshared: dict[nn.Module, str] = {}
        self.held: list[nn.Module] = []
        self.nothing_new: list[nn.Module] = []
        self.left_off: dict[nn.Module, str] = {}

    def look(self) -> TrainingLook:
        """Return what is found."""
        self._look()
        paths = {part: name for name, part in self.passes.subject.named_modules()}
        return TrainingLook(
            tuple(paths[part] for part in self.held),
            tuple(paths[part] for part in self.passes.drawn),
            (),
            {paths[part]: why for part, why in self.left_off.items()},
            {paths[part]: why for part, why in self.unshared.items()},
        )

    def _look(self) -> None:
        self._find_numbers()
        self._take_base()
        rest = self._not_found()
        runs = self.passes.several(rest)
        if any(run.moved for run in [*self.bases, *runs]):
            self.passes.closely = True
            self._take_base()
            runs = self.passes.several(rest)
            self.nothing_new += self._replacing(runs, rest)
            rest = self._not_found()
            runs = self.passes.several(rest) if self.nothing_new else runs
        for group in self._suspects(runs):
            if not self._is_random(runs, rest):
                break
            self._settle([part for part in group if part in rest])
            if len(fewer := self._not_found()) < len(rest):
                rest, runs = fewer, self.passes.several(fewer)
        if self._is_random(runs, rest) and not any(run.error for run in runs):
            for part in self._owners(runs, rest) or [self.passes.subject]:
                self.left_off[part] = "is random together with other submodules"
        if len(self.held) > 1 and not self._is_clean(self.passes.several(self.held), self.held):
            self.left_off |= dict.fromkeys(self.held, _MORE)
            self.held = []

    def _take_base(self) -> None:
        """Run passes in eval mode, to compare with; without draws one is as good as several."""
        self.base = self.passes.one((), 0)
        if self.base.error is not None:
            raise _CannotRun(f"cannot be looked into ({_short(self.base.error)})")
        self.bases = self.passes.several(()) if self.passes.closely else [self.base]

    def _not_found(self) -> dict[nn.Module, None]:
        found = {*self.held, *self.nothing_new, *self.left_off}
        found.update(self.passes.on)
        return {part: None for part in self.passes.in_training if part not in found}

    def _find_numbers(self) -> None:
        """Find the modules whose random numbers can be taken as dropouts."""
        extra = [part for part in self.passes.parts if isinstance(part, self.extra)]
        known = [part for part in self.passes.in_training if is_known_dropout(part)]
        self.passes.on = extra
        if not (extra or known):
            return
        for group in ([*extra, *known], extra):
            self.passes.closely, self.passes.drawn = True, dict.fromkeys(group)
            two, three = (self.passes.one(group, 0, n_rows=n_rows) for n_rows in (2, 3))
            self.passes.closely, self.passes.drawn = False, ()
            if not (two.error or three.error):
                break
        else:
            return
        refused = {
            owner: f"draws from {name}, in a way that rows cannot share"
            for owner, name in two.draws(group)
            if owner is not None
        }
        numbers, others = two.numbers(group), three.numbers(group)
        for part, shapes in numbers.items():
            if part not in refused and not _have_rows(shapes, others.get(part, [])):
                refused[part] = "draws numbers whose rows are no axis of their own"
        self.unshared = {part: why for part, why in refused.items() if part in extra}
        self.passes.drawn = [
            part
            for part in numbers
            if part not in refused and (part in extra or not self._changes(part, two))
        ]
        self.passes.on = dict.fromkeys([*extra, *self.passes.drawn])

    def _changes(self, part: nn.Module, run: Pass) -> bool:
        """Return whether a pass changed anything in a module."""
        path = next(name for name, other in self.passes.subject.named_modules() if other is part)
        return any(name.startswith(f"{path}.") for name in run.changed)

    def _owners(self, runs: list[Pass], group: Collection[nn.Module]) -> list[nn.Module]:
        """Return who makes more calls or draws than in eval mode."""
        calls = (owner for run in runs for owner, _ in run.calls(group) - self.base.calls(group))
        owners = dict.fromkeys([*calls, *self._drawing(runs, group)])
        return [part for part in owners if part is not None]

    def _settle(self, group: list[nn.Module]) -> None:
        """Find out which modules of a group are random in training mode, and how."""
        if not group:
            return
        runs = self.passes.several(group)
        failed = next((run.error for run in runs if run.error is not None), None)
        if is_of_torch(type(group[0])) if failed else not self._is_random(runs, group):
            return
        if failed is None and self._is_clean(runs, group):
            calls = runs[0].calls(group) - self.base.calls(group)
            owners = [part for part in group if any(part is owner for owner, _ in calls)]
            reached = self._reaches_output(group, calls)
            (self.held if reached else self.nothing_new).extend(owners or group)
            return
        drawing = self._drawing(runs, group)
        if len(group) == 1:
            self.left_off[group[0]] = self._reason(runs, group, failed)
        elif failed is None and None not in drawing and drawing:
            for part, names in drawing.items():
                self.left_off[part] = _draws_from(names)
            self._settle([part for part in group if part not in drawing])
        else:
            half = len(group) // 2
            self._settle(group[:half])
            self._settle(group[half:])

    def _reason(self, runs: list[Pass], group: list[nn.Module], failed: Exception | None) -> str:
        if failed is not None:
            return f"raises in training mode ({_short(failed)})"
        if drawing := self._drawing(runs, group):
            return _draws_from({name for names in drawing.values() for name in names})
        if any(run.calls(group) != runs[0].calls(group) for run in runs):
            return "makes other dropout calls each time"
        if _vary(runs):
            return "gives another output each time"
        return _MORE

    def _is_random(self, runs: list[Pass], group: Collection[nn.Module]) -> bool:
        """Return whether there are more calls or draws than in eval mode, or other outputs."""
        if any(run.error or run.calls(group) - self.base.calls(group) for run in runs):
            return True
        if self._drawing(runs, group):
            return True
        return _vary(runs) and not _vary(self.bases)

    def _is_clean(self, runs: list[Pass], group: Collection[nn.Module]) -> bool:
        """Return whether dropout calls, the same each time, are all that is added."""
        return all(
            run.error is None
            and run.calls(group) == runs[0].calls(group)
            and not run.draws(group) - self.base.draws(group)
            and run.changed <= self.base.changed
            and same(run.output, base.output)
            for run, base in zip(runs, itertools.cycle(self.bases), strict=False)
        )

    def _drawing(self, runs: list[Pass], group: Collection[nn.Module]) -> dict:
        """Return who draws more than in eval mode, and from what.

        A draw in the place of a dropout call, as in ConcreteDropout, is no more than before.
        """
        found: dict[nn.Module | None, set[str]] = {}
        for run in runs:
            fewer = self.base.calls(group) - run.calls(group)
            replaced = Counter(owner for owner, _ in fewer.elements())
            draws = run.draws(group) - self.base.draws(group)
            by_owner = Counter(owner for owner, _ in draws.elements())
            for owner, name in draws:
                if by_owner[owner] > replaced[owner]:
                    found.setdefault(owner, set()).add(name)
        return found

    def _replacing(self, runs: list[Pass], group: Collection[nn.Module]) -> set[nn.Module]:
        """Return who draws in training mode in the place of the dropout calls of eval mode."""
        draws = (owner for run in runs for owner, _ in run.draws(group) - self.base.draws(group))
        return {part for part in draws if part is not None} - self._drawing(runs, group).keys()

    def _reaches_output(self, group: list[nn.Module], calls: Counter) -> bool:
        """Return whether the output has anything of what these dropout calls return."""

        def noise(event: Event, x: Tensor) -> Mask | None:
            if (event.owner(group), event.what) not in calls:
                return None
            noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
            return torch.zeros_like(x), noise.to(x) + 0.5

        return not same(self.passes.one(group, 0, noise).output, self.base.output)

    def _suspects(self, runs: list[Pass]) -> list[list[nn.Module]]:
        """Return the submodules class by class, beginning with who was running at what is new."""
        running: dict[nn.Module, None] = {}
        known = Counter((event.stack, event.what) for event in self.base.events)
        for run in runs:
            more = Counter((event.stack, event.what) for event in run.events) - known
            running |= dict.fromkeys(part for stack, _ in more for part in stack)
        groups: dict[type, list[nn.Module]] = {type(part): [] for part in running}
        for part in self._not_found():
            groups.setdefault(type(part), []).append(part)
        return sorted(filter(None, groups.values()), key=lambda group: is_of_torch(type(group[0])))


_MORE = "does more in training mode than to call dropouts"


def _is_named(part: nn.Module, extra: tuple[type, ...]) -> bool:
    return isinstance(part, extra) or is_known_dropout(part)


def _have_rows(two: list[tuple[int, ...]], three: list[tuple[int, ...]]) -> bool:
    """Return whether shapes for two and for three rows have one axis of rows, or none."""
    if [len(shape) for shape in two] != [len(shape) for shape in three]:
        return False
    pairs = (zip(a, b, strict=True) for a, b in zip(two, three, strict=True))
    differing = [[sizes for sizes in pair if sizes[0] != sizes[1]] for pair in pairs]
    return all(sizes in ([], [(2, 3)]) for sizes in differing)


def _vary(runs: list[Pass]) -> bool:
    return not all(same(run.output, runs[0].output) for run in runs)


def _draws_from(names: Iterable[str]) -> str:
    return f"draws from {' and '.join(sorted(set(names)))}"


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:200]


def _fixed(part: nn.Module) -> str | None:
    """Return why the dropout in a module cannot be switched on, and the way out, if it is so."""
    graph = vars(part).get("_graph", vars(part).get("graph"))
    nodes = [node for node in getattr(graph, "nodes", ()) if "dropout" in str(node.target)]
    if any(str(node.target).startswith("aten.") and node.args[1:2] != (0,) for node in nodes):
        return "is exported with its dropout fixed; sample the module from before the export"
    if type(part).__module__.startswith("torch.ao.nn.quantized"):
        p = getattr(part, "p", 0) or (part.dropout if getattr(part, "num_layers", 1) > 1 else 0)
        if p:
            return "is quantised without its dropout; sample the module from before that"
    return None
