"""Time our call of each case in this checkout and in another one of this repository.

``python benchmarks/speed.py --against DIR`` calls ``compare``, which runs this file as a script,
in a fresh process for each turn of each checkout. Both run the cases of this checkout. Beside other
work on the same cores, ``--threads 1`` and more ``--repeats`` give steadier ratios.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from _report import HERE, intro, markdown
from _timing import medians_in_turn
from speed_cases import CASES, N_DRAWS, net_and_rows, our_call

N_TIMES = 3  # that a process times each case

INTRO = """\
# Speed of `predict(X, return_std=True)`, new and old

{n_draws} draws, {threads} threads, times in milliseconds. The two checkouts took {repeats} turns
each, one after the other, each turn in a fresh process: medians of the turns, their ratio, and the
lowest and highest ratio of a turn to the one after it.
"""


def compare(folder, chosen, threads, repeats):
    """Return the report of this checkout (new) against the one in ``folder`` (old)."""
    checkouts = {"new": HERE.parent, "old": folder}
    turns = {name: [] for name in checkouts}
    for _ in range(repeats):
        for name, checkout in checkouts.items():
            turns[name].append(_take_turn(checkout, chosen, threads))
    rows = []
    for case in turns["new"][0]:
        new, old = ([turn[case] for turn in turns[name]] for name in checkouts)
        ratios = [n / o for n, o in zip(new, old, strict=True)]
        new, old = statistics.median(new), statistics.median(old)
        extremes = f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append((case, f"{1e3 * new:.3g}", f"{1e3 * old:.3g}", f"{new / old:.2f}", extremes))
    text = INTRO.format(n_draws=N_DRAWS, threads=threads, repeats=repeats)
    columns = ("case", "new", "old", "new / old", "of single turns")
    return intro(text, "speed.py --against DIR") + markdown(columns, rows, "lrrrr")


def _take_turn(checkout, chosen, threads):
    """Return the seconds of each case in a fresh process that imports this checkout."""
    command = [sys.executable, "-B", "-W", "ignore", __file__, chosen, str(threads)]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    process = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    turn = json.loads(process.stdout)
    if not Path(turn["package"]).is_relative_to(checkout):
        raise ImportError(
            f"`sk_mcdropout` must be imported from {checkout}. Got {turn['package']}. Give the "
            "folder that holds the folder sk_mcdropout."
        )
    return turn["seconds"]


def main():
    """Time the chosen cases with the package that is found, and print the seconds as JSON."""
    import sk_mcdropout

    chosen, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    chosen = [case for case in CASES if chosen in case.name]
    calls = {case.name: our_call(*net_and_rows(case), case.our_draws) for case in chosen}
    turn = {"package": sk_mcdropout.__file__, "seconds": medians_in_turn(calls, N_TIMES)}
    print(json.dumps(turn))


if __name__ == "__main__":
    main()
