"""Predict rows that lie on disk, and measure time and peak memory.

``python benchmarks/speed_rows.py`` writes ``speed_rows.md`` and ``speed_rows.csv`` beside this
file, for the net 8-50-1 and a parquet file and a ``numpy.memmap`` of 10,000,000 rows. It needs
pyarrow. Each way runs in a process of its own, whose peak is that of its life.
"""

import argparse
import multiprocessing
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from _report import intro, markdown, write
from speed_cases import dense
from speed_growth import _status

from sk_mcdropout import MCDropoutRegressor

N_FEATURES, GROUP = 8, 100_000

INTRO = """\
# Rows on disk

Mean and standard deviation of {rows:,} rows of 8 columns by the net 8-50-1, {draws} draws;
threads: {threads}. The rows are {size:.0f} MB of single precision; the predictions go back to disk,
but those of one call. Peak memory is that above what was resident before, pages of mapped files
among it, which the system takes back when it needs them.
"""


def fitted(draws):
    """Return a net with weights; time and memory do not hang on what it has learned."""
    torch.manual_seed(0)
    return MCDropoutRegressor(dense(N_FEATURES, 50, 1), n_draws=draws, random_state=0).initialize()


def by_groups(directory, draws):
    """Predict a parquet file by its groups of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    net, rows = fitted(draws), pq.ParquetFile(directory / "rows.parquet")
    schema = pa.schema([(name, pa.float64()) for name in ("mean", "std")])
    with pq.ParquetWriter(directory / "predictions.parquet", schema) as writer:
        for k in range(rows.num_row_groups):
            X = np.stack([column.to_numpy() for column in rows.read_row_group(k)], axis=1)
            parts = net.predict(X, return_std=True)
            writer.write_table(pa.table([*parts], schema=schema))


def by_parts_of_memmap(directory, draws):
    """Predict a file of numbers by parts of as many rows as a group has."""
    net = fitted(draws)
    X = np.memmap(directory / "rows.npy", np.float32, mode="c").reshape(-1, N_FEATURES)
    out = np.memmap(directory / "predictions.npy", np.float64, mode="w+", shape=(2, len(X)))
    for start in range(0, len(X), GROUP):
        some = slice(start, start + GROUP)
        out[:, some] = net.predict(X[some], return_std=True)


def whole_memmap(directory, draws):
    """Predict a file of numbers in one call, whose answer is in memory."""
    X = np.memmap(directory / "rows.npy", np.float32, mode="c").reshape(-1, N_FEATURES)
    fitted(draws).predict(X, return_std=True)


WAYS = {
    "parquet, by groups of rows": by_groups,
    "`numpy.memmap`, by parts": by_parts_of_memmap,
    "`numpy.memmap`, in one call": whole_memmap,
}


def measure(way, directory, draws, threads):
    """Return the seconds and the megabytes of one way, in a process that has predicted before."""
    torch.set_num_threads(threads)
    fitted(draws).predict(np.zeros((1000, N_FEATURES), np.float32), return_std=True)
    before, start = _status("VmRSS"), perf_counter()
    WAYS[way](directory, draws)
    return perf_counter() - start, (_status("VmHWM") - before) / 1e3


def write_rows(directory, n_rows):
    """Write random rows as a parquet file and as a file of numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    schema = pa.schema([(f"x{k}", pa.float32()) for k in range(N_FEATURES)])
    with (
        pq.ParquetWriter(directory / "rows.parquet", schema) as writer,
        (directory / "rows.npy").open("wb") as file,
    ):
        for _ in range(0, n_rows, GROUP):
            X = rng.standard_normal((GROUP, N_FEATURES), dtype=np.float32)
            writer.write_table(pa.table([*X.T], schema=schema))
            X.tofile(file)


def main():
    """Run the benchmark and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10**7)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    table = []
    with tempfile.TemporaryDirectory() as directory:
        write_rows(Path(directory), args.rows)
        for way in WAYS:
            with multiprocessing.get_context("spawn").Pool(1) as fresh_process:
                parts = (way, Path(directory), args.draws, args.threads)
                table.append((way, *fresh_process.apply(measure, parts)))
    options = f"--rows {args.rows} --draws {args.draws} --threads {args.threads}"
    size = 4 * args.rows * N_FEATURES / 1e6
    text = intro(
        INTRO.format(rows=args.rows, draws=args.draws, threads=args.threads, size=size),
        f"speed_rows.py {options}",
    )
    lines = [(way, f"{s:.3g}", f"{args.rows / s:,.0f}", f"{mb:.0f}") for way, s, mb in table]
    text += markdown(("way", "seconds", "rows in a second", "peak memory (MB)"), lines, "lrrr")
    print(text)
    rows = [(way, args.rows, args.draws, f"{s:.4g}", f"{mb:.0f}") for way, s, mb in table]
    write("speed_rows", text, ("way", "rows", "draws", "seconds", "peak_megabytes"), rows)


if __name__ == "__main__":
    main()
