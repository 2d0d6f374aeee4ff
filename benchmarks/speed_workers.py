"""Time predictions by one and by two workers of Dask, and a search by one and by two processes.

``python benchmarks/speed_workers.py`` writes ``speed_workers.md`` and ``speed_workers.csv`` beside
this file. The workers are processes with one thread each; one and two take turns, and the table has
medians and their ratios. It needs ``sk_mcdropout[dask]`` and a machine with nothing else to do.
"""

import argparse
from functools import partial

import dask
import dask.array as da
import joblib
import numpy as np
import torch
from _report import PACKAGES, intro, markdown, write
from _timing import medians_in_turn
from distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV
from speed_cases import dense

from sk_mcdropout import MCDropoutRegressor

INTRO = """\
# One worker and two

Workers are processes with one thread each. `predict(X, return_std=True)` of {rows:,} rows in blocks
of {block:,}, 100 draws of the net 8-50-50-1, by Dask; and a `GridSearchCV` of four rates and three
folds on 2,000 rows by joblib's backend `dask`. "Keeping memory" is with the two settings of `KEPT`
for the workers: with Dask's own, each product takes its memory from the system anew. Medians of
{repeats} runs in turn.
"""

# Of glibc's malloc: do not give memory back, and take blocks of up to 32 MiB from what is kept.
KEPT = {"MALLOC_TRIM_THRESHOLD_": 10**9, "MALLOC_MMAP_THRESHOLD_": 2**25}


def cluster(n_workers, settings):
    """Return a cluster of processes with one thread each, with these variables set."""
    environment = {f"distributed.nanny.pre-spawn-environ.{k}": v for k, v in settings.items()}
    with dask.config.set(environment):
        return LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None)


def tasks(rows, block):
    """Return what is timed: functions of a client."""
    torch.manual_seed(0)
    net = MCDropoutRegressor(dense(8, 50, 50, 1), random_state=0).initialize()
    data = np.random.default_rng(0).standard_normal((2000, 8), dtype=np.float32)
    search = GridSearchCV(
        MCDropoutRegressor(max_epochs=20, random_state=0), {"dropout": [0.02, 0.05, 0.1, 0.2]}, cv=3
    )

    def predict(client):
        lazy = da.random.default_rng(0).standard_normal((rows, 8), chunks=(block, 8))
        client.gather(client.compute(list(net.predict(lazy, return_std=True))))

    def find(client):
        with joblib.parallel_config(backend="dask", client=client):
            search.fit(data, data.sum(axis=1))

    return predict, find


def main():
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--block", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    clusters = {
        (n, kept): cluster(n, KEPT if kept else {}) for kept in (False, True) for n in (1, 2)
    }
    clients = {key: Client(cluster) for key, cluster in clusters.items()}
    predict, find = tasks(args.rows, args.block)
    table = []
    for name, task, kept in (
        ("prediction", predict, False),
        ("prediction, keeping memory", predict, True),
        ("search", find, False),
    ):
        calls = {n: partial(task, clients[n, kept]) for n in (1, 2)}
        times = medians_in_turn(calls, args.repeats)
        table.append((name, f"{times[1]:.3g}", f"{times[2]:.3g}", f"{times[1] / times[2]:.2f}"))
    for part in (*clients.values(), *clusters.values()):
        part.close()
    text = intro(
        INTRO.format(rows=args.rows, block=args.block, repeats=args.repeats),
        "speed_workers.py",
        (*PACKAGES, "dask", "distributed"),
    )
    columns = ("task", "one worker (s)", "two workers (s)", "times as fast")
    text += markdown(columns, table, "lrrr")
    print(text)
    write("speed_workers", text, ("task", "one", "two", "ratio"), table)


if __name__ == "__main__":
    main()
