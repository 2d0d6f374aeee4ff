"""Predictions on Spark, by ``mapInPandas`` and a broadcast net."""

import os
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sk_mcdropout import MCDropoutRegressor

sql = pytest.importorskip("pyspark.sql", reason="needs pyspark")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="needs Java 17 or newer"),
]


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = sql.SparkSession.builder.master("local[2]").appName("sk_mcdropout")
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "64",
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
    }.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


def test_rows_are_predicted_by_map_in_pandas(spark):
    rows = np.random.default_rng(0).normal(size=(200, 3))
    X = pd.DataFrame(rows, columns=["a", "b", "c"])
    net = MCDropoutRegressor(module__hidden=(8,), max_epochs=3, noise=0.5, random_state=0)
    net.fit(X, 10 + rows @ [1.0, -2.0, 0.5])

    shared = spark.sparkContext.broadcast(net)  # sent to each machine once

    def predict(frames):
        for frame in frames:
            table = shared.value.predict_table(frame[["a", "b", "c"]], coverage=0.9)
            yield pd.concat([frame[["row"]], table[["mean", "std", "lower_0.9"]]], axis=1)

    frame = spark.createDataFrame(X.assign(row=range(len(X)))).repartition(3)
    schema = "row long, mean double, std double, `lower_0.9` double"
    table = frame.mapInPandas(predict, schema).toPandas().sort_values("row")
    expected = net.predict_table(X, coverage=0.9)
    assert_allclose(table[["mean", "std", "lower_0.9"]], expected[[*table][1:]], rtol=1e-4)
