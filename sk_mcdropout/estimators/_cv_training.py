"""The trainings of a cross-fitted ensemble, and what is said of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import process_routing

from sk_mcdropout.sampling import warn

from ._search import Fold, Setting
from ._together import Task, fit_together

__all__ = ["base_of", "learner_of", "routed_metadata", "train", "train_settings"]


def base_of(model: Any) -> Any:
    """Return a copy of the estimator of an ensemble, without what the ensemble was given."""
    base = model._NET() if model.estimator is None else clone(model.estimator)
    usual = {"n_draws": 100, "masks": "iid", "random_state": None, "warm_start": False}
    usual |= model._GIVEN_HERE
    for name, value in usual.items():
        given = getattr(base, name)
        if given != value and given != getattr(model, name, value):
            raise ValueError(
                f"`{name}` must be given to {type(model).__name__}, not to its estimator. Got "
                f"{given!r} there. Leave it out there."
            )
    return base.set_params(**usual)


def routed_metadata(model: Any, sample_weight: Any, params: dict[str, Any]) -> Any:
    """Return the metadata for the splitter and for the scorer, beside the weights."""
    if get_config()["enable_metadata_routing"]:
        given = {} if sample_weight is None else {"sample_weight": sample_weight}
        routed = process_routing(model, "fit", **given, **params)
        routed.scorer.score.pop("sample_weight", None)  # which a fold brings along
        return routed
    unknown = set(params) - {"groups"}
    if unknown:
        raise TypeError(
            "the parameters of `fit` must be X, y, sample_weight and groups. Got "
            f"{sorted(unknown)!r}. Leave them out, or switch metadata routing on."
        )
    return Bunch(splitter=Bunch(split=params), scorer=Bunch(score={}))


def learner_of(model: Any, base: Any, params: dict[str, Any], *place: int) -> Any:
    """Return an estimator of a setting, seeded by its place: the same for all settings."""
    seed = np.random.SeedSequence([model.seed_, *place]).generate_state(1)[0] % 2**31
    known = {"n_draws": model.n_draws, "masks": model.masks, "random_state": int(seed)}
    learner = clone(base).set_params(**model._params_of_net(params), **known)
    if getattr(learner, "strategy", "auto") != "auto":
        raise ValueError(
            f"`strategy` must be 'auto' in {type(model).__name__}, which pools draws. Got "
            f"{learner.strategy!r}. Leave it out."
        )
    return learner


def train_settings(model: Any, base: Any, folds: Sequence[Fold]) -> list[Setting]:
    """Train a net for each setting and fold."""
    grid = model._default_grid(base) if model.param_grid is None else model.param_grid
    settings = [
        Setting(params, [learner_of(model, base, params, k, 0) for k in range(len(folds))])
        for params in ParameterGrid(grid)
    ]
    tasks = [
        Task(learner, *fold.training)
        for setting in settings
        for learner, fold in zip(setting.learners, folds, strict=True)
    ]
    says_why = model.n_jobs is None
    errors = iter(fit_together(tasks, model.n_jobs, bool(model.verbose), says_why=says_why))
    for setting in settings:
        setting.errors += [next(errors) for _ in setting.learners]
    _say_what_failed(settings)
    return settings


def train(model: Any, tasks: Sequence[Task]) -> None:
    """Train the nets of the best setting that are missing."""
    for error in fit_together(tasks, model.n_jobs, bool(model.verbose), first_error=True):
        if error is not None:
            raise error
    if any(task.learner._interrupted for task in tasks):
        if not all(hasattr(task.learner, "module_") for task in tasks):
            raise KeyboardInterrupt
        warn(
            "the training must go on to its end. Got an interrupt: nets are as they were then. "
            "Call `fit` again."
        )


def _say_what_failed(settings: Sequence[Setting]) -> None:
    """Say which settings were not trained to the end; raise where none was."""
    failed = [setting for setting in settings if any(setting.errors)]
    if failed and len(failed) < len(settings):
        error = next(error for error in failed[0].errors if error is not None)
        warn(
            f"each setting must train to the end. Got {len(failed)} of {len(settings)} that do "
            f"not, such as {failed[0].params!r}: {error} Their scores are NaN."
        )
    learners = [learner for setting in settings for learner in setting.learners]
    if any(learner._interrupted for learner in learners):
        if not any(setting.is_whole for setting in settings):
            raise KeyboardInterrupt
        n_left = sum(not setting.is_whole for setting in settings)
        warn(
            "the training must go on to its end. Got an interrupt: nets are as they were then, and "
            f"{n_left} of {len(settings)} settings were not trained. Call `fit` again."
        )
