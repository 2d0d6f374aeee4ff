"""What skops asks to trust in files of these estimators."""

import collections
import functools
from typing import Any

import skorch
import torch
from skorch.callbacks import EpochScoring, EpochTimer, PassthroughScoring
from torch import nn

from sk_mcdropout import nn as ours
from sk_mcdropout.predictive import CALIBRATIONS, CrossConformalCalibration
from sk_mcdropout.sampling import DropoutSite

from ._batches import BatchDataset
from ._callbacks import CosineSchedule, DecayByNoise, EarlyEnd, EpochBar, EpochTable
from ._classifier import MCDropoutClassifier, _accuracy_of_codes
from ._classifier_cv import MCDropoutClassifierCV
from ._regressor import MCDropoutRegressor
from ._regressor_cv import MCDropoutRegressorCV

__all__ = ["TRUSTED_TYPES"]


def _modules_in(place: Any) -> list[type]:
    """Return the classes of modules that a package offers."""
    values = vars(place).values()
    return [value for value in values if isinstance(value, type) and issubclass(value, nn.Module)]


_TYPES: tuple[Any, ...] = (
    *(MCDropoutClassifier, MCDropoutClassifierCV, MCDropoutRegressor, MCDropoutRegressorCV),
    *(CosineSchedule, DecayByNoise, EarlyEnd, EpochBar, EpochTable),
    *(BatchDataset, DropoutSite, _accuracy_of_codes),
    *(*CALIBRATIONS.values(), CrossConformalCalibration),
    *(*_modules_in(ours), *_modules_in(nn)),
    *(EpochScoring, EpochTimer, PassthroughScoring, skorch.history.History),
    *(skorch.setter.optimizer_setter, skorch.utils._indexing_other, skorch.utils.to_numpy),
    *(torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR, torch.utils.data.DataLoader),
    *(torch._utils._rebuild_parameter, torch._utils._rebuild_tensor_v2),
    *(collections.OrderedDict, collections.defaultdict, dict, functools.partial, print),
)

# By their names, as skops shows them: these estimators and what they are made of by default, the
# layers and losses of torch and of this package, and the calibrations.
TRUSTED_TYPES: list[str] = sorted({f"{kind.__module__}.{kind.__qualname__}" for kind in _TYPES})
