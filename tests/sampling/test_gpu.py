"""Drawing on a GPU: the draws of the CPU, few transfers, and memory that runs out.

They need CUDA, and are skipped with that reason where there is none.
"""

import copy

import numpy as np
import pytest
import torch
from nets import NETS, Function
from torch import nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from sk_mcdropout import MCDropoutRegressor, mean_and_std, sample

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that CUDA can use"),
]


@pytest.fixture(autouse=True)
def exact_products(monkeypatch):
    """Multiply in float32, not in TF32, which has 10 bits."""
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(autouse=True)
def whole_memory():
    """Give back the memory that a test took from the others."""
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def sequences(layer):
    return Function(lambda x: layer(x.unflatten(1, (4, 1)).expand(-1, -1, 4))[0][:, -1], layer)


def attention():
    layer = nn.MultiheadAttention(4, 2, 0.3, batch_first=True)

    def forward(x):
        x = x[:, :, None] * x[:, None]
        return layer(x, x, x, need_weights=False)[0].mean(1)

    return Function(forward, layer)


MAKERS = {
    **{getattr(make, "__name__", str(make)): make for make in NETS},
    "lstm": lambda: sequences(nn.LSTM(4, 3, 2, batch_first=True, dropout=0.4)),
    "gru": lambda: sequences(nn.GRU(4, 3, 3, batch_first=True, dropout=0.4)),
    "attention": attention,
}


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", MAKERS)
def test_the_draws_are_those_of_the_cpu_to_rounding(name):
    net, x = MAKERS[name](), torch.randn(50, 4)
    expected = sample(net, x, 20)
    draws = sample(copy.deepcopy(net).cuda(), x.cuda(), 20)
    assert draws.is_cuda
    assert_close(draws.cpu(), expected, rtol=1e-4, atol=1e-5)


class Transfers(TorchDispatchMode):
    """Count what is copied from one device to another."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in (*args, result) if isinstance(t, torch.Tensor)]
        self.number += len({t.device.type for t in tensors}) > 1
        return result


@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_there_is_no_transfer_for_each_draw(name):
    net, x = MAKERS[name]().cuda(), torch.randn(50, 4, device="cuda")
    sample(net, x, 5)  # finds out the plan
    numbers = []
    for n_draws in (10, 200):
        with Transfers() as transfers:
            sample(net, x, n_draws, seed=n_draws)
        numbers.append(transfers.number)
    assert 0 < numbers[0] == numbers[1]


def test_many_rows_fill_the_device_at_once():
    net = MAKERS["mlp"]().cuda()
    x = torch.randn(200_000, 4, device="cuda")
    sample(net, x[:5], 10)
    passes = []
    net.register_forward_hook(lambda *_: passes.append(1))
    mean_and_std(net, x, 10)
    assert len(passes) == 1


def test_memory_that_runs_out_changes_no_number():
    net = nn.Sequential(nn.Linear(4, 2048), nn.Dropout(0.5), nn.Linear(2048, 1024))
    x = torch.randn(4_000, 4)
    expected = mean_and_std(net, x, 20)
    net = net.cuda()
    whole = torch.cuda.get_device_properties(0).total_memory
    used = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction((used + 200 * 2**20) / whole)  # 20 draws take 330 MB
    mean, std = mean_and_std(net, x.cuda(), 20)
    assert_close(mean.cpu(), expected[0], rtol=1e-4, atol=1e-5)
    assert_close(std.cpu(), expected[1], rtol=1e-4, atol=1e-5)


def test_the_generators_of_the_gpu_stay_as_they_were():
    net, x = MAKERS["mlp"]().cuda(), torch.randn(50, 4, device="cuda")
    before = torch.cuda.get_rng_state()
    sample(net, x, 5)
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_the_estimator_trains_and_predicts_on_the_device():
    X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    y = X[:, 0] * 10 + 3
    model = MCDropoutRegressor(max_epochs=20, random_state=0, device="cuda").fit(X, y)
    assert next(model.module_.parameters()).is_cuda
    mean, std = model.predict(X, return_std=True)
    assert np.corrcoef(mean, y)[0, 1] > 0.9
    moved = copy.deepcopy(model).set_params(device="cpu")
    moved.module_.cpu()
    for ours, theirs in zip((mean, std), moved.predict(X, return_std=True), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
