"""Time calls in turn, so that the load of the machine falls on all of them alike."""

import gc
import statistics
from time import perf_counter

LEAST_SECONDS = 0.1  # that a call is repeated for at each of its turns


def seconds(call, number=1):
    """Return the time of a call, the mean of as many as ``number``."""
    gc.collect()
    start = perf_counter()
    for _ in range(number):
        call()
    return (perf_counter() - start) / number


def medians_in_turn(calls, repeats):
    """Time each call of a dict ``repeats`` times in turn, and return the medians in seconds."""
    numbers = {}
    for name, call in calls.items():
        call()  # what is loaded at the first call is not timed
        numbers[name] = max(1, int(LEAST_SECONDS / seconds(call)))
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(call, numbers[name]))
    return {name: statistics.median(of_call) for name, of_call in times.items()}
