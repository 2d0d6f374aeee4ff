"""Training in two processes on a CPU, by skorch's `AccelerateMixin`."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

pytest.importorskip("accelerate", reason="needs accelerate")

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("accelerated_training.py")


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """Train once in two processes, and return what each of them ended with."""
    directory = tmp_path_factory.mktemp("accelerated")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    done = subprocess.run(
        [*launcher, str(SCRIPT), str(directory)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [dict(np.load(directory / f"{rank}.npz")) for rank in range(2)]


def test_both_processes_end_with_the_same_net(processes):
    first, second = processes
    assert first["n_processes"] == 2
    for name in ("weights", "mean", "std"):
        assert_array_equal(first[name], second[name])


def test_each_process_takes_half_of_the_batches(processes):
    assert [part["n_batches"] for part in processes] == [4, 4]  # of 8 batches of 32 rows


def test_the_net_is_trained_by_the_gradients_of_all(processes):
    for part in processes:
        assert part["loss"][-1] < part["loss"][0] / 4
        assert part["score"] > 0.9
        assert (part["std"] > 0.5).all()  # the noise, and the spread of the draws
