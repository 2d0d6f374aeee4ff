"""Estimators, each with its own rows, trained as stacks where they are alike."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from joblib import effective_n_jobs
from sklearn.utils.parallel import Parallel, delayed
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sk_mcdropout.nn import StackedMLP, StackedModules, regularised_parameters
from sk_mcdropout.sampling import warn

from ._batches import BatchDataset
from ._stack import Rows, Stack
from ._weights import weights_of

__all__ = ["Task", "fit_together"]

# Parameters whose values here are those that a stack knows, and those that have to be left out.
_KNOWN = {
    "iterator_train": DataLoader,
    "dataset": BatchDataset,
    "callbacks": None,
    "train_split": None,
    "early_stopping": False,
    "compile": False,
    "device": "cpu",
    "verbose": 0,
    "output": None,
    "warm_start": False,
}
# Optimizers that take each parameter by itself, by steps in proportion to the learning rate.
_OPTIMIZERS = (
    torch.optim.AdamW,
    torch.optim.Adam,
    torch.optim.SGD,
    torch.optim.RMSprop,
    torch.optim.Adagrad,
    torch.optim.Adadelta,
    torch.optim.Adamax,
    torch.optim.NAdam,
    torch.optim.RAdam,
)
_MOST_NUMBERS = 2**26  # parameters of all nets of a stack, which it has in several copies
_UNKNOWN = (
    "criterion__",
    "callbacks__",
    "iterator_train__",
    "dataset__",
    "optimizer__param_groups",
)


class Task(NamedTuple):
    """An estimator that is to be fitted, and the rows for it."""

    learner: Any
    X: Any
    y: Any
    sample_weight: np.ndarray | None = None


class _Made(NamedTuple):
    """A task whose net was made: the data as they are trained on, and the rows of the steps."""

    task: Task
    X: Any
    y: Any
    rows: Rows


def fit_together(
    tasks: Sequence[Task],
    n_jobs: int | None = None,
    progress: bool = False,
    first_error: bool = False,
    says_why: bool = False,
    **fit_params: Any,
) -> list[ValueError | None]:
    """Fit estimators, each on its own rows: as stacks where that can be, else one by one.

    A stack trains nets of one architecture on arrays, with a loss of torch's for numbers or
    classes, an optimizer that goes number by number, and as many steps in an epoch. Each gets the
    rows of a step, the masks, the learning rate and the decay that it would get alone, so that the
    fits are the same but for the rounding.

    Parameters
    ----------
    tasks : sequence of Task
        The estimators, not fitted yet, and their rows.
    n_jobs : int, optional
        Number of processes, for parts of the stacks and those that are fitted one by one.
    progress : bool
        Whether to show the steps of the stacks.
    first_error : bool
        Whether to go no further after what went wrong first.
    says_why : bool
        Whether to warn of estimators that are fitted one by one.
    **fit_params : dict
        Passed to ``fit``.

    Returns
    -------
    list of ValueError or None
        What went wrong in each training, such as weights that are not finite; the estimator is
        then as before. After an interrupt by the user the estimators of the stack that was trained
        have ``_interrupted``, and later ones are as before, too.
    """
    stacks: list[dict[int, _Made]] = []
    stacked: dict[int, ValueError | None] = {}  # what was trained in a stack
    before = [(vars(task.learner).copy(), task.learner._weights_of_the_user()) for task in tasks]
    try:
        stacks = [] if fit_params else _stacks_of(tasks)
        if says_why:
            _say_why_alone(tasks, {place for stack in stacks for place in stack})
        if effective_n_jobs(n_jobs) > 1:
            stacked |= _fit_in_processes(stacks, n_jobs)
            stacks = []
        for stack in stacks:
            stacked |= _fit_stack(stack, progress)
            if any(made.task.learner._interrupted for made in stack.values()):
                return [stacked.get(place) for place in range(len(tasks))]
    finally:
        for place, (task, state) in enumerate(zip(tasks, before, strict=True)):
            task.learner._forget_the_rows()
            if place not in stacked or stacked[place] is not None:
                task.learner._put_back(*state)
    alone = {place: task for place, task in enumerate(tasks) if place not in stacked}
    errors = stacked | _fit_alone(alone, n_jobs, first_error, fit_params)
    return [errors.get(place) for place in range(len(tasks))]


def _why_alone(learner: Any) -> str | None:
    """Return a parameter that keeps an estimator out of a stack, None where it has none."""
    if type(learner).__module__.partition(".")[0] != "sk_mcdropout":
        return "estimator"
    unusual = [name for name, value in _KNOWN.items() if getattr(learner, name) != value]
    unusual += ["criterion"] if learner.criterion not in learner._STACKED_CRITERIA else []
    unusual += ["optimizer"] if learner.optimizer not in _OPTIMIZERS else []
    given = [n for n in vars(learner) if n.startswith(_UNKNOWN) and n != "iterator_train__shuffle"]
    rates = ["lr"] if isinstance(learner.lr, Tensor) else []
    return next(iter([*unusual, *given, *rates]), None)


def _say_why_alone(tasks: Sequence[Task], stacked: set[int]) -> None:
    """Say once that nets are trained one by one, and why."""
    alone = [task for place, task in enumerate(tasks) if place not in stacked]
    if len(tasks) < 2 or not alone:
        return
    reason = _why_alone(alone[0].learner)
    if reason is None and isinstance(alone[0].X, np.ndarray):
        reason = "module"
    if reason is not None:
        warn(
            "the estimator must have a loss and an optimizer that a stack knows, and a net that "
            "`torch.func.vmap` takes and that draws nothing but dropout, for all nets to be "
            f"trained as one stack. Got another `{reason}`: {len(alone)} nets are trained one "
            "by one. Give `n_jobs`, which may be 1, if that is meant."
        )


# -- stacks --------------------------------------------------------------------------------------


def _stacks_of(tasks: Sequence[Task]) -> list[dict[int, _Made]]:
    """Make the nets of all tasks that may be stacked; return those that are alike together."""
    stacks: dict[Any, dict[int, _Made]] = {}
    known: dict[Any, tuple[Any, Any, Rows]] = {}
    for place, task in enumerate(tasks):
        made = _make(task, known) if _why_alone(task.learner) is None else None
        if made is not None:
            stacks.setdefault(_kind(made), {})[place] = made
    alike = (_alike(part) for stack in stacks.values() for part in _parts(stack))
    return [stack for stack in alike if stack]


def _parts(stack: dict[int, _Made]) -> Iterator[dict[int, _Made]]:
    """Yield parts of a stack whose nets have together no more parameters than may be."""
    places, one = list(stack), next(iter(stack.values())).task.learner.module_
    at_once = max(1, _MOST_NUMBERS // max(1, sum(part.numel() for part in one.parameters())))
    for start in range(0, len(places), at_once):
        yield {place: stack[place] for place in places[start : start + at_once]}


def _alike(stack: dict[int, _Made]) -> dict[int, _Made]:
    """Return the tasks whose nets do in a stack what they do alone."""
    nets = {place: made.task.learner.module_ for place, made in stack.items()}
    if all(map(StackedMLP.takes, nets.values())):
        return stack
    takes = StackedModules.matching(list(nets.values()), [made.rows.x for made in stack.values()])
    left = {place: made for (place, made), taken in zip(stack.items(), takes, strict=True) if taken}
    return left if len(left) > 1 else {}


def _make(task: Task, known: dict[Any, tuple[Any, Any, Rows]]) -> _Made | None:
    """Make the net of a task; return None where its net or its data cannot be stacked."""
    learner = task.learner
    X, y = learner._prepare(task.X, task.y, True, {}, task.sample_weight)
    if not isinstance(X, np.ndarray) or y is None or y.ndim > 2:
        return None
    if regularised_parameters(learner.module_):
        return None
    learner.check_data(X, y)
    train, _ = learner.get_split_datasets(X, y)
    learner.__dict__["_weights_were_read"] = True
    # Estimators with the same rows share them.
    own = (str(getattr(learner, name)) for name in learner._TARGET_PARAMS)
    key = id(task.X), id(task.y), id(task.sample_weight), X.dtype, *own
    if key not in known:
        x, target = train.__getitems__(np.arange(len(train)))
        weights = weights_of(train)
        weighed = None if weights is None else torch.tensor(weights).to(x)
        known[key] = X, y, Rows(x, learner._target_of_stack(target, x.dtype), weighed)
    X, y, rows = known[key]
    return _Made(task, X, y, rows)


def _kind(made: _Made) -> tuple[Any, ...]:
    """Return what nets of one stack have in common: their architecture and their steps."""
    learner, rows = made.task.learner, made.rows
    optimizer = learner.get_params_for_optimizer("optimizer", [])[1]
    own = {"lr"} | ({"weight_decay"} if learner.optimizer is torch.optim.AdamW else set())
    size = learner.batch_size_
    return (
        _architecture(learner.module_),
        StackedMLP.takes(learner.module_) or str(learner.get_params_for("module")),
        type(learner.criterion_),
        size,
        1 if size == -1 else math.ceil(len(rows.x) / size),
        learner.max_epochs_,
        learner.lr_schedule,
        learner.iterator_train__shuffle,
        learner._decays_by_noise(),
        learner.optimizer,
        str({name: value for name, value in optimizer.items() if name not in own}),
        rows.x.dtype,
        rows.weights is None,
    )


def _architecture(net: nn.Module) -> tuple[Any, ...]:
    shapes = tuple((name, tuple(part.shape)) for name, part in net.state_dict().items())
    return type(net), *shapes, *(repr(part) for part in net.modules() if not _has_a_rate(part))


def _has_a_rate(part: nn.Module) -> bool:
    return any(isinstance(inner, nn.Dropout) for inner in part.modules())


def _fit_stack(stack: dict[int, _Made], progress: bool) -> dict[int, ValueError | None]:
    """Train a stack; return what went wrong with each net."""
    members = stack.values()
    Stack([made.task.learner for made in members], [made.rows for made in members]).train(progress)
    return {place: _tried(_finish, made) for place, made in stack.items()}


def _fit_in_processes(
    stacks: Sequence[dict[int, _Made]], n_jobs: int | None
) -> dict[int, ValueError | None]:
    """Train parts of the stacks in processes; return what went wrong with each net."""
    n_parts = effective_n_jobs(n_jobs)
    parts = [
        {place: stack[place] for place in places}
        for stack in stacks
        for places in (list(stack)[k::n_parts] for k in range(n_parts))
        if places
    ]
    errors: dict[int, ValueError | None] = {}
    fits = Parallel(n_jobs=n_jobs)(delayed(_fitted_stack)(_sent(part)) for part in parts)
    for part, (states, of_part) in zip(parts, fits, strict=True):
        for made, state in zip(part.values(), states, strict=True):
            _take_over(made.task.learner, state)
        errors |= of_part
    return errors


def _sent(stack: dict[int, _Made]) -> dict[int, _Made]:
    """Return a stack whose estimators are no more than their class and their state.

    skorch pickles nets by the names of their classes, which another process does not have where
    they are those of a script or a notebook.
    """
    return {
        place: made._replace(task=made.task._replace(learner=_parted(made.task.learner)))
        for place, made in stack.items()
    }


def _parted(learner: Any) -> tuple[type, dict[str, Any]]:
    return type(learner), _state_of(learner)


def _state_of(learner: Any) -> dict[str, Any]:
    return {name: {} if name == "_plans" else value for name, value in vars(learner).items()}


def _joined(kind: type, state: dict[str, Any]) -> Any:
    learner: Any = object.__new__(kind)
    vars(learner).update(state)
    return learner


def _fitted_stack(
    stack: dict[int, _Made],
) -> tuple[list[dict[str, Any]], dict[int, ValueError | None]]:
    """Train a stack in another process, and send the states of the estimators back."""
    stack = {
        place: made._replace(task=made.task._replace(learner=_joined(*made.task.learner)))
        for place, made in stack.items()
    }
    errors = _fit_stack(stack, progress=False)
    return [_state_of(made.task.learner) for made in stack.values()], errors


def _take_over(learner: Any, state: dict[str, Any]) -> None:
    """Let an estimator be what its copy has become in another process."""
    vars(learner).clear()
    vars(learner).update(state)


def _finish(made: _Made) -> None:
    made.task.learner._finish(made.X, made.y, True, {})


def _tried(function: Any, *args: Any) -> ValueError | None:
    try:
        function(*args)
    except ValueError as error:
        return error
    return None


# -- one by one ------------------------------------------------------------------------------------


def _fit_alone(
    tasks: dict[int, Task], n_jobs: int | None, first_error: bool, fit_params: dict[str, Any]
) -> dict[int, ValueError | None]:
    """Fit estimators one by one, or in processes; return what went wrong with each."""
    errors: dict[int, ValueError | None] = {}
    if effective_n_jobs(n_jobs) == 1:
        for place, task in tasks.items():
            errors[place] = _tried(_fit, task, fit_params)
            if task.learner._interrupted or (first_error and errors[place] is not None):
                break
        return errors
    fits = Parallel(n_jobs=n_jobs)(delayed(_fitted)(task, fit_params) for task in tasks.values())
    for (place, task), (state, error) in zip(tasks.items(), fits, strict=True):
        _take_over(task.learner, state)
        errors[place] = error
    return errors


def _fit(task: Task, fit_params: dict[str, Any]) -> None:
    task.learner.fit(task.X, task.y, sample_weight=task.sample_weight, **fit_params)


def _fitted(task: Task, fit_params: dict[str, Any]) -> tuple[dict[str, Any], ValueError | None]:
    """Fit an estimator in another process, and send its state back."""
    error = _tried(_fit, task, fit_params)
    return _state_of(task.learner), error
