"""Train with skorch's `AccelerateMixin` in each of several processes, as ``torchrun`` starts them.

``python -m torch.distributed.run --nproc-per-node 2 accelerated_training.py DIRECTORY`` writes what
each process ends with into the directory.
"""

import sys
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from skorch.hf import AccelerateMixin

from sk_mcdropout import MCDropoutRegressor


class CPUAccelerator(Accelerator):
    """An accelerator that leaves losses alone, which torch shares out between no processes."""

    def prepare_model(self, model, *args, **kwargs):
        trained = any(part.requires_grad for part in model.parameters())
        return super().prepare_model(model, *args, **kwargs) if trained else model


class AcceleratedRegressor(AccelerateMixin, MCDropoutRegressor):
    """The regressor, whose batches and gradients accelerate shares out."""


def main():
    accelerator = CPUAccelerator(cpu=True)
    X = np.random.default_rng(0).normal(size=(256, 3)).astype(np.float32)
    y = 10 + X @ [1.0, -2.0, 0.5]
    net = AcceleratedRegressor(
        accelerator=accelerator,
        callbacks__print_log__sink=print,  # silent unless `verbose` is above 0
        max_epochs=30,
        batch_size=32,
        noise=0.5,
        random_state=0,
    )
    net.fit(X, y)
    mean, std = net.predict(X, return_std=True)
    weights = np.concatenate([part.detach().numpy().ravel() for part in net.module_.parameters()])
    rank = accelerator.process_index
    np.savez(
        Path(sys.argv[1]) / f"{rank}.npz",
        mean=mean,
        std=std,
        weights=weights,
        loss=net.history[:, "train_loss"],
        n_batches=len(net.history[0, "batches"]),
        n_processes=accelerator.num_processes,
        score=net.score(X, y),
    )
    accelerator.end_training()


if __name__ == "__main__":
    main()
