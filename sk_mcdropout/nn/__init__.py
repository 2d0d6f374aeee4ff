"""Nets, layers and losses for torch alone.

- `MLP`: the default net, fully connected with a dropout after each hidden layer
- `RobustScale` and `PeriodicEmbedding`: what it does to the columns of a table first
- `StackedMLP`: such nets, trained as one; `StackedModules`: nets of any kind, by ``vmap``
- `add_dropout`: a copy of a net, with dropout after each part of some classes
- `set_rates`: set the rate of all dropouts of a module
- `GaussianDropout`: a dropout by normal factors; `DropConnect`: one of the weights of a layer
- `Masksembles`: a dropout by a few masks that stay the same, an ensemble in one net
- `ConcreteDropout`: a dropout that learns its rate; `learned_rates` reads the rates of a module,
  `regularisation` is what is added to the loss for them, and `regularised_parameters` lists the
  parameters that need no weight decay beside it
- `BetaNLLLoss`: the loss of a net that predicts a noise of its own; `mean_and_log_variance`
  splits the output of such a net
- `nll_scale`: the change of a loss per nat of the log-likelihood, to add `regularisation` to it
- `uncompiled`: the module behind one from ``torch.compile``

For the other packages:

- `StackedNets`: what both kinds of stacks have in common
"""

from ._added import add_dropout
from ._compiled import uncompiled
from ._concrete import ConcreteDropout, learned_rates, regularisation, regularised_parameters
from ._drop_connect import DropConnect
from ._gaussian import GaussianDropout
from ._inputs import PeriodicEmbedding, RobustScale
from ._losses import BetaNLLLoss, mean_and_log_variance, nll_scale
from ._masksembles import Masksembles
from ._mlp import MLP, set_rates
from ._stacked import StackedNets
from ._stacked_mlp import StackedMLP
from ._stacked_modules import StackedModules

__all__ = [
    "MLP",
    "BetaNLLLoss",
    "ConcreteDropout",
    "DropConnect",
    "GaussianDropout",
    "Masksembles",
    "PeriodicEmbedding",
    "RobustScale",
    "StackedMLP",
    "StackedModules",
    "StackedNets",
    "add_dropout",
    "learned_rates",
    "mean_and_log_variance",
    "nll_scale",
    "regularisation",
    "regularised_parameters",
    "set_rates",
    "uncompiled",
]
