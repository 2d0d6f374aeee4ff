"""Monte-Carlo dropout as a scikit-learn estimator.

Where to look:

- ``regressor``: `MCDropoutRegressor`, a skorch net with ``predict(X, return_std=True)``
- ``modules``: `MLP`, the default net
- ``sampling``: `sample`, `mean_and_std` and `dropout_sites` for any torch module
- ``dropouts``: how dropout calls are found and given their masks
"""

from .modules import MLP
from .regressor import MCDropoutRegressor
from .sampling import dropout_sites, mean_and_std, sample

__version__ = "0.1.0"
__all__ = ["MLP", "MCDropoutRegressor", "dropout_sites", "mean_and_std", "sample"]
