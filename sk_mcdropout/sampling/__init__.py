"""Monte-Carlo draws of any torch module. Torch only."""

from ._composites import one_mask_for_all_steps
from ._eval_mode import evaluating
from ._generators import borrowed_generators
from ._plan import chunks, prepare, refuse_no_effect
from ._rows import count_rows, counted, first_rows, gather_rows
from ._sample import STRATEGIES, DropoutSites, dropout_sites, mean_and_std, sample
from ._summary import cov_over_draws, mean_and_std_over_draws, mean_over_draws
from ._warned import warn_if_not_random

__all__ = [
    "STRATEGIES",
    "DropoutSites",
    "borrowed_generators",
    "chunks",
    "count_rows",
    "counted",
    "cov_over_draws",
    "dropout_sites",
    "evaluating",
    "first_rows",
    "gather_rows",
    "mean_and_std",
    "mean_and_std_over_draws",
    "mean_over_draws",
    "one_mask_for_all_steps",
    "prepare",
    "refuse_no_effect",
    "sample",
    "warn_if_not_random",
]
