"""Sample nets of packages that people use, and hold each law of sampling against them.

``make real-nets`` makes an environment with the packages and runs this file, which writes
``real_nets.md`` and ``real_nets.csv`` beside it. With ``--only`` or ``--quick`` the table is
printed only.
"""

import argparse
import copy
import multiprocessing
import os
import warnings
from functools import partial
from math import nan
from statistics import mean, median
from time import perf_counter
from typing import NamedTuple

import real_nets_of_images as of_images
import real_nets_of_tables as of_tables
import real_nets_of_transformers as of_transformers
import torch
from _report import PACKAGES, intro, markdown, write
from _timing import medians_in_turn, seconds
from real_nets_laws import (
    Case,
    broken,
    map_tensors,
    n_rows,
    predict,
    real_dropouts,
    std_ratio,
    take,
)
from torch import nn

from sk_mcdropout import dropout_sites, mean_and_std

NETS = of_transformers.NETS | of_images.NETS | of_tables.NETS
N_DRAWS = 50  # that are timed
N_LAW_ROWS = 5

INTRO = """\
# Real nets

{n_nets} small nets of packages that people use, with random weights, and what must hold for their
draws, checked in double precision on {n_rows} rows: the draws are those of the loop, for every
strategy that takes the net; the answer for a row depends on no other row and no batch size; the
first draws do not depend on their number; a seed repeats; the module and the global generators
are left as they were; nothing is warned of but that vmap loops inside, or that graphs are taken
one by one; each call that draws random numbers in a pass in training mode is a site, and no
other; mean and standard deviation of {n_draws} draws are those of {n_draws} passes in training mode
with batch norm in eval mode.

{n_whole} of the {n_nets} nets hold all laws. The median of `faster` is {faster:.2g}.

`dropouts`: the sites that `dropout_sites` finds, of the random calls of a pass in training mode.
`std`: our mean standard deviation, divided by that of these passes. `ours`: milliseconds of
`mean_and_std(module, x, {timed})` for all rows in single precision. `first`: the same for the first
call for a module, which looks at it and plans how to sample it; later calls remember the plan.
`loop`: the plain loop of {timed} passes with the dropout modules alone in training mode, which
leaves out what is no module. `faster`: `loop` divided by `ours`. The times are medians of {repeats}
in turn, on one of {jobs} processes with {threads} thread each. While they ran, {load:.1f} processes
on average wanted one of the cores, these among them: where the cores are fewer, the times are too
long and scatter.
"""
COLUMNS = (
    "package",
    "net",
    "rows",
    "strategy",
    "dropouts",
    "laws",
    "std",
    "first",
    "ours",
    "loop",
    "faster",
)


class Result(NamedTuple):
    """A line of the table, and what broke a law."""

    cells: tuple
    broken: dict


def plain_loop(module, x):
    """Return mean and standard deviation by the recipe: dropout modules in training mode."""
    module = copy.deepcopy(module).eval()
    for part in module.modules():
        part.training = isinstance(part, nn.modules.dropout._DropoutNd)

    def run():
        draws = torch.stack([predict(module, x) for _ in range(N_DRAWS)])
        return draws.mean(0), draws.std(0)

    return run


def first_call(module, x):
    """Return the time of the first call for a module."""
    module = copy.deepcopy(module)
    return seconds(lambda: mean_and_std(module, x, N_DRAWS))


def in_double(module, x):
    """Return a module and an input in double precision."""
    to_double = lambda t: t.double() if t.is_floating_point() else t  # noqa: E731
    return copy.deepcopy(module).double(), map_tensors(to_double, x)


def measure(net, n_draws, repeats):
    """Hold a net against the laws, and time it."""
    try:
        module, x = net()
    except Exception as error:
        failure = str(error).partition("\n")[0] or type(error).__name__
        return Result((net.package, net.name, *[""] * (len(COLUMNS) - 2)), {"made": failure})
    some = list(range(min(N_LAW_ROWS, n_rows(x))))
    case = Case(*in_double(module, take(x, some)), n_draws, net.warns)
    found, real = "", real_dropouts(*in_double(module, take(x, some))).total()
    strategy, std, times = "", "", ("", "", "", "")
    failures = broken(case)
    if "no draws" not in failures:
        sites = dropout_sites(module, x)
        strategy, found = ", ".join(sites.strategies), len(sites)
        calls = {"ours": lambda: mean_and_std(module, x, N_DRAWS), "loop": plain_loop(module, x)}
        first = median(first_call(module, x) for _ in range(repeats))
        ours, loop = medians_in_turn(calls, repeats).values()
        times = (*(f"{1e3 * time:.3g}" for time in (first, ours, loop)), f"{loop / ours:.2g}")
        std = f"{std_ratio(case):.3f}"
    laws = f"fails: {', '.join(failures)}" if failures else "all hold"
    cells = (net.package, net.name, n_rows(x), strategy, f"{found} of {real}", laws, std, *times)
    return Result(cells, failures)


def measure_quietly(name, n_draws, repeats):
    """Measure a net by its name, and say how many seconds it took."""
    start = perf_counter()
    with warnings.catch_warnings(action="ignore"):
        return measure(NETS[name], n_draws, repeats), perf_counter() - start


def _breaks(result):
    return [f"- {' '.join(result.cells[:2])}, {law}: {text}" for law, text in result.broken.items()]


def notes(results):
    """Return what broke the laws."""
    lines = [line for result in results for line in _breaks(result)]
    return "\n".join(["What broke the laws:\n", *lines]) + "\n" if lines else ""


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="only the nets with this in their name")
    parser.add_argument("--without", default="", help="parts of names of nets, with commas between")
    parser.add_argument("--jobs", type=int, default=2, help="processes that share the nets")
    parser.add_argument("--quick", action="store_true", help="fewer draws, no repeats")
    args = parser.parse_args()
    left_out = [part for part in args.without.split(",") if part]
    chosen = {
        name: net
        for name, net in NETS.items()
        if args.only in name and not any(part in name for part in left_out)
    }
    if not chosen:
        parser.error(f"`--only` must be in the name of a net that is left. Got {args.only!r}.")
    n_draws, repeats = (50, 1) if args.quick else (100, args.repeats)
    results, loads = [], []
    with multiprocessing.get_context("spawn").Pool(
        args.jobs, torch.set_num_threads, (args.threads,)
    ) as processes:
        each = partial(measure_quietly, n_draws=n_draws, repeats=repeats)
        for name, (result, seconds) in zip(chosen, processes.imap(each, chosen), strict=True):
            results.append(result)
            loads.append(os.getloadavg()[0])
            print(f"{name}: {seconds:.0f} s", result.cells, *_breaks(result), sep="\n", flush=True)
    times = [float(result.cells[-1]) for result in results if result.cells[-1]]
    facts = {"n_draws": n_draws, "n_rows": N_LAW_ROWS, "timed": N_DRAWS, "repeats": repeats}
    facts |= {
        "faster": median(times or [nan]),
        "load": mean(loads),
        "threads": args.threads,
        "jobs": args.jobs,
    }
    facts |= {
        "n_nets": len(results),
        "n_whole": sum(not result.broken for result in results),
    }
    text = INTRO.format(**facts)
    packages = tuple(dict.fromkeys(net.package for net in chosen.values()))
    options = f' --without "{args.without}"' if left_out else ""
    text = intro(text, f"real_nets.py{options}", PACKAGES + packages)
    rows = [result.cells for result in results]
    text += markdown(COLUMNS, rows, "llrlrlrrrrr") + "\n" + notes(results)
    print(text)
    if not args.only and not args.quick:
        write("real_nets", text, COLUMNS, rows)


if __name__ == "__main__":
    main()
