"""How time and memory of ``predict(X, return_std=True)`` grow, for the net 8-50-50-1."""

import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from speed_cases import dense

from sk_mcdropout import MCDropoutRegressor

# (rows, draws, how often)
SIZES = [(10**3, 100, 5), (10**4, 100, 5), (10**5, 100, 3), (10**6, 100, 1)]
SIZES += [(10**4, 10, 5), (10**4, 1000, 3), (10**6, 10, 1)]
LIMIT = 300  # MB

INTRO = """\
# How time and memory grow

`predict(X, return_std=True)` of 8-50-50-1, {threads} threads. For each number of draws, linear
means the same time for each row and draw from one line to the next.

Command: `python benchmarks/speed.py --growth`

Made with Python {python}, {versions}, on {machine}.

| rows | draws | seconds | nanoseconds for a row and draw |
|---:|---:|---:|---:|
"""


def estimator(n_draws):
    """Answer the estimator, which has predicted once so that everything is loaded."""
    torch.manual_seed(0)
    net = MCDropoutRegressor(dense(8, 50, 50, 1), n_draws=n_draws, random_state=0).initialize()
    net.predict(rows(1000), return_std=True)
    return net


def rows(n_rows):
    """Answer some rows."""
    return np.random.default_rng(0).standard_normal((n_rows, 8), dtype=np.float32)


def seconds(n_rows, n_draws, repeats):
    """Answer the median time of a call."""
    net, X = estimator(n_draws), rows(n_rows)
    times = []
    for _ in range(repeats):
        start = perf_counter()
        net.predict(X, return_std=True)
        times.append(perf_counter() - start)
    return statistics.median(times)


def growth(facts):
    """Answer the Markdown and the table."""
    text, table = INTRO.format(**facts), [("rows", "draws", "seconds", "peak_megabytes")]
    for n_rows, n_draws, repeats in SIZES:
        time = seconds(n_rows, n_draws, repeats)
        table.append((n_rows, n_draws, f"{time:.4g}", ""))
        each = 1e9 * time / n_rows / n_draws
        text += f"| {n_rows:,} | {n_draws:,} | {time:.3g} | {each:.2f} |\n"
    command = [sys.executable, __file__, str(facts["threads"])]
    peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    table.append((10**6, 100, "", f"{peak:.0f}"))
    met = "met" if peak <= LIMIT else "not met"
    text += (
        f"\nPeak memory above the resident set before the call, 1,000,000 rows and 100 draws, in a "
        f"process of its own: {peak:.0f} MB (at most {LIMIT} MB: {met}).\n"
    )
    return text, table


def peak_megabytes(threads):
    """Answer by how much the peak of memory is above what was resident before the call.

    It is the peak of the whole life of the process, so at worst more than that of the call.
    """
    torch.set_num_threads(threads)
    net, X = estimator(100), rows(10**6)
    before = _status("VmRSS")
    net.predict(X, return_std=True)
    return (_status("VmHWM") - before) / 1e3


def _status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1.024 * int(next(line for line in lines if line.startswith(name)).split()[1])


if __name__ == "__main__":
    print(peak_megabytes(int(sys.argv[1])))
