"""Monte-Carlo dropout as a scikit-learn estimator.

Where to look:

- ``regressor``: `MCDropoutRegressor`, a skorch net with ``predict(X, return_std=True)``;
  ``_predicting`` and ``_distribution`` hold what it answers; ``_base``, ``_data``, ``_steps``
  and ``_target`` what makes it a good scikit-learn citizen
- ``noise``, ``mixtures``, ``calibration``, ``_held_out``: the noise of the observations, the
  predictive distribution, and how it is mended by rows that were not trained on
- ``modules``: `MLP`, the default net; ``concrete``: `ConcreteDropout`, which learns its rate
- ``sampling``: `sample`, `mean_and_std` and `dropout_sites` for any torch module
- ``dropouts``, ``composites``: how dropout calls are caught and given their masks
- ``probing``, ``plans``: what is found out about a module, and memory
- ``strategies``, ``lazy``: the ways to apply masks, from the loop to thinned-out layers
- ``metrics``: scores of predictions with an uncertainty, and scorers for searches
- ``displays``: pictures of them
- ``evaluating``, ``generators``: what is changed for a while and put back
- ``summary``: mean, standard deviation and covariance of draws
"""

from .estimators import MCDropoutRegressor
from .nn import MLP, BetaNLLLoss, ConcreteDropout
from .sampling import dropout_sites, mean_and_std, sample

__version__ = "0.1.0"
__all__ = [
    "MLP",
    "BetaNLLLoss",
    "ConcreteDropout",
    "MCDropoutRegressor",
    "dropout_sites",
    "mean_and_std",
    "sample",
]
