"""Values that predictions are asked about: levels in (0, 1), and y in the shape of predictions."""

from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["check_shares", "in_shape", "numbers_of", "seed_of"]


def check_shares(name: str, values: Any) -> np.ndarray:
    """Return shares, one or several, as numbers in double precision that lie in (0, 1)."""
    shares = np.asarray(values, dtype=np.float64)
    if shares.ndim > 1 or not ((shares > 0) & (shares < 1)).all():
        raise ValueError(f"`{name}` must lie in (0, 1). Got {shares.tolist()!r}.")
    return shares


def numbers_of(y: Any) -> np.ndarray:
    """Return values of y as finite numbers in double precision."""
    y = y.detach().cpu().numpy() if isinstance(y, Tensor) else y
    numbers = np.array(y, dtype=np.float64)
    if not np.isfinite(numbers).all():
        kind = "NaN" if np.isnan(numbers).any() else "infinity"
        raise ValueError(
            f"y must be finite numbers. Input y contains {kind}. Leave these rows out."
        )
    return numbers


def in_shape(y: Any, shape: tuple[int, ...]) -> Any:
    """Bring values of y to the shape of predictions, which may lack the axis of one target."""
    if y.ndim == 0:
        return np.full(shape, y) if isinstance(y, np.ndarray) else y.expand(shape)
    if tuple(y.shape) != shape and tuple(y.shape) != (*shape, 1):
        raise ValueError(
            "y must have one value for each row and target. Got the shape "
            f"{tuple(y.shape)} for predictions of shape {shape}."
        )
    return y.reshape(shape)


def seed_of(random_state: Any, default: int) -> int:
    """Return a seed; without a random state the default."""
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    return default if random_state is None else int(random_state)
