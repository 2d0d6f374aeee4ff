"""Which candidates to ask about next: scores of an estimator and candidates. Knows no nets.

The higher a score, the better the choice, whatever the function; batches are indices of
candidates. Any estimator of scikit-learn's kind is taken that answers what a function asks it,
also inside of pipelines and searches. Noise of y cannot be learned: where an estimator tells it
apart, by ``predict_decomposed`` as `MCDropoutRegressor` does, it counts for nothing.

- to learn a function: `maximum_std`, and for classes `predictive_entropy`; `mutual_information`
  (BALD) for both
- to learn it from several rows at once: `batch_bald` (BatchBALD)
- to find its best place: `expected_improvement`, `probability_of_improvement`,
  `confidence_bound`, `thompson_sampling`
"""

from ._batch import batch_bald
from ._improvement import (
    confidence_bound,
    expected_improvement,
    probability_of_improvement,
    thompson_sampling,
)
from ._uncertainty import maximum_std, mutual_information, predictive_entropy

__all__ = [
    "batch_bald",
    "confidence_bound",
    "expected_improvement",
    "maximum_std",
    "mutual_information",
    "predictive_entropy",
    "probability_of_improvement",
    "thompson_sampling",
]
