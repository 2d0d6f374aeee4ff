"""Small nets with dropout; most take 4 features and give 2 outputs."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["NETS", "Function", "kept", "mlp", "skip"]


def kept(mask_shape, p, n_draws, seed=0, call=0):
    """The 0-1 masks that are promised for a dropout call: a stream for each draw."""
    streams = (np.random.PCG64([seed, call]).jumped(t) for t in range(n_draws))
    draws = [np.random.Generator(bits).random(mask_shape, dtype=np.float32) for bits in streams]
    return torch.from_numpy(np.stack(draws) >= p).double()


class Function(nn.Module):
    """A module whose forward is a function; what it calls is registered as '0', '1' and so on."""

    def __init__(self, forward, *submodules):
        super().__init__()
        self.function = forward
        self.submodules = submodules
        for name, submodule in enumerate(submodules):
            self.add_module(str(name), submodule)

    def forward(self, *args, **kwargs):
        return self.function(*args, **kwargs)


def mlp():
    return nn.Sequential(
        *(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3)),
        *(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(8, 2),
    )


def conv():
    image = nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, (1, 2))
    return nn.Sequential(*image, nn.ReLU(), nn.Dropout2d(0.4), nn.Flatten(), nn.Linear(6, 2))


def time_first():
    inside, after = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Dropout(0.3)), nn.Linear(6, 2)
    return Function(lambda x: after(inside(x.T[:, :, None]).mean(0)), inside, after)


def skip():
    before, dropout, after = nn.Linear(4, 8), nn.AlphaDropout(0.2), nn.Linear(8, 2)

    def forward(x):
        h = before(x)
        return after(h + dropout(h))

    return Function(forward, before, dropout, after)


def functional():
    before, after = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(x):
        h = F.relu(before(F.dropout(x, 0.2)))
        return after(F.dropout(h, p=0.4, training=False, inplace=True))

    return Function(forward, before, after)


def batch_norm():
    norm = nn.BatchNorm1d(8)
    norm.running_mean.uniform_()
    norm.running_var.uniform_(0.5, 2.0)
    return nn.Sequential(nn.Linear(4, 8), norm, nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))


def shared():
    layer, dropout = nn.Linear(4, 4), nn.Dropout(0.3)
    return nn.Sequential(layer, dropout, nn.Tanh(), layer, dropout)


NETS = [mlp, conv, time_first, skip, functional, batch_norm, shared]
