"""Monte-Carlo dropout as a scikit-learn estimator.

Where to look:

- ``regressor``: `MCDropoutRegressor`, a skorch net with ``predict(X, return_std=True)``;
  ``_base``, ``_data`` and ``_target`` hold what makes it a good scikit-learn citizen
- ``modules``: `MLP`, the default net
- ``sampling``: `sample`, `mean_and_std` and `dropout_sites` for any torch module
- ``dropouts``, ``composites``: how dropout calls are caught and given their masks
- ``probing``, ``plans``: what is found out about a module, and memory
- ``strategies``, ``lazy``: the ways to apply masks, from the loop to thinned-out layers
- ``evaluating``, ``generators``: what is changed for a while and put back
- ``summary``: mean, standard deviation and covariance of draws
"""

from .modules import MLP
from .regressor import MCDropoutRegressor
from .sampling import dropout_sites, mean_and_std, sample

__version__ = "0.1.0"
__all__ = ["MLP", "MCDropoutRegressor", "dropout_sites", "mean_and_std", "sample"]
