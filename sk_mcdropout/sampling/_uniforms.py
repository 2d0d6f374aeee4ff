"""The uniform numbers that masks are made of: one for each unit of a dropout call and draw.

The numbers of the i-th call for draw t come from ``PCG64([seed, i]).jumped(t)``, so that each draw
has a stream of its own: a longer sequence goes on where a shorter one ends, and the first units
have the same numbers in a mask of any size. What the draws of a unit have to do with each other is
a matter of the law.
"""

from collections.abc import Callable

import numpy as np

__all__ = ["MASK_LAWS", "check_law"]

# What ``PCG64.jumped`` goes ahead: a part of the period of 2**128 without a simple fraction.
_JUMP = 0x9E3779B97F4A7C15F39CC0605CEDC835
_DIGITS = 24  # binary ones, of a number of single precision
# The draws within the first of these are in a random order; after the last all begins anew.
_BLOCK_DIGITS, _PERIOD_DIGITS = 4, 10
_AT_ONCE = 512  # units, whose numbers stay in a cache


def _independent(size: int, draws: range, *seeds: int) -> np.ndarray:
    """Return independent numbers, of shape (len(draws), size)."""
    bits = np.random.PCG64([*seeds]).jumped(draws.start)
    generator = np.random.Generator(bits)
    numbers = np.empty((len(draws), size), np.float32)
    to_the_next = _JUMP - (size + 1) // 2  # two numbers from each 64 bits
    for row in numbers:
        generator.random(out=row, dtype=np.float32)
        bits.advance(to_the_next)
    return numbers


def _stratified(size: int, draws: range, *seeds: int) -> np.ndarray:
    """Return for each unit points of a randomised (0, 1)-sequence in base 2.

    Owen (1995), "Randomly permuted (t,m,s)-nets and (t,s)-sequences": each block of 2**k points, of
    16 to 1,024 here, has one in each interval of length 2**-k. NOTE[DIFF] His scrambling, done for
    each unit by itself, would leave all units alike: at a rate of 0.5 every second draw would have
    the same mask. So the order within blocks of 16 is drawn for each unit, and each pair of blocks
    has coins of its own.
    """
    block, period = 2**_BLOCK_DIGITS, 2**_PERIOD_DIGITS
    start, stop = draws.start // period * period, -(-draws.stop // block) * block
    own = _independent(size, range(start, stop), *seeds)
    keys = _independent(size, range(start, stop), *seeds, 1)
    for begin in range(0, len(own), period):
        for unit in range(0, size, _AT_ONCE):
            some = np.s_[begin : begin + period, unit : unit + _AT_ONCE]
            own[some] = _stratify(_digits(own[some]), _digits(keys[some]))
    return own[draws.start - start : draws.stop - start]


def _digits(numbers: np.ndarray) -> np.ndarray:
    return (numbers * 2**_DIGITS).astype(np.uint32)


def _places(keys: np.ndarray) -> np.ndarray:
    """Return at which place the numbers of each block are among those of their unit."""
    keys = keys.reshape(-1, 2**_BLOCK_DIGITS, keys.shape[1]) << _BLOCK_DIGITS
    keys += np.arange(keys.shape[1], dtype=np.uint32)[:, None]  # no two are equal
    places = np.zeros(keys.shape, np.uint32)
    for i in range(keys.shape[1]):  # a tenth of the time of sorting so few
        places += keys[:, [i]] < keys
    return places.reshape(-1, keys.shape[2])


def _stratify(own: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Let the second of each pair of blocks go where the first left room, digit after digit."""
    n_own, n_units = _DIGITS - _BLOCK_DIGITS, own.shape[1]
    points, units = (_places(keys) << n_own) + own % 2**n_own, np.arange(n_units)
    for n_known in range(_BLOCK_DIGITS, _PERIOD_DIGITS):
        digit, rest = np.uint32(2 ** (_DIGITS - n_known - 1)), np.uint32(_DIGITS - n_known)
        for middle in range(2**n_known, len(points), 2 ** (n_known + 1)):
            first = points[middle - 2**n_known : middle]
            second = points[middle : middle + 2**n_known]
            taken = np.empty(first.size, np.uint32)
            taken[(first >> rest).astype(np.intp) * n_units + units] = first & digit
            beside = taken[(second >> rest).astype(np.intp) * n_units + units]
            second[:] = second & ~digit | beside ^ digit
    return points.astype(np.float32) * np.float32(2**-_DIGITS)


# Each is called with the number of units, the draws, the seed and the number of the call.
MASK_LAWS: dict[str, Callable[..., np.ndarray]] = {"iid": _independent, "qmc": _stratified}


def check_law(masks: object) -> None:
    """Raise if there is no such law of masks."""
    if not isinstance(masks, str) or masks not in MASK_LAWS:
        raise ValueError(
            f"`masks` must be one of {sorted(MASK_LAWS)}. Got {masks!r}. Leave it at 'iid' for "
            "independent draws."
        )
