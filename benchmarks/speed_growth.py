"""Time ``predict(X, return_std=True)`` for more and more rows and draws, and measure its memory.

``python benchmarks/speed_growth.py`` writes ``speed_growth.md`` and ``speed_growth.csv`` beside
this file, for the net 8-50-50-1.
"""

import argparse
import multiprocessing
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _report import intro, markdown, write
from _timing import medians_in_turn
from speed_cases import dense

from sk_mcdropout import MCDropoutRegressor

# (rows, draws, repeats)
SIZES = [(10**3, 100, 5), (10**4, 100, 5), (10**5, 100, 3), (10**6, 100, 1)]
SIZES += [(10**4, 10, 5), (10**4, 1000, 3), (10**6, 10, 1)]
LIMIT = 300  # MB

INTRO = """\
# How time and memory grow

`predict(X, return_std=True)` of 8-50-50-1, {threads} threads. For each number of draws, linear
means the same time for each row and draw from one line to the next.
"""


def predict_call(n_rows, n_draws):
    """Return our call, of an estimator that has predicted once so that everything is loaded."""
    torch.manual_seed(0)
    net = MCDropoutRegressor(dense(8, 50, 50, 1), n_draws=n_draws, random_state=0).initialize()
    X = np.random.default_rng(0).standard_normal((n_rows, 8), dtype=np.float32)
    net.predict(X[:1000], return_std=True)
    return partial(net.predict, X, return_std=True)


def peak_megabytes(threads):
    """Return by how much the peak of memory is above what was resident before the call.

    It is the peak of the whole life of the process, so at worst more than that of the call.
    """
    torch.set_num_threads(threads)
    call = predict_call(10**6, 100)
    before = _status("VmRSS")
    call()
    return (_status("VmHWM") - before) / 1e3


def _status(name):
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1.024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def main():
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    table, lines = [], []
    for n_rows, n_draws, repeats in SIZES:
        time = medians_in_turn({"ours": predict_call(n_rows, n_draws)}, repeats)["ours"]
        each = 1e9 * time / n_rows / n_draws
        table.append((n_rows, n_draws, f"{time:.4g}", ""))
        lines.append((f"{n_rows:,}", f"{n_draws:,}", f"{time:.3g}", f"{each:.2f}"))
    with multiprocessing.get_context("spawn").Pool(1) as fresh_process:
        peak = fresh_process.apply(peak_megabytes, (args.threads,))
    table.append((10**6, 100, "", f"{peak:.0f}"))
    met = "met" if peak <= LIMIT else "not met"
    text = intro(INTRO.format(threads=args.threads), "speed_growth.py")
    text += markdown(("rows", "draws", "seconds", "nanoseconds for a row and draw"), lines, "rrrr")
    text += (
        f"\nPeak memory above the resident set before the call, 1,000,000 rows and 100 draws, in a "
        f"process of its own: {peak:.0f} MB (at most {LIMIT} MB: {met}).\n"
    )
    print(text)
    write("speed_growth", text, ("rows", "draws", "seconds", "peak_megabytes"), table)


if __name__ == "__main__":
    main()
