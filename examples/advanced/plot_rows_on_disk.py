"""
Rows on disk: a table that need not fit in memory
=================================================

A table lies on disk as a parquet file, in groups of rows. A net is trained on some of its rows and
predicts all of them, group by group: memory holds one group at a time, however many there are, and
a bar shows how far it is. Since a draw is one function of a row, the numbers are those of all rows
at once. The picture is drawn from the file of the predictions, in the same way: the net is unsure
where it was not trained.

Run as a script, this saves ``rows_on_disk.png`` in the working directory.
``benchmarks/speed_rows.py`` measures time and memory for 10,000,000 rows.
"""

# %%
# A table on disk, and a net that learns from its first group
# -----------------------------------------------------------
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from sk_mcdropout import MCDropoutRegressor

N_ROWS, GROUP = 100_000, 10_000
directory = tempfile.TemporaryDirectory()
here = Path(directory.name)
rng = np.random.default_rng(0)

schema = pa.schema([(name, pa.float32()) for name in ("a", "b")])
with pq.ParquetWriter(here / "rows.parquet", schema) as writer:
    for _ in range(0, N_ROWS, GROUP):
        columns = rng.uniform(-4, 4, size=(2, GROUP)).astype(np.float32)
        writer.write_table(pa.table([*columns], schema=schema))

rows = pq.ParquetFile(here / "rows.parquet")
known = rows.read_row_group(0).to_pandas().query("a ** 2 + b ** 2 < 4")
y = np.sin(2 * known["a"]) + known["b"] + rng.normal(scale=0.2, size=len(known))
net = MCDropoutRegressor(module__dropout=0.1, n_draws=30, max_epochs=20, random_state=0)
net.fit(known, y)

# %%
# Predict group by group
# ----------------------
names = [*net.predict_table(known[:1])]
schema = pa.schema([(name, pa.float32()) for name in names])
bar = tqdm(total=rows.metadata.num_rows, unit="rows", unit_scale=True)
with bar, pq.ParquetWriter(here / "predictions.parquet", schema) as writer:
    for k in range(rows.num_row_groups):
        table = net.predict_table(rows.read_row_group(k).to_pandas())
        writer.write_table(pa.Table.from_pandas(table, schema=schema, preserve_index=False))
        bar.update(len(table))

# %%
# What the files tell, again group by group
# -----------------------------------------
predictions = pq.ParquetFile(here / "predictions.parquet")
sums, counts = np.zeros((40, 40)), np.zeros((40, 40))
for k in range(rows.num_row_groups):
    places = rows.read_row_group(k).to_pandas()
    std = predictions.read_row_group(k, columns=["epistemic"]).to_pandas()["epistemic"]
    grid = {"bins": 40, "range": [[-4, 4], [-4, 4]]}
    sums += np.histogram2d(places["a"], places["b"], weights=std, **grid)[0]
    counts += np.histogram2d(places["a"], places["b"], **grid)[0]

fig, ax = plt.subplots(figsize=(5.5, 4.5), layout="constrained")
image = ax.imshow((sums / counts).T, origin="lower", extent=(-4, 4, -4, 4), cmap="cividis")
ax.add_patch(plt.Circle((0, 0), 2, fill=False, color="white", linestyle="--", label="trained"))
ax.set(xlabel="a", ylabel="b", title=f"Epistemic std of {rows.metadata.num_rows:,} rows on disk")
fig.colorbar(image, label="mean in a cell")

if __name__ == "__main__":
    fig.savefig("rows_on_disk.png", dpi=100)
    print(f"The picture is in {Path('rows_on_disk.png').resolve()}")
    plt.show()
