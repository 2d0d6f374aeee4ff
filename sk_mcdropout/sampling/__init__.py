"""Monte-Carlo draws of any torch module. Knows torch alone.

For users of plain torch:

- `sample`: all draws; `mean_and_std`: their mean and standard deviation
- `register_dropout`: classes that draw random numbers by hand
- `dropout_sites`: which dropouts are drawn, each a `DropoutSite`, and by which of the `STRATEGIES`
- `MASK_LAWS`: what the masks of the draws have to do with each other
- `Draws`: the draws of a module for batches of rows, reduced chunk by chunk; `PooledDraws`: those
  of several modules; `ChainedDraws`: those of parts of the rows, each by its own modules

For the other packages:

- `gaussian_dropout`, `masked_in_turn`: dropout functions that torch does not have
- `AnyDraws`: what all kinds of draws have in common
- `FrozenDraws`: draws as a module with fixed masks, for exporters
- `mean_over_draws`, `mean_and_std_over_draws`, `cov_over_draws`: summaries of draws
- `forked_generators`: the global random generators, seeded for a while
- `evaluating`: modules held in eval mode for a while; `is_evaluated`: whether one is
- `alone_with`: modules kept from other threads for a while
- `tidy_modes`: torch's modes left as they were, also by an interrupt
- `one_mask_for_all_steps`: recurrent nets with one mask for all time steps
- `Plans`: what was found out about a module
- `first_rows`: a few rows of any input
- `find_prediction`: the prediction among several outputs
- `progress_bar`: a bar of tqdm
- `warn`: a warning at the line of the user
"""

from ._composites import one_mask_for_all_steps
from ._draws import Draws
from ._eval_mode import alone_with, evaluating, forked_generators, is_evaluated
from ._frozen import FrozenDraws
from ._functions import gaussian_dropout, masked_in_turn
from ._masks import DropoutSite
from ._memory import Plans
from ._modes import tidy_modes
from ._numbers import register_dropout
from ._outputs import find_prediction
from ._plan import DropoutSites, warn
from ._pooled import AnyDraws, ChainedDraws, PooledDraws
from ._progress import progress_bar
from ._rows import first_rows
from ._sample import dropout_sites, mean_and_std, sample
from ._strategies import STRATEGIES
from ._summary import cov_over_draws, mean_and_std_over_draws, mean_over_draws
from ._uniforms import MASK_LAWS

__all__ = [
    "MASK_LAWS",
    "STRATEGIES",
    "AnyDraws",
    "ChainedDraws",
    "Draws",
    "DropoutSite",
    "DropoutSites",
    "FrozenDraws",
    "Plans",
    "PooledDraws",
    "alone_with",
    "cov_over_draws",
    "dropout_sites",
    "evaluating",
    "find_prediction",
    "first_rows",
    "forked_generators",
    "gaussian_dropout",
    "is_evaluated",
    "masked_in_turn",
    "mean_and_std",
    "mean_and_std_over_draws",
    "mean_over_draws",
    "one_mask_for_all_steps",
    "progress_bar",
    "register_dropout",
    "sample",
    "tidy_modes",
    "warn",
]
