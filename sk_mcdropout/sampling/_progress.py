"""Progress bars, in a notebook or a terminal."""

from typing import Any

__all__ = ["progress_bar"]


def progress_bar(total: int | None, unit: str, delay: float = 0) -> Any:
    """Return a bar of tqdm, for where it is shown.

    Parameters
    ----------
    total : int, optional
        The number of units, where it is known.
    unit : str
        What is counted, in the singular.
    delay : float
        Seconds before it is shown: what takes less shows none.

    Returns
    -------
    tqdm
        The bar, a context manager.

    Examples
    --------
    >>> from sk_mcdropout.sampling import progress_bar
    >>> with progress_bar(2, "epoch", delay=1) as bar:
    ...     bar.update(2)
    """
    from tqdm.auto import tqdm  # which looks for a notebook, and loads much

    many = total is None or total >= 10_000  # are told as 10.0k
    return tqdm(total=total, unit=unit, delay=delay, unit_scale=many, dynamic_ncols=True)
