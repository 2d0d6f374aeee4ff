"""How long to train: rows in a step, and passes through the data."""

import math

__all__ = ["batch_size_for", "n_epochs_for"]

_STEPS = 4000
_FEWEST_ROWS, _MOST_ROWS = 32, 256
_BATCHES = 8  # of the least size, in an epoch, before batches grow
_FEWEST_EPOCHS, _MOST_EPOCHS = 10, 1000
_UNKNOWN = 128, 10  # rows and epochs where nobody knows how many rows there are


def batch_size_for(n_rows: int | None) -> int:
    """Return the number of rows in a step that suits a number of rows.

    Parameters
    ----------
    n_rows : int or None
        The rows to train on; None where their number is not known.

    Returns
    -------
    int
        A power of two from 32, for 350 rows or fewer, to 256, for 1,500 or more.

    Examples
    --------
    >>> from sk_mcdropout.estimators._length import batch_size_for
    >>> batch_size_for(300), batch_size_for(50_000)
    (32, 256)
    """
    if not n_rows:
        return _UNKNOWN[0]
    power = round(math.log2(max(n_rows / _BATCHES, 1)))
    return min(max(2**power, _FEWEST_ROWS), _MOST_ROWS)


def n_epochs_for(n_rows: int | None, batch_size: int) -> int:
    """Return the number of epochs that make about 4,000 steps, within 10 and 1,000.

    Parameters
    ----------
    n_rows : int or None
        The rows to train on; None where their number is not known.
    batch_size : int
        The rows of a step, -1 for all.

    Returns
    -------
    int
        The number of epochs.

    Examples
    --------
    >>> from sk_mcdropout.estimators._length import n_epochs_for
    >>> n_epochs_for(300, 32), n_epochs_for(50_000, 256)
    (400, 21)
    """
    if not n_rows:
        return _UNKNOWN[1]
    per_epoch = math.ceil(n_rows / batch_size) if batch_size > 0 else 1
    return min(max(math.ceil(_STEPS / per_epoch), _FEWEST_EPOCHS), _MOST_EPOCHS)
